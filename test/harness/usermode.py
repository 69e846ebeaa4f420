"""A node on User Mode Linux: its kernel is a program of this machine.

It has one processor, no cpuset and no KVM to ask for.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harness import network, slurm
from harness.kernel import usermode
from harness.own_kernel import MEMORY, OwnKernel

FURNISHED = "/var/lib/harness-furnished"
FIRST = "/sbin/harness-first"
FIRST_TEXT = f"""\
#!/bin/sh
# The first program of this machine: has it furnished, once, and makes way for systemd.
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -o remount,rw /
if [ ! -e {FURNISHED} ]; then
    harness-furnish -t hostfs none -o "hostfs=$(sed -n 's/.*site=\\([^ ]*\\).*/\\1/p' /proc/cmdline)"
    touch {FURNISHED}
fi
umount /proc
exec /sbin/init
"""


class UserMode(OwnKernel):
    """User Mode Linux on a copy-on-write disk, plugged into the site's network."""

    SHAPE = slurm.Shape(processors=1, memory=900, held_to=("RAMSpace",))
    PATIENCE = 1
    PROGRAMS: ClassVar = {FIRST: FIRST_TEXT}
    DISK = "/dev/ubda"
    NETWORK = "vec0"

    def _first_boot(self) -> list[str]:
        network.plug_in(self.site.name, self.name, self.index)
        return self._next_boot()

    def _next_boot(self) -> list[str]:
        return [
            *("nsenter", f"--net={network.path(self.site.name, self.name)}", *usermode(), f"mem={MEMORY}M"),
            *(f"ubd0={self.directory}/changes,{self.state['disk']}", "root=/dev/ubda", "ro", "quiet"),
            *("con=null", "con0=null,fd:1", "net.ifnames=0", f"init={FIRST}"),
            f"site={self.directory}/site",
            f"vec0:transport=raw,ifname=eth0,depth=32,gro=0,mac={self.mac}",
        ]

    def _mount(self, number: int, source: Path) -> tuple[str, str, str]:
        return "none", "hostfs", f"hostfs={source}"
