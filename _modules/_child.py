"""Child processes that only ask: they change nothing, and one that does not answer has said nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

# Where programs are that only root has in its PATH.
_PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def which(program: str, places: str | None = None) -> str | None:
    """The path of a program, or None: first by the PATH, then wherever a system has its programs."""
    return shutil.which(program, path=places or os.pathsep.join(dict.fromkeys([*os.get_exec_path(), *_PLACES])))


def places() -> str:
    """Where ``which`` looks, for whoever looks for many: a directory that has two names is one."""
    found: dict[str, str] = {}
    for place in [*os.get_exec_path(), *_PLACES]:
        found.setdefault(os.path.realpath(place), place)
    return os.pathsep.join(found.values())


def ask(
    *words: str, timeout: float | None = 30, env: Mapping[str, str] | None = None, input: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """
    Run a program and return what it says, in the C locale. One that is not there, or hangs, has said nothing: its exit
    code is 1 and ``stderr`` says why.

    words
        The program and its arguments; no shell is involved.
    timeout
        Seconds until it is killed.
    env
        Variables besides those of this process.
    input
        What it reads from its standard input.
    options
        Others of :py:func:`subprocess.run`.
    """
    try:
        return subprocess.run(
            words,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            input=input,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {timeout} seconds")
    except OSError as error:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]}: {error.strerror}")


def reason(said: subprocess.CompletedProcess[str]) -> str:
    """Why a program failed: its last words, or else its exit status."""
    words = said.stderr.strip().splitlines()
    return words[-1] if words else f"exit status {said.returncode}"
