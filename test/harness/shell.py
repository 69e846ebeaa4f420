"""Run a program; when it fails, say which and what it wrote."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Before a command that makes something to be kept: it ends at once if this process does, even when killed.
TIED = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True)
class Result:
    """What a finished program left: exit code, stdout, stderr."""

    rc: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.rc == 0


class Failed(Exception):
    """A program of the harness itself failed."""


def run(command: Sequence[str | Path], *, check: bool = True, timeout: float = 600, **options) -> Result:
    """Run a program to its end, its stdin empty unless ``input`` is given."""
    words = [str(word) for word in command]
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        words, capture_output=True, text=True, errors="surrogateescape", timeout=timeout, check=False, **options
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    if check and not result.ok:
        raise Failed(f"{' '.join(words)}: exit {result.rc}\n{tail(result.stdout)}{tail(result.stderr)}")
    return result


def tail(text: str, lines: int = 30) -> str:
    return "".join(line + "\n" for line in text.splitlines()[-lines:])
