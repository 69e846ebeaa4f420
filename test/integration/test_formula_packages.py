"""Packages: installed by the names that the settings have, all at once, before a PAM file asks for what is in them."""

from harness.formula import applied, apply, changed, etc, failed, settings

MODULE = "/lib64/security/pam_slurm_adopt.so"


def zypper_installs(node):
    """The commands of zypper that installed something, as it logs them."""
    log = node.read("/var/log/zypp/history").splitlines()
    return [line for line in log if "|command|" in line and "'install'" in line]


def installed(node, *names):
    return node.run(["rpm", "--query", *names]).ok


def test_a_name_that_no_repository_has(fresh_node):
    node = fresh_node
    settings(node, packages={"pam_slurm_adopt": "slurm-pam_slrum"})
    before = node.snapshot("/etc/pam.d")
    failures = failed(apply(node))
    assert "slurm-pam_slrum" in failures.pop("slurm_pam-packages-installed")
    # What comes after is not tried, and says what it waits for.
    assert set(failures) == {"slurm_pam-pam-stacks-managed", "slurm_pam-logind-managed"}
    assert all("requisite failed" in comment for comment in failures.values())
    assert node.snapshot("/etc/pam.d") == before
    assert node.ssh("bob").ok


def test_all_in_one_transaction(fresh_node):
    node = fresh_node
    node.run(["rpm", "--erase", "slurm-node"], check=True)
    settings(node)
    results = applied(node, "slurm_pam.packages")
    assert set(results["slurm_pam-packages-installed"]["changes"]) == {"slurm-node", "slurm-pam_slurm"}
    (command,) = zypper_installs(node)
    assert "'slurm-node'" in command and "'slurm-pam_slurm'" in command


def test_a_package_that_bears_its_version_in_its_name(fresh_node):
    node = fresh_node
    settings(node, packages={"pam_slurm_adopt": "slurm_24_11-pam_slurm"})
    applied(node)
    assert installed(node, "slurm_24_11-pam_slurm")
    assert not installed(node, "slurm-pam_slurm")
    assert not node.ssh("bob").ok
    assert changed(applied(node)) == []


def test_no_names_leave_packages_alone(fresh_node):
    node = fresh_node
    none = {"node": None, "pam_slurm_adopt": None}
    settings(node, packages=none)
    before = etc(node)
    (comment,) = failed(apply(node)).values()
    assert "pam_slurm_adopt.so is in none of the directories that libpam looks in" in comment
    assert etc(node) == before
    # Somebody else brings the module.
    node.run(["zypper", "--non-interactive", "--no-gpg-checks", "install", "slurm-pam_slurm"], check=True)
    installs = zypper_installs(node)
    applied(node)
    assert not node.ssh("bob").ok
    settings(node, packages=none, clean={"packages": True})
    applied(node, "slurm_pam.clean")
    assert zypper_installs(node) == installs
    assert installed(node, "slurm-pam_slurm")
    assert etc(node) == before
