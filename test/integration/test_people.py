"""What people see and get of a closed node: those who are turned away, and those who are not."""

import contextlib

import pytest
from harness.formula import DENIED, EXAMPLE, applied, etc, settings

MESSAGE = "No job of yours runs here.\nGet one: salloc, or ask hpc@example.org (100 %u free)."
PASSWORDS = {"options": {"PasswordAuthentication": True}}
ACCESS = {**EXAMPLE["access"], "root": ["192.0.2.0/24"]}


@pytest.fixture(scope="module")
def closed(node):
    """A node with all of this, as it was in the end."""
    before = etc(node)
    pam = {"message": MESSAGE, "session_keep": ["pam_systemd.so"]}
    settings(node, access=ACCESS, sshd=PASSWORDS, pam=pam, logind="keep")
    applied(node)
    yield node
    applied(node, "slurm_pam.clean")
    after = etc(node)
    assert [path for path in before | after if before.get(path) != after.get(path)] == ["/etc/shadow-"]  # chage's


@contextlib.contextmanager
def job(node, user):
    number = node.job(user)
    try:
        yield number
    finally:
        node.cancel(number)


@contextlib.contextmanager
def expired(node, user):
    node.run(["chage", "--expiredate", "1", user], check=True)
    try:
        yield
    finally:
        node.run(["chage", "--expiredate", "-1", user], check=True)


# The message


@pytest.mark.parametrize("method", ["publickey", "password"])
def test_whoever_slurm_turns_away_is_shown_the_message(closed, method):
    visit = closed.ssh("bob", method=method)
    assert not visit.ok
    assert f"{DENIED}\n{MESSAGE}\n" in visit.stderr.replace("\r", "")


def test_nobody_else_is(closed):
    with job(closed, "alice"):
        in_it = closed.ssh("alice", "cat /proc/self/cgroup")
        assert "/step_extern" in in_it.stdout
        visits = {
            "a user with a job": (in_it, True),
            "an administrator": (closed.ssh("admin"), True),
            "root": (closed.ssh("root"), True),
            "root from elsewhere": (closed.ssh("root", origin="198.51.100.1"), False),
        }
        with expired(closed, "alice"), expired(closed, "admin"):
            visits["a user with a job who has expired"] = closed.ssh("alice"), False
            visits["an administrator who has expired"] = closed.ssh("admin"), False
    for who, (visit, gets_in) in visits.items():
        assert visit.ok is gets_in, (who, visit)
        assert "salloc" not in visit.stdout + visit.stderr, (who, visit)
    # He is an administrator from where administrators come from.
    assert MESSAGE.splitlines()[0] in closed.ssh("admin", origin="198.51.100.1").stderr


# What administrators keep


def test_administrators_alone_have_a_session_of_loginds(closed):
    look = "echo runtime=$XDG_RUNTIME_DIR; cat /proc/self/cgroup"
    with job(closed, "alice"):
        said = {user: closed.ssh(user, look).stdout for user in ("root", "admin", "alice")}
    for user in ("root", "admin"):
        assert f"/user.slice/user-{closed.uid(user)}.slice/session-" in said[user], said
        assert f"runtime=/run/user/{closed.uid(user)}\n" in said[user], said
    assert "runtime=\n" in said["alice"] and "/user.slice" not in said["alice"] and "/step_extern" in said["alice"], (
        said
    )
    proven = {proof["name"]: proof["holds"] for proof in closed.salt("slurm_pam.prove")}
    assert proven["no session but an administrator's reaches pam_systemd.so"], proven
    assert all(proven.values()), proven
