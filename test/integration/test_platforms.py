"""Systems that differ in where things are: each is closed, looked at and opened again on a node dressed as it."""

from harness.figures import closed
from harness.formula import DENIED, applied, changed, platform
from harness.node import Node

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
            assert changed(applied(node)) == ["slurm_pam-pam-stacks-managed"]
            assert node.read(SSHD).endswith("session optional pam_mail.so nopen\n")
            assert DENIED in node.ssh("bob").stderr and node.ssh("admin").ok
