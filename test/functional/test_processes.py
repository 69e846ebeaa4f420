"""What /proc says of a process, held against what Python knows of it."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import _processes


def test_a_process_as_it_is():
    before = time.time()
    program = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, "a b", ""], stdin=-1, stdout=-1, text=True) as child:
        child.stdout.readline()
        (found,) = [process for process in _processes.running() if process.pid == child.pid]
        child.stdin.close()
    assert found[:3] == (child.pid, os.getpid(), os.geteuid())
    assert before - 1.1 <= found.started <= time.time() + 1.1
    assert found.program == os.path.realpath(sys.executable)
    assert found.arguments[1:] == ["-c", program, "a b"]


def test_one_that_is_gone_and_threads_of_the_kernel_are_not_told():
    child = subprocess.Popen(["true"])
    child.wait()
    found = {process.pid for process in _processes.running()}
    assert child.pid not in found and 2 not in found and os.getpid() in found
    assert _processes.cgroups(child.pid) == ""
    assert _processes.cgroups(os.getpid()).count(":") >= 2


def test_one_that_has_ended_is_in_no_other_cgroup():
    """cgroup v1 shows it in none until its parent asks for it: not outside of its job, but gone."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert _state(child.pid) == "Z"
    assert _processes.cgroups(child.pid) in ("", _processes.cgroups(os.getpid()))
    child.wait()


def test_what_a_process_has_loaded():
    assert _processes.has_loaded(os.getpid(), "libc.so.6")
    assert not _processes.has_loaded(os.getpid(), "libnonexistent.so.0")
    child = subprocess.Popen(["true"])
    child.wait()
    assert not _processes.has_loaded(child.pid, "libc.so.6")


def place(sock):
    return f"127.0.0.1:{sock.getsockname()[1]}"


def test_where_a_process_listens():
    home = ("127.0.0.1", 0)
    with (
        socket.create_server(home) as one,
        socket.create_server(home) as another,
        socket.create_connection(one.getsockname()) as connected,
    ):
        found = _processes.listening([os.getpid(), 2**22 + 1])
        assert {place(one), place(another)} <= {*found[os.getpid()]}
        assert place(connected) not in found[os.getpid()]
    assert found[2**22 + 1] == []


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_where_a_process_listens_by_ipv6():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        assert f"[::1]:{six.getsockname()[1]}" in _processes.listening([os.getpid()])[os.getpid()]


# Ends its first thread alone (SYS_exit).
ONLY_OTHERS = """
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


def test_one_whose_first_thread_has_ended_is_still_there():
    with subprocess.Popen([sys.executable, "-c", ONLY_OTHERS], stdout=-1, text=True) as child:
        child.stdout.readline()
        until = time.monotonic() + 60
        while _state(child.pid) != "Z" and time.monotonic() < until:
            time.sleep(0.01)
        assert _state(child.pid) == "Z"
        (found,) = [process for process in _processes.running() if process.pid == child.pid]
        assert (found.program, found.uid) == ("", os.geteuid())
        assert _processes.cgroups(child.pid) == _processes.cgroups(os.getpid())
        _processes.tell(found, signal.SIGKILL)
        assert child.wait(60) == -9


def _state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_it_is_the_same_where_the_clock_is_set_meanwhile(monkeypatch):
    one, booted = _processes.look(os.getpid()), _processes._booted()
    monkeypatch.setattr(_processes, "_booted", lambda: booted + 3600)
    assert _processes.is_there(one)
    assert not _processes.is_there(one._replace(ticks=one.ticks - 1))
