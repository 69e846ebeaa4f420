"""Ending real processes after a grace, and telling a real terminal before."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

import _processes
import _slurm_pam_ending
from _slurm_pam_strays import Stray

# Each of them starts another one ten times a second, for as long as this machine bears it.
FORKS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
until = time.monotonic() + 1
print("ready", flush=True)
while True:
    time.sleep(0.1 if time.monotonic() < until else 60)
    os.fork()
"""


@pytest.fixture
def started(monkeypatch):
    """A function that starts a program as a stray of alice's, or of whom it says. All of its session count."""
    sessions = {}

    def start(*words, user="alice", spared=""):
        child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, text=True)
        sessions[child.pid] = (user, spared)
        return child

    def strays(order):
        for process in _processes.running():
            user, spared = sessions.get(session_of(process.pid), (None, ""))
            if user:
                yield Stray(process, user, "ssh", spared, [])

    monkeypatch.setattr(_slurm_pam_ending._slurm_pam_strays, "strays", strays)
    monkeypatch.setattr(_slurm_pam_ending._slurm_pam_steps, "is_closed", lambda order: True)
    monkeypatch.setattr(_slurm_pam_ending, "_PATIENCE", 1)
    start.sessions = sessions
    start.left = lambda: [stray.user for stray in strays({})]
    yield start
    for stray in strays({}):
        os.kill(stray.process.pid, signal.SIGKILL)


def session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def order(*users, grace=0):
    return {"users": list(users), "grace": grace}


def ready(child):
    """Until it says so."""
    assert child.stdout.readline() == "ready\n"
    return child


def test_whoever_was_told_is_ended_and_nobody_else(started, capsys):
    ends = started("sleep", "600")
    # Its child says so, which is there by then.
    stubborn = ready(started("sh", "-c", "trap '' TERM HUP; (echo ready; exec sleep 600); sleep 600"))
    stopped = started("sleep", "600")
    os.kill(stopped.pid, signal.SIGSTOP)
    spared, others = started("sleep", "600", spared="a job's"), started("sleep", "600", user="bob")
    _slurm_pam_ending.main(order("alice"))
    assert (ends.wait(60), stopped.wait(60), stubborn.wait(60)) == (-15, -15, -9)
    assert spared.poll() is None and others.poll() is None
    assert sorted(started.left()) == ["alice", "bob"]
    assert capsys.readouterr().out == "Ended outside of jobs: alice (4)\n"


def test_nobody_is_ended_before_the_grace_is_over(started):
    child = started("sleep", "600")
    begun = time.monotonic()
    _slurm_pam_ending.main(order("alice", grace=0.7))
    assert child.wait(60) == -15 and time.monotonic() - begun > 0.7


def test_a_node_that_is_open_again_keeps_them(started, monkeypatch, capsys):
    monkeypatch.setattr(_slurm_pam_ending._slurm_pam_steps, "is_closed", lambda order: False)
    child = started("sleep", "600")
    _slurm_pam_ending.main(order("alice"))
    assert child.poll() is None
    assert capsys.readouterr().out == "This node is not closed any more: nothing is ended\n"


def test_one_that_goes_on_starting_others_is_ended(started, monkeypatch):
    bomb = ready(started(sys.executable, "-c", FORKS))
    monkeypatch.setattr(_slurm_pam_ending, "_PATIENCE", 0)
    _slurm_pam_ending.main(order("alice"))
    assert bomb.wait(60) == -9 and started.left() == []


def test_what_was_spared_is_never_ended(started):
    """As where root's shell that started it has ended meanwhile."""
    child, other = started("sleep", "600", spared="root started it"), started("sleep", "600")
    was = _slurm_pam_ending.time.sleep

    def later(seconds):
        started.sessions[child.pid] = ("alice", "")
        was(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_slurm_pam_ending.time, "sleep", later)
        _slurm_pam_ending.main(order("alice"))
    assert child.poll() is None and other.wait(60) == -15


def test_nor_where_the_clock_is_set_meanwhile(started, monkeypatch):
    child, other = started("sleep", "60", spared="root started it"), started("sleep", "60")
    was, booted = _slurm_pam_ending.time.sleep, _slurm_pam_ending._processes._booted()

    def later(seconds):
        started.sessions[child.pid] = ("alice", "")
        monkeypatch.setattr(_slurm_pam_ending._processes, "_booted", lambda: booted + 3600)
        was(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_slurm_pam_ending.time, "sleep", later)
        _slurm_pam_ending.main(order("alice"))
    assert child.poll() is None and other.wait(5) == -15


# What systemd runs


def test_it_runs_by_itself(monkeypatch, tmp_path):
    """With what systemd gives it, and nothing of this process's but where it finds Salt."""
    monkeypatch.syspath_prepend(tmp_path)
    asked = []
    monkeypatch.setattr(_slurm_pam_ending, "answer", lambda *words: asked.append(words))
    monkeypatch.setattr(_slurm_pam_ending._child, "ask", lambda *words: None)
    settings = {
        "access": {"users": {"ann": {"origins": ["ALL"]}}, "groups": {}, "file": "/etc/security/slurm-access.conf"},
        "module": "pam_slurm_adopt",
        "pam": {"service": "slurm_pam-none", "policy": []},
        "strays": {"action": "end", "grace": 0},
    }
    _slurm_pam_ending.start(settings, ["no such user"])
    ((run, unit, description, path, *words),) = asked
    assert (run, unit) == ("systemd-run", "--unit=slurm_pam-strays") and description.startswith("--description=")
    env = [path.removeprefix("--setenv=")]
    assert str(tmp_path) in env[0].removeprefix("PYTHONPATH=").split(":")
    done = subprocess.run(["env", "-i", *env, *words], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "This node is not closed any more: nothing is ended\n"


def test_no_name_is_a_variable_to_systemd(monkeypatch):
    asked = []
    monkeypatch.setattr(_slurm_pam_ending, "answer", lambda *words: asked.append(words))
    monkeypatch.setattr(_slurm_pam_ending._child, "ask", lambda *words: None)
    groups = {"${HOME}": {"origins": ["ALL"]}}
    settings = {
        "access": {"users": {}, "groups": groups},
        "module": "pam_slurm_adopt",
        "pam": {"service": "sshd"},
        "strays": {"grace": 0},
    }
    _slurm_pam_ending.start(settings, ["ann$$"])
    order = asked[0][-1]
    assert "$" not in order
    assert (json.loads(order)["access"]["groups"], json.loads(order)["users"]) == (groups, ["ann$$"])


def test_nobody_waits_where_there_is_no_unit(monkeypatch):
    monkeypatch.setattr(_slurm_pam_ending._child, "ask", None)
    assert _slurm_pam_ending.waits() is False


# Terminals


@pytest.fixture
def terminal():
    """The two ends of one."""
    reader, theirs = pty.openpty()
    yield reader, theirs
    os.close(reader)
    os.close(theirs)


def somebody(handle, **more):
    there = os.fstat(handle)
    process = _processes.Process(1, 1, there.st_uid, 0.0, "sh", [], there.st_uid, there.st_rdev)
    return process._replace(**more)


def seen(terminal):
    """What was written to it by now. The kernel brings it on in the order in which it was written, but not at once."""
    reader, theirs = terminal
    os.write(theirs, b"|")
    found = b""
    while not found.endswith(b"|"):
        found += os.read(reader, 1 << 16)
    return found.removesuffix(b"|")


def test_a_terminal_is_written_to(terminal):
    _, theirs = terminal
    _slurm_pam_ending.write(somebody(theirs), "It is ended\r\n")
    assert b"It is ended" in seen(terminal)


def test_a_terminal_of_somebody_elses_is_not(terminal):
    _, theirs = terminal
    _slurm_pam_ending.write(somebody(theirs, uid=4711), "no")
    assert seen(terminal) == b""


def test_nor_one_that_has_another_number(terminal, monkeypatch):
    _, theirs = terminal
    monkeypatch.setattr(_slurm_pam_ending, "_path", lambda device: os.ttyname(theirs))
    _slurm_pam_ending.write(somebody(theirs, terminal=os.makedev(136, 999)), "no")
    assert seen(terminal) == b""


@pytest.mark.parametrize("what", ["a link", "a file", "a pipe", "nothing"])
def test_nor_what_is_no_terminal(terminal, monkeypatch, tmp_path, what):
    _, theirs = terminal
    place = tmp_path / "tty"
    if what == "a link":
        place.symlink_to(os.ttyname(theirs))
    elif what == "a file":
        place.write_text("kept")
    elif what == "a pipe":
        os.mkfifo(place)
    monkeypatch.setattr(_slurm_pam_ending, "_path", lambda device: str(place))
    _slurm_pam_ending.write(somebody(theirs), "no")
    assert seen(terminal) == b"" and (what != "a file" or place.read_text() == "kept")


def test_nobody_waits_for_a_terminal_that_is_full(terminal):
    reader, theirs = terminal
    os.set_blocking(theirs, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(theirs, b"x" * 4096)
    os.set_blocking(theirs, True)
    # Whoever waits does so until somebody reads, and nobody does for long.
    late = threading.Timer(30, os.read, (reader, 1 << 20))
    late.start()
    _slurm_pam_ending.write(somebody(theirs), "no" * 5000)
    assert late.is_alive()
    late.cancel()


def test_where_terminals_are():
    paths = {(136, 3): "/dev/pts/3", (137, 0): "/dev/pts/256", (4, 1): "/dev/tty1", (4, 64): "/dev/ttyS0", (1, 3): None}
    assert {number: _slurm_pam_ending._path(os.makedev(*number)) for number in paths} == paths
