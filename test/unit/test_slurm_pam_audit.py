"""What an audit makes of a dry run, and the one way in which it is asked for."""

import pytest
from harness.source import load
from salt.exceptions import CommandExecutionError

from _slurm_pam_audit import audit


def state(number, result, comment="", changes=None):
    return {
        "__id__": f"state {number}",
        "__run_num__": number,
        "result": result,
        "comment": comment,
        "changes": changes or {},
    }


def results(*states):
    return {f"module_|-{each['__id__']}_|-name_|-function": each for each in states}


def test_a_node_that_is_as_it_should_be():
    told = audit(results(state(0, True), state(1, True)))
    as_it_should_be = {"holds": True, "summary": "This node is as it should be", "findings": [], "warnings": []}
    assert told == {**as_it_should_be, "open": {}}


def test_warnings_are_told_and_do_not_count():
    told = audit(results({**state(1, True), "warnings": ["c"]}, {**state(0, True), "warnings": ["a", "b"]}))
    assert (told["holds"], told["findings"], told["warnings"]) == (True, [], ["a", "b", "c"])


def test_what_is_left_open_is_told_as_ready_has_it():
    told = audit(results({**state(1, True), "open": {"doors": ["cron"]}}, state(0, True)))
    assert (told["holds"], told["open"]) == (True, {"doors": ["cron"]})


def test_what_is_to_change_or_stands_in_the_way_is_told_in_the_order_of_the_run():
    change = {"/etc/x": {"diff": "+x"}}
    ran = [state(2, None, "would change", change), state(0, False, "in the way"), state(1, True)]
    # Only follows from what failed.
    ran.append(state(3, False, "One or more requisite failed: slurm_pam.ready"))
    told = audit(results(*ran))
    assert told["holds"] is False
    assert told["summary"] == "2 of 4 states are not as they should be"
    assert told["findings"] == [
        {"subject": "state 0", "result": False, "found": "in the way", "changes": {}},
        {"subject": "state 2", "result": None, "found": "would change", "changes": change},
    ]


class Salt:
    """A face whose state.sls answers so."""

    def __init__(self, answer):
        self.asked, self.context = [], {}
        salt = {"state.sls": lambda sls, **options: self.asked.append((sls, options)) or answer}
        self.face = load("_modules/slurm_pam.py", __salt__=salt, __context__=self.context)


@pytest.mark.parametrize("given", [None, {"mode": "audit"}])
def test_a_dry_run_is_an_apply_with_test_and_asks_for_no_other(given):
    salt = Salt(results(state(0, True)))
    assert salt.face.dry_run(given, "dev") == results(state(0, True))
    ((sls, options),) = salt.asked
    pillar = options.pop("pillar")
    assert (sls, options) == ("slurm_pam", {"saltenv": "dev", "test": True, "concurrent": True})
    assert pillar == {"slurm_pam_auditing": True, **({"slurm_pam": given} if given else {})}


@pytest.mark.parametrize(("result", "retcode"), [(True, 0), (None, 1), (False, 1)])
def test_an_audits_exit_status(result, retcode):
    salt = Salt(results(state(0, result)))
    assert salt.face.audit()["holds"] is not bool(retcode)
    assert salt.context == {"retcode": retcode}


def test_states_that_cannot_be_rendered_are_no_audit():
    with pytest.raises(CommandExecutionError, match=r"The states cannot be rendered: .*No matching sls"):
        Salt(["No matching sls found"]).face.audit()


def armed(face, asked):
    functions = {
        "slurm_pam.dry_run": face.dry_run,
        "slurm_pam_confirm.status": lambda: {"state": "nothing", "at": None},
        "slurm_pam_confirm.arm": lambda seconds, settings: asked.append(seconds) or 0.0,
    }
    state = load("_states/slurm_pam_confirm.py", __salt__=functions, __opts__={"test": False}, __env__="base")
    return state.armed("armed", 300, {"mode": "enforce"}, {})


@pytest.mark.parametrize(
    ("answer", "arms"),
    [
        (results(state(0, True)), False),
        (results(state(0, True, changes={"x": {}})), True),
        (results(state(0, None)), True),
        (results(state(0, False)), False),
        # Over salt-ssh the files of the states are elsewhere.
        (["No matching sls found"], True),
    ],
)
def test_an_apply_is_to_be_confirmed_if_a_dry_run_says_that_it_changes_something_or_cannot_tell(answer, arms):
    asked = []
    ret = armed(Salt(answer).face, asked)
    assert (ret["result"], asked) == (True, [300] if arms else [])
    assert bool(ret["changes"]) is arms
