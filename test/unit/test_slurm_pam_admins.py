"""Whether anybody is behind the administrators' names, whatever name service they come from."""

from types import SimpleNamespace

import pytest
from looks import given, settings

import _slurm_pam_accounts
from _slurm_pam_admins import administrators, local_groups, people

USERS = {name: SimpleNamespace(pw_name=name, pw_gid=gid) for name, gid in {"root": 0, "ann": 50, "ben": 50}.items()}
GROUPS = {
    "local": SimpleNamespace(gr_gid=10, gr_mem=["ann"]),
    "ldap": SimpleNamespace(gr_gid=20, gr_mem=["ann"]),
    "unlisted": SimpleNamespace(gr_gid=30, gr_mem=[]),
    "primary": SimpleNamespace(gr_gid=50, gr_mem=[]),
    "crowd": SimpleNamespace(gr_gid=60, gr_mem=[f"user{number}" for number in range(30)]),
}


@pytest.fixture(autouse=True)
def directory(monkeypatch):
    """A node that has the group local from /etc/group, and the others from a directory service."""
    users = {**USERS, **{name: SimpleNamespace(pw_name=name, pw_gid=99) for name in GROUPS["crowd"].gr_mem}}
    pwd = SimpleNamespace(getpwnam=users.__getitem__, getpwall=lambda: list(users.values()))
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
    monkeypatch.setattr(_slurm_pam_accounts, "grp", SimpleNamespace(getgrnam=GROUPS.__getitem__))
    monkeypatch.setattr(_slurm_pam_accounts, "local_groups", lambda: {"local"})


def access(groups=None, users=None, **others):
    def entries(found):
        return {name: None if entry is None else {"origins": ["ALL"], **entry} for name, entry in (found or {}).items()}

    return {"access": {"groups": entries(groups), "users": entries(users), **others}}


UNKNOWN, NO_GROUP = "this node knows no such user", "this node knows no such group"
NOBODY = "it has no member that this node knows"


@pytest.mark.parametrize(
    ("kind", "name", "entry", "doubt"),
    [
        ("users", "ann", {}, None),
        ("users", "zoe", {}, UNKNOWN),
        ("groups", "ldap", {"local": False}, None),
        ("groups", "unlisted", {"local": False}, None),
        ("groups", "unlisted", {}, NOBODY),
        ("groups", "primary", {}, None),
        ("groups", "gone", {"local": False}, NO_GROUP),
        ("groups", "gone", {"members": ["ann"]}, None),
        ("groups", "gone", {"members": ["zoe"]}, NOBODY),
    ],
)
def test_whether_anybody_is_behind_an_entry(kind, name, entry, doubt):
    found = list(administrators(*given(**access(**{kind: {name: entry, "taken-out": None}}))))
    assert [finding.kind for finding in found] == (["problems"] if doubt else [])
    for finding in found:
        assert finding.found == f"No administrator exists on this node. slurm_pam:access:{kind}:{name}: {doubt}"
        assert "slurm_pam:access:root_only: true" in finding.do


@pytest.mark.parametrize("others", [{"users": {"zoe": {}, "ann": {}}}, {"users": {"zoe": {}}, "root_only": True}])
def test_somebody_else_or_nobody_at_all_is_an_administrator(others):
    (finding,) = administrators(*given(**access(groups={"gone": {}}, **others)))
    assert finding.kind == "warnings"
    assert finding.found == f"slurm_pam:access:users:zoe: {UNKNOWN}; slurm_pam:access:groups:gone: {NOBODY}"


# Local groups, which the formula completes


@pytest.mark.parametrize(
    ("name", "group", "kinds"),
    [
        ("ldap", {"members": ["ann", "ben"]}, ["problems"]),
        ("ldap", {"members": ["ann"], "gid": 21}, ["problems"]),
        ("unlisted", {"members": ["ann"]}, ["problems"]),
        # Nothing would be done to it, as long as it is there.
        ("ldap", {"members": ["ann"], "gid": 20}, ["warnings"]),
        ("ldap", {}, ["warnings"]),
        ("ldap", {"local": False, "members": ["ann", "ben"]}, []),
        ("local", {"members": ["ben"], "gid": 11}, []),
        ("new", {"members": ["ben"]}, []),
    ],
)
def test_a_local_group_that_is_none(name, group, kinds):
    found = list(local_groups(*given(**access(groups={name: group}))))
    assert [finding.kind for finding in found] == kinds
    assert all(f"slurm_pam:access:groups:{name}:local is true" in finding.found for finding in found)
    assert all(f"slurm_pam:access:groups:{name}:local: false" in finding.do for finding in found)
    assert all("groupmod and usermod cannot" in finding.why for finding in found if finding.kind == "problems")


def test_members_that_cannot_be_added():
    (finding,) = local_groups(*given(**access(groups={"new": {"members": ["ann", "zoe", "yan"]}})))
    assert finding.kind == "problems"
    assert finding.found.startswith(
        "slurm_pam:access:groups:new:members has zoe, yan, and this node knows no such user"
    )


# Who must not be locked out


@pytest.mark.parametrize(
    ("groups", "known", "others"),
    [
        ({}, {}, False),
        ({"local": ["192.0.2.1"], "ldap": ["192.0.2.2"]}, {"ann": ["192.0.2.1", "192.0.2.2"]}, False),
        ({"primary": ["ALL"]}, {"ann": ["ALL"], "ben": ["ALL"]}, False),
        ({"unlisted": ["ALL"]}, {}, True),
        ({"gone": ["ALL"]}, {}, False),
        ({"crowd": ["ALL"]}, {f"user{number}": ["ALL"] for number in range(20)}, True),
    ],
)
def test_the_people_who_must_not_be_locked_out(groups, known, others):
    entries = {name: {"origins": origins, "local": False} for name, origins in groups.items()}
    merged = settings(**access({**entries, "out": None}, {"zoe": {}, "out": None}, root=["192.0.2.9"]))
    assert people(merged["access"]) == ({"root": ["192.0.2.9"], **known}, others)


def test_root_may_be_named_twice_and_the_settings_stay():
    merged = settings(**access(users={"root": {"origins": ["192.0.2.8"]}}, root=["192.0.2.9"]))
    assert people(merged["access"]) == ({"root": ["192.0.2.9", "192.0.2.8"]}, False)
    assert merged["access"]["root"] == ["192.0.2.9"]
