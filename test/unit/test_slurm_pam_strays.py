"""Who is outside every job, how they came, and who is spared for what."""

import pytest
from looks import given

import _slurm_pam_cgroups
import _slurm_pam_strays
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_strays import look, strays, to_end, told

ADMINS = {"users": {"ann": {"origins": ["ALL"]}}, "groups": {"admins": {"origins": ["ALL"], "members": ["new"]}}}
UIDS = {"root": 0, "daemon": 2, "ann": 1000, "alice": 1001, "bob": 1002, "chief": 1003, "new": 1004, "munge": 1005}
UIDS |= {"made-up": 0xEF10, "nobody": 65534, "lost": 4711}
SYSTEMD, V2 = "1:name=systemd:{}\n4:memory:/\n", "0::{}\n"
SESSION = "/user.slice/user-{}.slice/session-3.scope"
MANAGER = "/user.slice/user-{0}.slice/user@{0}.service/app.slice/run-r1.service"
SSHD, SHELL = "/usr/sbin/sshd", "/bin/sh"


class Account:
    def __init__(self, name):
        self.pw_name, self.pw_uid = name, UIDS[name]
        self.pw_shell = "/usr/sbin/nologin" if name == "munge" else SHELL


class Accounts:
    def getpwuid(self, uid):
        return Account({uid: name for name, uid in UIDS.items() if name != "lost"}[uid])


class Node:
    """Its processes: each with its cgroups, and its pid namespace."""

    def __init__(self):
        self.processes, self.groups, self.spaces, self.jobs = [], {}, {}, []
        self.add("root", parent=0, program="/usr/lib/systemd/systemd", place="/init.scope")

    def add(self, user, parent=1, program="/bin/sleep", place=SESSION, real=None, **more):
        pid, uid = len(self.processes) + 1, UIDS[user]
        real = uid if real is None else UIDS[real]
        self.processes.append(Process(pid, parent, uid, 1e9 + pid, program, more.get("words", [program]), real, 0))
        self.groups[pid] = more.get("groups", SYSTEMD.format(place.format(uid)))
        self.spaces[pid] = more.get("space", "pid:[1]")
        return pid

    def answer(self):
        if isinstance(self.jobs, Exception):
            raise self.jobs
        return self.jobs


@pytest.fixture
def node(monkeypatch):
    made = Node()
    for room in (_slurm_pam_strays, _slurm_pam_strays._slurm_pam_accounts):
        monkeypatch.setattr(room, "pwd", Accounts())
    monkeypatch.setattr(_slurm_pam_strays._processes, "running", lambda: list(made.processes))
    monkeypatch.setattr(_slurm_pam_strays._processes, "cgroups", lambda pid: made.groups[pid])
    monkeypatch.setattr(_slurm_pam_strays._processes, "namespace", lambda pid: made.spaces.get(pid, "pid:[1]"))
    in_groups = {("chief", "admins")}
    monkeypatch.setattr(_slurm_pam_strays._slurm_pam_accounts, "is_in", lambda *asked: asked in in_groups)
    monkeypatch.setattr(_slurm_pam_strays._slurm_pam_jobs, "jobs", made.answer)
    return made


def found(module="pam_slurm_adopt"):
    return [(one.user, one.came, one.spared) for one in strays({"access": ADMINS, "module": module})]


# Jobs

IN_JOBS = {
    "v1": "4:freezer:/slurm/uid_1002/job_7/step_0/task_0\n1:name=systemd:/system.slice/slurmd.service\n",
    "v1, several slurmd": "4:memory:/slurm_node/uid_1002/job_7\n1:name=systemd:" + SESSION.format(1002) + "\n",
    "v2": "0::/system.slice/slurmstepd.scope/job_7/step_extern/user/task_special\n",
    "v2, several slurmd": "0::/system.slice/node_slurmstepd.scope/job_7/step_0/user/task_0\n",
    "v2, a slice of the site's": "0::/hpc.slice/hpc-slurm.slice/slurmstepd.scope/job_7/step_0/user\n",
}
NO_JOBS = {
    "a name in a user's manager": MANAGER.format(1002) + "/job_7/step_extern",
    "a whole path below it": MANAGER.format(1002) + "/slurm/uid_1002/job_7/step_0",
    "a scope of that name": "/user.slice/user-1002.slice/user@1002.service/slurmstepd.scope/job_7/step_0/user",
    "a unit of that name": "/user.slice/user-1002.slice/user@1002.service/app.slice/job_7.service",
    "a line break in a name": "/user.slice/user-1002.slice/user@1002.service/x\\0120::/slurmstepd.scope/job_7/",
    "sshd": "/system.slice/ssh.service",
}
DOUBTFUL = {
    "another layout": "4:memory:/batch/uid_1002/job_7/step_0\n",
    "a delegated service": "0::/system.slice/hub.service/job_7\n",
    "v1's path in v2": "0::/slurm/uid_1002/job_7\n",
}


@pytest.mark.parametrize("case", IN_JOBS)
def test_what_is_in_a_job(node, case):
    node.add("bob", groups=IN_JOBS[case])
    assert found() == []
    assert _slurm_pam_cgroups.job(_slurm_pam_cgroups.read(IN_JOBS[case])).number == 7


@pytest.mark.parametrize("form", [SYSTEMD, V2])
@pytest.mark.parametrize("case", NO_JOBS)
def test_what_is_in_none(node, case, form):
    node.add("bob", groups=form.format(NO_JOBS[case]))
    ((user, _, spared),) = found()
    assert (user, spared) == ("bob", "")


@pytest.mark.parametrize(("first", "who"), [(1003, []), (1002, ["bob"]), (500, ["bob"])])
def test_the_systems_accounts_are_those_below_the_first_of_people(node, monkeypatch, tmp_path, first, who):
    defs = tmp_path / "login.defs"
    defs.write_text(f"UID_MIN {first}\n")
    monkeypatch.setattr(_slurm_pam_strays._slurm_pam_accounts, "LOGIN_DEFS", (str(defs),))
    node.add("bob")
    assert [user for user, _, _ in found()] == who


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_may_be_in_one_is_spared(node, case):
    node.add("bob", groups=DOUBTFUL[case])
    assert _slurm_pam_cgroups.job(_slurm_pam_cgroups.read(DOUBTFUL[case])) is None
    ((_, _, spared),) = found()
    assert "looks like a job's" in spared or "hub.service is the system's" in spared


def test_a_step_daemons_child_that_has_no_cgroup_yet_is_spared(node):
    daemon = node.add("root", program="/usr/sbin/slurmstepd", place="/system.slice/slurmd.service")
    node.add("bob", daemon, "/usr/sbin/slurmstepd", "/system.slice/slurmd.service")
    assert found() == [("bob", "a job's step", "a step daemon of Slurm started it")]


def test_what_a_job_leaves_in_a_manager_is_outside_of_it(node):
    daemon = node.add("root", program="/usr/sbin/slurmstepd", place="/system.slice/slurmd.service")
    node.add("bob", daemon, place=MANAGER)  # systemd-run --user --scope
    assert found() == [("bob", "systemd --user", "")]


def job(number, user):
    return {"job": number, "user": user, "extern": True}


JOBS = {
    "none": ([], True, ""),
    "his own, seen": ([job(7, "bob")], True, ""),
    "his own, without a process in its cgroup": ([job(8, "bob")], True, "job 8 may be its user's, and no process"),
    "another's, without one": ([job(8, "alice")], True, ""),
    "one of nobody knows whom": ([job(8, None)], True, "job 8 may be its user's, and no process"),
    "not known": (Unanswered("/proc/net/unix: gone"), True, "known which jobs run here: /proc/net/unix: gone"),
}


@pytest.mark.parametrize("case", JOBS)
def test_what_is_known_of_the_jobs(node, case):
    node.jobs, _, spared = JOBS[case]
    node.add("root", groups=IN_JOBS["v2"])  # a step daemon
    node.add("bob")
    ((_, _, reason),) = found()
    assert spared in reason and bool(reason) == bool(spared)


def test_pam_slurm_leaves_sessions_outside_of_jobs(node):
    node.jobs = [job(7, "bob")]
    node.add("root", groups=IN_JOBS["v2"])
    node.add("bob"), node.add("alice")
    assert [(user, bool(spared)) for user, _, spared in found("pam_slurm")] == [("bob", True), ("alice", False)]


# Who, and how

WHO = {"alice": True, "bob": True, "lost": True}


@pytest.mark.parametrize("user", UIDS)
def test_whose_processes_are_told(node, user):
    node.add(user, place="/user.slice/user-1001.slice/session-1.scope")
    if user == "munge":
        assert found() == [("munge", "left behind by a session", "its account has no login shell")]
    else:
        assert [name for name, _, _ in found()] == [{"lost": "user 4711"}.get(user, user)] * (user in WHO)


def test_somebody_whom_no_directory_knows_now_is_spared(node):
    node.add("lost")
    assert found() == [("user 4711", "left behind by a session", "this node's name services do not tell whose it is")]


def test_a_process_of_roots_that_acts_for_somebody_is_roots(node):
    node.add("alice", real="root")
    node.add("root", real="alice")  # su
    assert found() == []


WAYS = {
    # root's program above it, in which place: how it came, and whether it is spared
    "sshd's session": ((SSHD,), SESSION, "ssh", False),
    "sshd without logind": ((SSHD, SSHD), "/system.slice/ssh.service", "ssh", False),
    "a second sshd": (("/opt/sshd",), "/system.slice/sshd-internal.service", "ssh", False),
    "left behind by sshd": ((), "/system.slice/sshd.service", "left behind by ssh", False),
    "cron": (("/usr/sbin/cron", "/usr/sbin/cron"), "/system.slice/cron.service", "cron", False),
    "crond": (("/usr/sbin/crond",), "/system.slice/crond.service", "cron", False),
    "at": (("/usr/sbin/atd",), "/system.slice/atd.service", "at", False),
    "left behind by at": ((), "/system.slice/atd.service", "left behind by at", False),
    "a console": (("/bin/login",), "/system.slice/system-getty.slice/getty@tty1.service", "console", False),
    "a graphical login": (("/usr/libexec/gdm-session-worker",), SESSION, "a graphical login", False),
    "Cockpit": (("/usr/lib/cockpit/cockpit-session",), SESSION, "Cockpit", False),
    "a manager": ((), MANAGER, "systemd --user", False),
    "from a shell into a manager": ((SSHD,), MANAGER, "systemd --user", False),
    "tmux": ((), SESSION, "left behind by a session", False),
    "no place": ((), "/", "unknown", False),
    "a service": ((), "/system.slice/hub.service", "hub.service", True),
    "a service that starts shells": (("/usr/bin/hub",), "/system.slice/hub.service", "hub.service", True),
    "root's shell": ((SSHD, SHELL), SESSION, "ssh", True),
    "a session of an administrator's": ((), SESSION.replace("{}", "1000"), "left behind by a session", True),
}


@pytest.mark.parametrize("form", [SYSTEMD, V2])
@pytest.mark.parametrize("case", WAYS)
def test_how_they_came(node, case, form):
    programs, place, came, spared = WAYS[case]
    parent = 1
    for program in programs:
        parent = node.add("root", parent, program, groups=form.format("/"))
    node.add("alice", parent, groups=form.format(place.format(1001)))
    ((_, way, reason),) = found()
    assert (way, bool(reason)) == (came, spared)


def test_a_program_of_a_users_is_no_way(node):
    mine = node.add("alice", program="/home/alice/sshd", place="/")
    node.add("alice", mine, place="/")
    assert {came for _, came, _ in found()} == {"unknown"}


def test_a_daemon_with_an_account_of_its_own_is_the_systems(node):
    node.add("munge", place="/system.slice/munge.service")
    assert found() == []


CONTAINERS = {
    "of root's": ("/system.slice/docker-1.scope", True),
    "of a machine": ("/machine.slice/machine-x.scope", True),
    "a user's own": (MANAGER, False),
    "a user's own without logind": ("/system.slice/ssh.service", False),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_containers(node, case):
    place, spared = CONTAINERS[case]
    node.add("alice", place=place, space="pid:[2]")
    ((_, came, reason),) = found()
    assert (came, bool(reason)) == ("a container", spared)


def test_managers_that_end_by_themselves_are_not_to_be_ended(node):
    node.add("alice", place=MANAGER), node.add("bob", place=MANAGER), node.add("alice")
    everything = {"access": ADMINS, "module": "pam_slurm_adopt"}
    assert [one.process.pid for one in to_end(everything)] == [2, 3, 4]
    assert [one.process.pid for one in to_end(everything, ["user@1001.service"])] == [3, 4]


# In words


def test_what_is_told_is_counted_bounded_and_printable(node):
    node.jobs = [job(7, "alice")]
    node.add("root", groups=IN_JOBS["v2"])
    for number in range(500):
        node.add("alice", words=[f"x\x1b]0;{number}\x07\n", "y" * 5000])
    (entry,) = told(strays({"access": ADMINS, "module": "pam_slurm_adopt"}))
    assert (entry["user"], entry["count"], entry["outlives"], len(entry["pids"])) == ("alice", 500, [7], 100)
    assert entry["pids"] == sorted(entry["pids"]) and entry["since"].startswith("2001-09-")
    assert len(entry["commands"]) == 5
    assert all(text.isprintable() and len(text) <= 63 for text in entry["commands"])


def findings(**changes):
    settings, manifest = given(access=ADMINS, **changes)
    return [finding.text() for finding in look(settings, manifest)]


def test_what_the_preflight_says(node):
    assert findings() == []
    node.add("alice", place="/system.slice/hub.service")
    assert findings() == []  # a service is no reason to warn
    node.add("alice"), node.add("alice"), node.add("lost")
    (text,) = findings()
    assert "outside of any job: alice (2 processes by left behind by a session, since 2001-09-" in text
    assert "user 4711 (1 process by" in text and "spared: this node's name services do not tell" in text
    assert text.endswith("slurm_pam:strays:action: end ends them")
    ended, spared = findings(strays={"action": "end", "grace": 60})
    assert "alice (2 processes" in ended and "ends these processes 60 seconds later" in ended and "4711" not in ended
    assert "user 4711" in spared and "alice" not in spared
    assert len(findings(strays={"action": "end", "grace": 60}, mode="adopt")) == 1


def test_who_is_counted_over_many_nodes(node):
    node.add("alice"), node.add("alice"), node.add("lost"), node.add("bob", place="/system.slice/hub.service")

    def left(**changes):
        return [[name for _, name in finding.open] for finding in look(*given(access=ADMINS, **changes))]

    assert left() == [["alice", "user 4711"]]
    assert left(strays={"action": "end", "grace": 60}) == [["alice"], ["user 4711"]]


def test_atd_with_daemons_uid_in_a_container_that_sees_both_versions(node):
    both = "1:name=systemd:/\n0::/system.slice/{}.service\n"
    atd = node.add("daemon", program="/usr/sbin/atd", real="root", groups=both.format("atd"))
    node.add("alice", atd, groups=both.format("atd"))
    node.add("bob", groups=both.format("hub"))
    assert [(user, came) for user, came, _ in found()] == [("alice", "at"), ("bob", "hub.service")]
