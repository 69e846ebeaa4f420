"""The package of SUSE's layout: built of the release tarball, installed by zypper on a master, applied to a minion."""

import shutil

import pytest
from harness import host
from harness.formula import EXAMPLE
from harness.paths import REPO
from harness.salt_tree import HOME
from harness.shell import run

FORMULA = "/usr/share/salt-formulas"
# As salt-standalone-formulas-configuration has it, on a master that is alone on its machine.
MASTER = f"""\
interface: 127.0.0.1
auto_accept: True
file_roots:
  base: [{FORMULA}/states, /srv/salt]
"""
MINION = "master: 127.0.0.1\nid: node\nacceptance_wait_time: 1\n"


@pytest.fixture(scope="module")
def package(machine, tmp_path_factory):
    """The package, built as the README says."""
    directory = tmp_path_factory.mktemp("rpm")
    run([REPO / "tools/release", directory])
    define = {"_topdir": directory, "_sourcedir": directory}
    words = [word for name, value in define.items() for word in ("--define", f"{name} {value}")]
    run(["rpmbuild", "-bb", *words, REPO / "slurm_pam-formula.spec"])
    (built,) = directory.glob("RPMS/noarch/*.rpm")
    return built


def test_the_tarball_is_the_tree(tmp_path):
    """The same bytes each time, with all that Git knows of, owned by root."""
    host.install_packages(("rpm",))
    first, second = (run([REPO / "tools/release", tmp_path]).stdout.strip() for _ in range(2))
    assert first == second
    listed = run(["tar", "-tvzf", first]).stdout.splitlines()
    top = first.rpartition("/")[2].removesuffix(".tar.gz")
    files = {line.partition(f" {top}/")[2].partition(" -> ")[0] for line in listed}
    assert files == set(run(["git", "-C", REPO, "ls-files"]).stdout.splitlines())
    assert all(line.split()[1] == "root/root" for line in listed)


def test_installed_on_a_master_and_applied_to_a_minion(node, package):
    shutil.copy(package, node.root / "root")
    node.run(["groupadd", "--system", "salt"], check=True)
    zypper = ["zypper", "--non-interactive", "--no-gpg-checks"]
    node.run([*zypper, "install", "--allow-unsigned-rpm", f"/root/{package.name}"], check=True)

    owned = node.run(["find", FORMULA, "-printf", "%u:%g %m %y\n"], check=True).stdout.splitlines()
    assert set(owned) == {"root:salt 755 d", "root:salt 644 f"}
    for part in ("_modules", "_states", "_runners", "slurm_pam"):
        installed = set(node.run(["ls", f"{FORMULA}/states/{part}"], check=True).stdout.split())
        assert installed == {path.name for path in (REPO / part).iterdir() if path.name != "__pycache__"}, part
    forms = node.run(["ls", f"{FORMULA}/metadata/slurm_pam"], check=True).stdout.split()
    assert forms == ["form.yml", "metadata.yml", "pillar.example"]

    node.write("/etc/salt/master", MASTER)
    node.write("/root/minion/minion", MINION)
    node.pillar(f"slurm_pam: {EXAMPLE}\n")
    python = f"{HOME}/bin/python3"
    start = "import salt.scripts; salt.scripts.salt_master()"
    node.run(["systemd-run", "--unit=salt-master", python, "-c", start], check=True)

    def call(*words):
        return node.run(["salt-call", "--config-dir=/root/minion", "--retcode-passthrough", *words])

    node.until(lambda: call("test.ping").ok, "the master's answer", 120)
    assert node.ssh("bob").ok
    applied = call("state.apply", "slurm_pam")
    assert applied.ok, applied.stdout
    assert node.ssh("admin").ok and not node.ssh("bob").ok
    runner = "import salt.scripts; salt.scripts.salt_run()"
    node.run([python, "-c", runner, "saltutil.sync_runners"], check=True)
    checked = node.run([python, "-c", runner, "slurm_pam.check_pillar", "*"])
    assert checked.ok and "nodes: 1, problems: 0" in checked.stdout, checked.stdout + checked.stderr
    assert call("state.apply", "slurm_pam.clean").ok
    assert node.ssh("bob").ok

    node.run(["systemctl", "stop", "salt-master"], check=True)
    node.run([*zypper, "remove", "slurm_pam-formula"], check=True)
    assert not node.run(["test", "-e", f"{FORMULA}/states/slurm_pam"]).ok
