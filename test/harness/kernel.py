"""The kernels of machines that have one of their own: Debian's, unpacked and not installed.

User Mode Linux is newer than this machine's release may have it. From 6.16 on, what runs in such a machine is no longer
traced but hands its calls over by a signal, which takes half of the processor's time: of an apply six seconds instead
of thirteen.

The kernel for QEMU has its drivers as modules, and a first root file system that loads those of virtio. It is stored
without its compression, which an emulated processor takes seconds for.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from pathlib import Path

from harness import host, progress
from harness.image import APT_OPTIONS
from harness.shell import TIED, run
from harness.store import kept

USERMODE = ("forky", ("libc6", "user-mode-linux"))
LIBRARIES = "usr/lib/x86_64-linux-gnu"
# With the C library that it was built for, over this machine's own, and for itself alone. A kernel in user space lays
# its memory behind its program, so that the loader cannot be started in its place.
START = 'mount -t overlay -o "lowerdir=$1:$2" none "$2"; shift 2; exec "$@"'

# Not the one for clouds, which has no 9p.
EMULATED = ("trixie", ("linux-image-amd64", "busybox-static"))
MODULES = ("virtio_blk", "virtio_net", "virtio_rng", "ext4", "9pnet_virtio", "9p")
INIT = """\
#!/bin/sh
/bin/busybox --install /bin
mount -t devtmpfs none /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
mount -t ext4 /dev/vda /root && mount --move /dev /root/dev && exec switch_root /root /sbin/init
"""


def usermode() -> list[str]:
    """The words that start the one in user space; its own options come behind them."""

    def build(root: Path) -> None:
        _unpack(root, *USERMODE)
        # No machine loads them.
        run(["rm", "-r", root / "usr/lib/uml"])

    root = kept("kernel", (*USERMODE, Path(__file__)), build)
    private = ["unshare", "--mount", "--propagation=private", "sh", "-ec", START, "sh"]
    return [*private, f"{root}/{LIBRARIES}", f"/{LIBRARIES}", f"{root}/usr/bin/linux.uml", "seccomp=auto"]


def emulated() -> Path:
    """A directory with ``vmlinux`` and ``initrd`` for a machine of virtio devices."""
    host.install_packages(("cpio", "kmod", "zstd"))

    def build(made: Path) -> None:
        made.mkdir()
        root = made / "root"
        _unpack(root, *EMULATED)
        (image,) = root.glob("boot/vmlinuz-*")
        (made / "vmlinux").write_bytes(_uncompressed(image))
        _lay_initrd(made / "tree", root, image.name.removeprefix("vmlinuz-"))
        pack = 'cd "$1" && find . | cpio --quiet --create --format=newc > ../initrd'
        run(["sh", "-ec", pack, "sh", made / "tree"])
        run(["rm", "-r", root, made / "tree"])

    return kept("kernel-emulated", (*EMULATED, Path(__file__)), build)


def _unpack(root: Path, suite: str, packages: tuple[str, ...]) -> None:
    options = [line for name in APT_OPTIONS for line in run(["apt-config", "dump", name]).stdout.splitlines()]
    with progress.step(f"unpacking {', '.join(packages)} of {suite} (kept for the next time)"):
        run(
            [
                *(*TIED, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("mmdebstrap", "--mode=root", "--variant=extract", "--quiet"),
                *(f"--aptopt={option}" for option in options),
                f"--include={','.join(packages)}",
                *(suite, root),
            ],
            timeout=1200,
        )


def _uncompressed(image: Path) -> bytes:
    """The kernel in a bzImage, which says where it is: Documentation/arch/x86/boot.rst of Linux."""
    data = image.read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (data[0x1F1] + 1) * 512 + offset
    packed = image.with_name("vmlinux.zst")
    # Its size follows in four bytes.
    packed.write_bytes(data[start : start + length - 4])
    run(["zstd", "-q", "-d", packed])
    return packed.with_suffix("").read_bytes()


def _lay_initrd(tree: Path, root: Path, release: str) -> None:
    for directory in ("bin", "dev", "modules", "root"):
        (tree / directory).mkdir(parents=True)
    run(["cp", root / "usr/bin/busybox", tree / "bin"])
    (tree / "bin/sh").symlink_to("busybox")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    # What goes wrong before the devices are there is said there.
    run(["mknod", tree / "dev/console", "c", "5", "1"])
    order = []
    for path in _modules(root, release):
        name = path.name.removesuffix(".xz")
        (tree / "modules" / name).write_bytes(lzma.decompress(path.read_bytes()))
        order.append(f"{name}\n")
    (tree / "modules/order").write_text("".join(order))


def _modules(root: Path, release: str) -> Iterator[Path]:
    """The modules with those that they need, in the order in which they are loaded."""
    (root / "lib").symlink_to("usr/lib")
    run(["depmod", "--basedir", root, release])
    seen = set()
    for name in MODULES:
        how = ["modprobe", "--dirname", root, "--set-version", release, "--show-depends", name]
        for line in run(how).stdout.splitlines():
            what, path, *_ = line.split()
            if what == "insmod" and path not in seen:
                seen.add(path)
                yield Path(path)
