"""The access file, as pam_access reads it (access.conf(5))."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator

_WORD = re.compile(r"[^\s,]+")


def rule_for(
    file: str, user: str, groups: list[str], origin: str, by_name: bool, separator: str | None = None
) -> str | None:
    """
    The first rule that fits; None if none does or there is no file.

    file
        Its path.
    user, groups
        Names; of the groups all that the user is in.
    origin
        The address or the host that the user comes from.
    by_name
        Whether sshd tells PAM the origin's name (UseDNS).
    separator
        What is between two words (``listsep=``), each blank beside one being part of it; by default blanks and commas.
    """
    for line in _rules(file):
        permission, *fields = line.split(":", 2)
        who, origins = (field.split(separator) if separator else _WORD.findall(field) for field in fields)
        meant = any(_is_meant(word, user, groups) for word in who)
        if meant and any(_comes_from(word, origin, by_name) for word in origins):
            return f"{permission.strip()} : {' '.join(who)} : {' '.join(origins)}"
    return None


def _rules(file: str) -> Iterator[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            yield from (line.strip() for line in lines if line.count(":") >= 2 and not line.startswith("#"))
    except FileNotFoundError:
        return


def _is_meant(word: str, user: str, groups: list[str]) -> bool:
    return word.lower() in ("all", user.lower()) or (word[:1] + word[-1:] == "()" and word[1:-1] in groups)


def _comes_from(word: str, origin: str, by_name: bool) -> bool:
    """A network or address holds the origin's addresses, a .domain ends its name, a host is one of its names."""
    if word.lower() in ("all", origin.lower()):
        return True
    if word.startswith("."):
        return by_name and origin.lower().endswith(word.lower())
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return bool(_addresses(word) & _addresses(origin))
    return any(address in network for address in _addresses(origin))


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return {ipaddress.ip_address(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
