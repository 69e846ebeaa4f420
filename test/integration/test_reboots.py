"""A node with a kernel and a systemd of its own that goes down: when it is told to, and not before."""

import pytest
from harness.formula import EXAMPLE, applied, pillar
from harness.node import Node


@pytest.fixture(scope="module")
def node(machine):
    """systemd 257, which no patch keeps from going down at once."""
    with Node.boot("debian13", machine="uml") as booted:
        booted.salt("saltutil.sync_all")
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
