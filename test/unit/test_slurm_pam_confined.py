"""Each session held against its job: who is told, and what is said of it."""

import pytest
from looks import settings

import _processes
import _slurm_pam_accounts
import _slurm_pam_before
import _slurm_pam_cgroups
import _slurm_pam_confined
import _slurm_pam_jobs
import _slurm_pam_node
import _slurm_pam_strays
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_cgroups import NO_PROGRAM, Held

NAMES = {1001: "alice", 1004: "dora", 1100: "admin"}
KINDS = ("cores", "memory", "swap", "devices")
JOB = "/system.slice/cn1_slurmstepd.scope/job_{}"
OUTSIDE = "/user.slice/user-1001.slice/session-3.scope"
NODES = {"mnt": "mnt:[1]", "pid": "pid:[1]", "user": "user:[1]"}


class Node:
    """Processes and their cgroups (v2), and the jobs of this node."""

    def __init__(self):
        self.running, self.where, self.jobs, self.namespaces, self.held = [], {}, [], {}, {}
        self.ended = set()  # since they were seen

    def add(self, pid, parent, uid, program, path, sees=None):
        self.running.append(Process(pid, parent, uid, 0.0, program, []))
        self.where[pid] = {"": path}
        self.namespaces[pid] = {**NODES, **(sees or {})}

    def session(self, pid, uid, path, shell=None, sees=None):
        """sshd's process of root, the user's, a shell and what it started."""
        self.add(pid, 1, 0, "/usr/sbin/sshd", path)
        self.add(pid + 1, pid, uid, "/usr/sbin/sshd", path, sees)
        self.add(pid + 2, pid + 1, uid, "/bin/bash", path, {"user": "user:[5]"})
        self.add(pid + 3, pid + 2, uid, "/bin/sleep", shell or path, sees)

    def job(self, number, user, uid=1001, sees=None):
        self.jobs.append({"job": number, "user": user, "extern": True})
        path = JOB.format(number)
        self.add(number * 1000, 1, 0, "/usr/sbin/slurmstepd", f"{path}/step_batch/slurm")
        if user:
            self.add(number * 1000 + 1, number * 1000, uid, "/bin/sh", f"{path}/step_batch/user/task_0", sees)

    def told(self, *asked, **options):
        access = {"root_only": False, "groups": {}, "users": {"admin": {"origins": ["ALL"]}}}
        told = _slurm_pam_confined.confined(settings(access=access, confine=list(asked), pam_slurm_adopt=options))
        assert told["holds"] == (not any(row["problems"] for row in told["sessions"]))
        return told["sessions"]


@pytest.fixture
def node(monkeypatch):
    node = Node()
    monkeypatch.setattr(_processes, "running", lambda: iter(node.running))
    monkeypatch.setattr(_processes, "is_there", lambda process: process.pid not in node.ended)
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: node.jobs)
    monkeypatch.setattr(_slurm_pam_accounts, "name", lambda uid: NAMES.get(uid, uid))
    monkeypatch.setattr(_slurm_pam_before, "_uid", lambda user: 74)
    monkeypatch.setattr(_slurm_pam_strays, "is_ordinary", lambda uid, access: NAMES[uid] not in access["users"])
    monkeypatch.setattr(_slurm_pam_cgroups, "places", lambda pid: node.where.get(pid, {}))
    left = lambda where, job: [] if where[""].startswith(job.path + "/") else ["cgroup v2"]  # noqa: E731
    monkeypatch.setattr(_slurm_pam_cgroups, "left", left)
    held = lambda kind, where, job: node.held.get(kind, Held(True, "so much"))  # noqa: E731
    monkeypatch.setattr(_slurm_pam_cgroups, "held", held)
    monkeypatch.setattr(_slurm_pam_confined, "_seen", lambda pid: node.namespaces.get(pid, {}))
    return node


def adopted(number=7):
    return f"{JOB.format(number)}/step_extern/user/task_0"


def test_a_session_in_its_job(node):
    node.job(7, "alice")
    node.session(100, 1001, adopted())
    held = {"held": True, "found": "so much"}
    assert node.told(*KINDS) == [
        {
            "user": "alice",
            "pid": 101,
            "job": 7,
            "cgroup": JOB.format(7),
            "outside": [],
            **dict.fromkeys(KINDS, held),
            "namespaces": {"held": True, "found": "those of its job"},
            "problems": [],
        }
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("held", "words"), [(False, "is not held to"), (None, "is not known to be held to")])
def test_what_it_is_not_held_to_is_a_problem_where_it_is_asked_for(node, kind, held, words):
    node.job(7, "alice")
    node.session(100, 1001, adopted())
    node.held[kind] = Held(held, "no\x1b limit")
    (row,) = node.told()
    assert row[kind]["held"] is held and row["problems"] == []
    (row,) = node.told(kind)
    (problem,) = row["problems"]
    assert problem.startswith(f"The session of alice (process 101) {words} the {kind} of its job 7 (no\\x1b limit), ")
    (row,) = node.told(*(other for other in KINDS if other != kind))
    assert row["problems"] == []


# What slurmctld says of the node, and what it means that nothing decides on devices there.
DEVICES = {
    "no GRES": (False, True, "Slurm gives out no devices of this node"),
    "GRES": (True, False, NO_PROGRAM.found),
    "no answer": (Unanswered("x"), None, f"{NO_PROGRAM.found}, as on a node without GRES; x"),
}


@pytest.mark.parametrize("case", DEVICES)
def test_nothing_decides_on_devices(node, monkeypatch, case):
    answer, held, found = DEVICES[case]

    def has_gres(settings):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(_slurm_pam_node, "has_gres", has_gres)
    node.job(7, "alice")
    node.session(100, 1001, adopted())
    node.held["devices"] = NO_PROGRAM
    (row,) = node.told("devices")
    assert row["devices"] == {"held": held, "found": found}
    assert len(row["problems"]) == (held is not True)


def test_slurmctld_is_asked_once_for_all_sessions(node, monkeypatch):
    asked = []
    monkeypatch.setattr(_slurm_pam_node, "has_gres", lambda settings: asked.append(settings) or False)
    node.job(7, "alice")
    node.held["devices"] = NO_PROGRAM
    for pid in (100, 200):
        node.session(pid, 1001, adopted())
    assert [row["devices"]["held"] for row in node.told("devices")] == [True, True]
    assert len(asked) == 1


def test_a_process_outside_of_the_job_can_use_any_device(node, monkeypatch):
    monkeypatch.setattr(_slurm_pam_node, "has_gres", lambda settings: False)
    held = lambda kind, where, job: Held(False, "it is in /") if where[""] == "/" else NO_PROGRAM  # noqa: E731
    monkeypatch.setattr(_slurm_pam_cgroups, "held", held)
    node.job(7, "alice")
    node.session(100, 1001, adopted(), shell="/")
    (row,) = node.told("devices")
    assert row["devices"] == {"held": False, "found": "it is in /"}


def test_a_process_of_a_session_that_left_the_job(node):
    node.job(7, "alice")
    node.session(100, 1001, adopted(), shell="/")
    (row,) = node.told()
    (problem,) = row["problems"]
    assert row["outside"] == [103] and "has processes outside of the cgroup of its job 7: 103. " in problem


# What the session's sshd and what its last process are held to, and the session then
WORST = [(True, True, True), (True, False, False), (True, None, None), (None, False, False), (False, True, False)]


@pytest.mark.parametrize(("first", "last", "session"), WORST)
def test_a_session_is_held_as_its_freest_process_is(node, monkeypatch, first, last, session):
    held = lambda kind, where, job: Held(last if where[""] == "/" else first, where[""])  # noqa: E731
    monkeypatch.setattr(_slurm_pam_cgroups, "held", held)
    node.job(7, "alice")
    node.session(100, 1001, adopted(), shell="/")
    (row,) = node.told()
    assert row["cores"]["held"] is session


@pytest.mark.parametrize("jobs", [(7,), (7, 8)])
def test_a_session_outside_of_every_job_of_its_user(node, jobs):
    for number in jobs:
        node.job(number, "alice")
    node.session(100, 1001, OUTSIDE)
    (row,) = node.told()
    (problem,) = row["problems"]
    assert (row["user"], row["job"], row["outside"]) == ("alice", None, [101, 102, 103])
    assert f"is in no job, but in {OUTSIDE}, although job {', '.join(map(str, jobs))} of this user" in problem


@pytest.mark.parametrize("gone", ["its job's cgroup", "its own"])
def test_a_session_that_ends_meanwhile(node, gone):
    """Nothing holds it any more, and nothing has to."""
    node.job(7, "alice")
    node.session(100, 1001, adopted())
    node.held["cores"] = Held(None, "no mount shows this cgroup")
    if gone == "its own":
        node.where = {pid: where for pid, where in node.where.items() if pid > 1000}
    assert node.told("cores")[0]["problems"]
    node.ended = {100, 101, 102, 103}
    assert node.told("cores") == []


def test_a_session_whose_sshd_was_moved_out_is_still_the_jobs(node):
    node.job(7, "alice")
    node.session(100, 1001, adopted())
    node.where[101] = {"": "/"}
    (row,) = node.told()
    assert (row["job"], row["outside"]) == (7, [101])


def test_a_user_without_a_name(node):
    node.jobs.append({"job": 7, "user": 4000, "extern": True})
    node.session(100, 4000, adopted())
    (row,) = node.told()
    assert row["user"] == 4000 and row["problems"] == []


def test_whose_a_job_is_could_not_be_asked(node):
    node.job(8, None)
    node.session(100, 1001, OUTSIDE)
    (row,) = node.told()
    assert "should be in one: the step daemon of job 8 does not answer" in row["problems"][0]


# Sessions outside of any job that are no matter of confinement
NOT_TOLD = {
    "an administrator with a job": ("admin", 1100),
    "a user without a job": ("alice", 1004),
    "nobody is logged in": ("alice", None),
    "root": ("alice", 0),
    "a login that is not through yet": ("alice", 74),
}


@pytest.mark.parametrize("case", NOT_TOLD)
def test_who_is_not_told(node, case):
    owner, uid = NOT_TOLD[case]
    node.job(7, owner)
    if uid is not None:
        node.session(100, uid, "/user.slice")
    assert node.told(*KINDS) == []


def test_an_administrators_session_in_a_job_is_told_as_others_are(node):
    node.job(7, "admin", 1100)
    node.session(100, 1100, adopted())
    (row,) = node.told()
    assert (row["user"], row["job"], row["problems"]) == ("admin", 7, [])


# The namespaces of the job's own process and of the session's shell
OWN = {"mnt": "mnt:[7]", "user": "user:[7]"}
NAMESPACES = {
    "both the node's": ({}, {}, True, "those of its job"),
    "both the job's": (OWN, OWN, True, "those of its job"),
    "the session is in the node's": (OWN, {}, False, "its job has others: mnt, user"),
    "of one kind": (OWN, {"user": "user:[7]"}, False, "its job has others: mnt"),
}


@pytest.mark.parametrize("case", NAMESPACES)
def test_namespaces(node, case):
    jobs, sessions, held, found = NAMESPACES[case]
    node.job(7, "alice", sees=jobs)
    node.session(100, 1001, adopted(), sees=sessions)
    (row,) = node.told()
    assert row["namespaces"] == {"held": held, "found": found}
    assert [f"namespaces of its job 7 ({found})" in problem for problem in row["problems"]] == [True] * (not held)
    (row,) = node.told(join_container=False)
    assert row["namespaces"]["held"] == held and row["problems"] == []


def test_a_program_of_the_job_may_have_made_more(node):
    node.job(7, "alice", sees=OWN)
    node.add(7002, 7001, 1001, "/usr/bin/apptainer", f"{JOB.format(7)}/step_batch/user/task_0", {"mnt": "mnt:[99]"})
    node.session(100, 1001, adopted(), sees=OWN)
    (row,) = node.told()
    assert row["namespaces"]["held"] is True


def test_a_job_without_a_process_of_its_own(node):
    """Another session of the same job tells nothing: it came the same way."""
    node.jobs.append({"job": 7, "user": "alice", "extern": True})
    node.add(7000, 1, 0, "/usr/sbin/slurmstepd", f"{JOB.format(7)}/step_extern/slurm")
    node.session(100, 1001, adopted())
    node.session(200, 1001, adopted())
    for row in node.told():
        assert row["namespaces"] == {"held": None, "found": "its job has no process to compare with"}
        assert row["problems"] == []
