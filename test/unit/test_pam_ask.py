"""Which modules are asked, and what is made of what the child says; test/libpam has the real child and real modules."""

import json
import subprocess

import pytest

import _child
import _pam_ask
from _pam_ask import Said


@pytest.fixture
def child(monkeypatch):
    """Returns what makes the child say something, and then what it was asked."""
    asked = []

    def says(stdout="", stderr="", code=0):
        def ask(*words, timeout, input):
            asked.append(json.loads(input))
            return subprocess.CompletedProcess(words, code, stdout, stderr)

        monkeypatch.setattr(_child, "ask", ask)
        return asked

    return says


def handler(module, *args, name=None):
    """A rule of a module of libpam's own, unless it has another name."""
    return {"module": module, "name": name or module.rpartition("/")[2], "args": args}


def answers(*rules):
    return _pam_ask.answers([handler(*rule) for rule in rules], "sshd", "alice", "192.0.2.1")


def test_only_modules_are_asked_of_which_it_is_known_that_it_changes_nothing(child):
    asked = child('{"code": 6}\n')
    rules = [(module,) for module in (*_pam_ask.UNSAFE, "pam_x.so", "/opt/pam_slurm_adopt.so")]
    told = answers(*rules, ("/lib/security/pam_access.so", "nodefgroup"))
    assert told.pop(("/lib/security/pam_access.so", ("nodefgroup",))) == Said("perm_denied")
    assert all(said.code is None and said.why_not and not said.tried for said in told.values())
    assert len(told) == len(rules)
    (request,) = asked
    assert request["rules"] == ["[/lib/security/pam_access.so] [nodefgroup]"]
    assert (request["service"], request["user"], request["rhost"]) == ("sshd", "alice", "192.0.2.1")


def test_a_module_of_a_known_name_elsewhere_is_not_asked(child):
    """Whatever /opt/site/pam_deny.so does, it is not what libpam's own does."""
    asked = child('{"code": 0}\n')
    elsewhere = handler("/opt/site/pam_deny.so", name="/opt/site/pam_deny.so")
    (said,) = _pam_ask.answers([elsewhere], "sshd", "alice", "192.0.2.1").values()
    assert said == Said(None, "whether asking it changes anything is not known", tried=False)
    assert asked == []


def test_safe_and_unsafe_are_two():
    assert not _pam_ask.SAFE.keys() & _pam_ask.UNSAFE.keys()
    assert not [module for module in _pam_ask.SAFE if module.startswith("pam_slurm")]


def test_no_child_without_a_rule_to_ask(child):
    asked = child("")
    assert len(answers(("pam_x.so",), ("pam_slurm.so",))) == 2
    assert asked == []


def test_the_same_rule_is_asked_once(child):
    asked = child('{"code": 0}\n')
    assert len(answers(("pam_unix.so",), ("pam_unix.so",))) == 1
    assert len(asked[0]["rules"]) == 1


@pytest.mark.parametrize(
    ("args", "written"),
    [
        (["a b"], "[a b]"),
        (["a]b"], "[a\\]b]"),
        (["[x]"], "[[x\\]]"),
        ([""], "[]"),
        (["a#b"], None),
        (["a\\"], None),
    ],
)
def test_arguments_are_written_so_that_libpam_reads_the_same(child, args, written):
    asked = child('{"code": 0}\n')
    told = answers(("pam_unix.so", *args))
    if written:
        assert asked[0]["rules"] == [f"[pam_unix.so] {written}"]
    else:
        assert (asked, *told.values()) == ([], Said(None, "its rule cannot be written"))


NONSENSE = "what it answered is none of PAM's answers"


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ('{"code": 25}\n{"code": 13}\n', "", [Said("ignore"), Said("acct_expired")]),
        ('{"code": 32}\n{"code": -1}\n', "", [Said(None, NONSENSE)] * 2),
        ('{"code": "0"}\n{"code": null}\n', "", [Said(None, NONSENSE)] * 2),
        ('{"code": true}\n{"code": 0.0}\n', "", [Said(None, NONSENSE)] * 2),
        ('{}\n{"code": []}\n', "", [Said(None, NONSENSE)] * 2),
        ("[]\n7\n", "", [Said(None, NONSENSE)] * 2),
        ("nonsense\n\n", "", [Said(None, NONSENSE)] * 2),
        ('{"code": 0}\n', "Traceback\nOSError: no", [Said("success"), Said(None, "OSError: no")]),
        ('{"code": 0}\n{"code": 0}\n{"code": 0}\n', "", [Said("success")] * 2),
        ("", "", [Said(None, "nothing was said")] * 2),
        ('{"error": "by signal 11"}\n{"code": 0}\n', "", [Said(None, "by signal 11"), Said("success")]),
    ],
)
def test_what_is_made_of_what_the_child_says(child, stdout, stderr, said):
    child(stdout, stderr)
    assert list(answers(("pam_unix.so",), ("pam_access.so",)).values()) == said
