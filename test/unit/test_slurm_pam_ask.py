"""Questions that are answered, and those that cannot be asked."""

import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from _slurm_pam_ask import Unanswered, answer, reason


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
    assert reason(subprocess.CompletedProcess(["x"], 9, "", stderr)) == why
