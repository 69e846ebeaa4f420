"""Attacks that never got through, and are to stay so."""

import contextlib
import time

import pytest
from harness.formula import DENIED, applied, apply, etc, failed, settings
from harness.shell import run

HOLDER = "import fcntl, signal, sys; file = open(sys.argv[1], 'r+'); fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)"
HOLDER += "; signal.signal(signal.SIGIO, signal.SIG_IGN); print(flush=True); signal.pause()"


@pytest.fixture(scope="module")
def closed(node):
    settings(node)
    applied(node)
    return node


HERE = "127.0.0.1:22"


@pytest.mark.parametrize(
    "options",
    [["-N", "-L", f"2323:{HERE}"], ["-N", "-R", f"2323:{HERE}"], ["-N", "-D", "2323"], ["-W", HERE]],
    ids=lambda options: options[-2],
)
def test_no_forwarding_without_a_job(closed, options):
    command, environment = closed.ssh_command("bob")
    at = command.index("ssh") + 1
    words = [*command[:at], "-o", "ExitOnForwardFailure=yes", *options, *command[at:]]
    refused = run(words, check=False, timeout=180, env=environment)
    assert (refused.rc, refused.stdout) == (255, "")
    assert DENIED in refused.stderr


def keys(node, user):
    return node.run(["sh", "-c", f"echo ~{user}/.ssh/authorized_keys"], check=True).stdout.strip()


@contextlib.contextmanager
def leased(node, user):
    """The user holds a lease on their own file of keys, and lets nobody have it."""
    path = keys(node, user)
    holds = f'python3 -c "{HOLDER}" {path} >/dev/null 2>&1 </dev/null &'
    node.run(["su", "-s", "/bin/sh", user, "-c", holds], check=True)
    try:
        yield path
    finally:
        node.run(["pkill", "-u", user, "python3"])


@contextlib.contextmanager
def a_fifo(node, user):
    path = keys(node, user)
    node.run(["mv", path, f"{path}.kept"], check=True)
    node.run(["su", "-s", "/bin/sh", user, "-c", f"mkfifo {path}"], check=True)
    try:
        yield path
    finally:
        node.run(["mv", f"{path}.kept", path], check=True)


@pytest.mark.parametrize("hold", [leased, a_fifo])
def test_nothing_in_a_home_keeps_an_apply_waiting(closed, hold):
    node = closed
    broken_after = float(node.run(["cat", "/proc/sys/fs/lease-break-time"], check=True).stdout)
    with hold(node, "admin") as path:
        begun = time.monotonic()
        found = node.salt("slurm_pam.preflight")
        took = time.monotonic() - begun
    # Whoever waits for a lease waits until the kernel breaks it, and for a FIFO for ever.
    assert took < broken_after
    assert found["problems"] == []
    assert any(path in text for text in found["warnings"]), found["warnings"]


def test_a_full_tmp_is_in_nobodys_way(closed):
    node = closed
    settings(node, sshd={"options": {"X11Forwarding": False}})
    mount = "mount -t tmpfs -o size=4k,mode=1777 full /tmp && head -c 65536 /dev/zero > /tmp/full"
    node.run(["sh", "-c", mount])
    try:
        applied(node)
        assert "x11forwarding no" in node.run(["sshd", "-T"], check=True).stdout
        assert DENIED in node.ssh("bob").stderr
    finally:
        node.run(["umount", "-l", "/tmp"], check=True)


@pytest.mark.parametrize("path", ["/etc/pam.d", "/etc/security"])
def test_a_directory_that_a_group_can_write_stops_an_apply(closed, path):
    node = closed
    node.run(["chgrp", "users", path], check=True)
    node.run(["chmod", "g+w", path], check=True)
    before = etc(node)
    try:
        assert list(failed(apply(node))) == ["slurm_pam-ready"]
        assert etc(node) == before
    finally:
        node.run(["chgrp", "root", path], check=True)
        node.run(["chmod", "g-w", path], check=True)
