"""A node dressed as Ubuntu: a socket starts sshd, cloud-init has its drop-in, Slurm's module is SchedMD's package."""

from harness.figures import closed
from harness.formula import platform
from harness.node import Node

SCHEDMD = {"node": "slurm-smd-slurmd", "pam_slurm_adopt": "slurm-smd-libpam-slurm-adopt"}


def is_installed(node, package):
    return "installed" in node.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]).stdout.split()


def socket_starts_it(node):
    """Nobody has to start anything."""
    states = node.run(["systemctl", "is-active", "ssh.socket"]), node.run(["systemctl", "is-failed", "ssh.service"])
    return states[0].stdout == "active\n" and states[1].stdout != "failed\n"


def test_ubuntu2404(machine):
    with Node.boot("ubuntu2404") as node:
        assert platform(node) == ("Debian", "24.04")
        assert node.run(["systemctl", "is-active", "ssh.service"]).stdout == "inactive\n"
        assert node.ssh("alice", method="password").ok
        with closed(node, packages=SCHEDMD):
            assert is_installed(node, SCHEDMD["pam_slurm_adopt"]) and not is_installed(node, "libpam-slurm-adopt")
            assert not node.ssh("alice", method="password").ok
            assert socket_starts_it(node)
        assert socket_starts_it(node)
