"""What slurm_pam.explain says is what sshd then does, for each kind of user."""

import base64
import shutil
from pathlib import Path

import pytest
from harness.formula import applied, settings

INSIDE, OUTSIDE = "192.0.2.1", "198.51.100.1"
ACCESS = {
    "root": ["192.0.2.0/24"],
    "groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"]}},
    "users": {"carol": {"origins": ["198.51.100.1", ".example.org"]}},
}


@pytest.fixture(scope="module")
def closed(node):
    """A closed node on which alice has a job, carol is an operator and dave's account has expired."""
    for user in ("carol", "dave"):
        node.run(["useradd", "--create-home", user], check=True)
        node.run(["cp", "-a", "/home/alice/.ssh", f"/home/{user}/"], check=True)
        node.run(["chown", "-R", f"{user}:", f"/home/{user}"], check=True)
    settings(node, access=ACCESS)
    applied(node)
    jobs = [node.job("alice"), node.job("dave")]
    node.run(["usermod", "--expiredate", "2020-01-01", "dave"], check=True)
    yield node
    for job in jobs:
        node.cancel(job)


CASES = [
    ("root", INSIDE, True, "/etc/pam.d/slurm-common-account:2", "+ : root : 192.0.2.0/24"),
    ("root", OUTSIDE, False, "pam_succeed_if.so quiet uid != 0", "- : ALL : ALL"),
    ("admin", INSIDE, True, "/etc/pam.d/slurm-common-account:2", "+ : (hpc_admin_g) : 192.0.2.0/24"),
    ("admin", OUTSIDE, False, "pam_slurm_adopt.so", "- : ALL : ALL"),
    ("alice", INSIDE, True, "pam_slurm_adopt.so", "- : ALL : ALL"),
    ("alice", OUTSIDE, True, "pam_slurm_adopt.so", "- : ALL : ALL"),
    ("bob", INSIDE, False, "pam_slurm_adopt.so", "- : ALL : ALL"),
    ("carol", OUTSIDE, True, "/etc/pam.d/slurm-common-account:2", "+ : carol : 198.51.100.1 .example.org"),
    ("carol", INSIDE, False, "pam_slurm_adopt.so", "- : ALL : ALL"),
    ("dave", INSIDE, False, "/etc/pam.d/common-account", "- : ALL : ALL"),
]


@pytest.mark.parametrize(("user", "origin", "permitted", "why", "access"), CASES)
def test_it_says_what_sshd_does(closed, user, origin, permitted, why, access):
    told = closed.salt("slurm_pam.explain", user, origin)
    assert told["permitted"] is permitted, told
    assert why in told["why"]
    assert told["access"] == access
    assert bool(told["jobs"]) is (user in ("alice", "dave"))
    assert closed.ssh(user, origin=origin).ok is permitted


def test_a_user_that_this_node_does_not_know(closed):
    told = closed.salt("slurm_pam.explain", "nobody-here", INSIDE)
    assert (told["permitted"], told["why"]) == (False, "this node knows no user nobody-here")


def test_a_node_that_is_going_down(closed):
    closed.run(["touch", "/run/nologin"], check=True)
    try:
        for user, permitted in (("root", True), ("alice", False)):
            told = closed.salt("slurm_pam.explain", user, INSIDE)
            assert told["permitted"] is permitted, told
            assert closed.ssh(user).ok is permitted
    finally:
        closed.run(["rm", "/run/nologin"], check=True)


def test_users_that_sshd_itself_denies(closed):
    closed.write("/etc/ssh/sshd_config.d/50-site.conf", "DenyUsers alice\n")
    closed.reload_sshd()
    try:
        told = closed.salt("slurm_pam.explain", "alice", INSIDE)
        assert (told["permitted"], told["why"]) == (False, "sshd has denyusers alice")
        assert not closed.ssh("alice").ok
    finally:
        closed.run(["rm", "/etc/ssh/sshd_config.d/50-site.conf"], check=True)
        closed.reload_sshd()


def test_with_slurm_stopped(closed):
    closed.run(["systemctl", "stop", "slurmctld", "slurmd"], check=True)
    try:
        for user, permitted in (("root", True), ("admin", True), ("alice", True), ("bob", False)):
            assert closed.salt("slurm_pam.explain", user, INSIDE)["permitted"] is permitted
            assert closed.ssh(user).ok is permitted
    finally:
        closed.run(["systemctl", "start", "slurmctld", "slurmd"], check=True)


# The node's own modules

ORIGINS = (INSIDE, OUTSIDE)
# A rule of the node's own, files that it asks, and whether alice gets in from inside and from outside.
OWN = {
    "pam_access.so": ({"/etc/security/access.conf": f"+ : alice : {OUTSIDE}\n- : ALL : ALL\n"}, (False, True)),
    "pam_succeed_if.so user != alice": ({}, (False, False)),
    f"pam_succeed_if.so rhost = {INSIDE}": ({}, (True, False)),
    "pam_listfile.so item=user sense=deny file=/etc/barred onerr=fail": ({"/etc/barred": "alice\n"}, (False, False)),
    "pam_listfile.so item=rhost sense=allow file=/etc/hosts.list": ({"/etc/hosts.list": f"{INSIDE}\n"}, (True, False)),
    "pam_time.so": ({"/etc/security/time.conf": "sshd;*;alice;!Al0000-2400\n"}, (False, False)),
    "pam_localuser.so": ({}, (True, True)),
    "pam_unix.so": ({"expired": "yes"}, (False, False)),
    "pam_unix.so no_pass_expiry": ({"expired": "yes"}, (True, True)),
}


@pytest.fixture(scope="module")
def pamtester(closed):
    """This machine's pamtester, on the node; returns what asks it."""
    text = base64.b64encode(Path(shutil.which("pamtester")).read_bytes()).decode()
    closed.run(["sh", "-c", "base64 -d > /usr/bin/pamtester; chmod 755 /usr/bin/pamtester"], input=text, check=True)

    def agrees(rule, user, origin, expected):
        closed.write("/etc/pam.d/own", f"account required {rule}\n")
        words = ["pamtester", "-I", f"rhost={origin}", "-I", "tty=ssh", "-I", "service=sshd", "own", user, "acct_mgmt"]
        return closed.run(words).ok is expected

    return agrees


@pytest.mark.parametrize("rule", OWN)
def test_the_nodes_own_rules_are_asked(closed, pamtester, rule):
    """Its account rules are this one, below Slurm's; pamtester has no Slurm ahead."""
    files, permitted = OWN[rule]
    paths = ["/etc/pam.d/common-account", "/etc/shadow", *(path for path in files if path.startswith("/"))]
    before = {path: closed.run(["cat", path]).stdout for path in paths}
    try:
        if "expired" in files:
            closed.run(["chage", "--lastday", "0", "alice"], check=True)
        for path, text in files.items():
            if path.startswith("/"):
                closed.write(path, text)
        closed.run(["tee", "/etc/pam.d/common-account"], input=f"account required {rule}\n", check=True)
        for origin, expected in zip(ORIGINS, permitted, strict=True):
            told = closed.salt("slurm_pam.explain", "alice", origin)
            assert told["permitted"] is expected, told
            assert "taken to succeed" not in told["why"]
            assert closed.ssh("alice", origin=origin).ok is expected
            assert pamtester(rule, "alice", origin, expected)
        # alice has a job. What would keep her out from the node's own network is told before an apply.
        told = [text for text in closed.salt("slurm_pam.preflight")["warnings"] if "turns away alice" in text]
        assert len(told) == (rule.partition(" ")[0] not in ("pam_localuser.so", "pam_unix.so")), told
    finally:
        for path, text in before.items():
            closed.run(["tee", path], input=text, check=True)


LISTS = {
    "AllowUsers root alice@192.0.2.*": {INSIDE: True, OUTSIDE: False},
    "AllowUsers root alice@192.0.2.0/24,!192.0.2.1": {INSIDE: False, OUTSIDE: False},
    "AllowUsers root alice@!192.0.2.1,*": {INSIDE: False, OUTSIDE: True},
    "AllowUsers root [a]lice": {INSIDE: False, OUTSIDE: False},
    "AllowUsers root !bob": {INSIDE: False, OUTSIDE: False},
    "DenyUsers al?ce@198.51.100.0/24": {INSIDE: True, OUTSIDE: False},
    "DenyUsers alice@198.51.100.1,!192.0.2.1": {INSIDE: True, OUTSIDE: False},
    "AllowGroups root ali*": {INSIDE: True, OUTSIDE: True},
    "DenyGroups bob !alice": {INSIDE: True, OUTSIDE: True},
    "Match LocalAddress 192.0.2.10\nDenyUsers alice@192.0.2.1": {INSIDE: False, OUTSIDE: True},
    "Match Address 198.51.100.0/24\nAllowGroups root": {INSIDE: True, OUTSIDE: False},
}


@pytest.mark.parametrize("lines", LISTS)
def test_lists_of_sshd_are_read_as_sshd_does(closed, lines):
    closed.write("/etc/ssh/sshd_config.d/50-site.conf", f"{lines}\n")
    closed.reload_sshd()
    try:
        for origin, permitted in LISTS[lines].items():
            assert closed.salt("slurm_pam.explain", "alice", origin)["permitted"] is permitted
            assert closed.ssh("alice", origin=origin).ok is permitted
    finally:
        closed.run(["rm", "/etc/ssh/sshd_config.d/50-site.conf"], check=True)
        closed.reload_sshd()


def test_several_jobs_that_slurm_cannot_tell_apart(closed):
    settings(closed, access=ACCESS, pam_slurm_adopt={"action_unknown": "deny"})
    applied(closed)
    try:
        assert closed.salt("slurm_pam.explain", "alice", INSIDE)["permitted"]
        assert closed.ssh("alice").ok
        job = closed.job("alice")
        told = closed.salt("slurm_pam.explain", "alice", INSIDE)
        assert (told["permitted"], len(told["jobs"])) == (False, 2), told
        assert "cannot tell to which of them the login belongs" in told["why"]
        refused = closed.ssh("alice")
        assert not refused.ok and "unable to determine source job" in refused.stderr
        closed.cancel(job)
    finally:
        settings(closed, access=ACCESS)
        applied(closed)


def test_a_job_without_an_extern_step(closed):
    """Bob's job starts while Contain is not set."""
    before = closed.read("/etc/slurm/slurm.conf")
    try:
        closed.write("/etc/slurm/slurm.conf", before.replace("PrologFlags", "#"))
        closed.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
        closed.until(lambda: "down" not in closed.run(["sinfo", "--noheader", "--format=%T"]).stdout, "node up")
        job = closed.job("bob")
    finally:
        closed.write("/etc/slurm/slurm.conf", before)
        closed.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    told = closed.salt("slurm_pam.explain", "bob", INSIDE)
    assert (told["permitted"], told["jobs"]) == (False, [])
    assert told["why"].endswith(f"Job {job} has no extern step, so pam_slurm_adopt does not see it.")
    assert not closed.ssh("bob").ok
    closed.until(lambda: "down" not in closed.run(["sinfo", "--noheader", "--format=%T"]).stdout, "node up")
    closed.cancel(job)
