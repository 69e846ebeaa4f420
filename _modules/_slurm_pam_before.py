"""
Who was on this node before it was closed: connections that sshd lets in by the PAM files of before, sessions that
lasted, and the systemd managers of people who are gone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _processes
import _slurm_pam_accounts
from _processes import Process
from _slurm_pam_accounts import PEOPLE
from _slurm_pam_finding import Finding
from _text import printable, some

# The user that sshd's child is until a login is through (SSH_PRIVSEP_USER in OpenSSH's configure.ac)
_PRIVSEP = "sshd"
# Programs of OpenSSH; from 9.8 on a connection is sshd-session's, from 10.0 on its child is sshd-auth.
_SSHD = ("sshd", "sshd-session", "sshd-auth")
# Seconds in which a login that is under way may be through by itself, and in which one that is told to end has to.
_PATIENCE = 5
_STEP = 0.1


# Connections


def waiting(files: Iterable[str] | None = None) -> list[Process]:
    """
    sshd's processes for connections that are not logged in yet. sshd reads the PAM files as soon as it is told a user's
    name, and one that waits after this is let in by them as they were: up to LoginGraceTime later, 0 being for ever.

    files
        Only those that are older than the newest of these files; by default all.

    Source: OpenSSH's auth2.c (input_userauth_request calls start_pam).
    """
    since = max(map(_changed, files), default=0.0) if files is not None else time.time()
    found = _sshd()
    beginning = {process.parent for process in found if process.uid == _uid(_PRIVSEP)}
    # A process that began in the second of the change may have begun before it.
    return [one for one in found if one.pid in beginning and one.uid == 0 and one.started <= since + 1]


def told(connections: Iterable[Process]) -> list[str]:
    """Each connection in words."""
    return [f"process {one.pid}, since {_when(one.started)}" for one in connections]


def end(connections: Iterable[Process]) -> list[Process]:
    """
    End connections that are not through after some seconds, and return those that were ended.

    connections
        As :py:func:`waiting` has them.
    """
    left = _lasting(connections, lambda: {one.pid for one in waiting()})
    for one in left:
        _tell(one, signal.SIGTERM)
    for stubborn in _lasting(left, lambda: {one.pid for one in left if _is_there(one)}):
        _tell(stubborn, signal.SIGKILL)
    return left


def _lasting(processes: Iterable[Process], there: Callable[[], set[int]]) -> list[Process]:
    """Those that last, after as much patience as there is. They may be many, so one look is for all of them."""
    left, until = list(processes), time.monotonic() + _PATIENCE
    while left:
        now = there()
        left = [one for one in left if one.pid in now]
        if time.monotonic() > until:
            break
        time.sleep(_STEP)
    return left


def _is_there(process: Process) -> bool:
    """Whether it still is the same one, and not another that has its number."""
    now = _processes.look(process.pid)
    return now is not None and now[:4] == process[:4]


def _tell(process: Process, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError), _held(process.pid) as handle:
        if _is_there(process):
            os.kill(process.pid, what) if handle is None else signal.pidfd_send_signal(handle, what)


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A handle, during which nobody else gets this number; None if the kernel (before 5.3) or this Python has none."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0


def _sshd() -> list[Process]:
    return list(filter(_is_sshd, _processes.running()))


def _is_sshd(process: Process) -> bool:
    return os.path.basename(process.program) in _SSHD


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


# Sessions


# Not where users can make cgroups of their own, by whatever name.
_JOB = re.compile(r"^\d+:[^:]*:(?!/user\.slice/).*/job_\d+(?:/|$)", re.MULTILINE)


def sessions(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Sessions over SSH outside of every job, of people who are no administrators."""
    told = [f"{_name(one.uid)} (process {one.pid}, since {_when(one.started)})" for one in _outside(settings["access"])]
    if told:
        yield Finding(
            f"People are logged in outside of any job: {some(told)}",
            "Their sessions stay as they are, and one that is an SSH master (ssh -M) gives them new shells for as long "
            "as it lasts, with a job or without",
            "Ask them to log out, or end these processes",
            "warnings",
        )


def _outside(access: Mapping[str, Any]) -> Iterator[Process]:
    for process in logged_in(_sshd()):
        in_job = _JOB.search(_processes.cgroups(process.pid))
        if not in_job and is_ordinary(process.uid, access, unknown=True):
            yield process


def logged_in(processes: Iterable[Process]) -> Iterator[Process]:
    """Of these, sshd's process of each session, which runs as whoever is logged in; root's sessions are none."""
    found = [process for process in processes if _is_sshd(process)]
    connections = {process.pid for process in found if process.uid == 0}
    for process in found:
        if process.parent in connections and process.uid not in (0, _uid(_PRIVSEP)):
            yield process


def _name(uid: int) -> str:
    try:
        return printable(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return f"user {uid}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def is_ordinary(uid: int, access: Mapping[str, Any], unknown: bool) -> bool:
    """Whether somebody is no administrator; ``unknown`` is for those of whom the name services do not tell now."""
    try:
        name = pwd.getpwuid(uid).pw_name
        # Whoever is to be added to a group, an apply that has not come to it yet counts as well.
        in_group = any(
            name in entry.get("members", []) or _slurm_pam_accounts.is_in(name, group)
            for group, entry in access["groups"].items()
        )
    except (KeyError, CommandExecutionError):
        return unknown
    return name not in access["users"] and not in_group


# systemd's managers of users


_MANAGER = re.compile(r"/user-(\d+)\.slice/user@\1\.service(?:/|$)", re.MULTILINE)
_SESSION = re.compile(r"/user-(\d+)\.slice/session-[^/]+\.scope(?:/|$)", re.MULTILINE)


def managers(access: Mapping[str, Any]) -> list[str]:
    """
    The units of systemd managers whose user has no session: with logind stopped nothing ends them, and what a job
    starts by them (``systemd-run --user``) outlives the job. Root's, the system's and administrators' are not told.

    access
        The setting slurm_pam:access.

    Source: user@.service(5); systemd-run(1).
    """
    managed, in_session = set(), set()
    for process in _processes.running():
        groups = _processes.cgroups(process.pid)
        managed |= {int(uid) for uid in _MANAGER.findall(groups)}
        in_session |= {int(uid) for uid in _SESSION.findall(groups)}
    people = sorted(uid for uid in managed - in_session if uid >= PEOPLE)
    # An administrator of a directory that does not answer keeps theirs.
    return [f"user@{uid}.service" for uid in people if is_ordinary(uid, access, unknown=False)]
