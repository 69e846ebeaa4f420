"""Questions to the programs of this node. One that could not be asked is no empty answer."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping

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


# All that is asked of every unit, so that it is one question.
_OF_EVERY_UNIT = (
    "Id,LoadState,ActiveState,UnitFileState,TriggeredBy,ExecStart,Environment,EnvironmentFiles,Accept,PAMName,Listen"
)
# States of unit files with which systemd starts a unit at boot.
_AT_BOOT = ("enabled", "enabled-runtime", "generated")
_kept: dict[str, list[dict[str, list[str]]]] | None = None


@contextlib.contextmanager
def once() -> Iterator[None]:
    """While this lasts, systemd is asked once for every unit: what is asked of it belongs to one moment."""
    global _kept
    before, _kept = _kept, {} if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def every_unit() -> list[dict[str, list[str]]]:
    """
    What systemd knows of each service and socket that is loaded, or that the next boot starts.

    Raises Unanswered if systemd does not answer.

    Source: systemctl(1), list-unit-files and show.
    """
    if _kept is not None and "units" in _kept:
        return _kept["units"]
    shown = units(_OF_EVERY_UNIT, *_enabled(), "*.service", "*.socket")
    # One that only another names is not there.
    found = [unit for unit in shown if unit.get("LoadState") != ["not-found"]]
    if _kept is not None:
        _kept["units"] = found
    return found


def _enabled() -> list[str]:
    """Units that the next boot starts need not be loaded yet."""
    # With --state or without names, systemd looks through its directories for more units, and for some of them twice.
    shown = answer("systemctl", "list-unit-files", "--no-legend", "--plain", "*.service", "*.socket")
    rows = [line.split() for line in shown.splitlines()]
    # A template is no unit.
    return [name for name, state, *_ in rows if state in _AT_BOOT and "@." not in name]


def reason(said: subprocess.CompletedProcess[str]) -> str:
    """Why a program failed: its last words, or else its exit status."""
    words = said.stderr.strip().splitlines()
    return words[-1] if words else f"exit status {said.returncode}"
