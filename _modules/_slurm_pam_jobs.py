"""
The jobs that run on this node, as their own step daemons know them.

They are asked as Slurm's PAM modules ask them (stepd_available and stepd_get_uid in src/common/stepd_api.c, which are
the same from 20.11 to 26.05), so neither slurmd nor slurmctld nor slurm.conf has to be there. No program of Slurm's
tells whose an allocation without processes is.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import Any

import _slurm_pam_accounts
from _slurm_pam_ask import Unanswered

_SOCKETS = "/proc/net/unix"
# One that takes connections (__SO_ACCEPTCON, SOCK_STREAM) and lies at SlurmdSpoolDir/NODENAME_JOB.STEP.
_STEP = re.compile(r"\S+: \S+ \S+ 00010000 0001 \S+ +\d+ (/(?:.*/)?([^/]+)_(\d+)\.(\d+)(?:\.\d+)?)\n")
_EXTERN = 0xFFFFFFFC  # SLURM_EXTERN_CONT
_PATIENCE = 5  # seconds for all daemons together


def jobs() -> list[dict[str, Any]]:
    """
    The jobs of this node, whether slurmd and slurmctld answer or not: ``[{"job": 4711, "user": "alice", "extern":
    True, "node": "cn1"}]``. ``extern`` is whether there is an extern step to adopt sessions into. ``user`` is a number
    if this node has no name for it, and None if no step daemon of the job answers. ``node`` is the NodeName that
    slurmd had when the job began.

    Raises Unanswered if the kernel does not say what step daemons there are.

    Source: the sockets of Slurm's step daemons.
    """
    found: dict[int, dict[str, Any]] = {}
    until = time.monotonic() + _PATIENCE
    for path, node, job, step in _steps():
        try:
            user = _user(path, max(0.1, until - time.monotonic()))
        except (FileNotFoundError, ConnectionRefusedError):
            continue  # it has ended meanwhile
        except OSError:
            if not _is_roots(path):
                continue  # it has ended while it was asked
            user = None
        entry = found.setdefault(job, {"job": job, "user": None, "extern": False, "node": node})
        entry["extern"] |= step == _EXTERN
        entry["user"] = entry["user"] or user
    return [found[job] for job in sorted(found)]


def sockets() -> Iterator[str]:
    """
    Where the step daemons of this node listen.

    Raises Unanswered if the kernel does not say.
    """
    yield from (path for path, *_ in _steps())


def _steps() -> Iterator[tuple[str, str, int, int]]:
    """The socket of every step, its node, its job and its number. What others than root have put there is none."""
    try:
        with open(_SOCKETS, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            found = [match for line in lines if (match := _STEP.fullmatch(line))]
    except OSError as error:
        raise Unanswered(f"{_SOCKETS}: {error.strerror}") from error
    for match in found:
        if _is_roots(match[1]):
            yield match[1], match[2], int(match[3]), int(match[4])


def _is_roots(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False  # it has ended meanwhile, or lies where root cannot look
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == 0


# The daemon says its own protocol version to any that is new enough.
_HELLO, _REQUEST_STEP_UID = 0xFFFF, 20


def _user(path: str, timeout: float) -> str | int:
    """The user whose step it is, a number if there is no name for it. Raises OSError if its daemon does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.settimeout(timeout)
        daemon.connect(path)
        if struct.unpack("=i", _exchange(daemon, _HELLO))[0] <= 0:
            raise OSError(f"{path} speaks another protocol")
        return _slurm_pam_accounts.name(struct.unpack("=I", _exchange(daemon, _REQUEST_STEP_UID))[0])


def _exchange(daemon: socket.socket, number: int) -> bytes:
    """Say a number, and read one."""
    daemon.sendall(struct.pack("=i", number))
    said = b""
    # A socket with a timeout does not wait for all of them at once.
    while len(said) < 4:
        piece = daemon.recv(4 - len(said))
        if not piece:
            raise ConnectionError("the daemon hung up")
        said += piece
    return said
