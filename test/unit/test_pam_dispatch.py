"""Where the actions of a stack's lines lead."""

import pytest

import _pam_dispatch


def test_ways():
    levels = [0, 0, 1, 1, 2, 1, 0, 0]
    handlers = [{"level": level, "actions": ["ok", 1, 2, -3]} for level in levels]
    found = _pam_dispatch.ways(handlers)
    assert found[0] == {
        **dict.fromkeys(("ignore", "ok", "bad", "reset"), (1, False)),
        **dict.fromkeys(("done", "die"), (8, False)),
        1: (6, False),
        2: (7, False),
        -3: (1, True),
    }
    assert [lead["done"][0] for lead in found] == [8, 8, 6, 6, 5, 6, 8, 8]
    assert [lead[1] for lead in found] == [
        *((6, False), (7, False), (5, False), (6, False)),
        *((5, True), (6, True), (8, False), (8, True)),
    ]
    assert [lead[2] for lead in found[:3]] == [(7, False), (8, False), (6, False)]
    assert _pam_dispatch.ways([]) == []


class Counted(dict):
    """A handler that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, key):
        Counted.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("action", [2, 900, "die"])
def test_ways_are_found_without_walking_them(action):
    Counted.looks = 0
    _pam_dispatch.ways([Counted(level=0, actions=[action] * 32) for _ in range(1000)])
    assert Counted.looks <= 3000
