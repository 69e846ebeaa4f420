"""The processes of this node, as /proc shows them."""

from __future__ import annotations

import os
import re
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
