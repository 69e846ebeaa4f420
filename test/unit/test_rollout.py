"""The plan of a rollout: everyone once, in the order that was asked for; and what a minion's answer means."""

import pytest
from harness.source import load
from hypothesis import given
from hypothesis import strategies as st

runner = load("_runners/slurm_pam.py")

NAMES = st.lists(st.sampled_from([f"cn{number}" for number in range(30)]), unique=True)
SIZES = st.one_of(st.integers(1, 40), st.integers(1, 100).map("{}%".format))


@given(names=NAMES, size=SIZES, members=st.lists(NAMES, max_size=3), data=st.data())
def test_everyone_is_done_once(names, size, members, data):
    canary = data.draw(st.sampled_from([None, *names]))
    plan = runner.batches(names, canary, size, {f"p{number}": part for number, part in enumerate(members)})
    done = [name for _, batch in plan for name in batch]
    assert sorted(done) == sorted(names)
    assert all(batch for _, batch in plan)
    assert len({label for label, _ in plan}) == len(plan)
    if names:
        assert plan[0] == ("canary", [canary or names[0]])


@given(names=NAMES, size=st.integers(1, 40))
def test_a_batch_is_no_larger_than_asked_for(names, size):
    assert all(len(batch) <= size for _, batch in runner.batches(names, None, size, {}))


def test_partitions_come_in_their_order_and_the_others_last():
    names = ["cn1", "cn2", "cn3", "gpu1", "gpu2", "login1"]
    partitions = {"gpu": ["gpu1", "gpu2", "gpu9"], "cpu": ["cn1", "cn2", "cn3", "gpu1"]}
    assert runner.batches(names, "cn2", "50%", partitions) == [
        ("canary", ["cn2"]),
        ("gpu, batch 1 of 2", ["gpu1"]),
        ("gpu, batch 2 of 2", ["gpu2"]),
        ("cpu, batch 1 of 2", ["cn1"]),
        ("cpu, batch 2 of 2", ["cn3"]),
        ("others, batch 1 of 1", ["login1"]),
    ]


def test_a_canary_that_is_done_is_not_replaced_by_another():
    assert runner.batches(["cn2", "cn3"], "cn1", 5, {}) == [("nodes, batch 1 of 1", ["cn2", "cn3"])]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bach": 2}, "bach is no argument; there are nodes"),
        ({"nodes": None}, "nodes is missing"),
        ({"nodes": ["cn1"]}, "nodes is missing"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": "0%"}, "batch is '0%'"),
        ({"batch": "101%"}, "batch is '101%'"),
        ({"batch": "-1"}, "batch is '-1'"),
        ({"batch": "many"}, "batch is 'many'"),
        ({"partitions": ["gpu"]}, "partitions is ['gpu']"),
        ({"partitions": {"gpu": ["gpu1"]}}, "partitions is {'gpu': ['gpu1']}"),
        ({"confirm": 0}, "confirm is 0"),
        ({"confirm": "soon"}, "confirm is 'soon'"),
        ({"probes": ["ssh cn1"]}, "A probe is 'ssh cn1'"),
        ({"probes": [{"command": "ssh", "expects": "deny"}]}, "A probe is"),
        ({"probes": [{"command": "ssh", "expect": "refuse"}]}, "A probe's expect is 'refuse'"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_done(arguments, told):
    runner.__context__ = {}
    answer = runner.rollout(**{"nodes": "cn*", **arguments})
    assert answer["result"] is False and told in answer["summary"]
    assert runner.__context__["retcode"] == 1


def state(number, result, comment="so"):
    return {"__id__": f"state-{number}", "__run_num__": number, "result": result, "comment": comment}


def test_of_an_apply_the_first_state_that_failed_is_told():
    answer = runner.Answer(False, {"b": state(2, False, "later"), "a": state(1, False, "first"), "c": state(0, True)})
    assert runner._not_applied(answer) == "state-1: first"
    assert runner._not_applied(runner.Answer(False, ["No such SLS", "at all"])) == "No such SLS\nat all"
    assert runner._not_applied(runner.Answer(True, {"c": state(0, True)})) == ""


def test_what_would_be_changed_stands_in_no_ones_way():
    would, wrong = ({"subject": "s", "result": result, "found": "f", "changes": {}} for result in (None, False))
    assert runner._blocked(runner.Answer(False, {"holds": False, "findings": [would]})) == ""
    assert runner._blocked(runner.Answer(False, {"holds": False, "findings": [would, wrong]})) == "s: f"
    assert runner._blocked(runner.Answer(False, "'slurm_pam.audit' is not available.")) != ""
    assert runner._not_verified(runner.Answer(False, {"holds": False, "findings": [would]})) != ""
    assert runner._not_verified(runner.Answer(True, {"holds": True, "findings": []})) == ""


def test_a_rollout_that_ended_is_not_resumed_and_one_that_stopped_is():
    ended = {"cn1": {"state": "done", "reason": ""}, "cn2": {"state": "unchanged", "reason": ""}}
    stopped = {**ended, "cn3": {"state": "taken back", "reason": "why"}}
    fresh = {"state": "waiting", "reason": ""}
    assert runner._resumed(["cn1", "cn9"], ended) == {"cn1": fresh, "cn9": fresh}
    assert runner._resumed(["cn1", "cn9"], stopped) == {"cn1": ended["cn1"], "cn9": fresh}
    assert runner._resumed(["cn3"], stopped) == {"cn3": stopped["cn3"]}


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ({"command": "true"}, ""),
        ({"command": "true", "expect": "deny"}, "true: expected deny, but exit status 0"),
        ({"command": "false", "expect": "deny"}, ""),
        ({"command": "false"}, "false: expected permit, but exit status 1"),
        ({"command": "sh -c 'echo no job on {node}; exit 255'", "expect": "deny", "says": "no job on cn1"}, ""),
        ({"command": "sh -c 'exit 255'", "expect": "deny", "says": "no job"}, "expected deny, saying 'no job'"),
        ({"command": "/nowhere/ssh {node}"}, "/nowhere/ssh cn1: "),
    ],
)
def test_a_probe_is_a_real_command(probe, told):
    found = runner._probed("cn1", [probe])
    assert told in found if told else found == ""
