"""Who was on the node before: connections that wait, and managers of people who are gone."""

import pytest

import _slurm_pam_before
import _slurm_pam_strays
from _processes import Process
from _slurm_pam_before import managers, told, waiting

ACCESS = {"users": {"ann": {}}, "groups": {"admins": {"members": ["new"]}}}
UIDS = {"root": 0, "sshd": 74, "gdm": 450, "ann": 1000, "alice": 1001, "bob": 1002, "chief": 1003, "new": 1004}
UIDS["lost"] = 4711
IN_A_CONTAINER = {19}
USER = "1:name=systemd:/user.slice/user-{0}.slice/"


class Account:
    def __init__(self, name):
        self.pw_name, self.pw_uid = name, UIDS[name]


class Accounts:
    def getpwnam(self, name):
        return Account(name)

    def getpwuid(self, uid):
        return Account({uid: name for name, uid in UIDS.items() if name != "lost"}[uid])


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """Its processes, and their cgroups."""
    found, groups = [], {}
    for room in (_slurm_pam_before, _slurm_pam_strays, _slurm_pam_strays._slurm_pam_accounts):
        monkeypatch.setattr(room, "pwd", Accounts())
    monkeypatch.setattr(_slurm_pam_before._processes, "running", lambda: list(found))
    monkeypatch.setattr(_slurm_pam_before._processes, "cgroups", lambda pid: groups.get(pid, ""))
    monkeypatch.setattr(_slurm_pam_before._processes, "at_home", lambda pid: pid not in IN_A_CONTAINER)
    in_groups = {("chief", "admins")}
    monkeypatch.setattr(_slurm_pam_strays._slurm_pam_accounts, "is_in", lambda *asked: asked in in_groups)

    def process(pid, user, parent=1, program="/usr/sbin/sshd", started=100.0, cgroups=""):
        found.append(Process(pid, parent, UIDS[user], started, program, []))
        groups[pid] = cgroups

    return process


SESSION = "/usr/lib/openssh/sshd-session"


RELEASES = [("/usr/sbin/sshd", "/usr/sbin/sshd"), (SESSION, SESSION), (SESSION, "/usr/lib/openssh/sshd-auth")]


@pytest.mark.parametrize(("monitor", "child"), RELEASES)
def test_connections_that_are_not_logged_in(node, tmp_path, monitor, child):
    node(10, "root")
    node(11, "root", 10, monitor)  # waits
    node(12, "sshd", 11, child)
    node(13, "root", 10, monitor)  # is through
    node(14, "alice", 13, monitor)
    node(15, "root", 10, monitor, started=2e10)  # younger than the files
    node(16, "sshd", 15, child)
    node(17, "root", 1, "/usr/bin/bash")
    node(18, "sshd", 17, "/usr/bin/bash")
    node(19, "root", 1, monitor)
    node(20, "sshd", 19, child)
    file = tmp_path / "sshd"
    file.touch()
    assert [one.pid for one in waiting([str(file), str(tmp_path / "none")])] == [11]
    assert [one.pid for one in waiting([str(tmp_path / "none")])] == []
    assert told(waiting([str(file)]))[0].startswith("process 11, since 1970-01-01 0")


def test_nobody_is_there(node):
    assert managers(ACCESS) == []


def test_somebody_whom_no_directory_knows_now(node):
    node(1, "root")
    node(2, "root", 1)
    node(3, "lost", 2, cgroups=USER.format(4711) + "user@4711.service/init.scope\n")
    assert managers(ACCESS) == []


def test_managers_of_people_without_a_session(node):
    for number, user in enumerate(UIDS):
        node(100 + number, user, cgroups=USER.format(UIDS[user]) + f"user@{UIDS[user]}.service/init.scope\n")
    node(200, "bob", cgroups=USER.format(1002) + "session-9.scope\n0::/\n")
    assert managers(ACCESS) == ["user@1001.service"]


def test_a_cgroup_that_a_user_calls_like_a_session_is_none(node):
    """Below their manager, users make cgroups with whatever names."""
    manager = USER.format(1001) + "user@1001.service/"
    node(100, "alice", cgroups=f"{manager}init.scope\n")
    node(101, "alice", cgroups=f"{manager}user.slice/user-1001.slice/session-1.scope\n")
    assert managers(ACCESS) == ["user@1001.service"]
