"""
Whether this node may be closed: everything that stands against it, found before anything is changed.

Each look is a generator of findings, and is given the settings without nulls, and the manifest of what they want.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import _slurm_pam_admins
import _slurm_pam_ask
import _slurm_pam_confinement
import _slurm_pam_files
import _slurm_pam_modules
import _slurm_pam_node
import _slurm_pam_packages
import _slurm_pam_paths
import _slurm_pam_places
import _slurm_pam_record
import _slurm_pam_role
import _slurm_pam_selinux
import _slurm_pam_session
import _slurm_pam_settings
import _slurm_pam_slurm
import _slurm_pam_sshd
import _slurm_pam_stacks
import _slurm_pam_steps
import _slurm_pam_strays
import _slurm_pam_take_back
import _slurm_pam_turned_away
import _slurm_pam_wanted
import _slurm_pam_ways_in
from _slurm_pam_finding import Finding


def moved(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Settings that now name another place than the last apply used."""
    yield from map(Finding, _slurm_pam_record.moved(settings))


# In the order in which they are told.
LOOKS = (
    _slurm_pam_take_back.unconfirmed,
    _slurm_pam_files.files,
    _slurm_pam_places.named,
    moved,
    _slurm_pam_role.role,
    _slurm_pam_packages.packages,
    _slurm_pam_modules.modules,
    _slurm_pam_slurm.conf,
    _slurm_pam_confinement.confinement,
    _slurm_pam_steps.steps,
    _slurm_pam_node.node,
    _slurm_pam_admins.administrators,
    _slurm_pam_admins.of_a_directory_alone,
    _slurm_pam_admins.at_the_machine,
    _slurm_pam_admins.local_groups,
    _slurm_pam_admins.by_accident,
    _slurm_pam_sshd.sshd,
    _slurm_pam_selinux.look,
    _slurm_pam_stacks.stacks,
    _slurm_pam_strays.look,
    _slurm_pam_places.relied_on,
    _slurm_pam_session.removed,
    _slurm_pam_session.kept,
    _slurm_pam_session.shutdown,
    _slurm_pam_session.left_by_su,
    _slurm_pam_paths.paths,
    _slurm_pam_turned_away.turned_away,
    _slurm_pam_ways_in.doors,
)


def findings(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """
    All that stands against closing this node: ``{"problems": [...], "warnings": [...], "open": {...}}``, one text for
    each finding, and what is left open as :py:func:`slurm_pam.audit <salt.modules.slurm_pam.audit>` has it.

    settings
        The merged settings of the formula, of the right shape and without nulls.
    wanted
        Their manifest.
    """
    told: dict[str, list[str]] = {"problems": [], "warnings": []}
    left: list[tuple[str, str]] = []
    with _slurm_pam_ask.once():
        for look in LOOKS:
            for finding in look(settings, wanted):
                told[finding.kind].append(finding.text())
                left += finding.open
            # What a file says that is something else is not for a finding, so nobody reads on in it.
            if look is _slurm_pam_files.files and told["problems"]:
                break
    return {**told, "open": _by_kind(left)}


def _by_kind(left: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, name in dict.fromkeys(left):
        found.setdefault(kind, []).append(name)
    return found


def preflight(given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What is wrong with the settings, and if nothing is, what stands against them on this node; as ``findings`` tells it.

    given
        The pillar ``slurm_pam`` as it came.
    settings
        The merged settings of the formula.
    """
    wrong = _slurm_pam_settings.problems(given, settings, _slurm_pam_modules.slurm_version())
    if wrong:
        return {"problems": wrong, "warnings": [], "open": {}}
    settings = _slurm_pam_record.continued(_slurm_pam_settings.without_nulls(settings))
    return findings(settings, _slurm_pam_wanted.wanted(settings))


def objections(given: Any, settings: Mapping[str, Any], taking_back: bool, auditing: bool) -> dict[str, Any]:
    """
    What stands against a run, as ``preflight`` tells it, with ``misfits``: whether the settings are of the wrong shape.

    given, settings
        As for ``preflight``.
    taking_back
        Whether it is on the way out: then only the shape of the settings counts.
    auditing
        Whether it is part of an audit. In mode ``audit`` itself the node is left to that.

    Raises CommandExecutionError on the way out if it cannot be told what there is to take back.
    """
    misfits = _slurm_pam_settings.misfits(given)
    if taking_back:
        _slurm_pam_record.recorded()
        told = {"problems": misfits, "warnings": [], "open": {}}
    elif settings["mode"] == "audit" and not auditing:
        told = {"problems": _slurm_pam_settings.problems(given, settings), "warnings": [], "open": {}}
    else:
        told = preflight(given, settings)
    return {**told, "misfits": bool(misfits)}
