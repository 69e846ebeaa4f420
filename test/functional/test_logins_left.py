"""What a command that logs in leaves on this machine: nothing."""

import subprocess

import pytest
from unit.test_logins import one


@pytest.mark.parametrize(
    ("command", "told", "longest"),
    [
        # A background process that has its output, such as ssh's ControlPersist, is not waited for.
        ("sh -c 'sleep 987 & echo {node}'", "", 2),
        ("sh -c 'sleep 987 & echo {node}; exit 1'", "exit status 1: cn1", 2),
        ("sh -c 'exec >&- 2>&-; sleep 987'", "did not end within 2 s", 5),
        ("sh -c 'trap \"\" TERM HUP; sleep 987; sleep 987'", "did not end within 2 s", 5),
    ],
)
def test_nothing_of_a_command_is_left(command, told, longest):
    problem, took = one(command, 2)
    assert told in problem if told else problem == ""
    assert took < longest
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 987" not in [line.strip() for line in listed.splitlines()]
