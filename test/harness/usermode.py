"""A node as a machine of its own: a kernel in user space (User Mode Linux), with cgroup v2, reboots and power cuts.

It has one processor, no cpuset and no KVM to ask for. Its disk is the layout's image as a file system, which stays as
it is; what the machine writes is kept beside it. What depends on the site is laid ready in a directory, and the
machine's first program puts it in place before systemd starts.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import agent, host, network, slurm
from harness.container import become
from harness.kernel import kernel
from harness.salt_tree import HOME as SALT_HOME
from harness.shell import TIED, run
from harness.site import Site
from harness.store import kept

PACKAGES = ("e2fsprogs",)
MEMORY = 1024  # MiB
DISK = "3G"
FURNISHED = "/var/lib/harness-furnished"
# Where the image has SELinux: which file gets which label.
CONTEXTS = "/etc/selinux/default/contexts/files/file_contexts"
FURNISH = f"""\
#!/bin/sh
# The first program of this machine: puts in place what its site has laid ready, once, and makes way for systemd.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -o remount,rw /
if [ ! -e {FURNISHED} ]; then
    mount -t hostfs none /mnt -o "hostfs=$(sed -n 's/.*site=\\([^ ]*\\).*/\\1/p' /proc/cmdline)"
    cp -a /mnt/root/. /
    chpasswd < /mnt/passwords
    umount /mnt
    [ ! -e {CONTEXTS} ] || setfiles -F {CONTEXTS} /
    touch {FURNISHED}
fi
umount /proc
exec /sbin/init
"""
NETWORK = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set lo up
ExecStart=ip addr add {address}/{prefix} dev vec0
ExecStart=ip link set vec0 up
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
UNITS = "/etc/systemd/system"


def disk(image: Path) -> Path:
    """The image as a file system, made if it is not kept from an earlier run."""

    def build(directory: Path) -> None:
        directory.mkdir()
        root = directory / "root"
        run([*TIED, "cp", "-a", image, root], timeout=600)
        first = root / "sbin/harness-furnish"
        first.write_text(FURNISH)
        first.chmod(0o755)
        run(["truncate", "-s", DISK, directory / "disk.raw"])
        run([*TIED, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, directory / "disk.raw"], timeout=600)
        run(["rm", "-rf", root])

    return kept(f"usermode-{image.name}", (image.name, FURNISH, DISK), build) / "disk.raw"


class UserMode:
    """User Mode Linux on a copy-on-write disk, plugged into the site's network."""

    SHAPE = slurm.Shape(processors=1, memory=900)

    def __init__(self, site: Site, name: str, directory: Path, state: dict) -> None:
        self.site, self.name, self.directory, self.state = site, name, directory, state

    @property
    def root(self) -> Path:
        """What is laid ready for it, before it runs."""
        return self.directory / "site" / "root"

    def lay_disk(self, image: Path) -> None:
        host.install_packages(PACKAGES)
        self.state |= {"disk": str(disk(image)), "selinux": (image / CONTEXTS[1:]).exists()}
        self.root.mkdir(parents=True)

    def set_passwords(self, lines: str) -> None:
        path = self.directory / "site" / "passwords"
        path.touch(mode=0o600)
        path.write_text(lines)

    def start(self, launcher: Sequence[str], shared: dict[str, Path], log: Path) -> subprocess.Popen:
        """Boot it, with these directories of this machine in it, read-only."""
        index = self.site.hosts.index(self.name)
        network.plug_in(self.site.name, self.name, index)
        self._furnish(network.node_address(index), shared)
        self.state["boot"] = [*launcher, *self._kernel(index)]
        return self._boot(log)

    def _boot(self, log: Path) -> subprocess.Popen:
        with log.open("a") as console:
            return subprocess.Popen(
                self.state["boot"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": "/root", "TMPDIR": "/dev/shm"},
            )

    def _kernel(self, index: int) -> list[str]:
        return [
            *("nsenter", f"--net={network.path(self.site.name, self.name)}", *kernel(), f"mem={MEMORY}M"),
            *(f"ubd0={self.directory}/changes,{self.state['disk']}", "root=/dev/ubda", "ro", "quiet"),
            *("con=null", "con0=null,fd:1", "net.ifnames=0", "init=/sbin/harness-furnish"),
            f"site={self.directory}/site",
            f"vec0:transport=raw,ifname=eth0,depth=32,gro=0,mac=52:54:00:00:00:{index:02x}",
        ]

    def _furnish(self, address: str, shared: dict[str, Path]) -> None:
        label = "context=system_u:object_r:bin_t:s0," if self.state["selinux"] else ""
        mounts = "".join(f"none {target} hostfs ro,{label}hostfs={source} 0 0\n" for target, source in shared.items())
        for target in shared:
            (self.root / target[1:]).mkdir(parents=True, exist_ok=True)
        self.write("/etc/fstab", f"/dev/ubda / ext4 rw 0 1\n{mounts}")
        routes = {"prefix": network.PREFIX, "other": network.OTHER_NETWORK, "gateway": network.ADMIN_ORIGIN}
        self.write(f"{UNITS}/harness-network.service", NETWORK.format(address=address, **routes))
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
        self.state["up"] = run(self.command(["true"], "root"), check=False, timeout=20).ok
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

    def start_again(self, log: Path) -> subprocess.Popen:
        self.state["up"] = False
        return self._boot(log)


