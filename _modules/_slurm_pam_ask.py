"""Questions to the programs of this node. One that could not be asked is no empty answer."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from salt.exceptions import CommandExecutionError

import _child


class Unanswered(CommandExecutionError):
    """A question that could not be asked, of which nothing is known then; the text says whom, and why not."""


def answer(*words: str, timeout: float = 30, env: Mapping[str, str] | None = None) -> str:
    """
    What a program prints.

    words
        The program and its arguments; no shell is involved.
    timeout
        How many seconds it has.
    env
        Variables besides those of this process.

    Raises Unanswered if it is not there, fails or does not answer in time.
    """
    said = _child.ask(*words, timeout=timeout, env=env)
    if said.returncode:
        raise Unanswered(f"{' '.join(words)}: {reason(said)}")
    return said.stdout


def units(properties: str, *names: str) -> list[dict[str, list[str]]]:
    """
    What systemd knows of units: the texts of each property, since some have several lines. Nothing of one that prints
    nothing, as in a chroot.

    properties
        Their names, with commas.
    names
        Units, or patterns of loaded ones.

    Raises Unanswered if systemd does not answer.

    Source: systemctl(1), show.
    """
    found = []
    for block in answer("systemctl", "show", f"--property={properties}", *names).split("\n\n"):
        unit: dict[str, list[str]] = {}
        for key, equals, text in (line.partition("=") for line in block.splitlines()):
            if equals:
                unit.setdefault(key, []).append(text)
        found += [unit] if unit else []
    return found


def reason(said: subprocess.CompletedProcess[str]) -> str:
    """Why a program failed: its last words, or else its exit status."""
    words = said.stderr.strip().splitlines()
    return words[-1] if words else f"exit status {said.returncode}"
