"""Administrators, who get in without a job: whether this node knows anybody behind the names in the settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import _slurm_pam_accounts
from _slurm_pam_finding import Finding


def administrators(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Entries that nobody may be behind."""
    access = settings["access"]
    doubts = dict(_doubts(access))
    somebody = [path for path, doubt in doubts.items() if doubt is None]
    doubtful = "; ".join(f"slurm_pam:access:{path}: {doubt}" for path, doubt in doubts.items() if doubt)
    advice = "Look whether the names are right, and whether LDAP or SSSD answers (getent)"
    if doubtful and not somebody and not access["root_only"]:
        yield Finding(
            f"No administrator exists on this node. {doubtful}",
            "Nobody but root could get in when Slurm is broken",
            f"{advice}, or set slurm_pam:access:root_only: true",
        )
    elif doubtful:
        yield Finding(doubtful, "Nobody gets in by that", advice, "warnings")


def _doubts(access: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Each entry of the settings, and why nobody may be behind it."""
    for name in access["users"]:
        yield f"users:{name}", None if _slurm_pam_accounts.is_user(name) else "this node knows no such user"
    for name, group in access["groups"].items():
        yield f"groups:{name}", _group_doubt(name, group)


def _group_doubt(name: str, group: Mapping[str, Any]) -> str | None:
    if not group.get("local", True):
        known = _slurm_pam_accounts.group(name)
        if known is None:
            return "this node knows no such group"
        if not known.gr_mem:
            return None  # SSSD may be told not to list members (ignore_group_members)
    somebody = next(_slurm_pam_accounts.members(name, group.get("members", [])), None)
    return None if somebody else "it has no member that this node knows"


def local_groups(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What would keep a local group from being completed."""
    for name, group in wanted["groups"].items():
        yield from _unknown_members(name, group["members"])
        yield from _not_local(name, group)


def _unknown_members(name: str, members: list[str]) -> Iterator[Finding]:
    unknown = [member for member in members if not _slurm_pam_accounts.is_user(member)]
    if unknown:
        yield Finding(
            f"slurm_pam:access:groups:{name}:members has {', '.join(unknown)}, and this node knows no such user",
            f"The local group {name} could not be completed",
            "Make the user first, or take it out of the list",
        )


def _not_local(name: str, group: Mapping[str, Any]) -> Iterator[Finding]:
    known = _slurm_pam_accounts.group(name)
    if known is None or name in _slurm_pam_accounts.local_groups():
        return
    to_do = set(group["members"]) - set(known.gr_mem) or group["gid"] not in (None, known.gr_gid)
    yield Finding(
        f"slurm_pam:access:groups:{name}:local is true, but this node has the group from a directory service, and not "
        "from /etc/group",
        "groupmod and usermod cannot complete it"
        if to_do
        else "While the service does not answer, a local group of that name would be made in its place",
        f"Set slurm_pam:access:groups:{name}:local: false, and see to its members where it comes from",
        "problems" if to_do else "warnings",
    )


# Who must not be locked out


_LOOKED_AT = 20  # members of a group


def people(access: Mapping[str, Any]) -> tuple[dict[str, list[str]], bool]:
    """root and every administrator that this node knows, with their origins; and whether there may be more of them."""
    known, others = {"root": list(access["root"])}, False
    for name, user in access["users"].items():
        if _slurm_pam_accounts.is_user(name):
            known.setdefault(name, []).extend(user["origins"])
    for name, group in access["groups"].items():
        found = _slurm_pam_accounts.members(name, group.get("members", []))
        members = list(itertools.islice(found, _LOOKED_AT + 1))
        # A directory service need not list them.
        others |= len(members) > _LOOKED_AT or (not members and _slurm_pam_accounts.group(name) is not None)
        for member in members[:_LOOKED_AT]:
            known.setdefault(member, []).extend(group["origins"])
    return known, others
