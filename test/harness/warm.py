"""Salt's programs without the time that Python and Salt's imports take: a process that has them forks for each call.

In the node, or on the master, this file is that process; here it is the end that asks it. A call is Salt's own entry
point in a process of its own, as a minion forks for each job, and begins with nothing of the call before: no loader, no
grains, no pillar. So it stands for the program wherever a test is not about how that one starts. test_node.py holds the
one to the other.
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Salt's own entry points.
PROGRAMS = {"salt": "salt_main", "salt-call": "salt_call", "salt-key": "salt_key", "salt-run": "salt_run"}
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
        self._words = [python, "-c", Path(__file__).read_text(), os.path.dirname(python)]
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


def serve() -> object:
    """Until nobody asks any more: a line of words comes in, and [exit code, stdout, stderr] goes out."""
    # Where the program is, is where Python would look first.
    sys.path[0] = sys.argv[1]
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
            sys.argv = json.loads(line)
            # The process ends as that program does, with all that Python does at its end.
            return getattr(sys.modules["salt.scripts"], PROGRAMS[sys.argv[0]])()
        _, status = os.waitpid(call, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), *map(_content, streams)]), file=told, flush=True)


def _content(stream: int) -> str:
    os.lseek(stream, 0, os.SEEK_SET)
    with os.fdopen(stream, "rb") as file:
        return file.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    serve()
