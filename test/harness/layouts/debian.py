"""Debian as it is; a local apt repository is all the node knows."""

import shutil
from pathlib import Path

from harness.shell import run


def dress(root: Path) -> None:
    packages = root / "srv/packages"
    (packages / "Packages").write_text(run(["apt-ftparchive", "packages", "."], cwd=packages).stdout)
    shutil.rmtree(root / "etc/apt/sources.list.d")
    (root / "etc/apt/sources.list.d").mkdir()
    run(["chroot", root, "apt-get", "-qq", "update"])
