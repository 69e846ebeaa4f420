"""Real logins to nodes: what they say is bounded, so is their time, and a name is never an option or a command."""

import os
import subprocess
import sys
import threading
import time

import pytest
from harness.paths import REPO
from harness.runners import logins
from harness.source import load
from salt.exceptions import CommandExecutionError


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ({"command": "true"}, ""),
        ({"command": "false"}, "false: expected permit, but exit status 1"),
        ({"command": "sh -c 'echo no job on {node}; exit 255'", "expect": "deny", "says": "no job on cn1"}, ""),
        ({"command": "sh -c 'exit 255'", "expect": "deny", "says": "no job"}, "expected deny, saying 'no job'"),
        (
            {"command": "echo no job", "expect": "deny", "says": "no job"},
            "expected deny, saying 'no job', but exit status 0",
        ),
        # As YAML's block of text has it, with the end of its line.
        ({"command": "sh -c 'echo no job; exit 1'", "expect": "deny", "says": "no job\n"}, ""),
        ({"command": "/nowhere/ssh {node}"}, "/nowhere/ssh cn1: "),
    ],
)
def test_a_probe_is_a_real_command(probe, told):
    found = logins.failing(["cn1"], [probe])
    assert told in found["cn1"] if told else found == {}


@pytest.mark.parametrize(
    ("nodes", "probe", "told"),
    [
        ("cn1", {}, "nodes is 'cn1'; it has to be a list of names"),
        ([101], {}, "nodes is .101.; it has to be a list of names"),
        ({"cn1": 1}, {}, "nodes is {'cn1': 1}"),
        (["cn1"], {"expect": "dney"}, "A probe's expect is 'dney'"),
        (["cn1"], {"expect": "deny"}, "A probe expects deny without says"),
        (["cn1"], {"expects": "deny"}, "A probe is {'command'"),
    ],
)
def test_what_is_no_login_is_refused_and_not_well(tmp_path, nodes, probe, told):
    """One name would be taken for the nodes c, n and 1, and a word that means nothing for deny."""
    marker = tmp_path / "marker"
    with pytest.raises(CommandExecutionError, match=told):
        logins.failing(nodes, [{"command": f"sh -c 'touch {marker}; exit 1'", **probe}])
    assert not marker.exists()


def test_the_last_words_are_heard_on_a_busy_master(monkeypatch):
    """A command speaks and ends between two looks: ssh turned away, while the master has other things to do."""
    loaded = load("_runners/slurm_pam_logins.py")
    told = {"command": "sh -c 'sleep 0.2; echo no active jobs; exit 255'", "expect": "deny", "says": "no active jobs"}

    def over_by_now(child):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return True

    monkeypatch.setattr(loaded, "_over", over_by_now)
    assert loaded.failing(["cn1"], [told]) == {}


def test_one_that_ended_in_time_is_heard_however_late_the_master_looks(monkeypatch):
    loaded = load("_runners/slurm_pam_logins.py")
    told = {"command": "sh -c 'echo no active jobs; exit 255'", "expect": "deny", "says": "no active jobs"}

    def late(child, *words, said=loaded._said):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        time.sleep(2)
        return said(child, *words)

    monkeypatch.setattr(loaded, "_said", late)
    assert loaded.failing(["cn1"], [told], 2) == {}


def test_logins_to_several_nodes_are_made_at_the_same_time():
    start = time.monotonic()
    assert logins.failing([f"cn{number}" for number in range(8)], [{"command": "sleep 3"}]) == {}
    assert time.monotonic() - start < 8 * 3


def test_what_could_not_be_tried_in_time_is_a_problem():
    found = logins.failing(["cn1", "cn2"], [{"command": "sleep 30"}, {"command": "true"}], 0.5)
    assert all("sleep 30 did not end within" in problem and "used up" in problem for problem in found.values())
    assert "true was not tried" in logins.failing(["cn1"], [{"command": "true"}], 0)["cn1"]


# What a command says


def one(command, seconds=10, **probe):
    """The problem of one probe on one node, and how long it took."""
    start = time.monotonic()
    found = logins.failing(["cn1"], [{"command": command, **probe}], seconds)
    return found.get("cn1", ""), time.monotonic() - start


FLOOD = "sh -c 'while :; do echo {node} {node} {node} {node} {node} {node} {node} {node}; done'"


PEAK = """
import resource
import sys

sys.path.insert(0, sys.argv[1])
from harness.runners import logins
from harness.source import load

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(problem,) = logins.failing(["cn1"], [{"command": sys.argv[2]}], 60).values()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, problem)
"""


def test_one_that_never_stops_talking_is_ended_and_takes_no_memory():
    """In a process of its own, whose memory nothing else has used."""
    words = [sys.executable, "-c", PEAK, str(REPO / "test"), FLOOD]
    start = time.monotonic()
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    grown, problem = told.split(None, 1)
    assert problem.endswith("said more than 64 KiB, and was ended\n") and time.monotonic() - start < 50
    assert int(grown) < 20_000  # KiB


def test_one_that_talks_slowly_without_end_is_ended_in_time():
    problem, took = one("sh -c 'while :; do echo still here; sleep 0.1; done'", 1)
    assert "did not end within 1 s" in problem and 0.9 < took < 60


def test_what_both_outputs_say_counts():
    assert one("sh -c 'echo no; echo job >&2; exit 1'", expect="deny", says="job")[0] == ""
    assert one("sh -c 'echo no; echo job >&2; exit 1'", expect="deny", says="no")[0] == ""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (r"\033[2J\033]0;x\007", r"\x1b[2J\x1b]0;x\x07"),
        (r"no\n12:00:00   cn2   done", "no 12:00:00 cn2 done"),
        (r"\377\376", "\ufffd\ufffd"),
        (r"\342\200\256oh", r"\u202eoh"),
    ],
)
def test_what_it_says_is_shown_in_one_printable_line(said, told):
    problem, _ = one(f"printf '{said}'", says="x", expect="deny")
    assert problem.isprintable() and problem.endswith(f"exit status 0: {told}")


def test_what_it_says_is_shown_with_an_end():
    problem, _ = one("sh -c 'i=0; while [ $i -lt 3000 ]; do echo words; i=$((i+1)); done; exit 1'")
    assert "expected permit, but exit status 1: words words" in problem and len(problem) < 2100


def test_a_command_has_no_terminal():
    """ssh would ask there for a password, in the node's own words."""
    assert one("sh -c 'test $(ps -o sid= -p $$) -eq $$'")[0] == ""
    assert one("sh -c 'test $(ps -o tty= -p $$) = ?'")[0] == ""


# A name

OPTIONS = ["-oProxyCommand=touch {marker}", "-c touch {marker}"]
COMMANDS = ["x; touch {marker}", "$(touch {marker})", "x\ntouch {marker}"]


@pytest.mark.parametrize("name", [*OPTIONS, *COMMANDS, "", "or", "a b", "*", "\ud800", "x" * 300])
def test_nothing_is_run_for_a_name_that_is_none(tmp_path, name):
    marker = tmp_path / "marker"
    name = name.format(marker=marker)
    commands = [{"command": command} for command in ("sh -c '{node}'", "sh {node}", f"touch {marker}")]
    ((shown, problem),) = logins.failing([name], commands).items()
    assert "this cannot be the name of a node" in problem
    assert shown.isprintable() and shown[0] in "'\""
    assert not marker.exists()


def test_the_others_are_logged_in_to(tmp_path):
    found = logins.failing(["cn1", "-cn2", "cn3"], [{"command": "test {node} != cn3"}])
    assert sorted(found) == ["'-cn2'", "cn3"]


# Logins that stay while the node is asked

IN_JOB = {"user": "canary", "job": 7, "problems": []}
OUT = {"user": "canary", "job": None, "problems": ["it is in no job\x1b[2J, but in /", "and more"]}
OTHERS = {"user": "bob", "job": None, "problems": ["bob's"]}


def staying(answers, command="cat", seconds=10):
    """What is told of cn1 when the node answers this to slurm_pam.confined, and what it was asked."""
    asked = []

    def execute(target, function, tgt_type, timeout):
        asked.append((target, function, tgt_type))
        assert 0 < timeout <= seconds
        return answers

    loaded = load("_runners/slurm_pam_logins.py", __salt__={"salt.execute": execute})
    found = loaded.failing(["cn1"], [{"command": command, "expect": "confined", "user": "canary"}], seconds)
    return found.get("cn1", ""), asked


ANSWERS = {
    "in its job": ({"cn1": {"sessions": [IN_JOB, OTHERS]}}, ""),
    "one of two is not": ({"cn1": {"sessions": [IN_JOB, OUT]}}, r"cat: it is in no job\x1b[2J, but in /; and more"),
    "it is not there": ({"cn1": {"sessions": [OTHERS]}}, "cat: canary was let in, and is in no job there"),
    "no answer": ({}, "cat: no answer to slurm_pam.confined"),
    "an error": ({"cn1": "'slurm_pam.confined' is not available."}, "slurm_pam.confined: 'slurm_pam.confined' is not"),
    "nonsense": ({"cn1": {"sessions": [1]}}, "the minion's answer makes no sense (of the type dict)"),
    "sessions without problems": ({"cn1": {"sessions": [{"user": "canary"}]}}, "(of the type NoneType)"),
    "another text": ({"cn1": {"sessions": [{"user": "canary", "problems": "bad"}]}}, "cat: bad"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_session_is_held_against_its_job_while_it_is_there(case):
    answers, told = ANSWERS[case]
    found, asked = staying(answers)
    assert asked == [(["cn1"], "slurm_pam.confined", "list")]
    assert told in found if told else found == ""


@pytest.mark.parametrize(
    ("command", "seconds", "told"),
    [
        ("sh -c 'echo no active jobs; exit 255'", 10, "expected confined, but exit status 255: no active jobs"),
        ("true", 10, "expected confined, but exit status 0"),
        ("sleep 60", 0.5, "sleep 60 did not end within"),
        ("/nowhere/ssh {node}", 10, "/nowhere/ssh cn1: "),
        (FLOOD, 30, "said more than 64 KiB, and was ended"),
    ],
)
def test_a_login_that_does_not_come_through_is_no_question_to_the_node(command, seconds, told):
    found, asked = staying({"cn1": {"sessions": [IN_JOB]}}, command, seconds)
    assert told in found and asked == []


def test_a_node_that_is_at_it_without_end_is_not_waited_for():
    """Salt's own call asks the minion whether it is still at it, and waits on."""
    going_on = threading.Event()
    execute = {"salt.execute": lambda *words, **how: going_on.wait(60) and {}}
    loaded = load("_runners/slurm_pam_logins.py", __salt__=execute)
    start = time.monotonic()
    found = loaded.failing(["cn1"], [{"command": "cat", "expect": "confined", "user": "canary"}], 2)
    took = time.monotonic() - start
    going_on.set()
    assert found == {"cn1": "cat: no answer to slurm_pam.confined"} and took < 30


def test_what_is_held_against_its_job_is_ended_then(tmp_path):
    found, _ = staying({"cn1": {"sessions": [IN_JOB]}}, f"sh -c 'cat; echo over > {tmp_path}/over; sleep 60'")
    assert found == "" and not (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ({"expect": "confined", "user": "canary"}, ""),
        ({"expect": "confined"}, "needs user"),
        ({"expect": "confined", "user": ""}, "needs user"),
        ({"expect": "confined", "user": "canary", "says": "x"}, "has no says"),
        ({"user": "canary"}, "user is for no other"),
        ({"expect": "deny", "says": "x", "user": "canary"}, "user is for no other"),
        ({"expect": "confined", "user": 7}, "A probe's user is 7; it has to be a text"),
        ({"expect": "adopted"}, "allowed is permit, deny or confined"),
    ],
)
def test_a_probe_with_a_user(probe, told):
    found = logins.misused([{"command": "ssh canary@{node} cat", **probe}])
    assert told in found if told else found == ""
