"""The runners, as Salt's loader has them, and a rollout over minions that answer what a test says."""

from __future__ import annotations

import contextlib
import heapq
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.source import load

logins = load("_runners/slurm_pam_logins.py")
SALT = {"slurm_pam_logins.misused": logins.misused, "slurm_pam_logins.failing": logins.failing}
runner = load("_runners/slurm_pam.py", __salt__=SALT)
# The runners' own library, as they import it.
waves, said = sys.modules["_waves"], runner.said
Answer = said.Answer

# What a node answers

WOULD, WRONG = ({"subject": "s", "result": result, "found": "f", "changes": {}} for result in (None, False))
HOLDS = Answer(True, {"holds": True, "summary": "as it should be", "findings": []})
OPEN = Answer(False, {"holds": False, "summary": "1 of 9", "findings": [WOULD]})
BLOCKED = Answer(False, {"holds": False, "summary": "2 of 9", "findings": [WOULD, WRONG]})
FIT = Answer(True, {"problems": [], "warnings": []})
NOTHING, WAITING, BACK, BACK_LATER = (
    Answer(True, {"state": state, "at": at})
    for state, at in (("nothing", None), ("waiting", 300.0), ("taken back", 200.0), ("taken back", 400.0))
)


def state(number: int, result: Any, comment: str = "so", name: str | None = None, **more: Any) -> dict:
    name = name or f"state-{number}"
    return {"__id__": name, "__run_num__": number, "result": result, "comment": comment, **more}


def apply(changes: bool, *more: dict) -> Answer:
    armed = state(0, True, name="slurm_pam-confirm-armed", changes={"taken back": "in 300 s"} if changes else {})
    return Answer(True, {str(number): each for number, each in enumerate([armed, *more])})


APPLIED, IDLE, HALF = apply(True), apply(False), apply(True, state(1, False, "no disk"))
USUAL = {
    "test.ping": Answer(True, True),
    "match.compound": Answer(True, True),
    "saltutil.sync_all": Answer(True, {}),
    "slurm_pam.audit": [OPEN, HOLDS],
    "slurm_pam_confirm.status": NOTHING,
    "slurm_pam.preflight": FIT,
    "state.running": Answer(True, []),
    "state.apply": APPLIED,
    "slurm_pam.confirm": Answer(True, "Confirmed"),
    "slurm_pam_confirm.take_back": Answer(True, "as before"),
}
NODES = ["cn1", "cn2", "cn3"]


class Minions:
    """What each of them answers to each function: one answer, one after another, or none. The master's cache has those
    that are ``named``. Time goes on where nothing is heard, and nobody has to wait for it.

    ``takes`` are the seconds until an answer comes, by name or by name and function; ``alive`` are those that give
    signs of life while they do not answer."""

    def __init__(self, named: list[str] = NODES, **changes: dict[str, Any]) -> None:
        self.named, self.asked = named, []
        self.answers = {name: {"slurm_pam.audit": [OPEN, HOLDS]} for name in named}
        for name, answers in changes.items():
            self.answers.setdefault(name, {"slurm_pam.audit": [OPEN, HOLDS]}).update(answers)
        self.takes: dict[Any, float] = {}
        self.alive: set[str] = set()
        self.clock, self.jobs, self.answered = 1000.0, 0, 0
        self.on_the_way: list[tuple[float, int, Any]] = []
        self.failing: Callable[[list[str], float], dict[str, str]] = lambda names, seconds: {}

    # As rollouts reach minions

    def now(self) -> float:
        return self.clock

    def send(self, whom: str | list[str], function: str, words: Sequence[Any], keywords: Mapping[str, Any]) -> str:
        self.jobs += 1
        job = str(self.jobs)
        if function == "saltutil.find_job":
            for name in self.alive.intersection(whom):
                self.comes(0, job, name, Answer(True, {"jid": words[0]}))
            return job
        self.asked.append((function, whom))
        names = whom if isinstance(whom, list) else self.who_matches(whom)
        for name in names:
            answer = self.answer(name, function)
            if answer is not None:
                self.comes(self.takes.get((name, function), self.takes.get(name, 0)), job, name, answer)
        return job if names else ""

    def log_in(self, name: str, seconds: float) -> None:
        start = time.monotonic()
        problem = "".join(self.failing([name], seconds).values())
        self.clock += time.monotonic() - start
        self.comes(0, waves.LOGIN, name, Answer(not problem, problem))

    def heard(self, seconds: float) -> list[Any]:
        until = self.clock + seconds
        if not self.on_the_way or self.on_the_way[0][0] > until:
            self.clock = until
            return []
        self.clock = max(self.clock, self.on_the_way[0][0])
        heard = []
        while self.on_the_way and self.on_the_way[0][0] <= self.clock:
            heard.append(heapq.heappop(self.on_the_way)[2])
        return heard

    def comes(self, seconds: float, job: str, name: str, answer: Answer) -> None:
        self.answered += 1
        heapq.heappush(self.on_the_way, (self.clock + seconds, self.answered, waves.Heard(job, name, answer)))

    # What they answer

    def who_matches(self, target: str) -> list[str]:
        """Every minion decides for itself whether a target is meant for it."""
        _, _, names = target.partition(" and not E@")
        return [name for name in self.answers if self.matches(name) and not (names and re.match(names, name))]

    def answer(self, name: str, function: str) -> Answer | None:
        if function == "match.compound" and not self.matches(name):
            return Answer(True, False)
        answer = self.answers[name].get(function, USUAL.get(function))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def matches(self, name: str) -> bool:
        return self.answers[name].get("matches", True)

    def functions(self, name: str) -> list[str]:
        """The functions that a node was asked for, once it was its turn."""
        return [function for function, whom in self.asked if whom == [name]]


class Rollouts:
    """Rollouts of one master, each with what is remembered of the last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "slurm_pam"
        self.file = self.directory / "rollout.db"
        self.fired: list[tuple[str, dict]] = []
        runner.__opts__, runner.__context__ = {"cachedir": str(directory)}, {}

    def __call__(self, minions: Minions, **changes: Any) -> dict[str, Any]:
        order = {"nodes": "cn*", "canary": None, "batch": 1, "partitions": {}, "confirm": 300, "probes": []}
        order = runner.Order(**{**order, **changes})
        minions.failing = runner._failing(order.probes)
        if wrong := runner._wished():
            return runner._ended({}, wrong)
        report = runner._carried_out(order, set(minions.named), set(minions.answers), minions, self.fire)
        json.dumps(report)
        return report

    def fire(self, tag: str, data: dict[str, Any]) -> None:
        self.fired.append((tag, dict(data)))

    def recorded(self) -> dict[str, dict[str, str]]:
        """What another process finds on disk."""
        if not self.file.exists():
            return {}
        with contextlib.closing(runner.Record(str(self.directory))) as record:
            return {name: {"state": node.state, "reason": node.reason} for name, node in record.nodes.items()}


def became(report: dict[str, Any]) -> dict[str, str]:
    return {name: node["state"] for name, node in report["nodes"].items()}


def all_became(*states: str) -> dict[str, str]:
    return dict(zip(NODES, states))
