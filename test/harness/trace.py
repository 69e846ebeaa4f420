"""What a command writes on a node: every name that it and its children make, change or remove, as strace sees it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.node import Node
from harness.shell import Result

# Each call with those of its paths that it changes; a call that is not here changes the file that it is given opened.
CALLS = {
    **dict.fromkeys(("chmod", "chown", "lchown", "fchmodat", "fchownat", "truncate", "utimensat"), (0,)),
    **dict.fromkeys(("mkdir", "mkdirat", "mknod", "mknodat", "rmdir", "unlink", "unlinkat", "creat"), (0,)),
    **dict.fromkeys(("setxattr", "lsetxattr", "removexattr", "lremovexattr"), (0,)),
    **dict.fromkeys(("link", "linkat", "symlink", "symlinkat"), (1,)),
    **dict.fromkeys(("rename", "renameat", "renameat2"), (0, 1)),
}
OPENED = ("fallocate", "fchmod", "fchown", "fsetxattr", "ftruncate", "write", "pwrite64", "writev")
OPENING = ("open", "openat")
STARTING = ("clone", "clone3", "fork", "vfork")
LINE = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)\) += (?P<answer>\d+)(?:<(?P<opened>[^>]*)>)?")
# A path, and the directory that it counts from: with -y, strace says which that is.
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<directory>[^>]*)>, )?(?:"(?P<path>(?:[^"\\]|\\.)*)"|NULL)')
FOR_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
DIRECTORY = "/root/trace"


@dataclass(frozen=True)
class Write:
    """A path that was written, and the programs that led to it: the command itself, what it started, and so on."""

    path: str
    programs: tuple[str, ...]


def writes(node: Node, words: list[str], **options: object) -> tuple[Result, set[Write]]:
    """Run a command in the node; what it answers, and all that was written meanwhile by it and by its children."""
    node.run(["sh", "-c", f"rm -rf {DIRECTORY}; mkdir {DIRECTORY}"], check=True)
    calls = ",".join(["execve", *STARTING, *OPENING, *CALLS, *OPENED])
    # One file for each process, so that no line is cut in two by another process's.
    strace = ["strace", "-ff", "-qq", "-y", "--seccomp-bpf", "-e", "signal=none", "-e", f"trace={calls}"]
    done = node.run([*strace, "-o", f"{DIRECTORY}/of", *words], **options)
    lines = node.run(["grep", "-H", "", "-r", DIRECTORY], check=True).stdout.splitlines()
    processes = defaultdict(list)
    for line in lines:
        process, _, rest = line.removeprefix(f"{DIRECTORY}/of.").partition(":")
        if match := LINE.match(rest):  # what failed has changed nothing
            processes[process].append(match)
    children = {call["answer"] for calls in processes.values() for call in calls if call["call"] in STARTING}
    (first,) = processes.keys() - children
    return done, set(_writes(processes, first, ()))


def _writes(processes: dict[str, list[re.Match]], process: str, programs: tuple[str, ...]) -> Iterator[Write]:
    for call in processes[process]:
        if call["call"] == "execve":
            programs = (*programs, PurePosixPath(PATH.search(call["arguments"])["path"]).name)
        elif call["call"] in STARTING:
            yield from _writes(processes, call["answer"], programs)
        else:
            yield from (Write(str(path), programs) for path in _paths(call))


def _paths(call: re.Match) -> Iterator[PurePosixPath]:
    name, arguments = call["call"], call["arguments"]
    if name in OPENING:
        if FOR_WRITING.search(arguments):
            yield PurePosixPath(call["opened"])
    elif name in CALLS:
        named = [PurePosixPath(match["directory"] or "/?", match["path"] or "") for match in PATH.finditer(arguments)]
        yield from (named[index] for index in CALLS[name])
    elif opened := re.match(r"\d+<(/[^>]*)>", arguments):
        yield PurePosixPath(opened[1])
