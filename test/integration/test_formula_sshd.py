"""sshd's settings as they come into force, whatever its configuration looks like; open sessions never notice."""

import contextlib

import pytest
from harness.formula import applied, changed, etc, settings
from harness.node import Node
from harness.session import session

CONFIG, DROP_IN = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/00-slurm_pam.conf"
WITHOUT_INCLUDE = """\
# as of old
UsePAM yes
#PermitRootLogin yes
PasswordAuthentication  yes # for the lab
KbdInteractiveAuthentication yes

Match User nobody
    PasswordAuthentication yes
"""
EDITED = """\
# as of old
UsePAM yes
#PermitRootLogin yes
# slurm_pam added: PermitRootLogin
PermitRootLogin prohibit-password
# slurm_pam was: PasswordAuthentication  yes # for the lab
PasswordAuthentication  no # for the lab
# slurm_pam was: KbdInteractiveAuthentication yes
KbdInteractiveAuthentication no

# slurm_pam added: MaxStartups
MaxStartups 1000:30:2000
# slurm_pam added: PubkeyAuthentication
PubkeyAuthentication yes
Match User nobody
    PasswordAuthentication yes
"""
EFFECTIVE = {
    "usepam": "yes",
    "permitrootlogin": "without-password",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "pubkeyauthentication": "yes",
}


def effective(node):
    """What the running configuration comes to, as sshd itself says it."""
    shown = node.run(["sshd", "-T"], check=True).stdout
    return {key: value for key, _, value in (line.partition(" ") for line in shown.splitlines()) if key in EFFECTIVE}


def main_pid(node):
    return node.run(["systemctl", "show", "--property=MainPID", "--value", "ssh"], check=True).stdout


def refused(visit):
    return visit.rc == 255 and "Permission denied (publickey)" in visit.stderr


@pytest.fixture
def old_node(machine, layout, salt, site):
    """A node whose sshd_config knows no drop-ins."""

    def prepare(node):
        node.write(CONFIG, WITHOUT_INCLUDE)

    yield Node.start(site(["node"]), "node", layout, salt, prepare=prepare)


def test_single_lines_where_there_are_no_drop_ins(old_node):
    node = old_node
    before, daemon = etc(node), main_pid(node)
    assert node.ssh("alice", method="password").ok
    settings(node)
    with contextlib.ExitStack() as stack:
        sessions = {user: stack.enter_context(session(node, user)) for user in ("root", "alice", "bob")}
        applied(node)
        assert node.read(CONFIG) == EDITED
        assert DROP_IN not in node.snapshot("/etc/ssh")
        assert effective(node) == EFFECTIVE
        # The running sshd has read it.
        assert refused(node.ssh("alice", method="password"))
        assert changed(applied(node)) == []
        assert {user: login.ask("id -un") for user, login in sessions.items()} == {
            user: f"{user}\n" for user in sessions
        }
        applied(node, "slurm_pam.clean")
        assert {user: login.ask("id -un") for user, login in sessions.items()} == {
            user: f"{user}\n" for user in sessions
        }
    assert etc(node) == before
    assert main_pid(node) == daemon
    assert node.ssh("alice", method="password").ok


def test_a_drop_in_of_the_site_that_sshd_reads_first(fresh_node):
    node = fresh_node
    site = "/etc/ssh/sshd_config.d/00-site.conf"
    node.write(site, "PasswordAuthentication yes\nX11Forwarding no\n")
    node.reload_sshd()
    before = etc(node)
    settings(node)
    applied(node, "slurm_pam.sshd")
    text = node.read(CONFIG)
    assert text.index("\nPasswordAuthentication no\n") < text.index("\nInclude ")
    assert effective(node) == EFFECTIVE
    assert refused(node.ssh("alice", method="password"))
    assert changed(applied(node, "slurm_pam.sshd")) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert node.ssh("alice", method="password").ok


def test_keyboard_interactive_stays_outside_the_job(node):
    """Why it is off by default: such a login is let in for the job's sake, and is not in it."""
    settings(node)
    applied(node)
    job = node.job("alice")
    look = "cat /proc/self/cgroup"
    assert refused(node.ssh("alice", look, method="keyboard-interactive"))

    settings(node, sshd={"options": {"KbdInteractiveAuthentication": True}})
    results = applied(node)
    assert any("stays outside its job" in warning for warning in results["slurm_pam-ready"]["warnings"])
    outside = node.ssh("alice", look, method="keyboard-interactive")
    assert outside.ok and outside.stdout
    assert "/job_" not in outside.stdout
    assert f"/job_{job}/step_extern" in node.ssh("alice", look).stdout
    # The check itself is made.
    assert not node.ssh("bob", look, method="keyboard-interactive").ok
