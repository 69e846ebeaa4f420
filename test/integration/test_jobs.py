"""What a node knows of its jobs where Slurm's programs and daemons fail, and what a user can make of it."""

import contextlib

import pytest
from harness.formula import DENIED, applied, settings, sync
from harness.node import Node
from harness.salt_tree import HOME

EXTERN, BATCH = 4294967292, 4294967291
SOCKET = "/var/lib/slurm/slurmd/node_{job}.{step}"
THERE = f"test -S {SOCKET}"
MACHINES = [("sle15", "container"), ("debian13", "uml")]  # Slurm 22.05 on cgroup v1, 24.11 on cgroup v2

# What any user may say to the step daemon of his own job: REQUEST_SIGNAL_CONTAINER with SIGKILL.
KILL = """
import os, socket, struct, sys
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(sys.argv[1])
daemon.sendall(struct.pack("=i", 0xFFFF))
daemon.recv(4, socket.MSG_WAITALL)
daemon.sendall(struct.pack("=iiiiI", 4, 9, 0, 0, os.getuid()))
print(struct.unpack("=ii", daemon.recv(8, socket.MSG_WAITALL)))
"""
LISTEN = """
import socket, sys, time
daemon = socket.socket(socket.AF_UNIX)
daemon.bind(sys.argv[1])
daemon.listen()
time.sleep(300)
"""


@pytest.fixture(scope="module", params=MACHINES, ids=lambda param: param[0])
def open_node(machine, request):
    layout, kind = request.param
    with Node.boot(layout, machine=kind) as booted:
        settings(booted)
        sync(booted)
        yield booted


@pytest.fixture
def allocation(open_node):
    """A job of alice's without a process of hers."""
    _idle(open_node)
    said = open_node.run(["salloc", "--no-shell", "--ntasks=1"], user="alice", check=True, cwd="/").stderr
    number = int(next(line for line in said.splitlines() if "Granted" in line).split()[-1])
    with _cancelled(open_node, number, EXTERN):
        yield number


@pytest.fixture
def batch(open_node):
    """A job of alice's with a script that sleeps."""
    _idle(open_node)
    number = open_node.job("alice")
    with _cancelled(open_node, number, EXTERN):
        yield number


@contextlib.contextmanager
def _cancelled(node, number, step):
    """A job, from where its step is there until nothing is left of it."""
    try:
        # slurmctld calls a job running before its node has made the step.
        node.wait(THERE.format(job=number, step=step), "the step")
        yield
    finally:
        node.cancel(number)


def _is_there(node, number, step):
    return node.run(["test", "-S", SOCKET.format(job=number, step=step)]).ok


def _idle(node):
    # Its state is not asked: slurmctld 22.05 may call it mixed for minutes, if it was asked in the second of the end.
    node.wait('left=$(squeue --noheader) && test -z "$left"', "a node without jobs")


def _daemon(node, number):
    """The extern step's daemon, once it has its name."""
    look = ["pgrep", "-f", rf"^slurmstepd: \[{number}.extern\]"]
    node.until(lambda: node.run(look).stdout, "the step's daemon")
    return node.run(look, check=True).stdout.split()


def jobs(node):
    return [(job["job"], job["user"], job["extern"]) for job in node.salt("slurm_pam.jobs")]


def preflight(node):
    """What is told of jobs. On a busy machine slurmctld may not answer in the time that a preflight gives it."""
    found = node.salt("slurm_pam.preflight")
    usual = ("slurmctld ", "Jobs here are not held", "The PAM service login (")
    warnings = [told for told in found["warnings"] if not told.startswith(usual)]
    return found["problems"], warnings


@contextlib.contextmanager
def stopped(node, *pids):
    node.run(["kill", "-STOP", *pids], check=True)
    try:
        yield
    finally:
        node.run(["kill", "-CONT", *pids], check=True)


PROGRAMS = {
    "they fail": "echo 'error: Unable to contact slurm controller' >&2; exit 1",
    "they hang": "exec sleep 600",
    "they print half a line": "printf 'PID      JOBID    STEPID   LOCALID GLOBALID\\n11   '; exit 1",
    "they print garbage": "printf '\\377\\000 of \\n'",
    "they print nothing": "true",
}


def test_slurms_programs_are_not_needed_to_know_the_jobs(open_node, allocation):
    """Nor its daemons, nor slurm.conf."""
    places = [f"/usr/local/sbin/{program}" for program in ("scontrol", "squeue")]
    for case, script in PROGRAMS.items():
        for place in places:
            open_node.write(place, f"#!/bin/sh\n{script}\n")
            open_node.run(["chmod", "755", place], check=True)
        assert jobs(open_node) == [(allocation, "alice", True)], case
    open_node.run(["rm", *places], check=True)
    programs = ["/usr/bin/scontrol", "/usr/bin/squeue", "/etc/slurm/slurm.conf"]
    for path in programs:
        open_node.run(["mv", path, f"{path}.away"], check=True)
    try:
        assert jobs(open_node) == [(allocation, "alice", True)], "they are gone"
    finally:
        for path in programs:
            open_node.run(["mv", f"{path}.away", path], check=True)


def test_a_socket_of_somebody_elses_is_no_step(open_node, allocation):
    listen = f'{HOME}/bin/python3 -c "$0" /tmp/node_99.{EXTERN} >/dev/null 2>&1 &'
    open_node.run(["sh", "-c", listen, LISTEN], user="bob", check=True)
    open_node.wait(f"test -S /tmp/node_99.{EXTERN}", "the socket")
    assert f"/tmp/node_99.{EXTERN}" in open_node.run(["cat", "/proc/net/unix"]).stdout
    assert jobs(open_node) == [(allocation, "alice", True)]
    open_node.run(["pkill", "-u", "bob"])
    open_node.run(["rm", f"/tmp/node_99.{EXTERN}"])


def test_a_step_daemon_that_hangs_is_told(open_node, allocation):
    with stopped(open_node, *_daemon(open_node, allocation)):
        assert jobs(open_node) == [(allocation, None, True)]
        problems, (warning,) = preflight(open_node)
        assert problems == [] and f"No step daemon of these jobs answers: {allocation}. " in warning
    assert jobs(open_node) == [(allocation, "alice", True)]


def test_a_step_whose_daemon_was_killed_is_none(open_node, batch):
    """Its socket stays: on Slurm 24.11 scontrol listpids says nothing of any job then."""
    open_node.run(["kill", "-KILL", *_daemon(open_node, batch)], check=True)
    assert _is_there(open_node, batch, EXTERN)
    assert jobs(open_node) == [(batch, "alice", False)]


def test_a_job_that_never_had_a_step_stops_an_apply(open_node):
    """It is from before Contain was set."""
    conf, daemons = "/etc/slurm/slurm.conf", ["slurmctld", "slurmd"]
    before = open_node.read(conf)
    _idle(open_node)
    open_node.write(conf, before.replace("PrologFlags", "#"))
    open_node.run(["systemctl", "restart", *daemons], check=True)
    _idle(open_node)
    job = open_node.job("alice")
    with _cancelled(open_node, job, BATCH):
        open_node.write(conf, before)
        open_node.run(["systemctl", "restart", *daemons], check=True)
        open_node.wait("scontrol ping", "slurmctld")
        open_node.wait("scontrol show slurmd", "slurmd")
        problems, warnings = preflight(open_node)
        assert len(problems) == 1 and f"without an extern step: {job} of alice. They began before" in problems[0]
        assert "could not be asked" not in problems[0]
        assert warnings == []


def test_a_user_stops_no_apply_by_ending_his_extern_step(open_node, batch):
    """From here on the node is closed."""
    assert jobs(open_node) == [(batch, "alice", True)]
    place = SOCKET.format(job=batch, step=EXTERN)
    said = open_node.run([f"{HOME}/bin/python3", "-c", KILL, place], user="alice", check=True)
    assert said.stdout == "(0, 0)\n"
    # Its daemon, which is the user's by then, may leave the socket behind.
    open_node.wait(f"! grep -q ' {place}$' /proc/net/unix", "the extern step ended")
    assert jobs(open_node) == [(batch, "alice", False)]
    told = f"Jobs run on this node whose extern step has ended: {batch} of alice. "
    problems, (warning,) = preflight(open_node)
    assert problems == [] and warning.startswith(told)
    results = applied(open_node)
    assert any(told in warning for warning in results["slurm_pam-ready"].get("warnings", []))
    assert DENIED in open_node.ssh("alice").stderr


def test_whose_an_allocation_without_processes_is_while_slurm_is_down(open_node, allocation):
    """On a closed node: explain says what sshd does."""
    applied(open_node)
    open_node.run(["systemctl", "stop", "slurmctld", "slurmd"], check=True)
    try:
        assert jobs(open_node) == [(allocation, "alice", True)]
        for user, permitted in (("alice", True), ("bob", False)):
            told = open_node.salt("slurm_pam.explain", user, "192.0.2.1")
            assert told["permitted"] is permitted, told
            assert open_node.ssh(user).ok is permitted
        assert not any(f"{allocation} of" in told for found in preflight(open_node) for told in found)
    finally:
        open_node.run(["systemctl", "start", "slurmctld", "slurmd"], check=True)
