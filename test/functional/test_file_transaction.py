"""file_transaction: what it reads, which links it follows, and that all files change or none."""

import multiprocessing
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness.source import load
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


LOOSE = {
    "a user's": lambda path: os.chown(path, 1234, -1, follow_symlinks=False),
    "a group's": lambda path: path.chmod(path.stat().st_mode | 0o020),
    "everybody's": lambda path: path.chmod(path.stat().st_mode | 0o002),
}


@as_root
@pytest.mark.parametrize("loosen", LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize("loose", ["there", "there/file", "link", "bob", "bob/on", "start"])
def test_a_link_that_others_can_move_is_not_followed(transaction, etc, loose, loosen):
    """start -> link -> bob/on -> there/file, with any one part of that in somebody else's hand."""
    for directory in ("there", "bob"):
        (etc / directory).mkdir()
    (etc / "there/file").write_text("")
    (etc / "bob/on").symlink_to("../there/file")
    (etc / "link").symlink_to("bob/on")
    (etc / "start").symlink_to("link")
    assert transaction.follow(f"{etc}/start") == f"{etc}/there/file"
    # A link has no mode of its own: that of its file changes.
    loosen(etc / loose)
    if (etc / loose).is_symlink() and (etc / loose).lstat().st_uid == 0:
        loose = "there/file"
    with pytest.raises(CommandExecutionError) as refusal:
        transaction.follow(f"{etc}/start")
    assert str(refusal.value) == (
        f"{etc}/start is a link to {etc}/there/file, but others than root can write to {etc}/{loose}. Nothing was "
        f"changed. Replace the link by the file that it should be, or let {etc}/{loose} be root's alone"
    )


@as_root
@pytest.mark.parametrize("loosen", LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize("loose", ["there/file", "there/deep", "there", "by"])
@pytest.mark.parametrize("path", ["there/deep/file", "there/file", "there/deep/new/none", "by/deep/file", "by/none"])
def test_a_file_that_others_can_write_is_not_followed(transaction, etc, path, loose, loosen):
    """Nor what is not there yet, in a directory of theirs; by -> onward/there -> there is a link of directories."""
    (etc / "there/deep").mkdir(parents=True)
    (etc / "there/file").write_text("")
    (etc / "there/deep/file").write_text("")
    (etc / "onward").mkdir()
    (etc / "onward/there").symlink_to(etc / "there")
    (etc / "by").symlink_to("onward/there")
    real = path.replace("by", "there")
    assert transaction.follow(f"{etc}/{path}") == f"{etc}/{real}"
    loosen(etc / loose)
    # A link has no mode of its own: that of its directory changes.
    loose = "there" if loose == "by" and (etc / "by").lstat().st_uid == 0 else loose
    if f"{path}/".startswith(f"{loose}/") or f"{real}/".startswith(f"{loose}/"):
        with pytest.raises(CommandExecutionError) as refusal:
            transaction.follow(f"{etc}/{path}")
        assert str(refusal.value) == (
            f"{etc}/{path} is not safe: others than root can write to {etc}/{loose}. Nothing was changed. Look at what "
            f"is there, then let it be root's alone: chown -h root {etc}/{loose}; chmod go-w {etc}/{loose}"
        )
    else:
        assert transaction.follow(f"{etc}/{path}") == f"{etc}/{real}"


@as_root
def test_a_directory_that_only_part_of_the_way_goes_through_counts(transaction, etc):
    """by -> onward/there -> there: whoever has onward says where by leads."""
    (etc / "there").mkdir()
    (etc / "onward").mkdir()
    (etc / "onward/there").symlink_to(etc / "there")
    (etc / "by").symlink_to("onward/there")
    (etc / "onward").chmod(0o777)
    with pytest.raises(CommandExecutionError, match=f"others than root can write to {etc}/onward\\."):
        transaction.follow(f"{etc}/by/none")
    # As in /tmp, where nobody moves what is root's.
    (etc / "onward").chmod(0o1777)
    assert transaction.follow(f"{etc}/by/none") == f"{etc}/there/none"


def test_links_in_a_circle_are_not_followed_for_ever(transaction, etc):
    (etc / "round").symlink_to("round")
    with pytest.raises(CommandExecutionError, match="which is not there"):
        transaction.follow(f"{etc}/round")
    assert transaction.follow(f"{etc}/round/file") == f"{etc}/round/file"


def test_commit(transaction, etc, changes):
    assert transaction.commit(changes) is True
    assert {name: what[0] for name, what in tree(etc).items()} == {"coming": b"new\n", "changing": b"new\n"}
    assert stat.S_IMODE((etc / "coming").stat().st_mode) == 0o600


def test_bring_about(transaction, etc, changes, test_mode):
    """What a state says is told before anything is written, and is the same in a dry run."""
    before, shown = tree(etc), transaction.diff(changes)
    assert list(shown) == [f"{etc}/coming", f"{etc}/changing", f"{etc}/going"]
    assert transaction.bring_about(changes, test_mode) == {"result": None if test_mode else True, "changes": shown}
    if test_mode:
        assert tree(etc) == before
    else:
        assert {name: what[0] for name, what in tree(etc).items()} == {"coming": b"new\n", "changing": b"new\n"}


def test_bring_about_what_stays_as_it_is(transaction, etc, test_mode):
    """What a killed run left beside it goes, but not in a dry run."""
    (etc / ".changing.salt-new").write_text("half")
    change = {"path": f"{etc}/changing", "before": "old\n", "after": "old\n"}
    assert transaction.bring_about([change], test_mode) == {"result": True, "changes": {}}
    assert (etc / ".changing.salt-new").exists() is test_mode


def test_bring_about_raises_as_commit_does(transaction, etc, changes):
    (etc / "changing").write_text("theirs\n")
    before = tree(etc)
    with pytest.raises(CommandExecutionError, match=f"{etc}/changing could not be written: somebody else has changed"):
        transaction.bring_about(changes)
    assert tree(etc) == before


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


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("failing", range(3))
def test_what_the_disk_does_not_take_in_is_put_back(transaction, etc, changes, monkeypatch, failing, lasting):
    """A directory is synced after its file has changed; also if that fails again, nothing is left to do by hand."""
    before, fsync, calls = tree(etc), os.fsync, []

    def fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            calls.append(handle)
            if len(calls) == failing + 1 or (lasting and len(calls) > failing):
                raise OSError(5, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CommandExecutionError) as failure:
        transaction.commit(changes)
    assert str(failure.value) == (
        f"{etc}/{['coming', 'changing', 'going'][failing]} could not be written: Input/output error. "
        "Everything is as it was. See to it that it can be written, and apply again"
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


def test_one_at_a_time(transaction, etc, changes, monkeypatch):
    """By whatever name the directory is known to the other."""
    (etc / "same").symlink_to(".")
    rename, refused = os.rename, []

    def rename_and_commit(old, new):
        before = tree(etc)
        for directory in (etc, etc / "same"):
            with pytest.raises(CommandExecutionError) as refusal:
                transaction.commit([{"path": f"{directory}/other", "before": None, "after": ""}])
            refused.append(str(refusal.value))
        assert tree(etc) == before
        rename(old, new)

    monkeypatch.setattr(os, "rename", rename_and_commit)
    assert transaction.commit(changes[:1]) is True
    assert refused == [
        f"Another run is changing the files in {directory}. Nothing was changed. Apply again when it has ended"
        for directory in (etc, etc / "same")
    ]
    monkeypatch.undo()
    assert transaction.commit(changes[1:]) is True


def commit_often(changes):
    """In a process of its own."""
    transaction = load("_modules/file_transaction.py")
    return [transaction.commit(changes) for _ in range(300)]


def test_two_that_change_nothing_are_not_in_each_others_way(etc):
    stays = [{"path": f"{etc}/{name}", "before": text, "after": text} for name, text in STAYING.items()]
    before = tree(etc)
    with multiprocessing.get_context("spawn").Pool(2) as runs:
        assert runs.map(commit_often, [stays, stays], chunksize=1) == [[True] * 300] * 2
    assert tree(etc) == before


STAYING = {"changing": "old\n", "going": {"link": "changing"}, "none": None}


@pytest.mark.parametrize("left", [None, "new", "old"])
@pytest.mark.parametrize("name", STAYING)
def test_who_changes_nothing_needs_to_be_alone_only_to_clear_away(locking, etc, name, left):
    """What lies beside the path is of a run that was killed, or that is just writing it."""
    stays = [{"path": f"{etc}/{name}", "before": STAYING[name], "after": STAYING[name]}]
    if left:
        (etc / f".{name}.salt-{left}").symlink_to("nowhere")
    before = tree(etc)
    with locking._alone([str(etc)]):
        if left:
            with pytest.raises(CommandExecutionError, match="Another run is changing the files"):
                locking.commit(stays)
        else:
            assert locking.commit(stays) is True
        assert tree(etc) == before
    assert locking.commit(stays) is True
    assert set(tree(etc)) == {"changing", "going"}


def test_a_directory_by_two_names_is_locked_once(transaction, etc):
    (etc / "same").symlink_to(".")
    paths = [f"{etc}/one", f"{etc}/same/two"]
    assert transaction.commit([{"path": path, "before": None, "after": ""} for path in paths]) is True
    assert {"one", "two"} < set(tree(etc))


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@as_root
def test_a_user_cannot_hold_a_lock(transaction, changes):
    """Anybody may open a directory, and lock what they have opened."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        command = ["flock", directory, "sh", "-c", "echo locked; read end"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **NOBODY) as user:
            assert user.stdout.readline() == "locked\n"
            change = {"path": f"{directory}/file", "before": None, "after": ""}
            assert transaction.commit([change]) is True
            user.communicate("\n")
        assert os.listdir(directory) == ["file"]


@pytest.fixture
def locking(tmp_path_factory):
    """file_transaction with a place of its own for its locks."""
    module = load("_modules/file_transaction.py")
    module._LOCKS = str(tmp_path_factory.mktemp("run") / "locks")
    return module


def test_locks_are_root_s_alone_and_one_for_each_directory(locking, etc):
    (etc / "deep").mkdir()
    locks = Path(locking._LOCKS)
    with locking._alone([f"{etc}", f"{etc}/deep", f"{etc}/deep/../deep"]):
        assert (stat.S_IMODE(locks.stat().st_mode), locks.stat().st_uid) == (0o700, os.geteuid())
        assert [(stat.S_IMODE(lock.stat().st_mode), lock.stat().st_size) for lock in locks.iterdir()] == [
            (0o600, 0)
        ] * 2
    assert list(locks.iterdir()) == []
    locking.commit([{"path": f"{etc}/deep/three", "before": None, "after": ""}])
    assert list(locks.iterdir()) == []
    assert set(tree(etc / "deep")) == {"three"}


def test_a_lock_that_was_given_up_meanwhile_is_not_taken_for_one(locking, etc, monkeypatch):
    """Opened while another run held it, and locked when that one has removed it."""
    opened, taken = locking._open_lock, []

    def once(path):
        taken.append(path)
        monkeypatch.setattr(locking, "_open_lock", opened)
        lock = opened(path)
        os.unlink(path)
        return lock

    monkeypatch.setattr(locking, "_open_lock", once)
    with locking._alone([f"{etc}"]):
        assert [str(lock) for lock in Path(locking._LOCKS).iterdir()] == taken


UNSAFE = {
    "a link": lambda locks: locks.symlink_to("/root"),
    "a dangling link": lambda locks: locks.symlink_to("nowhere"),
    "a file": lambda locks: locks.write_text(""),
    "everybody's": lambda locks: locks.mkdir() or locks.chmod(0o1777),
    "a group's": lambda locks: locks.mkdir() or locks.chmod(0o770),
    "a user's": lambda locks: locks.mkdir() or os.chown(locks, 1234, 0),
}


@as_root
@pytest.mark.parametrize("lay", UNSAFE.values(), ids=UNSAFE)
def test_a_place_for_locks_that_is_not_root_s_alone_is_refused(locking, etc, changes, lay):
    lay(Path(locking._LOCKS))
    before = tree(etc)
    with pytest.raises(CommandExecutionError) as refusal:
        locking.commit(changes)
    assert str(refusal.value) == (
        f"{locking._LOCKS} is not a directory of root's alone. Nothing was changed. Remove it, and apply again"
    )
    assert tree(etc) == before


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


def test_a_directory_is_for_all_to_read_whatever_the_umask_is(transaction, etc):
    """root's shell has 077 on hardened nodes, and salt-call with it."""
    before = os.umask(0o077)
    try:
        transaction.commit([{"path": f"{etc}/a/b/file", "before": None, "after": ""}])
    finally:
        os.umask(before)
    assert [stat.S_IMODE((etc / name).stat().st_mode) for name in ("a", "a/b", "a/b/file")] == [0o755, 0o755, 0o644]


def test_newer(transaction, etc):
    pid_file = etc / "pid"
    assert transaction.newer([f"{etc}/changing"], str(pid_file)) == []
    pid_file.write_text("1\n")
    os.utime(pid_file, (0, 0))
    places = [f"{etc}/changing", f"{etc}/none", str(etc)]
    assert transaction.newer(places, str(pid_file)) == [f"{etc}/changing", str(etc)]
    os.utime(pid_file, (2**33, 2**33))
    assert transaction.newer([f"{etc}/changing"], str(pid_file)) == []


@pytest.mark.parametrize("name", ["pid", "changing"])
def test_newer_than_what_goes_meanwhile(transaction, etc, monkeypatch, name):
    """sshd removes its PID file when it is restarted."""
    (etc / "pid").write_text("1\n")
    exists = os.path.exists

    def goes(path):
        found = exists(path)
        if str(path) == f"{etc}/{name}":
            os.unlink(path)
        return found

    monkeypatch.setattr(os.path, "exists", goes)
    assert transaction.newer([f"{etc}/changing"], f"{etc}/pid") == []


SECRET = "root:$6$hash\nalice:!\nend:without"


@pytest.mark.parametrize("after", [
    "ours\n" + SECRET,
    SECRET + "\nours\n",
    "alice:!\nours\nroot:$6$hash\nend:without\n",
    "# was: root:$6$hash\nours\nalice:!\n",
    "ours\n",
])  # fmt: skip
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
def test_of_a_file_that_not_everybody_reads_only_new_lines_are_shown(transaction, etc, after, mode):
    (etc / "changing").write_text(SECRET)
    (etc / "changing").chmod(mode)
    change = {"path": f"{etc}/changing", "before": SECRET, "after": after}
    for ret in (transaction.diff([change]), transaction.bring_about([change], test=True)["changes"]):
        shown = ret[f"{etc}/changing"]["diff"]
        assert "+ours\n" in shown
        assert not [line for line in SECRET.split("\n") if line in shown]
    (etc / "changing").chmod(0o644)
    assert "alice:!" in transaction.diff([change])[f"{etc}/changing"]["diff"]


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_line_of_a_diff_ends_where_a_line_of_the_file_does(transaction, etc, end, mode):
    before = f"StoragePass=a{end}b\n"
    (etc / "changing").write_text(before, newline="")
    (etc / "changing").chmod(mode)
    change = {"path": f"{etc}/changing", "before": before, "after": f"# was: {before}ours\n"}
    _, _, _, *lines = transaction.diff([change])[f"{etc}/changing"]["diff"].split("\n")
    hidden = "(not shown, since not everybody may read this file)"
    shown = [f"-{hidden}", f"+{hidden}"] if mode == 0o600 else [f"-StoragePass=a{end}b", f"+# was: StoragePass=a{end}b"]
    assert lines == [*shown, "+ours", ""]


def test_a_secret_that_goes_is_not_shown(transaction, etc):
    (etc / "changing").write_text(SECRET)
    (etc / "changing").chmod(0o600)
    gone = {"path": f"{etc}/changing", "before": SECRET, "after": None}
    shown = transaction.bring_about([gone])["changes"][f"{etc}/changing"]["diff"]
    assert shown.count("\n-(not shown, since not everybody may read this file)") == 3
    assert not [line for line in SECRET.split("\n") if line in shown]
    # A new one is ours.
    new = {"path": f"{etc}/changing", "before": None, "after": "ours\n", "mode": 0o600}
    assert transaction.diff([new])[f"{etc}/changing"]["diff"].endswith("+ours\n")
# What stands against writing, before anything is written


def bound_read_only(path):
    for options in (["--bind", path, path], ["-o", "remount,bind,ro", path]):
        subprocess.run(["mount", *options], check=True)
    return ["umount", path]


def immutable(path):
    subprocess.run(["chattr", "+i", path], check=True)
    return ["chattr", "-i", path]


def mounted_by_itself(path):
    subprocess.run(["mount", "--bind", "/proc/version", path], check=True)
    return ["umount", path]


def mounted_upon_itself(path):
    subprocess.run(["mount", "--bind", path, path], check=True)
    return ["umount", path]


def an_overlay(etc):
    """Files and directories are of two devices there."""
    upper, work = etc.parent / "upper", etc.parent / "work"
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={etc / 'dir'},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, etc / "dir"], check=True)
    return ["umount", etc / "dir"]


OBSTACLES = {
    "nothing": (lambda etc: None, None, None),
    "a user's file": (lambda etc: os.chown(etc / "dir/file", 1234, -1), "unsafe", "others than root can write"),
    "a group's file": (lambda etc: (etc / "dir/file").chmod(0o664), "unsafe", "others than root can write"),
    "a user's directory": (lambda etc: os.chown(etc / "dir", 1234, -1), "unsafe", "others than root can write"),
    "everybody's directory": (lambda etc: (etc / "dir").chmod(0o777), "unsafe", "others than root can write"),
    "a user's directory above": (lambda etc: os.chown(etc, 1234, -1), "unsafe", "others than root can write"),
    "a sticky directory": (lambda etc: (etc / "dir").chmod(0o1777), None, None),
    "a directory": (lambda etc: replace(etc, os.mkdir), "unsafe", "neither a file nor a link"),
    "a FIFO": (lambda etc: replace(etc, os.mkfifo), "unsafe", "neither a file nor a link"),
    "a link": (lambda etc: replace(etc, lambda path: os.symlink("/etc/passwd", path)), None, None),
    "a dangling link": (lambda etc: replace(etc, lambda path: os.symlink("/none", path)), None, None),
    "no file": (lambda etc: os.unlink(etc / "dir/file"), None, None),
    "no directory": (lambda etc: gone(etc), None, None),
    "a file for a directory": (
        lambda etc: gone(etc, "a file"),
        "unsafe",
        "Not a directory",
    ),
    "an immutable file": (lambda etc: immutable(etc / "dir/file"), "unwritable", "lsattr"),
    "an immutable directory": (lambda etc: immutable(etc / "dir"), "unwritable", "lsattr"),
    "a read-only mount": (lambda etc: bound_read_only(etc / "dir"), "unwritable", "Make its file system writable"),
    "a file that is mounted upon itself": (
        lambda etc: mounted_upon_itself(etc / "dir/file"),
        "unwritable",
        "mounted by itself",
    ),
    "an overlay": (an_overlay, None, None),
    "a file that is mounted": (lambda etc: mounted_by_itself(etc / "dir/file"), "unwritable", "mounted by itself"),
}


def gone(etc, in_its_place=None):
    os.unlink(etc / "dir/file")
    os.rmdir(etc / "dir")
    if in_its_place:
        (etc / "dir").write_text(in_its_place)


def replace(etc, make):
    os.unlink(etc / "dir/file")
    make(etc / "dir/file")


@as_root
@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles_are_what_a_commit_fails_of(transaction, tmp_path, case):
    """No more and no less: whatever is told is refused by the commit, and what is not told is written."""
    change, kind, words = OBSTACLES[case]
    etc = tmp_path / "etc"
    (etc / "dir").mkdir(parents=True)
    path = etc / "dir/file"
    path.write_text("old\n")
    try:
        undo = change(etc)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not on this machine: {error}")
    try:
        told = transaction.obstacles([str(path), str(path)])
        assert [found for found, texts in told.items() if texts] == ([kind] if kind else [])
        assert all(words in text and str(path) in text for text in told.get(kind, []))
        writes = lambda: transaction.commit(  # noqa: E731
            [{"path": str(path), "before": transaction.read(str(path)), "after": "new\n"}]
        )
        if kind is None:
            writes()
            assert path.read_text() == "new\n"
        elif case not in ("a user's file", "a group's file"):  # whoever plans an edit asks follow
            with pytest.raises(CommandExecutionError):
                writes()
    finally:
        if undo:
            subprocess.run(undo, check=True)


@pytest.mark.parametrize("length", [245, 246, 255])
def test_a_name_that_leaves_no_room_for_what_waits_beside_it_is_an_obstacle(transaction, tmp_path, length):
    path = f"{tmp_path}/{'n' * length}"
    changes = [{"path": path, "before": None, "after": "new\n"}]
    told = transaction.obstacles([path])
    if length == 245:
        assert told == {"unsafe": [], "unwritable": []} and transaction.commit(changes)
        return
    with pytest.raises(CommandExecutionError) as failure:
        transaction.commit(changes)
    assert told == {"unsafe": [], "unwritable": [str(failure.value)]}
    assert str(failure.value).endswith("Give it a shorter name, and apply again")
