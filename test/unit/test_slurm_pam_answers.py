"""What each module is taken to answer to a login."""

import time
from types import SimpleNamespace

import pytest

import _slurm_pam_answers
from _slurm_pam_answers import Login, adopted, is_known, is_slurm


def jobs(*numbers, extern=True):
    return [{"job": number, "user": "alice", "extern": extern} for number in numbers]


DENY = ["action_unknown=deny"]


@pytest.mark.parametrize(
    ("mine", "args", "answer", "said"),
    [
        ([], [], "perm_denied", []),
        ([], ["action_no_jobs=ignore"], "ignore", []),
        (jobs(7), [], "success", []),
        (jobs(7), DENY, "success", []),
        (jobs(7, extern=False), [], "perm_denied", ["Job 7 has no extern step"]),
        (jobs(7, extern=False) + jobs(8), DENY, "success", ["Job 7 has no extern step"]),
        (jobs(7, 8), ["debug"], "success", []),
        (jobs(7, 8), ["action_unknown=newest"], "success", []),
        (jobs(7, 8), ["action_unknown=allow"], "success", []),
        (jobs(7, 8), DENY, "perm_denied", ["cannot tell"]),
    ],
)
def test_what_pam_slurm_adopt_makes_of_jobs(mine, args, answer, said):
    told, notes = adopted(mine, args)
    assert told == answer
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


def test_what_it_cannot_tell_apart_is_named():
    _, (note,) = adopted(jobs(7, 8), DENY)
    assert "jobs 7, 8" in note and "slurm_pam:pam_slurm_adopt:action_unknown is deny" in note


FILE = "/etc/security/slurm-access.conf"
OURS = ["nodefgroup", f"accessfile={FILE}"]
TODAY = int(time.time() // 86400)


def login(uid=1000, access="- : ALL : ALL", mine=(), shadow=None):
    account = SimpleNamespace(pw_name="alice", pw_uid=uid)
    return Login(account, access, FILE, list(mine), lambda user: (shadow or {}) if user == "alice" else None)


@pytest.mark.parametrize(
    ("who", "module", "args", "answer"),
    [
        (login(), "pam_access.so", OURS, "perm_denied"),
        (login(access=None), "pam_access.so", OURS, "perm_denied"),
        (login(access="+ : alice : ALL"), "pam_access.so", OURS, "success"),
        # The site's own file is not looked at.
        (login(), "pam_access.so", [], "success"),
        (login(), "pam_access.so", ["accessfile=/etc/security/other.conf"], "success"),
        (login(), "pam_slurm.so", [], "perm_denied"),
        (login(mine=jobs(7, extern=False)), "pam_slurm.so", [], "success"),
        (login(uid=0), "pam_slurm.so", [], "success"),
        (login(), "pam_slurm_adopt.so", [], "perm_denied"),
        (login(), "pam_slurm_adopt.so", ["action_no_jobs=ignore"], "ignore"),
        (login(mine=jobs(7)), "pam_slurm_adopt.so", [], "success"),
        (login(uid=0), "pam_slurm_adopt.so", [], "ignore"),
        (login(uid=0), "pam_succeed_if.so", ["quiet", "uid", "!=", "0"], "auth_err"),
        (login(), "pam_succeed_if.so", ["quiet", "uid", "!=", "0"], "success"),
        (login(), "pam_deny.so", [], "perm_denied"),
        (login(), "/opt/site/pam_deny.so", [], "success"),
        (login(), "pam_other.so", [], "success"),
    ],
)
def test_what_a_module_answers(who, module, args, answer):
    rule = {"module": module, "name": module, "args": args}
    assert who.answer(rule) == answer
    assert is_known(rule) is (module not in ("pam_other.so", "/opt/site/pam_deny.so"))
    assert is_slurm(rule) is module.startswith("pam_slurm")
    assert who.is_ours(rule) is (is_slurm(rule) or args == OURS)


@pytest.mark.parametrize(
    ("shadow", "answer"),
    [
        ({}, "success"),
        ({"expire": -1, "lstchg": 19000, "max": 99999}, "success"),
        ({"expire": "", "lstchg": "", "max": ""}, "success"),
        ({"expire": TODAY + 2}, "success"),
        ({"expire": TODAY}, "acct_expired"),
        ({"expire": 0}, "acct_expired"),
        ({"lstchg": 0}, "new_authtok_reqd"),
        ({"lstchg": TODAY - 10, "max": 5}, "new_authtok_reqd"),
        ({"lstchg": TODAY - 10, "max": 20}, "success"),
        ({"lstchg": TODAY - 10, "max": -1}, "success"),
        ({"expire": 1, "lstchg": 0}, "acct_expired"),
    ],
)
def test_the_age_of_account_and_password(shadow, answer):
    assert login(shadow=shadow).answer({"name": "pam_unix.so", "args": []}) == answer


@pytest.mark.parametrize("closed", [None, "/etc/nologin", "/run/nologin", "/var/run/nologin"])
def test_a_node_that_is_going_down(monkeypatch, closed):
    path = SimpleNamespace(exists=lambda path: path == closed)
    monkeypatch.setattr(_slurm_pam_answers, "os", SimpleNamespace(path=path))
    rule = {"name": "pam_nologin.so", "args": []}
    assert login().answer(rule) == ("auth_err" if closed else "success")
    assert login(uid=0).answer(rule) == "success"
