"""The processes of this node, as /proc shows them."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Process(NamedTuple):
    """A process that has a program of its own, which threads of the kernel have not."""

    pid: int
    parent: int
    uid: int  # the effective one
    started: float  # seconds since 1970, to a hundredth
    program: str  # the path of what it executes
    arguments: list[str]  # or its title, as one of them, if it set one


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


def has_loaded(pid: int, library: str) -> bool:
    """Whether a process has a library of this name in its memory; of one that is gone, False. Source: proc(5), maps."""
    try:
        return f"/{library}" in _read(str(pid), "maps")
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
        program = os.readlink(f"/proc/{pid}/exe")
        arguments = _read(pid, "cmdline").rstrip("\0").split("\0")
        # The name in parentheses may have anything in it.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        # The owner of /proc/PID is root if the process changed its user.
        uid = int(re.search(r"^Uid:\s+\d+\s+(\d+)", _read(pid, "status"), re.MULTILINE)[1])
        started = booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, TypeError):
        return None  # gone, or a thread of the kernel
    return Process(int(pid), int(fields[1]), uid, started, program.removesuffix(" (deleted)"), arguments)


def _booted() -> float:
    """When this node was started, in seconds since 1970. Source: proc(5), /proc/stat."""
    return float(re.search(r"^btime (\d+)", _read("stat"), re.MULTILINE)[1])


def _read(*names: str) -> str:
    with open(os.path.join("/proc", *names), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
