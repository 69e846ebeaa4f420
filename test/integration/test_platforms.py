"""Systems that differ in where things are: each is closed, looked at and opened again on a node dressed as it."""

import contextlib

from harness.formula import DENIED, applied, changed, etc
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN
from harness.node import Node
from harness.paths import REPO
from harness.session import session

VENDOR_SSHD, SSHD = "/usr/lib/pam.d/sshd", "/etc/pam.d/sshd"
# Who logs in from where, and whether a closed node lets them in while alice has a job.
LOGINS = {
    ("root", OTHER_ORIGIN): True,
    ("admin", ADMIN_ORIGIN): True,
    ("admin", OTHER_ORIGIN): False,
    ("alice", OTHER_ORIGIN): True,
    ("bob", ADMIN_ORIGIN): False,
}


@contextlib.contextmanager
def closed(node):
    """The node as the formula closes it, with the example's settings; it is open before and after."""
    node.pillar((REPO / "pillar.example").read_text())
    before = etc(node)
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))
    applied(node)
    four_figures(node)
    assert node.salt("slurm_pam.audit")["holds"]
    assert [proof for proof in node.salt("slurm_pam.prove") if not proof["holds"]] == []
    yield
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))


def four_figures(node):
    job = node.job("alice")
    for (user, origin), let_in in LOGINS.items():
        seen = node.ssh(user, origin=origin)
        assert (seen.ok, DENIED in seen.stderr) == (let_in, not let_in), (user, origin, seen)
    with session(node, "alice") as login:
        assert f"/job_{job}/step_extern" in login.ask("cat /proc/self/cgroup")
        node.cancel(job)
        assert login.ended()


def platform(node):
    return list(node.salt("grains.item", "os_family", "osrelease").values())


def effective(node, *options):
    """What sshd says of itself."""
    shown = node.run(["sshd", "-T"], check=True).stdout
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in shown.splitlines() if line.startswith(options)}


def test_sle15sp7(machine):
    with Node.boot("sle15sp7") as node:
        assert platform(node) == ["Suse", "15.7"]
        with closed(node):
            ours, last = node.read(SSHD).splitlines()[-2:]
            assert "slurm-common-session" in ours and "pam_motd.so" in last


def test_sle16_has_nothing_of_sshds_in_etc(machine):
    with Node.boot("sle16") as node:
        assert platform(node) == ["Suse", "16.0"]
        assert effective(node, "permitrootlogin") == {"permitrootlogin": "yes"}
        with closed(node):
            # The vendor's drop-ins come after those of /etc, and no sshd_config is made in front of the vendor's.
            told = effective(node, "permitrootlogin", "passwordauthentication", "usepam")
            assert told == {"permitrootlogin": "without-password", "passwordauthentication": "no", "usepam": "yes"}
            assert not node.run(["test", "-e", "/etc/ssh/sshd_config"]).ok
            copied = node.read(SSHD)
            assert copied.replace("slurm-common-", "common-").partition("\n")[2] == node.read(VENDOR_SSHD)
            # Its package is updated.
            node.write(VENDOR_SSHD, node.read(VENDOR_SSHD) + "session optional pam_mail.so nopen\n")
            assert SSHD in str(node.salt("slurm_pam.audit")["findings"])
            assert changed(applied(node)) == ["slurm_pam-pam-stacks-managed"]
            assert node.read(SSHD).endswith("session optional pam_mail.so nopen\n")
            assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok
