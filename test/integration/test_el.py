"""A node dressed as EL 9, whose stacks are authselect's: closed in sshd's own file, looked at, followed, and opened."""

import pytest
from harness.formula import DENIED, applied, changed, etc, settings
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN
from harness.session import session

AUTHSELECT = "/etc/authselect"
PROFILE = ("sssd", "with-faillock", "with-mkhomedir", "with-pamaccess")
STACKS = "slurm_pam-pam-stacks-managed"
DERIVED = "/etc/pam.d/slurm-common-session"
# Who logs in from where, and whether a closed node lets them in while alice has a job.
LOGINS = {
    ("root", OTHER_ORIGIN): True,
    ("admin", ADMIN_ORIGIN): True,
    ("admin", OTHER_ORIGIN): False,
    ("alice", OTHER_ORIGIN): True,
    ("bob", ADMIN_ORIGIN): False,
}


def four_figures(node):
    job = node.job("alice")
    for (user, origin), let_in in LOGINS.items():
        seen = node.ssh(user, origin=origin)
        assert (seen.ok, DENIED in seen.stderr) == (let_in, not let_in), (user, origin, seen)
    with session(node, "alice") as login:
        assert f"/job_{job}/step_extern" in login.ask("cat /proc/self/cgroup")
        node.cancel(job)
        assert login.ended()


def authselect(node, *words):
    """Run it, and tell the files that are its own."""
    node.run(["authselect", *words], check=True)
    return node.snapshot(AUTHSELECT)


def rules(text):
    return [line for line in text.splitlines() if line and not line.startswith("#") and "pam_systemd" not in line]


@pytest.mark.parametrize("layout", ["el9"], indirect=True)
def test_closed_beside_authselect(node):
    assert node.salt("grains.item", "os_family", "osrelease") == {"os_family": "RedHat", "osrelease": "9.6"}
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))
    settings(node)
    before, own = etc(node), node.snapshot(AUTHSELECT)

    first = applied(node)
    assert set(first["slurm_pam-packages-installed"]["changes"]) == {"slurm-pam_slurm"}
    assert node.snapshot(AUTHSELECT) == own
    four_figures(node)
    assert node.salt("slurm_pam.audit")["holds"]
    assert changed(applied(node)) == []

    # An update of authselect's package writes all anew, with another date.
    assert authselect(node, "apply-changes") != own
    assert node.salt("slurm_pam.audit")["holds"]
    # Another profile is told, and followed.
    own = authselect(node, "select", "minimal")
    (finding,) = node.salt("slurm_pam.audit")["findings"]
    assert (finding["subject"], list(finding["changes"])) == (STACKS, [DERIVED])
    assert changed(applied(node)) == [STACKS]
    assert rules(node.read(DERIVED)) == rules(node.read(f"{AUTHSELECT}/password-auth"))
    assert node.snapshot(AUTHSELECT) == own
    assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok

    applied(node, "slurm_pam.clean")
    authselect(node, "select", *PROFILE)
    after = etc(node)
    dated = {path for path in before if path.startswith(AUTHSELECT)}
    assert {path for path in before | after if before.get(path) != after.get(path)} <= dated
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))
