"""A node dressed as EL 9, whose stacks are authselect's: closed in sshd's own file, looked at, followed, and opened."""

import pytest
from harness.doors import Doors
from harness.formula import DENIED, applied, changed, etc, settings
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN
from harness.session import session

AUTHSELECT = "/etc/authselect"
PROFILE = ("sssd", "with-faillock", "with-mkhomedir", "with-pamaccess")
# EL 9's systemd is one that keeps logind.
SETTINGS = {"logind": "keep"}
STACKS = "slurm_pam-pam-stacks-managed"
DERIVED, DERIVED_OF_LOGIN = "/etc/pam.d/slurm-common-session", "/etc/pam.d/slurm-door-login-session"
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


def at_the_console_and_by_su(node):
    """Who gets in, and whether into alice's job; None if somebody does not."""
    doors, job = Doors(node), node.job("alice")
    found = {(user, "login"): doors.login(user) for user in ("bob", "alice", "root")}
    found |= {(user, "su"): doors.su(user, from_="alice") for user in ("bob", "alice", "root")}
    # root becomes anybody by su, as su's own file has it, and nobody by su -.
    for words in ("su", "su -"):
        done = node.run(["sh", "-c", f"{words} bob -c 'cat /proc/self/cgroup'"])
        found["bob", f"{words} of root"] = done.stdout if done.ok else None
    node.cancel(job)
    return {way: cgroup and f"/job_{job}/" in cgroup for way, cgroup in found.items()}


SHUT = {
    ("bob", "login"): None,
    ("alice", "login"): True,
    ("root", "login"): False,
    ("bob", "su"): None,
    ("alice", "su"): True,
    ("root", "su"): True,
    ("bob", "su of root"): False,
    ("bob", "su - of root"): None,
}


def rules(text):
    return [line for line in text.splitlines() if line and not line.startswith("#") and "pam_systemd" not in line]


@pytest.mark.parametrize("layout", ["el9"], indirect=True)
def test_closed_beside_authselect(node):
    assert node.salt("grains.item", "os_family", "osrelease") == {"os_family": "RedHat", "osrelease": "9.6"}
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))
    settings(node, **SETTINGS)
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
    # Another profile is told, and followed; doors that name system-auth are closed beside it.
    own = authselect(node, "select", "minimal")
    (finding,) = node.salt("slurm_pam.audit")["findings"]
    assert (finding["subject"], list(finding["changes"])) == (STACKS, [DERIVED])
    settings(node, **SETTINGS, doors=dict.fromkeys(("login", "su", "su-l", "systemd-user"), "close"))
    assert set(changed(applied(node))) == {STACKS, "slurm_pam-places-recorded"}
    for derived, source in ((DERIVED, "password-auth"), (DERIVED_OF_LOGIN, "system-auth")):
        assert rules(node.read(derived)) == rules(node.read(f"{AUTHSELECT}/{source}"))
    assert node.snapshot(AUTHSELECT) == own
    assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok
    assert at_the_console_and_by_su(node) == SHUT

    applied(node, "slurm_pam.clean")
    authselect(node, "select", *PROFILE)
    after = etc(node)
    dated = {path for path in before if path.startswith(AUTHSELECT)}
    assert {path for path in before | after if before.get(path) != after.get(path)} <= dated
    assert all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))
