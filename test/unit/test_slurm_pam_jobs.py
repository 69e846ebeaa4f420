"""The jobs of this node: what their step daemons say, also where they say nothing."""

import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import time
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError

import _slurm_pam_accounts
import _slurm_pam_jobs
from _slurm_pam_ask import Unanswered

EXTERN, BATCH = 4294967292, 4294967291
HEADING = "Num       RefCount Protocol Flags    Type St Inode Path\n"
USERS = {1001: "alice", 1004: "dora"}
PROTOCOL = struct.pack("=i", 10752)


class Node:
    """What the kernel lists, and step daemons on real sockets."""

    def __init__(self, top):
        self.top, self.lines, self.owners, self.open = top, [HEADING], {}, []
        self.hanging = set()

    def list(self, path, flags="00010000", kind="0001", state="01"):
        self.lines.append(f"ffff8d0a: 00000002 00000000 {flags} {kind} {state} {len(self.lines):5} {path}\n")
        (self.top / "unix").write_text("".join(self.lines))

    def daemon(self, name, *answers, hang=False, ends=False, owner=0):
        """One that says these, each to a number that it is told, then hangs up or ends, or says no more."""
        path = str(self.top / name)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        self.owners[path] = owner
        self.open.append(listening)
        if hang:
            self.hanging.add(path)
        asked = []

        def serve():
            talk, _ = listening.accept()
            self.open.append(talk)
            with contextlib.suppress(OSError):
                for said in answers:
                    asked.append(int.from_bytes(talk.recv(4), sys.byteorder))
                    talk.sendall(said)
            if ends:
                os.unlink(path)
            if not hang:
                talk.close()

        threading.Thread(target=serve, daemon=True).start()
        self.list(path)
        return asked

    def step(self, job, step, uid, name="node"):
        return self.daemon(f"{name}_{job}.{step}", PROTOCOL, struct.pack("=I", uid))

    def lstat(self, path):
        return SimpleNamespace(st_mode=os.lstat(path).st_mode, st_uid=self.owners[path])


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    (tmp_path / "unix").write_text(HEADING)
    pwd = SimpleNamespace(getpwuid=lambda uid: SimpleNamespace(pw_name=USERS[uid]))
    monkeypatch.setattr(_slurm_pam_jobs, "_SOCKETS", str(tmp_path / "unix"))
    # Only what hangs is not waited for.
    user = _slurm_pam_jobs._user
    monkeypatch.setattr(_slurm_pam_jobs, "_user", lambda path, _: user(path, 0.3 if path in node.hanging else 60))
    monkeypatch.setattr(_slurm_pam_jobs, "os", SimpleNamespace(lstat=node.lstat))
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
    yield node
    for each in node.open:
        each.close()


def jobs():
    return [(job["job"], job["user"], job["extern"]) for job in _slurm_pam_jobs.jobs()]


def test_a_node_without_a_job(node):
    node.list("/run/systemd/notify", flags="00000000", kind="0002")
    node.list("@/tmp/dbus-7.1")
    assert jobs() == []


def test_jobs_and_whose_they_are(node):
    asked = node.step(8, BATCH, 1001)
    node.step(8, EXTERN, 1001)
    node.step(7, 0, 1004)
    node.step("9", f"{EXTERN}.1", 1004, name="node_x-2.example")  # of a heterogeneous job, on a node of that name
    node.step(10, EXTERN, 4000)
    assert jobs() == [(7, "dora", False), (8, "alice", True), (9, "dora", True), (10, 4000, True)]
    # Every release of Slurm takes a later client's number, and 20 is REQUEST_STEP_UID to all of them.
    assert asked == [0xFFFF, 20]


def test_an_answer_in_pieces_is_one(node):
    """Each comes when the one before was taken."""
    here, there = socket.socketpair()

    def piecemeal():
        there.recv(4)
        for piece in (b"\xe9", b"\x03\0", b"\0"):
            while fcntl.ioctl(there, termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4:
                time.sleep(0.01)
            there.sendall(piece)

    here.settimeout(60)
    with here, there:
        threading.Thread(target=piecemeal, daemon=True).start()
        assert _slurm_pam_jobs._exchange(here, 20) == struct.pack("=I", 1001)


ALICE = struct.pack("=I", 1001)
SILENT = {
    "hangs at once": ([], True),
    "hangs after its greeting": ([PROTOCOL], True),
    "says half a number": ([PROTOCOL, b"\xe9\x03"], True),
    "says half a number and hangs up": ([PROTOCOL, b"\xe9\x03"], False),
    "hangs up": ([], False),
    "hangs up after its greeting": ([PROTOCOL], False),
    "takes this for too old a client": ([struct.pack("=i", -1), ALICE], False),
    "speaks no protocol": ([b"\0\0\0\0", ALICE], True),
}


@pytest.mark.parametrize("case", SILENT)
def test_a_step_daemon_that_does_not_answer_leaves_the_owner_unknown_and_not_the_job(node, case):
    answers, hang = SILENT[case]
    node.daemon(f"node_7.{EXTERN}", *answers, hang=hang)
    node.step(8, EXTERN, 1004)
    assert jobs() == [(7, None, True), (8, "dora", True)]


@pytest.mark.parametrize("answers", [[], [PROTOCOL], [PROTOCOL, b"\xe9\x03"]])
def test_a_step_that_ends_while_it_is_asked_is_no_job(node, answers):
    node.daemon(f"node_7.{EXTERN}", *answers, ends=True)
    node.step(8, EXTERN, 1004)
    assert jobs() == [(8, "dora", True)]


@pytest.mark.parametrize("first", ["hangs", "answers"])
def test_another_step_of_the_job_tells(node, first):
    steps = {"hangs": lambda: node.daemon(f"node_7.{EXTERN}", hang=True), "answers": lambda: node.step(7, 0, 1001)}
    for case in sorted(steps, reverse=first == "hangs"):
        steps[case]()
    assert jobs() == [(7, "alice", True)]


def test_many_that_hang_are_waited_for_together(node, monkeypatch):
    given = []

    def hangs(path, timeout):
        given.append(timeout)
        raise TimeoutError

    for job in range(1, 50):
        node.step(job, EXTERN, 1001)
    monkeypatch.setattr(_slurm_pam_jobs, "_user", hangs)
    monkeypatch.setattr(_slurm_pam_jobs, "_PATIENCE", 0.3)
    clock = iter(range(100))
    monkeypatch.setattr(_slurm_pam_jobs, "time", SimpleNamespace(monotonic=lambda: next(clock) * 0.1))
    assert len(jobs()) == 49
    assert given[0] == pytest.approx(0.2) and set(given[1:]) == {0.1}


def _ends_before_it_is_looked_at(node, path):
    os.unlink(path)


def _has_been_killed(node, path):
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


def _is_somebody_elses(node, path):
    node.owners[path] = 1001


def _is_a_file(node, path):
    os.unlink(path)
    (node.top / os.path.basename(path)).write_text("")


def _is_a_link(node, path):
    os.rename(path, f"{path}-")
    os.symlink(f"{path}-", path)


NONE = [_ends_before_it_is_looked_at, _has_been_killed, _is_somebody_elses, _is_a_file, _is_a_link]


@pytest.mark.parametrize("change", NONE)
def test_what_is_no_step_daemon(node, change):
    """A user can have a socket of any name, and is not even asked."""
    asked = node.step(7, EXTERN, 1001)
    change(node, str(node.top / f"node_7.{EXTERN}"))
    node.step(8, EXTERN, 1004)
    assert jobs() == [(8, "dora", True)]
    assert asked == []


@pytest.mark.parametrize(
    "how", [{"flags": "00000000", "state": "03"}, {"kind": "0002"}, {"kind": "0005"}, {"flags": "00010001"}]
)
def test_what_is_no_listening_stream(node, how):
    node.step(8, EXTERN, 1004)
    node.list(f"{node.top}/node_7.{EXTERN}", **how)  # a connection that a daemon has taken has its name
    assert jobs() == [(8, "dora", True)]


@pytest.mark.parametrize("name", ["node_7", "node_7.", "node_.5", "node_7.5.", "node_7.x", "node7.5", "node_7.5 x"])
def test_names_that_no_step_has(node, name):
    node.list(f"{node.top}/{name}")
    assert jobs() == []


@pytest.mark.parametrize("name", ["a\nb_7.5", "\udcff_7.5"])
def test_names_that_somebody_has_made_to_confuse(node, name):
    line = f"ffff8d0a: 00000002 00000000 00010000 0001 01 123 {node.top}/{name}\n"
    (node.top / "unix").write_bytes(os.fsencode(HEADING + line))
    node.owners = {f"{node.top}/{name}": 0}
    assert jobs() == []


def test_a_kernel_that_does_not_say_what_sockets_there_are(node):
    os.unlink(node.top / "unix")
    with pytest.raises(Unanswered, match="unix: No such file or directory"):
        jobs()
    assert issubclass(Unanswered, CommandExecutionError)
