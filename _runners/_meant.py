"""Which minions a target means: the master knows some, the minions themselves decide, and some do not answer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import _node_answers as said
import salt.loader
import salt.utils.minions
from _waves import PATIENCE, Channel, Question, Turn, Waves


class Meant(NamedTuple):
    """Names, each list in order."""

    reachable: list[str]
    mute: list[str]  # they do not answer, or have no accepted key
    unusable: list[str]  # names that are none of a node
    gone: list[str]  # the master's cache still has them


def meant(
    target: str,
    groups: Mapping[str, Any],
    named: set[str],
    accepted: set[str] | None,
    channel: Channel,
    waves: Waves,
    at_once: int,
) -> Meant:
    """Those whom a target means. A name goes to Salt in a list alone: as a part of a target it could mean others.

    ``named`` are those that the master's cache knows for it, or that it lists; ``accepted`` are all that may be heard;
    None where a master of masters does not know those below.
    """
    spelled, answers = spelled_out(target, groups), {}
    # The cache may be old. If those that it names are too many for one call, all minions are asked in waves.
    few = accepted is None or len(named) <= at_once
    heard = named if accepted is None else accepted
    asked = [name for name in sorted(heard & named if few else heard) if not said.unusable(name)]
    waves.take({name: _matching(spelled, name in named) for name in asked}, answers.__setitem__)
    matching = {name for name, answer in answers.items() if answer}
    leaving = {name for name, answer in answers.items() if answer is False}
    whom, awaited = (target, matching) if few else (nameless(spelled), set())
    others = answering(channel, whom, awaited, accepted) - leaving
    unusable = {name for name in named | others if said.unusable(name)}
    reachable = matching | others - unusable
    mute = named - unusable - reachable - leaving
    return Meant(sorted(reachable), sorted(mute), sorted(unusable), sorted(leaving & named))


def _matching(target: str, named: bool) -> Turn:
    """Whether its own matcher says that it is meant; None if it does not answer. Of nonsense, the cache decides."""
    for _ in range(2):  # it may have been too busy a moment ago
        reply = yield Question("match.compound", (), {"tgt": target})
        if reply.answer:
            return reply.answer.value if isinstance(reply.answer.value, bool) else named
    return None


def answering(channel: Channel, target: str, awaited: set[str], accepted: set[str] | None) -> set[str]:
    """Those who say themselves that they are meant. Nobody waits for others than those who are awaited."""
    heard: set[str] = set()
    sent = channel.send(target, "test.ping", (), {})
    until = channel.now() + PATIENCE
    while sent and channel.now() < until and not (awaited and awaited <= heard):
        answers = [name for job, name, _ in channel.heard(1) if job == sent]
        heard.update(name for name in answers if accepted is None or name in accepted)
    return heard


def nameless(target: str) -> str:
    """Those of a target that have no name of a node."""
    return f"( {target} ) and not E@^{said.NAME}\\Z"


def spelled_out(target: str, groups: Mapping[str, Any]) -> str:
    """The target without node groups, which are the master's."""

    def words(word: str) -> Iterable[str]:
        return salt.utils.minions.nodegroup_comp(word[2:], groups) if word.startswith("N@") else [word]

    return " ".join(itertools.chain(*map(words, target.split())))


def unreadable(targets: Mapping[str, str], opts: Mapping[str, Any]) -> str:
    """What is wrong with the first of named compound targets that Salt cannot read, or nothing.

    Of such a one Salt says neither that a minion matches it nor that it does not.
    """
    match = salt.loader.matchers(opts)["compound_match.match"]
    minion = {**opts, "id": "minion", "grains": {}, "pillar": {}}
    for name, target in targets.items():
        spelled = spelled_out(target, opts.get("nodegroups", {}))
        try:
            answers = {match(spelled, minion), match(f"not ( {spelled} )", minion)}
        except (re.error, OverflowError, TypeError):  # the last of what is no truth value, such as []
            answers = set()
        if not spelled or answers != {True, False}:
            return f"{name} is {target!r}, which Salt cannot read; it has to be a compound target such as 'cn* or gpu*'"
    return ""
