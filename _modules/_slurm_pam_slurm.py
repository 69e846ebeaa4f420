"""Whether Slurm on this node is ready for it: its daemons, slurm.conf, and the jobs that run already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _child
import _pam_expand
import _slurm_pam_jobs
import slurm_conf
from _pam_errors import PamError
from _slurm_pam_ask import Unanswered, answer
from _slurm_pam_finding import Finding

# What kind of node this is


def role(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Nodes that are no compute nodes."""
    unit = wanted["units"]["slurmd"]
    try:
        slurmd, controller = _units(unit, "slurmctld")
    except Unanswered:
        slurmd, controller = {}, {}
    runs = slurmd.get("ActiveState") == "active" or slurmd.get("UnitFileState") in ("enabled", "enabled-runtime")
    if settings["require_slurmd"] and not runs:
        yield Finding(
            "slurm_pam:require_slurmd is true, but this node does not run slurmd: the unit "
            f"{unit} is {slurmd.get('ActiveState') or 'unknown'} and {slurmd.get('UnitFileState') or 'not installed'}",
            "On a login node or a controller everyone would be turned away",
            "Enable slurmd first, or, where this is a compute node all the same, set slurm_pam:require_slurmd: false",
        )
    if controller.get("ActiveState") == "active":
        yield Finding(
            "slurmctld runs on this node",
            "Whoever works on the controller without being an administrator needs a job on it from now on",
            "If that is not meant, take this node out of the formula's target and apply slurm_pam.clean to it",
            "warnings",
        )


def _units(*names: str) -> list[dict[str, str]]:
    """What systemd knows of each unit: ActiveState and UnitFileState. Raises Unanswered if it does not answer."""
    shown = answer("systemctl", "show", "--property=ActiveState,UnitFileState", *names).split("\n\n")
    units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown]
    # In a chroot it prints nothing, and has not failed.
    return units + [{}] * (len(names) - len(units))


# slurm.conf


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
    if not _closes_by_steps(settings):
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
            _unless_closed(settings),
        )


# Jobs that run already


def steps(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """pam_slurm_adopt sees a job by its extern step, which a job has that started after PrologFlags=Contain was set."""
    if not _closes_by_steps(settings):
        return
    unseen = [job for job in _slurm_pam_jobs.jobs() if not job["extern"]]
    if unseen:
        names = ", ".join(f"{job['job']} of {job['user'] or 'an unknown user'}" for job in unseen)
        yield Finding(
            f"Jobs run on this node without an extern step: {names}",
            "Started before PrologFlags=Contain was in force, they are no jobs to pam_slurm_adopt, and their own users "
            "are turned away",
            "Drain this node and apply when they have ended, or apply with slurm_pam:mode: adopt until then",
            _unless_closed(settings),
        )


def _closes_by_steps(settings: Mapping[str, Any]) -> bool:
    """Whether whoever has no extern step is turned away."""
    return settings["module"] == "pam_slurm_adopt" and settings["mode"] != "adopt"


def _unless_closed(settings: Mapping[str, Any]) -> str:
    """On a node that is closed already, refusing would help nobody."""
    return "warnings" if _is_closed(settings) else "problems"


def _is_closed(settings: Mapping[str, Any]) -> bool:
    try:
        rules = _pam_expand.expand(settings["pam"]["service"])["types"]["account"]
    except PamError:
        return False  # what is wrong with the files, the look at them tells
    return any(os.path.basename(rule["module"] or "") == f"{settings['module']}.so" for rule in rules)
