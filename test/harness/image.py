"""Node images: a Debian root with the real daemons, dressed as the layout asks, with a package repository of its own.

The PAM modules of Slurm are in that repository and not installed: installing them is the formula's work.
"""

import shutil
from pathlib import Path

from harness import progress
from harness.layouts import FILES, LAYOUTS, Layout
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


def image(name: str) -> Path:
    """The root directory of this layout's image, built if it is not kept from an earlier run."""
    layout = LAYOUTS[name]
    trees = [FILES / tree for tree in layout.trees]

    def build(root: Path) -> None:
        bare = _bare(layout)
        with progress.step(f"dressing the node image {name}"):
            run(["cp", "--archive", bare, root])
            for tree in trees:
                _lay(tree, root)
            layout.dress(root)
            _people(root)

    making = [path for tree in layout.trees for path in sorted(FILES.glob(f"{tree}.*"))]
    return kept(f"image-{name}", (layout.suite, layout.extra, *trees, *making, Path(__file__)), build)


def _bare(layout: Layout) -> Path:
    """The same root as several layouts dress it, built if it is not kept from an earlier run."""

    def build(root: Path) -> None:
        with progress.step(f"building a root of {layout.suite} (about a minute, kept for the next time)"):
            _bootstrap(root, layout)

    return kept(f"root-{layout.suite}", (layout.suite, layout.extra, Path(__file__)), build)


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
