"""Debian's modules of Slurm in packages that bear another system's names, in a repository of rpms."""

import shutil
import tempfile
from pathlib import Path

from harness.shell import run


def build(root: Path, spec: Path, installed: str, **defines: object) -> None:
    """
    Put the packages of a spec file in the place of Debian's, and install one of them.

    installed
        Its name.
    defines
        What the spec file takes besides.
    """
    packages = root / "srv/packages"
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for package in packages.glob("libpam-slurm*.deb"):
            run(["dpkg-deb", "--extract", package, scratch / "unpacked"])
        modules = scratch / "modules"
        modules.mkdir()
        for module in (scratch / "unpacked").rglob("*.so"):
            shutil.copy(module, modules)
        version = run(
            ["chroot", root, "dpkg-query", "--show", "--showformat=${source:Upstream-Version}", "slurmd"]
        ).stdout
        defines |= {
            "slurm_version": version,
            "modules": modules,
            "debian_root": root,
            "_topdir": scratch / "rpmbuild",
            "_rpmdir": packages,
            "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "_build_id_links": "none",
            "__strip": "/bin/true",
        }
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        run(["rpmbuild", "-bb", "--nodeps", *words, spec])
    for package in packages.glob("*.deb"):
        package.unlink()
    run(["createrepo_c", "--quiet", packages])
    run(["chroot", root, "rpm", "--initdb"])
    package = next(packages.glob(f"{installed}-*.rpm"))
    run(["chroot", root, "rpm", "--install", "--nodeps", f"/srv/packages/{package.name}"])
