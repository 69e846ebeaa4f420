"""What keeps a node closed, as paths: what an apply writes, and what the proof relies on. The watch looks at these."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import _file
import _pam_expand
import _pam_libpam
import _slurm_pam_modules
import _slurm_pam_record
import _slurm_pam_wanted
import slurm_conf
import sshd_config
from _pam_errors import PamError

# Where systemd has units: systemd.unit(5).
_SYSTEMD = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")


def paths(settings: Mapping[str, Any]) -> Iterator[str]:
    """
    What an apply writes, and what the proof relies on; whether it is there or has to stay away.

    settings
        The merged settings of the formula, without nulls.

    Raises CommandExecutionError if it cannot be told.
    """
    wanted = _slurm_pam_wanted.wanted(_slurm_pam_record.continued(settings))
    written = [wanted["pam"], wanted["access"], wanted["slurmstepd"]]
    yield from (file["path"] for part in filter(None, written) for file in part["files"])
    yield wanted["record"]
    yield _slurm_pam_wanted.MESSAGE
    if wanted["logind"] == "mask":
        yield from map(_slurm_pam_wanted.mask, _slurm_pam_wanted.LOGIND_UNITS)
    conf = wanted["slurm_conf"]
    if conf["manage"] == "enforce":
        # Those that clean would write have what an apply wrote.
        yield from slurm_conf.plan({}, conf["path"], conf["tag"])
    doors = [door.service for door in _slurm_pam_wanted.closed(settings)]
    yield from _pam_files([settings["pam"]["service"], *doors, "other"])
    directories = _pam_libpam.node_libpam()["module_dirs"]
    modules = [path for module in wanted["modules"] for path in _first(directories, module)]
    yield from modules
    yield from _slurm_pam_modules.libraries([path for path in modules if os.path.exists(path)])
    yield from filter(None, [settings["sshd"]["drop_in"] if settings["sshd"]["manage"] else None])
    yield from (path for path in (*_sshd_files(settings), *_unit_files(settings)) if not glob.has_magic(path))


def globs(settings: Mapping[str, Any]) -> list[str]:
    """
    Patterns of files that are read as soon as they are there, with wildcards in their last part at most.

    settings
        The merged settings of the formula, without nulls.
    """
    patterns = [path for path in (*_sshd_files(settings), *_unit_files(settings)) if glob.has_magic(path)]
    return list(dict.fromkeys(each for pattern in [*patterns, *_drop_ins(settings)] for each in _in_parts(pattern)))


def _in_parts(pattern: str) -> Iterator[str]:
    """A new directory may count as well as a new file in one that is there, which may have to have a certain name."""
    parts = pattern.split("/")
    for place, part in enumerate(parts):
        above = "/".join(parts[:place])
        if glob.has_magic(above):
            yield from (f"{directory}{part}" for directory in glob.glob(f"{above}/"))
        elif glob.has_magic(part):
            yield f"{above}/{part}"


def _first(directories: Iterable[str], name: str) -> Iterator[str]:
    """Where somebody looks for a name, up to where it is."""
    for directory in directories:
        path = os.path.join(directory, name)
        yield path
        if os.path.exists(path):
            return


def _pam_files(services: list[str]) -> Iterator[str]:
    """What libpam reads for services, of whatever type, and what it would read in its stead."""
    names, seen = [*services], set()
    directories = _pam_libpam.node_libpam()["confdirs"]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        for path in _first(directories, name):
            yield path
        with contextlib.suppress(PamError):  # it is not there, or is no PAM file: it is to stay so
            names += [entry["target"] for entry in _pam_expand.read(path) if entry.get("target")]


def _sshd_files(settings: Mapping[str, Any]) -> Iterator[str]:
    """What sshd reads, and what its Include lines name."""
    config = settings["sshd"]["config"]
    yield config or "/etc/ssh/sshd_config"
    yield sshd_config.find(config)
    for entry in sshd_config.read(config):
        yield entry["file"]
        if entry["kind"] == "include":
            yield from (os.path.join("/etc/ssh", word) for word in entry["words"])


def _unit_files(settings: Mapping[str, Any]) -> Iterator[str]:
    """The units that start sshd, and the files with its options that they name."""
    files = [path for unit in _units(settings) for path in _first(_systemd(), unit)]
    yield from files
    for path in (*files, *(path for pattern in _drop_ins(settings) for path in glob.glob(pattern))):
        with contextlib.suppress(OSError):
            yield from re.findall(r"^[ \t]*EnvironmentFile[ \t]*=[ \t]*-?(/\S+)", _file.text(path), re.MULTILINE)


def _drop_ins(settings: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{directory}/{unit}.d/*.conf" for directory in _systemd() for unit in _units(settings))


def _units(settings: Mapping[str, Any]) -> list[str]:
    names = (settings["sshd"]["service"].removesuffix(".service"), "sshd", "ssh")
    # A socket that accepts by itself starts an instance for each connection.
    return [f"{name}{kind}" for name in dict.fromkeys(names) for kind in (".service", "@.service", ".socket")]


def _systemd() -> list[str]:
    """Each once: /lib is a link on most systems."""
    directories = (f"{top}/systemd/system" for top in _SYSTEMD)
    return list({os.path.realpath(directory): directory for directory in directories}.values())
