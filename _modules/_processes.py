"""The processes of this node, as /proc shows them."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Process(NamedTuple):
    """A process that has a program of its own, which threads of the kernel have not."""

    pid: int
    parent: int
    uid: int  # the effective one
    started: float  # seconds since 1970, to a hundredth
    program: str  # the path of what it executes; empty if its first thread has ended, and others go on
    arguments: list[str]  # or its title, as one of them, if it set one
    real: int = 0  # the uid that it had before a setuid program gave it another
    terminal: int = 0  # the device number of its controlling terminal; 0 if it has none
    ticks: int = 0  # since boot, when it was started: unlike the seconds, they stay when the clock is set


def running() -> Iterator[Process]:
    """
    Each process of this system that is there while this is asked. One that ends meanwhile is left out, and in a chroot
    what runs outside of it.
    """
    booted, every = _booted(), not in_chroot()
    for name in filter(str.isdigit, os.listdir("/proc")):
        if (every or at_home(name)) and (found := _look(name, booted)):
            yield found


def in_chroot() -> bool:
    """Whether this system is a directory of one that runs, as while an image is built; without /proc it is."""
    try:
        return not os.path.samefile("/proc/1/root", "/")
    except PermissionError:
        return False
    except OSError:
        return True


def at_home(pid: int | str) -> bool:
    """Whether a process sees the files of this system, and not those of a container or of what a chroot is in."""
    try:
        return os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return False  # gone


def look(pid: int) -> Process | None:
    """The process of a number; None if there is none."""
    return _look(str(pid), _booted())


def cgroups(pid: int) -> str:
    """The cgroups of a process, one line for each hierarchy; empty if it is gone. Source: cgroups(7)."""
    try:
        found = _read(str(pid), "cgroup")
        # On v1 a thread that has ended is in none any more, though others of its process may be.
        if set(re.findall(r"^[1-9]\d*:[^:]*:(/.*)$", found, re.MULTILINE)) == {"/"}:
            found = next(filter(None, (_of_thread(str(pid), tid) for tid in os.listdir(f"/proc/{pid}/task"))), "")
        return found
    except OSError:
        return ""


_ENDING = 4  # PF_EXITING in linux/sched.h


def _of_thread(pid: str, tid: str) -> str:
    """The cgroups of a thread; empty if it has ended. Source: proc(5), flags in stat."""
    try:
        found = _read(pid, "task", tid, "cgroup")
        flags = _read(pid, "task", tid, "stat").rpartition(")")[2].split()[6]
    except OSError:
        return ""
    return "" if int(flags) & _ENDING else found


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
    return now is not None and now.ticks == process.ticks


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


def has_loaded(pid: int, library: str) -> bool:
    """Whether a process has a library whose file begins so in its memory. Source: proc(5), maps."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return f"/{library}".encode() in file.read()
    except OSError:
        return False


def listening(pids: Iterable[int]) -> dict[int, list[str]]:
    """
    Where processes listen for TCP connections, as ADDRESS:PORT.

    pids
        Their numbers.

    Source: proc_net_tcp(5), the state 0A; proc(5), fd.
    """
    sockets = dict(itertools.chain.from_iterable(map(_listeners, ("tcp", "tcp6"))))
    return {pid: sorted(filter(None, map(sockets.get, _descriptors(pid)))) for pid in pids}


def _listeners(table: str) -> Iterator[tuple[str, str]]:
    """Each socket that listens: how a descriptor names it, and its address."""
    try:
        lines = _read("self", "net", table).splitlines()[1:]
    except OSError:
        return  # a kernel without IPv6
    for fields in map(str.split, lines):
        if fields[3] == "0A":
            yield f"socket:[{fields[9]}]", _address(*fields[1].split(":"))


def _address(digits: str, port: str) -> str:
    """As the kernel writes it: words of 4 bytes, each in this machine's order."""
    words = (int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(words))
    return f"{f'[{address}]' if address.version == 6 else address}:{int(port, 16)}"


def _descriptors(pid: int) -> Iterator[str]:
    """Where the file descriptors of a process lead."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{name}")
    except OSError:
        return


def _look(pid: str, booted: float) -> Process | None:
    try:
        program = _program(pid)
        arguments = _read(pid, "cmdline").rstrip("\0").split("\0")
        # The name in parentheses may have anything in it.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        # The owner of /proc/PID is root if the process changed its user.
        uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)", _read(pid, "status"), re.MULTILINE)
        real, uid = int(uids[1]), int(uids[2])
        ticks = int(fields[19])
        started = booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, TypeError):
        return None  # gone
    if not program and int(fields[17]) < 2:
        return None  # ended, or a thread of the kernel
    return Process(int(pid), int(fields[1]), uid, started, program, arguments, real, int(fields[4]), ticks)


def _program(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except FileNotFoundError:
        return ""


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
