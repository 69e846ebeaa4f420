"""One cgroup in every hierarchy of this machine for each node: all of the node lives below it, and ends with it.

The node gets a cgroup namespace rooted there, so what its systemd and its Slurm make stays inside, two nodes do not
meet, and nothing is left in the machine's own hierarchies.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
ENTER = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


def hierarchies(pid: int | str = "self") -> dict[frozenset[str], Path]:
    """Where a process is in every mounted hierarchy, by the hierarchy's controllers (none for cgroup v2)."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where, what = (half.split(" ") for half in line.split(" - ", 1))
        if what[0] in ("cgroup", "cgroup2"):
            mounts[Path(where[4])] = set(what[2].split(",")) if what[0] == "cgroup" else None
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, words, own = line.split(":", 2)
        controllers = frozenset(words.split(",")) - {""}
        for mount, options in mounts.items():
            if (options is None and not controllers) or (options and controllers and controllers <= options):
                found[controllers] = mount / own.lstrip("/")
    return found


def v1_controllers() -> list[str]:
    """The resource controllers this machine keeps in cgroup v1 hierarchies; empty where all are in cgroup v2."""
    return sorted(",".join(sorted(names)) for names in hierarchies() if names and "name=systemd" not in names)


def reserve(name: str) -> tuple[list[str], list[Path]]:
    """The words that start a program in cgroups of this name, and the cgroups, so that they can be ended."""
    if Path("/run/systemd/system").is_dir():
        # Where systemd owns the tree it is asked for a scope with the controllers that Slurm needs.
        scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={name}", "--property=Delegate=yes"]
        return scope, [ROOT / "system.slice" / f"{name}.scope"]
    groups = [group / name for group in hierarchies().values()]
    return entering(groups), groups


def entering(groups: Sequence[Path]) -> list[str]:
    """Make these cgroups; the words that, put before a command, run it in them."""
    for group in groups:
        group.mkdir(exist_ok=True)
        # A cpuset takes no process before it has processors and memory.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((group.parent / setting).read_text())
    return ["/bin/sh", "-c", ENTER, "enter", *map(str, groups), "--"]


def processes(groups: Iterable[Path]) -> set[int]:
    """Every process in these cgroups and below them."""
    found = set()
    for group in groups:
        for directory, _, _ in os.walk(group):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in Path(directory, "cgroup.procs").read_text().split())
    return found


def end(groups: Sequence[Path], patience: float = 120) -> None:
    """Kill every process in these cgroups and remove them."""
    deadline = time.monotonic() + patience
    while alive := processes(groups):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"these processes do not end: {sorted(alive)}")
        time.sleep(0.02)
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
            # Where systemd owns the tree it removes what is empty at the same time.
            with contextlib.suppress(FileNotFoundError):
                Path(directory).rmdir()
