"""Whether slurm.conf has what pam_slurm_adopt needs, and the cluster runs with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _child
import slurm_conf
from _slurm_pam_finding import Finding
from _slurm_pam_steps import closes_by_steps, unless_closed

_PATIENCE = 2  # seconds for slurmctld; the file says it as well


def conf(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What slurm.conf does not say, or what it is to say and the cluster does not do yet."""
    conf = wanted["slurm_conf"]
    if conf["manage"] == "keep" or (wanted["packages"]["node"] and _child.which("slurmd") is None):
        return
    try:
        if conf["manage"] == "enforce":
            planned = slurm_conf.plan(conf["settings"], conf["path"], conf["tag"])
            if planned:
                slurm_conf.test_config(conf["path"], planned)
            yield from _not_in_force(settings, conf)
        else:
            yield from _lacking(conf)
    except (CommandExecutionError, SaltInvocationError) as error:
        yield Finding(
            f"slurm_pam:slurm: {error}",
            "Whether sessions can be put into their jobs is written there",
            "Say where it is (slurm_pam:slurm:conf), or set slurm_pam:slurm:manage: keep",
        )


def _lacking(conf: Mapping[str, Any]) -> Iterator[Finding]:
    unanswered: list[str] = []
    for setting in slurm_conf.check(conf["settings"], conf["path"], _PATIENCE, unanswered):
        yield Finding(
            _lack(setting),
            "Without it there is nothing to put a session into",
            "Change slurm.conf on the whole cluster and restart slurmctld and every slurmd, or set "
            "slurm_pam:slurm:manage: enforce",
        )
    yield from map(_file_alone, unanswered)


def _file_alone(reason: str) -> Finding:
    return Finding(
        f"slurmctld did not say what it runs with ({reason})",
        "slurm.conf was read instead; a cluster that was not restarted since it was changed may run without it",
        "Apply again when slurmctld answers",
        "warnings",
    )


def _lack(setting: Mapping[str, Any]) -> str:
    now = "is not set" if setting["found"] is None else f"is {setting['found']}"
    wanted = setting["wanted"]
    must = f"has to contain {', '.join(wanted)}" if isinstance(wanted, list) else f"has to be {wanted}"
    return f"{setting['key']} {now} ({setting['source']}), and {must}"


# What pam_slurm_adopt needs (https://slurm.schedmd.com/pam_slurm_adopt.html)
_ADOPTION = ("prologflags", "proctracktype", "taskplugin")


def _not_in_force(settings: Mapping[str, Any], conf: Mapping[str, Any]) -> Iterator[Finding]:
    """The file will say it, but a job gets an extern step only if slurmctld and slurmd were started with it."""
    if not closes_by_steps(settings):
        return
    needed = {key: value for key, value in conf["settings"].items() if key.lower() in _ADOPTION}
    unanswered: list[str] = []
    lacking = slurm_conf.check(needed, conf["path"], _PATIENCE, unanswered)
    yield from map(_file_alone, unanswered)
    told = "; ".join(_lack(setting) for setting in lacking if setting["source"] == "scontrol show config")
    if told:
        yield Finding(
            f"slurm_pam:slurm:manage is enforce, but the cluster does not run with it yet: {told}",
            "Until slurmctld and slurmd run with it, jobs get no extern step, and their own users would be turned away",
            "Set it in slurm.conf on the whole cluster and restart slurmctld and every slurmd first, or apply with "
            "slurm_pam:mode: adopt until then",
            unless_closed(settings),
        )
