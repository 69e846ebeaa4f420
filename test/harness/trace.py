"""What a command writes on a node: every name that it and its children make, change or remove, as strace sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
LINE = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)\) += (?P<answer>\d+)(?:<(?P<opened>[^>]*)>)?")
# A path, and the directory that it counts from: with -y, strace says which that is.
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<directory>[^>]*)>, )?(?:"(?P<path>(?:[^"\\]|\\.)*)"|NULL)')
FOR_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")
DIRECTORY = "/root/trace"


def written(node: Node, words: list[str], **options: object) -> tuple[Result, set[str]]:
    """Run a command in the node; what it answers, and the absolute paths of all that it wrote."""
    node.run(["rm", "-rf", DIRECTORY], check=True)
    node.run(["mkdir", DIRECTORY], check=True)
    # One file for each process, so that no line is cut in two by another process's.
    calls = ",".join([*OPENING, *CALLS, *OPENED])
    strace = ["strace", "-ff", "-qq", "-y", "--seccomp-bpf", "-e", "signal=none", "-e", f"trace={calls}"]
    done = node.run([*strace, "-o", f"{DIRECTORY}/of", *words], **options)
    lines = node.run(["sh", "-c", f"cat {DIRECTORY}/*"], check=True).stdout.splitlines()
    return done, {str(path) for line in lines for path in _paths(line)}


def _paths(line: str) -> Iterator[PurePosixPath]:
    found = LINE.match(line)
    if not found:  # it failed, and so changed nothing
        return
    call, arguments = found["call"], found["arguments"]
    if call in OPENING:
        if FOR_WRITING.search(arguments):
            yield PurePosixPath(found["opened"])
    elif call in CALLS:
        named = [PurePosixPath(match["directory"] or "/?", match["path"] or "") for match in PATH.finditer(arguments)]
        yield from (named[index] for index in CALLS[call])
    elif opened := re.match(r"\d+<(/[^>]*)>", arguments):
        yield PurePosixPath(opened[1])
