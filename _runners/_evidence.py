"""What is true of a cluster now, as one document: what the nodes say of themselves, each thing that many say once.

``{"made", "target", "kinds": [facts], "nodes": {name: {"kind": number, "since"}}, "unknown": {name: why}}``
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import _node_answers as said
from _meant import meant
from _waves import Channel, Question, Turn, Waves

FORMAT = 1
# What a node can be, the worst first, and what that means.
STATES = {
    "open": "a promise does not hold, or its mode is audit",
    "unknown": "it did not answer, or what it said makes no sense",
    "drifted": "every promise holds, but the node is not as the settings want it",
    "adopting": "its mode is adopt: sessions go to jobs, and nobody is turned away",
    "closed": "every promise holds, and nothing has drifted",
}
# The most entries of a list, rules of a stack and ways on from a rule that are taken of a node.
_MOST, _RULES, _WAYS = 200, 60, 6
# The most characters of a text, and of one in a stack.
_LONGEST, _SHORT = 1000, 200


def gathered(
    target: str,
    groups: Mapping[str, Any],
    named: set[str],
    accepted: set[str] | None,
    channel: Channel,
    at_once: int,
) -> dict[str, Any]:
    """The document of all whom a target means; for the arguments see _meant. Nothing is changed on the nodes."""
    waves, answers = Waves(channel, at_once, lambda: None), {}
    nodes = meant(target, groups, named, accepted, channel, waves, at_once)
    waves.take({name: _asked() for name in nodes.reachable}, answers.__setitem__)
    others = {said.shown(name): said.unusable(name) for name in nodes.unusable}
    return document(target, time.time(), {**dict.fromkeys(nodes.mute), **answers}, others)


def _asked() -> Turn:
    return (yield Question("slurm_pam.evidence")).answer


def document(target: str, made: float, answers: Mapping[str, said.Answer | None], others: Mapping[str, str]) -> dict:
    """Of the answers; ``others`` are minions that could not be asked, with the reason."""
    kinds: dict[str, int] = {}
    nodes, unknown = {}, dict(others)
    for name, answer in sorted(answers.items()):
        if answer is None:
            unknown[name] = "its minion does not answer, or the master has accepted no key for it"
            continue
        facts = _facts(answer.value) if answer.well else None
        if facts is None:
            unknown[name] = f"slurm_pam.evidence: {said.error(answer)}"
            continue
        since = facts.pop("since")
        nodes[name] = {"kind": kinds.setdefault(json.dumps(facts), len(kinds)), "since": since}
    return {
        "format": FORMAT,
        "made": int(made),
        "target": target,
        "kinds": [json.loads(kind) for kind in kinds],
        "nodes": nodes,
        "unknown": dict(sorted(unknown.items())),
    }


# What a node says is data: each part has its shape, and a text is one bounded line


def _facts(value: Any) -> dict[str, Any] | None:
    try:
        facts = {name: shape(value[name]) for name, shape in _SHAPES.items()}
    except (TypeError, KeyError, ValueError):
        return None
    said_of = {name: len(value[name]) for name, kept in facts.items() if isinstance(kept, list)}
    cut = [
        f"{name}: the first {len(facts[name])} of {number:,} are here"
        for name, number in said_of.items()
        if number > len(facts[name])
    ]
    return {**facts, "warnings": [*cut, *facts["warnings"]][:_MOST]}


def _text(value: Any, longest: int = _LONGEST) -> str:
    if not isinstance(value, str):
        raise TypeError
    return said.line(value, longest)


def _word(value: Any) -> str:
    return _text(value, _SHORT)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def shape(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return shape


def _number(value: Any) -> int:
    number = _exactly(int)(value)
    if not 0 <= number < 2**40:
        raise ValueError
    return number


def _all(shape: Callable[[Any], Any], most: int = _MOST) -> Callable[[Any], list]:
    return lambda value: [shape(each) for each in _exactly(list)(value)[:most]]


def _entry(**shapes: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: shape(value[name]) for name, shape in shapes.items()}


def _lead(value: Any) -> list:
    index, label = value
    return [_number(index), _word(label)]


_SHAPES: dict[str, Callable[[Any], Any]] = {
    "mode": _word,
    "version": _word,
    "since": lambda value: None if value is None else _number(value),
    "access": _all(_entry(may=_text, who=_text, origins=_text)),
    "promises": _all(_entry(name=_text, holds=_exactly(bool), why=_text, where=_text)),
    "doors": _all(
        _entry(
            name=_word,
            what=_word,
            reach=_word,
            shell=_exactly(bool),
            setting=_word,
            stranger=_word,
            administrator=_word,
            why=_text,
            where=_word,
        )
    ),
    "unseen": _all(_text),
    "strays": _all(_entry(user=_word, came=_word, spared=_text)),
    "loose": _all(_entry(user=_word, problem=_text)),
    "drift": _all(_entry(subject=_text, found=_text)),
    "warnings": _all(_text),
    "stack": _all(_entry(level=_number, control=_word, module=_word, where=_word, leads=_all(_lead, _WAYS)), _RULES),
}


# What it comes to


def state(facts: Mapping[str, Any]) -> str:
    """What a node is that says so. One without promises has not said that they hold."""
    if facts["mode"] not in ("enforce", "adopt") or not facts["promises"]:
        return "open"
    if not all(promise["holds"] for promise in facts["promises"]):
        return "open"
    if facts["drift"]:
        return "drifted"
    return "adopting" if facts["mode"] == "adopt" else "closed"


def states(document: Mapping[str, Any]) -> dict[str, str]:
    """The state of each node, also of those of which nothing is known."""
    of_kind = [state(facts) for facts in document["kinds"]]
    known = {name: of_kind[node["kind"]] for name, node in document["nodes"].items()}
    return {**known, **dict.fromkeys(document["unknown"], "unknown")}


def is_open(door: Mapping[str, Any]) -> bool:
    """Whether people without a job come in by it from elsewhere, or may."""
    return door["stranger"] != "does not" and door["reach"] != "inside" and door["shell"]


def alike(document: Mapping[str, Any], rows: Callable[[dict[str, Any]], Iterable[tuple]]) -> dict[tuple, list[str]]:
    """Who says the same: each row that a kind of node has, with all nodes that have it."""
    of_kind = [list(dict.fromkeys(rows(facts))) for facts in document["kinds"]]
    found: dict[tuple, list[str]] = {}
    for name, node in document["nodes"].items():
        for row in of_kind[node["kind"]]:
            found.setdefault(row, []).append(name)
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[tuple[str, str, str], list[str]]:
    """What is otherwise than in an earlier document: (what, before, now), and for which nodes."""
    found: dict[tuple[str, str, str], list[str]] = {}
    earlier, later = states(before), states(now)
    parts: dict[tuple[int, int], list[tuple[str, str, str]]] = {}
    for name in sorted({*earlier, *later}):
        then, since = before["nodes"].get(name), now["nodes"].get(name)
        changed = []
        if earlier.get(name) != later.get(name):
            changed.append(("state", earlier.get(name, "not there"), later.get(name, "not there")))
        if then and since:
            pair = then["kind"], since["kind"]
            if pair not in parts:
                parts[pair] = list(_parts(before["kinds"][pair[0]], now["kinds"][pair[1]]))
            changed += parts[pair]
        for change in changed:
            found.setdefault(change, []).append(name)
    return found


def _parts(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for name in ("mode", "version"):
        if before[name] != now[name]:
            yield name, before[name], now[name]
    for name in ("access", "promises", "doors", "unseen", "strays", "loose", "drift", "warnings", "stack"):
        then, since = list(map(_words, before[name])), list(map(_words, now[name]))
        for gone in then:
            if gone not in since:
                yield name, gone, ""
        for new in since:
            if new not in then:
                yield name, "", new
        if sorted(then) == sorted(since) and then != since:
            yield name, "another order", ""


def _words(entry: Any) -> str:
    """An entry in one line."""
    if isinstance(entry, str):
        return entry
    if "holds" in entry:
        return f"{entry['name']}: {'holds' if entry['holds'] else entry['why'] or 'does not hold'}"
    programs = ["runs programs"] if entry.get("shell") else []
    return " ".join([*(value for value in entry.values() if isinstance(value, str) and value), *programs])


def checked(value: Any) -> dict[str, Any]:
    """A document that was read from a file. Raises ValueError if it is none."""
    try:
        if value["format"] != FORMAT:
            raise ValueError("another release wrote it")
        kinds = [_facts({**facts, "since": None}) for facts in value["kinds"]]
        for facts in kinds:
            del facts["since"]
        for node in value["nodes"].values():
            kinds[_number(node["kind"])], _SHAPES["since"](node["since"])
        _number(value["made"]), _text(value["target"])
        sound = all(isinstance(why, str) for why in value["unknown"].values())
        if not sound:
            raise ValueError("it is not evidence of a cluster")
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError("it is not evidence of a cluster") from error
    return {**value, "kinds": kinds}
