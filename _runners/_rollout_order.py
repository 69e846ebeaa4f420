"""What a rollout is asked for, whether it makes sense, and the order of nodes that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import _node_answers as said

# The nodes that are called at the same time where nothing else is said.
AT_ONCE = 500
# What nodes are called that are in no partition: without partitions, and beside some.
NODES, OTHERS = "nodes", "others"


class Order(NamedTuple):
    """What was asked for; see :py:func:`slurm_pam.rollout <salt.runners.slurm_pam.rollout>`."""

    nodes: str
    canary: str | None
    batch: int | str
    partitions: Mapping[str, str]
    confirm: int
    probes: list[Mapping[str, str]]
    tolerate: int | str | Mapping[str, int | str] = 0
    at_once: int = AT_ONCE

    def targets(self) -> dict[str, str]:
        """The compound targets, by what they are called in a message."""
        return {"nodes": self.nodes, **{f"partitions: {name}": target for name, target in self.partitions.items()}}

    def rest(self) -> str:
        """What nodes are called that are in no partition."""
        return OTHERS if self.partitions else NODES

    def tolerated(self, partition: str, of: int) -> int:
        """How many nodes of a partition may stay as they are, of all that answered."""
        share = self.tolerate.get(partition, 0) if isinstance(self.tolerate, Mapping) else self.tolerate
        return math.floor(_share(share, of))


class Batch(NamedTuple):
    """Nodes that are done together, all of one partition. The canary is of its own one."""

    label: str
    names: list[str]


def batches(
    names: list[str],
    canary: str | None,
    size: int | str,
    partitions: Mapping[str, Iterable[str]],
    nodes: Iterable[str] = (),
) -> list[Batch]:
    """Who is done with whom, in order; see :py:func:`slurm_pam.batches <salt.runners.slurm_pam.batches>`."""
    first = [canary] if canary in names else names[:1] if canary is None else []
    everyone = {*names, *nodes}
    left = [name for name in names if name not in first]
    plan = [Batch("canary", first)] if first else []
    for label, members in [*partitions.items(), (OTHERS if partitions else NODES, list(everyone))]:
        members = everyone.intersection(members)
        group = [name for name in left if name in members]
        count = max(1, math.ceil(_share(size, len(members))))
        parts = [group[start : start + count] for start in range(0, len(group), count)]
        plan += [Batch(f"{label}, batch {number} of {len(parts)}", part) for number, part in enumerate(parts, 1)]
        left, everyone = [name for name in left if name not in members], everyone - members
    return plan


def _share(size: int | str, of: int) -> float:
    text = str(size)
    return of * int(text[:-1]) / 100 if text.endswith("%") else int(text)


def misused(order: Order) -> str:
    """What is wrong with the arguments, or nothing; probes have their own check."""
    confirm, partitions, tolerate = order.confirm, order.partitions, order.tolerate
    if not isinstance(order.nodes, str) or not order.nodes.strip():
        return "nodes is missing: a compound target such as 'cn* or gpu*'"
    if not _is_share(order.batch, 1):
        return f"batch is {order.batch!r}; allowed is a number from 1, or a percentage such as 10%"
    if not isinstance(partitions, Mapping) or not all(isinstance(target, str) for target in partitions.values()):
        return f"partitions is {partitions!r}; it has to be a mapping of names to compound targets"
    if odd := [name for name in partitions if not isinstance(name, str) or not name.isprintable()]:
        return f"partitions has the name {odd[0]!r}; allowed is printable text"
    if order.canary is not None and (not isinstance(order.canary, str) or said.unusable(order.canary)):
        return f"canary is {order.canary!r}; it has to be the name of one minion"
    if not _is_number(confirm):
        return f"confirm is {confirm!r}; allowed is a number of seconds from 1"
    if not _is_number(order.at_once):
        return f"at_once is {order.at_once!r}; allowed is a number of nodes from 1"
    for name, share in tolerate.items() if isinstance(tolerate, Mapping) else []:
        if name not in (*partitions, order.rest()):
            return f"tolerate names {name!r}; there are {', '.join([*partitions, order.rest()])}"
        if not _is_share(share, 0):
            return f"tolerate is {share!r} for {name}; allowed is a number from 0, or a percentage such as 2%"
    if not isinstance(tolerate, Mapping) and not _is_share(tolerate, 0):
        return f"tolerate is {tolerate!r}; allowed is a number from 0, a percentage such as 2%, or a mapping of these"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_share(value: object, least: int) -> bool:
    """A number, or a percentage up to 100%."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return False
    number = str(value).removesuffix("%")
    if not (number.isascii() and number.isdecimal()) or int(number) < least:
        return False
    return number == str(value) or int(number) <= 100
