"""What is right by itself in nodes' settings, and still probably not as it was meant."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Rendered(NamedTuple):
    """A node's pillar: as it came, the partitions that the node is in, and what comes of it."""

    given: Any
    partitions: list[str]
    settings: dict[str, Any]


Partitions = Mapping[str, Mapping[str, Any]]


def doubts(rendered: Mapping[str, Rendered]) -> dict[str, list[str]]:
    """Warnings, each with the nodes that it is about."""
    found: dict[str, list[str]] = {}
    matched = {partition for node in rendered.values() for partition in node.partitions}
    for name, node in rendered.items():
        known = _partitions(node.given)
        looks = (_unmatched(known, matched), _contradictions(node, known), _alike(node.given, known))
        for text in itertools.chain(*looks):
            found.setdefault(text, []).append(name)
    return found


def _partitions(given: Any) -> Partitions:
    """The partitions of a pillar, of those that are of the right shape."""
    partitions = given.get("partitions") if isinstance(given, Mapping) else None
    known = partitions.items() if isinstance(partitions, Mapping) else ()
    return {name: partition for name, partition in known if isinstance(partition, Mapping)}


def _unmatched(known: Partitions, matched: set[str]) -> Iterator[str]:
    for name, partition in known.items():
        if name not in matched:
            yield (
                f"slurm_pam:partitions:{name}:nodes is {partition.get('nodes')!r}, which matches none of the nodes "
                "that were looked at, so its settings apply to no node: see whether a name or a grain is misspelled"
            )


def _contradictions(node: Rendered, known: Partitions) -> Iterator[str]:
    """What two partitions of one node say differently."""
    for first, second in itertools.combinations(node.partitions, 2):
        for path, says, overrides in _differing(*(known[name].get("settings") for name in (first, second))):
            yield (
                f"slurm_pam:{path} is {says!r} in the partition {first} and {overrides!r} in {second}. "
                f"For nodes in both, the later one counts, {second}: if that is not meant, let their targets "
                "exclude each other"
            )


def _differing(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What both have and is not the same, such as an entry that only one of them takes out."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one:
            if key in other:
                yield from _differing(one[key], other[key], f"{path}:{key}".lstrip(":"))
    elif path and one != other:
        yield path, one, other


def _alike(given: Any, known: Partitions) -> Iterator[str]:
    """Names of administrators of which one may be another one misspelled."""
    everywhere = [given, *(partition.get("settings") for partition in known.values())]
    for kind in ("groups", "users"):
        names = sorted({str(name) for settings in everywhere for name in _administrators(settings, kind)})
        for one, other in itertools.combinations(names, 2):
            if differ_by_a_letter(one, other):
                yield (
                    f"slurm_pam:access:{kind} has {one} and {other}, which differ by one letter, and both get in "
                    "without a job: see whether one of them is misspelled"
                )


def _administrators(settings: Any, kind: str) -> Iterable[Any]:
    for key in ("access", kind):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings if isinstance(settings, Mapping) else ()


def differ_by_a_letter(one: str, other: str) -> bool:
    """Whether one letter is another one, too many or missing. Numbers tell names apart on purpose; case never does."""
    if re.findall(r"\d+", one) != re.findall(r"\d+", other):
        return False
    short, long = sorted((one.lower(), other.lower()), key=len)
    same = next((at for at, (left, right) in enumerate(zip(short, long)) if left != right), len(short))
    return short == long or short[same:] == long[same + 1 :] or short[same + 1 :] == long[same + 1 :]
