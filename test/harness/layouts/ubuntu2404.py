"""Ubuntu's sshd, which a socket starts, and SchedMD's package of Slurm's module beside the distribution's."""

import tempfile
from pathlib import Path

from harness.layouts import debian
from harness.shell import run

# As SchedMD's debian/control has it: it conflicts with the distribution's, and provides nothing of that name.
SCHEDMD, THEIRS = "slurm-smd-libpam-slurm-adopt", "libpam-slurm-adopt"


def dress(root: Path) -> None:
    _repack(root / "srv/packages")
    debian.dress(root)
    for verb in ("disable ssh.service", "enable ssh.socket"):
        run(["chroot", root, "systemctl", "--quiet", *verb.split()])


def _repack(packages: Path) -> None:
    """The distribution's module in a package of SchedMD's name, in the directory that it has there."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / SCHEDMD
        run(["dpkg-deb", "--raw-extract", next(packages.glob(f"{THEIRS}_*.deb")), tree])
        module = next(tree.rglob("pam_slurm_adopt.so"))
        (tree / "usr/lib/security").mkdir()
        module.rename(tree / "usr/lib/security" / module.name)
        control = tree / "DEBIAN/control"
        lines = [line for line in control.read_text().splitlines() if not line.startswith(("Source:", "Multi-Arch:"))]
        lines[lines.index(f"Package: {THEIRS}")] = f"Package: {SCHEDMD}\nConflicts: {THEIRS}"
        control.write_text("".join(f"{line}\n" for line in lines))
        (tree / "DEBIAN/md5sums").unlink()
        run(["dpkg-deb", "--root-owner-group", "--build", tree, packages])
