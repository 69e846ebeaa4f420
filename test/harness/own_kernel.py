"""A node with a kernel of its own: cgroup v2, reboots and power cuts, whatever it is that runs the kernel.

Its disk is the layout's image as a file system, which stays as it is; what the machine writes is kept beside it. What
depends on the site is laid ready in a directory, and the machine puts it in place once. Commands are asked of an agent
in it, over its network.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from harness import agent, host, network, slurm
from harness.container import become
from harness.salt_tree import HOME as SALT_HOME
from harness.shell import TIED, run
from harness.site import Site
from harness.store import kept

SIZE = "3G"
MEMORY = 1024  # MiB
UNITS = "/etc/systemd/system"
# Where the image has SELinux: which file gets which label.
CONTEXTS = "/etc/selinux/default/contexts/files/file_contexts"
FURNISH = f"""\
#!/bin/sh
# Puts in place what the site has laid ready for this machine; the words say what is to be mounted.
set -e
mount "$@" /mnt
# What is there keeps its label, the root directory above all.
cp -a --no-preserve=context,xattr /mnt/root/. /
chpasswd < /mnt/passwords
if [ -e {CONTEXTS} ]; then
    (cd /mnt/root; find . -mindepth 1 | cut -c 2-; find /etc) | setfiles -F -f - {CONTEXTS}
fi
umount /mnt
"""
NETWORK = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set lo up
ExecStart=ip link set {device} address {mac}
ExecStart=ip addr add {address}/{prefix} dev {device}
ExecStart=ip link set {device} up
ExecStart=ip route add {other} via {gateway}
"""
AGENT = f"""\
[Unit]
Requires=harness-network.service
After=harness-network.service
[Service]
ExecStart={SALT_HOME}/bin/python3 /usr/local/lib/harness-agent.py
KillMode=process
"""


def disk(image: Path, programs: Mapping[str, str]) -> Path:
    """The image as a file system with these programs in it, made if it is not kept from an earlier run."""

    def build(directory: Path) -> None:
        directory.mkdir()
        root = directory / "root"
        run([*TIED, "cp", "-a", image, root], timeout=600)
        for path, text in {"/usr/local/sbin/harness-furnish": FURNISH, **programs}.items():
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / path[1:]).write_text(text)
            (root / path[1:]).chmod(0o755 if text.startswith("#!") else 0o644)
        if (root / CONTEXTS[1:]).exists():
            run(["chroot", root, "setfiles", "-F", CONTEXTS, "/"])
        run(["truncate", "-s", SIZE, directory / "disk.raw"])
        run([*TIED, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, directory / "disk.raw"], timeout=600)
        run(["rm", "-rf", root])

    return kept(f"disk-{image.name.rpartition('-')[0]}", (image.name, FURNISH, programs, SIZE), build) / "disk.raw"


class OwnKernel(ABC):
    """What machines with a kernel of their own have in common; each says how it is started."""

    SHAPE: slurm.Shape
    # How many times as long as for others is to be waited for it.
    PATIENCE: int
    PACKAGES: tuple[str, ...] = ()
    # What is in its image besides, by path.
    PROGRAMS: ClassVar[Mapping[str, str]]
    DISK: str
    NETWORK: str

    def __init__(self, site: Site, name: str, directory: Path, state: dict) -> None:
        self.site, self.name, self.directory, self.state = site, name, directory, state

    @property
    def root(self) -> Path:
        """What is laid ready for it, before it runs."""
        return self.directory / "site" / "root"

    @property
    def mac(self) -> str:
        return f"52:54:00:00:00:{self.index:02x}"

    @property
    def index(self) -> int:
        return self.site.hosts.index(self.name)

    def lay_disk(self, image: Path) -> None:
        host.install_packages(("e2fsprogs", *self.PACKAGES))
        self.state |= {"disk": str(disk(image, self.PROGRAMS)), "selinux": (image / CONTEXTS[1:]).exists()}
        self.root.mkdir(parents=True)

    def set_passwords(self, lines: str) -> None:
        path = self.directory / "site" / "passwords"
        path.touch(mode=0o600)
        path.write_text(lines)

    def start(self, launcher: Sequence[str], shared: dict[str, Path], log: Path) -> subprocess.Popen:
        """Boot it, with these directories of this machine in it, read-only."""
        self._furnish(shared)
        self.state |= {"launcher": list(launcher), "shared": list(map(str, shared.values()))}
        return self._boot([*launcher, *self._first_boot()], log)

    def start_again(self, log: Path) -> subprocess.Popen:
        self.state["up"] = False
        return self._boot([*self.state["launcher"], *self._next_boot()], log)

    @abstractmethod
    def _first_boot(self) -> list[str]:
        """Plug it in; the words that start it."""

    @abstractmethod
    def _next_boot(self) -> list[str]:
        """The words that start it once more."""

    @abstractmethod
    def _mount(self, number: int, source: Path) -> tuple[str, str, str]:
        """A directory of this machine in that one: device, file system, options."""

    def _boot(self, words: Sequence[str], log: Path) -> subprocess.Popen:
        with log.open("a") as console:
            return subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": "/root", "TMPDIR": "/dev/shm"},
            )

    def _furnish(self, shared: dict[str, Path]) -> None:
        label = ",context=system_u:object_r:bin_t:s0" if self.state["selinux"] else ""
        mounts = f"{self.DISK} / ext4 rw 0 1\n"
        for number, (target, source) in enumerate(shared.items()):
            (self.root / target[1:]).mkdir(parents=True, exist_ok=True)
            device, kind, options = self._mount(number, source)
            mounts += f"{device} {target} {kind} ro,{options}{label} 0 0\n"
        self.write("/etc/fstab", mounts)
        own = {"device": self.NETWORK, "mac": self.mac, "address": network.node_address(self.index)}
        routes = {"prefix": network.PREFIX, "other": network.OTHER_NETWORK, "gateway": network.ADMIN_ORIGIN}
        self.write(f"{UNITS}/harness-network.service", NETWORK.format(**own, **routes))
        self.write(f"{UNITS}/harness-agent.service", AGENT)
        self.write("/usr/local/lib/harness-agent.py", Path(agent.__file__).read_text())
        wants = self.root / UNITS[1:] / "multi-user.target.wants"
        wants.mkdir()
        (wants / "harness-agent.service").symlink_to("../harness-agent.service")

    @property
    def running(self) -> bool:
        return self.state.get("up", False)

    def is_up(self, started: subprocess.Popen) -> bool:
        """Whether commands can be run in it."""
        self.state["up"] = False
        # On a busy machine the question may outlive its patience; it is asked again.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.state["up"] = run(self.command(["true"], "root"), check=False, timeout=20 * self.PATIENCE).ok
        return self.state["up"]

    def command(self, words: Sequence[str], user: str) -> list[str]:
        """The words that run a command in the node from here, for subprocess."""
        outside = network.path(self.site.name, "outside")
        ask = ["nsenter", f"--net={outside}", sys.executable, agent.__file__, self.site.addresses[self.name]]
        return [*ask, *become(user), *words]

    def write(self, path: str, text: str) -> None:
        if self.running:
            line = f"mkdir -p {shlex.quote(os.path.dirname(path))} && cat > {shlex.quote(path)}"
            run(self.command(["sh", "-c", line], "root"), input=text)
            return
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return run(self.command(["cat", path], "root")).stdout

    def cut_power(self, processes: set[int]) -> None:
        for process in processes:
            os.kill(process, signal.SIGKILL)
