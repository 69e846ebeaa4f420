"""SUSE's package manager, with Debian's modules in packages that bear SUSE's names, in SUSE's directory."""

from pathlib import Path

from harness.layouts import rpms
from harness.shell import run

SPEC = Path(__file__).with_suffix(".spec")


def dress(root: Path, security: str = "/lib64/security") -> None:
    (root / "etc/debian_version").unlink()
    # libpam looks in the multiarch directory; on SUSE that directory is /usr/lib64/security, up to 15 /lib64/security.
    (root / "usr/lib64/security").symlink_to("../lib/x86_64-linux-gnu/security")
    rpms.build(root, SPEC, "slurm-node", security=security)
    run(["chroot", root, "zypper", "--non-interactive", "--no-gpg-checks", "refresh"])
