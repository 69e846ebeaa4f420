"""Administrators, who get in without a job: whether this node knows anybody behind the names in the settings."""

from __future__ import annotations

import contextlib
import grp
import itertools
import pwd
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _slurm_pam_access
import _slurm_pam_accounts
import _slurm_pam_wanted
from _slurm_pam_access import LOCAL, from_elsewhere
from _slurm_pam_doors import NETWORK
from _slurm_pam_finding import Finding
from _text import some

_LOOKED_AT = 20  # members of a group
_NO_USER = "this node knows no such user"
_UNLISTED = "its list has no member, and this node's name services do not list whose primary group it is"


def administrators(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Entries that nobody may be behind."""
    access = settings["access"]
    doubts = dict(_doubts(access))
    somebody = [path for path, doubt in doubts.items() if doubt in (None, _UNLISTED)]
    doubtful = "; ".join(f"slurm_pam:access:{path}: {doubt}" for path, doubt in doubts.items() if doubt)
    advice = "Check the names, and whether LDAP or SSSD answers (getent)"
    if doubtful and not somebody and not access["root_only"]:
        yield Finding(
            f"No administrator exists on this node. {doubtful}",
            "Nobody but root could get in when Slurm is broken",
            f"{advice}, or set slurm_pam:access:root_only: true",
        )
    elif doubtful:
        yield Finding(doubtful, "Nobody gets in by it", advice, "warnings")
    yield from _hosts(access)


def _hosts(access: Mapping[str, Any]) -> Iterator[Finding]:
    """Origins of which this node does not know where they are."""
    for path, places in _slurm_pam_access.origins_of(access).items():
        hosts = [place for place in places if _slurm_pam_access.is_name(place) and not place.startswith(".")]
        for host, doubt in ((host, _answered(_host_doubt, host)) for host in hosts):
            if doubt:
                yield Finding(
                    f"slurm_pam:access:{path} has {host}, and {doubt}",
                    "Nobody gets in by it until that changes",
                    "Check the name (getent ahosts), or name a network or an address",
                    "warnings",
                )


def at_the_machine(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Closed doors at which nobody comes from a network, and administrators who come from nowhere else."""
    access = settings["access"]
    here = [door.service for door in _slurm_pam_wanted.closed(settings) if door.reach != NETWORK]
    entries = [*access["groups"].values(), *access["users"].values()]
    if not here or settings["mode"] == "adopt" or any({"ALL", LOCAL} & set(entry["origins"]) for entry in entries):
        return
    yield Finding(
        f"slurm_pam:doors closes {', '.join(here)}, where nobody has an address to come from, and no administrator's "
        "origins in slurm_pam:access have LOCAL",
        "Besides users with a job, only root gets in there, and at cron, at, su and systemd-user the system's accounts",
        "Add LOCAL to the origins of administrators who are to get in there",
        "warnings",
    )


def _host_doubt(host: str) -> str | None:
    return None if _slurm_pam_accounts.addresses(host) else "this node knows no such host"


def _doubts(access: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Each entry of the settings, and why nobody may be behind it."""
    for name in access["users"]:
        yield f"users:{name}", _answered(_user_doubt, name)
    for name, group in access["groups"].items():
        yield f"groups:{name}", _answered(_group_doubt, name, group)


def _answered(doubt: Callable[..., str | None], *about: Any) -> str | None:
    try:
        return doubt(*about)
    except CommandExecutionError as error:
        return str(error)


def _user_doubt(name: str) -> str | None:
    return None if _slurm_pam_accounts.is_user(name) else _NO_USER


def _group_doubt(name: str, group: Mapping[str, Any]) -> str | None:
    if not group.get("local", True):
        known = _slurm_pam_accounts.group(name)
        if known is None:
            return "this node knows no such group"
        if not known.gr_mem:
            return None  # SSSD may be told not to list members (ignore_group_members)
    somebody = next(_slurm_pam_accounts.members(name, group.get("members", [])), None)
    if somebody:
        return None
    known = _slurm_pam_accounts.group(name)
    return _UNLISTED if known and not _slurm_pam_accounts.lists_everybody() else "it has no member that this node knows"


def of_a_directory_alone(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Administrators of whom none is left while the directory does not answer."""
    access = settings["access"]
    known, others = people(access)
    if access["root_only"] or not (others or known.keys() - {"root"}) or any(_of_this_node(access)):
        return
    yield Finding(
        f"Every administrator of this node comes from a directory ({', '.join(_slurm_pam_accounts.directories())})",
        "While it does not answer, and nothing is in a cache, root alone gets in without a job",
        "Name a user of this node's own as well (slurm_pam:access:users), or be sure of root's way in",
        "warnings",
    )


def _of_this_node(access: Mapping[str, Any]) -> Iterator[str]:
    """The administrators who are known without a directory."""
    local, groups = _slurm_pam_accounts.local_users(), _slurm_pam_accounts.local_groups()
    yield from local & access["users"].keys()
    for name, group in access["groups"].items():
        if group.get("local", True) or name in groups:
            with contextlib.suppress(CommandExecutionError):  # administrators() tells it
                yield from local.intersection(_slurm_pam_accounts.members(name, group.get("members", [])))


def local_groups(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What would keep a local group from being completed."""
    for name, group in wanted["groups"].items():
        yield from _unknown_members(name, group["members"])
        yield from _not_local(name, group)


def _unknown_members(name: str, members: list[str]) -> Iterator[Finding]:
    doubts = {member: _answered(_user_doubt, member) for member in members}
    for doubt in dict.fromkeys(filter(None, doubts.values())):
        unknown = [member for member in members if doubts[member] == doubt]
        yield Finding(
            f"slurm_pam:access:groups:{name}:members has {', '.join(unknown)}, and {doubt}",
            f"The local group {name} could not be completed",
            "Make the user first, or take it out of the list",
        )


def _not_local(name: str, group: Mapping[str, Any]) -> Iterator[Finding]:
    if name in _slurm_pam_accounts.local_groups():
        return
    try:
        known = _slurm_pam_accounts.group(name)
    except CommandExecutionError as error:
        yield Finding(
            f"slurm_pam:access:groups:{name}:local is true, but no answer tells whether a directory has it: {error}",
            "A local group of that name would be made in its place",
            "Make sure that the name services answer (getent group)",
        )
        return
    if known is None:
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


# Administrators by accident


def by_accident(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Who gets in without being named: pam_access goes by a group's id, and by a user's name in any letter case."""
    access = settings["access"]
    members = (name for group in access["groups"].values() for name in group.get("members", []))
    named = {"root", *access["users"], *members}
    if access["groups"] or access["users"]:
        everybody = _slurm_pam_accounts.everybody()
        for name, group in access["groups"].items():
            with contextlib.suppress(CommandExecutionError):  # administrators() tells it
                if known := _slurm_pam_accounts.group(name):
                    yield from _beside_members(name, known, group.get("local", True), named, everybody)
        yield from _letter_case(access["users"], named, everybody)


def _beside_members(
    name: str, known: grp.struct_group, local: bool, named: set[str], everybody: list[pwd.struct_passwd]
) -> Iterator[Finding]:
    path, why = f"slurm_pam:access:groups:{name}", "pam_access goes by the group's id, so they get in without a job"
    first = _slurm_pam_accounts.people()
    unnamed = [user for user in everybody if user.pw_name not in named]
    primary = {user.pw_name: user.pw_uid for user in unnamed if user.pw_gid == known.gr_gid}
    if people := sorted(user for user, uid in primary.items() if uid >= first):
        yield Finding(
            f"{path}: the group's id {known.gr_gid} is the primary group of {some(people)}",
            why,
            f"Name another group, or list those who are to be administrators in {path}:members",
        )
    others = {user: "by its primary group" for user, uid in primary.items() if uid < first}
    # Whom a directory lists is the directory's business.
    others |= {user: "listed in the group" for user in known.gr_mem if local and user not in named}
    for group in _slurm_pam_accounts.by_the_same_id(known):
        others |= {user: f"in {group.gr_name}, of the same id" for user in group.gr_mem if user not in named}
    if others:
        yield Finding(
            f"{path} lets others than its members in: {some([f'{user} ({how})' for user, how in others.items()])}",
            f"{why}; the formula takes nobody out of a group",
            f"Take them out (gpasswd --delete), or list them in {path}:members",
            "warnings",
        )
    if local and known.gr_gid >= first and not _slurm_pam_accounts.lists_everybody():
        yield Finding(
            f"{path}: the group's id {known.gr_gid} is in the range of users' own groups, and the name services "
            "do not list whose primary group it is",
            why,
            f"Ask the directory for that id (getent group), and give the group one below {first} (groupmod --gid)",
            "warnings",
        )


def _letter_case(users: Mapping[str, Any], named: set[str], everybody: list[pwd.struct_passwd]) -> Iterator[Finding]:
    # A name that two services list is listed twice.
    unnamed = dict.fromkeys(user.pw_name for user in everybody if user.pw_name not in named)
    for name in users:
        if alike := [other for other in unnamed if other.lower() == name.lower()]:
            yield Finding(
                f"slurm_pam:access:users:{name} means {some(alike)} as well",
                "pam_access does not distinguish upper and lower case",
                "Use a group of administrators instead (slurm_pam:access:groups)",
                "warnings",
            )


# Who must not be locked out


def people(access: Mapping[str, Any]) -> tuple[dict[str, list[str]], bool]:
    """root and every administrator that this node knows, with their origins; and whether there may be more of them."""
    known, others = {"root": list(access["root"])}, False
    for kind in ("users", "groups"):
        for name, entry in access[kind].items():
            try:
                found, more = _LOOKUPS[kind](name, entry)
            except CommandExecutionError:
                found, more = [], True  # administrators() tells it
            others |= more
            for member in found:
                known.setdefault(member, []).extend(from_elsewhere(entry["origins"]))
    return known, others


def _user(name: str, _entry: Mapping[str, Any]) -> tuple[list[str], bool]:
    return [name] if _slurm_pam_accounts.is_user(name) else [], False


def _members(name: str, group: Mapping[str, Any]) -> tuple[list[str], bool]:
    """A group's members, and whether it may have others: a directory service need not list them."""
    found = list(itertools.islice(_slurm_pam_accounts.members(name, group.get("members", [])), _LOOKED_AT + 1))
    more = len(found) > _LOOKED_AT or (not found and _slurm_pam_accounts.group(name) is not None)
    return found[:_LOOKED_AT], more


_LOOKUPS = {"users": _user, "groups": _members}
