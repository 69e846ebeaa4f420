"""The processes of this node, as /proc shows them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from typing import NamedTuple


class Process(NamedTuple):
    """A process that has a program of its own, which threads of the kernel have not."""

    pid: int
    parent: int
    uid: int  # the effective one
    started: float  # seconds since 1970, to a hundredth
    program: str  # the path of what it executes
    arguments: list[str]  # or its title, as one of them, if it set one
    real: int = 0  # the uid that it had before a setuid program gave it another
    terminal: int = 0  # the device number of its controlling terminal; 0 if it has none


def running() -> Iterator[Process]:
    """Each process that is there while this is asked. One that ends meanwhile is left out."""
    booted = _booted()
    for name in filter(str.isdigit, os.listdir("/proc")):
        if found := _look(name, booted):
            yield found


def look(pid: int) -> Process | None:
    """The process of a number; None if there is none."""
    return _look(str(pid), _booted())


def cgroups(pid: int) -> str:
    """The cgroups of a process, one line for each hierarchy; empty if it is gone. Source: cgroups(7)."""
    try:
        return _read(str(pid), "cgroup")
    except OSError:
        return ""


def namespace(pid: int | str) -> str:
    """The namespace that a process has its number in, as ``pid:[4026531836]``; empty if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def is_there(process: Process) -> bool:
    """Whether it still is the same one, and not another that has its number."""
    now = look(process.pid)
    # Its parent may have ended, and a setuid program may have changed its uid.
    return now is not None and now.started == process.started


def tell(process: Process, *signals: signal.Signals) -> None:
    """Send it these signals, and never another process that has got its number. One that is gone is left alone."""
    with contextlib.suppress(ProcessLookupError), _held(process.pid) as handle:
        if is_there(process):
            for one in signals:
                os.kill(process.pid, one) if handle is None else signal.pidfd_send_signal(handle, one)


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


def _look(pid: str, booted: float) -> Process | None:
    try:
        program = os.readlink(f"/proc/{pid}/exe")
        arguments = _read(pid, "cmdline").rstrip("\0").split("\0")
        # The name in parentheses may have anything in it.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        # The owner of /proc/PID is root if the process changed its user.
        uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)", _read(pid, "status"), re.MULTILINE)
        real, uid = int(uids[1]), int(uids[2])
        started = booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, TypeError):
        return None  # gone, or a thread of the kernel
    program = program.removesuffix(" (deleted)")
    return Process(int(pid), int(fields[1]), uid, started, program, arguments, real, int(fields[4]))


def _booted() -> float:
    """When this node was started, in seconds since 1970. Source: proc(5), /proc/stat."""
    return float(re.search(r"^btime (\d+)", _read("stat"), re.MULTILINE)[1])


def _read(*names: str) -> str:
    # There are thousands of these files, and open() takes four times as long for each.
    handle = os.open("/".join(("/proc", *names)), os.O_RDONLY | os.O_CLOEXEC)
    try:
        said = b""
        while piece := os.read(handle, 1 << 16):
            said += piece
    finally:
        os.close(handle)
    return said.decode("utf-8", "surrogateescape")
