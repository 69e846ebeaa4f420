"""What the states of an apply that has to be confirmed say where that cannot be brought about or told."""

import pytest
from harness.source import load
from salt.exceptions import CommandExecutionError

WAITING = {"state": "waiting", "at": 1767225600.0}


def raises(text):
    def function(*args):
        raise CommandExecutionError(text)

    return function


def returned(function, *args, test=False, **salt):
    functions = {f"slurm_pam_confirm.{name}": answer for name, answer in salt.items()}
    functions["slurm_pam.dry_run"] = lambda given, env: {"one": {"result": None, "changes": {}}}
    loaded = load("_states/slurm_pam_confirm.py", __salt__=functions, __opts__={"test": test}, __env__="base")
    return getattr(loaded, function)("it", *args)


@pytest.mark.parametrize(
    ("function", "args"),
    [("armed", (300, {}, {})), ("awaited", ()), ("disarmed", ())],
    ids=["armed", "awaited", "disarmed"],
)
def test_systemd_does_not_answer(function, args):
    """An earlier apply waits, and nothing tells whether its timer does."""
    ret = returned(function, *args, status=raises("systemctl is-active failed: Connection timed out"))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "systemctl is-active failed: Connection timed out" in ret["comment"]


def test_what_an_earlier_apply_waits_for_is_told_where_no_timer_can_be_started():
    """Nothing is asked of systemd for that, which has just failed."""
    answers = iter([WAITING])
    ret = returned("armed", 300, {}, {}, status=lambda: next(answers), arm=raises("systemd-run failed: no bus"))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "systemd-run failed: no bus; an earlier one is taken back at " in ret["comment"]
