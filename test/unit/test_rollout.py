"""The plan of a rollout: everyone once, in the order that was asked for; what minions' answers come to; real logins."""

import contextlib
import io
import json
import sqlite3
import sys
import time
from types import SimpleNamespace

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

rollouts = sys.modules["_rollout"]
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
        ({"bach": 2}, "bach is not an argument; there are nodes"),
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
        ({"at_once": 0}, "at_once is 0; allowed is a number of nodes from 1"),
        ({"at_once": "10%"}, "at_once is '10%'"),
        ({"at_once": True}, "at_once is True"),
        ({"tolerate": -1}, "tolerate is -1; allowed is a number from 0, a percentage such as 2%"),
        ({"tolerate": "101%"}, "tolerate is '101%'"),
        ({"tolerate": None}, "tolerate is None"),
        ({"tolerate": {"gpu": 1}}, "tolerate names 'gpu'; there are nodes"),
        ({"tolerate": {"cpu": 1}, "partitions": {"gpu": "gpu*"}}, "tolerate names 'cpu'; there are gpu, others"),
        ({"tolerate": {"gpu": "x"}, "partitions": {"gpu": "gpu*"}}, "tolerate is 'x' for gpu"),
        ({"partitions": {"a\nb": "gpu*"}}, "partitions has the name 'a\\nb'"),
        ({"partitions": {0: "gpu*"}}, "partitions has the name 0"),
        ({"partitions": {None: "gpu*"}}, "partitions has the name None"),
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


def resumed(directory, names, earlier):
    with contextlib.closing(runner.Record(str(directory))) as record:
        record.nodes = {name: runner.Node(*node) for name, node in earlier.items()}
        record.resume(names)
        return {name: node[:2] for name, node in record.nodes.items()}


def test_a_rollout_that_ended_is_not_resumed_and_one_that_stopped_is(tmp_path):
    ended = {"cn1": ("done", ""), "cn2": ("unchanged", "")}
    stopped = {**ended, "cn3": ("taken back", "why")}
    fresh = ("waiting", "")
    assert resumed(tmp_path, ["cn1", "cn2", "cn9"], ended) == {"cn1": fresh, "cn2": fresh, "cn9": fresh}
    assert resumed(tmp_path, ["cn1", "cn3", "cn9"], stopped) == {**stopped, "cn9": fresh}
    assert resumed(tmp_path, ["gpu1"], stopped) == {**stopped, "gpu1": fresh}


# A whole rollout, whose minions answer what is written here


@pytest.fixture
def rollout(tmp_path, monkeypatch):
    monkeypatch.setattr(rollouts.log, "exception", lambda message: None)
    return Rollouts(tmp_path)


def test_all_goes_well(rollout):
    minions = Minions()
    report = rollout(minions)
    assert report["result"] is True and became(report) == dict.fromkeys(NODES, "done")
    assert report["summary"] == "All nodes that answer are closed: 3 done"
    turn = ["state.running", "slurm_pam_confirm.status", "state.apply", "slurm_pam.audit", "slurm_pam.confirm"]
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


@pytest.mark.parametrize("at_once", [2, 500])
def test_a_node_that_the_target_lists_and_that_has_no_key_is_told(rollout, at_once):
    minions = Minions([*NODES, "cn9"])
    del minions.answers["cn9"]
    report = rollout(minions, at_once=at_once)
    assert became(report) == {**dict.fromkeys(NODES, "done"), "cn9": "unreachable"}
    assert "the master has accepted no key for it" in report["nodes"]["cn9"]["reason"]
    assert not any("cn9" in whom for _, whom in minions.asked) and report["result"] is False


@pytest.mark.parametrize("at_once", [2, 500])
def test_a_minion_that_makes_no_sense_of_the_target_is_what_the_cache_says(rollout, at_once):
    """All minions are asked where the nodes are more than one call's. One that is no node may be in blackout then."""
    blackout = {"match.compound": Answer(False, "Minion in blackout mode"), "slurm_pam.audit": BLOCKED}
    login = {**blackout, "matches": at_once == 2}
    report = rollout(Minions(cn2={**blackout, "slurm_pam.audit": HOLDS}, login1=login), at_once=at_once)
    assert became(report) == all_became("done", "unchanged", "done")


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


def test_a_rollout_without_nodes_is_reported_as_that(rollout):
    rollout(Minions([]))
    assert runner.report()["summary"] == "The last rollout has no nodes, or has not found them yet"


@pytest.mark.parametrize("answers", [{"slurm_pam_confirm.status": [NOTHING, None]}, {"state.running": None}])
def test_a_canary_whose_minion_dies_before_its_turn_stops_it(rollout, answers):
    report = rollout(Minions(cn1=answers), tolerate=3)
    assert became(report) == all_became("unreachable", "waiting", "waiting")
    assert report["summary"].startswith("Stopped at canary")


def test_where_no_node_answers_none_is_called_closed(rollout):
    for dead in ({"match.compound": None, "test.ping": None}, {"saltutil.sync_all": None}):
        summary = rollout(Minions(**dict.fromkeys(NODES, dead)))["summary"]
        assert summary == "Stopped before this run changed anything: no node answers: 3 unreachable"


def test_partitions_are_asked_of_the_minions_as_well(rollout, capsys):
    minions = Minions(["cn1", "cn2", "gpu1"])
    rollout(minions, partitions={"all": "cn*"}, batch=5)
    assert "all, batch 1 of 1: cn2, gpu1" in capsys.readouterr().err
    assert ("match.compound", ["cn1", "cn2", "gpu1"]) in minions.asked


def test_a_node_that_cannot_say_whether_it_is_in_a_partition_is_refused(rollout):
    """Its first answer is that it is a node."""
    answers = [Answer(True, True), Answer(False, "Minion in blackout mode")]
    report = rollout(Minions(cn2={"match.compound": answers}), partitions={"gpu": "gpu*"})
    assert report["summary"].startswith("Stopped before this run changed anything")
    assert became(report) == all_became("waiting", "refused", "waiting")
    assert report["nodes"]["cn2"]["reason"] == "whether it is in gpu cannot be told: Minion in blackout mode"


def test_where_the_master_cannot_be_asked_nothing_is_changed(rollout):
    report = rollout(Minions(cn1={"slurm_pam.audit": SaltClientError("Is master running?")}))
    assert report["summary"].startswith("Stopped before this run changed anything: Is master running?")
    assert became(report) == dict.fromkeys(NODES, "waiting")


RUNS = Answer(True, ['The function "state.apply" is running as PID 7'])


@pytest.mark.parametrize(("running", "waits"), [([RUNS, RUNS, Answer(True, [])], 2), ([RUNS], 60)])
def test_a_node_s_turn_begins_once_other_states_there_are_through(rollout, running, waits):
    """Those of a schedule, or of a rollout that was killed; after five minutes Salt says itself that they run."""
    minions = Minions(cn2={"state.running": running, "test.sleep": Answer(True, True)})
    minions.takes[("cn2", "test.sleep")] = 5
    assert became(rollout(minions)) == all_became("done", "done", "done")
    turn = minions.functions("cn2")
    assert turn[: 2 * waits + 1] == [*["state.running", "test.sleep"] * waits, "state.running"]
    assert turn[2 * waits + 1 :] == minions.functions("cn3")[1:]


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
        "no answer to slurm_pam_confirm.take_back: the node takes the change back by itself within 300 s",
    ),
    "how it stands is not known": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, Answer(False, "Traceback")], "state.apply": HALF},
        "failed",
        "How it stands cannot be told (slurm_pam_confirm.status: Traceback)",
    ),
    "its minion died": (
        {"slurm_pam_confirm.status": [NOTHING, NOTHING, None], "state.apply": None},
        "failed",
        "and no sign that it still runs. The minion is gone: the node takes the change back by itself within 300 s",
    ),
    "its apply hangs ahead of everything": (
        {"state.apply": None},
        "failed",
        "There is nothing to take back yet. If it still changes something, the node takes the change back by itself",
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
    goes_on = state in ("done", "unreachable")
    assert became(report) == all_became("done", state, "done" if goes_on else "waiting")


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
    assert rollout.recorded() == report["nodes"]


def test_where_no_event_can_be_fired_it_goes_on(rollout, monkeypatch):
    """The master is restarted meanwhile. What is on disk and what it answers are as complete as ever."""
    monkeypatch.setattr(rollouts.log, "warning", lambda *words: None)
    rollout.fire = lambda tag, data: 1 / 0
    report = rollout(Minions())
    assert became(report) == dict.fromkeys(NODES, "done") and rollout.recorded() == report["nodes"]


def test_a_login_that_does_not_end_as_it_should_takes_the_node_back(rollout):
    minions = Minions(cn2={"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]})
    report = rollout(minions, probes=[{"command": "test {node} != cn2"}])
    assert became(report) == all_became("done", "taken back", "waiting")
    assert "test cn2 '!=' cn2: expected permit, but exit status 1" in report["nodes"]["cn2"]["reason"]


def test_logins_end_before_the_time_to_confirm_does(rollout):
    minions = Minions(**{name: {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]} for name in NODES})
    start = time.monotonic()
    report = rollout(minions, probes=[{"command": "sleep 30"}, {"command": "true"}], batch=3, canary="cn1", confirm=2)
    assert time.monotonic() - start < 30
    assert became(report) == all_became("taken back", "waiting", "waiting")
    assert "sleep 30 did not end within" in report["nodes"]["cn1"]["reason"]
    assert "more seconds to confirm" in report["nodes"]["cn1"]["reason"]


@pytest.fixture
def meanwhile(rollout, monkeypatch):
    """A mapping that a test fills: what somebody else does when a rollout says this."""
    heard = {}
    say = runner.Watch.say

    def said_and_done(self, line):
        say(self, line)
        for start, act in list(heard.items()):
            if start in line:
                del heard[start]
                act()

    monkeypatch.setattr(runner.Watch, "say", said_and_done)
    return heard


def test_where_the_record_cannot_be_written_nothing_more_is_sent(rollout, meanwhile, monkeypatch):
    """Another process holds it; the report names the node nevertheless."""
    monkeypatch.setattr(runner.records, "_BUSY", 0.1)
    with contextlib.ExitStack() as held:

        def hold():
            base = held.enter_context(contextlib.closing(sqlite3.connect(rollout.file, isolation_level=None)))
            base.execute("BEGIN IMMEDIATE")

        meanwhile["batch 1 of 2: cn2"] = hold
        minions = Minions()
        report = rollout(minions)
    assert became(report) == all_became("done", "failed", "waiting")
    told = f"{rollout.file} cannot be written: database is locked"
    assert report["summary"].startswith(f"What follows is not in the record: {told}. Stopped at nodes, batch 1 of 2")
    assert f"the rollout broke off: ValueError: {told}" in report["nodes"]["cn2"]["reason"]
    assert ("state.apply", ["cn2"]) not in minions.asked
    assert became(runner.report()) == all_became("done", "waiting", "waiting")


class Pager(io.StringIO):
    left = False

    def write(self, text):
        if self.left:
            raise BrokenPipeError
        return super().write(text)


def test_where_nobody_can_be_told_any_more_it_goes_on(rollout, meanwhile, monkeypatch):
    monkeypatch.setattr(sys, "stderr", pager := Pager())
    meanwhile["batch 1 of 2: cn2"] = lambda: setattr(pager, "left", True)
    assert became(rollout(Minions())) == dict.fromkeys(NODES, "done")
    assert "batch 1 of 2" in pager.getvalue() and "batch 2 of 2" not in pager.getvalue()


def test_that_the_disk_is_full_is_said(tmp_path):
    with contextlib.closing(runner.Record(str(tmp_path))) as record:
        record._base.execute("PRAGMA max_page_count = 20")
        record.resume([f"cn{number:05}" for number in range(20_000)])
        for _ in range(2):
            with pytest.raises(ValueError, match=r"rollout.db cannot be written: database or disk is full"):
                record.settle()
        record._base.execute("PRAGMA max_page_count = 20000")
        record.settle()


# What is left open besides


def audits(**left):
    """Of a node that is open, and of one that is closed, with what is left open."""
    return {"slurm_pam.audit": [Answer(well, {**audit, "open": left}) for well, audit in (OPEN, HOLDS)]}


def counted(count, nodes):
    return {"count": count, "nodes": nodes}


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ({}, None),
        ({"cn2": audits()}, None),
        ({"cn2": audits(doors=["cron"])}, {"doors": {"cron": counted(1, "cn2")}}),
        (
            {"cn1": audits(doors=["cron", "at"]), "cn2": audits(doors=["cron"]), "cn3": audits(doors=["cron"])},
            {"doors": {"at": counted(1, "cn1"), "cron": counted(3, "cn[1-3]")}},
        ),
        (
            {"cn1": audits(strays=["bob"], doubtful=["x"]), "cn3": audits(strays=["bob"], doors=["x"])},
            {"doors": {"x": counted(1, "cn3")}, "doubtful": {"x": counted(1, "cn1")},
             "strays": {"bob": counted(2, "cn[1,3]")}},
        ),
        # By the audit after the apply; where there is none, by the one before, and by none if nothing was answered.
        ({"cn2": {"slurm_pam.audit": [*audits(strays=["bob"])["slurm_pam.audit"][:1], HOLDS]}}, None),
        ({"cn2": {**audits(doors=["cron"]), "state.apply": HALF}}, {"doors": {"cron": counted(1, "cn2")}}),
        ({"cn2": {"slurm_pam.audit": BLOCKED}, "cn3": audits(doors=["at"])}, {"doors": {"at": counted(1, "cn3")}}),
        ({"cn2": {"slurm_pam.audit": None}}, None),
    ],
)  # fmt: skip
def test_a_door_that_is_left_open_is_told_with_its_nodes(rollout, answers, left):
    """In what the rollout answers and, later, in each form of its report."""
    minions = Minions(**answers)
    asked = len(minions.asked)
    report = rollout(minions)
    assert report.get("open") == runner.report().get("open") == left
    assert not any("doors" in function or "strays" in function for function, _ in minions.asked[asked:])
    rows = [line.split() for line in runner.report(form="table").partition("\n\n")[2].splitlines()]
    assert rows[1:] == [
        [kind, name, str(told["count"]), told["nodes"]]
        for kind, names in (left or {}).items()
        for name, told in names.items()
    ]


def test_what_is_left_open_is_that_of_the_nodes_that_are_shown(rollout):
    rollout(Minions(cn1=audits(doors=["cron"]), cn2={**audits(doors=["at"]), "state.apply": HALF}))
    assert runner.report()["open"]["doors"].keys() == {"at", "cron"}
    assert runner.report(state="done")["open"] == {"doors": {"cron": counted(1, "cn1")}}
    assert "open" not in runner.report(state="unreachable")


def test_a_record_of_before_is_gone_on_with(rollout):
    """The first versions knew nothing of what is left open."""
    rollout(Minions(cn2=audits(doors=["cron"])))
    sql(rollout.file, "ALTER TABLE node DROP COLUMN open")
    sql(rollout.file, "PRAGMA user_version = 1")
    assert runner.report().get("open") is None and became(runner.report()) == dict.fromkeys(NODES, "done")
    rollout(Minions(cn2={**audits(doors=["at"]), "slurm_pam_confirm.status": WAITING}))
    assert runner.report()["open"] == {"doors": {"at": counted(1, "cn2")}}


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


OLD = {"cn1": {"state": "done", "reason": ""}, "cn2": {"state": "failed", "reason": "the disk is full"}}
BROKEN = ["", '{"cn1": {"sta', "[]", "[" * 100_000, '{"cn1": "done"}', '{"cn1": {"state": "odd", "reason": ""}}']


@pytest.mark.parametrize(
    ("name", "text"),
    [*(("rollout.json", text) for text in BROKEN), ("rollout.db", "SQLite format 3"), ("rollout.db", "x" * 10_000)],
)
def test_a_record_that_cannot_be_read_says_what_to_do(rollout, name, text):
    rollout(Minions())
    (rollout.directory / name).write_text(text)
    minions = Minions()
    for report in (rollout(minions), runner.report()):
        assert report["result"] is False and report["nodes"] == {}
        assert str(rollout.directory / name) in report["summary"] and "slurm_pam.forget" in report["summary"]
    assert minions.asked == []
    runner.forget()
    assert rollout(minions)["result"] is True


def sql(file, line):
    with contextlib.closing(sqlite3.connect(file)) as base, base:
        base.execute(line)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("UPDATE node SET state = 'odd'", "it is not a record of a rollout"),
        ("UPDATE node SET reason = x'00'", "it is not a record of a rollout"),
        ("UPDATE node SET open = '[]'", "it is not a record of a rollout"),
        ("UPDATE node SET open = '{\"doors\": 5}'", "it is not a record of a rollout"),
        ("UPDATE node SET at = 'now'", "it is not a record of a rollout"),
        ("UPDATE node SET at = 1e400", "it is not a record of a rollout"),
        ("UPDATE node SET open = 'x'", "Expecting value"),
        (f"UPDATE node SET open = '{'[' * 100_000}'", "cannot be read: "),
        ("DROP TABLE node", "no such table: node"),
        ("PRAGMA user_version = 99", "a later release wrote it"),
    ],
)
def test_a_record_of_something_else_is_not_taken_for_one(rollout, line, told):
    rollout(Minions())
    sql(rollout.file, line)
    assert told in rollout(Minions())["summary"]


def test_what_1_0_0_wrote_down_is_gone_on_with(rollout):
    rollout.directory.mkdir()
    (rollout.directory / "rollout.json").write_text(json.dumps(OLD))
    told = runner.report()["nodes"]
    assert {name: {key: node[key] for key in ("state", "reason")} for name, node in told.items()} == OLD
    assert not (rollout.directory / "rollout.json").exists() and rollout.recorded() == OLD
    report = rollout(Minions(cn1={"slurm_pam.audit": HOLDS}), canary="cn1")
    assert became(report) == dict.fromkeys(NODES, "done")
    # And if 1.0.0 comes again in between, what it did last.
    (rollout.directory / "rollout.json").write_text(json.dumps(OLD))
    assert became(runner.report()) == all_became("done", "failed", "done")


def test_whatever_kills_it_what_may_have_been_changed_is_on_disk(rollout, monkeypatch):
    """Ahead of every call: whoever is asked to apply is written down as applying, and what was told before as well."""
    seen, send = [], Minions.send

    def looked_at(self, whom, function, *words):
        recorded = rollout.recorded()
        if function == "state.apply":
            seen.append({recorded[name]["state"] for name in whom})
        for tag, node in dict(rollout.fired).items():
            assert recorded[tag.rpartition("/")[2]] == node, function
        return send(self, whom, function, *words)

    monkeypatch.setattr(Minions, "send", looked_at)
    assert rollout(cluster(30), batch=10, at_once=4)["result"] is True
    assert len(seen) > 8 and all(states == {"applying"} for states in seen)


# Many nodes


def cluster(count, **changes):
    return Minions([f"cn{number:05}" for number in range(count)], **changes)


def test_a_percentage_is_not_of_nodes_that_do_not_answer(rollout, capsys):
    minions = cluster(20, **{f"cn{number:05}": {"saltutil.sync_all": None} for number in range(10, 20)})
    assert rollout(minions, batch="50%")["summary"].endswith("10 unreachable, 10 done")
    assert "nodes, batch 1 of 2: cn00001, cn00002, cn00003, cn00004, cn00005\n" in capsys.readouterr().err


@pytest.fixture
def called(monkeypatch):
    """The most nodes of a call."""
    found, send = [0], Minions.send

    def counted(self, whom, *words):
        found[0] = max(found[0], len(whom if isinstance(whom, list) else self.who_matches(whom)))
        return send(self, whom, *words)

    monkeypatch.setattr(Minions, "send", counted)
    return found


def test_no_call_goes_to_more_nodes_than_is_said(rollout, called):
    minions = cluster(3000, cn00007={"match.compound": None})
    minions.takes = {name: 1 + number % 7 for number, name in enumerate(minions.named)}
    report = rollout(minions, batch="50%", at_once=200)
    assert set(became(report).values()) == {"done", "unreachable"} and called == [200]
    assert became(report)["cn00007"] == "unreachable"


def test_nodes_whose_turn_it_is_are_never_more_than_is_said(rollout, monkeypatch):
    most, take = [0], sys.modules["_waves"].Waves._go_on

    def counted(self, *words):
        take(self, *words)
        most[0] = max(most[0], len(self._turns))

    monkeypatch.setattr(sys.modules["_waves"].Waves, "_go_on", counted)
    assert rollout(cluster(1000), batch=1000, at_once=30)["result"] is True
    assert most == [30]


def test_slow_nodes_do_not_hold_the_others_up(rollout):
    """Five hang with their apply for all their time, one is slow to sync; the rest ends as if they were not there."""
    minions = cluster(1000)
    minions.takes = dict.fromkeys(minions.named, 2.0)
    slow = {("cn00100", "saltutil.sync_all"): 250.0, ("cn00100", "slurm_pam.audit"): 40.0}
    hanging = [f"cn00{number}" for number in (205, 305, 405, 505, 605)]
    minions.takes |= slow | {(name, "state.apply"): 500.0 for name in hanging}
    minions.alive = {"cn00100", *hanging}
    ends, fire = {}, rollout.fire

    def timed(tag, data):
        ends[tag.rpartition("/")[2], data["state"]] = minions.clock
        fire(tag, data)

    rollout.fire = timed
    report = rollout(minions, canary="cn00000", batch=1000, at_once=100, tolerate=5, confirm=300)
    lost = {name: state for name, state in became(report).items() if state != "done"}
    assert lost == dict.fromkeys(hanging, "failed"), lost
    assert "no answer to state.apply within 180 s; it may still be running" in report["nodes"][hanging[0]]["reason"]
    audited = [at for (name, state), at in ends.items() if state == "waiting" and name != "cn00100"]
    assert max(audited) < min(audited) + 120 < ends["cn00100", "waiting"]
    closed = [at for (name, state), at in ends.items() if state == "done" and name != "cn00000"]
    assert max(closed) < ends[hanging[0], "failed"]


# What is tolerated


def lost(minions, *names):
    for name in names:
        minions.answers[name] |= {"state.apply": HALF, "slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]}
    return minions


@pytest.mark.parametrize(
    ("tolerate", "result"),
    [
        (0, "Stopped at nodes, batch 1 of 4"),
        (1, "Stopped at nodes, batch 2 of 4"),
        ("1%", "Stopped at nodes, batch 1 of 4"),  # of forty nodes: not half a node, but none
        ("4%", "Stopped at nodes, batch 2 of 4"),
        (2, "All nodes that answer were tried, and no more are open than is tolerated: 2 taken back, 38 done"),
        ("5%", "All nodes that answer were tried"),
        ({"nodes": 2}, "All nodes that answer were tried"),
    ],
)
def test_so_many_nodes_may_stay_as_they_are(rollout, tolerate, result):
    """The fifth and the fifteenth do not come through."""
    report = rollout(lost(cluster(40), "cn00005", "cn00015"), batch=10, tolerate=tolerate)
    assert report["summary"].startswith(result), report["summary"]
    assert report["result"] is False and report["nodes"]["cn00005"]["state"] == "taken back"
    assert "no disk" in report["nodes"]["cn00005"]["reason"]


def test_the_canary_has_to_come_through(rollout):
    assert rollout(lost(cluster(9), "cn00000"), tolerate="100%")["summary"].startswith("Stopped at canary")
    minions = cluster(9, cn00003={"slurm_pam.audit": BLOCKED})
    told = rollout(minions, canary="cn00003", tolerate=9)["summary"]
    assert told.startswith("Stopped before this run changed anything: the canary is refused")


def test_nodes_that_cannot_be_closed_count_as_well(rollout):
    minions = cluster(9, cn00003={"slurm_pam.audit": BLOCKED})
    report = rollout(minions, tolerate=1, batch=5)
    assert became(report).pop("cn00003") == "refused" and list(became(report).values()).count("done") == 8
    runner.forget()
    minions = lost(cluster(9, cn00003={"slurm_pam.audit": BLOCKED}), "cn00004")
    assert rollout(minions, tolerate=1, batch=5)["summary"].startswith("Stopped at nodes, batch 1 of 2")


def test_each_partition_has_its_own(rollout):
    minions = Minions([*(f"cn{number}" for number in range(10)), *(f"gpu{number}" for number in range(10))])
    minions.answers["cn3"]["state.apply"] = minions.answers["gpu3"]["state.apply"] = HALF
    meant, answer = {"gpu*": "gpu", "cn*": "cn"}, minions.answer

    def matching(name, function):
        if function == "match.compound" and (start := meant.get(minions.target)):
            return Answer(True, name.startswith(start))
        return answer(name, function)

    def send(whom, function, words, keywords):
        minions.target = keywords.get("tgt")
        return Minions.send(minions, whom, function, words, keywords)

    minions.answer, minions.send = matching, send
    order = {"nodes": "cn* or gpu*", "partitions": {"gpu": "gpu*", "batch": "cn*"}, "batch": "50%"}
    told = rollout(minions, **order, tolerate={"gpu": 1})
    assert told["summary"].startswith("Stopped at batch, batch 1 of 2"), told["summary"]
    assert runner.report(form="counts") == {
        "batch": {"waiting": 4, "failed": 1, "done": 5},  # one of them as the canary
        "gpu": {"failed": 1, "done": 9},
    }
    assert sorted(runner.report(state="failed", partition="gpu")["nodes"]) == ["gpu3"]


def test_where_more_are_lost_than_that_no_more_are_begun(rollout):
    """Also in the middle of a batch."""
    minions = cluster(500)
    report = rollout(lost(minions, *minions.named[100:]), batch=500, at_once=20, tolerate=5)
    counts = runner.report(form="counts")["nodes"]
    assert report["summary"].startswith("Stopped at nodes, batch 1 of 1")
    assert 6 <= counts["taken back"] <= 26 and counts["waiting"] > 370


# From another terminal


def test_it_is_stopped_at_the_next_batch(rollout, meanwhile):
    meanwhile["batch 1 of 2: cn2"] = lambda: wish("stop")
    report = rollout(Minions())
    assert became(report) == all_became("done", "done", "waiting")
    assert report["summary"].startswith("Stopped ahead of nodes, batch 2 of 2, as slurm_pam.stop has asked")
    # The wish was about that one.
    assert became(rollout(Minions(cn1={"slurm_pam.audit": HOLDS}), canary="cn1")) == all_became("done", "done", "done")


def test_it_is_paused_and_goes_on(rollout, meanwhile, capsys):
    minions, paused = Minions(), []
    heard = minions.heard

    def waiting(seconds):
        paused.append(minions.clock)
        if "paused" in meanwhile and minions.clock > meanwhile["paused"] + 3600:
            wish()
        return heard(seconds)

    minions.heard = waiting
    meanwhile["batch 1 of 2: cn2"] = lambda: wish("pause")
    meanwhile["Paused ahead of nodes, batch 2 of 2"] = lambda: meanwhile.setdefault("paused", minions.clock)
    assert became(rollout(minions)) == all_became("done", "done", "done")
    assert minions.clock > 4600
    assert capsys.readouterr().err.count("Paused ahead of") == 1


AUDITED = "cn2                  refused"  # the first that the person who watches is told of while they are audited


@pytest.mark.parametrize(
    ("at_once", "following", "through"),
    [(1, "the audit of further nodes", [["cn1"], ["cn2"]]), (500, "canary", [NODES])],
)
def test_it_is_paused_while_nodes_are_audited(rollout, meanwhile, at_once, following, through):
    """Those that are being asked are through; the next ones have their turn once it goes on."""
    minions, seen = Minions(cn2={"slurm_pam.audit": BLOCKED}), []

    def pause():
        wish("pause")
        meanwhile[f"Paused ahead of {following}: "] = go_on

    def go_on():
        seen.append([whom for function, whom in minions.asked if function == "slurm_pam.audit"])
        wish()

    meanwhile[AUDITED] = pause
    report = rollout(minions, at_once=at_once, tolerate=1)
    assert became(report) == all_became("done", "refused", "done")
    assert seen == [through]


def test_it_is_stopped_while_nodes_are_audited(rollout, meanwhile):
    meanwhile[AUDITED] = lambda: wish("stop")
    minions = Minions(cn2={"slurm_pam.audit": BLOCKED})
    report = rollout(minions, at_once=1, tolerate=1)
    assert report["summary"].startswith("Stopped before this run changed anything, as slurm_pam.stop has asked")
    assert became(report) == all_became("waiting", "refused", "waiting")
    assert [whom for function, whom in minions.asked if function == "slurm_pam.audit"] == [["cn1"], ["cn2"]]
    again = Minions(cn2={"slurm_pam.audit": BLOCKED})
    assert became(rollout(again, tolerate=1)) == all_became("done", "refused", "done")


def test_it_is_stopped_before_it_knows_its_nodes(rollout, monkeypatch):
    """To find them takes a while on a large master; somebody may wish something as soon as it runs."""
    minions = Minions()

    @contextlib.contextmanager
    def reached(target, probes):
        assert runner.stop() == "The rollout ends ahead of its next batch"
        yield set(NODES), set(NODES), minions

    monkeypatch.setattr(runner, "unreadable", lambda targets, opts: "")
    monkeypatch.setattr(runner, "_reached", reached)
    bus = SimpleNamespace(fire_event=lambda data, tag: None)
    monkeypatch.setattr(runner, "_bus", lambda: contextlib.nullcontext(bus))
    wish("pause")  # of one that was killed
    assert "as slurm_pam.stop has asked" in runner.rollout("cn*")["summary"]
    assert "slurm_pam.audit" not in dict(minions.asked)


def test_a_wish_that_cannot_be_written_down_is_told(rollout, monkeypatch):
    rollout(Minions())
    monkeypatch.setattr(runner, "unreadable", lambda targets, opts: "")
    monkeypatch.setattr(runner.records, "_BUSY", 0.1)
    told = f"{rollout.file} cannot be written: database is locked"
    with contextlib.closing(sqlite3.connect(rollout.file, isolation_level=None)) as base:
        base.execute("BEGIN IMMEDIATE")
        assert runner.rollout("cn*")["summary"] == told
        with runner.records.alone(runner._directory()):
            assert runner.stop() == f"The rollout does not hear of this: {told}"


def wish(*wishes):
    with contextlib.closing(runner.Record(runner._directory())) as record:
        record.wish(*wishes)


def test_there_has_to_be_a_rollout_for_that(rollout):
    for command in (runner.pause, runner.resume, runner.stop):
        assert command() == "No rollout is running on this master"
    with runner.records.alone(runner._directory()):
        assert runner.stop() == "The rollout ends ahead of its next batch"
        assert runner.pause().startswith("The rollout waits ahead of its next batch")
        assert "nothing was forgotten" in runner.forget()


# What the person sees


def test_of_many_nodes_those_are_named_that_are_not_well(rollout, capsys):
    rollout(lost(cluster(51), "cn00013"), batch="100%", tolerate=1)
    lines = [line[9:] for line in capsys.readouterr().err.splitlines()]
    assert [line.split()[:2] for line in lines if line.startswith("  ")] == [["cn00013", "taken"]]
    assert lines[-1 - 1] == "nodes, batch 1 of 1: " + ", ".join(f"cn{number:05}" for number in range(1, 51))
    assert len(rollout.fired) > 150


STAYED = "all is well, but it is drained for another reason: memory"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("Confirmed", ""),
        ("Confirmed. The watch: all that closes this node is as it was accepted", ""),
        ("Confirmed. The watch: all is as it was accepted, and Slurm gives it jobs again", ""),
        (f"Confirmed. The watch: {STAYED}", f"the watch: {STAYED}"),
        ("Confirmed. The watch: '/etc/x' has other\ncontent", "the watch: '/etc/x' has other content"),
        (["Confirmed"], ""),
    ],
)
def test_what_the_watch_said_when_a_node_was_confirmed(rollout, capsys, told, reason):
    minions = Minions(cn2={"slurm_pam.confirm": Answer(True, told)})
    node = rollout(minions)["nodes"]["cn2"]
    assert (node["state"], node["reason"]) == ("done", reason)
    assert f"cn2                  done         {reason}".rstrip() in capsys.readouterr().err
    assert runner.report()["nodes"]["cn2"]["reason"] == reason


def test_of_many_nodes_one_that_stayed_drained_is_named(capsys):
    watch = runner.Watch(sys.stderr)
    watch.expect(51)
    watch.node("cn1", runner.Node("done"))
    watch.node("cn2", runner.Node("done", STAYED))
    assert "cn1" not in (told := capsys.readouterr().err) and STAYED in told


def test_the_moving_line_says_how_far_it_is():
    progress = sys.modules["_rollout_watch"].progress
    assert progress("gpu, batch 1 of 9", 1000, 2, 3000, 100.2) == (
        "gpu, batch 1 of 9: 1,000 done, 2 failing, 3,000 left, 10.0 a second, 5 min to go"
    )
    assert progress("canary", 0, 0, 1, 5) == "canary: 0 done, 0 failing, 1 left"
    assert progress("x", 10, 0, 10, 10).endswith("1.0 a second, 10 s to go")
    assert progress("x", 10, 0, 100_000, 10).endswith("28 h to go")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_it_is_one_line(monkeypatch):
    screen, now = Terminal(), [0.0]
    watching = sys.modules["_rollout_watch"]
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now[0], strftime=lambda form: "12:00:00"))
    watch = runner.Watch(screen)
    watch.expect(1000)
    watch.begin("nodes, batch 1 of 1", [f"cn{number}" for number in range(1000)])
    for number in range(100):
        now[0] += 0.1
        watch.ended(runner.Node("done"))
        if number == 50:
            watch.node("cn51", runner.Node("failed", "no disk"))
    lines = screen.getvalue().split("\n")
    assert lines[0] == "12:00:00 nodes, batch 1 of 1: 1,000 nodes"
    assert lines[1].endswith("\r\x1b[K12:00:00   cn51                 failed       no disk")
    assert len(lines) == 3 and 15 <= screen.getvalue().count("\r") <= 25
    assert lines[2].endswith("\x1b[K") and "left, 10.0 a second" in lines[2]


def test_a_report_of_what_is_asked_for(rollout):
    rollout(lost(cluster(60), "cn00013", "cn00014", "cn00020"), batch=60, tolerate=3)
    assert runner.report(form="counts") == {"nodes": {"taken back": 3, "done": 57}}
    assert sorted(runner.report(state="taken back, failed")["nodes"]) == ["cn00013", "cn00014", "cn00020"]
    assert runner.report(partition="gpu")["nodes"] == {} and runner.__context__["retcode"] == 1
    lines = runner.report(form="table").splitlines()
    assert [line.split()[0] for line in lines] == ["state", "taken", "done"]
    assert "cn[00013-00014,00020]" in lines[1] and lines[1].endswith("state-1: no disk")
    assert "cn[00000-00012,00015-00019,00021-00059]" in lines[2]
    assert "state is 'odd'; there are waiting" in runner.report(state="odd")["summary"]
    assert "form is 'xml'; allowed is nodes, table or counts" in runner.report(form="xml")["summary"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ""),
        (["cn1"], "cn1"),
        (["cn3", "cn1", "cn2", "cn10"], "cn[1-3,10]"),
        (["cn08", "cn09", "cn10"], "cn10,cn[08-09]"),
        (["cn1-ib", "cn2-ib"], "cn[1-2]-ib"),
        (["r1n1", "r1n2", "r2n1"], "r1n[1-2],r2n1"),
        (["login", "admin"], "admin,login"),
        (["cn0", "cn1"], "cn[0-1]"),
        (["cn" + "9" * 30, "cn²"], "cn" + "9" * 30 + ",cn²"),
    ],
)
def test_names_in_few_words(names, told):
    assert sys.modules["_node_ranges"].folded(names) == told
