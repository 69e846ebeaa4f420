"""A rollout with one node that answers anything: thousands of answers, and no other node feels one of them."""

import copy
import itertools
import random

from harness.runners import WRONG, Answer, Minions, became, runner
from unit.test_rollout_hostile import (
    ANSWERS,
    FORGED,
    VALUES,
    assert_is_shown_well,
    assert_others_are_well,
    rollout,  # noqa: F401  a fixture
)


class Fuzzed(Minions):
    """One of them answers anything."""

    def __init__(self, hostile, chance):
        super().__init__()
        self.hostile, self.chance, self.random = hostile, chance, random.Random(f"{hostile} {chance}")
        self.told = 0

    def answer(self, name, function):
        answer = super().answer(name, function)
        if name != self.hostile or self.random.random() > self.chance:
            return answer
        self.told += 1
        return self.random.choice([None, self.odd(answer), self.odd(answer), self.odd(answer)])

    def odd(self, answer):
        kind = self.random.randrange(3)
        value = [self.random.choice(ANSWERS), self.anything(0), None][kind]
        return Answer(self.random.random() < 0.5, value if kind < 2 else self.bent(answer.value if answer else None))

    def bent(self, value):
        """An answer as it should be, with something else at one place."""
        value = copy.deepcopy(value)
        inside = value
        while isinstance(inside, (dict, list)) and inside:
            key = self.random.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            if self.random.random() < 0.4:
                inside[key] = self.anything(1)
                return value
            inside = inside[key]
        return self.anything(1) if inside is value else value

    def anything(self, depth):
        kind = self.random.randrange(6 if depth < 4 else 4)
        if kind < 3:
            return self.random.choice(VALUES)
        if kind == 3:
            return "".join(chr(self.random.randrange(self.random.choice([256, 0x11000]))) for _ in range(9))
        some = [self.anything(depth + 1) for _ in range(self.random.randrange(4))]
        words = [*WRONG, "holds", "findings", "problems", "state", "at", "summary", "__id__", "__run_num__", "comment"]
        return some if kind == 4 else {self.random.choice([*words, 1, None, FORGED]): each for each in some}


def test_whatever_it_answers_no_other_node_feels_it(rollout, capsys):  # noqa: F811
    """6,000 answers, at different moments of a rollout, of a node that is the canary or not."""
    told, states = 0, set()
    for number in itertools.count():
        minions = Fuzzed("cn2", 0.05 + number % 10 / 10)
        minions.random.seed(number)
        report = rollout(minions, batch=3, canary=["cn1", "cn2", None][number % 3])
        assert_others_are_well(report, minions, "cn2")
        assert_is_shown_well(rollout, report, capsys)
        runner.forget()
        told += minions.told
        states.add(became(report).get("cn2"))
        if told >= 6000:
            break
    # It did come to all of these.
    assert states >= {"done", "failed", "taken back", "refused", "unreachable"}
