"""What a node says of itself for the page, as the master takes it."""

import functools
import itertools
import os

import pytest
from harness.runners import Answer, runner
from unit.test_slurm_pam_wanted import LIBPAM, settings

import _pam_expand
import _slurm_pam_access
import _slurm_pam_evidence
from _slurm_pam_settings import VERSION

STACK = """\
account required pam_nologin.so
account [success=1 default=ignore] pam_access.so nodefgroup
account required pam_slurm_adopt.so
account substack site
"""
BROKEN = {"file": "/etc/pam.d/sshd", "line": 6, "rule": "account sufficient pam_permit.so"}
PROOFS = [
    {"name": "a session opens", "holds": True, "expect": "permit", "counterexample": None},
    {"name": "a", "holds": False, "expect": "deny", "counterexample": {"decided_by": BROKEN, "why": "lets in"}},
    {"name": "b", "holds": False, "expect": "deny", "counterexample": {"why": "sshd asks another service"}},
    {"name": "c", "holds": False, "expect": "deny", "counterexample": {"decided_by": None, "why": "cannot start"}},
]
AUDIT = {
    "holds": False,
    "findings": [{"subject": "s", "result": None, "found": "f", "changes": {"diff": "-root:$6$secret"}}],
    "warnings": ["w"],
}


def door(service, on, stranger, by=None):
    return {
        "service": service,
        "what": "a way in",
        "reach": "network",
        "shell": True,
        "stays": "",
        "there": [],
        "on": on,
        "listening": [],
        "setting": "report",
        "stranger": {"in": stranger, "decided_by": by, "why": "because"},
        "administrator": {"in": True, "decided_by": None, "why": "because"},
    }


DOORS = {"doors": [door("sshd", ["sshd.service"], False, BROKEN), door("crond", ["x"], None), door("login", [], True)]}
STRAYS = [{"user": 1001, "came": "ssh", "since": "now", "count": 2, "pids": [1], "commands": ["x"], "spared": "root"}]
SESSIONS = [{"user": "bob", "pid": 7, "job": None, "problems": ["p", "q"]}, {"user": "carol", "problems": []}]


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """A function: what the looks found -> the node's answer."""
    (tmp_path / "sshd").write_text(STACK)
    (tmp_path / "site").write_text("account requisite pam_unix.so\n")
    expand = functools.partial(_pam_expand.expand, confdirs=[str(tmp_path)], libpam=LIBPAM)
    monkeypatch.setattr(_pam_expand, "expand", expand)
    monkeypatch.setattr(_slurm_pam_access, "rules", lambda file: [("+ ", " root", "ALL "), ("-", "ALL", "ALL")])
    at = itertools.cycle([1000.7, 3000.2, 2000.0])
    monkeypatch.setattr(os, "lstat", lambda path: os.stat_result([0] * 8 + [next(at), 0]))

    def say(**changes):
        looks = {"audit": AUDIT, "proofs": PROOFS, "doors": {**DOORS, "findings": ["u"]}, "strays": STRAYS}
        looks["confined"] = {"holds": False, "sessions": SESSIONS}
        return _slurm_pam_evidence.evidence(settings(), **{**looks, **changes})

    return say


def test_it_is_said_in_few_words(evidence):
    said = evidence()
    assert (said["mode"], said["version"], said["since"]) == ("enforce", VERSION, 3000)
    assert said["access"] == [
        {"may": "yes", "who": "root", "origins": "ALL"},
        {"may": "no", "who": "ALL", "origins": "ALL"},
    ]
    assert said["promises"] == [
        {"name": "a session opens", "holds": True, "why": "", "where": ""},
        {"name": "a", "holds": False, "why": "lets in", "where": "/etc/pam.d/sshd:6"},
        {"name": "b", "holds": False, "why": "sshd asks another service", "where": ""},
        {"name": "c", "holds": False, "why": "cannot start", "where": ""},
    ]
    assert [(each["name"], each["stranger"], each["administrator"], each["where"]) for each in said["doors"]] == [
        ("sshd", "does not", "gets in", "/etc/pam.d/sshd:6"),
        ("crond", "not known", "gets in", ""),
    ]
    assert said["unseen"] == ["u"] and said["warnings"] == ["w"]
    assert said["strays"] == [{"user": "1001", "came": "ssh", "spared": "root"}]
    assert said["loose"] == [{"user": "bob", "problem": "p"}, {"user": "bob", "problem": "q"}]


def test_a_stack_says_where_answers_lead(evidence):
    stack = evidence()["stack"]
    assert [(rule["level"], rule["module"]) for rule in stack] == [
        (0, "pam_nologin.so"),
        (0, "pam_access.so nodefgroup"),
        (0, "pam_slurm_adopt.so"),
        (0, "site"),
        (1, "pam_unix.so"),
    ]
    leads = [[index for index, _ in rule["leads"]] for rule in stack]
    assert leads[1] == [3, 2] and leads[3] == [4] and set(leads[4]) == {5}
    assert stack[1]["leads"][0] == [3, "success = jump 1"]


def test_nothing_of_a_file_or_a_diff_is_in_it(evidence):
    assert "secret" not in repr(evidence())


def test_a_file_that_is_not_there_has_not_been_closed(evidence, monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "lstat", missing)
    assert evidence()["since"] is None


def test_the_master_takes_all_of_it(evidence):
    """And a node that is as it should be is closed to it."""
    taken = runner._evidence.document("cn*", 0, {"cn1": Answer(True, evidence())}, {})
    assert taken["unknown"] == {} and {**taken["kinds"][0], "since": 3000} == evidence() | {"since": 3000}
    well = {"audit": {**AUDIT, "findings": []}, "proofs": PROOFS[:1]}
    assert runner._evidence.states(taken) == {"cn1": "open"}
    taken = runner._evidence.document("cn*", 0, {"cn1": Answer(True, evidence(**well))}, {})
    assert runner._evidence.states(taken) == {"cn1": "closed"}
