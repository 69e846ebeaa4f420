"""A node as a container: the kernel is this machine's, and so are its cgroup controllers."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness import cgroups, network, slurm, warm
from harness.paths import REPO
from harness.shell import run
from harness.site import Site, machine
from harness.store import kept

BECOME = ("setpriv", "--reuid={user}", "--regid={user}", "--init-groups", "--reset-env", "env")


def become(user: str) -> list[str]:
    """The words that run a command as a user, with nothing of the caller's environment."""
    return [word.format(user=user) for word in BECOME]


def compiled() -> Path:
    """The directory where nodes and masters keep the code that Salt compiles of this formula."""
    return kept("compiled", tuple(REPO / part for part in ("_modules", "_states", "slurm_pam")), Path.mkdir)


class Container:
    """systemd in namespaces of its own, over an image that stays as it is."""

    SHAPE = slurm.Shape(processors=8)
    PATIENCE = 1

    def __init__(self, site: Site, name: str, directory: Path, state: dict) -> None:
        self.site, self.name, self.directory, self.state = site, name, directory, state

    @property
    def root(self) -> Path:
        """The node's files, before it runs and while it does."""
        return self.directory / "disk" / "root"

    @property
    def init(self) -> int:
        return self.state.get("init", 0)

    def lay_disk(self, image: Path) -> None:
        """A copy of the image that costs nothing: its changes stay in memory and go with the node."""
        disk = self.directory / "disk"
        disk.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "slurm_pam-test", disk])
        for part in ("upper", "work", "root"):
            (disk / part).mkdir(mode=0o755)
        options = f"lowerdir={image},upperdir={disk}/upper,workdir={disk}/work"
        run(["mount", "-t", "overlay", "-o", options, "slurm_pam-test", self.root])

    def set_passwords(self, lines: str) -> None:
        run(["chroot", self.root, "chpasswd"], input=lines)

    def start(self, launcher: Sequence[str], shared: dict[str, Path], log: Path) -> subprocess.Popen:
        """Boot it, with these directories of this machine in it, read-only."""
        network.raise_node(self.site.name, self.name, self.site.hosts.index(self.name))
        command = [
            *("systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit", "--capability=all"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"),
            f"--directory={self.root}",
            f"--machine={machine(self.site.name, self.name)}",
            f"--hostname={self.name}",
            f"--network-namespace-path={network.path(self.site.name, self.name)}",
            *(f"--bind-ro={source}:{target}" for target, source in shared.items()),
            f"--bind={compiled()}:{warm.ON_A_NODE}",
        ]
        with log.open("w") as console:
            return subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    @property
    def running(self) -> bool:
        return bool(self.init)

    def is_up(self, started: subprocess.Popen) -> bool:
        """Whether its first process runs; from then on commands can be run in it."""
        self.state["init"] = _only_child(started.pid) or 0
        return self.running

    def command(self, words: Sequence[str], user: str) -> list[str]:
        """The words that run a command in the node from here, for subprocess."""
        own = cgroups.hierarchies(self.init)
        groups = [group.parent / "exec" if group.name == "init.scope" else group for group in own.values()]
        into = ["nsenter", f"--target={self.init}", "--all", "--root", "--wd"]
        return [*cgroups.entering(groups), *into, *become(user), *words]

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text(errors="surrogateescape")



def _only_child(pid: int) -> int | None:
    """The container's init: the only child of the program that runs the container."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    inits = [int(child) for child in children if _is_init(child)]
    return inits[0] if inits else None


def _is_init(pid: str) -> bool:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines())
    return False
