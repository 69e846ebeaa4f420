"""What is expensive to make is kept under the name of its content, and appears there whole or not at all."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.paths import CACHE

FORGET_AFTER = 14 * 24 * 3600  # seconds


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; a run that makes the same thing at the same time waits here."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(*ingredients: object) -> str:
    """A hash of plain values and of files and directories given as Path (content, mode and link of each)."""
    digest = hashlib.sha256()
    for ingredient in ingredients:
        if isinstance(ingredient, Path):
            for path in sorted([ingredient, *ingredient.rglob("*")]):
                if "__pycache__" in path.parts:
                    continue
                what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
                digest.update(repr((path.relative_to(ingredient).as_posix(), path.lstat().st_mode, what)).encode())
        else:
            digest.update(json.dumps(ingredient, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def kept(name: str, ingredients: tuple[object, ...], build: Callable[[Path], None]) -> Path:
    """The directory made by ``build`` from these ingredients, made now if it is not there yet."""
    place = CACHE / f"{name}-{fingerprint(name, *ingredients)}"
    with locked(CACHE / f"{name}.lock"):
        if not place.is_dir():
            forget_old(name)
            making = place.with_name(place.name + ".making")
            shutil.rmtree(making, ignore_errors=True)
            try:
                build(making)
                making.rename(place)
            finally:
                shutil.rmtree(making, ignore_errors=True)
        os.utime(place)
    return place


def forget_old(name: str) -> None:
    """Remove what was made under this name and not used for two weeks."""
    for place in CACHE.glob(f"{name}-*"):
        if time.time() - place.stat().st_mtime > FORGET_AFTER:
            shutil.rmtree(place)
