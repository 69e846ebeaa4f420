"""
A look: what a session is held to once it is in its job, as this node's slurm.conf and cgroup.conf say.

slurmd reads its own node's files, and hands them to each step. slurmctld tells of a cgroup.conf as well (``scontrol
show config``), but of that on its own host (``cgroup_get_conf_list`` in src/slurmctld/proc_req.c): it is not asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _child
import _slurm_pam_modules
import slurm_conf
from _slurm_pam_finding import Finding
from _slurm_pam_settings import as_word

# A key in lower case: key, value and source, as slurm_conf has it.
Values = Mapping[str, Mapping[str, Any]]


_SWAPS = "/proc/swaps"


class Kind(NamedTuple):
    """Something that jobs are held to, and what it takes."""

    keys: tuple[str, ...]  # of cgroup.conf, one of which has to be yes
    allocated: bool  # whether it counts only where memory is allocated to jobs
    gets: str  # by a user whose session is not held to it
    matters: Callable[[Values], bool]  # on this node


def _has_swap(slurm: Values) -> bool:
    with open(_SWAPS, encoding="utf-8", errors="replace") as swaps:
        return len(swaps.readlines()) > 1  # below the heading


def _has_devices(slurm: Values) -> bool:
    return bool(_value(slurm, "GresTypes"))


def _always(slurm: Values) -> bool:
    return True


# Source: cgroup.conf(5); task_cgroup.c and task_cgroup_memory.c in src/plugins/task/cgroup.
KINDS = {
    "cores": Kind(("ConstrainCores",), False, "every core of this node", _always),
    # With the limit of swap comes one of memory.
    "memory": Kind(("ConstrainRAMSpace", "ConstrainSwapSpace"), True, "all of its memory", _always),
    "swap": Kind(("ConstrainSwapSpace",), True, "all of its swap", _has_swap),
    "devices": Kind(("ConstrainDevices",), False, "every device, such as the GPUs of others", _has_devices),
}
# Since then the default of SelectType gives out parts of a node (DEFAULT_SELECT_TYPE in src/common/read_config.h).
_PARTS = (23, 11)


def confinement(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What sessions are not held to: an error where the settings ask for it, else a warning where it matters."""
    conf, asked = wanted["slurm_conf"], settings["confine"]
    if settings["module"] != "pam_slurm_adopt" or (not asked and _is_told_elsewhere(wanted)):
        return
    try:
        slurm, cgroup, path = _read(conf)
        lacking = {name: told for name, kind in KINDS.items() if (told := _lacking(kind, slurm, cgroup, path))}
        mattering = [] if _whole_nodes(slurm) else [name for name, kind in KINDS.items() if kind.matters(slurm)]
    except (CommandExecutionError, OSError) as error:
        yield Finding(
            f"What jobs are held to could not be read: {error}",
            "Without a limit of its own, a session in a job of one core can use the whole node",
            "Make slurm.conf and cgroup.conf readable, or say where they are (slurm_pam:slurm:conf)",
            "problems" if asked else "warnings",
        )
        return
    if refused := [name for name in lacking if name in asked]:
        yield Finding(
            f"slurm_pam:confine asks for {', '.join(refused)}, but jobs here are not held to it: "
            f"{_reasons(lacking, refused)}",
            f"A session in a job of one core can use {_gets(refused)}",
            "Change it on the whole cluster and restart every slurmd, or take it out of slurm_pam:confine",
        )
    if warned := [name for name in lacking if name in mattering and name not in asked]:
        yield Finding(
            f"Jobs here are not held to their {', '.join(warned)}: {_reasons(lacking, warned)}",
            f"A session in a job of one core can use {_gets(warned)}",
            "Change it on the whole cluster and restart every slurmd; slurm_pam:confine makes sure of it",
            "warnings",
        )

    yield from _namespaces(settings, slurm)


def _namespaces(settings: Mapping[str, Any], slurm: Values) -> Iterator[Finding]:
    """Source: slurm.conf(5), JobContainerType, and NamespaceType from 25.11 on; read_config.c in src/common."""
    values = {key: _value(slurm, key) for key in ("NamespaceType", "JobContainerType")}
    given = [key for key, value in values.items() if value and not re.search(r"(?:^|/)none$", value)]
    if given and not joins(settings):
        yield Finding(
            f"{_told(slurm, given[0])}, and slurm_pam:pam_slurm_adopt:join_container is false",
            "A session sees the node's own /tmp, and not its job's",
            "Take join_container out, unless that is meant",
            "warnings",
        )


def joins(settings: Mapping[str, Any]) -> bool:
    """Whether a session is put into the namespaces of its job."""
    return as_word(settings["pam_slurm_adopt"].get("join_container", True)) == "true"


def _is_told_elsewhere(wanted: Mapping[str, Any]) -> bool:
    """Whether Slurm is yet to be installed, or the look at slurm.conf says that there is none."""
    if wanted["packages"]["node"] and _child.which("slurmd") is None:
        return True
    try:
        slurm_conf.find(wanted["slurm_conf"]["path"])
    except CommandExecutionError:
        return wanted["slurm_conf"]["manage"] != "keep"
    return False


def _read(conf: Mapping[str, Any]) -> tuple[Values, Values, str]:
    """slurm.conf as it is going to be, cgroup.conf, and where that is: Slurm looks beside slurm.conf alone."""
    path = slurm_conf.find(conf["path"])
    slurm = slurm_conf.effective(path)
    for key, value in conf["settings"].items() if conf["manage"] == "enforce" else ():
        # A list keeps what is in it.
        word = ",".join([_value(slurm, key), *value]) if isinstance(value, list) else str(value)
        slurm[key.lower()] = {"key": key, "value": word, "source": "slurm_pam:slurm:settings"}
    beside = os.path.join(os.path.dirname(path), "cgroup.conf")
    return slurm, slurm_conf.effective(beside) if os.path.exists(beside) else {}, beside


def _lacking(kind: Kind, slurm: Values, cgroup: Values, path: str) -> str:
    """The first thing that is not as it takes; nothing if sessions are held to it."""
    if not re.search(r"(?:^|[,/\s])cgroup\b", _value(slurm, "TaskPlugin"), re.IGNORECASE):
        return f"{_told(slurm, 'TaskPlugin')}, without task/cgroup"
    if kind.allocated and not re.search(r"CR_(?:\w+_)?Memory\b", _value(slurm, "SelectTypeParameters"), re.IGNORECASE):
        return f"{_told(slurm, 'SelectTypeParameters')}, and without memory in it, jobs get none that could be held"
    if any(slurm_conf.BOOLEANS.get(_value(cgroup, key).lower()) for key in kind.keys):
        return ""
    return _told(cgroup, kind.keys[0], path if os.path.exists(path) else f"there is no {path}")


def _value(values: Values, key: str) -> str:
    return values.get(key.lower(), {}).get("value", "")


def _told(values: Values, key: str, place: str = "slurm.conf") -> str:
    found = values.get(key.lower())
    return f"{key} is {found['value']} ({found['source']})" if found else f"{key} is not set ({place})"


def _whole_nodes(slurm: Values) -> bool:
    """Whether a job has its nodes to itself, so that there is nothing of others to be kept from."""
    chosen = _value(slurm, "SelectType")
    if chosen:
        return chosen.lower().endswith("linear")
    release = re.findall(r"\d+", _slurm_pam_modules.slurm_version() or "")
    return bool(release) and tuple(map(int, release[:2])) < _PARTS


def _reasons(lacking: Mapping[str, str], names: list[str]) -> str:
    return "; ".join(dict.fromkeys(lacking[name] for name in names))


def _gets(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(KINDS[name].gets for name in names[:-1]), KINDS[names[-1]].gets)))
