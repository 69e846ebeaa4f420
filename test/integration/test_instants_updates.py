"""The package manager replaces what the formula has written: the next apply brings the node back, and a clean still
leaves what the package brought."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from harness.ends import APPLY, CLEAN
from harness.paths import REPO
from harness.session import session
from harness.shell import run

SPEC = """
Name: openssh
Version: {version}
Release: 1
Summary: Secure Shell
License: BSD-2-Clause
BuildArch: noarch
AutoReqProv: no
%description
What an update of openssh replaces.
%install
install -D --mode 644 {directory}/pam %{{buildroot}}/etc/pam.d/sshd
install -D --mode 640 {directory}/sshd_config %{{buildroot}}/etc/ssh/sshd_config
%files
%config /etc/pam.d/sshd
%config %attr(640,root,root) /etc/ssh/sshd_config
"""


def rpm(node, version, pam, sshd_config):
    """An openssh of this version in the node's own repository."""
    packages = node.root / "srv/packages"
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        (scratch / "pam").write_text(pam)
        (scratch / "sshd_config").write_text(sshd_config)
        (scratch / "openssh.spec").write_text(SPEC.format(version=version, directory=scratch))
        defines = {"_topdir": scratch / "rpmbuild", "_rpmdir": packages}
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        run(["rpmbuild", "-bb", *words, scratch / "openssh.spec"])
    # The image's own cannot be renamed, as createrepo_c would.
    shutil.rmtree(packages / "repodata")
    run(["createrepo_c", "--quiet", packages])
    node.run(["zypper", "--non-interactive", "--no-gpg-checks", "refresh", "--force"], check=True)


def deb(node, package, path, text):
    """The installed package once more, as a higher version that has this text in this file; its path in the node."""
    info = node.root / "var/lib/dpkg/info"
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        listed = [f".{name}" for name in (info / f"{package}.list").read_text().splitlines()]
        files = [name for name in listed if not (node.root / name).is_dir()]
        (Path(directory) / "list").write_text("".join(f"{name}\n" for name in files))
        run(["tar", "-C", node.root, "--no-recursion", "-cf", f"{directory}/tar", "-T", f"{directory}/list"])
        run(["tar", "-C", tree, "-xf", f"{directory}/tar"])
        (tree / path.lstrip("/")).write_text(text)
        for script in info.glob(f"{package}.*"):
            if script.suffix in (".conffiles", ".preinst", ".postinst", ".prerm", ".postrm", ".templates", ".config"):
                (tree / "DEBIAN" / script.suffix[1:]).write_bytes(script.read_bytes())
                (tree / "DEBIAN" / script.suffix[1:]).chmod(script.stat().st_mode & 0o777)
        status = node.run(["dpkg-query", "--status", package], check=True).stdout
        control = re.sub(r"(?m)^(Status:.*|Conffiles:(\n .*)*)\n", "", status)
        control = re.sub(r"(?m)^(Version: .*)$", r"\1+update", control)
        (tree / "DEBIAN/control").write_text(control)
        run(["dpkg-deb", "--build", "--root-owner-group", tree, node.root / "var/tmp/update.deb"])
    return "/var/tmp/update.deb"


def applied(node, sls):
    results = node.salt("state.apply", sls)
    assert all(result["result"] for result in results.values()), results
    return {path for result in results.values() for path in result["changes"]}


@pytest.fixture
def closed(fresh_node):
    """A node that the formula has closed, with a job of alice's."""
    fresh_node.pillar((REPO / "pillar.example").read_text())
    fresh_node.job("alice")
    return fresh_node


def let_in(node):
    return {user: node.ssh(user).ok for user in ("root", "admin", "alice", "bob")}


OPEN = {"root": True, "admin": True, "alice": True, "bob": True}
CLOSED = {**OPEN, "bob": False}


def test_an_update_of_openssh_by_zypper(closed):
    node = closed
    pam, sshd_config = node.read("/etc/pam.d/sshd"), node.read("/etc/ssh/sshd_config")
    rpm(node, "1", pam, sshd_config)
    node.run(["zypper", "--non-interactive", "--no-gpg-checks", "install", "openssh"], check=True)
    applied(node, APPLY)
    with session(node, "admin") as admin, session(node, "alice") as alice:
        new_pam = pam.replace("pam_lastlog.so", "pam_motd.so") + "# of the update\n"
        rpm(node, "2", new_pam, f"{sshd_config}# of the update\n")
        node.run(["zypper", "--non-interactive", "--no-gpg-checks", "update", "openssh"], check=True)
        assert node.read("/etc/pam.d/sshd") == new_pam
        assert let_in(node) == OPEN
        assert applied(node, APPLY) >= {"/etc/pam.d/sshd"}
        assert let_in(node) == CLOSED
        assert [kept.ask("echo here") for kept in (admin, alice)] == ["here\n"] * 2
    assert applied(node, APPLY) == set()
    applied(node, CLEAN)
    assert node.read("/etc/pam.d/sshd") == new_pam
    assert node.read("/etc/ssh/sshd_config") == f"{sshd_config}# of the update\n"


# What pam-config writes where SSSD is switched on: SLE's own files, and pam_systemd among them.
PAM_CONFIG = {
    "account": "account requisite pam_unix.so try_first_pass\naccount sufficient pam_localuser.so\n"
    "account required pam_permit.so\n",
    "session": "session optional pam_systemd.so\nsession required pam_limits.so\n"
    "session required pam_unix.so try_first_pass\nsession optional pam_umask.so\nsession optional pam_env.so\n"
    "session optional pam_mkhomedir.so\n",
}


def test_pam_config_has_run(closed):
    """The account stack that ends early for local users lets nobody past Slurm, before the next apply and after it."""
    node = closed
    applied(node, APPLY)
    for facility, text in PAM_CONFIG.items():
        node.write(f"/etc/pam.d/common-{facility}-pc", text)
    assert let_in(node) == CLOSED
    assert applied(node, APPLY) == {"/etc/pam.d/slurm-common-session-pc"}
    session_stack = node.read("/etc/pam.d/slurm-common-session-pc")
    assert "pam_mkhomedir.so" in session_stack and "pam_systemd.so" not in session_stack
    assert let_in(node) == CLOSED
    applied(node, CLEAN)
    assert let_in(node) == OPEN


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_an_update_of_openssh_by_dpkg(closed):
    node = closed
    new_pam = node.read("/etc/pam.d/sshd") + "# of the update\n"
    update = deb(node, "openssh-server", "/etc/pam.d/sshd", new_pam)
    applied(node, APPLY)
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confnew", "--install", update]
    with session(node, "admin") as admin, session(node, "alice") as alice:
        node.run(install, check=True)
        assert node.read("/etc/pam.d/sshd") == new_pam
        assert let_in(node) == OPEN
        assert applied(node, APPLY) >= {"/etc/pam.d/sshd"}
        assert let_in(node) == CLOSED
        assert [kept.ask("echo here") for kept in (admin, alice)] == ["here\n"] * 2
    assert applied(node, APPLY) == set()
    applied(node, CLEAN)
    assert node.read("/etc/pam.d/sshd") == new_pam


PROFILE = """\
Name: A session module of the site's own
Default: yes
Priority: 0
Session-Type: Additional
Session:
\toptional\tpam_echo.so
"""


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_pam_auth_update_has_run(closed):
    node = closed
    applied(node, APPLY)
    node.write("/usr/share/pam-configs/site", PROFILE)
    node.run(["env", "DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package", "--force"], check=True)
    assert "pam_echo.so" in node.read("/etc/pam.d/common-session")
    assert let_in(node) == CLOSED
    assert applied(node, APPLY) == {"/etc/pam.d/slurm-common-session"}
    session_stack = node.read("/etc/pam.d/slurm-common-session")
    assert "pam_echo.so" in session_stack and "pam_systemd.so" not in session_stack
    assert let_in(node) == CLOSED
