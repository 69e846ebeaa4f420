"""The kernel of machines that have one of their own: User Mode Linux, newer than this machine's release may have it.

From 6.16 on, what runs in such a machine is no longer traced but hands its calls over by a signal, which takes half of
the processor's time: of an apply six seconds instead of thirteen.
"""

from __future__ import annotations

from pathlib import Path

from harness import progress
from harness.image import APT_OPTIONS
from harness.shell import TIED, run
from harness.store import kept

SUITE = "forky"
PACKAGES = ("libc6", "user-mode-linux")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
# With the C library that it was built for, over this machine's own, and for itself alone. A kernel in user space lays
# its memory behind its program, so that the loader cannot be started in its place.
START = 'mount -t overlay -o "lowerdir=$1:$2" none "$2"; shift 2; exec "$@"'


def kernel() -> list[str]:
    """The words that start it; its own options come behind them."""
    root = kept("kernel", (SUITE, PACKAGES, Path(__file__)), _unpack)
    private = ["unshare", "--mount", "--propagation=private", "sh", "-ec", START, "sh"]
    return [*private, f"{root}/{LIBRARIES}", f"/{LIBRARIES}", f"{root}/usr/bin/linux.uml", "seccomp=auto"]


def _unpack(root: Path) -> None:
    options = [line for name in APT_OPTIONS for line in run(["apt-config", "dump", name]).stdout.splitlines()]
    with progress.step(f"unpacking {', '.join(PACKAGES)} of {SUITE} (kept for the next time)"):
        run(
            [
                *(*TIED, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("mmdebstrap", "--mode=root", "--variant=extract", "--quiet"),
                *(f"--aptopt={option}" for option in options),
                f"--include={','.join(PACKAGES)}",
                *(SUITE, root),
            ],
            timeout=1200,
        )
    # No machine loads them.
    run(["rm", "-r", root / "usr/lib/uml"])
