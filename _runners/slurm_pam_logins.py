"""
Real logins to nodes, made from the master: those that have to succeed, and those that have to be turned away.

A rollout verifies each node by them; see :py:func:`slurm_pam.rollout <salt.runners.slurm_pam.rollout>`.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import _node_answers as said

_PERMIT, _DENY = "permit", "deny"
_AT_ONCE = 10  # nodes
_LONGEST = 60  # seconds
_MOST = 64 * 1024  # bytes of output


def failing(nodes: list[str], probes: list[Mapping[str, str]], seconds: float = 300) -> dict[str, str]:
    """
    The nodes where a login does not end as it should, each with the first such login: ``{node: problem}``.

    nodes
        Where to log in. A name with other characters than letters, digits, ``.``, ``_`` and ``-`` is a problem, and
        nothing is run for it.
    probes
        The logins, made in this order: ``{command: "ssh alice@{node} true", expect: deny, says: "no active jobs"}``.
        The command is run without a shell and without a terminal; ``expect`` is ``permit``, which is exit status 0, or
        ``deny``; ``says`` is a text that its output has to contain. A ``deny`` needs it: a node that nobody can reach
        turns everyone away, too. A command is ended after 60 seconds, and where it says more than 64 KiB.
    seconds
        For all of them together. What has not been tried by then is a problem of its node.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam_logins.failing '[cn1, cn2]' '[{command: "ssh -o BatchMode=yes admin@{node} true"}]'

    .. versionadded:: 1.0.0
    """
    until = time.monotonic() + seconds

    def first(node: str) -> str:
        tried = (_tried(node, probe, until) for probe in probes)
        return said.unusable(node) or said.line(next(filter(None, tried), ""))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {said.shown(node): problem for node, problem in zip(nodes, pool.map(first, nodes)) if problem}


def misused(probes: Any) -> str:
    """
    What is wrong with probes as they are written down; an empty text where nothing is.

    probes
        As :py:func:`failing` takes them.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam_logins.misused '[{command: "ssh alice@{node} true", expect: deny, says: "no active jobs"}]'

    .. versionadded:: 1.0.0
    """
    if not isinstance(probes, list):
        return f"probes is {probes!r}; it has to be a list"
    return next(filter(None, map(_misused, probes)), "")


def _misused(probe: Any) -> str:
    if not isinstance(probe, Mapping) or not probe.get("command") or set(probe) - {"command", "expect", "says"}:
        return f"A probe is {probe!r}; it has to be a mapping with command, and at most expect and says besides"
    for name, value in probe.items():
        if not isinstance(value, str):
            return f"A probe's {name} is {value!r}; it has to be a text"
    command, expect = probe["command"], probe.get("expect", _PERMIT)
    try:
        words = shlex.split(command)
    except ValueError as problem:
        return f"A probe's command is {command!r}; it cannot be taken apart into words: {problem}"
    if not words or "\0" in command:
        return f"A probe's command is {command!r}; there is nothing in it that could be run"
    if expect not in (_PERMIT, _DENY):
        return f"A probe's expect is {expect!r}; allowed is permit or deny"
    if expect == _DENY and not probe.get("says", "").strip():
        return (
            f"A probe expects deny without says: {command!r}. Say what the node answers, such as 'no active jobs'; a "
            "node that cannot be reached turns everyone away, too"
        )
    return ""


class Ended(NamedTuple):
    """A command that was run, and what it said."""

    status: int | None  # its exit status; None where it was ended
    output: bytes


def _tried(node: str, probe: Mapping[str, str], until: float) -> str:
    """One login: how it did not end as it should, or nothing."""
    words = [word.replace("{node}", node) for word in shlex.split(probe["command"])]
    line, expect, says = shlex.join(words), probe.get("expect", _PERMIT), probe.get("says", "")
    used_up = "the seconds for this are used up. A rollout needs smaller batches then, or more seconds to confirm"
    left = until - time.monotonic()
    if left <= 0:
        return f"{line} was not tried: {used_up}"
    try:
        ended = _run(words, min(_LONGEST, left))
    except OSError as problem:
        return f"{line}: {problem}"
    if len(ended.output) > _MOST:
        return f"{line} said more than {_MOST // 1024} KiB, and was ended"
    if ended.status is None:
        return f"{line} did not end within {min(_LONGEST, left):.0f} s{f': {used_up}' if left < _LONGEST else ''}"
    told = ended.output.decode(errors="replace").strip()
    if (ended.status == 0) != (expect == _PERMIT) or says not in told:
        wanted = f"{expect}, saying {says!r}" if says else expect
        return f"{line}: expected {wanted}, but exit status {ended.status}: {told}"
    return ""


def _run(words: list[str], seconds: float) -> Ended:
    """Run a command. It and its children are ended after these seconds, or where it says too much."""
    until, output = time.monotonic() + seconds, b""
    # In a session of its own it has no terminal: ssh would ask there for a password, with the node's own words.
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words, **pipes, start_new_session=True) as child:
        try:
            listening = select.poll()
            listening.register(child.stdout)
            while time.monotonic() < until and len(output) <= _MOST:
                if listening.poll(20):
                    part = os.read(child.stdout.fileno(), _MOST)
                    output += part
                    if part:
                        continue
                    listening.unregister(child.stdout)
                elif _over(child):
                    break
        finally:
            over = _over(child)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    return Ended(child.returncode if over else None, output)


def _over(child: subprocess.Popen) -> bool:
    """Whether it ended. It is not waited for here, so that its number stays its own until its children are ended."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
