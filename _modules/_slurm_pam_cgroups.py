"""The cgroup of a job, in each hierarchy of this kernel, and what it limits there; cgroup v1 and v2."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import _file
import _processes

# Of a process: the path of its cgroup by controller; that of cgroup v2 is the empty text.
Places = Mapping[str, str]

_MOUNTS = "/proc/self/mountinfo"
_MEMORY = "/proc/meminfo"
# Where Slurm makes them: cgroup v1 (CgroupPrepend), and the scope of slurmd's steps on v2. No user can make one there.
_JOB = re.compile(r"/slurm[^/]*/uid_\d+/job_(\d+)(?=/|$)")
_JOB_V2 = re.compile(r"(?:/[^/]+\.slice)*/(?:[^/]+_)?slurmstepd\.scope/job_(\d+)(?=/|$)")


class Job(NamedTuple):
    """A job, and its cgroup as /proc has it: the same path in each hierarchy where it has one."""

    number: int
    path: str


class Held(NamedTuple):
    """Whether a process is held to what its job has; None if that could not be asked. ``found`` is by what, or why."""

    held: bool | None
    found: str


def places(pid: int) -> Places:
    """
    Where a process is in each hierarchy: ``{"memory": "/slurm/uid_1001/job_7/step_extern"}``. Nothing if it is gone.

    Source: cgroups(7).
    """
    return read(_processes.cgroups(pid))


def read(groups: str) -> Places:
    """The same from the text of /proc/PID/cgroup."""
    found = {}
    # A user's own cgroups may have any other character in their names that ends a line elsewhere.
    for line in filter(None, groups.split("\n")):
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def job(where: Places) -> Job | None:
    """The job that a process at these places is in, by at least one of them."""
    for name, path in where.items():
        if match := (_JOB if name else _JOB_V2).match(path):
            return Job(int(match[1]), match[0])
    return None


def left(where: Places, job: Job) -> list[str]:
    """The hierarchies in which a process is not in its job's cgroup, although there is one."""
    return [name or "cgroup v2" for name, path in where.items() if not _within(path, job) and _is_there(name, job.path)]


def held(kind: str, where: Places, job: Job) -> Held:
    """
    Whether a process at these places is held to what its job has.

    kind
        cores, memory, swap or devices.
    """
    controller, limit, limit_v2 = _LIMITS[kind]
    name = controller if controller in where else ""
    if name not in where:
        return Held(False, f"this kernel has no controller {controller}")
    try:
        if not _within(where[name], job):
            there = _is_there(name, job.path)
            return Held(False, f"it is in {where[name]}" if there else "its job has no cgroup for it")
        return (limit if name else limit_v2)(list(_chain(_directory(name, where[name]), job)))
    except OSError as error:
        return Held(None, f"{error.filename or kind}: {error.strerror}")


def _within(path: str, job: Job) -> bool:
    return path == job.path or path.startswith(f"{job.path}/")


def _chain(directory: str, job: Job) -> Iterator[str]:
    """The cgroups from a process's own up to its job's: a limit of any of them counts."""
    end = os.path.basename(job.path)
    while True:
        yield directory
        if os.path.basename(directory) == end:
            return
        directory = os.path.dirname(directory)


# Where they are


def _is_there(name: str, path: str) -> bool:
    return any(os.path.isdir(place) for place in _candidates(name, path))


def _directory(name: str, path: str) -> str:
    """The directory of a cgroup. Raises OSError if no mount of its hierarchy shows it."""
    for place in _candidates(name, path):
        if os.path.isdir(place):
            return place
    raise OSError(errno.ENOENT, "no mount shows this cgroup", path)


def _candidates(name: str, path: str) -> Iterator[str]:
    """Where a cgroup would be, by each mount of its hierarchy. Source: proc(5), /proc/PID/mountinfo."""
    for line in filter(None, _file.text(_MOUNTS).split("\n")):
        mount, _, system = line.partition(" - ")
        root, point = mount.split(" ")[3:5]
        kind, _, options = system.split(" ", 2)
        if (kind == "cgroup2") if not name else (kind == "cgroup" and name in options.split(",")):
            inside = path if root == "/" else path.removeprefix(root) if path.startswith(f"{root}/") else None
            if inside is not None:
                yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point) + inside


# What they limit


def _texts(chain: list[str], name: str) -> list[str]:
    """What each cgroup says for this; nothing of those that have no such file."""
    found = []
    for directory in chain:
        try:
            found.append(_file.text(os.path.join(directory, name)).strip())
        except FileNotFoundError:
            continue
    return found


def _cores(effective: str) -> Callable[[list[str]], Held]:
    def limit(chain: list[str]) -> Held:
        # An empty one is that of the parent.
        if not any(_texts(chain, "cpuset.cpus")):
            return Held(False, "no cpuset of its job")
        return Held(True, next(filter(None, _texts(chain, effective)), ""))

    return limit


def _bytes(name: str, of: tuple[str, ...]) -> Callable[[list[str]], Held]:
    """
    name
        The file with the limit.
    of
        What /proc/meminfo calls that which is limited: a limit that is no less is none.
    """

    def limit(chain: list[str]) -> Held:
        there = dict(re.findall(r"^(\w+): +(\d+) kB$", _file.text(_MEMORY), re.MULTILINE))
        if "SwapTotal" in of and not int(there["SwapTotal"]):
            return Held(True, "this node has no swap")
        said = _texts(chain, name)
        limits = [int(text) for text in said if text.isdecimal()]
        if limits and min(limits) < sum(int(there[part]) for part in of) * 1024:
            return Held(True, f"{min(limits) // 1024**2} MiB")
        return Held(False, "no limit" if said else f"this kernel has no {name}")

    return limit


def _devices(chain: list[str]) -> Held:
    """Slurm makes a job's cgroup there for ConstrainDevices alone. The kernel does not list what it denies in it."""
    return Held(True, "its job's cgroup")


# bpf(2): its number, BPF_PROG_QUERY and BPF_CGROUP_DEVICE
_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_QUERY, _ON_DEVICES = 16, 6
# Of union bpf_attr, its part query: target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
_ATTRIBUTES = struct.Struct("=IIIIQI4x")


# Slurm makes one where gres.conf has a File for this node (task_cgroup_devices.c), and none elsewhere.
NO_PROGRAM = Held(False, "no program of its job's on devices")


def _devices_v2(chain: list[str]) -> Held:
    count = sum(map(_programs, chain))
    return Held(True, f"{count} programs on devices") if count else NO_PROGRAM


def _programs(directory: str) -> int:
    """How many programs decide on devices in a cgroup. Raises OSError if the kernel does not say. Source: bpf(2)."""
    number = _BPF.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) of {os.uname().machine} is not known", directory)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        told = ctypes.create_string_buffer(_ATTRIBUTES.pack(handle, _ON_DEVICES, 0, 0, 0, 0), _ATTRIBUTES.size)
        if ctypes.CDLL(None, use_errno=True).syscall(number, _QUERY, told, _ATTRIBUTES.size) < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"bpf(2): {os.strerror(code)}", directory)
        return _ATTRIBUTES.unpack(told.raw)[5]
    finally:
        os.close(handle)


# Each kind: its controller, and what is limited by cgroup v1 and by v2
_LIMITS = {
    "cores": ("cpuset", _cores("cpuset.effective_cpus"), _cores("cpuset.cpus.effective")),
    "memory": (
        "memory",
        _bytes("memory.limit_in_bytes", ("MemTotal",)),
        _bytes("memory.max", ("MemTotal",)),
    ),
    "swap": (
        "memory",
        _bytes("memory.memsw.limit_in_bytes", ("MemTotal", "SwapTotal")),
        _bytes("memory.swap.max", ("SwapTotal",)),
    ),
    "devices": ("devices", _devices, _devices_v2),
}
