"""What kind of node this is: a compute node, or one that people need without a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import _child
from _slurm_pam_ask import Unanswered, booted, units
from _slurm_pam_finding import Finding


def role(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Nodes that are no compute nodes, and what cannot be known of one that does not run yet."""
    unit = wanted["units"]["slurmd"]
    runs_now = booted()
    if not runs_now:
        yield from _image(settings)
    try:
        slurmd, controller = (_units if runs_now else _unit_files)(unit, "slurmctld")
    except Unanswered as error:
        yield Finding(
            f"systemd could not be asked whether this node runs slurmd or slurmctld: {error}",
            "On a login node or a controller everyone would be turned away",
            "Find out what is wrong with systemd, or, where this is a compute node all the same, set "
            "slurm_pam:require_slurmd: false",
            "problems" if settings["require_slurmd"] else "warnings",
        )
        return
    runs = slurmd.get("ActiveState") == "active" or slurmd.get("UnitFileState") in ("enabled", "enabled-runtime")
    if settings["require_slurmd"] and not runs:
        yield Finding(
            "slurm_pam:require_slurmd is true, but this node does not run slurmd: the unit "
            f"{unit} is {slurmd.get('ActiveState') or 'unknown'} and {slurmd.get('UnitFileState') or 'not installed'}",
            "On a login node or a controller everyone would be turned away",
            "Enable slurmd first, or, where this is a compute node all the same, set slurm_pam:require_slurmd: false",
        )
    if controller.get("ActiveState") == "active" or (not runs_now and controller.get("UnitFileState") == "enabled"):
        yield Finding(
            "slurmctld runs on this node" if runs_now else "slurmctld is enabled in this image",
            "Whoever works on the controller without being an administrator needs a job on it from now on",
            "If that is not meant, take this node out of the formula's target and apply slurm_pam.clean to it",
            "warnings",
        )


def _image(settings: Mapping[str, Any]) -> Iterator[Finding]:
    yield Finding(
        "No systemd runs this system, as while an image is built",
        "What runs on a node that boots from it, and which other sshd its units start, is not known here",
        "Audit such a node: salt-call slurm_pam.audit",
        "warnings",
    )
    if settings["confirm"]:
        yield Finding(
            f"slurm_pam:confirm is {settings['confirm']}, but no systemd runs this system, as while an image is built",
            "Its timers would have to take the apply back",
            "Set slurm_pam:confirm: 0 for the build, and try the image on one node first",
        )


def _units(*names: str) -> list[dict[str, str]]:
    """What systemd knows of each unit: ActiveState and UnitFileState. Raises Unanswered if it does not answer."""
    shown = [{key: texts[0] for key, texts in unit.items()} for unit in units("ActiveState,UnitFileState", *names)]
    return (shown + [{}] * len(names))[: len(names)]


def _unit_files(*names: str) -> list[dict[str, str]]:
    """The same of a system that does not run, as its files say. Raises Unanswered if nothing can read them."""
    systemctl = _child.which("systemctl")
    if systemctl is None:
        raise Unanswered("there is no systemctl")
    # It fails for a unit that is not enabled, and says so.
    told = [_child.ask(systemctl, "is-enabled", name).stdout.strip() for name in names]
    return [{"ActiveState": "not running here", "UnitFileState": state} for state in told]
