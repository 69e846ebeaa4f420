"""Turns of many nodes side by side, each at its own pace, and never more of them at once than is allowed.

A turn is a generator. It yields what its node is to be asked, gets the reply, and returns what became of the node.
Nodes that are to be asked the same at the same time are asked by one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from _node_answers import Answer

# Seconds that a minion may take to give a sign of life; one that is busy is slow, and not dead.
PATIENCE = 20
# Seconds for what changes nothing; a minion that gives signs of life and no answer would be waited for without end.
LOOKING = 300
# Seconds that a question waits for others that are the same, and the part of all nodes that is enough for a call.
_HOLD, _ENOUGH = 0.5, 0.1
# Seconds between two looks at who is late.
_TICK = 1.0
# The job of logins: they are made from the master, and no minion is asked. No event's tag can have this as its job.
LOGIN = "/login"


class Question(NamedTuple):
    """A function of the minion's. ``seconds`` is how long its answer is waited for."""

    function: str
    words: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = MappingProxyType({})
    seconds: float = LOOKING


class Login(NamedTuple):
    """Real logins to the node, within so many seconds."""

    seconds: float


class Reply(NamedTuple):
    """The answer, if there was one. ``late``: the seconds are over; else the minion gave no sign of life."""

    answer: Answer | None
    late: bool
    sent: float  # the time of the call
    at: float


class Heard(NamedTuple):
    """What a minion answered to a job."""

    job: str
    name: str
    answer: Answer


class Channel(Protocol):
    """How minions are reached."""

    def now(self) -> float: ...

    def send(self, whom: str | list[str], function: str, words: Sequence[Any], keywords: Mapping[str, Any]) -> str:
        """Call the minions in a list, or those that a compound target matches: the job, or nothing if there is none."""

    def log_in(self, name: str, seconds: float) -> None: ...

    def heard(self, seconds: float) -> Iterable[Heard]:
        """What there is within these seconds; as soon as there is anything."""


Turn = Generator["Question | Login", Reply, Any]


@dataclass
class Call:
    """A job that was sent, and who has not answered yet."""

    sent: float
    until: dict[str, float]  # how long each is waited for
    look: float  # when it is looked next whether they are alive
    looking: str = ""  # the job of the last look
    alive: set[str] = field(default_factory=set)


class Waves:
    """Takes turns. ``settle`` is called ahead of every call, so that what is known then outlives this process."""

    def __init__(self, channel: Channel, at_once: int, settle: Callable[[], None]) -> None:
        self._channel, self._at_once, self._settle = channel, at_once, settle
        self._turns: dict[str, Turn] = {}
        self._asked: dict[tuple, list[tuple[str, Question]]] = {}  # what is to be sent, by what is asked
        self._since: dict[tuple, float] = {}
        self._calls: dict[str, Call] = {LOGIN: Call(0, {}, math.inf)}
        self._looks: dict[str, Call] = {}
        self._tick = 0.0

    def take(
        self,
        turns: Mapping[str, Turn],
        ended: Callable[[str, Any], None],
        begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """Until all turns that were begun have ended. None is begun any more once ``begin`` says no."""
        waiting = iter(turns.items())
        while True:
            while len(self._turns) < self._at_once and begin() and (following := next(waiting, None)):
                name, self._turns[name] = following
                self._go_on(name, None, ended)
            if not self._turns:
                return
            self._send(ended)
            if not self._turns:
                continue
            for job, name, answer in self._channel.heard(_HOLD if self._asked else _TICK):
                self._take(job, name, answer, ended)
            if self._channel.now() >= self._tick:
                self._tick = self._channel.now() + _TICK
                self._give_up(ended)

    def _go_on(self, name: str, reply: Reply | None, ended: Callable[[str, Any], None]) -> None:
        try:
            question = self._turns[name].send(reply)
        except StopIteration as end:
            del self._turns[name]
            ended(name, end.value)
            return
        if isinstance(question, Login):
            self._calls[LOGIN].until[name] = math.inf
            self._channel.log_in(name, question.seconds)
            return
        same = (question.function, repr((question.words, question.keywords)))
        self._since.setdefault(same, self._channel.now())
        self._asked.setdefault(same, []).append((name, question))

    def _send(self, ended: Callable[[str, Any], None]) -> None:
        """What enough nodes are to be asked, or has waited long enough, or nothing else is being waited for."""
        now, idle = self._channel.now(), not any(call.until for call in self._calls.values())
        enough = max(1, self._at_once * _ENOUGH)
        ready = [
            same
            for same, asked in self._asked.items()
            if idle or len(asked) >= enough or now >= self._since[same] + _HOLD
        ]
        if ready:
            self._settle()
        for same in ready:
            self._since.pop(same)
            asked = dict(sorted(self._asked.pop(same), key=lambda each: each[0]))
            function, words, keywords, _ = next(iter(asked.values()))
            job = self._channel.send(list(asked), function, words, keywords)
            sent = self._channel.now()
            if job:
                until = {name: sent + question.seconds for name, question in asked.items()}
                self._calls[job] = Call(sent, until, sent + PATIENCE)
                continue
            for name in asked:
                self._go_on(name, Reply(None, False, sent, sent), ended)

    def _take(self, job: str, name: str, answer: Answer, ended: Callable[[str, Any], None]) -> None:
        call = self._calls.get(job)
        if call and name in call.until:
            del call.until[name]
            self._go_on(name, Reply(answer, False, call.sent, self._channel.now()), ended)
        elif job in self._looks and answer.value:
            self._looks[job].alive.add(name)

    def _give_up(self, ended: Callable[[str, Any], None]) -> None:
        """Those whose seconds are over, and those who gave no sign of life when it was looked."""
        now, gone = self._channel.now(), []
        for job, call in list(self._calls.items()):
            late = {name for name, until in call.until.items() if now >= until}
            look = now >= call.look
            dead = call.until.keys() - late - call.alive if look and call.looking else set()
            gone += [(name, Reply(None, name in late, call.sent, now)) for name in sorted(late | dead)]
            for name in late | dead:
                del call.until[name]
            if look or not call.until:
                self._looks.pop(call.looking, None)
            if not call.until and job != LOGIN:
                del self._calls[job]
            elif look:
                call.looking = self._channel.send(sorted(call.until), "saltutil.find_job", [job], {})
                call.look, call.alive = now + PATIENCE, set()
                self._looks[call.looking] = call
        for name, reply in gone:
            self._go_on(name, reply, ended)
