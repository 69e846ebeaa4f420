"""test/run: what a word on its command line runs, and how long the rest will take."""

import importlib.machinery
import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.paths import REPO


@pytest.fixture(scope="module")
def runner():
    loader = importlib.machinery.SourceFileLoader("test_run_itself", str(REPO / "test/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("left", "waiting", "minutes"),
    [
        ([], [], 0),
        ([7], [], 7),
        ([3, 1, 2], [], 3),
        # Whichever lane is free takes the next.
        ([3, 1, 2], [4], 5),
        ([3, 1, 2], [4, 4, 4], 7),
        ([], [6, 5, 4, 3, 2, 1], 7),
        # One that takes longer than the last time is over at any moment.
        ([-2, 1, 1], [2], 2),
    ],
)
def test_the_time_to_go(runner, monkeypatch, tmp_path, left, waiting, minutes):
    monkeypatch.setattr(runner, "TIMES", tmp_path / "minutes.json")
    monkeypatch.setattr(runner, "LANES", 3)
    every = [runner.Part(f"part {number}", ("x",), "", runner.NOTHING, 20.0) for number in range(9)]
    lanes = runner.Lanes(every)
    running, rest = every[: len(left)], every[len(left) :][: len(waiting)]
    lanes.takes |= dict(zip(rest, waiting))
    lanes.waiting = rest
    lanes.began = {part: time.monotonic() - (20 - minutes) * 60 for part, minutes in zip(running, left)}
    assert lanes.to_go() == pytest.approx(minutes, abs=0.1)


def test_the_longest_comes_first(runner, monkeypatch, tmp_path):
    """By how long each took when it last passed here, otherwise by how long it is said to take."""
    seen = tmp_path / "minutes.json"
    monkeypatch.setattr(runner, "TIMES", seen)
    short, long = (runner.Part(name, ("x",), "", runner.NOTHING, minutes) for name, minutes in (("a", 1.0), ("b", 9.0)))
    assert runner.Lanes([short, long]).waiting == [long, short]
    seen.write_text('{"a x 3008": 10.0}')
    assert runner.Lanes([short, long]).waiting == [short, long]


def test_every_file_of_a_test_is_in_one_part(runner):
    given = [word for part in runner.PARTS for word in part.command if word.endswith(".py")]
    assert sorted(given) == runner._files("test/integration/test_*.py")
    assert {*runner.OF_THEIR_OWN, "integration"} <= set(runner.NAMES)
    assert {f"test/integration/test_{file}.py" for file in runner.MINUTES} <= set(given)


def test_what_quick_runs(runner):
    quick = [(part.name, part.salt) for part in runner.PARTS if part.quick]
    assert quick == [("lint", "3008")] * 3 + [("walk", "3008"), ("unit", "3008"), ("functional", "3008")]


def test_what_took_how_long_is_whole_at_any_time(runner, monkeypatch, tmp_path):
    """Lanes write it at once, and another run reads it."""
    monkeypatch.setattr(runner, "TIMES", tmp_path / "minutes.json")
    every = [runner.Part(f"part {number}", ("x",), "", runner.NOTHING, 20.0) for number in range(64)]
    with ThreadPoolExecutor(8) as lanes:
        written = [lanes.submit(runner.took, part, time.monotonic()) for part in every]
        while not all(each.done() for each in written):
            runner.times()
    assert [each.exception() for each in written] == [None] * 64
    assert runner.times().keys() == {part.key for part in every}
