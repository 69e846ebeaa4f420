"""
Real logins to nodes, made from the master: those that have to succeed, and those that have to be turned away.

A rollout verifies each node by them; see :py:func:`slurm_pam.rollout <salt.runners.slurm_pam.rollout>`.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import _node_answers as said
from salt.exceptions import CommandExecutionError

# salt.execute
Ask = Callable[..., dict[str, Any]]

_PERMIT, _DENY, _CONFINED = "permit", "deny", "confined"
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

        With ``expect: confined`` the login stays while the node is asked for it: ``{command: "ssh canary@{node} cat",
        expect: confined, user: canary}``. The command has to give back what it is given, as ``cat`` does. Each session
        of this user on the node has to be in a job, and to be held to what ``slurm_pam:confine`` asks for there, as
        :py:func:`slurm_pam.confined <salt.modules.slurm_pam.confined>` measures it. The user needs a job on the node.
    seconds
        For all of them together. A login that has not been tried by then is a problem of its node.

    Raises CommandExecutionError where nodes or probes are not of this form, before anything is run.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam_logins.failing '[cn1, cn2]' '[{command: "ssh -o BatchMode=yes admin@{node} true"}]'

    .. versionadded:: 1.0.0
    """
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise CommandExecutionError(f"nodes is {nodes!r}; it has to be a list of names")
    if wrong := misused(probes):
        raise CommandExecutionError(wrong)
    until = time.monotonic() + seconds
    # Salt's loader is not there in other threads.
    ask = __salt__["salt.execute"] if any(probe.get("expect") == _CONFINED for probe in probes) else None

    def first(node: str) -> str:
        tried = (_tried(node, probe, until, ask) for probe in probes)
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
    if not isinstance(probe, Mapping) or not probe.get("command") or set(probe) - {"command", "expect", "says", "user"}:
        return f"A probe is {probe!r}; it has to be a mapping with command, and at most expect, says and user besides"
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
    if expect not in (_PERMIT, _DENY, _CONFINED):
        return f"A probe's expect is {expect!r}; allowed is permit, deny or confined"
    if (expect == _CONFINED) != bool(probe.get("user")) or (expect == _CONFINED and "says" in probe):
        return (
            f"A probe with expect confined needs user, whose session it is, and has no says; user is for no other: "
            f"{command!r}"
        )
    if expect == _DENY and not probe.get("says", "").strip():
        return (
            f"A probe expects deny without says: {command!r}. Say what the node answers, such as 'no active jobs'; a "
            "node that cannot be reached turns everyone away, too"
        )
    return ""


def _tried(node: str, probe: Mapping[str, str], until: float, ask: Ask | None) -> str:
    """One login: how it did not end as it should, or nothing."""
    words = [word.replace("{node}", node) for word in shlex.split(probe["command"])]
    line, expect, says = shlex.join(words), probe.get("expect", _PERMIT), probe.get("says", "")
    used_up = "the time for this is used up. Give a rollout smaller batches, or more seconds to confirm"
    left = until - time.monotonic()
    if left <= 0:
        return f"{line} was not tried: {used_up}"
    seconds = min(_LONGEST, left)
    # One that stays is through when it gives back what it is given, and the node was asked then.
    mark, problem = secrets.token_hex(8), ""
    try:
        with _started(words, mark if expect == _CONFINED else "") as child:
            output, over = _said(child, time.monotonic() + seconds, mark.encode())
            stays = mark.encode() in output
            if stays:
                problem = _unconfined(node, probe["user"], until - time.monotonic(), ask)
    except OSError as error:
        return f"{line}: {error}"
    status = child.returncode if over else None
    if len(output) > _MOST:
        return f"{line} said more than {_MOST // 1024} KiB, and was ended"
    if stays:
        return problem and f"{line}: {problem}"
    if status is None:
        return f"{line} did not end within {seconds:.0f} s{f': {used_up}' if left < _LONGEST else ''}"
    told = output.decode(errors="replace")
    if expect == _CONFINED or (status == 0) != (expect == _PERMIT) or says not in told:
        wanted = f"{expect}, saying {says!r}" if says else expect
        return f"{line}: expected {wanted}, but exit status {status}: {told.strip()}"
    return ""


def _unconfined(node: str, user: str, seconds: float, ask: Ask) -> str:
    """What the node says of this user's sessions, while one of them is there."""
    told: dict[str, Any] = {}
    words = {"tgt_type": "list", "timeout": max(1, int(seconds))}
    # Salt waits as long as the minion says that it is at it; this does not, and its thread holds up no process's end.
    asking = threading.Thread(target=lambda: told.update(ask([node], "slurm_pam.confined", **words)), daemon=True)
    asking.start()
    asking.join(max(1, seconds))
    if node not in told:
        return "no answer to slurm_pam.confined"
    return said.unconfined(said.Answer(True, told[node]), user)


@contextlib.contextmanager
def _started(words: list[str], given: str) -> Iterator[subprocess.Popen]:
    """
    A command, and its children, which are ended in the end.

    given
        A line for its standard input, which stays open then.
    """
    # In a session of its own it has no terminal: ssh would ask there for a password, with the node's own words.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "bufsize": 0, "start_new_session": True}
    with subprocess.Popen(words, stdin=subprocess.PIPE if given else subprocess.DEVNULL, **pipes) as child:
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin and child.stdin.write(f"{given}\n".encode())
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def _said(child: subprocess.Popen, until: float, mark: bytes) -> tuple[bytes, bool]:
    """What a command says until it is over, its time is, it said too much, or this mark; and whether it is over."""
    output, over, late = b"", False, False
    listening = select.poll()
    listening.register(child.stdout)
    while (over or not late) and len(output) <= _MOST and mark not in output:
        # Asked first: what a command says as its last may come after a look that found nothing.
        late, over = time.monotonic() >= until, _over(child)
        if listening.poll(0 if over else 20):
            part = os.read(child.stdout.fileno(), _MOST)
            output += part
            if not part:
                listening.unregister(child.stdout)
        elif over:
            break
    return output, over


def _over(child: subprocess.Popen) -> bool:
    """Whether it ended. It is not waited for here, so that its number stays its own until its children are ended."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
