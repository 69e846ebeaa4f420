"""
Renew the library after an upgrade within one process.

A sync replaces files on the disk. Salt then loads each face anew, but Python keeps what a face imports, so a new face
would work with the old library. Each face therefore begins with

.. code-block:: python

    import _library

    _library.renew(os.path.dirname(__file__))

ahead of its imports from the library.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from types import ModuleType


def _files(directory: str) -> dict[str, int]:
    """The Python files in a directory, each with the time at which it was last written."""
    found = {}
    with os.scandir(directory) as entries:
        for entry in filter(_is_python, entries):
            with contextlib.suppress(FileNotFoundError):  # a sync may take it away just then
                found[entry.path] = entry.stat().st_mtime_ns
    return found


def _is_python(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".py") and entry.is_file()


# The files of the library when it was imported, and after each renewal.
_generation = _files(os.path.dirname(__file__))


def renew(directory: str) -> None:
    """
    If these are not the files that the library was imported from, drop it, so that the next import reads these.

    directory
        Where the face is that is being loaded.
    """
    global _generation
    found = _files(directory)
    if found == _generation:
        return
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if _is_plain(name) and getattr(module, "__file__", None) in {*_generation, *found} and not _is_coming(module):
            del sys.modules[name]
    _generation = found


def _is_plain(name: str) -> bool:
    """Not a face as Salt names it (``salt.loaded.ext.module.pam_stack``), nor this module, which has to remember."""
    return "." not in name and name != __name__


def _is_coming(module: ModuleType) -> bool:
    """Whether it is just being imported; Python expects to find it again afterwards."""
    return getattr(module.__spec__, "_initializing", False)
