"""An SSH session that stays open: what is done in it is asked line by line."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator

from harness.node import Node
from harness.shell import Failed


class Session:
    def __init__(self, ssh: subprocess.Popen, patience: int) -> None:
        self._ssh, self._patience = ssh, patience

    def ask(self, line: str) -> str:
        """Run a shell line in the session; its output, both streams."""
        mark = secrets.token_hex(8)
        try:
            self._ssh.stdin.write(f"{{ {line}\n}} 2>&1; echo {mark}\n")
            self._ssh.stdin.flush()
        except BrokenPipeError:
            raise Failed("the session has ended") from None
        seen = []
        for answer in self._ssh.stdout:
            if answer.rstrip("\n").endswith(mark):
                return "".join(seen) + answer.rstrip("\n").removesuffix(mark)
            seen.append(answer)
        raise Failed(f"the session ended before {line!r} was done: {''.join(seen)}")

    def ended(self, patience: float = 120) -> bool:
        """Whether the session ends within so many seconds without being asked to."""
        try:
            self._ssh.wait(patience * self._patience)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextlib.contextmanager
def session(node: Node, user: str, **how: str) -> Iterator[Session]:
    """Log in from outside and stay. ``how``: origin, method."""
    words, environment = node.ssh_command(user, "exec sh", **how)
    pipe = subprocess.PIPE
    ssh = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield Session(ssh, node.machine.PATIENCE)
    finally:
        ssh.kill()
        ssh.communicate()
