"""Salt's programs without the time that Python and Salt's imports take: a process that has them forks for each call.

In the node, or on the master, this file is that process; here it is the end that asks it. A call is Salt's own entry
point in a process of its own, as a minion forks for each job, and begins with nothing of the call before: no loader, no
grains, no pillar. So it stands for the program wherever a test is not about how that one starts. test_node.py holds the
one to the other. With the words of a daemon, which forks for each job by itself, it is that daemon.
"""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Salt's own entry points.
PROGRAMS = {
    "salt": "salt_main",
    "salt-call": "salt_call",
    "salt-key": "salt_key",
    "salt-minion": "salt_minion",
    "salt-run": "salt_run",
}
PATIENCE = 600  # seconds for one call
# What such calls import of Salt, and of what it brings along, none of which looks at the node.
IMPORTS = (
    "salt.cli.caller",
    "salt.cli.salt",
    "salt.client.ssh.client",
    "salt.client.ssh.state",
    "salt.cloud",
    "salt.fileserver.roots",
    "salt.grains.extra",
    "salt.modules.file",
    "salt.modules.network",
    "salt.runners.state",
    "salt.scripts",
    "salt.utils.dns",
    "salt.utils.gitfs",
    "salt.utils.jinja",
    "salt.utils.pkg.rpm",
    "salt.utils.powershell",
    "salt.utils.systemd",
    "salt.utils.win_update",
)


class Warm:
    """That process. It is started at the first call, and ends with its machine or with this process."""

    def __init__(self, into: Callable[[Sequence[str]], list[str]], python: str, patience: int = 1) -> None:
        self._patience = patience * PATIENCE
        self._words = [python, "-c", source(), os.path.dirname(python)]
        self._into, self._process = into, None

    def call(self, *words: str):
        """What a program comes to with these words."""
        from harness.shell import Failed, Result  # the node has only this file

        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._into(self._words), stdin=pipe, stdout=pipe, text=True, cwd="/")
        answer = ""
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
            if select.select([self._process.stdout], [], [], self._patience)[0]:
                answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self.end()
            late = f"did not within {self._patience} s"
            raise Failed(f"{' '.join(words)}: the process that forks for it has ended, or {late}")
        return Result(*json.loads(answer))

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def source() -> str:
    """This file, for a process elsewhere."""
    return Path(__file__).read_text()


def program(words: Sequence[str]) -> object:
    """Be this program. Its process ends as that one's does, with all that Python does at its end."""
    sys.argv = list(words)
    return getattr(sys.modules["salt.scripts"], PROGRAMS[sys.argv[0]])()


def serve() -> object:
    """Until nobody asks any more: a line of words comes in, and [exit code, stdout, stderr] goes out."""
    asked, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "r+") as nothing:
        for stream in (0, 1):
            os.dup2(nothing.fileno(), stream)
    for name in IMPORTS:
        __import__(name)
    gc.freeze()
    for line in asked:
        streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
        call = os.fork()
        if call == 0:
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
            return program(json.loads(line))
        _, status = os.waitpid(call, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), *map(_content, streams)]), file=told, flush=True)


def look_once() -> None:
    """Spare Salt looks at what stays as it is.

    Each of the thirty loaders of a call looks at the entry points of its Python, and at the compiled files of its own
    modules; it takes the module where it finds both, so it finds the same. And 3008 parses its own key for each
    question to the master, which are a hundred in a sync."""
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    importlib.metadata.entry_points()
    own, listdir = os.path.dirname(sys.modules["salt"].__file__) + os.sep, os.listdir

    def listed(path="."):
        compiled = isinstance(path, str) and path.startswith(own) and path.endswith("__pycache__")
        return [] if compiled else listdir(path)

    os.listdir = listed
    key = salt.crypt.PrivateKey
    if hasattr(key, "from_str"):
        key.from_str = staticmethod(functools.cache(key.from_str))


def _content(stream: int) -> str:
    os.lseek(stream, 0, os.SEEK_SET)
    with os.fdopen(stream, "rb") as file:
        return file.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    # Where the program is, is where Python would look first.
    sys.path[0], words = sys.argv[1], sys.argv[2:]
    import salt.crypt
    import salt.scripts

    look_once()
    if words:
        program(words)
    else:
        serve()
