"""Questions that are answered, and those that cannot be asked."""

import subprocess

import pytest
from salt.exceptions import CommandExecutionError

import _child
import _processes
import _slurm_pam_ask
from _slurm_pam_ask import Unanswered, answer, every_process, every_unit, once


def test_an_answer():
    assert answer("printf", "%s", "a\nb") == "a\nb"
    assert answer("true") == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("sh", "-c", "echo half; echo one >&2; echo two >&2; exit 3"), "two"),
        (("false",), "false: exit status 1"),
        (("sleep", "60"), "sleep 60: no answer within 0.2 seconds"),
        (("/none/such",), "/none/such: /none/such: No such file or directory"),
    ],
)
def test_a_question_that_cannot_be_asked_is_no_empty_answer(words, why):
    with pytest.raises(Unanswered) as error:
        answer(*words, timeout=0.2)
    assert str(error.value).endswith(why)
    assert isinstance(error.value, CommandExecutionError)


@pytest.mark.parametrize(("stderr", "why"), [("", "exit status 9"), ("\n a\n\nb \n", "b"), (" \n", "exit status 9")])
def test_the_reason_is_in_its_last_words(stderr, why):
    assert _child.reason(subprocess.CompletedProcess(["x"], 9, "", stderr)) == why


SHOWN = """\
Id=cron.service
LoadState=loaded
PAMName=

Id=gone.service
LoadState=not-found
"""


@pytest.fixture
def asked(monkeypatch):
    """What systemd was asked, which is every word of it."""
    told, enabled = [], "cron.service enabled\none.service enabled\nmany@.service enabled\noff.service disabled\n"

    def answer(*words):
        told.append(words)
        if "list-unit-files" in words:
            return enabled
        named = [f"Id={name}" for name in words[3:] if "*" not in name and f"Id={name}" not in SHOWN.split()]
        return "\n\n".join([SHOWN, *named] if "*.service" in words else named)

    monkeypatch.setattr(_slurm_pam_ask, "answer", answer)
    monkeypatch.setattr(_processes, "running", lambda: iter([told.append("processes") or "a process"]))
    return told


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        # Those that the next boot starts and that do not run, each once; a template is no unit.
        (["cron.service"], [("*.service", "*.socket", "one.service")]),
        # An old systemd does not say which run.
        ([], [("*.service", "*.socket", "cron.service", "one.service")]),
        # One that has ended meanwhile.
        (["cron.service", "one.service"], [("*.service", "*.socket"), ("one.service",)]),
    ],
)
def test_every_unit(asked, tmp_path, monkeypatch, run, shown):
    monkeypatch.setattr(_slurm_pam_ask, "_INVOCATION", f"{tmp_path}/invocation:")
    for name in run:
        (tmp_path / f"invocation:{name}").symlink_to("an id")
    assert [unit["Id"] for unit in every_unit()] == [["cron.service"], ["one.service"]]
    assert [words[3:] for words in asked if words[1] == "show"] == shown


def test_what_is_asked_once(asked):
    with once():
        found = [every_unit(), every_unit()]
        with once():
            found.append(every_unit())
            assert every_process() == every_process() == ["a process"]
        assert every_process() == ["a process"]
    assert found[0] and found == found[:1] * 3
    assert (len(asked), asked.count("processes")) == (3, 1)
    # The next time it is another moment.
    every_unit()
    every_process()
    assert (len(asked), asked.count("processes")) == (6, 2)


def test_what_was_not_answered_is_asked_again(asked, monkeypatch):
    def silent(*words):
        raise Unanswered("systemctl: no answer")

    with once():
        with monkeypatch.context() as patch:
            patch.setattr(_slurm_pam_ask, "answer", silent)
            with pytest.raises(Unanswered):
                every_unit()
        assert every_unit()
