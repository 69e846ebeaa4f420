"""
Roll slurm_pam out over a cluster: audit all nodes, try it on one, then go on batch by batch while all goes well.

``salt-run saltutil.sync_runners`` brings this module to the master; ``slurm_pam/rollout.sls`` is the usual way to call
it. Every apply of a rollout waits to be confirmed (see :py:mod:`slurm_pam_confirm <salt.modules.slurm_pam_confirm>`),
so that a node which does not come through its verification is taken back, by the rollout or by itself.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import salt.client
import salt.utils.event

# What a node can be in a report, and whether the rollout is through with it
STATES = {
    "waiting": False,
    "unreachable": False,
    "refused": False,
    "applying": False,
    "failed": False,
    "taken back": False,
    "done": True,
    "unchanged": True,
}
_PERMIT, _DENY = "permit", "deny"
# Seconds that a minion may take to give a sign of life; one that is busy is slow, and not dead.
_PATIENCE = 20


class Answer(NamedTuple):
    """What a minion answered, and whether its function says that all went well."""

    well: bool
    value: Any


Ask = Callable[..., dict[str, Answer]]
Tell = Callable[[str, str, str], None]


def rollout(
    nodes: str | None = None,
    canary: str | None = None,
    batch: int | str = "10%",
    partitions: Mapping[str, str] | None = None,
    confirm: int = 300,
    probes: list[Mapping[str, str]] | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    """
    Close the nodes, a few at a time. Stops at the first node where something is not as it should be, and names it.
    Called again, it goes on where it stopped.

    nodes
        Which ones, as a compound target.
    canary
        The node to try it on before all others; the first one where none is named.
    batch
        How many at a time: a number, or a percentage of the partition or, without partitions, of all nodes.
    partitions
        ``{name: compound target}``: they are done in this order, and nodes that are in none of them last.
    confirm
        Seconds after which a node takes an apply back that the rollout did not confirm. Applying and verifying one
        batch has to be done by then.
    probes
        Real logins for the verification, made from the master: ``{command: "ssh alice@{node} true", expect: deny,
        says: "no active jobs"}``. The command is run without a shell; ``expect`` is ``permit`` (exit status 0) or
        ``deny``; ``says`` is a text that its output has to contain.

    Returns ``{"result": bool, "summary": str, "nodes": {name: {"state", "reason"}}}``. While it runs, it says on
    standard error what happens, and fires events with the tag ``slurm_pam/rollout/<node>``.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.rollout 'cn* or gpu*' canary=cn1 batch=25%

    .. versionadded:: 1.0.0
    """
    partitions, probes = partitions or {}, probes or []
    # Salt itself adds arguments whose names begin so.
    strange = [name for name in unknown if not name.startswith("__")]
    if wrong := _misused(strange, nodes, batch, partitions, confirm, probes):
        return _ended({}, wrong)
    with _alone() as free, salt.client.get_local_client(mopts=__opts__) as client:
        if not free:
            return _ended({}, "Another rollout is running on this master. Nothing was done")
        ask = _asker(client)
        names = sorted(client.gather_minions(nodes, "compound"))
        members = {name: client.gather_minions(target, "compound") for name, target in partitions.items()}
        if not names:
            return _ended({}, f"No accepted minion matches {nodes}. Nothing was done")
        if canary is not None and canary not in names:
            return _ended({}, f"The canary {canary} is not among the nodes {nodes}. Nothing was done")
        record = _resumed(names, _load())
        tell = _teller(record)
        ready = _audited(names, record, ask, tell)
        if any(node["state"] == "refused" for node in record.values()):
            return _ended(record, "Stopped before anything was changed")
        if canary is not None and record[canary]["state"] == "unreachable":
            return _ended(record, "Stopped before anything was changed: the canary does not answer")
        for label, chosen in batches(ready, canary, batch, members):
            _say(f"{label}: {', '.join(chosen)}")
            _batch(chosen, confirm, probes, ask, tell)
            if not all(STATES[record[name]["state"]] for name in chosen):
                return _ended(record, f"Stopped at {label}")
        return _ended(record, "All nodes that answer are closed")


def report() -> dict[str, Any]:
    """
    How the last rollout ended, or stands now, for each node.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.report

    .. versionadded:: 1.0.0
    """
    record = _load()
    return _ended(record, "The last rollout" if record else "There was no rollout yet, or it was forgotten")


def forget() -> str:
    """
    Forget the last rollout: the next one begins with its canary again.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.forget

    .. versionadded:: 1.0.0
    """
    if os.path.exists(_file()):
        os.unlink(_file())
    return "The next rollout begins with its canary"


# The plan


def batches(
    names: list[str], canary: str | None, size: int | str, partitions: Mapping[str, list[str]]
) -> list[tuple[str, list[str]]]:
    """
    Who is done with whom, in order: ``[(label, [node, ...]), ...]``.

    names
        The nodes that are to be done.
    canary
        Goes first and alone, unless it is done already; without one, the first node does.
    size
        A number of nodes, or a percentage of each partition, of which at least one node.
    partitions
        The members of each; a node goes with the first that has it.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.batches '[cn1, cn2, gpu1]' cn1 50% '{gpu: [gpu1]}'

    .. versionadded:: 1.0.0
    """
    first = [canary] if canary in names else names[:1] if canary is None else []
    left = [name for name in names if name not in first]
    groups = []
    for label, members in partitions.items():
        groups.append((label, [name for name in left if name in members]))
        left = [name for name in left if name not in members]
    groups.append(("others" if partitions else "nodes", left))
    plan = [("canary", first)] if first else []
    for label, group in groups:
        count = _count(size, len(group))
        parts = [group[start : start + count] for start in range(0, len(group), count)]
        plan += [(f"{label}, batch {number} of {len(parts)}", part) for number, part in enumerate(parts, 1)]
    return plan


def _count(size: int | str, of: int) -> int:
    text = str(size)
    return max(1, math.ceil(of * int(text[:-1]) / 100) if text.endswith("%") else int(text))


def _misused(strange: list[str], nodes: Any, batch: Any, partitions: Any, confirm: Any, probes: Any) -> str:
    """What is wrong with the arguments, or nothing."""
    number = str(batch).removesuffix("%")
    if strange:
        return f"{strange[0]} is no argument; there are nodes, canary, batch, partitions, confirm and probes"
    if not isinstance(nodes, str) or not nodes.strip():
        return "nodes is missing: a compound target such as 'cn* or gpu*'"
    if not number.isdigit() or not int(number) or (number != str(batch) and int(number) > 100):
        return f"batch is {batch!r}; allowed is a number from 1, or a percentage such as 10%"
    if not isinstance(partitions, Mapping) or not all(isinstance(target, str) for target in partitions.values()):
        return f"partitions is {partitions!r}; it has to be a mapping of names to compound targets"
    if not isinstance(confirm, int) or isinstance(confirm, bool) or confirm < 1:
        return f"confirm is {confirm!r}; allowed is a number of seconds from 1"
    for probe in probes:
        if not isinstance(probe, Mapping) or not probe.get("command") or set(probe) - {"command", "expect", "says"}:
            return f"A probe is {probe!r}; it has to be a mapping with command, and at most expect and says besides"
        if probe.get("expect", _PERMIT) not in (_PERMIT, _DENY):
            return f"A probe's expect is {probe['expect']!r}; allowed is permit or deny"
    return ""


def _resumed(names: list[str], earlier: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What is known of each node from an earlier rollout that did not come to its end."""
    if all(STATES[node["state"]] for node in earlier.values()):
        earlier = {}
    return {name: dict(earlier.get(name, {"state": "waiting", "reason": ""})) for name in names}


# What a minion's answer means


def _blocked(audit: Answer) -> str:
    """What stands in the way of an apply."""
    if not isinstance(audit.value, dict) or "findings" not in audit.value:
        return str(audit.value)
    failed = [finding for finding in audit.value["findings"] if finding["result"] is False]
    return "; ".join(f"{finding['subject']}: {finding['found']}" for finding in failed)


def _not_applied(apply: Answer) -> str:
    """The first state that failed."""
    if not isinstance(apply.value, dict):
        return "\n".join(apply.value) if isinstance(apply.value, list) else str(apply.value)
    failed = [state for state in apply.value.values() if state["result"] is False]
    failed.sort(key=lambda state: state["__run_num__"])
    return f"{failed[0]['__id__']}: {failed[0]['comment']}" if failed else ""


def _not_verified(audit: Answer) -> str:
    if not isinstance(audit.value, dict) or "holds" not in audit.value:
        return str(audit.value)
    found = [f"{finding['subject']}: {finding['found']}" for finding in audit.value["findings"]]
    return "" if audit.value["holds"] else "after the apply: " + "; ".join(found)


# What is done


def _audited(names: list[str], record: dict, ask: Ask, tell: Tell) -> list[str]:
    """Look at every node, change nothing; the nodes that are to be done."""
    _say(f"{len(names)} nodes. Bringing them the formula's modules")
    there = ask(names, "saltutil.sync_all")
    for name in names:
        if name not in there:
            tell(name, "unreachable", "the minion does not answer; nothing was done")
    _say("Auditing them; this changes nothing")
    todo = []
    audits = ask(sorted(there), "slurm_pam.audit")
    for name in sorted(set(there) - set(audits)):
        tell(name, "unreachable", "the minion does not answer any more; nothing was done")
    for name, audit in sorted(audits.items()):
        if problem := _blocked(audit):
            tell(name, "refused", problem)
        elif audit.value["holds"] and record[name]["state"] in ("waiting", "unreachable", "refused"):
            tell(name, "unchanged", "it was as it should be before")
        elif not (audit.value["holds"] and STATES[record[name]["state"]]):
            tell(name, "waiting", audit.value["summary"])
            todo.append(name)
    return todo


def _batch(names: list[str], confirm: int, probes: list[Mapping[str, str]], ask: Ask, tell: Tell) -> None:
    """Apply, verify, confirm; a node that does not come through is taken back."""
    for name in names:
        tell(name, "applying", "")
    problems: dict[str, str] = {}

    def hear(function: str, meaning: Callable[[Answer], str], *words: Any, **keywords: Any) -> dict[str, Answer]:
        """Ask the nodes that have no problem yet."""
        asked = [name for name in names if name not in problems]
        answers = ask(asked, function, *words, **keywords)
        for name in asked:
            problem = meaning(answers[name]) if name in answers else f"no answer to {function}"
            if problem:
                problems[name] = problem
        return answers

    hear("state.apply", _not_applied, "slurm_pam", pillar={"slurm_pam": {"confirm": confirm}})
    hear("slurm_pam.audit", _not_verified)
    for name in names:
        if name not in problems and (problem := _probed(name, probes)):
            problems[name] = problem
    waiting = hear("slurm_pam_confirm.pending", lambda answer: "" if answer.well else str(answer.value))
    idle = [name for name in names if name in waiting and name not in problems and waiting[name].value is None]
    for name in idle:
        tell(name, "done", "nothing was to be changed")
    names = [name for name in names if name not in idle]
    hear("slurm_pam.confirm", lambda answer: "" if answer.well else str(answer.value))
    for name in names:
        if name not in problems:
            tell(name, "done", "")
    if problems:
        _taken_back(problems, confirm, ask, tell)


def _taken_back(problems: Mapping[str, str], confirm: int, ask: Ask, tell: Tell) -> None:
    waiting = ask(sorted(problems), "slurm_pam_confirm.pending")
    changed = sorted(name for name, answer in waiting.items() if answer.well and answer.value is not None)
    answers = ask(changed, "slurm_pam_confirm.take_back")
    for name, problem in sorted(problems.items()):
        if name not in waiting:
            tell(name, "failed", f"{problem}. The minion is gone: the node takes back by itself within {confirm} s")
        elif name not in changed:
            tell(name, "failed", f"{problem}. There was nothing to take back")
        elif name in answers and answers[name].well:
            tell(name, "taken back", problem)
        else:
            tell(
                name, "failed", f"{problem}. Taking back failed: {answers.get(name, Answer(False, 'no answer')).value}"
            )


def _probed(node: str, probes: list[Mapping[str, str]]) -> str:
    """The first login that does not end as it should."""
    for probe in probes:
        words = [word.replace("{node}", node) for word in shlex.split(probe["command"])]
        expect, says = probe.get("expect", _PERMIT), probe.get("says", "")
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            return f"{shlex.join(words)}: {problem}"
        told = (done.stdout + done.stderr).strip()
        if (done.returncode == 0) != (expect == _PERMIT) or says not in told:
            wanted = f"{expect}, saying {says!r}" if says else expect
            return f"{shlex.join(words)}: expected {wanted}, but exit status {done.returncode}: {told}"
    return ""


# Salt, files and the person who watches


def _asker(client: Any) -> Ask:
    def ask(names: list[str], function: str, *words: Any, **keywords: Any) -> dict[str, Answer]:
        """The answers of the minions that gave one."""
        answers: dict[str, Answer] = {}
        if names:
            patience = {"timeout": _PATIENCE, "gather_job_timeout": _PATIENCE}
            for answer in client.cmd_iter(names, function, words, tgt_type="list", kwarg=keywords, **patience):
                for name, returned in answer.items():
                    if "ret" in returned:
                        answers[name] = Answer(not returned.get("retcode"), returned["ret"])
        return answers

    return ask


def _teller(record: dict[str, dict[str, str]]) -> Tell:
    def tell(name: str, state: str, reason: str) -> None:
        """Note what became of a node: on disk, for the person who watches, and on the event bus."""
        record[name] = {"state": state, "reason": reason}
        _save(record)
        _say(f"  {name:20} {state:12} {reason}".rstrip())
        with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
            bus.fire_event(dict(record[name]), f"slurm_pam/rollout/{name}")

    return tell


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _ended(record: Mapping[str, Mapping[str, str]], summary: str) -> dict[str, Any]:
    counts = {state: sum(node["state"] == state for node in record.values()) for state in STATES}
    result = bool(record) and all(STATES[node["state"]] for node in record.values())
    __context__["retcode"] = int(not result)
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return {
        "result": result,
        "summary": f"{summary}: {told}" if told else summary,
        "nodes": dict(sorted(record.items())),
    }


def _directory() -> str:
    directory = os.path.join(__opts__["cachedir"], "slurm_pam")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return directory


def _file() -> str:
    return os.path.join(_directory(), "rollout.json")


def _load() -> dict[str, dict[str, str]]:
    try:
        with open(_file(), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def _save(record: Mapping[str, Any]) -> None:
    new = f"{_file()}.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    os.replace(new, _file())


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether this is the only rollout; the lock goes with its process."""
    with open(os.path.join(_directory(), "rollout.lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
