"""A node with a systemd of its own goes down: when it is told to and not before, and while an apply waits."""

import pytest
from harness.ends import LEFT
from harness.formula import EXAMPLE, applied, etc, pillar, sync
from harness.node import Node


@pytest.fixture(scope="module")
def node(machine):
    """systemd 257, which no patch keeps from going down at once."""
    with Node.boot("debian13", machine="uml") as booted:
        sync(booted)
        yield booted


def boot_id(node):
    return node.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout


def defaults(node, **changes):
    """The pillar as a site has it, without what the other tests have."""
    own = {key: value for key, value in EXAMPLE.items() if key != "logind_kept_from"}
    pillar(node, {"slurm_pam": {**own, **changes}})


def test_by_default_a_shutdown_that_is_scheduled_waits(node):
    booted = boot_id(node)
    defaults(node)
    results = applied(node)
    assert "systemd-logind" not in " ".join(results["slurm_pam-ready"].get("warnings", []))
    assert results["slurm_pam-logind-managed"]["comment"] == "systemd-logind is left alone, as slurm_pam:logind says"
    scheduled = node.run(["shutdown", "-r", "+60"])
    assert scheduled.ok and "Reboot scheduled for" in scheduled.stdout + scheduled.stderr, scheduled
    node.run(["shutdown", "-c"], check=True)
    assert boot_id(node) == booted
    assert not node.ssh("bob").ok


# An apply that waits to be confirmed


CONFIRM = "/var/lib/slurm_pam/confirm"
WAITS = "The last apply waits to be confirmed (waiting, until "


def goes_back_at_boot(node, before):
    # The clock of the copies: nobody waits for the hour that there is left.
    node.wait(f"test -e {CONFIRM}/taken-back", "take-back")
    # A power cut may bring back what the run had removed beside a file; the next run takes it away.
    assert {path: what for path, what in etc(node).items() if not path.endswith(LEFT)} == before
    assert node.ssh("bob").ok
    assert node.run(["systemctl", "is-active", "systemd-logind"]).stdout.strip() == "active"
    assert node.run(["systemctl", "--failed", "--quiet", "--no-legend"]).stdout == ""


def test_a_shutdown_with_logind_masked_reboots_at_once_and_what_waited_is_taken_back(node):
    """What the warning says is so, and what it happens to: an administrator who has not confirmed yet."""
    applied(node, "slurm_pam.clean")
    before, booted = etc(node), boot_id(node)
    defaults(node, logind="mask", confirm=3600)
    results = applied(node)
    assert "this is systemd 257" in " ".join(results["slurm_pam-ready"]["warnings"])
    assert not node.ssh("bob").ok
    assert WAITS in " ".join(node.salt("slurm_pam.audit")["warnings"])
    node.run(["shutdown", "-r", "+60"])
    node.warm.end()
    node.until(lambda: boot_id(node) not in ("", booted), "the machine up again", 240)
    node.until(node._answers, "sshd and Slurm", 180)
    goes_back_at_boot(node, before)
    assert node.salt("slurm_pam_confirm.status")["state"] == "taken back"


def test_a_power_cut_takes_back_what_waits_and_leaves_what_was_confirmed(node):
    before = etc(node)
    defaults(node, logind="mask", confirm=3600)
    applied(node)
    node.power_cut()
    goes_back_at_boot(node, before)
    applied(node)
    assert node.salt("slurm_pam.confirm") == "Confirmed: this node stays as it is"
    node.power_cut()  # before the kernel writes anything by itself
    assert not node.ssh("bob").ok
    assert node.ssh("admin").ok
    assert "waits to be confirmed" not in " ".join(node.salt("slurm_pam.audit")["warnings"])
