"""A node on QEMU: two processors, and every controller of cgroup v2. They are emulated, so it takes its time.

It is booted once for each image, up to where it needs its site, and kept as it is then. Each node goes on from there:
it is told the time over its console, and by that, that it is one. After a reboot it boots as any machine does.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from harness import network, progress, slurm
from harness.kernel import emulated
from harness.own_kernel import MEMORY, OwnKernel
from harness.shell import TIED, Failed, run, tail
from harness.store import kept

WAITING = "harness: this machine waits for its site"
TARGET = "harness-waiting.target"
PROGRAMS = {
    f"/usr/local/lib/systemd/system/{TARGET}": """\
[Unit]
Requires=basic.target harness-wait.service
After=basic.target
""",
    "/usr/local/lib/systemd/system/harness-wait.service": """\
[Service]
ExecStart=/usr/local/sbin/harness-wait
""",
    "/usr/local/sbin/harness-wait": f"""\
#!/bin/sh -e
# The machine as far as it is kept. Where it goes on, it is told the time.
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
stty -echo
echo {WAITING}
# It may miss how a line begins.
until read -r word now && [ "$word" = now ]; do :; done
date --set="@$now"
harness-furnish -t 9p -o trans=virtio,ro shared0
cat /etc/hostname > /proc/sys/kernel/hostname
mount --all
systemctl daemon-reload
systemctl start --no-block default.target
""",
}
# Nobody is at its console, it has no secrets to keep from those on it, and it is slow.
OPTIONS = "console=ttyS0 quiet net.ifnames=0 mitigations=off"
OPTIONS += " systemd.getty_auto=no systemd.default_timeout_start_sec=600"


class Qemu(OwnKernel):
    """QEMU's own processors on a copy-on-write disk, plugged into the site's network."""

    SHAPE = slurm.Shape(processors=2, memory=900, held_to=("Cores", "Devices", "RAMSpace"))
    PATIENCE = 10
    PACKAGES = ("qemu-system-x86", "qemu-utils")
    PROGRAMS = PROGRAMS
    DISK = "/dev/vda"
    NETWORK = "eth0"

    def _first_boot(self) -> list[str]:
        network.plug_in_tap(self.site.name, self.index)
        waiting = self._waiting()
        _overlay(waiting / "disk.qcow2", "qcow2", self._changes)
        return [*self._next_boot(), "-incoming", f"exec:cat {shlex.quote(str(waiting))}/memory"]

    def _next_boot(self) -> list[str]:
        tap = f"tap,id=net,ifname={network.port(self.index)},script=no,downscript=no"
        exports = [self.directory / "site", *self.state["shared"]]
        machine = self._machine(self._changes, tap, exports, OPTIONS)
        outside = network.path(self.site.name, "outside")
        return ["nsenter", f"--net={outside}", *machine, "-chardev", "stdio,id=console"]

    @property
    def _changes(self) -> Path:
        return self.directory / "changes.qcow2"

    def is_up(self, started: subprocess.Popen) -> bool:
        # It may not hear yet, and once it has gone on it does not listen.
        with contextlib.suppress(BrokenPipeError):
            started.stdin.write(f"now {time.time():.0f}\n".encode())
            started.stdin.flush()
        return super().is_up(started)

    def _mount(self, number: int, source: Path) -> tuple[str, str, str]:
        return f"shared{number + 1}", "9p", "trans=virtio,msize=512000,cache=loose"

    def _machine(self, disk: Path, net: str, exports: Sequence[Path | str], options: str) -> list[str]:
        """The words that start a machine. It goes on only where it has the same devices."""
        if self.state["selinux"]:
            options += " security=selinux selinux=1"
        shared = [
            word
            for number, path in enumerate(exports)
            for word in (
                *("-fsdev", f"local,id=shared{number},path={path},security_model=none,readonly=on"),
                *("-device", f"virtio-9p-pci,fsdev=shared{number},mount_tag=shared{number}"),
            )
        ]
        kernel = emulated()
        return [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64"),
            *("-smp", str(self.SHAPE.processors), "-m", str(MEMORY), "-nodefaults", "-no-user-config"),
            *("-display", "none", "-kernel", f"{kernel}/vmlinux", "-initrd", f"{kernel}/initrd", "-append", options),
            *("-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
            *("-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-device", "virtio-rng-pci", "-serial", "chardev:console", *shared),
        ]

    def _waiting(self) -> Path:
        """A directory with a machine that waits for its site: its disk, and its memory."""
        disk, nowhere = Path(self.state["disk"]), ["/mnt"] * (len(self.state["shared"]) + 1)

        def machine(directory: str) -> list[str]:
            console = f"file,id=console,path={directory}/console"
            options = f"{OPTIONS} systemd.unit={TARGET}"
            words = self._machine(Path(directory, "disk.qcow2"), "hubport,id=net,hubid=0", nowhere, options)
            return [*words, "-chardev", console]

        def build(directory: Path) -> None:
            directory.mkdir()
            _overlay(disk, "raw", directory / "disk.qcow2")
            with progress.step("booting a machine on QEMU (kept for the next time)"):
                _keep(machine(str(directory)), directory)

        version = run(["qemu-system-x86_64", "--version"]).stdout
        return kept(f"qemu-{disk.parent.name.rpartition('-')[0]}", (str(disk), version, machine(".")), build)


def _overlay(below: Path, kind: str, changes: Path) -> None:
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", kind, changes])


def _keep(machine: list[str], directory: Path) -> None:
    """Boot a machine up to where it waits, and write its memory out."""
    words, pipe, console = [*TIED, *machine, "-monitor", "stdio"], subprocess.PIPE, directory / "console"
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as qemu:
        try:
            deadline = time.monotonic() + 900
            while not (console.exists() and WAITING in console.read_text(errors="replace")):
                if qemu.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"a machine on QEMU did not boot\n{tail(console.read_text(errors='replace'))}")
                time.sleep(0.2)
            write = f"exec:cat > {shlex.quote(str(directory))}/memory"
            said, _ = qemu.communicate(f'migrate "{write}"\ninfo migrate\nquit\n', 600)
            if "Migration status: completed" not in said:
                raise Failed(f"a machine on QEMU could not be kept\n{tail(said)}")
        finally:
            qemu.kill()
