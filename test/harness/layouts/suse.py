"""SUSE's package manager, with Debian's modules in packages that bear SUSE's names, in SUSE's directory."""

import shutil
import tempfile
from pathlib import Path

from harness.shell import run

SPEC = Path(__file__).with_suffix(".spec")


def dress(root: Path, security: str = "/lib64/security") -> None:
    (root / "etc/debian_version").unlink()
    # libpam looks in the multiarch directory; on SUSE that directory is /usr/lib64/security, up to 15 /lib64/security.
    (root / "usr/lib64/security").symlink_to("../lib/x86_64-linux-gnu/security")
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
        defines = {
            "slurm_version": version,
            "modules": modules,
            "security": security,
            "debian_root": root,
            "_topdir": scratch / "rpmbuild",
            "_rpmdir": packages,
            "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "_build_id_links": "none",
            "__strip": "/bin/true",
        }
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        run(["rpmbuild", "-bb", "--nodeps", *words, SPEC])
    for package in packages.glob("*.deb"):
        package.unlink()
    run(["createrepo_c", "--quiet", packages])
    run(["chroot", root, "rpm", "--initdb"])
    node_package = next(packages.glob("slurm-node-*.rpm"))
    run(["chroot", root, "rpm", "--install", "--nodeps", f"/srv/packages/{node_package.name}"])
    run(["chroot", root, "zypper", "--non-interactive", "--no-gpg-checks", "refresh"])
