"""An sshd that systemd's socket starts: what is told to it never ends it, and open sessions stay."""

import pytest
from harness.formula import DENIED, EXAMPLE, applied, changed, etc, settings
from harness.node import Node
from harness.session import session


@pytest.fixture(scope="module")
def node(machine):
    with Node.boot("debian13") as booted:
        # As Ubuntu has it: one socket for all, for ssh.service.
        unit = "[Socket]\nListenStream=22\nAccept=no\nFreeBind=yes\n[Install]\nWantedBy=sockets.target\n"
        booted.write("/etc/systemd/system/ssh.socket", unit)
        booted.run(["systemctl", "daemon-reload"], check=True)
        booted.run(["systemctl", "disable", "--now", "ssh.service"], check=True)
        booted.run(["systemctl", "enable", "--now", "ssh.socket"], check=True)
        yield booted


def is_well(node):
    """Nobody has to start anything, and sshd has what its files say."""
    assert node.run(["systemctl", "is-active", "ssh.socket"]).stdout == "active\n"
    assert node.run(["systemctl", "is-failed", "ssh.service"]).stdout != "failed\n"
    assert node.ssh("admin").ok
    return True


def test_an_apply_a_take_back_and_clean_leave_it_well(node):
    settings(node)
    assert node.ssh("bob").ok
    assert node.run(["systemctl", "is-active", "ssh.service"]).stdout == "active\n"
    before = etc(node)
    with session(node, "root") as stays:
        told = applied(node)["slurm_pam-sshd-service-reloaded"]
        assert told["changes"] == {"ssh": {"old": "running", "new": STOPPED}}, told
        assert DENIED in node.ssh("bob").stderr and is_well(node)
        assert changed(applied(node)) == []
        closed = etc(node)
        settings(node, confirm=3600, sshd={"options": {**OPTIONS, "X11Forwarding": False}})
        applied(node)
        assert is_well(node)
        node.salt("slurm_pam_confirm.take_back")
        assert etc(node) == closed and is_well(node)
        assert DENIED in node.ssh("bob").stderr
        # Any number of users may be turned away, from the address that administrators come from.
        assert not any(node.ssh("bob").ok for _ in range(6)) and is_well(node)
        settings(node)
        told = applied(node, "slurm_pam.clean")["slurm_pam-clean-sshd-service-reloaded"]
        assert told["changes"] == {"ssh": {"old": "running", "new": STOPPED}}, told
        assert etc(node) == before and is_well(node)
        assert node.ssh("bob").ok
        assert stays.ask("echo still here") == "still here\n"


STOPPED = "stopped, and started anew by ssh.socket for the next login"
OPTIONS = EXAMPLE.get("sshd", {}).get("options", {})
