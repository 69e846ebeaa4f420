"""The runners, as Salt's loader has them, and a rollout over minions that answer what a test says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.source import load

logins = load("_runners/slurm_pam_logins.py")
SALT = {"slurm_pam_logins.misused": logins.misused, "slurm_pam_logins.failing": logins.failing}
runner = load("_runners/slurm_pam.py", __salt__=SALT)
said, Answer = runner.said, runner.Answer

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
    "state.apply": APPLIED,
    "slurm_pam.confirm": Answer(True, "Confirmed"),
    "slurm_pam_confirm.take_back": Answer(True, "as before"),
}
NODES = ["cn1", "cn2", "cn3"]


class Minions:
    """What each of them answers to each function: one answer, one after another, or none. The master's cache has those
    that are ``named``."""

    def __init__(self, named: list[str] = NODES, **changes: dict[str, Any]) -> None:
        self.named, self.asked = named, []
        self.answers = {name: {"slurm_pam.audit": [OPEN, HOLDS]} for name in named}
        for name, answers in changes.items():
            self.answers.setdefault(name, {"slurm_pam.audit": [OPEN, HOLDS]}).update(answers)

    def ask(
        self,
        whom: str | list[str],
        seconds: float,
        function: str,
        *words: Any,
        awaited: Iterable[str] | None = None,
        **keywords: Any,
    ) -> dict[str, Answer]:
        self.asked.append((function, whom))
        assert seconds > 0
        # Every minion decides for itself whether a target is meant for it.
        names = whom if isinstance(whom, list) else [name for name in self.answers if self.matches(name)]
        return {name: answer for name in names if (answer := self.answer(name, function)) is not None}

    def answer(self, name: str, function: str) -> Answer | None:
        if function == "match.compound" and not self.matches(name):
            return Answer(True, False)
        answer = self.answers[name].get(function, USUAL[function])
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
        self.file = directory / "slurm_pam/rollout.json"
        self.fired: list[tuple[str, dict]] = []
        runner.__opts__, runner.__context__ = {"cachedir": str(directory)}, {}
        runner._fire = lambda tag, data: self.fired.append((tag, dict(data)))

    def __call__(self, minions: Minions, **changes: Any) -> dict[str, Any]:
        order = {"nodes": "cn*", "canary": None, "batch": 1, "partitions": {}, "confirm": 300, "probes": []}
        report = runner._carried_out(runner.Order(**{**order, **changes}), minions.named, minions.ask)
        json.dumps(report)
        return report


def became(report: dict[str, Any]) -> dict[str, str]:
    return {name: node["state"] for name, node in report["nodes"].items()}


def all_became(*states: str) -> dict[str, str]:
    return dict(zip(NODES, states))
