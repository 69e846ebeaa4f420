"""Users and groups, as the node's name services tell them."""

import io
from types import SimpleNamespace

import pytest

import _slurm_pam_accounts


@pytest.fixture
def directory(monkeypatch):
    """Name services with these users and groups."""
    users = {name: SimpleNamespace(pw_name=name, pw_gid=gid) for name, gid in {"ann": 50, "ben": 50, "cat": 51}.items()}
    names = {10: ("listed", ["ann", "gone"]), 50: ("primary", []), 51: ("both", ["ann"]), 60: ("hpc@example.org", [])}
    groups = {name: SimpleNamespace(gr_name=name, gr_gid=gid, gr_mem=mem) for gid, (name, mem) in names.items()}
    by_gid = {group.gr_gid: group for group in groups.values()}
    grp = SimpleNamespace(getgrnam=groups.__getitem__, getgrgid=by_gid.__getitem__)
    pwd = SimpleNamespace(getpwnam=users.__getitem__, getpwall=lambda: list(users.values()))
    monkeypatch.setattr(_slurm_pam_accounts, "grp", grp)
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
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


def test_the_groups_that_are_the_nodes_own(directory, monkeypatch):
    """A line that is no text must not hide the others."""
    lines = b"root:x:0:\n\xff:x:9:\nhpc_admin_g:x:1000:ann,ben\n"
    asked = []

    def read(path, **how):
        asked.append(path)
        return io.TextIOWrapper(io.BytesIO(lines), **how)

    monkeypatch.setattr(directory, "open", read, raising=False)
    assert {"root", "hpc_admin_g"} < directory.local_groups()
    assert asked == ["/etc/group"]
