"""Node images: a Debian root with the real daemons, dressed as the layout asks, with a package repository of its own.

The PAM modules of Slurm are in that repository and not installed: installing them is the formula's work.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import progress
from harness.shell import TIED, run
from harness.store import kept

USERS = ("admin", "alice", "bob")

PACKAGES = (
    "dbus",
    "diffutils",
    "iproute2",
    "less",
    "libpam-systemd",
    "login",
    "munge",
    "openssh-server",
    "passwd",
    "procps",
    "slurm-client",
    "slurmctld",
    "slurmd",
    "strace",
    "systemd",
    "systemd-sysv",
)
# What Salt's own Python links against; these package names hold in bookworm and in trixie.
PYTHON_LIBRARIES = ("libbz2-1.0", "libcrypt1", "libexpat1", "libffi8", "liblzma5", "libsqlite3-0", "libuuid1", "zlib1g")
# In the node's repository with what they need, to be installed by the formula.
OFFERED = ("libpam-slurm", "libpam-slurm-adopt", "slurmd")
# Started at boot by their packages, of no use in a container.
MASKED = ("apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "systemd-modules-load.service")
# How this machine reaches the Debian archive is how the image is fetched.
APT_OPTIONS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)

FILES = Path(__file__).with_name("layouts")


@dataclass(frozen=True)
class Layout:
    suite: str
    trees: tuple[str, ...]
    extra: tuple[str, ...]
    dress: Callable[[Path], None]


def image(name: str) -> Path:
    """The root directory of this layout's image, built if it is not kept from an earlier run."""
    layout = LAYOUTS[name]
    trees = [FILES / tree for tree in layout.trees]

    def build(root: Path) -> None:
        with progress.step(f"building the node image {name} (about a minute, kept for the next time)"):
            _bootstrap(root, layout)
            for tree in trees:
                _lay(tree, root)
            layout.dress(root)
            _people(root)

    return kept(f"image-{name}", (*trees, *FILES.glob(f"{name}.*"), Path(__file__)), build)


def _bootstrap(root: Path, layout: Layout) -> None:
    get = "apt-get -qq --yes --no-install-recommends -o Dir::Cache::Archives=/srv/packages --download-only --reinstall"
    fetch = f"mkdir -p /srv/packages/partial && {get} install {' '.join(OFFERED)}"
    options = [line for name in APT_OPTIONS for line in run(["apt-config", "dump", name]).stdout.splitlines()]
    # In namespaces of its own: what an interrupted build leaves running or mounted goes with them.
    run(
        [
            *(*TIED, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--quiet"),
            *(f"--aptopt={option}" for option in options),
            f"--include={','.join((*PACKAGES, *PYTHON_LIBRARIES, *layout.extra))}",
            f"--customize-hook=chroot \"$1\" sh -c '{fetch}'",
            *(layout.suite, root),
        ],
        timeout=1800,
    )
    for scratch in ("partial", "lock"):
        run(["rm", "-rf", root / "srv/packages" / scratch])
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")


def _lay(tree: Path, root: Path) -> None:
    """Copy a tree of files over the root, owned by root, links as links."""
    for source in sorted(tree.rglob("*")):
        target = root / source.relative_to(tree)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if target.is_symlink() or target.exists():
            target.unlink()
        shutil.copyfile(source, target, follow_symlinks=False)
        if not source.is_symlink():
            target.chmod(0o644)


def _people(root: Path) -> None:
    for user in USERS:
        run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "--user-group", user])


def _debian(root: Path) -> None:
    """A local apt repository is all the node knows."""
    packages = root / "srv/packages"
    (packages / "Packages").write_text(run(["apt-ftparchive", "packages", "."], cwd=packages).stdout)
    shutil.rmtree(root / "etc/apt/sources.list.d")
    (root / "etc/apt/sources.list.d").mkdir()
    run(["chroot", root, "apt-get", "-qq", "update"])


def _sle15(root: Path) -> None:
    """SLE's package manager, with Debian's modules in packages that bear SLE's names, in SLE's directory."""
    (root / "etc/debian_version").unlink()
    # libpam looks in the multiarch directory; on SLE that directory is /lib64/security.
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
            "debian_root": root,
            "_topdir": scratch / "rpmbuild",
            "_rpmdir": packages,
            "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "_build_id_links": "none",
            "__strip": "/bin/true",
        }
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        run(["rpmbuild", "-bb", "--nodeps", *words, FILES / "sle15.spec"])
    for package in packages.glob("*.deb"):
        package.unlink()
    run(["createrepo_c", "--quiet", packages])
    run(["chroot", root, "rpm", "--initdb"])
    node_package = next(packages.glob("slurm-node-*.rpm"))
    run(["chroot", root, "rpm", "--install", "--nodeps", f"/srv/packages/{node_package.name}"])
    run(["chroot", root, "zypper", "--non-interactive", "--no-gpg-checks", "refresh"])


SLE15_TOOLS = ("libslurm38", "rpm", "zypper")
# A directory service, and what asks it.
DIRECTORY = ("krb5-admin-server", "krb5-kdc", "krb5-user", "libnss-sss", "libpam-sss", "slapd", "sssd-ldap")

LAYOUTS = {
    "sle15": Layout("bookworm", ("common", "sle15"), SLE15_TOOLS, _sle15),
    "sle15-directory": Layout("bookworm", ("common", "sle15", "directory"), (*SLE15_TOOLS, *DIRECTORY), _sle15),
    "debian12": Layout("bookworm", ("common", "debian"), (), _debian),
    "debian13": Layout("trixie", ("common", "debian"), (), _debian),
}
