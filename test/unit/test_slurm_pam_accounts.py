"""Users and groups, as the node's name services tell them."""

import io
import socket
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError

import _slurm_pam_accounts


@pytest.fixture
def directory(monkeypatch):
    """Name services with these users and groups."""
    users = {name: SimpleNamespace(pw_name=name, pw_gid=gid) for name, gid in {"ann": 50, "ben": 50, "cat": 51}.items()}
    names = {10: ("listed", ["ann", "gone"]), 50: ("primary", []), 51: ("both", ["ann"]), 60: ("hpc@example.org", [])}
    groups = {name: SimpleNamespace(gr_name=name, gr_gid=gid, gr_mem=mem) for gid, (name, mem) in names.items()}
    by_gid = {group.gr_gid: group for group in groups.values()}
    groups["twin"] = SimpleNamespace(gr_name="twin", gr_gid=60, gr_mem=[])
    grp = SimpleNamespace(getgrnam=groups.__getitem__, getgrgid=by_gid.__getitem__, getgrall=groups.values)
    pwd = SimpleNamespace(getpwnam=users.__getitem__, getpwall=lambda: list(users.values()))
    monkeypatch.setattr(_slurm_pam_accounts, "grp", grp)
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
    monkeypatch.setattr(_slurm_pam_accounts, "_services", lambda database: {"files"})
    return _slurm_pam_accounts


def test_who_is_known(directory):
    assert [name for name in ("ann", "gone") if directory.is_user(name)] == ["ann"]
    assert directory.group("listed").gr_gid == 10
    assert directory.group("gone") is None


@pytest.mark.parametrize(
    ("name", "to_come", "members"),
    [
        ("listed", [], ["ann"]),
        ("listed", ["ben", "ann"], ["ann", "ben"]),
        ("primary", [], ["ann", "ben"]),
        # Who is listed is enough to know that there is somebody.
        ("both", [], ["ann"]),
        ("gone", [], []),
        ("gone", ["ben", "zoe"], ["ben"]),
    ],
)
def test_the_members_of_a_group(directory, name, to_come, members):
    assert list(directory.members(name, to_come)) == members


def test_groups_are_asked_for_one_by_one(directory, monkeypatch):
    """A directory service need not list those that a user is in."""
    monkeypatch.setattr(directory, "os", SimpleNamespace(getgrouplist=lambda user, gid: [gid, 60, 9]))
    assert directory.groups_of("ann") == ["primary", "hpc@example.org"]
    monkeypatch.setattr(directory, "_services", lambda database: {"sss"})
    monkeypatch.setattr(directory, "_status", lambda *asked: -1)
    with pytest.raises(CommandExecutionError, match="does not answer for the group 9"):
        directory.groups_of("ann")


def test_the_groups_that_are_the_nodes_own(directory, monkeypatch):
    """A line that is not a text must not hide the others."""
    lines = b"root:x:0:\n\xff:x:9:\nhpc_admin_g:x:1000:ann,ben\n"
    asked = []

    def read(path, **how):
        asked.append(path)
        return io.TextIOWrapper(io.BytesIO(lines), **how)

    monkeypatch.setattr(directory, "open", read, raising=False)
    assert {"root", "hpc_admin_g"} < directory.local_groups()
    assert asked == ["/etc/group"]


@pytest.mark.parametrize(
    ("line", "others"),
    [
        ("passwd: files sss\n", ["sss"]),
        ("  passwd:\tcompat [NOTFOUND=continue] winbind # and sss\n", ["winbind"]),
        ("#passwd: files sss\n", []),
        ("", []),
    ],
)
def test_which_name_services_there_are(monkeypatch, line, others):
    """A blank ahead of a line makes no difference to the C library."""
    text = f"group: files\n{line}".encode()
    monkeypatch.setattr(
        _slurm_pam_accounts, "open", lambda path, **how: io.TextIOWrapper(io.BytesIO(text), **how), raising=False
    )
    assert _slurm_pam_accounts.directories() == others
    assert _slurm_pam_accounts.lists_everybody() == (not others)


def test_a_user_whom_the_directory_has_lost_meanwhile(directory):
    with pytest.raises(CommandExecutionError, match="This node does not know gone any more"):
        directory.groups_of("gone")


@pytest.mark.parametrize(("ask", "database"), [("is_user", "passwd"), ("user", "passwd"), ("group", "group")])
@pytest.mark.parametrize(
    ("services", "silent"),
    [
        ({"files": -1, "systemd": -1}, None),
        ({"files": 0, "sss": 0, "ldap": 0}, None),
        ({"files": 0, "sss": -1}, "sss"),
        ({"sss": -2, "files": 0, "systemd": 0}, "sss"),
        ({"winbind": -1, "ldap": -1}, "ldap, winbind"),
    ],
)
def test_a_service_that_does_not_answer(directory, monkeypatch, ask, database, services, silent):
    """To Python it is the KeyError of a name that nobody knows."""

    def status(service, asked, name):
        assert (asked, name) == (database, "gone")
        return services[service]

    monkeypatch.setattr(directory, "_services", lambda database: services.keys())
    monkeypatch.setattr(directory, "_status", status)
    if silent:
        with pytest.raises(CommandExecutionError, match=rf"^{silent} \(nsswitch.conf\) does not answer for the "):
            getattr(directory, ask)("gone")
    else:
        assert not getattr(directory, ask)("gone")
    assert directory.is_user("ann") and directory.group("listed")


@pytest.mark.parametrize(
    ("code", "answered"), [("EAI_NONAME", True), ("EAI_NODATA", True), ("EAI_AGAIN", False), ("EAI_FAIL", False)]
)
def test_a_host_and_a_resolver(directory, monkeypatch, code, answered):
    def getaddrinfo(host, port, **how):
        raise socket.gaierror(getattr(socket, code), "said so")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    if answered:
        assert directory.addresses("login.example.org") == []
    else:
        with pytest.raises(CommandExecutionError, match=r"does not answer for login\.example\.org: said so"):
            directory.addresses("login.example.org")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1%lo"])
def test_an_address_is_its_own(host):
    assert list(map(str, _slurm_pam_accounts.addresses(host))) == [host]


def test_what_is_no_name_has_no_address():
    assert _slurm_pam_accounts.addresses("." * 80) == []


@pytest.mark.parametrize(
    ("user", "name", "is_in"),
    [
        ("ann", "listed", True),
        ("ben", "listed", False),
        ("ben", "primary", True),
        ("ann", "hpc@example.org", True),
        # The same id under another name.
        ("ann", "twin", True),
        ("ann", "gone", False),
    ],
)
def test_who_is_in_a_group(directory, monkeypatch, user, name, is_in):
    more = {"ann": [60]}
    monkeypatch.setattr(directory, "os", SimpleNamespace(getgrouplist=lambda user, gid: [gid, *more.get(user, [])]))
    assert directory.is_in(user, name) is is_in


def test_groups_of_the_same_id(directory):
    assert [group.gr_name for group in directory.by_the_same_id(directory.group("twin"))] == ["hpc@example.org"]


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("passwd: files\n", True),
        ("passwd:         files systemd # sss\ngroup: sss\n", True),
        ("passwd: compat [NOTFOUND=return] db\n", True),
        ("passwd: files [ !UNAVAIL=return ] extrausers\n", True),
        ("passwd: files sss\n", False),
        ("passwd: sss [SUCCESS=return] files\n", False),
        ("passwd: files ldap\n", False),
        ("group: files\n", True),
        (None, True),
    ],
)
def test_whether_everybody_is_listed(monkeypatch, text, lists):
    def read(path, **how):
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(_slurm_pam_accounts, "open", read, raising=False)
    assert _slurm_pam_accounts.lists_everybody() is lists
