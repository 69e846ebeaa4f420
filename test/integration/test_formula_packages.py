"""Packages: installed by the names that the settings have, all at once, before a PAM file asks for what is in them."""

import pytest
from harness.formula import applied, apply, changed, etc, failed, settings, sync

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
    # Before anything is changed, with zypper's words.
    ((state, comment),) = failed(apply(node)).items()
    assert state == "slurm_pam-ready"
    assert "slurm_pam:packages: zypper would not install slurm-pam_slrum: No provider of 'slurm-pam_slrum'" in comment
    assert node.snapshot("/etc/pam.d") == before
    assert node.ssh("bob").ok


def test_all_in_one_transaction(fresh_node):
    node = fresh_node
    node.run(["rpm", "--erase", "slurm-node"], check=True)
    node.run(["mv", "/usr/sbin/slurmd", "/usr/sbin/slurmd.away"], check=True)
    settings(node)
    sync(node)
    would = applied(node, "slurm_pam.packages", test=True)["slurm_pam-packages-installed"]
    results = applied(node, "slurm_pam.packages")
    assert set(results["slurm_pam-packages-installed"]["changes"]) == {"slurm-node", "slurm-pam_slurm"}
    assert would["changes"] == results["slurm_pam-packages-installed"]["changes"]
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


# Packages of another maker, as SchedMD's are beside Debian's: names that conflict and that neither provides.


def package(node, name, files=(), conflicts=()):
    """Install a package of this name into a Debian node, with these of its files and conflicts."""
    control = [f"Package: {name}", "Version: 25.05.3-1", "Architecture: all", "Maintainer: x <x@example.org>"]
    control += [f"Conflicts: {', '.join(conflicts)}"] if conflicts else []
    node.write(f"/root/{name}/DEBIAN/control", "\n".join([*control, "Description: x", ""]))
    for source, target in files:
        node.run(["install", "-D", "-m", "644", source, f"/root/{name}{target}"], check=True)
    node.run(["dpkg-deb", "--build", "--root-owner-group", f"/root/{name}", "/root/made.deb"], check=True)
    node.run(["dpkg", "--install", "/root/made.deb"], check=True)


def unpacked_module(node):
    """Slurm's module out of Debian's package, which stays uninstalled, and the library that it needs."""
    node.run(["sh", "-c", "dpkg --install /srv/packages/libslurm*.deb"], check=True)
    line = "dpkg-deb --extract /srv/packages/libpam-slurm-adopt_*.deb /root/deb && find /root/deb -name '*adopt.so'"
    return node.run(["sh", "-c", line], check=True).stdout.strip()


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_slurm_of_another_maker_stays(fresh_node):
    """slurmd and the module are there, so nothing is asked of apt; else it would remove what runs."""
    node = fresh_node
    package(node, "slurm-smd-slurmd")
    module = unpacked_module(node)
    files = [(module, "/usr/lib/x86_64-linux-gnu/security/pam_slurm_adopt.so")]
    package(node, "slurm-smd-libpam-slurm-adopt", files, ["libpam-slurm-adopt"])
    settings(node)
    state = applied(node)["slurm_pam-packages-installed"]
    assert (state["changes"], state["comment"]) == ({}, "All that is needed of Slurm is on this node already")
    assert node.run(["dpkg-query", "--show", "slurm-smd-libpam-slurm-adopt"]).ok
    state = node.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "libpam-slurm-adopt"]).stdout
    assert state != "installed"
    assert not node.ssh("bob").ok and node.ssh("admin").ok


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_an_installation_that_would_remove_something_is_refused(fresh_node):
    node = fresh_node
    package(node, "slurm-smd-slurmctld", conflicts=["libpam-slurm-adopt"])
    before, packages = etc(node), node.run(["dpkg-query", "--show"]).stdout
    settings(node)
    sync(node)
    for dry in (True, False):
        failures = failed(apply(node, test=dry))
        found = "Installing libpam-slurm-adopt would take something away: slurm-smd-slurmctld 25.05.3-1"
        assert found in failures["slurm_pam-ready"]
        # Salt lets nothing else run, but for a dry run.
        assert dry or len(failures) == 1
    assert node.run(["dpkg-query", "--show"]).stdout == packages
    assert etc(node) == before
    assert node.ssh("bob").ok
