"""How a rollout stands: of which nodes it is told, and in what form."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from _node_answers import OPEN
from _node_ranges import folded
from _rollout_record import STATES, Node

# The most characters for which the columns of all rows are padded.
_WIDEST = 40


def chosen(nodes: Mapping[str, Node], states: set[str] | None, partitions: set[str] | None) -> dict[str, Node]:
    """The nodes of these states and partitions; None is all of them."""
    return {
        name: node
        for name, node in nodes.items()
        if (states is None or node.state in states) and (partitions is None or node.partition in partitions)
    }


def counted(nodes: Mapping[str, Node]) -> dict[str, dict[str, int]]:
    """How many nodes of each partition are what."""
    found: dict[str, Counter[str]] = {}
    for node in nodes.values():
        found.setdefault(node.partition, Counter())[node.state] += 1
    return {
        partition: {state: counts[state] for state in STATES if counts[state]}
        for partition, counts in sorted(found.items())
    }


def table(nodes: Mapping[str, Node]) -> str:
    """As text, the worst first. Nodes with the same state, partition and reason are one row."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, node in nodes.items():
        alike.setdefault((node.state, node.partition, node.reason), []).append(name)
    order = list(STATES)
    rows = [("state", "partition", "nodes", "since", "which", "why")]
    for (state, partition, reason), names in sorted(alike.items(), key=lambda row: (order.index(row[0][0]), row)):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(max(nodes[name].at for name in names)))
        rows.append((state, partition, f"{len(names):,}", since, folded(names), reason))
    text = _columns(rows)
    besides = [
        (kind, name, f"{told['count']:,}", told["nodes"])
        for kind, names in left_open(nodes).items()
        for name, told in names.items()
    ]
    return f"{text}\n\n{_columns([('open', 'what', 'nodes', 'which'), *besides])}" if besides else text


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def left_open(nodes: Mapping[str, Node]) -> dict[str, dict[str, dict[str, Any]]]:
    """What is left open to users without a job, each with how many nodes and which, by their last audits."""
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in OPEN}
    for name, node in nodes.items():
        for kind, of_it in found.items():
            for what in node.open.get(kind, ()):
                of_it.setdefault(what, []).append(name)
    return {
        kind: {what: {"count": len(names), "nodes": folded(names)} for what, names in sorted(of_it.items())}
        for kind, of_it in found.items()
        if of_it
    }
