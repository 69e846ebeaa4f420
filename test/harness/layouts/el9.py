"""EL 9's package manager, packages of EPEL's names with Debian's modules, and PAM files that authselect has written."""

import shutil
import tempfile
from pathlib import Path

from harness.shell import run

HERE = Path(__file__).with_suffix("")
SPEC = Path(__file__).with_suffix(".spec")
# What is chosen where people come from a directory.
PROFILE = ("sssd", "with-faillock", "with-mkhomedir", "with-pamaccess")


def dress(root: Path) -> None:
    (root / "etc/debian_version").unlink()
    # libpam looks in the multiarch directory; on EL that directory is /usr/lib64/security.
    (root / "usr/lib64/security").symlink_to("../lib/x86_64-linux-gnu/security")
    _package(root)
    _authselect(root)
    for path, mode in (("sshd_config.d", 0o700), ("sshd_config", 0o600), ("sshd_config.d/50-redhat.conf", 0o600)):
        (root / "etc/ssh" / path).chmod(mode)


def _package(root: Path) -> None:
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
    node_package = next(packages.glob("slurm-slurmd-*.rpm"))
    run(["chroot", root, "rpm", "--install", "--nodeps", f"/srv/packages/{node_package.name}"])
    run(["chroot", root, "dnf", "--quiet", "makecache"])


def _authselect(root: Path) -> None:
    """EL's PAM files instead of Debian's, which name common-auth and the like."""
    pam = root / "etc/pam.d"
    for path in pam.iterdir():
        if not (HERE / "etc/pam.d" / path.name).exists():
            path.unlink()
    (root / "etc/authselect").mkdir()
    (root / "usr/bin/authselect").chmod(0o755)
    run(["chroot", root, "authselect", "select", *PROFILE])
