"""
Who is on this node outside every job: processes of people, how they came, and which of them are to be ended.

Jobs are told by cgroups that nobody but root can make, so that one which a user merely names job_7 hides nothing. A
process of which it is not clear whose it is, or whether a job has it, is told with the reason and is never ended.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _processes
import _slurm_pam_accounts
import _slurm_pam_cgroups
import _slurm_pam_jobs
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_doors import KNOWN
from _slurm_pam_finding import Finding
from _text import printable, some


class Stray(NamedTuple):
    """A process of a user's outside every job."""

    process: Process
    user: str
    came: str  # by which way
    spared: str  # why it is never ended; empty if it may be
    jobs: list[int]  # its user's, whose end does not take it along
    service: bool = False  # whether it is in a service of the system's, which is no reason to warn


# Accounts

_NOBODY = (65534, 65535)
# Those that systemd makes up for a service (systemd.exec(5), DynamicUser).
_DYNAMIC = range(0xEF00, 0xFFF0)
_NO_LOGIN = ("nologin", "false")


def is_ordinary(uid: int, access: Mapping[str, Any]) -> bool | None:
    """
    Whether somebody is neither root, nor the system's, nor an administrator; None if the name services do not tell.

    uid
        A number.
    access
        The setting slurm_pam:access, without nulls.
    """
    if uid < _slurm_pam_accounts.people() or uid in _NOBODY or uid in _DYNAMIC:
        return False
    try:
        name = pwd.getpwuid(uid).pw_name
        # Whoever is to be added to a group, an apply that has not come to it yet counts as well.
        in_group = any(
            name in entry.get("members", []) or _slurm_pam_accounts.is_in(name, group)
            for group, entry in access["groups"].items()
        )
    except (KeyError, CommandExecutionError):
        return None
    return name not in access["users"] and not in_group


def _shown(user: str | int) -> str:
    return f"user {user}" if isinstance(user, int) else printable(user)


def _name(uid: int) -> str:
    return _shown(_slurm_pam_accounts.name(uid))


def _logs_in(uid: int) -> bool:
    try:
        return os.path.basename(pwd.getpwuid(uid).pw_shell) not in _NO_LOGIN
    except KeyError:
        return True


# Cgroups

# Something that looks like one elsewhere, as with a hierarchy that is laid out in another way.
_LIKE_A_JOB = re.compile(r"^\d+:[^:]*:(?!/user\.slice/).*/job_\d+(?:/|$)", re.MULTILINE)
_PLACE = re.compile(r"^(?:\d+:name=systemd|0:):(/.*)$", re.MULTILINE)
_OF_A_USER = re.compile(r"/user\.slice/user-(\d+)\.slice/(user@\1\.service|session-[^/]+\.scope)(?:/|$)")
_UNIT = re.compile(r"(?:/[^/]+\.slice)*/([^/]+\.(?:service|scope))(?:/|$)")


# How they came


def _names(services: Iterable[str], *more: str) -> tuple[str, ...]:
    """root's programs and the units of some doors, and patterns of what these start for one session."""
    doors = [KNOWN[service] for service in services]
    return (*{os.path.basename(name) for door in doors for name in (*door.programs, *door.units)}, *more)


_GRAPHICAL = [service for service, door in KNOWN.items() if door.what.startswith("graphical login")]
_WAYS = {
    "ssh": _names(["sshd"], "sshd-session", "sshd-auth", "ssh*.service"),
    "cron": _names(["cron", "crond", "fcron"], "cronie.service"),
    "at": _names(["atd"]),
    "console": _names(["login"], "*getty*.service"),
    "a graphical login": _names([*_GRAPHICAL, "greetd"], "display-manager.service"),
    "Cockpit": _names(["cockpit"], "cockpit-bridge", "cockpit*.service"),
}
_MANAGER, _CONTAINER, _STEP = "systemd --user", "a container", "a job's step"


@functools.lru_cache(maxsize=1000)
def _way_of(name: str) -> str | None:
    """By which way whoever a program or a unit brought has come, if it is one of them."""
    return next((way for way, names in _WAYS.items() if any(fnmatchcase(name, each) for each in names)), None)


class _Node:
    """Its processes at one moment, with what is asked about them only once."""

    def __init__(self, access: Mapping[str, Any]) -> None:
        self.processes = {process.pid: process for process in _processes.running()}
        self.groups = {pid: _processes.cgroups(pid) for pid in self.processes}
        self.own = _processes.namespace("self")
        self._access, self._ordinary = access, {}

    def ordinary(self, uid: int) -> bool | None:
        if uid not in self._ordinary:
            self._ordinary[uid] = is_ordinary(uid, self._access)
        return self._ordinary[uid]

    def place(self, pid: int) -> str:
        """Where systemd has it: in its own hierarchy of v1 or in v2's, of which a container may see one empty."""
        found = _PLACE.findall(self.groups[pid])
        return next((place for place in found if place != "/"), "/" if found else "")

    def above(self, process: Process) -> Iterator[Process]:
        """The processes that led to it, up to the first one."""
        seen = {process.pid}
        while (parent := self.processes.get(process.parent)) and parent.pid not in seen:
            yield parent
            seen.add(parent.pid)
            process = parent

    def way(self, process: Process) -> tuple[str, str]:
        """How it came here, and why it is to be spared for that, if it is."""
        place = self.place(process.pid)
        of_user, unit = _OF_A_USER.match(place), _UNIT.match(place)
        unit_way = _way_of(unit[1]) if unit else None
        contained = _processes.namespace(process.pid) not in ("", self.own)
        if contained and not (of_user or unit_way):
            return _CONTAINER, f"its container is the system's, in {printable(place) or 'no cgroup'}"
        by, reason = self._led_by(process)
        if by == _STEP and not of_user:
            return _STEP, "a step daemon of Slurm started it"
        if of_user and self.ordinary(int(of_user[1])) is False:
            reason = f"it is in a session of {_name(int(of_user[1]))}"
        if contained:
            return _CONTAINER, reason
        if of_user:
            managed = of_user[2].startswith("user@")
            return _MANAGER if managed else by or "left behind by a session", reason
        if unit and not unit_way:
            return printable(unit[1]), f"{printable(unit[1])} is the system's"
        return by or (f"left behind by {unit_way}" if unit_way else "unknown"), reason

    def _led_by(self, process: Process) -> tuple[str | None, str]:
        """The way that led to it, and whom of those who are to stay it was started by."""
        reason = ""
        for one in self.above(process):
            name = os.path.basename(one.program)
            way = _STEP if name == "slurmstepd" else _way_of(name)
            # atd has one of the two be daemon's.
            if way and 0 in (one.uid, one.real):
                return way, reason
            if one.pid == 1 or name == "systemd":
                break
            if self.ordinary(one.real) is False:
                reason = reason or f"process {one.pid} of {_name(one.real)} started it"
        return None, reason


class _Jobs:
    """The jobs of this node, and what is not certain of them."""

    def __init__(self, module: str, seen: set[int]) -> None:
        self.unknown = ""
        self._owners: dict[int, str | int | None] = {}
        try:
            self._owners = {job["job"]: job["user"] for job in _slurm_pam_jobs.jobs()}
        except Unanswered as error:
            self.unknown = f"it is not known which jobs run here: {error}"
        self._why = "no process is in its cgroup, as where Slurm tracks jobs in another way"
        self._doubtful = {job: user for job, user in self._owners.items() if job not in seen}
        if module == "pam_slurm":
            self._why, self._doubtful = "pam_slurm leaves sessions of users with a job outside of it", self._owners

    def of(self, user: str) -> list[int]:
        return [job for job, owner in self._owners.items() if owner is not None and _is(owner, user)]

    def doubt(self, user: str) -> str:
        """Why everything of a user's is to be spared."""
        job = next((job for job, owner in self._doubtful.items() if owner is None or _is(owner, user)), None)
        return self.unknown if job is None else f"job {job} may be its user's, and {self._why}"


def _is(owner: str | int, user: str) -> bool:
    """Whether a job's owner, a number without a name, is whom a process is told to be of."""
    return user == _shown(owner)


# Strays


def strays(settings: Mapping[str, Any]) -> Iterator[Stray]:
    """
    Processes of people outside every job. Root's, the system's and administrators' are not told.

    settings
        The merged settings of the formula, without nulls; ``access`` and ``module`` are used.
    """
    node = _Node(settings["access"])
    inside = {pid: _slurm_pam_cgroups.job(_slurm_pam_cgroups.read(groups)) for pid, groups in node.groups.items()}
    jobs = _Jobs(settings["module"], {job.number for job in inside.values() if job})
    for process in node.processes.values():
        groups, ordinary = node.groups[process.pid], node.ordinary(process.uid)
        # Without cgroups, it has ended meanwhile; with a real uid of root's, it is root's and acts for somebody.
        if ordinary is False or node.ordinary(process.real) is False or not groups or inside[process.pid]:
            continue
        user = _name(process.uid)
        came, spared = node.way(process)
        service = bool(spared) and came.endswith((".service", ".scope"))
        if not _logs_in(process.uid):
            if service:
                continue  # a daemon with an account of its own
            spared = spared or "its account has no login shell"
        if ordinary is None:
            spared = spared or "this node's name services do not tell whose it is"
        if _LIKE_A_JOB.search(groups):
            spared = spared or "it is in a cgroup that looks like a job's"
        yield Stray(process, user, came, spared or jobs.doubt(user), jobs.of(user), service)


def to_end(settings: Mapping[str, Any], idle: Iterable[str] = ()) -> list[Stray]:
    """
    Those that may be ended.

    settings
        As for :py:func:`strays`.
    idle
        Units of systemd managers that end by themselves.
    """
    idle = set(idle)
    return [one for one in strays(settings) if not one.spared and _manager_of(one) not in idle]


def _manager_of(stray: Stray) -> str | None:
    return f"user@{stray.process.uid}.service" if stray.came == _MANAGER else None


# In words

# No list of numbers or commands is longer, whatever a user starts.
_MOST_PIDS, _MOST_COMMANDS, _LONGEST = 100, 5, 60


def told(found: Iterable[Stray]) -> list[dict[str, Any]]:
    """
    Strays of a user's that came the same way, as one entry; :py:func:`slurm_pam.strays
    <salt.modules.slurm_pam.strays>` says what is in it.

    found
        As :py:func:`strays` has them.
    """
    together: dict[tuple[str, str, str], list[Process]] = {}
    jobs: dict[str, list[int]] = {}
    for stray in found:
        together.setdefault((stray.user, stray.came, stray.spared), []).append(stray.process)
        jobs[stray.user] = stray.jobs
    return [
        {
            "user": user,
            "came": came,
            "since": when(min(one.started for one in processes)),
            "count": len(processes),
            "pids": sorted(one.pid for one in processes)[:_MOST_PIDS],
            "commands": list(dict.fromkeys(map(_command, processes)))[:_MOST_COMMANDS],
            "outlives": jobs[user],
            "spared": spared,
        }
        for (user, came, spared), processes in sorted(together.items(), key=lambda each: each[0])
    ]


def _command(process: Process) -> str:
    words = printable(" ".join(process.arguments)) or printable(process.program)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def when(seconds: float) -> str:
    """A time for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def by_user(found: Iterable[Stray]) -> dict[str, int]:
    """How many of them each user has."""
    counts: dict[str, int] = {}
    for stray in found:
        counts[stray.user] = counts.get(stray.user, 0) + 1
    return dict(sorted(counts.items()))


def look(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Processes of people outside of every job."""
    found = [stray for stray in strays(settings) if not stray.service]
    if not found:
        return
    ends = settings["strays"]["action"] == "end" and settings["mode"] == "enforce"
    open_to_end = [stray for stray in found if not stray.spared]
    if ends and open_to_end:
        grace = settings["strays"]["grace"]
        yield Finding(
            f"People are on this node outside of any job: {_listed(open_to_end)}",
            f"An apply tells them on their terminals, and ends these processes {grace} seconds later",
            "Set slurm_pam:strays:action: report to leave them alone",
            "warnings",
            _open(open_to_end),
        )
        found = [stray for stray in found if stray.spared]
    if found:
        yield Finding(
            f"People are on this node outside of any job: {_listed(found)}",
            "Their processes stay as they are, and one that is an SSH master (ssh -M) gives them new shells for as "
            "long as it lasts, with a job or without",
            "salt-call slurm_pam.strays says what they are"
            + (". Ask them to log out, or end these processes" if ends else ", slurm_pam:strays:action: end ends them"),
            "warnings",
            _open(found),
        )


def _open(found: Iterable[Stray]) -> tuple[tuple[str, str], ...]:
    return tuple(("strays", user) for user in by_user(found))


def _listed(found: Iterable[Stray]) -> str:
    """Each user with how many processes, by which ways and since when, and why they are spared."""
    texts: dict[tuple[str, str], list[Stray]] = {}
    for stray in found:
        texts.setdefault((stray.user, stray.spared), []).append(stray)
    return some(
        [
            f"{user} ({_number(len(of_user))} by {', '.join(sorted({stray.came for stray in of_user}))}, since "
            f"{when(min(stray.process.started for stray in of_user))}{f'; spared: {spared}' if spared else ''})"
            for (user, spared), of_user in sorted(texts.items(), key=lambda each: each[0])
        ]
    )


def _number(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
