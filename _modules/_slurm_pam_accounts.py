"""
Users, groups and hosts as this node's name services know them, its own files and directories.

That there is no such name is an answer. Where nobody answered, CommandExecutionError is raised.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import ipaddress
import os
import pwd
import socket
from collections.abc import Iterable, Iterator

from salt.exceptions import CommandExecutionError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_user(name: str) -> bool:
    return user(name) is not None


def user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        _make_sure("getpwnam_r", f"the user {name}", name)
        return None


def group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        _make_sure("getgrnam_r", f"the group {name}", name)
        return None


# What getpwnam(3) has for a name that does not exist.
_NO_SUCH = (0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM)


def _make_sure(function: str, what: str, name: str) -> None:
    """Python has one KeyError for a name that nobody knows and for a service that does not answer."""
    code = _code(function, name)
    if code not in _NO_SUCH:
        raise CommandExecutionError(f"This node's name services do not answer for {what}: {os.strerror(code)}")


def _code(function: str, name: str) -> int:
    """What getpwnam_r(3) or getgrnam_r(3) returns."""
    entry, buffer, found = (ctypes.create_string_buffer(size) for size in (256, 1 << 20, 8))
    return getattr(ctypes.CDLL(None), function)(os.fsencode(name), entry, buffer, ctypes.c_size_t(1 << 20), found)


# What getaddrinfo(3) has for a host that does not exist, or has no address.
_NO_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None), getattr(socket, "EAI_ADDRFAMILY", None)}


def addresses(host: str) -> list[Address]:
    """The addresses of a host; none if there is no such host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_HOST:
            return []
        raise CommandExecutionError(f"This node's resolver does not answer for {host}: {error.strerror}") from error
    except UnicodeError:
        return []  # no name that DNS could have
    return list(dict.fromkeys(ipaddress.ip_address(each[4][0]) for each in found))


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
    return list(filter(None, map(_group_name, gids_of(user))))


def gids_of(user: str) -> list[int]:
    """The ids of a user's groups, the primary one among them."""
    return os.getgrouplist(user, pwd.getpwnam(user).pw_gid)


def is_in(user: str, name: str) -> bool:
    """Whether a user is in a group as pam_access sees it: by its id, under whatever name, or by its list of members."""
    known = group(name)
    return known is not None and (user in known.gr_mem or known.gr_gid in gids_of(user))


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None
