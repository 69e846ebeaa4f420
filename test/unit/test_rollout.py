"""The plan of a rollout: everyone once, in the order that was asked for; what minions' answers come to; real logins."""

import json
import time

import pytest
from harness.runners import (
    BACK,
    BACK_LATER,
    BLOCKED,
    HALF,
    HOLDS,
    IDLE,
    NODES,
    NOTHING,
    OPEN,
    USUAL,
    WAITING,
    Answer,
    Minions,
    Rollouts,
    all_became,
    apply,
    became,
    runner,
    state,
)
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltClientError

NAMES = st.lists(st.sampled_from([f"cn{number}" for number in range(30)]), unique=True)
SIZES = st.one_of(st.integers(1, 40), st.integers(1, 100).map("{}%".format))


@given(names=NAMES, size=SIZES, members=st.lists(NAMES, max_size=3), done=NAMES, data=st.data())
def test_everyone_is_done_once(names, size, members, done, data):
    canary = data.draw(st.sampled_from([None, *names]))
    plan = runner.batches(names, canary, size, {f"p{number}": part for number, part in enumerate(members)}, done)
    assert sorted(name for _, batch in plan for name in batch) == sorted(names)
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
    assert runner.batches(names, "cn2", "33%", partitions) == [
        ("canary", ["cn2"]),
        ("gpu, batch 1 of 2", ["gpu1"]),
        ("gpu, batch 2 of 2", ["gpu2"]),
        ("cpu, batch 1 of 2", ["cn1"]),
        ("cpu, batch 2 of 2", ["cn3"]),
        ("others, batch 1 of 1", ["login1"]),
    ]


def test_a_percentage_is_of_all_nodes_and_not_of_those_that_are_left():
    everyone = [f"cn{number:02}" for number in range(20)]
    assert runner.batches(everyone[16:], "cn00", "10%", {}, everyone) == [
        ("nodes, batch 1 of 2", everyone[16:18]),
        ("nodes, batch 2 of 2", everyone[18:]),
    ]
    partitions = {"a": everyone[:10], "b": everyone}  # what is in both is in the first
    assert runner.batches(everyone[16:], "cn00", "20%", partitions, everyone) == [
        ("b, batch 1 of 2", everyone[16:18]),
        ("b, batch 2 of 2", everyone[18:]),
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
        ({"batch": "²"}, "batch is '²'"),
        ({"batch": "many"}, "batch is 'many'"),
        ({"partitions": ["gpu"]}, "partitions is ['gpu']"),
        ({"partitions": {"gpu": ["gpu1"]}}, "partitions is {'gpu': ['gpu1']}"),
        ({"canary": "-cn1"}, "canary is '-cn1'; it has to be the name of one minion"),
        ({"canary": "cn1 or cn2"}, "canary is 'cn1 or cn2'"),
        ({"canary": ["cn1"]}, "canary is ['cn1']"),
        ({"confirm": 0}, "confirm is 0"),
        ({"confirm": "soon"}, "confirm is 'soon'"),
        ({"probes": 5}, "probes is 5"),
        ({"probes": {"command": "ssh"}}, "probes is {'command': 'ssh'}"),
        ({"probes": ["ssh cn1"]}, "A probe is 'ssh cn1'"),
        ({"probes": [{"command": "ssh", "expects": "deny"}]}, "A probe is"),
        ({"probes": [{"command": "ssh", "expect": "refuse"}]}, "A probe's expect is 'refuse'"),
        ({"probes": [{"command": ["ssh", "cn1"]}]}, "A probe's command is ['ssh', 'cn1']"),
        ({"probes": [{"command": "ssh 'cn1"}]}, "it cannot be taken apart into words: No closing quotation"),
        ({"probes": [{"command": " "}]}, "there is nothing in it that could be run"),
        ({"probes": [{"command": "ssh", "says": 1}]}, "A probe's says is 1"),
        ({"probes": [{"command": "ssh", "expect": "deny"}]}, "A probe expects deny without says: 'ssh'"),
        ({"probes": [{"command": "ssh", "expect": "deny", "says": " "}]}, "A probe expects deny without says"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_done(arguments, told):
    runner.__context__ = {}
    answer = runner.rollout(**{"nodes": "cn*", **arguments})
    assert answer["result"] is False and told in answer["summary"]
    assert runner.__context__["retcode"] == 1


def test_a_rollout_that_ended_is_not_resumed_and_one_that_stopped_is():
    ended = {"cn1": {"state": "done", "reason": ""}, "cn2": {"state": "unchanged", "reason": ""}}
    stopped = {**ended, "cn3": {"state": "taken back", "reason": "why"}}
    fresh = {"state": "waiting", "reason": ""}
    assert runner._resumed(["cn1", "cn2", "cn9"], ended) == {"cn1": fresh, "cn2": fresh, "cn9": fresh}
    assert runner._resumed(["cn1", "cn3", "cn9"], stopped) == {**stopped, "cn9": fresh}
    assert runner._resumed(["gpu1"], stopped) == {**stopped, "gpu1": fresh}


# A whole rollout, whose minions answer what is written here


@pytest.fixture
def rollout(tmp_path, monkeypatch):
    monkeypatch.setattr(runner.log, "exception", lambda message: None)
    return Rollouts(tmp_path)


def test_all_goes_well(rollout):
    minions = Minions()
    report = rollout(minions)
    assert report["result"] is True and became(report) == dict.fromkeys(NODES, "done")
    assert report["summary"] == "All nodes that answer are closed: 3 done"
    turn = ["slurm_pam_confirm.status", "state.apply", "slurm_pam.audit", "slurm_pam.confirm"]
    assert minions.functions("cn1") == turn


def test_a_node_that_holds_is_asked_for_no_more(rollout):
    minions = Minions(cn1={"slurm_pam.audit": HOLDS})
    assert became(rollout(minions)) == all_became("unchanged", "done", "done")
    assert ("slurm_pam.preflight", ["cn2", "cn3"]) in minions.asked


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"slurm_pam.audit": BLOCKED}, "s: f"),
        (
            {"slurm_pam.preflight": Answer(True, {"problems": ["slurmd does not run"], "warnings": []})},
            "slurmd does not",
        ),
        ({"slurm_pam.audit": Answer(False, "")}, "the minion's answer makes no sense (an empty text)"),
        ({"slurm_pam.preflight": Answer(False, "Traceback")}, "its preflight: Traceback"),
        ({"slurm_pam_confirm.status": Answer(False, "is not available")}, "slurm_pam_confirm.status: is not available"),
    ],
)
def test_a_node_that_cannot_be_closed_stops_it_before_anything_is_changed(rollout, answers, told):
    minions = Minions(cn3=answers)
    report = rollout(minions)
    assert became(report) == all_became("waiting", "waiting", "refused")
    assert told in report["nodes"]["cn3"]["reason"]
    assert "before this run changed anything" in report["summary"]
    assert "state.apply" not in [function for function, _ in minions.asked]


def test_the_minions_decide_who_is_a_node(rollout):
    """The master's cache still names one that does not match any more, and another that is dead."""
    named = [*NODES, "old1", "dead1"]
    dead = {"match.compound": None, "test.ping": None}
    minions = Minions(named, old1={"matches": False}, dead1=dead, new1={})
    report = rollout(minions)
    assert became(report) == {**dict.fromkeys([*NODES, "new1"], "done"), "dead1": "unreachable"}
    assert not any("old1" in whom for function, whom in minions.asked if function != "match.compound")
    assert report["result"] is False


def test_a_busy_minion_is_asked_again(rollout):
    minions = Minions(cn2={"match.compound": None})
    assert became(rollout(minions)) == dict.fromkeys(NODES, "done")


def test_a_canary_that_is_no_node_or_does_not_answer(rollout):
    report = rollout(Minions(), canary="cn9")
    assert "The canary cn9 is not among the nodes cn*" in report["summary"] and report["nodes"] == {}
    report = rollout(Minions(cn2={"saltutil.sync_all": None}), canary="cn2")
    assert "the canary does not answer" in report["summary"]
    assert became(report) == all_became("waiting", "unreachable", "waiting")
    assert "No accepted minion" in rollout(Minions([]))["summary"]


def test_partitions_are_asked_of_the_minions_as_well(rollout, capsys):
    minions = Minions(["cn1", "cn2", "gpu1"])
    rollout(minions, partitions={"all": "cn*"}, batch=5)
    assert "all, batch 1 of 1: cn2, gpu1" in capsys.readouterr().err
    assert ("match.compound", ["cn1", "cn2", "gpu1"]) in minions.asked


def test_where_the_master_cannot_be_asked_nothing_is_changed(rollout):
    report = rollout(Minions(cn1={"slurm_pam.audit": SaltClientError("Is master running?")}))
    assert report["summary"].startswith("Stopped before this run changed anything: Is master running?")
    assert became(report) == dict.fromkeys(NODES, "waiting")


# A node that does not come through: what its minion answers from its turn on, and what becomes of it

TOO_LATE = Answer(False, "ERROR: Too late: the last apply was taken back at 12:00:00")
TROUBLE = {
    "took itself back before it was confirmed": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, BACK], "slurm_pam.confirm": TOO_LATE},
        "taken back",
        "Too late",
    ),
    "apply failed": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING], "state.apply": HALF},
        "taken back",
        "state-1: no disk",
    ),
    "apply failed before it began": (
        {"state.apply": apply(False, state(1, False, "no"))},
        "failed",
        "state-1: no. There was nothing to take back",
    ),
    "the same, on a node that was taken back last week": (
        {"slurm_pam_confirm.status": BACK, "state.apply": apply(False, state(1, False, "no"))},
        "failed",
        "There was nothing to take back",
    ),
    "took itself back, and so it was last week": (
        {"slurm_pam_confirm.status": [BACK, BACK, BACK_LATER], "state.apply": HALF},
        "taken back",
        "no disk",
    ),
    "audit does not hold": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING], "slurm_pam.audit": OPEN},
        "taken back",
        "after the apply: s: f",
    ),
    "audit answers nothing that makes sense": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING], "slurm_pam.audit": [OPEN, Answer(True, "")]},
        "taken back",
        "the audit after the apply: the minion's answer makes no sense (an empty text)",
    ),
    "taking back fails": (
        {
            "slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING],
            "state.apply": HALF,
            "slurm_pam_confirm.take_back": Answer(False, "ERROR: Not all could be taken back"),
        },
        "failed",
        "no disk. Taking back failed: ERROR: Not all could be taken back",
    ),
    "taking back is not answered": (
        {
            "slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING],
            "state.apply": HALF,
            "slurm_pam_confirm.take_back": None,
        },
        "failed",
        "no answer to slurm_pam_confirm.take_back: the node takes back by itself within 300 s",
    ),
    "how it stands is not known": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, Answer(False, "Traceback")], "state.apply": HALF},
        "failed",
        "How it stands cannot be told (slurm_pam_confirm.status: Traceback)",
    ),
    "its minion died": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, None], "state.apply": None},
        "failed",
        "nor a sign that it is still at it. The minion is gone: the node takes back by itself within 300 s",
    ),
    "its apply hangs ahead of everything": (
        {"state.apply": None},
        "failed",
        "Nothing is there to be taken back yet; what it may still change, the node takes back by itself",
    ),
    "only the answer to confirm was lost": (
        {"slurm_pam.confirm": None},
        "done",
        "it was confirmed already (no answer to slurm_pam.confirm",
    ),
    "the minion died while it was confirmed": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, None], "slurm_pam.confirm": None},
        "failed",
        "It was verified before its minion went away: unless it was confirmed",
    ),
    "somebody else confirmed it": (
        {"slurm_pam.confirm": Answer(False, "ERROR: Nothing waits to be confirmed")},
        "done",
        "Nothing waits to be confirmed",
    ),
    "its minion died before its turn": (
        {"slurm_pam_confirm.status": [NOTHING, None]},
        "unreachable",
        "its minion does not answer any more; this run changed nothing there",
    ),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_a_node_that_does_not_come_through(rollout, case):
    answers, state, told = TROUBLE[case]
    minions = Minions(cn2={key: list(value) if isinstance(value, list) else value for key, value in answers.items()})
    report = rollout(minions)
    assert report["nodes"]["cn2"]["state"] == state, report["nodes"]["cn2"]
    assert told in report["nodes"]["cn2"]["reason"]
    assert became(report) == all_became("done", state, "done" if state == "done" else "waiting")


def test_nothing_to_be_changed_is_done_only_where_the_apply_says_so(rollout):
    """Somebody else applied it in between."""
    minions = Minions(cn2={"state.apply": IDLE})
    report = rollout(minions)
    assert report["nodes"]["cn2"] == {"state": "done", "reason": "nothing was to be changed"}
    assert ("slurm_pam.confirm", ["cn2"]) not in minions.asked


def test_a_node_that_holds_and_still_waits_to_be_confirmed_is_verified_and_confirmed(rollout):
    answers = {"slurm_pam.audit": HOLDS, "state.apply": IDLE, "slurm_pam_confirm.status": WAITING}
    minions = Minions(cn2=answers)
    assert became(rollout(minions)) == dict.fromkeys(NODES, "done")
    assert minions.functions("cn2")[-2:] == ["slurm_pam.audit", "slurm_pam.confirm"]
    assert "slurm_pam_confirm.take_back" not in minions.functions("cn2")


@pytest.mark.parametrize("function", ["slurm_pam_confirm.status", "state.apply", "slurm_pam.confirm"])
def test_whatever_breaks_in_a_batch_the_report_is_complete(rollout, function):
    answers = {function: [USUAL[function]] * (function == "slurm_pam_confirm.status") + [ZeroDivisionError("oh")]}
    report = rollout(Minions(cn2=answers))
    assert became(report) == all_became("done", "failed", "waiting")
    assert "the rollout broke off: ZeroDivisionError: oh" in report["nodes"]["cn2"]["reason"]
    changed = "changed nothing there" if function.endswith("status") else "takes the change back by itself within 300 s"
    assert changed in report["nodes"]["cn2"]["reason"]
    assert json.loads(rollout.file.read_text()) == report["nodes"]


def test_a_login_that_does_not_end_as_it_should_takes_the_node_back(rollout):
    minions = Minions(cn2={"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]})
    report = rollout(minions, probes=[{"command": "test {node} != cn2"}])
    assert became(report) == all_became("done", "taken back", "waiting")
    assert "test cn2 '!=' cn2: expected permit, but exit status 1" in report["nodes"]["cn2"]["reason"]


def test_logins_end_before_the_time_to_confirm_does(rollout):
    minions = Minions(**{name: {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]} for name in NODES})
    start = time.monotonic()
    report = rollout(minions, probes=[{"command": "sleep 30"}, {"command": "true"}], batch=3, canary="cn1", confirm=2)
    assert time.monotonic() - start < 5
    assert became(report) == all_became("taken back", "waiting", "waiting")
    assert "sleep 30 did not end within" in report["nodes"]["cn1"]["reason"]
    assert "more seconds to confirm" in report["nodes"]["cn1"]["reason"]


# What is remembered


def test_it_goes_on_where_it_stopped(rollout):
    stopped = rollout(Minions(cn2={"state.apply": HALF}))
    assert became(stopped) == all_became("done", "failed", "waiting")
    again = rollout(Minions(cn1={"slurm_pam.audit": HOLDS}), canary="cn1")
    assert became(again) == dict.fromkeys(NODES, "done")


def test_nodes_of_another_target_are_not_forgotten(rollout):
    rollout(Minions(cn2={"state.apply": HALF}))
    report = rollout(Minions(["gpu1"]), nodes="gpu*")
    assert became(report) == {"gpu1": "done"} and report["result"] is True
    assert became(runner.report()) == {**all_became("done", "failed", "waiting"), "gpu1": "done"}


def test_what_an_earlier_run_left_is_told_and_verified(rollout):
    """It failed; then its minion was gone, twice; then it answers, and is as it should be."""
    rollout(Minions(cn2={"state.apply": None, "slurm_pam_confirm.status": [NOTHING, NOTHING, None]}))
    for _ in range(2):
        report = rollout(Minions(cn2={"match.compound": None, "test.ping": None}))
        assert report["nodes"]["cn2"]["state"] == "unreachable"
        assert "An earlier run left it failed: no answer to state.apply" in report["nodes"]["cn2"]["reason"]
        assert report["nodes"]["cn2"]["reason"].count("An earlier run") == 1
    minions = Minions(**{name: {"slurm_pam.audit": HOLDS, "state.apply": IDLE} for name in NODES})
    assert rollout(minions)["nodes"]["cn2"] == {"state": "done", "reason": "nothing was to be changed"}
    assert "state.apply" in minions.functions("cn2")


@pytest.mark.parametrize(
    "text", ["", '{"cn1": {"sta', "[]", '{"cn1": "done"}', '{"cn1": {"state": "odd", "reason": ""}}']
)
def test_a_record_that_cannot_be_read_says_what_to_do(rollout, text):
    rollout(Minions())
    rollout.file.write_text(text)
    minions = Minions()
    for report in (rollout(minions), runner.report()):
        assert report["result"] is False and report["nodes"] == {}
        assert str(rollout.file) in report["summary"] and "salt-run slurm_pam.forget" in report["summary"]
    assert minions.asked == []
    runner.forget()
    assert rollout(minions)["result"] is True
