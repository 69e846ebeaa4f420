"""What each rule is taken to answer to a login."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from _pam_ask import Said
from _slurm_pam_answers import Login, adopted, is_slurm


def jobs(*numbers, extern=True):
    return [{"job": number, "user": "alice", "extern": extern, "node": "node"} for number in numbers]


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


def login(uid=1000, access="- : ALL : ALL", mine=(), code=None):
    """A login to which every module that is asked answers the same, or nothing."""
    account = SimpleNamespace(pw_name="alice", pw_uid=uid)
    return Login(account, access, FILE, list(mine), defaultdict(lambda: Said(code, "no answer")))


@pytest.mark.parametrize(
    ("who", "module", "args", "answer"),
    [
        (login(), "pam_slurm.so", [], "perm_denied"),
        (login(mine=jobs(7, extern=False)), "pam_slurm.so", [], "success"),
        (login(uid=0), "pam_slurm.so", [], "success"),
        (login(), "pam_slurm_adopt.so", [], "perm_denied"),
        (login(), "pam_slurm_adopt.so", ["action_no_jobs=ignore"], "ignore"),
        (login(mine=jobs(7)), "pam_slurm_adopt.so", [], "success"),
        (login(uid=0), "pam_slurm_adopt.so", [], "ignore"),
        # What a module says itself counts; what our reading of the access file says does not.
        (login(code="perm_denied"), "/lib/security/pam_listfile.so", [], "perm_denied"),
        (login(code="perm_denied", access="+ : alice : ALL"), "pam_access.so", OURS, "perm_denied"),
        (login(code="ignore"), "pam_nologin.so", [], "ignore"),
        # One that says nothing is taken to succeed, but for ours: nobody is an administrator by a mistake.
        (login(), "pam_other.so", [], "success"),
        (login(), "pam_access.so", [], "success"),
        (login(), "pam_access.so", ["accessfile=/etc/security/other.conf"], "success"),
        (login(), "pam_access.so", OURS, "perm_denied"),
        (login(access=None), "pam_access.so", OURS, "perm_denied"),
        (login(access="+ : alice : ALL"), "pam_access.so", OURS, "success"),
    ],
)
def test_what_a_module_answers(who, module, args, answer):
    rule = {"module": module, "name": module, "args": args}
    assert who.answer(rule) == answer
    assert is_slurm(rule) is module.startswith("pam_slurm")
    assert who.is_ours(rule) is (is_slurm(rule) or args == OURS)


def test_who_has_not_said_anything_himself():
    silent, talking = login(), login(code="success")
    for module in ("pam_access.so", "pam_x.so"):
        rule = {"module": module, "name": module, "args": []}
        assert silent.unasked(rule) == Said(None, "no answer")
        assert talking.unasked(rule) is None
    assert silent.unasked({"module": "pam_slurm_adopt.so", "name": "pam_slurm_adopt.so", "args": []}) is None
