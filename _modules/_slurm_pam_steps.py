"""Jobs that run already, and have no extern step to adopt their users' sessions into."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _child
import _pam_expand
import _slurm_pam_jobs
import slurm_conf
from _pam_errors import PamError
from _slurm_pam_ask import Unanswered, answer
from _slurm_pam_finding import Finding

Job = Mapping[str, Any]


def steps(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """pam_slurm_adopt sees a job by its extern step, which a job has that started after PrologFlags=Contain was set."""
    if not closes_by_steps(settings):
        return
    try:
        found = _slurm_pam_jobs.jobs()
    except Unanswered as error:
        yield Finding(
            f"This node could not be asked for its jobs: {error}",
            "pam_slurm_adopt does not see a job without an extern step, and would turn its own user away",
            "Find out why; drain the node and apply when it has no job, or apply with slurm_pam:mode: adopt until then",
            unless_closed(settings),
        )
        return
    unseen = [job for job in found if not job["extern"]]
    if unseen:
        yield from _without_a_step(unseen, found, settings, wanted["slurm_conf"]["path"])
    if silent := [job for job in found if job["user"] is None]:
        yield Finding(
            f"No step daemon of these jobs answers: {', '.join(str(job['job']) for job in silent)}",
            "pam_slurm_adopt waits for it, and logins to this node may hang",
            "Look at its log (SlurmdLogFile in slurm.conf), or end the job",
            "warnings",
        )


def _told(jobs: Iterable[Job]) -> str:
    return ", ".join(f"{job['job']} of {job['user'] or 'an unknown user'}" for job in jobs)


# Had none, or has ended it


def _without_a_step(
    unseen: list[Job], jobs: list[Job], settings: Mapping[str, Any], conf: str | None
) -> Iterator[Finding]:
    ended, unknown = [], ""
    try:
        ended = _ended(unseen, jobs, conf)
    except CommandExecutionError as error:
        unknown = f" (whether they have ended it could not be asked: {error})"
    never = [job for job in unseen if job not in ended]
    if never:
        yield Finding(
            f"Jobs run on this node without an extern step: {_told(never)}",
            "They began before PrologFlags=Contain was in force, so pam_slurm_adopt does not see them, and their own "
            f"users are turned away{unknown}",
            "Drain this node and apply when they have ended, or apply with slurm_pam:mode: adopt until then",
            unless_closed(settings),
        )
    if ended:
        yield Finding(
            f"Jobs run on this node whose extern step has ended: {_told(ended)}",
            "pam_slurm_adopt does not see them any more, and their own users are turned away. Every user can end the "
            "step of their own job, so this does not stop an apply",
            "Whoever wants to log in starts another job",
            "warnings",
        )


def _ended(unseen: list[Job], jobs: list[Job], conf: str | None) -> list[Job]:
    """Those that were given an extern step, and have none. Raises CommandExecutionError if it cannot be asked."""
    started = _started(jobs)
    since = _in_force_since(conf, [started[job["job"]] for job in jobs if job["extern"] and job["job"] in started])
    return [job for job in unseen if started.get(job["job"], 0) > since]


# What scontrol and squeue print a time by.
_SECONDS = {"SLURM_TIME_FORMAT": "%s"}
_PATIENCE = 5


def _started(jobs: Iterable[Job]) -> dict[int, int]:
    """When each job started, as slurmctld knows it: a user cannot change that. Raises Unanswered if it does not say."""
    wanted = ",".join(str(job["job"]) for job in jobs)
    said = _ask("squeue", "--noheader", "--format=%A %S", f"--jobs={wanted}")
    return {int(job): int(start) for job, start in re.findall(r"^(\d+) (\d+)\s*$", said, re.MULTILINE)}


def _in_force_since(conf: str | None, contained: Iterable[int]) -> float:
    """
    A time from which on each job was given an extern step: since slurmctld and slurmd have run with what slurm.conf
    says now, or since the first job that has one started. Infinite if that is not in force.

    conf
        The slurm.conf; None for the one that Slurm reads.
    contained
        When those jobs of this node started that have one.

    Raises CommandExecutionError if that cannot be asked.
    """
    path = slurm_conf.find(conf)
    env = {"SLURM_CONF": path}
    shown = _ask("scontrol", "show", "config", **env)
    if not re.search(r"^PrologFlags\s*=.*\bContain\b", shown, re.MULTILINE | re.IGNORECASE):
        return float("inf")
    slurmctld = _time(r"^BOOT_TIME\s*= (\d+)", shown, "scontrol show config")
    slurmd = _time(r"^Boot time\s*= (\d+)", _ask("scontrol", "show", "slurmd", **env), "scontrol show slurmd")
    # Up to 23.02 a reconfigure is enough, and no new start.
    try:
        written = os.stat(path).st_mtime
    except OSError as error:  # slurmd writes it anew where it comes from slurmctld
        raise Unanswered(f"{path} went while it was looked at: {error.strerror}") from error
    return min([max(slurmctld, slurmd, written), *contained])


def _ask(program: str, *words: str, **env: str) -> str:
    return answer(_child.which(program) or program, *words, timeout=_PATIENCE, env={**_SECONDS, **env})


def _time(pattern: str, said: str, by: str) -> int:
    found = re.search(pattern, said, re.MULTILINE)
    if not found:
        raise Unanswered(f"{by} does not say when it was started")
    return int(found[1])


# Whether it matters


def closes_by_steps(settings: Mapping[str, Any]) -> bool:
    """Whether whoever has no extern step is turned away."""
    return settings["module"] == "pam_slurm_adopt" and settings["mode"] != "adopt"


def unless_closed(settings: Mapping[str, Any]) -> str:
    """On a node that is closed already, refusing would help nobody."""
    return "warnings" if is_closed(settings) else "problems"


def is_closed(settings: Mapping[str, Any]) -> bool:
    """Whether the service's account stack asks Slurm's module."""
    try:
        rules = _pam_expand.expand(settings["pam"]["service"])["types"]["account"]
    except PamError:
        return False  # a problem then; what is wrong with the files, the look at them tells
    return any(rule["name"] == f"{settings['module']}.so" for rule in rules)
