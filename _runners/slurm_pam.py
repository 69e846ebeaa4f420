"""
Roll slurm_pam out over a cluster: audit all nodes, try it on one, then go on batch by batch while all goes well.

``salt-run saltutil.sync_runners`` brings this module to the master; ``slurm_pam/rollout.sls`` is the usual way to call
it. Every apply of a rollout waits to be confirmed (see :py:mod:`slurm_pam_confirm <salt.modules.slurm_pam_confirm>`),
so that a node which does not come through its verification is taken back, by the rollout or by itself.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import _node_answers as said
import _pillars
import salt.client
import salt.loader
import salt.utils.event
import salt.utils.minions
from _node_answers import Answer
from salt.exceptions import CommandExecutionError, SaltException

log = logging.getLogger(__name__)

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
# The most characters of a reason or a summary: what a node said, and what we say of it.
_REASON = 5000
# Seconds that a minion may take to give a sign of life; one that is busy is slow, and not dead.
_PATIENCE = 20
# Seconds for what changes nothing; a minion that gives signs of life and no answer would be waited for without end.
_LOOKING = 300
# The parts of the seconds to confirm by which a batch has to be applied, audited and logged in to. What is left is for
# confirming: a node that hangs in one of them costs the others of its batch nothing.
_APPLIED, _AUDITED, _VERIFIED = 0.6, 0.75, 0.9


class Order(NamedTuple):
    """What was asked for; see :py:func:`rollout`."""

    nodes: str
    canary: str | None
    batch: int | str
    partitions: Mapping[str, str]
    confirm: int
    probes: list[Mapping[str, str]]


Ask = Callable[..., dict[str, Answer]]
Tell = Callable[[str, str, str], None]
Record = dict[str, dict[str, str]]


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
    Close the nodes, a few at a time. Stops at the first batch where something is not as it should be, and names it.
    Called again, it goes on where it stopped.

    nodes
        Which ones, as a compound target. The minions themselves decide whether they match it.
    canary
        The node to try it on before all others; the first one where none is named.
    batch
        How many at a time: a number, or a percentage of the partition or, without partitions, of all nodes that answer.
    partitions
        ``{name: compound target}``: they are done in this order, and nodes that are in none of them last.
    confirm
        Seconds after which a node takes an apply back that the rollout did not confirm. A batch has to be applied when
        six tenths of them are over, audited when three quarters are, and logged in to when nine tenths are; a node that
        is not by then is taken back.
    probes
        Real logins for the verification, made from the master: ``{command: "ssh alice@{node} true", expect: deny,
        says: "no active jobs"}``; see :py:func:`slurm_pam_logins.failing <salt.runners.slurm_pam_logins.failing>`.

    Returns ``{"result": bool, "summary": str, "nodes": {name: {"state", "reason"}}}``. While it runs, it says on
    standard error what happens, and fires events with the tag ``slurm_pam/rollout/<node>``.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.rollout 'cn* or gpu*' canary=cn1 batch=25%

    .. versionadded:: 1.0.0
    """
    order = Order(nodes or "", canary, batch, partitions or {}, confirm, probes or [])
    # Salt itself adds arguments whose names begin so.
    strange = [name for name in unknown if not name.startswith("__")]
    if wrong := _misused(order, strange):
        return _ended({}, wrong)
    with _alone() as free:
        if not free:
            return _ended({}, "Another rollout is running on this master. Nothing was done")
        with salt.client.get_local_client(mopts=__opts__) as client:
            accepted = set(client.gather_minions(r"[\s\S]", "pcre"))
            named = accepted.intersection(client.gather_minions(order.nodes, "compound"))
            # A master of masters does not know the minions below.
            heard = None if client.opts.get("order_masters") else accepted
            return _carried_out(order, sorted(named), _asker(client, heard))


def report() -> dict[str, Any]:
    """
    How the last rollout ended, or stands now, for each node.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.report

    .. versionadded:: 1.0.0
    """
    try:
        record = _load()
    except ValueError as problem:
        return _ended({}, str(problem))
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


# Pillars before they go out


def check_pillar(nodes: str = "*") -> dict[str, Any]:
    """
    What is wrong with the settings of nodes, and what is probably not as it was meant. Nothing is asked of a node: the
    master renders their pillars with the grains that it knows. For a hook or a pipeline, the exit status says it too.

    nodes
        Which ones, as a compound target.

    Returns ``{"result": bool, "summary": str, "problems": {text: nodes}, "warnings": {text: nodes}, "retcode": int}``.
    Warnings are partitions that match no node, partitions of one node that contradict each other, and names of
    administrators that differ by one letter.

    Raises CommandExecutionError where the master's file server does not have the formula's modules.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.check_pillar 'cn*'

    .. versionadded:: 1.1.0
    """
    __salt__["saltutil.sync_modules"]()
    functions = salt.loader.minion_mods({**__opts__, "grains": {}})
    if "slurm_pam.wrong_settings" not in functions:
        raise CommandExecutionError(
            "This master's file server does not have the formula's modules, so that nothing could be checked. Put "
            "_modules into file_roots, next to the folder slurm_pam"
        )
    told = _pillars.checked(__opts__, nodes, functions["slurm_pam.wrong_settings"])
    status = __context__["retcode"] = int(not told["result"])
    # salt-run ends with the one in the answer.
    return {**told, "retcode": status}


# The plan


def batches(
    names: list[str],
    canary: str | None,
    size: int | str,
    partitions: Mapping[str, Iterable[str]],
    nodes: Iterable[str] = (),
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
    nodes
        Those that are done already, or of all: a percentage counts them as well.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.batches '[cn1, cn2, gpu1]' cn1 50% '{gpu: [gpu1]}'

    .. versionadded:: 1.0.0
    """
    first = [canary] if canary in names else names[:1] if canary is None else []
    left, everyone = [name for name in names if name not in first], {*names, *nodes}
    plan = [("canary", first)] if first else []
    for label, members in [*partitions.items(), ("others" if partitions else "nodes", list(everyone))]:
        group = [name for name in left if name in members]
        count = _count(size, len(everyone & set(members)))
        parts = [group[start : start + count] for start in range(0, len(group), count)]
        plan += [(f"{label}, batch {number} of {len(parts)}", part) for number, part in enumerate(parts, 1)]
        left, everyone = [name for name in left if name not in members], everyone - set(members)
    return plan


def _count(size: int | str, of: int) -> int:
    text = str(size)
    return max(1, math.ceil(of * int(text[:-1]) / 100) if text.endswith("%") else int(text))


def _misused(order: Order, strange: list[str]) -> str:
    """What is wrong with the arguments, or nothing."""
    batch, confirm, partitions = order.batch, order.confirm, order.partitions
    number = str(batch).removesuffix("%")
    if strange:
        return f"{strange[0]} is no argument; there are {', '.join(Order._fields)}"
    if not isinstance(order.nodes, str) or not order.nodes.strip():
        return "nodes is missing: a compound target such as 'cn* or gpu*'"
    if not number.isdecimal() or not int(number) or (number != str(batch) and int(number) > 100):
        return f"batch is {batch!r}; allowed is a number from 1, or a percentage such as 10%"
    if not isinstance(partitions, Mapping) or not all(isinstance(target, str) for target in partitions.values()):
        return f"partitions is {partitions!r}; it has to be a mapping of names to compound targets"
    if order.canary is not None and (not isinstance(order.canary, str) or said.unusable(order.canary)):
        return f"canary is {order.canary!r}; it has to be the name of one minion"
    if not isinstance(confirm, int) or isinstance(confirm, bool) or confirm < 1:
        return f"confirm is {confirm!r}; allowed is a number of seconds from 1"
    return __salt__["slurm_pam_logins.misused"](order.probes)


def _resumed(names: list[str], earlier: Record) -> Record:
    """What is known of each node. Of an earlier rollout that came to its end, nothing is to be gone on with."""
    if all(STATES[earlier[name]["state"]] for name in names if name in earlier):
        earlier = {name: node for name, node in earlier.items() if name not in names}
    fresh = {name: {"state": "waiting", "reason": ""} for name in names}
    return {**fresh, **{name: dict(node) for name, node in earlier.items()}}


# What is done


def _carried_out(order: Order, named: list[str], ask: Ask) -> dict[str, Any]:
    """All of it; ``named`` are the nodes that the master's cache knows."""
    names, record = [], {}

    def ended(summary: str) -> dict[str, Any]:
        return _ended({name: record[name] for name in names}, summary)

    try:
        earlier = _load()
        reachable, silent, unusable = _nodes(order.nodes, named, ask)
        if not reachable and not silent and not unusable:
            return ended(f"No accepted minion matches {order.nodes}. Nothing was done")
        if order.canary not in (None, *reachable, *silent):
            return ended(f"The canary {order.canary} is not among the nodes {order.nodes}. Nothing was done")
        names = sorted([*reachable, *silent, *map(said.shown, unusable)])
        record = _resumed(names, earlier)
        tell = _teller(record)
        for name in unusable:
            tell(said.shown(name), "refused", said.unusable(name))
        for name in silent:
            tell(name, "unreachable", _silent(record[name], "test.ping"))
        ready = _audited(reachable, record, ask, tell)
        members = {label: _matching(target, reachable, ask)[0] for label, target in order.partitions.items()}
    except (SaltException, ValueError) as problem:
        return ended(f"Stopped before this run changed anything: {problem}")
    if any(record[name]["state"] == "refused" for name in names):
        return ended("Stopped before this run changed anything")
    if order.canary is not None and record[order.canary]["state"] == "unreachable":
        return ended("Stopped before this run changed anything: the canary does not answer")
    for label, chosen in batches(ready, order.canary, order.batch, members, reachable):
        _say(f"{label}: {', '.join(chosen)}")
        try:
            _batch(chosen, order, ask, tell)
        except Exception as problem:
            log.exception("slurm_pam.rollout")
            _broken_off(chosen, problem, order.confirm, record, tell)
        if not all(STATES[record[name]["state"]] for name in chosen):
            return ended(f"Stopped at {label}")
    return ended("All nodes that answer are closed")


def _nodes(target: str, named: list[str], ask: Ask) -> tuple[list[str], list[str], list[str]]:
    """The nodes that answer, those that do not, and minions whose names are none of a node. A name goes to Salt in a
    list alone: as a part of a target it could mean others."""
    usable = {name for name in named if not said.unusable(name)}
    matching, not_matching = _matching(target, usable, ask)
    # The master's cache, which named them, may be old; some were too busy a moment ago. Nobody waits for the silent.
    others = set(ask(target, _LOOKING, "test.ping", awaited=matching)) - not_matching
    for name in sorted(not_matching):
        _say(f"  {name:20} does not match {target} any more, and is left out")
    unusable = {name for name in {*named, *others} if said.unusable(name)}
    reachable = matching | others - unusable
    return sorted(reachable), sorted(usable - reachable - not_matching), sorted(unusable)


def _matching(target: str, names: Iterable[str], ask: Ask) -> tuple[set[str], set[str]]:
    """Those that answer, by what their own matcher says. An answer that makes no sense does not take a node out."""
    heard = ask(sorted(names), _LOOKING, "match.compound", tgt=_spelled_out(target))
    not_matching = {name for name, answer in heard.items() if answer.value is False}
    return set(heard) - not_matching, not_matching


def _spelled_out(target: str) -> str:
    """The target without node groups, which are the master's."""

    def spelled_out(word: str) -> Iterable[str]:
        return salt.utils.minions.nodegroup_comp(word[2:], groups) if word.startswith("N@") else [word]

    groups = __opts__.get("nodegroups", {})
    return " ".join(itertools.chain(*map(spelled_out, target.split())))


def _silent(known: Mapping[str, str], function: str) -> str:
    """What is to be said of a node whose minion does not answer."""
    if known["state"] == "unreachable":
        return known["reason"]
    told = f"its minion does not answer ({function}); this run did nothing there"
    if known["state"] in ("waiting", "refused"):
        return told
    return f"{told}. An earlier run left it {known['state']}{known['reason'] and ': '}{known['reason']}"


def _audited(names: list[str], record: Record, ask: Ask, tell: Tell) -> list[str]:
    """Look at every node, change nothing; the nodes that are to be done."""

    def hear(asked: Iterable[str], function: str) -> dict[str, Answer]:
        asked = sorted(asked)
        answers = ask(asked, _LOOKING, function)
        for name in asked:
            if name not in answers:
                tell(name, "unreachable", _silent(record[name], function))
        return answers

    _say(f"{len(names)} nodes. Bringing them the formula's modules")
    there = hear(names, "saltutil.sync_all")
    _say("Auditing them; this changes nothing")
    audits = hear(there, "slurm_pam.audit")
    standing = hear(audits, "slurm_pam_confirm.status")
    # Those that are as they should be had their preflight as a part of the audit.
    doubtful = [name for name in standing if not (said.blocked(audits[name]) or said.holds(audits[name]))]
    fit = hear(doubtful, "slurm_pam.preflight")
    todo = []
    for name in sorted(set(standing) - set(doubtful) | set(fit)):
        state, reason = _found(record[name], audits[name], standing[name], fit.get(name))
        tell(name, state, reason)
        if state == "waiting":
            todo.append(name)
    return todo


def _found(known: Mapping[str, str], audit: Answer, status: Answer, preflight: Answer | None) -> tuple[str, str]:
    """The state of a node before its turn, and the reason."""
    problem = said.blocked(audit) or said.unclear(status) or (preflight and said.unfit(preflight))
    if problem:
        return "refused", problem
    if not said.holds(audit):
        return "waiting", said.summary(audit)
    if said.unconfirmed(status):
        return "waiting", "it is as it should be, but waits to be confirmed"
    if STATES[known["state"]]:
        return known["state"], known["reason"]
    if known["state"] in ("waiting", "refused"):
        return "unchanged", "it was as it should be before"
    return "waiting", f"it is as it should be, but an earlier run left it {known['state']} and did not verify it"


def _batch(names: list[str], order: Order, ask: Ask, tell: Tell) -> None:
    """Apply, verify, confirm; a node that does not come through is taken back."""
    before = ask(names, _LOOKING, "slurm_pam_confirm.status")
    for name in names:
        if name in before:
            tell(name, "applying", "")
        else:
            tell(name, "unreachable", "its minion does not answer any more; this run changed nothing there")
    problems: dict[str, str] = {}
    begun = time.monotonic()

    def well() -> list[str]:
        return [name for name in names if name in before and name not in problems]

    def hear(
        asked: list[str], part: float, function: str, meaning: Callable[[Answer], str], *words: Any, **keywords: Any
    ):
        """Ask until a part of the seconds to confirm is over, and note the problems."""
        until = begun + part * order.confirm
        answers = ask(asked, max(5, until - time.monotonic()), function, *words, **keywords)
        late = time.monotonic() >= until
        for name in asked:
            problem = meaning(answers[name]) if name in answers else _no_answer(function, late, until - begun)
            if problem:
                problems[name] = problem
        return answers

    pillar = {"slurm_pam": {"confirm": order.confirm}}
    applied = hear(well(), _APPLIED, "state.apply", said.not_applied, "slurm_pam", pillar=pillar)
    hear(well(), _AUDITED, "slurm_pam.audit", said.not_verified)
    left = begun + _VERIFIED * order.confirm - time.monotonic()
    problems |= __salt__["slurm_pam_logins.failing"](well(), order.probes, left)
    verified = well()
    idle = [name for name in verified if not said.armed(applied[name]) and not said.unconfirmed(before[name])]
    hear([name for name in verified if name not in idle], 1, "slurm_pam.confirm", said.not_well)
    for name in well():
        tell(name, "done", "nothing was to be changed" if name in idle else "")
    cases = {
        name: Case(problem, name in verified, name in applied, before[name], None, None)
        for name, problem in problems.items()
    }
    if cases:
        _wound_up(cases, order.confirm, ask, tell)


def _no_answer(function: str, late: bool, seconds: float) -> str:
    why = f" within {seconds:.0f} s; it may still be at it" if late else ", nor a sign that it is still at it"
    return f"no answer to {function}{why}"


class Case(NamedTuple):
    """A node that did not come through, and what is known of it."""

    problem: str
    verified: bool  # so that only its confirmation went wrong
    applied: bool  # whether the apply was answered
    before: Answer  # slurm_pam_confirm.status before the apply
    now: Answer | None
    back: Answer | None  # slurm_pam_confirm.take_back


def _wound_up(cases: Mapping[str, Case], confirm: int, ask: Ask, tell: Tell) -> None:
    """Take back what did not come through."""
    now = ask(sorted(cases), _LOOKING, "slurm_pam_confirm.status")
    changed = [name for name, status in sorted(now.items()) if said.unconfirmed(status)]
    back = ask(changed, _LOOKING, "slurm_pam_confirm.take_back")
    for name, case in sorted(cases.items()):
        tell(name, *_became(case._replace(now=now.get(name), back=back.get(name)), confirm))


def _became(case: Case, confirm: int) -> tuple[str, str]:
    """The state of such a node, and the reason."""
    itself = f"the node takes back by itself within {confirm} s what was changed"
    if case.now is None and case.verified:
        return (
            "failed",
            f"{case.problem}. It was verified before its minion went away: unless it was confirmed, {itself}",
        )
    if case.now is None:
        return "failed", f"{case.problem}. The minion is gone: {itself}"
    if problem := said.unclear(case.now):
        return "failed", f"{case.problem}. How it stands cannot be told ({problem}): unless it was confirmed, {itself}"
    if said.unconfirmed(case.now) and case.back is None:
        return "failed", f"{case.problem}. There was no answer to slurm_pam_confirm.take_back: {itself}"
    if said.unconfirmed(case.now) and not case.back.well:
        return "failed", f"{case.problem}. Taking back failed: {said.error(case.back)}"
    if said.unconfirmed(case.now):
        return "taken back", case.problem
    if said.taken_back(case.now, case.before):
        return "taken back", case.problem
    if case.verified:
        return "done", f"verified; it was confirmed already ({case.problem})"
    if not case.applied:
        return "failed", f"{case.problem}. Nothing is there to be taken back yet; what it may still change, {itself}"
    return "failed", f"{case.problem}. There was nothing to take back"


def _broken_off(names: list[str], problem: Exception, confirm: int, record: Record, tell: Tell) -> None:
    """Something in the rollout itself went wrong."""
    told = f"the rollout broke off: {type(problem).__name__}: {problem}"
    for name in names:
        if record[name]["state"] == "waiting":
            tell(name, "failed", f"{told}. This run changed nothing there")
        elif record[name]["state"] == "applying":
            tell(
                name,
                "failed",
                f"{told}. Unless it was confirmed, it takes the change back by itself within {confirm} s",
            )


# Salt, files and the person who watches


def _asker(client: Any, accepted: set[str] | None) -> Ask:
    """How minions are asked; those with ``accepted`` keys are heard, or all. Salt's own way of waiting for answers ends
    with an exception, or never, where a minion sends events that make no sense: this one looks at each event itself."""

    def publish(whom: str | list[str], function: str, words: Iterable[Any], keywords: Mapping[str, Any]) -> dict:
        how = {"tgt_type": "list" if isinstance(whom, list) else "compound", "timeout": _PATIENCE}
        # The client says on standard output what this runner's answer is not to begin with.
        with contextlib.redirect_stdout(sys.stderr):
            return client.run_job(whom, function, words, kwarg=keywords, listen=True, **how)

    def ask(
        whom: str | list[str],
        seconds: float,
        function: str,
        *words: Any,
        awaited: Iterable[str] | None = None,
        **keywords: Any,
    ) -> dict[str, Answer]:
        """The answers of the minions in a list, or of those that a compound target matches: until all who are awaited
        have answered, the seconds are over, or none of them gives a sign of life."""
        known = set(whom) if isinstance(whom, list) else accepted
        job = publish(whom, function, words, keywords) if whom else {}
        if not job:
            return {}
        heard: dict[str, Answer] = {}
        waiting = set(job["minions"] or whom if awaited is None else awaited)
        until = time.monotonic() + (seconds if waiting else min(seconds, _PATIENCE))
        look, looking, alive = time.monotonic() + _PATIENCE, "", set()
        try:
            while time.monotonic() < until and not (waiting and waiting <= heard.keys()):
                event = client.event.get_event(wait=1, tag="salt/job/", full=True, auto_reconnect=client.auto_reconnect)
                jid, name, data = _returned(event)
                if jid == job["jid"] and (known is None or name in known):
                    heard.setdefault(name, Answer(not data.get("retcode"), data["return"]))
                elif jid == looking and data["return"]:
                    alive.add(name)
                if waiting and time.monotonic() > look:
                    missing = sorted(waiting - heard.keys())
                    if looking and not alive.intersection(missing):
                        break
                    looking, alive = publish(missing, "saltutil.find_job", [job["jid"]], {}).get("jid", ""), set()
                    look = time.monotonic() + _PATIENCE
        finally:
            client.event.close_pub()
        return heard

    return ask


def _returned(event: Any) -> tuple[str | None, str, dict]:
    """The job, the minion and the data of an event that brings an answer; no job where it brings none."""
    found = event and re.match("salt/job/([^/]+)/ret/", event["tag"])
    data = event["data"] if found else {}
    sound = isinstance(data.get("id"), str) and "return" in data
    return (found[1], data["id"], data) if sound else (None, "", {})


def _teller(record: Record) -> Tell:
    def tell(name: str, state: str, reason: str) -> None:
        """Note what became of a node: for the person who watches, on the event bus, and on disk."""
        record[name] = {"state": state, "reason": said.line(reason, _REASON)}
        _say(f"  {name:20} {state:12} {record[name]['reason']}".rstrip())
        _fire(f"slurm_pam/rollout/{name}", record[name])
        _save(record)

    return tell


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _fire(tag: str, data: Mapping[str, str]) -> None:
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event(dict(data), tag)


def _ended(record: Mapping[str, Mapping[str, str]], summary: str) -> dict[str, Any]:
    counts = {state: sum(node["state"] == state for node in record.values()) for state in STATES}
    result = bool(record) and all(STATES[node["state"]] for node in record.values())
    __context__["retcode"] = int(not result)
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return {
        "result": result,
        "summary": said.line(f"{summary}: {told}" if told else summary, _REASON),
        "nodes": dict(sorted(record.items())),
    }


def _directory() -> str:
    directory = os.path.join(__opts__["cachedir"], "slurm_pam")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return directory


def _file() -> str:
    return os.path.join(_directory(), "rollout.json")


def _load() -> Record:
    try:
        with open(_file(), encoding="utf-8") as file:
            record = json.load(file)
        sound = all(node["state"] in STATES and isinstance(node["reason"], str) for node in record.values())
        if not sound:
            raise ValueError("it is no record of a rollout")
        return {
            # 1.0.0 wrote down what it was told.
            name if name.isprintable() else said.shown(name): {**node, "reason": said.line(node["reason"], _REASON)}
            for name, node in record.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ValueError(
            f"{_file()}, where the last rollout stands, cannot be read: {problem}. "
            "salt-run slurm_pam.forget removes it; the next rollout then begins with its canary"
        ) from problem


def _save(record: Mapping[str, Any]) -> None:
    new = f"{_file()}.new"
    with open(new, "w", encoding="utf-8", opener=_private) as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, _file())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Whether this is the only rollout; the lock goes with its process."""
    with open(os.path.join(_directory(), "rollout.lock"), "w", encoding="utf-8", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
