"""SLE 16's vendor directories: nothing of sshd's is in /etc, and its sshd reads what is in /usr."""

from pathlib import Path

from harness.layouts import suse
from harness.shell import run

SOURCE = Path(__file__).with_suffix(".c")


def dress(root: Path) -> None:
    suse.dress(root, "/usr/lib64/security")
    for path in ("etc/pam.d/sshd", "etc/ssh/sshd_config"):
        (root / path).unlink()
    vendor = root / "usr/lib64/sshd-vendor.so"
    run(["gcc", "-shared", "-fPIC", "-O2", "-o", vendor, SOURCE])
    run(["patchelf", "--add-needed", f"/{vendor.relative_to(root)}", root / "usr/sbin/sshd"])
