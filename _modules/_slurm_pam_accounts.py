"""
Users, groups and hosts as this node's name services know them, its own files and directories.

That there is no such name is an answer. Where nobody answered, CommandExecutionError is raised.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import grp
import ipaddress
import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator

from salt.exceptions import CommandExecutionError

import _file

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The first uid of people (UID_MIN of login.defs(5)) unless the node says otherwise; those below are the system's.
PEOPLE = 1000
# The last one that says it counts: the vendor's, the administrator's, and the drop-ins of newer systems.
LOGIN_DEFS = ("/usr/etc/login.defs", "/etc/login.defs", "/etc/login.defs.d/*.defs")


def people() -> int:
    """The first uid of people, as this node has it (login.defs(5))."""
    found = [str(PEOPLE)]
    for path in (path for place in LOGIN_DEFS for path in sorted(glob.glob(place))):
        with contextlib.suppress(OSError):
            found += re.findall(r'^[ \t]*UID_MIN[ \t]+"?([^"\n]*)', _file.text(path), re.MULTILINE)
    try:
        return int(re.sub(r"^0(?=\d)", "0o", found[-1].strip()), 0)  # as strtol(3): 0x1f4, 0764
    except ValueError:
        return PEOPLE  # to shadow's programs as well


def is_user(name: str) -> bool:
    return user(name) is not None


def user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        _make_sure("passwd", "user", name)
        return None


def account(name: str) -> pwd.struct_passwd:
    """Of a user whom this node has just known. A directory may have lost them since."""
    if found := user(name):
        return found
    raise CommandExecutionError(f"This node does not know {name} any more")


def name(uid: int) -> str | int:
    """A user's name, or the number if this node has no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return uid


def group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        _make_sure("group", "group", name)
        return None


_FUNCTIONS = {"passwd": "getpwnam_r", "group": "getgrnam_r"}


def _make_sure(database: str, what: str, name: str) -> None:
    """Python has one KeyError for a name that nobody knows and for a directory that does not answer."""
    silent = [service for service in _services(database) - _LISTING if _status(service, database, name) < 0]
    if silent:
        services = ", ".join(sorted(silent))
        raise CommandExecutionError(f"{services} (nsswitch.conf) does not answer for the {what} {name}")


def _status(service: str, database: str, name: str) -> int:
    """
    What a name service answers to the C library: 1 if it knows the name, 0 if not, less if it cannot tell (nss.h).

    The C library itself keeps it to itself if another service comes behind that one.
    """
    try:
        ask = getattr(ctypes.CDLL(f"libnss_{service}.so.2"), f"_nss_{service}_{_FUNCTIONS[database]}")
    except (OSError, AttributeError):
        return 0  # not installed, so nobody is known by it
    entry, buffer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 20)
    return ask(os.fsencode(name), entry, buffer, ctypes.c_size_t(len(buffer)), ctypes.byref(ctypes.c_int()))


# What getaddrinfo(3) has for a host that does not exist, or has no address.
_NO_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None), getattr(socket, "EAI_ADDRFAMILY", None)}


def addresses(host: str) -> list[Address]:
    """The addresses of a host; none if there is no such host."""
    with contextlib.suppress(ValueError):
        return [ipaddress.ip_address(host)]  # with its zone
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
        yield from (user.pw_name for user in everybody() if user.pw_gid == known.gr_gid)


def everybody() -> list[pwd.struct_passwd]:
    """All users that the name services list; see :py:func:`lists_everybody`."""
    return pwd.getpwall()


# Services of nsswitch.conf(5) that list whom they know. A directory need not, and SSSD does not by default.
_LISTING = {"files", "compat", "systemd", "altfiles", "db", "extrausers"}


def lists_everybody() -> bool:
    """Whether there is nobody besides those whom the name services list."""
    return _services("passwd") <= _LISTING


def _services(database: str) -> set[str]:
    try:
        with open("/etc/nsswitch.conf", encoding="utf-8", errors="surrogateescape") as lines:
            named = (line.partition(":")[2] for line in lines if line.lstrip().startswith(f"{database}:"))
            text = next(named, "files")
    except FileNotFoundError:
        text = "files"
    # What is in brackets says what to do, as in [NOTFOUND=return].
    return set(re.sub(r"\[[^]]*\]", " ", text.partition("#")[0]).split())


def by_the_same_id(known: grp.struct_group) -> list[grp.struct_group]:
    """Groups that have another name, as far as the name services list them."""
    return [each for each in grp.getgrall() if each.gr_gid == known.gr_gid and each.gr_name != known.gr_name]


def local_groups() -> set[str]:
    """The groups that are this node's own."""
    return _names_in("/etc/group")


def local_users() -> set[str]:
    """The users that are this node's own."""
    return _names_in("/etc/passwd")


def _names_in(path: str) -> set[str]:
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        return {line.partition(":")[0] for line in lines}


def directories(database: str = "passwd") -> list[str]:
    """The services of nsswitch.conf(5) that are not this node's own files."""
    return sorted(_services(database) - _LISTING)


def groups_of(user: str) -> list[str]:
    """
    The groups of a user of this node, as sshd and pam_access see them: asked for one by one, so that those are among
    them that a directory service does not list.
    """
    return list(filter(None, map(_group_name, gids_of(user))))


def gids_of(user: str) -> list[int]:
    """The ids of a user's groups, the primary one among them."""
    return os.getgrouplist(user, account(user).pw_gid)


def is_in(user: str, name: str) -> bool:
    """Whether a user is in a group as pam_access sees it: by its id, under whatever name, or by its list of members."""
    known = group(name)
    return known is not None and (user in known.gr_mem or known.gr_gid in gids_of(user))


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        _make_sure("group", "group", str(gid))  # a directory that is there answers to that as well
        return None
