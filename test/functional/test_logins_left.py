"""What a command that logs in leaves on this machine: nothing."""

import os
import subprocess
import time

import pytest
from unit.test_logins import one

# Of this run alone: another may be at the same test.
SLEEP = f"sleep 987.{os.getpid()}"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        # A background process that has its output, such as ssh's ControlPersist, is not waited for.
        ("sh -c '{sleep} & echo {{node}}'", ""),
        ("sh -c '{sleep} & echo {{node}}; exit 1'", "exit status 1: cn1"),
        ("sh -c 'exec >&- 2>&-; {sleep}'", "did not end within 2 s"),
        ("sh -c 'trap \"\" TERM HUP; {sleep}; {sleep}'", "did not end within 2 s"),
    ],
)
def test_nothing_of_a_command_is_left(command, told):
    # One that ends has the time for it.
    problem, took = one(command.format(sleep=SLEEP), 2 if "2 s" in told else 50)
    assert told in problem if told else problem == ""
    assert took < 60
    # What is killed is gone when the kernel comes to it.
    deadline = time.monotonic() + 60
    while SLEEP in running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert SLEEP not in running()


def running():
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
