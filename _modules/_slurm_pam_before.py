"""
Who was on this node before it was closed, and is no login of today: connections that sshd lets in by the PAM files of
before, and the systemd managers of people who are gone.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import _processes
from _processes import Process
from _slurm_pam_strays import is_ordinary, when

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
    # One in a container reads PAM files of its own.
    theirs = (one for one in found if one.pid in beginning and one.uid == 0 and _processes.at_home(one.pid))
    # A process that began in the second of the change may have begun before it.
    return [one for one in theirs if one.started <= since + 1]


def told(connections: Iterable[Process]) -> list[str]:
    """Each connection in words."""
    return [f"process {one.pid}, since {when(one.started)}" for one in connections]


def end(connections: Iterable[Process]) -> list[Process]:
    """
    End connections that are not through after some seconds, and return those that were ended.

    connections
        As :py:func:`waiting` has them.
    """
    left = _lasting(connections, lambda: {one.pid for one in waiting()})
    for one in left:
        _processes.tell(one, signal.SIGTERM)
    for stubborn in _lasting(left, lambda: {one.pid for one in left if _processes.is_there(one)}):
        _processes.tell(stubborn, signal.SIGKILL)
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


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0


def logged_in(processes: Iterable[Process]) -> Iterator[Process]:
    """Of these, sshd's process of each session, which runs as whoever is logged in; root's sessions are none."""
    found = [process for process in processes if _is_sshd(process)]
    connections = {process.pid for process in found if process.uid == 0}
    for process in found:
        if process.parent in connections and process.uid not in (0, _uid(_PRIVSEP)):
            yield process


def _sshd() -> list[Process]:
    return list(filter(_is_sshd, _processes.running()))


def _is_sshd(process: Process) -> bool:
    return os.path.basename(process.program) in _SSHD


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


# systemd's managers of users


# From the top: below their manager, users give cgroups what names they like.
_MANAGER = re.compile(r"^\d+:[^:]*:/user\.slice/user-(\d+)\.slice/user@\1\.service(?:/|$)", re.MULTILINE)
_SESSION = re.compile(r"^\d+:[^:]*:/user\.slice/user-(\d+)\.slice/session-[^/]+\.scope(?:/|$)", re.MULTILINE)


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
    people = sorted(managed - in_session)
    # An administrator of a directory that does not answer keeps theirs.
    return [f"user@{uid}.service" for uid in people if is_ordinary(uid, access)]
