"""EL 9's package manager, packages of EPEL's names with Debian's modules, and PAM files that authselect has written."""

from pathlib import Path

from harness.layouts import rpms
from harness.shell import run

HERE = Path(__file__).with_suffix("")
SPEC = Path(__file__).with_suffix(".spec")
# What is chosen where people come from a directory.
PROFILE = ("sssd", "with-faillock", "with-mkhomedir", "with-pamaccess")


def dress(root: Path) -> None:
    (root / "etc/debian_version").unlink()
    # libpam looks in the multiarch directory; on EL that directory is /usr/lib64/security.
    (root / "usr/lib64/security").symlink_to("../lib/x86_64-linux-gnu/security")
    rpms.build(root, SPEC, "slurm-slurmd")
    run(["chroot", root, "dnf", "--quiet", "makecache"])
    _authselect(root)
    for path, mode in (("sshd_config.d", 0o700), ("sshd_config", 0o600), ("sshd_config.d/50-redhat.conf", 0o600)):
        (root / "etc/ssh" / path).chmod(mode)


def _authselect(root: Path) -> None:
    """EL's PAM files instead of Debian's, which name common-auth and the like."""
    pam = root / "etc/pam.d"
    for path in pam.iterdir():
        if not (HERE / "etc/pam.d" / path.name).exists():
            path.unlink()
    (root / "etc/authselect").mkdir()
    (root / "usr/bin/authselect").chmod(0o755)
    run(["chroot", root, "authselect", "select", *PROFILE])
