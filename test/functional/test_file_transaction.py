"""file_transaction: what it reads, which links it follows, and that all files change or none."""

import fcntl
import os
import stat
import time

import pytest
from salt.exceptions import CommandExecutionError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root can")


@pytest.fixture
def transaction(modules):
    return modules.file_transaction


@pytest.fixture
def etc(tmp_path):
    """Three paths: a file that is to change, a link that is to go, and a new file."""
    (tmp_path / "changing").write_text("old\n")
    (tmp_path / "going").symlink_to("changing")
    return tmp_path


@pytest.fixture
def changes(etc):
    return [
        {"path": f"{etc}/coming", "before": None, "after": "new\n", "mode": 0o600},
        {"path": f"{etc}/changing", "before": "old\n", "after": "new\n"},
        {"path": f"{etc}/going", "before": {"link": "changing"}, "after": None},
    ]


def tree(directory):
    return {
        path.name: os.readlink(path) if path.is_symlink() else (path.read_bytes(), path.stat().st_ino)
        for path in directory.iterdir()
    }


def test_read(transaction, etc):
    (etc / "bytes").write_bytes(b"Universit\xe4t\r\nno newline")
    assert transaction.read(f"{etc}/bytes") == "Universit\udce4t\r\nno newline"
    assert transaction.read(f"{etc}/going") == {"link": "changing"}
    assert transaction.read(f"{etc}/none") is None
    os.mkfifo(etc / "fifo")
    for path in (etc / "fifo", etc):
        with pytest.raises(CommandExecutionError, match=f"{path} is neither a file nor a link"):
            transaction.read(str(path))


@as_root
def test_follow(transaction, etc):
    (etc / "there").mkdir()
    (etc / "there/file").write_text("")
    (etc / "link").symlink_to("there/file")
    (etc / "link to link").symlink_to(etc / "link")
    assert transaction.follow(f"{etc}/link to link") == f"{etc}/there/file"
    assert transaction.follow(f"{etc}/none") == f"{etc}/none"
    (etc / "dangling").symlink_to("none")
    with pytest.raises(CommandExecutionError, match="which is not there"):
        transaction.follow(f"{etc}/dangling")


@as_root
@pytest.mark.parametrize("loose", ["there", "there/file", "link", "bob", "bob/on"])
def test_a_link_that_others_can_move_is_not_followed(transaction, etc, loose):
    """/link -> bob/on -> there/file, with any one part of that in somebody else's hand."""
    for directory in ("there", "bob"):
        (etc / directory).mkdir()
    (etc / "there/file").write_text("")
    (etc / "bob/on").symlink_to("../there/file")
    (etc / "link").symlink_to("bob/on")
    (etc / "start").symlink_to("link")
    assert transaction.follow(f"{etc}/start") == f"{etc}/there/file"
    os.chown(etc / loose, 1234, -1, follow_symlinks=False)
    with pytest.raises(CommandExecutionError, match=f"others than root can write to {etc}/{loose}\\."):
        transaction.follow(f"{etc}/start")


def test_commit(transaction, etc, changes):
    assert transaction.commit(changes) is True
    assert {name: what[0] for name, what in tree(etc).items()} == {"coming": b"new\n", "changing": b"new\n"}
    assert stat.S_IMODE((etc / "coming").stat().st_mode) == 0o600


def test_diff(transaction, etc, changes):
    changes[0]["after"] = "new"
    stays = {"path": f"{etc}/staying", "before": "x", "after": "x"}
    assert transaction.diff([*changes, stays]) == {
        f"{etc}/coming": {
            "diff": f"--- /dev/null\n+++ {etc}/coming\n@@ -0,0 +1 @@\n+new\n\\ No newline at end of file\n"
        },
        f"{etc}/changing": {"diff": f"--- {etc}/changing\n+++ {etc}/changing\n@@ -1 +1 @@\n-old\n+new\n"},
        f"{etc}/going": {"old": "link to changing", "new": "not there"},
    }


@as_root
def test_a_replaced_file_keeps_mode_owner_and_acl(transaction, etc, changes):
    acl = bytes.fromhex("02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000600ffffffff 20000000ffffffff")
    os.chown(etc / "changing", 1234, 5678)
    os.setxattr(etc / "changing", "system.posix_acl_access", acl)
    (etc / "changing").chmod(0o4750)
    wanted = os.getxattr(etc / "changing", "system.posix_acl_access")
    transaction.commit(changes)
    found = (etc / "changing").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o4750)
    assert os.getxattr(etc / "changing", "system.posix_acl_access") == wanted


def test_all_is_complete_before_the_first_is_put_in_place(transaction, etc, changes, monkeypatch):
    rename, seen = os.rename, []

    def look(old, new):
        seen.append({path.name: path.read_text() for path in etc.glob(".*new")})
        rename(old, new)

    monkeypatch.setattr(os, "rename", look)
    transaction.commit(changes)
    assert seen[0] == {".coming.salt-new": "new\n", ".changing.salt-new": "new\n"}


def test_what_a_replaced_file_named_goes_later(transaction, etc, changes, monkeypatch):
    """A login may have read the one and not yet the other."""
    seen = []

    def look(seconds):
        seen.append(((etc / "changing").read_text(), (etc / "going").is_symlink()))

    monkeypatch.setattr(time, "sleep", look)
    transaction.commit(changes)
    assert seen == [("new\n", True)]
    assert not (etc / "going").is_symlink()


@pytest.mark.parametrize("failing", range(2))
def test_a_failure_half_way_puts_back_the_very_files(transaction, etc, changes, monkeypatch, failing):
    before, rename, calls = tree(etc), os.rename, []

    def fail(old, new):
        if new.endswith(("coming", "changing")):
            calls.append(new)
            if len(calls) == failing + 1:
                raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(CommandExecutionError) as failure:
        transaction.commit(changes)
    assert str(failure.value) == (
        f"{etc}/{['coming', 'changing'][failing]} could not be written: No space left on device. "
        "Everything is as it was. Make room on its file system, and apply again"
    )
    assert tree(etc) == before


def test_what_cannot_be_put_back_is_named_and_kept(transaction, etc, changes, monkeypatch):
    rename = os.rename

    def fail_then_fail_again(old, new):
        if old.endswith("-old"):
            raise OSError(5, "Input/output error")
        rename(old, new)

    def fail(path):
        raise OSError(5, "Input/output error") if path.endswith("going") else FileNotFoundError

    monkeypatch.setattr(os, "rename", fail_then_fail_again)
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path: fail(path) if path == f"{etc}/going" else unlink(path))
    with pytest.raises(CommandExecutionError, match=f"by hand: {etc}/changing \\(it was {etc}/.changing.salt-old\\)"):
        transaction.commit(changes)
    assert (etc / ".changing.salt-old").read_text() == "old\n"
    assert not (etc / "coming").exists()


@pytest.mark.parametrize("other", ["changing", "coming", "going"])
def test_what_somebody_else_changed_since_it_was_read_is_kept(transaction, etc, changes, other, monkeypatch):
    """Nothing else has been touched for it, not even for a moment."""
    (etc / other).unlink(missing_ok=True)
    (etc / other).write_text("theirs\n")
    before = tree(etc)
    monkeypatch.setattr(os, "rename", None)
    with pytest.raises(CommandExecutionError, match=f"{etc}/{other} could not be written: somebody else has changed"):
        transaction.commit(changes)
    assert tree(etc) == before


def test_what_somebody_else_changes_while_it_is_written_is_kept(transaction, etc, changes, monkeypatch):
    rename = os.rename

    def rename_and_interfere(old, new):
        rename(old, new)
        (etc / "changing").write_text("theirs\n")

    monkeypatch.setattr(os, "rename", rename_and_interfere)
    with pytest.raises(CommandExecutionError, match=f"{etc}/changing could not be written: somebody else has changed"):
        transaction.commit(changes)
    assert set(tree(etc)) == {"changing", "going"}
    assert (etc / "changing").read_text() == "theirs\n"


def test_one_at_a_time(transaction, etc, changes):
    before = tree(etc)
    handle = os.open(etc, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(CommandExecutionError, match=f"Another run is changing the files in {etc}\\. Nothing was"):
            transaction.commit(changes)
    finally:
        os.close(handle)
    assert tree(etc) == before
    assert transaction.commit(changes) is True


def test_what_a_killed_run_left_is_taken_away(transaction, etc):
    """Also beside a path that stays as it is; and a link laid in the way is not followed."""
    (etc / "theirs").write_text("theirs\n")
    (etc / ".changing.salt-new").symlink_to("theirs")
    os.link(etc / "changing", etc / ".changing.salt-old")
    transaction.commit([{"path": f"{etc}/changing", "before": "old\n", "after": "old\n"}])
    assert set(tree(etc)) == {"changing", "going", "theirs"}
    (etc / ".changing.salt-new").symlink_to("theirs")
    transaction.commit([{"path": f"{etc}/changing", "before": "old\n", "after": "new\n"}])
    assert (etc / "theirs").read_text() == "theirs\n"
    assert set(tree(etc)) == {"changing", "going", "theirs"}


def test_a_missing_directory_is_made_only_for_a_file(transaction, etc):
    transaction.commit([{"path": f"{etc}/a/file", "before": None, "after": None}])
    assert not (etc / "a").exists()
    transaction.commit([{"path": f"{etc}/a/b/file", "before": None, "after": ""}])
    assert (etc / "a/b/file").read_text() == ""


def test_newer(transaction, etc):
    pid_file = etc / "pid"
    assert transaction.newer([f"{etc}/changing"], str(pid_file)) == []
    pid_file.write_text("1\n")
    os.utime(pid_file, (0, 0))
    places = [f"{etc}/changing", f"{etc}/none", str(etc)]
    assert transaction.newer(places, str(pid_file)) == [f"{etc}/changing", str(etc)]
    os.utime(pid_file, (2**33, 2**33))
    assert transaction.newer([f"{etc}/changing"], str(pid_file)) == []
