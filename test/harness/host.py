"""Bring this machine to where tests can run: Debian packages and virtual environments, each only if missing."""

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import progress
from harness.paths import CACHE, REPO
from harness.shell import run
from harness.store import fingerprint, forget_old, locked

NODE_PACKAGES = (
    "apt-utils",
    "createrepo-c",
    "dpkg-dev",
    "iproute2",
    "mmdebstrap",
    "openssh-client",
    "pamtester",
    "patchelf",
    "python3",
    "rpm",
    "strace",
    "systemd-container",
    "util-linux",
    "zypper",
)
# For the virtual environments. Salt needs timelib, which comes as source only.
VENV_PACKAGES = ("gcc", "libc6-dev", "python3-dev", "python3-venv")
# A distribution's Python is built with a profile; one that was built by hand often is not, and costs a third more.
DEBIAN_PYTHON = "/usr/bin/python3"
# Programs that functional tests call; as services they are of no use here and stay off.
PROGRAMS = (
    *("apt-utils", "checkpolicy", "chromium", "createrepo-c", "dnf", "graphviz", "openssh-server", "rpm", "secilc"),
    *("slurmctld", "zypper"),
)
POLICY = Path("/usr/sbin/policy-rc.d")

# Where a checkout has them, by its Salt, and what they are made from.
VENVS = {
    "3008": (REPO / ".venv", REPO / "test" / "requirements.txt"),
    "3006": (REPO / ".venv-3006", REPO / "test" / "requirements-3006.txt"),
}


def why_no_node() -> str | None:
    """Why compute nodes cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/etc/debian_version").exists():
        return "needs Debian"
    return None


def install_packages(names: tuple[str, ...] = NODE_PACKAGES + VENV_PACKAGES) -> None:
    """Install the Debian packages that are missing."""
    missing = _missing(names)
    if not missing:
        return
    with locked(CACHE / "apt.lock"), progress.step(f"installing Debian packages: {' '.join(missing)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
        run([*apt, "update"], env=environment)
        run([*apt, "install", "--yes", "--no-install-recommends", *missing], env=environment)


@functools.cache
def install_programs() -> None:
    """Install the programs that functional tests call, with no service of theirs started or enabled."""
    missing = _missing(PROGRAMS)
    if not missing:
        return
    with _no_service_starts():
        install_packages(missing)
    units = {"openssh-server": ["ssh.service", "ssh.socket"], "slurmctld": ["slurmctld.service", "munge.service"]}
    run(["systemctl", "disable", "--quiet", *(unit for name in missing for unit in units.get(name, ()))], check=False)


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian's own switch: package scripts ask this program before they start a service."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _missing(names: tuple[str, ...]) -> tuple[str, ...]:
    query = run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names], check=False)
    lines = query.stdout.splitlines()
    return tuple(name for name in names if f"{name} installed" not in lines)


@functools.cache
def _python() -> str:
    """The Python of which environments are made."""
    if why_no_node():
        return os.path.realpath(sys.executable)
    install_packages(VENV_PACKAGES)
    return os.path.realpath(DEBIAN_PYTHON)


def venv(salt: str = "3008") -> Path:
    """The python of the virtual environment with this Salt and the test tools, made if need be for all checkouts."""
    link, requirements = VENVS[salt]
    python = _python()
    name = f"venv-{salt}"
    place = CACHE / f"{name}-{fingerprint(requirements, python)}"
    with locked(CACHE / f"{name}.lock"):
        # It cannot be made elsewhere and renamed: its programs name the place where they were made.
        if not (whole := place / ".whole").exists():
            forget_old(name)
            with progress.step(f"making {link.name} with Salt {salt}"):
                shutil.rmtree(place, ignore_errors=True)
                run([python, "-m", "venv", place])
                pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet"]
                run([*pip, "--requirement", requirements], timeout=1200)
                whole.touch()
        os.utime(place)
        if not link.is_symlink() or link.readlink() != place:
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(place)
    return place / "bin" / "python"
