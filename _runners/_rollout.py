"""A rollout from its first question to its summary: who is meant, how they stand, and batch by batch how they end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import _node_answers as said
from _meant import meant, spelled_out
from _rollout_order import Batch, Order, batches
from _rollout_record import PAUSE, STATES, STOP, Record
from _rollout_turn import Found, close, look, silent
from _rollout_watch import Watch
from _waves import Channel, Waves
from salt.exceptions import SaltException

log = logging.getLogger(__name__)

Fire = Callable[[str, dict[str, Any]], None]


class Rollout:
    """One that is on its way: ``names`` are its nodes. ``groups`` are the master's node groups."""

    def __init__(
        self,
        order: Order,
        channel: Channel,
        record: Record,
        watch: Watch,
        fire: Fire,
        groups: Mapping[str, Any],
    ) -> None:
        self._order, self._channel, self._record, self._watch, self._fire = order, channel, record, watch, fire
        self._waves = Waves(channel, order.at_once, self._settle)
        self._groups = groups
        self._partitions = {label: spelled_out(target, groups) for label, target in order.partitions.items()}
        self.names: list[str] = []
        self._sizes: Counter[str] = Counter()  # nodes that answer, by partition
        self._lost: Counter[str] = Counter()  # and those of them that are not closed

    def carry_out(self, named: set[str], accepted: set[str] | None) -> str:
        """All of it, and what came of it. ``named`` are the nodes that the master's cache knows or the target lists,
        ``accepted`` all that may be heard; None where a master of masters does not know those below."""
        order, record = self._order, self._record
        try:
            nodes = meant(order.nodes, self._groups, named, accepted, self._channel, self._waves, order.at_once)
            for name in nodes.gone:
                self._watch.say(f"  {name:20} does not match {order.nodes} any more, and is left out")
            if not nodes.reachable and not nodes.mute and not nodes.unusable:
                return f"No accepted minion matches {order.nodes}. Nothing was done"
            if order.canary not in (None, *nodes.reachable, *nodes.mute):
                return f"The canary {order.canary} is not among the nodes {order.nodes}. Nothing was done"
            self.names = sorted([*nodes.reachable, *nodes.mute, *map(said.shown, nodes.unusable)])
            self._watch.expect(len(self.names))
            record.resume(self.names)
            for name in nodes.unusable:
                self._tell(said.shown(name), "refused", said.unusable(name))
            for name in nodes.mute:
                keyless = accepted is not None and name not in accepted
                asked = "the master has accepted no key for it" if keyless else "test.ping"
                self._tell(name, "unreachable", silent(record.nodes[name], asked))
            if not self._looked_at(nodes.reachable):
                return "Stopped before this run changed anything, as slurm_pam.stop has asked"
            ready, answered = self._ready(nodes.reachable)
            if stopped := self._stopped(bool(nodes.unusable)):
                return stopped
        except (SaltException, ValueError) as error:
            return f"Stopped before this run changed anything: {error}"
        return self._closed(ready, answered)

    # How they stand

    def _looked_at(self, names: list[str]) -> bool:
        """Audit every node, change nothing; whether nobody wished that it stops."""
        self._watch.begin("Bringing the formula's modules to all nodes and auditing them, which changes nothing", names)
        nodes, rest = self._record.nodes, self._order.rest()
        left = {name: look(nodes[name], self._partitions, rest) for name in names}

        def ended(name: str, became: Found) -> None:
            del left[name]
            self._ended(name, became)

        while left:
            if not self._may_go_on("the audit of further nodes"):
                return False
            self._waves.take(dict(left), ended, lambda: not self._record.wishes())
        return True

    def _ready(self, names: list[str]) -> tuple[list[str], list[str]]:
        """The nodes that are to be done, and all that answer."""
        nodes = self._record.nodes
        answered = [name for name in names if nodes[name].state != "unreachable"]
        self._sizes = Counter(nodes[name].partition for name in answered)
        self._lost = Counter(nodes[name].partition for name in answered if nodes[name].state == "refused")
        return [name for name in answered if nodes[name].state == "waiting"], answered

    def _stopped(self, unusable: bool) -> str:
        """Why nothing is begun, or nothing."""
        canary, stopped = self._order.canary, "Stopped before this run changed anything"
        if unusable or any(map(self._too_many, self._lost)):
            return stopped
        if canary is not None and not STATES[state := self._record.nodes[canary].state] and state != "waiting":
            return f"{stopped}: the canary {'does not answer' if state == 'unreachable' else 'is refused'}"
        return "" if self._sizes else f"{stopped}: no node answers"

    def _too_many(self, partition: str) -> bool:
        return self._lost[partition] > self._order.tolerated(partition, self._sizes[partition])

    # How they are closed

    def _closed(self, ready: list[str], answered: list[str]) -> str:
        """Batch by batch, while no more is lost than is tolerated."""
        order, nodes = self._order, self._record.nodes
        members: dict[str, list[str]] = {label: [] for label in order.partitions}
        for name in answered:
            members.get(nodes[name].partition, []).append(name)
        for batch in batches(ready, order.canary, order.batch, members, answered):
            if not self._may_go_on(batch.label):
                return f"Stopped ahead of {batch.label}, as slurm_pam.stop has asked"
            self._watch.begin(batch.label, batch.names)
            try:
                self._take(batch)
            except Exception as error:
                log.exception("slurm_pam.rollout")
                self._broke_off(batch.names, error)
                return f"Stopped at {batch.label}"
            lost = [name for name in batch.names if not STATES[nodes[name].state]]
            if lost and (batch.label == "canary" or self._too_many(nodes[lost[0]].partition)):
                return f"Stopped at {batch.label}"
        if self._lost.total():
            return "All nodes that answer were tried, and no more are open than is tolerated"
        return "All nodes that answer are closed"

    def _take(self, batch: Batch) -> None:
        order, nodes = self._order, self._record.nodes
        partition = nodes[batch.names[0]].partition

        def turn(name: str):
            return close(order.confirm, bool(order.probes), lambda: self._tell(name, "applying", ""))

        def ended(name: str, became: Found) -> None:
            # One whose minion is gone by now is open as it was, and nothing went wrong there.
            self._lost[partition] += became.state != "unreachable" and not STATES[became.state]
            self._ended(name, became)

        turns = {name: turn(name) for name in batch.names}
        self._waves.take(turns, ended, lambda: not self._too_many(partition))
        self._settle()

    def _may_go_on(self, following: str) -> bool:
        """Once nobody wishes that it pauses; not if somebody wishes that it stops."""
        told = False
        while True:
            wishes = self._record.wishes()
            if STOP in wishes or PAUSE not in wishes:
                return STOP not in wishes
            if not told:
                self._watch.say(f"Paused ahead of {following}: salt-run slurm_pam.resume, or slurm_pam.stop")
            told = True
            for _ in self._channel.heard(1):
                pass

    def _broke_off(self, names: list[str], error: Exception) -> None:
        """Something in the rollout itself went wrong."""
        told = f"the rollout broke off: {type(error).__name__}: {error}"
        itself = f"Unless it was confirmed, it takes the change back by itself within {self._order.confirm} s"
        meanings = {"waiting": "This run changed nothing there", "applying": itself}
        for name in names:
            if meaning := meanings.get(self._record.nodes[name].state):
                self._tell(name, "failed", f"{told}. {meaning}")

    # Who is told

    def _ended(self, name: str, became: Found) -> None:
        self._tell(name, *became)
        self._watch.ended(self._record.nodes[name])

    def _tell(self, name: str, *became: Any) -> None:
        """Note what became of a node: for the person who watches, on the event bus, and on disk."""
        node = self._record.tell(name, *became)
        self._watch.node(name, node)
        try:
            self._fire(f"slurm_pam/rollout/{name}", {"state": node.state, "reason": node.reason})
        except Exception as error:  # the master may be restarting, and no node is to be taken back for that
            log.warning("slurm_pam.rollout: no event tells that %s is %s: %s", name, node.state, error)

    def _settle(self) -> None:
        self._record.settle()
        self._watch.move()
