"""Systems that differ in where things are: each is closed, looked at and opened again on a node dressed as it."""

from harness.doors import Doors
from harness.figures import closed
from harness.formula import DENIED, applied, changed, platform, settings
from harness.node import Node

STACKS = "slurm_pam-pam-stacks-managed"
VENDOR_SSHD, SSHD = "/usr/lib/pam.d/sshd", "/etc/pam.d/sshd"


def effective(node, *options):
    """What sshd says of itself."""
    shown = node.run(["sshd", "-T"], check=True).stdout
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in shown.splitlines() if line.startswith(options)}


def test_sle15sp7(machine):
    with Node.boot("sle15sp7") as node:
        assert platform(node) == ("Suse", "15.7")
        with closed(node, logind="keep"):
            ours, last = node.read(SSHD).splitlines()[-2:]
            assert "slurm-common-session" in ours and "pam_motd.so" in last


def test_sle16_has_nothing_of_sshds_in_etc(machine):
    with Node.boot("sle16") as node:
        assert platform(node) == ("Suse", "16.0")
        assert effective(node, "permitrootlogin") == {"permitrootlogin": "yes"}
        with closed(node, logind="keep"):
            # The vendor's drop-ins come after those of /etc, and no sshd_config is made in front of the vendor's.
            told = effective(node, "permitrootlogin", "passwordauthentication", "usepam")
            assert told == {"permitrootlogin": "without-password", "passwordauthentication": "no", "usepam": "yes"}
            assert not node.run(["test", "-e", "/etc/ssh/sshd_config"]).ok
            copied = node.read(SSHD)
            assert copied.replace("slurm-common-", "common-").partition("\n")[2] == node.read(VENDOR_SSHD)
            # Its package is updated.
            node.write(VENDOR_SSHD, node.read(VENDOR_SSHD) + "session optional pam_mail.so nopen\n")
            assert SSHD in str(node.salt("slurm_pam.audit")["findings"])
            assert changed(applied(node)) == [STACKS]
            assert node.read(SSHD).endswith("session optional pam_mail.so nopen\n")
            assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok


AUTHSELECT = "/etc/authselect"
# What is derived from which of authselect's stacks, for sshd and for a door.
DERIVED = {"slurm-common-session": "password-auth", "slurm-door-login-session": "system-auth"}
# Who gets in by which of them, and whether into alice's job; None if somebody does not.
SHUT = {
    ("bob", "login"): None,
    ("alice", "login"): True,
    ("root", "login"): False,
    ("bob", "su"): None,
    ("alice", "su"): True,
    ("root", "su"): True,
    # root becomes anybody by su, as su's own file has it there, and nobody by su -.
    ("bob", "su of root"): False,
    ("bob", "su - of root"): None,
}


def authselect(node, *words):
    """Run it, and tell the files that are its own."""
    node.run(["authselect", *words], check=True)
    return node.snapshot(AUTHSELECT)


def at_the_console_and_by_su(node):
    doors, job = Doors(node), node.job("alice")
    found = {(user, "login"): doors.login(user) for user in ("bob", "alice", "root")}
    found |= {(user, "su"): doors.su(user, from_="alice") for user in ("bob", "alice", "root")}
    for words in ("su", "su -"):
        done = node.run(["sh", "-c", f"{words} bob -c 'cat /proc/self/cgroup'"])
        found["bob", f"{words} of root"] = done.stdout if done.ok else None
    node.cancel(job)
    return {way: cgroup and f"/job_{job}/" in cgroup for way, cgroup in found.items()}


def rules(text):
    return [line for line in text.splitlines() if line and not line.startswith("#") and "pam_systemd" not in line]


def test_el9_is_closed_beside_authselect(machine):
    with Node.boot("el9") as node:
        assert platform(node) == ("RedHat", "9.6")
        node.run(["cp", "-a", AUTHSELECT, "/root/authselect"], check=True)
        own = node.snapshot(AUTHSELECT)
        with closed(node, logind="keep"):
            assert node.run(["rpm", "--query", "slurm-pam_slurm"]).ok
            assert node.snapshot(AUTHSELECT) == own
            # An update of authselect's package writes all anew, with another date.
            assert authselect(node, "apply-changes") != own
            assert node.salt("slurm_pam.audit")["holds"]
            # Another profile is told, and followed; doors that name system-auth are closed beside it.
            own = authselect(node, "select", "minimal")
            (finding,) = node.salt("slurm_pam.audit")["findings"]
            assert (finding["subject"], list(finding["changes"])) == (STACKS, ["/etc/pam.d/slurm-common-session"])
            settings(node, logind="keep", doors=dict.fromkeys(("login", "su", "su-l", "systemd-user"), "close"))
            assert STACKS in changed(applied(node))
            for derived, source in DERIVED.items():
                assert rules(node.read(f"/etc/pam.d/{derived}")) == rules(node.read(f"{AUTHSELECT}/{source}"))
            assert node.snapshot(AUTHSELECT) == own
            assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok
            assert at_the_console_and_by_su(node) == SHUT
            # The doors are opened again.
            node.run(["cp", "-a", "/root/authselect/.", AUTHSELECT], check=True)
            settings(node, logind="keep")
            assert changed(applied(node)) == [STACKS]
