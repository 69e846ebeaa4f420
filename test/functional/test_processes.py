"""What /proc says of a process, held against what Python knows of it."""

import os
import subprocess
import sys
import time

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
