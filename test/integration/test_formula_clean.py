"""Taking it all back, on nodes in every condition."""

import pytest
from harness.formula import EXAMPLE, applied, apply, changed, etc, failed, pillar, settings

SLURM_CONF = "/etc/slurm/slurm.conf"
LOGIND = "/etc/systemd/system/systemd-logind.service"


def logind(node):
    shown = node.run(["systemctl", "show", "--property=ActiveState,UnitFileState", "--value", "systemd-logind"])
    return shown.stdout.split()


def everyone_gets_in(node):
    return all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))


@pytest.mark.parametrize(("layout", "salt"), [("debian12", "3006")], indirect=True)
def test_there_and_back(fresh_node):
    """What test/walk shows on the other layouts."""
    node = fresh_node
    before = etc(node)
    settings(node)
    applied(node)
    assert not node.ssh("bob").ok
    assert node.ssh("admin").ok
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert everyone_gets_in(node)


def test_a_node_that_was_never_closed(fresh_node):
    node = fresh_node
    settings(node, slurm={"manage": "enforce", "use_pam": True}, clean={"groups": True, "packages": True})
    before = node.snapshot("/etc")
    results = applied(node, "slurm_pam.clean")
    assert changed(results) == ["slurm_pam-modules-synced"]
    assert node.snapshot("/etc") == before


def test_with_an_empty_pillar(fresh_node):
    node = fresh_node
    before = etc(node)
    settings(node)
    applied(node)
    pillar(node, {})
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert everyone_gets_in(node)


def test_groups_and_packages_too_with_slurmd_stopped(fresh_node):
    """The node has been drained for good; nothing starts slurmd again."""
    node = fresh_node
    before = etc(node) | {"/etc/group": node.snapshot("/etc")["/etc/group"]}
    settings(node, slurm={"manage": "enforce", "use_pam": True}, clean={"groups": True, "packages": True})
    applied(node)
    assert node.read(SLURM_CONF).endswith("UsePAM=1\n")
    node.run(["systemctl", "disable", "--now", "slurmd"], check=True)
    applied(node, "slurm_pam.clean")
    assert node.run(["systemctl", "is-active", "slurmd"]).stdout == "inactive\n"
    node.run(["systemctl", "enable", "slurmd"], check=True)
    assert etc(node) | {"/etc/group": node.snapshot("/etc")["/etc/group"]} == before
    assert not node.run(["rpm", "--query", "slurm-pam_slurm"]).ok
    assert node.run(["rpm", "--query", "slurm-node"]).ok
    assert not node.run(["getent", "group", "hpc_admin_g"]).ok
    assert everyone_gets_in(node)


def test_the_service_of_slurmstepd_stays_while_slurm_asks_for_it(fresh_node):
    """UsePAM=1 is the administrator's here, and without the file no job would start."""
    node = fresh_node
    node.write(SLURM_CONF, node.read(SLURM_CONF) + "UsePAM=1\n")
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    settings(node, slurm={"use_pam": True})
    applied(node)
    left = failed(apply(node, "slurm_pam.clean"))
    told = "UsePAM is Yes (scontrol show config), and without its PAM service no job would start"
    assert told in left["slurm_pam-clean-slurm-pam-service-absent"]
    assert set(left) == {"slurm_pam-clean-slurm-pam-service-absent", "slurm_pam-clean-places-forgotten"}
    assert "/etc/pam.d/slurm" in node.snapshot("/etc/pam.d")
    assert everyone_gets_in(node)
    node.write(SLURM_CONF, node.read(SLURM_CONF).replace("UsePAM=1", "UsePAM=0"))
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    gone = ["slurm_pam-clean-slurm-pam-service-absent", "slurm_pam-clean-places-forgotten"]
    assert changed(applied(node, "slurm_pam.clean")) == gone


def test_logind_stopped_kept_or_masked(fresh_node):
    node = fresh_node
    settings(node, logind="keep")
    kept = applied(node)["slurm_pam-logind-managed"]
    assert (kept["comment"], kept["changes"]) == ("systemd-logind is left alone, as slurm_pam:logind says", {})
    assert logind(node) == ["active", "static"]
    settings(node, logind="stop")
    assert changed(applied(node)) == ["slurm_pam-places-recorded", "slurm_pam-logind-managed"]
    assert logind(node) == ["inactive", "static"]
    assert changed(applied(node)) == []

    # A unit file of the site's own cannot be masked.
    node.write(LOGIND, node.read("/usr/lib/systemd/system/systemd-logind.service"))
    settings(node)
    (comment,) = failed(apply(node)).values()
    assert comment == f"{LOGIND} is a unit file of its own, which systemctl does not mask: move it away"
    node.run(["rm", LOGIND], check=True)
    settings(node, logind="stop")
    applied(node, "slurm_pam.clean")
    assert logind(node) == ["active", "static"]


def test_what_was_masked_before_stays_masked(fresh_node):
    node = fresh_node
    node.run(["systemctl", "mask", "--now", "systemd-logind"], check=True)
    before = etc(node)
    settings(node)
    assert "slurm_pam-logind-managed" not in changed(applied(node))
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert logind(node) == ["inactive", "masked"]


def test_settings_that_do_less_by_now(fresh_node):
    """What an earlier apply did is taken back, although the last one was told to leave it alone."""
    node = fresh_node
    before = etc(node)
    settings(node, slurm={"manage": "enforce", "use_pam": True})
    applied(node)
    settings(node, sshd={"manage": False}, logind="keep")
    applied(node)
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert logind(node) == ["active", "static"]
    assert "passwordauthentication yes" in node.run(["sshd", "-T"]).stdout.lower()


MOVED = {
    "access:file": {"access": {**EXAMPLE["access"], "file": "/etc/security/access.conf"}},
    "sshd:drop_in": {"sshd": {"drop_in": "/etc/ssh/sshd_config.d/10-site.conf"}},
    "pam:suffix": {"pam": {"suffix": ""}},
    "pam:account_source": {"pam": {"account_source": "site-account"}},
}


@pytest.mark.parametrize("key", MOVED)
def test_a_place_that_changed(fresh_node, key):
    """What stands at the old place would stay in force, so that is refused; clean finds it all the same."""
    node = fresh_node
    before = etc(node)
    settings(node)
    applied(node)
    closed = etc(node)
    settings(node, **MOVED[key])
    (comment,) = failed(apply(node)).values()
    assert f"slurm_pam:{key} was " in comment and "Apply slurm_pam.clean first" in comment
    assert etc(node) == closed
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert everyone_gets_in(node)
