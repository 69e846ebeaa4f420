"""A look: whether all that an apply writes can be written, so that it does not fail when half of it is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _slurm_pam_record
import _slurm_pam_wanted
import file_transaction
import slurm_conf
import sshd_config
from _slurm_pam_finding import Finding

_WHY = "An apply would stop there, with what comes before it already changed"


def paths(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What the writing would refuse, asked of what writes."""
    named = [*_named(wanted)]
    places = dict.fromkeys([*_replaced(wanted), *map(os.path.realpath, named)])
    obstacles = file_transaction.obstacles(places)
    unsafe = dict.fromkeys([*_not_followed(named), *_links(wanted), *obstacles["unsafe"]])
    yield from (Finding(told, _WHY) for told in unsafe)
    if obstacles["unwritable"]:
        # On a closed node this may be meant, as with a read-only root: what is right already is not written again.
        kind = "warnings" if _slurm_pam_record.recorded() else "problems"
        yield from (Finding(told, _WHY, kind=kind) for told in obstacles["unwritable"])


def _replaced(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Paths at which a file or a link of ours comes to stand, whatever is there."""
    files = [*wanted["pam"]["files"], *(wanted["slurmstepd"] or {"files": []})["files"]]
    yield from (file["path"] for file in files if _slurm_pam_wanted.WHOLE & file.keys())
    yield wanted["record"]
    if wanted["watch"]:
        yield from _slurm_pam_wanted.WATCH_FILES
    if wanted["logind"] == "mask":
        yield from map(_slurm_pam_wanted.mask, _slurm_pam_wanted.LOGIND_UNITS)


def _named(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Files that are edited wherever their names lead. What cannot be planned, the look at sshd or at Slurm tells."""
    files = [*wanted["pam"]["files"], *wanted["access"]["files"]]
    yield from (file["path"] for file in files if not _slurm_pam_wanted.WHOLE & file.keys())
    with contextlib.suppress(CommandExecutionError, SaltInvocationError):
        yield from sshd_config.plan(**wanted["sshd"]) if wanted["sshd"] else ()
    conf = wanted["slurm_conf"]
    if conf["manage"] == "enforce":
        with contextlib.suppress(CommandExecutionError, SaltInvocationError):
            yield from slurm_conf.plan(conf["settings"], conf["path"], conf["tag"])


def _not_followed(named: Iterable[str]) -> Iterator[str]:
    for path in named:
        try:
            file_transaction.follow(path)
        except CommandExecutionError as error:
            yield str(error)


def _links(wanted: Mapping[str, Any]) -> Iterator[str]:
    """The drop-in is a file, or the state refuses it."""
    drop_in = (wanted["sshd"] or {}).get("drop_in")
    if drop_in and os.path.islink(drop_in):
        yield f"{drop_in} is a link. Nothing was changed. Remove it, or put a file in its place"
