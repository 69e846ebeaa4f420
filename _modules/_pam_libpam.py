"""Which libpam a node has: what its binary says of itself, and the directories it reads."""

from __future__ import annotations

import functools
import glob
import mmap
import os
import re
from typing import Any

from _pam_errors import PamError

# What in the library's binary tells which release's behaviour it has, newest first. The binary and not the package:
# distributions backport.
_MARKS = (
    (b"maximum level of inclusions reached", "1.6.0"),
    (b"LIBPAM_MODUTIL_1.4.1\0", "1.5.0"),
    (b"LIBPAM_1.4\0", "1.4.0"),
    (b"/usr/lib/pam.d/%s\0", "1.2.0"),
    (b"", "1.1.0"),
)
_TOPS = ("", "/usr")


def libpam() -> dict[str, Any]:
    """What this node's libpam is, as a copy that may be changed."""
    found = node_libpam()
    return {**found, "confdirs": [*found["confdirs"]], "module_dirs": [*found["module_dirs"]]}


def node_libpam() -> dict[str, Any]:
    """What this node's libpam is: ``version``, ``debian``, ``confdirs`` and ``module_dirs``. Nobody changes it."""
    directories = _libpam_directories()
    for path in (path for directory in directories for path in sorted(glob.glob(f"{directory}/libpam.so.0"))):
        try:
            return _examine(path, os.stat(path).st_mtime_ns)
        except OSError:
            continue
    raise PamError(f"there is no libpam.so.0 in {', '.join(directories)}; say which libpam is meant")


def _libpam_directories() -> list[str]:
    """Where distributions have libpam. Debian's word for a processor is not always the kernel's."""
    names = (f"lib/{os.uname().machine}-linux-gnu", "lib64", "lib", "lib/*-linux-gnu*")
    return [f"{top}/{name}" for name in names for top in _TOPS]


@functools.lru_cache(maxsize=8)
def _examine(path: str, _changed: int) -> dict[str, Any]:
    """What a libpam binary says of itself."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        found = [name.decode() for name in re.findall(rb"(?<=\0)(/[!-~]*/pam\.d)/%s(?=\0)", binary)]
        modules = [name.decode() for name in re.findall(rb"(?<=\0)(/[!-~]*/security)/?(?=\0)", binary)]
        return {
            "version": next(version for mark, version in _MARKS if binary.find(mark) >= 0),
            "debian": binary.find(b"@include\0") >= 0,
            "confdirs": sorted(found, key=_order_of_confdir),
            "module_dirs": list(dict.fromkeys([*modules, os.path.join(os.path.dirname(path), "security")])),
        }


def _order_of_confdir(directory: str) -> int:
    """libpam's own order: the administrator's, its own, the vendor's."""
    return ("/etc/pam.d", "/usr/lib/pam.d", directory).index(directory)


def locate(name: str, libpam: dict[str, Any] | None = None) -> str | None:
    """The file of that name that a libpam would read: the first in its search order."""
    directories = (libpam or node_libpam())["confdirs"]
    return next(filter(os.path.exists, (os.path.join(directory, name) for directory in directories)), None)


@functools.lru_cache(maxsize=16)
def is_old(version: str) -> bool:
    """
    Up to 1.5.3 libpam read lines through a buffer of 1024 bytes, counted no includes and left things half made; 1.6.0
    replaced all of that.
    """
    return [int(number) for number in re.findall("[0-9]+", version)[:2]] < [1, 6]
