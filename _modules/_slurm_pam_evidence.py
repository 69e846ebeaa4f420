"""What is true of this node now, for a page about the whole cluster: few words, and no text of its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _pam_expand
import _pam_show
import _slurm_pam_access
import _slurm_pam_settings
import _slurm_pam_wanted
from _pam_words import place


def evidence(
    settings: Mapping[str, Any],
    audit: Mapping[str, Any],
    proofs: list[dict[str, Any]],
    doors: Mapping[str, Any],
    strays: list[dict[str, Any]],
    confined: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Facts in a form in which nodes that are alike say the same, but for ``since``.

    settings
        The merged settings of the formula.
    audit, proofs, doors, strays, confined
        What :py:func:`slurm_pam.audit`, ``prove``, ``doors``, ``strays`` and ``confined`` found.
    """
    return {
        "mode": settings["mode"],
        "version": _slurm_pam_settings.VERSION,
        "since": _since(settings),
        "access": _access(settings["access"]["file"]),
        "promises": [_promise(proof) for proof in proofs],
        "doors": [_door(door) for door in doors["doors"] if door["on"]],
        "unseen": doors["findings"],
        "strays": [{"user": str(each["user"]), "came": each["came"], "spared": each["spared"]} for each in strays],
        "loose": [
            {"user": str(session["user"]), "problem": problem}
            for session in confined["sessions"]
            for problem in session["problems"]
        ],
        "drift": [{"subject": each["subject"], "found": each["found"]} for each in audit["findings"]],
        "warnings": audit["warnings"],
        "stack": _stack(settings["pam"]["service"]),
    }


def _since(settings: Mapping[str, Any]) -> int | None:
    """When one of the PAM files that close this node was changed last; None while one of them is not there."""
    try:
        return int(max(os.lstat(file["path"]).st_mtime for file in _slurm_pam_wanted.wanted(settings)["pam"]["files"]))
    except FileNotFoundError:
        return None


def _access(path: str) -> list[dict[str, str]]:
    """Who gets in without a job, as it is written where pam_access reads it, in its order."""
    try:
        rules = _slurm_pam_access.rules(path)
    except CommandExecutionError as error:
        return [{"may": "unknown", "who": str(error), "origins": ""}]
    may = {"+": "yes", "-": "no"}
    return [{"may": may[sign[:1]], "who": who.strip(), "origins": origins.strip()} for sign, who, origins in rules]


def _promise(proof: Mapping[str, Any]) -> dict[str, Any]:
    broken = proof["counterexample"] or {}
    where = _decided(broken)
    return {"name": proof["name"], "holds": proof["holds"], "why": broken.get("why", ""), "where": where}


def _decided(told: Mapping[str, Any]) -> str:
    """The file and line that decides; nothing where none does."""
    by = told.get("decided_by") or {}
    return f"{by['file']}:{by['line']}" if by.get("file") else ""


_GETS_IN = {True: "gets in", False: "does not", None: "not known"}


def _door(door: Mapping[str, Any]) -> dict[str, Any]:
    """A way in that is on."""
    stranger = door["stranger"]
    return {
        "name": door["service"],
        "what": door["what"],
        "reach": door["reach"],
        "shell": door["shell"],
        "setting": door["setting"],
        "stranger": _GETS_IN[stranger["in"]],
        "administrator": _GETS_IN[door["administrator"]["in"]],
        "why": stranger["why"],
        "where": _decided(stranger),
    }


def _stack(service: str) -> list[dict[str, Any]]:
    """The account rules, each with where its answers lead: ``[[index, label], ...]``."""
    handlers = _pam_expand.expand(service)["types"]["account"]
    return [
        {
            "level": handler["level"],
            "control": handler["control"] or "",
            "module": " ".join([handler["module"] or "", *handler["args"]]).strip(),
            "where": place(handler),
            "leads": [[index, ", ".join(labels)] for index, labels in leads.items()],
        }
        for handler, leads in zip(handlers, _pam_show.arrows(handlers))
    ]
