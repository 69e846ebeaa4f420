"""
A program of its own: tells people whose processes are outside every job, waits, and ends these processes.

``python _slurm_pam_ending.py '{"access": ..., "module": ..., "pam": {"service": ...}, "grace": 300, "users": [...]}'``,
as root. A transient systemd unit runs it, so that no apply waits for it and no restart of a minion ends it. After the
grace it looks again: whoever has a job by then keeps what is in it, what is spared then is left, and if the node is
open again, as after clean or a take-back, everything is.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Container, Iterable, Mapping
from typing import Any

import _child
import _processes
import _slurm_pam_steps
import _slurm_pam_strays
from _processes import Process
from _slurm_pam_ask import answer
from _slurm_pam_strays import Stray

UNIT = "slurm_pam-strays"
# Where systemd has transient units, now and up to 228.
_TRANSIENT = ("/run/systemd/transient", "/run/systemd/system")
# Seconds that a process has to end by itself, and how often one looks for what it started meanwhile.
_PATIENCE, _ROUNDS = 10, 50
_MESSAGE = (
    "\r\nThis node is for jobs of Slurm alone, and you have {count} outside of any job.\r\n"
    "{they} ended at {when}. Save your work now.\r\n"
)


# What an apply asks for


def waits() -> bool:
    """Whether people were told already, and their processes are not ended yet."""
    if not any(os.path.exists(f"{place}/{UNIT}.service") for place in _TRANSIENT):
        return False
    return _child.ask("systemctl", "is-active", "--quiet", f"{UNIT}.service").returncode == 0


def start(settings: Mapping[str, Any], users: Iterable[str]) -> None:
    """
    Have this node tell these users now, and end their processes outside of jobs after the grace.

    settings
        The merged settings of the formula, without nulls.
    users
        As they are told.

    Raises Unanswered if systemd does not start it.
    """
    order = {
        "access": {key: settings["access"][key] for key in ("groups", "users")},
        "module": settings["module"],
        "pam": {"service": settings["pam"]["service"]},
        "grace": settings["strays"]["grace"],
        "users": list(users),
    }
    # Of an earlier one that failed.
    _child.ask("systemctl", "reset-failed", f"{UNIT}.service")
    # Over salt-ssh, Salt is where this process alone looks for it.
    path = os.pathsep.join(filter(os.path.isabs, sys.path))
    answer(
        *("systemd-run", f"--unit={UNIT}", "--description=End processes outside of jobs, as slurm_pam:strays says"),
        f"--setenv=PYTHONPATH={path}",
        # systemd expands what looks like a variable, and a name is to stay what it is.
        *(sys.executable, os.path.abspath(__file__), json.dumps(order).replace("$", r"\u0024")),
    )


def stop() -> None:
    """
    Nobody who was told is ended any more.

    Raises Unanswered if systemd does not stop it.
    """
    answer("systemctl", "stop", f"{UNIT}.service")


# The program


def main(order: Mapping[str, Any]) -> None:
    kept = {_key(stray) for stray in _slurm_pam_strays.strays(order) if stray.spared}
    _tell(order)
    time.sleep(order["grace"])
    if not _slurm_pam_steps.is_closed(order):
        print("This node is not closed any more: nothing is ended")
        return
    ended = {_key(stray): stray for stray in _found(order, kept)}
    for stray in ended.values():
        # One that is stopped hears nothing else.
        _processes.tell(stray.process, signal.SIGTERM, signal.SIGCONT)
    until = time.monotonic() + _PATIENCE
    while _found(order, kept) and time.monotonic() < until:
        time.sleep(0.2)
    for _ in range(_ROUNDS):
        left = _found(order, kept)
        if not left:
            break
        # First all of them are stopped, so that none starts others while these are killed.
        for what in (signal.SIGSTOP, signal.SIGKILL):
            for stray in left:
                _processes.tell(stray.process, what)
        ended |= {_key(stray): stray for stray in left}
        time.sleep(0.05)
    print(f"Ended outside of jobs: {_listed(ended.values())}")
    if left := _found(order, kept):
        sys.exit(f"These did not end: {_listed(left)}")


def _key(stray: Stray) -> tuple[int, int]:
    return stray.process.pid, stray.process.ticks


def _found(order: Mapping[str, Any], kept: Container[tuple[int, int]] = ()) -> list[Stray]:
    """What may be ended now, of those who were told. What was spared then is, also where the reason is gone by now."""
    found = [one for one in _slurm_pam_strays.strays(order) if one.user in order["users"]]
    return [one for one in found if not one.spared and _key(one) not in kept]


def _listed(found: Iterable[Stray]) -> str:
    return ", ".join(f"{user} ({count})" for user, count in _slurm_pam_strays.by_user(found).items()) or "none"


def _tell(order: Mapping[str, Any]) -> None:
    found = _found(order)
    counts = _slurm_pam_strays.by_user(found)
    when = time.strftime("%H:%M:%S", time.localtime(time.time() + order["grace"]))
    terminals = {(stray.process.terminal, stray.process.uid): stray for stray in found if stray.process.terminal}
    for stray in terminals.values():
        count = counts[stray.user]
        words = ("1 process", "It is") if count == 1 else (f"{count} processes", "They are")
        write(stray.process, _MESSAGE.format(count=words[0], they=words[1], when=when))


def write(process: Process, text: str) -> None:
    """Write to the controlling terminal of a process, if it is its user's own. Nothing waits for a terminal."""
    path = _path(process.terminal)
    if path is None:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        there = os.fstat(handle)
        # In another /dev/pts, as containers have them, somebody else may have this number.
        if stat.S_ISCHR(there.st_mode) and there.st_rdev == process.terminal and there.st_uid == process.uid:
            os.write(handle, text.encode())
    except OSError:
        pass  # nobody reads it
    finally:
        os.close(handle)


# Documentation/admin-guide/devices.txt of Linux: Unix98 slaves, virtual consoles.
_PTS, _PTS_MAJORS, _CONSOLES = 136, 8, 4


def _path(device: int) -> str | None:
    major, minor = os.major(device), os.minor(device)
    if 0 <= major - _PTS < _PTS_MAJORS:
        return f"/dev/pts/{(major - _PTS) * 256 + minor}"
    if major == _CONSOLES:
        return f"/dev/tty{minor}" if minor < 64 else f"/dev/ttyS{minor - 64}"
    return None


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
