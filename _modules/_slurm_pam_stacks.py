"""Whether the PAM files can be made on this node, and would do what they should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _pam_expand
import _pam_libpam
import _pam_plan
import _pam_prove
import _slurm_pam_record
import _slurm_pam_wanted
import file_transaction
from _pam_errors import PamError, PamUsageError
from _slurm_pam_doors import KNOWN
from _slurm_pam_finding import Finding
from _slurm_pam_settings import nearest
from _text import printable


def stacks(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """They are proven if they can be made at all, and if it is understood what has to hold."""
    given = settings, wanted
    wrong = [*service(*given), *doors(*given), *foreign(*given), *message(*given), *policy(*given)]
    yield from wrong or proof(*given)


def service(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the service's file names the stacks whose names are to be changed there, or ours already."""
    name = settings["pam"]["service"]
    path = _pam_libpam.locate(name)
    if path is None:
        yield Finding(
            f"There is no PAM file {name} in {', '.join(_pam_libpam.node_libpam()['confdirs'])}",
            "No file is there that could name Slurm's rules",
            "Restore it from its package, or name the service that sshd uses (slurm_pam:pam:service)",
        )
        return
    for kind, found in _unnamed(path, wanted["pam"]["files"][-1]["changes"]):
        yield Finding(
            found,
            "Slurm's rules take the place of that name, so they would never be asked",
            f"Set slurm_pam:pam:{kind}_source to the name that stands there, or add the line to {path}",
        )


def doors(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Doors that are not on this node, or whose file names no stack in whose stead the gate could be named."""
    for name in settings["doors"]:
        if name not in KNOWN and _pam_libpam.locate(name) is None:
            yield Finding(
                f"slurm_pam:doors:{name}: there is no PAM service {name} on this node, and none is known",
                "Whatever is meant would stay as it is",
                f"Correct the name{nearest(name, ' '.join(KNOWN))}; slurm_pam.show_doors has those of this node",
            )
    for door in _slurm_pam_wanted.closed(settings):
        path = _pam_libpam.locate(door.service)
        key = f"slurm_pam:doors:{door.service}"
        if path is None:
            yield Finding(
                f"{key} is 'close', but there is no PAM file {door.service} in "
                f"{', '.join(_pam_libpam.node_libpam()['confdirs'])}",
                "Such a service falls back to the file other, like all that have none",
                f"Give it a file of its own (/etc/pam.d/{door.service}), or leave {key} out for this node",
            )
            continue
        needed = [change for change in _slurm_pam_wanted.door_changes(settings, door) if "missing" not in change]
        for _, found in _unnamed(path, needed):
            yield Finding(
                f"{key} is 'close', but {found}",
                "The gate takes the place of that name, so it would never be asked",
                f"Say the name that stands there in slurm_pam:pam:door_sources:{door.service}, or switch the service "
                f"off and set {key}: leave",
            )
        included = _slurm_pam_wanted.included_door(settings, door)
        if included and included not in _slurm_pam_wanted.closed(settings):
            yield Finding(
                f"{key} is 'close', but {path} includes {included.service}, which is not closed",
                "Its sessions would be those of that service, out of their job",
                f"Close it as well (slurm_pam:doors:{included.service}: close)",
            )


def _unnamed(path: str, changes: list[dict]) -> Iterator[tuple[str, str]]:
    """What a service's file does not name of that whose name is to be changed, and what it names instead."""
    try:
        lines = [line for line in _pam_expand.read(path) if line["kind"] == "include"]
    except PamError as error:
        yield "account", str(error)
        return
    for names in (change["retarget"] for change in changes):
        kind, source = names["type"], names["from"]
        named = [line["target"] for line in lines if line["type"] in (kind, None)]
        if not {source, names["to"]} & set(named):
            shown = ", ".join(map(printable, named)) or "nothing"
            yield kind, f"{path} does not name {source} for {kind}; what it names is {shown}"


# Files that are to be ours as a whole


def foreign(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Somebody else's files where ours are to be."""
    for part in filter(None, (wanted["pam"], wanted["slurmstepd"])):
        for file in part["files"]:
            whole = file.keys() & _slurm_pam_wanted.WHOLE and "absent" not in file
            if not part["replace"] and whole and not _is_ours(file, part["marker"]):
                yield Finding(
                    f"{file['path']} is there already, and this formula did not write it",
                    "What somebody put there would be lost",
                    "Move it away, or allow it to be replaced (slurm_pam:pam:replace: true)",
                )


def message(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Somebody else's file where the message is to be."""
    told = wanted["message"]
    if not told or settings["pam"]["replace"] or _slurm_pam_record.message():
        return
    try:
        found = file_transaction.read(told["path"])
    except CommandExecutionError as error:
        found = str(error)
    if found not in (None, told["text"]):
        yield Finding(
            f"{told['path']} is there already, and this formula did not write it",
            "slurm_pam:pam:message goes there, and what somebody put there would be lost",
            "Move it away, or allow it to be replaced (slurm_pam:pam:replace: true)",
        )


def _is_ours(file: Mapping[str, Any], marker: str) -> bool:
    """As the plan of the files has it, or nothing stands there."""
    try:
        found = file_transaction.read(file["path"])
    except CommandExecutionError:
        return False  # a directory, say
    if isinstance(found, str):
        return found.startswith(f"{marker}\n")
    return found is None or "link" in file


# What has to hold


def policy(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the site's own scenarios are scenarios; whether they hold is another matter."""
    own = settings["pam"]["policy"]
    try:
        _pam_prove.prove(own)
    except (PamError, PamUsageError) as error:
        wrong = str(error)
    else:
        names = [scenario["name"] for scenario in wanted["pam"]["policy"]]
        taken = [scenario["name"] for scenario in own if names.count(scenario["name"]) > 1]
        wrong = f"the formula has a scenario named {taken[0]!r} itself" if taken else None
    if wrong:
        yield Finding(
            f"slurm_pam:pam:policy: {wrong}",
            "What is not understood cannot be proven",
            "pam_verdict.prove describes scenarios",
        )


_SUBSTACK = "With slurm_pam:pam:account_base: substack, nothing in the node's own rules can end the stack ahead of ours"


def proof(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the files would do what they should; no package needs to be there for that."""
    pam = wanted["pam"]
    try:
        changes = _pam_plan.plan(pam["files"], marker=pam["marker"], replace=pam["replace"], disk=file_transaction)
        # If nothing is to be written, the state that would write proves what is there; once is enough.
        if pending := [change for change in changes if change["before"] != change["after"]]:
            _pam_plan.prove(pam["policy"], pending)
    except (PamError, CommandExecutionError) as error:
        yield Finding("\n".join([str(error), *([_SUBSTACK] if settings["pam"]["account_base"] == "copy" else [])]))
