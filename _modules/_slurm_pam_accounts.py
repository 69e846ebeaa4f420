"""Users and groups as this node knows them, from its own files and from directory services."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Iterator


def is_user(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def members(name: str, to_come: Iterable[str] = ()) -> Iterator[str]:
    """Those of a group's members that this node knows: listed, to be added, or by their primary group."""
    known = group(name)
    listed = dict.fromkeys([*(known.gr_mem if known else ()), *to_come])
    yield from filter(is_user, listed)
    if known and not any(map(is_user, listed)):
        yield from (user.pw_name for user in pwd.getpwall() if user.pw_gid == known.gr_gid)


def local_groups() -> set[str]:
    """The groups that are this node's own."""
    with open("/etc/group", encoding="utf-8", errors="surrogateescape") as lines:
        return {line.partition(":")[0] for line in lines}


def groups_of(user: str) -> list[str]:
    """
    The groups of a user of this node, as sshd and pam_access see them: asked for one by one, so that those are among
    them that a directory service does not list.
    """
    return list(filter(None, map(_group_name, os.getgrouplist(user, pwd.getpwnam(user).pw_gid))))


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None
