"""Doors that the settings close are closed: tried by real logins, open, closed and back."""

import pytest
from harness import network
from harness.doors import Doors
from harness.formula import applied, etc, failed, settings

ADMINS = {"groups": {"hpc_admin_g": {"origins": [f"{network.ADMIN_ORIGIN}/32", "LOCAL"], "members": ["admin"]}}}
CLOSED = dict.fromkeys(("atd", "cockpit", "cron", "login", "second", "su", "systemd-user"), "close")
# With logind, since nobody lingers without.
SETTINGS = {"access": ADMINS, "logind": "keep"}
USERS = ("bob", "alice", "admin")
# Accounts of the system's, whose crontabs are to go on.
SYSTEMS = ("munge", "root")


def tried(doors, job):
    """Who gets in where: whether what was run is in the job, None if nobody got in. Only alice has one."""

    def place(cgroup):
        return None if cgroup is None else f"/job_{job}/" in cgroup

    doors.crontabs(*USERS, *SYSTEMS)
    got = {
        "cockpit": {user: place(doors.cockpit(user)) for user in USERS},
        "login": {user: place(doors.login(user)) for user in (*USERS, "root")},
        "second": {user: place(doors.second(user)) for user in USERS},
        "su": {user: place(doors.su(user, from_="alice")) for user in ("bob", "alice", "root")},
        "atd": {user: place(doors.atd(user)) for user in USERS},
        "systemd-user": {user: place(doors.systemd_user(user)) for user in USERS},
    }
    return {**got, "cron": {user: place(cgroup) for user, cgroup in doors.carried_out(*USERS, *SYSTEMS).items()}}


# Nobody is kept out, and nothing is in a job.
OPEN = {
    **{name: dict.fromkeys(USERS, False) for name in ("cockpit", "second", "atd", "systemd-user")},
    "login": dict.fromkeys((*USERS, "root"), False),
    "su": dict.fromkeys(("bob", "alice", "root"), False),
    "cron": dict.fromkeys((*USERS, *SYSTEMS), False),
}
PEOPLE = {"bob": None, "alice": True, "admin": False}
SHUT = {
    **dict.fromkeys(("cockpit", "second", "atd"), PEOPLE),
    "login": {**PEOPLE, "root": False},
    "su": {"bob": None, "alice": True, "root": True},
    # A manager of systemd's cannot be in a job.
    "systemd-user": {**PEOPLE, "alice": None},
    "cron": {**PEOPLE, "munge": False, "root": False},
}


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_open_reported_closed_and_back(node):
    doors = Doors.opened(node)
    job = node.job("alice")
    settings(node, **SETTINGS, doors={"second": "close"})
    before = etc(node)

    # Reported, and open. An sshd that leads past Slurm is not left so, and su in a job stays in it.
    told = "".join(applied(node)["slurm_pam-ready"]["warnings"])
    assert all(f"slurm_pam:doors:{name}: close" in told for name in ("atd", "cockpit", "cron"))
    assert etc(node)["/etc/pam.d/cron"] == before["/etc/pam.d/cron"]
    assert tried(doors, job) == {**OPEN, "second": PEOPLE, "su": dict.fromkeys(OPEN["su"], True)}

    # Closed.
    settings(node, **SETTINGS, doors=CLOSED)
    assert "slurm_pam:doors" not in "".join(applied(node)["slurm_pam-ready"].get("warnings", []))
    assert tried(doors, job) == SHUT
    assert doors.cockpit("admin", origin="127.0.0.1") is None
    # What somebody else opens again is told.
    gate = node.read("/etc/pam.d/cockpit")
    node.write("/etc/pam.d/cockpit", gate.replace("slurm-door-cockpit", "common-account"))
    (finding,) = node.salt("slurm_pam.audit")["findings"]
    assert "/etc/pam.d/cockpit" in finding["changes"]

    # One of them is opened again, in the same apply that mends that.
    settings(node, **SETTINGS, doors={**CLOSED, "cron": "report"})
    applied(node)
    there = etc(node)
    assert there["/etc/pam.d/cron"] == before["/etc/pam.d/cron"] and "/etc/pam.d/slurm-door-cron" not in there
    assert node.read("/etc/pam.d/cockpit") == gate

    # And back, whatever the settings say by then.
    settings(node, **SETTINGS)
    assert not failed(applied(node, "slurm_pam.clean"))
    assert etc(node) == before
    assert tried(doors, job) == OPEN
