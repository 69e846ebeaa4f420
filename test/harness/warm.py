"""salt-call without the time that Python and Salt's imports take: a process that has them forks for each call.

In the node this file is that process; here it is the end that asks it. A call is Salt's own entry point in a process of
its own, as a minion forks for each job, and begins with nothing of the call before: no loader, no grains, no pillar. So
it stands for ``salt-call`` wherever a test is not about that program. test_node.py holds the one to the other.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# What calls of salt-call import of Salt, and of what it brings along, none of which looks at the node.
IMPORTS = (
    "salt.cli.caller",
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
    """That process in a node. It is started at the first call, and ends with the node or with this process."""

    def __init__(self, into: Callable[[Sequence[str]], list[str]], programs: str) -> None:
        self._words = [f"{programs}/python3.11", "-c", Path(__file__).read_text(), programs]
        self._into, self._process = into, None

    def call(self, words: Sequence[str]):
        """What salt-call comes to with these words."""
        from harness.shell import Failed, Result  # the node has only this file

        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._into(self._words), stdin=pipe, stdout=pipe, text=True)
        try:
            self._process.stdin.write(json.dumps(["salt-call", *words]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.end()
            raise Failed(f"salt-call {' '.join(words)}: the process that forks for it has ended")
        return Result(*json.loads(answer))

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve() -> None:
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
            # The process ends as salt-call does, with all that Python does at its end.
            return sys.modules["salt.scripts"].salt_call()
        _, status = os.waitpid(call, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), *map(_content, streams)]), file=told, flush=True)


def _content(stream: int) -> str:
    os.lseek(stream, 0, os.SEEK_SET)
    with os.fdopen(stream, "rb") as file:
        return file.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    serve()
