"""Whether anybody is behind the administrators' names, whatever name service they come from."""

from types import SimpleNamespace

import pytest
from looks import given, settings
from salt.exceptions import CommandExecutionError

import _slurm_pam_accounts
from _slurm_pam_admins import administrators, at_the_machine, by_accident, local_groups, of_a_directory_alone, people

IDS = {"root": (0, 0), "ann": (1001, 50), "ben": (1002, 50)}
USERS = {name: SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid) for name, (uid, gid) in IDS.items()}
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
    crowd = {name: SimpleNamespace(pw_name=name, pw_uid=2000, pw_gid=99) for name in GROUPS["crowd"].gr_mem}
    users = {**USERS, **crowd}
    for name, group in GROUPS.items():
        group.gr_name = name
    node = SimpleNamespace(users=users, groups=dict(GROUPS), listing=True, silent=False)
    pwd = SimpleNamespace(getpwnam=users.__getitem__, getpwall=lambda: list(users.values()))
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
    grp = SimpleNamespace(getgrnam=node.groups.__getitem__, getgrall=lambda: list(node.groups.values()))
    monkeypatch.setattr(_slurm_pam_accounts, "grp", grp)
    monkeypatch.setattr(_slurm_pam_accounts, "local_groups", lambda: {"local"})
    monkeypatch.setattr(_slurm_pam_accounts, "lists_everybody", lambda: node.listing)
    monkeypatch.setattr(_slurm_pam_accounts, "_services", lambda database: {"files", "sss"})
    monkeypatch.setattr(_slurm_pam_accounts, "_status", lambda *asked: -1 if node.silent else 0)
    return node


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


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (access(users={"ann": {}}), True),
        (access(users={"ben": {}}), False),
        (access(users={"ann": {}, "ben": {}}), False),
        (access(groups={"ldap": {"local": False}}), True),
        # Whom it has, it does not say.
        (access(groups={"unlisted": {"local": False}}), True),
        (access(groups={"ldap": {"local": False}, "local": {}}), True),
        (access(groups={"ldap": {"local": False}, "local": {"members": ["ben"]}}), False),
        # The directory has a user of this node in its group.
        (access(groups={"ldap": {"local": False, "members": ["ben"]}}), True),
        # The node has the group, whoever sees to it.
        (access(groups={"local": {"local": False, "members": ["ben"]}}), False),
        # Nobody is known at all, which is another finding.
        (access(users={"zoe": {}}), False),
        (access(groups={"gone": {"local": False}}), False),
        (access(), False),
        (access(users={"ann": {}}, root_only=True), False),
    ],
)
def test_administrators_of_a_directory_alone(monkeypatch, settings, told):
    monkeypatch.setattr(_slurm_pam_accounts, "local_users", lambda: {"root", "ben"})
    found = list(of_a_directory_alone(*given(**settings)))
    assert [finding.kind for finding in found] == ["warnings"] * told
    for finding in found:
        assert finding.found == "Every administrator of this node comes from a directory (sss)"


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


# Who does not answer


SILENT = "sss (nsswitch.conf) does not answer for the {}"


@pytest.mark.parametrize(
    ("kind", "entry", "what"),
    [
        ("users", {}, "user zoe"),
        ("groups", {}, "group zoe"),
        ("groups", {"local": False}, "group zoe"),
        ("groups", {"members": ["yan"]}, "group zoe"),
    ],
)
def test_a_directory_that_does_not_answer_is_no_answer(directory, kind, entry, what):
    directory.silent = True
    looked = given(**access(**{kind: {"zoe": entry}}))
    (finding,) = administrators(*looked)
    assert (finding.kind, SILENT.format(what) in finding.found) == ("problems", True)
    assert people(looked[0]["access"]) == ({"root": ["ALL"]}, True)


def test_what_a_directory_does_not_answer_of_a_local_group(directory):
    directory.silent = True
    members, group = local_groups(*given(**access(groups={"new": {"members": ["ann", "zoe"]}})))
    assert "slurm_pam:access:groups:new:members has zoe, and sss (nsswitch.conf) does not answer" in members.found
    assert "no answer tells whether a directory has it: sss" in group.found
    assert (members.kind, group.kind) == ("problems", "problems")


def test_a_group_whose_people_the_directory_does_not_list(directory):
    directory.listing = False
    (finding,) = administrators(*given(**access(groups={"unlisted": {}})))
    assert (finding.kind, "do not list" in finding.found) == ("warnings", True)


# Hosts


@pytest.mark.parametrize(
    ("origins", "told"),
    [
        (["ALL", "192.0.2.0/24", "fe80::1%eth0", ".example.org", "login.example.org"], []),
        (["gone.example.org"], ["gone.example.org, and this node knows no such host"]),
        (["login.test", "gone", "ALL"], ["login.test, and nobody answers", "gone, and this node knows no such host"]),
    ],
)
def test_hosts_of_which_this_node_does_not_know_where_they_are(monkeypatch, origins, told):
    def addresses(host):
        if host == "login.test":
            raise CommandExecutionError("nobody answers")
        return [host] if host == "login.example.org" else []

    monkeypatch.setattr(_slurm_pam_accounts, "addresses", addresses)
    found = list(administrators(*given(**access(groups={"local": {"origins": origins}}, users={"ann": {}}))))
    path = "slurm_pam:access:groups:local:origins"
    assert [finding.found for finding in found] == [f"{path} has {what}" for what in told]
    assert all(finding.kind == "warnings" for finding in found)


# Administrators by accident


def made(directory, gid, members=(), **users):
    """A group admins, and users with these uids and primary groups."""
    directory.groups["admins"] = SimpleNamespace(gr_name="admins", gr_gid=gid, gr_mem=list(members))
    for name, (uid, primary) in users.items():
        directory.users[name] = SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=primary)


@pytest.mark.parametrize(
    ("gid", "listed", "users", "entry", "kinds", "named"),
    [
        (400, [], {}, {}, [], []),
        (400, ["ann"], {}, {"members": ["ann"]}, [], []),
        # whoever has the group's id as his own
        (400, ["ann"], {"carl": (1003, 400)}, {"members": ["ann"]}, ["problems"], ["400", "primary group of carl"]),
        (400, [], {"carl": (1003, 400)}, {"members": ["carl"]}, [], []),
        (400, [], {"carl": (1003, 400)}, {"local": False}, ["problems"], ["carl"]),
        (400, [], {"ups": (90, 400)}, {}, ["warnings"], ["ups (by its primary group)"]),
        (0, [], {}, {}, [], []),
        # by hand; a directory's list is the directory's business
        (400, ["carl", "ann"], {}, {"members": ["ann"]}, ["warnings"], ["carl (listed in the group)"]),
        (400, ["carl", "ann"], {}, {"local": False}, [], []),
        # one id under two names
        (10, ["ben"], {}, {"members": ["ben"]}, ["warnings"], ["ann (in local, of the same id)"]),
        (10, ["ben"], {}, {"members": ["ben", "ann"]}, [], []),
        (400, [], {f"u{n}": (3000 + n, 400) for n in range(30)}, {}, ["problems"], ["u0", "and 10 more"]),
    ],
)
def test_who_is_in_a_group_without_being_named(directory, gid, listed, users, entry, kinds, named):
    made(directory, gid, listed, **users)
    found = list(by_accident(*given(**access(groups={"admins": entry, "none": {}}))))
    assert [finding.kind for finding in found] == kinds
    for finding in found:
        assert all(words in finding.found for words in named)
        assert "slurm_pam:access:groups:admins" in finding.found and "groups:admins:members" in finding.do


@pytest.mark.parametrize(
    ("gid", "entry", "listing", "told"),
    [(1005, {}, False, 1), (1005, {}, True, 0), (400, {}, False, 0), (1005, {"local": False}, False, 0)],
)
def test_an_id_of_which_a_directory_does_not_tell_whose_it_is(directory, gid, entry, listing, told):
    made(directory, gid)
    directory.listing = listing
    found = list(by_accident(*given(**access(groups={"admins": entry}))))
    assert [finding.kind for finding in found] == ["warnings"] * told
    assert all("1005" in finding.found and "groupmod --gid" in finding.do for finding in found)


def test_people_begin_where_the_node_says_so(directory, monkeypatch, tmp_path):
    defs = tmp_path / "login.defs"
    defs.write_text("UID_MIN 5000\n")
    monkeypatch.setattr(_slurm_pam_accounts, "LOGIN_DEFS", (str(defs),))
    made(directory, 4000, carl=(4003, 4000), dora=(5003, 4000))
    directory.listing = False
    groups = access(groups={"admins": {}})
    person, service = by_accident(*given(**groups))
    assert "primary group of dora" in person.found and "carl (by its primary group)" in service.found
    made(directory, 5000)
    (alone,) = by_accident(*given(**groups))
    assert "give the group one below 5000" in alone.do


@pytest.mark.parametrize(
    ("names", "told"), [(["Carl"], ["carl, CARL"]), (["Carl", "carl", "CARL"], []), (["ann"], []), (["carla"], [])]
)
def test_a_name_that_differs_by_letter_case(directory, names, told):
    made(directory, 400, carl=(1003, 1003), CARL=(1004, 1004))
    directory.users["carl of another service"] = directory.users["carl"]
    found = list(by_accident(*given(**access(users={name: {} for name in names}))))
    assert [finding.found for finding in found] == [f"slurm_pam:access:users:Carl means {who} as well" for who in told]


# At the machine


@pytest.mark.parametrize(
    ("doors", "origins", "sections", "told"),
    [
        ({"login": "close", "cron": "close"}, ["192.0.2.0/24"], {}, "slurm_pam:doors closes cron, login, where"),
        ({"login": "close"}, ["192.0.2.0/24", "LOCAL"], {}, None),
        ({"login": "close"}, ["ALL"], {}, None),
        ({"login": "report", "cockpit": "close"}, ["192.0.2.0/24"], {}, None),
        ({"login": "close"}, ["192.0.2.0/24"], {"mode": "adopt"}, None),
    ],
)
def test_administrators_who_come_from_networks_alone(doors, origins, sections, told):
    found = list(at_the_machine(*given(doors=doors, **access(users={"ann": {"origins": origins}}), **sections)))
    assert [finding.kind for finding in found] == (["warnings"] if told else [])
    assert all(finding.found.startswith(told) for finding in found)


def test_local_is_no_origin_of_a_login_over_ssh():
    asked = access(users={"ann": {"origins": ["LOCAL", "192.0.2.1"]}}, root=["ALL"])
    assert people(settings(**asked)["access"])[0] == {"root": ["ALL"], "ann": ["192.0.2.1"]}
