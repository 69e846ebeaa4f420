"""
The sessions over SSH of this node, each held against its job: measured in /proc and the cgroup tree, and not read from
a configuration.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import _processes
import _slurm_pam_accounts
import _slurm_pam_before
import _slurm_pam_cgroups
import _slurm_pam_jobs
import _slurm_pam_node
import _slurm_pam_strays
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_cgroups import NO_PROGRAM, Held, Job, Places
from _slurm_pam_confinement import joins
from _text import printable

_KINDS = ("cores", "memory", "swap", "devices")
# Those in which Slurm's plugins put a job (job_container/tmpfs, namespace/linux).
_NAMESPACES = ("mnt", "pid", "user")

Running = Mapping[int, Process]


def confined(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Each session in a job, and each that should be in one, as :py:func:`slurm_pam.confined` tells it.

    settings
        The merged settings of the formula, without nulls.

    Raises Unanswered if the kernel does not say what jobs there are.
    """
    running = {process.pid: process for process in _processes.running()}
    sessions = {process.pid: _and_its(process, running) for process in _slurm_pam_before.logged_in(running.values())}
    # sshd's own process of a session, which made it, is adopted as well.
    theirs = {pid for pids in sessions.values() for pid in pids} | {running[pid].parent for pid in sessions}
    others = _by_job(pid for pid in running if pid not in theirs and not _is_slurms(running[pid]))
    jobs = _slurm_pam_jobs.jobs()
    without_program = functools.cache(lambda: _without_program(settings))  # slurmctld is asked once, if at all
    told = []
    for pid, pids in sessions.items():
        places = {each: where for each in pids if (where := _slurm_pam_cgroups.places(each))}
        job = next(filter(None, map(_slurm_pam_cgroups.job, places.values())), None)
        row = {"user": _slurm_pam_accounts.name(running[pid].uid), "pid": pid, "job": job.number if job else None}
        if job:
            row |= _held(places, job, without_program)
            row["namespaces"] = _namespaces(pid, others.get(job, []))._asdict()
            row["problems"] = [f"{_who(row)} {what}" for what in _short_of(row, settings)]
        elif _slurm_pam_strays.is_ordinary(running[pid].uid, settings["access"]) is not False:
            row |= {"cgroup": _where(places.get(pid, {})), "outside": list(places)}
            row["problems"] = [f"{_who(row)} {what}" for what in _not_adopted(row, jobs)]
        if row.get("problems") and not _processes.is_there(running[pid]):
            continue  # it has ended meanwhile: nothing has to hold it
        if job or row.get("problems"):
            told.append(row)
    return {"holds": not any(row["problems"] for row in told), "sessions": told}


def _and_its(process: Process, running: Running) -> list[int]:
    """A process and all that it started, as far as their parents tell."""
    found = [process.pid]
    for pid in found:
        found += [one.pid for one in running.values() if one.parent == pid]
    return found


def _is_slurms(process: Process) -> bool:
    """Its daemon of a step is in the job's cgroup, and in the node's namespaces."""
    return os.path.basename(process.program) == "slurmstepd"


def _by_job(pids: Iterable[int]) -> dict[Job, list[int]]:
    found: dict[Job, list[int]] = {}
    for pid in pids:
        if job := _slurm_pam_cgroups.job(_slurm_pam_cgroups.places(pid)):
            found.setdefault(job, []).append(pid)
    return found


def _where(places: Places) -> str:
    return places.get("", next(iter(places.values()), ""))


# What a session is held to


def _held(places: Mapping[int, Places], job: Job, without_program: Callable[[], Held]) -> dict[str, Any]:
    # Most processes are in one place.
    left = {tuple(where.items()): _slurm_pam_cgroups.left(where, job) for where in places.values()}
    found = {kind: [_slurm_pam_cgroups.held(kind, dict(where), job) for where in left] for kind in _KINDS}
    found["devices"] = [without_program() if one == NO_PROGRAM else one for one in found["devices"]]
    return {
        "cgroup": job.path,
        "outside": [pid for pid, where in places.items() if left[tuple(where.items())]],
        **{kind: _worst(each)._asdict() for kind, each in found.items()},
    }


def _without_program(settings: Mapping[str, Any]) -> Held:
    """What it means that nothing decides on a job's devices."""
    try:
        if _slurm_pam_node.has_gres(settings):
            return NO_PROGRAM
        return Held(True, "Slurm gives out no devices of this node")
    except Unanswered as error:
        return Held(None, f"{NO_PROGRAM.found}, as on a node without GRES; {error}")


def _worst(found: Iterable[Held]) -> Held:
    """Of all processes of a session: not held comes before not known, and that before held."""
    return min(found, key=lambda one: (False, None, True).index(one.held))


def _namespaces(pid: int, others: list[int]) -> Held:
    """
    Whether a session sees what its job sees.

    pid
        sshd's process of the session, which is younger than the adoption. What its user starts may see something else.
    others
        The job's processes that no session started.
    """
    mine = _seen(pid)
    seen = [kinds for kinds in map(_seen, others) if kinds]
    if not mine or not seen:
        return Held(None, "its job has no process to compare with" if mine else "it has ended")
    # Its programs may have made more for themselves.
    differing = min(([kind for kind in _NAMESPACES if kinds[kind] != mine[kind]] for kinds in seen), key=len)
    return Held(False, f"its job has others: {', '.join(differing)}") if differing else Held(True, "those of its job")


def _seen(pid: int) -> dict[str, str]:
    """The namespaces of a process; nothing if it has ended."""
    try:
        return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in _NAMESPACES}
    except OSError:
        return {}


# What is wrong with it


def _who(row: Mapping[str, Any]) -> str:
    return f"The session of {printable(str(row['user']))} (process {row['pid']})"


def _not_adopted(row: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Of one in no job: whether it should be in one. People without a job are no matter of confinement."""
    own = [str(job["job"]) for job in jobs if job["user"] == row["user"]]
    silent = [str(job["job"]) for job in jobs if job["user"] is None]
    where = f"is in no job, but in {printable(row['cgroup']) or 'no cgroup'}"
    if own:
        yield (
            f"{where}, although job {', '.join(own)} of this user runs here. No limit holds it, and it outlasts the "
            "job. Look for pam_slurm_adopt in sshd's log, find out who moved it, and end it"
        )
    elif silent:
        yield (
            f"{where}, and it is not known whether it should be in one: the step daemon of job {', '.join(silent)} "
            "does not answer. Look at its log (SlurmdLogFile in slurm.conf)"
        )


def _short_of(row: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Of one in a job."""
    if row["outside"]:
        yield (
            f"has processes outside of the cgroup of its job {row['job']}: {', '.join(map(str, row['outside']))}. "
            "No limit holds them, and they outlast the job. No user can move them: find out what root or a PAM module "
            "did, and end them"
        )
    for kind in filter(settings["confine"].__contains__, _KINDS):
        if row[kind]["held"] is not True:
            what = "is not known to be held" if row[kind]["held"] is None else "is not held"
            yield (
                f"{what} to the {kind} of its job {row['job']} ({printable(row[kind]['found'])}), as slurm_pam:confine "
                "asks for. Look at cgroup.conf, for devices at gres.conf as well, and whether slurmd and the job were "
                "started with them"
            )
    if joins(settings) and row["namespaces"]["held"] is False:
        yield (
            f"is not in the namespaces of its job {row['job']} ({row['namespaces']['found']}), and sees files and "
            "processes of the node and of others. Look for pam_slurm_adopt in sshd's log; if that is as it should be, "
            "set slurm_pam:pam_slurm_adopt:join_container: false"
        )
