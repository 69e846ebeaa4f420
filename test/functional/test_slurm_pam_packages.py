"""What zypper, dnf and apt say that an installation would do, with packages that conflict as Slurm's makers' do."""

import itertools
import os
import shutil
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

import _child
import _slurm_pam_packages as packages
from _slurm_pam_packages import Step

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="package managers lay out a root directory as root only")

# Name, version and what else a package says of itself, in RPM's words; the makers' names are the real ones.
SUSE = {
    "slurm-node": ("23.02", ["Requires: slurm = 23.02"]),
    "slurm": ("23.02", []),
    "slurm-pam_slurm": ("23.02", []),
    "slurm_24_11-node": ("24.11", ["Conflicts: slurm-node", "Obsoletes: old-node"]),
    "slurm_24_11-pam_slurm": ("24.11", ["Provides: slurm-pam_slurm = 24.11", "Conflicts: slurm-pam_slurm < 24"]),
    "old-node": ("1", []),
}
EPEL = {
    "slurm-slurmd": ("23.11", ["Requires: slurm = 23.11"]),
    "slurm": ("23.11", []),
    "slurm-pam_slurm": ("23.11", []),
    "slurm-slurmd-ohpc": ("24.05", ["Conflicts: slurm-slurmd"]),
}
# dnf takes what obsoletes a package for it, as soon as a repository has that.
LATER = {"RedHat": {"slurm-next": ("25.05", ["Obsoletes: slurm-slurmd"])}}
DEBIAN = {
    "slurmd": ("24.11.5-4", []),
    "libpam-slurm-adopt": ("24.11.5-4", []),
    "slurm-smd-slurmd": ("25.05.3-1", ["Conflicts: slurmd", "Replaces: slurmd"]),
    "slurm-smd-libpam-slurm-adopt": ("25.05.3-1", ["Conflicts: libpam-slurm-adopt"]),
}


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inserted(command, *options):
    """How to ask a package manager of another root directory: the options go behind the program's name."""

    def ask(program, *words, **how):
        return _child.ask(program, *(options if program == command else ()), *words, **how)

    return ask


def rpms(repo, offered):
    """Packages for zypper and dnf in a repository."""
    specs = []
    for name, (version, more) in offered.items():
        specs.append(repo.parent / f"{name}.spec")
        head = f"Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch"
        specs[-1].write_text("\n".join([head, *more, "%description", "x", "%files", ""]))
    macros = {"_topdir": repo.parent / "build", "_rpmdir": repo}
    defines = itertools.chain.from_iterable(("--define", f"{key} {value}") for key, value in macros.items())
    run("rpmbuild", "--quiet", "-bb", *defines, *map(str, specs))
    run("createrepo_c", "--quiet", str(repo))


def debs(repo, offered):
    """Packages for apt in a repository."""
    for name, (version, more) in offered.items():
        control = repo.parent / name / "DEBIAN/control"
        control.parent.mkdir(parents=True)
        head = [f"Package: {name}", f"Version: {version}", "Architecture: all", "Maintainer: x <x@example.org>"]
        control.write_text("\n".join([*head, *more, "Description: x", ""]))
        run("dpkg-deb", "--build", "--root-owner-group", str(repo.parent / name), str(repo))
    (repo / "Packages").write_text(run("apt-ftparchive", "packages", ".", cwd=repo))


class Zypper:
    """A root directory whose zypper has one repository."""

    family, offered, make = "Suse", SUSE, staticmethod(rpms)

    def __init__(self, top):
        options = ("--root", str(top / "root"), "--no-gpg-checks")
        self.ask = inserted("zypper", *options)
        self.zypper = ("zypper", *options, "--non-interactive")
        run(*self.zypper, "addrepo", "--no-gpgcheck", str(top / "repo"), "repo")
        run(*self.zypper, "refresh")

    def install(self, *names):
        run(*self.zypper, "install", *names)


class Dnf:
    family, offered, make = "RedHat", EPEL, staticmethod(rpms)

    def __init__(self, top):
        self.root = top / "root"
        repo = (f"--repofrompath=repo,{top}/repo", "--repo=repo", "--nogpgcheck", f"--setopt=cachedir={top}/cache")
        # What a test adds to the repository is seen at once.
        self.options = ("--refresh", f"--installroot={self.root}", "--releasever=9", *repo)

    def ask(self, program, *words, **how):
        options = {"dnf": self.options, "rpm": ("--root", str(self.root))}[program]
        return _child.ask(program, *options, *words, **how)

    def install(self, *names):
        run("dnf", *self.options, "--assumeyes", "install", *names)


class Apt:
    family, offered, make = "Debian", DEBIAN, staticmethod(debs)

    def __init__(self, top):
        self.top = top
        for directory in ("state/lists/partial", "cache/archives/partial", "etc", "dpkg/updates", "dpkg/info"):
            (top / directory).mkdir(parents=True)
        (top / "dpkg/status").touch()
        where = {
            "Dir::State": top / "state",
            "Dir::State::status": top / "dpkg/status",
            "Dir::Cache": top / "cache",
            "Dir::Etc": top / "etc",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
        }
        self.options = tuple(itertools.chain.from_iterable(("-o", f"{key}={value}") for key, value in where.items()))
        self.ask = inserted("apt-get", *self.options)
        (top / "etc/sources.list").write_text(f"deb [trusted=yes] file:{top}/repo ./\n")
        run("apt-get", *self.options, "update")

    def install(self, *names):
        # What this machine has apt do besides, such as asking debconf's questions, is nothing to this root directory.
        (self.top / "alone").write_text('Dir::Etc::parts "/dev/null";\n')
        words = (f"--admindir={self.top}/dpkg", f"--instdir={self.top}/root", "--force-script-chrootless")
        options = itertools.chain.from_iterable(("-o", f"Dpkg::Options::={word}") for word in words)
        alone = {**os.environ, "APT_CONFIG": str(self.top / "alone")}
        run("apt-get", *self.options, *options, "--yes", "install", *names, env=alone)


@pytest.fixture(scope="module", params=[Zypper, Dnf, Apt], ids=["zypper", "dnf", "apt"])
def offering(request, tmp_path_factory):
    """A manager and a repository with what it is offered, made once."""
    missing = [program for program in ("zypper", "dnf", "rpmbuild", "apt-ftparchive") if not shutil.which(program)]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"there is no {', '.join(missing)}")
    repo = tmp_path_factory.mktemp("offering") / "repo"
    repo.mkdir()
    request.param.make(repo, request.param.offered)
    return request.param, repo


@pytest.fixture
def manager(offering, tmp_path):
    """A root directory of its own, and a copy of the repository, in which a test may put more."""
    kind, repo = offering
    (tmp_path / "root").mkdir()
    shutil.copytree(repo, tmp_path / "repo")
    manager = kind(tmp_path)
    manager.repo = tmp_path / "repo"
    return manager


def simulated(manager, *names):
    return packages.simulated(list(names), manager.family, manager.ask)


NEW = {
    "Suse": (
        ["slurm-node", "slurm-pam_slurm"],
        {"slurm": "23.02-1", "slurm-node": "23.02-1", "slurm-pam_slurm": "23.02-1"},
    ),
    "RedHat": (["slurm-slurmd"], {"slurm": "23.11-1", "slurm-slurmd": "23.11-1"}),
    "Debian": (["slurmd", "libpam-slurm-adopt"], {"slurmd": "24.11.5-4", "libpam-slurm-adopt": "24.11.5-4"}),
}


def test_on_a_node_without_slurm_all_of_it_is_new(manager):
    names, wanted = NEW[manager.family]
    steps = simulated(manager, *names)
    assert packages.changes(steps) == {name: {"old": "", "new": version} for name, version in wanted.items()}
    assert packages.losses(steps) == []


def test_what_is_there_is_nothing_to_do(manager):
    names, _ = NEW[manager.family]
    manager.install(*names)
    assert simulated(manager, *names) == []


def test_a_name_that_no_repository_has(manager):
    with pytest.raises(CommandExecutionError, match=r"would not install slurm-pam_slrum: .*slurm-pam_slrum"):
        simulated(manager, "slurm-pam_slrum")


# What is there, what is to come, and what that takes away, or that the package manager says no by itself.
CONFLICTS = {
    "Suse": ("slurm_24_11-node", "slurm-node", None),
    "RedHat": ("slurm-slurmd-ohpc", "slurm-slurmd", None),
    "Debian": ("slurm-smd-slurmd", "slurmd", ["slurm-smd-slurmd 25.05.3-1 would be removed"]),
}
REPLACED = {
    "Suse": ("old-node", "slurm_24_11-node", ["old-node 1-1 would be removed"]),
    "RedHat": ("slurm-slurmd", "slurm-next", ["slurm-slurmd 23.11-1 would be removed"]),
    "Debian": ("slurmd", "slurm-smd-slurmd", ["slurmd 24.11.5-4 would be removed"]),
}


@pytest.mark.parametrize("table", [CONFLICTS, REPLACED], ids=["conflict", "replaced"])
def test_what_another_makers_package_takes_away(manager, table):
    there, to_come, lost = table[manager.family]
    manager.install(there)
    if table is REPLACED and manager.family in LATER:
        manager.make(manager.repo, LATER[manager.family])
    if lost is None:
        with pytest.raises(CommandExecutionError, match=f"would not install {to_come}: .*{there}"):
            simulated(manager, to_come)
    else:
        assert packages.losses(simulated(manager, to_come)) == lost


def test_an_older_version_is_a_loss():
    steps = [Step("slurm", "24.11", "23.02", True), Step("slurm-node", "", "23.02")]
    assert packages.losses(steps) == ["slurm would go from 24.11 back to 23.02"]


def test_a_manager_that_does_not_answer_is_no_empty_answer():
    def hanging(*words, timeout):
        return _child.ask("sleep", "60", timeout=0.1)

    with pytest.raises(CommandExecutionError, match=r"apt-get would not install slurmd: no answer within 0\.1 seconds"):
        packages.simulated(["slurmd"], "Debian", hanging)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo garbage", "what it says cannot be read"),
        ("printf '<stream><install-summ'", "what it says cannot be read"),
        ("true", "what it says cannot be read"),
        ("echo '<stream' ; echo 'System management is locked' >&2; exit 7", "System management is locked"),
    ],
)
def test_an_answer_that_cannot_be_read_is_no_empty_answer(script, told):
    def zypper(*words, timeout):
        return _child.ask("sh", "-c", script)

    with pytest.raises(CommandExecutionError, match=f"zypper would not install slurm-node: {told}"):
        packages.simulated(["slurm-node"], "Suse", zypper)


def test_a_family_without_a_manager():
    with pytest.raises(CommandExecutionError, match="no package manager is known for Gentoo; known are Suse, RedHat"):
        packages.simulated(["slurmd"], "Gentoo")
