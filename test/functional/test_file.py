"""_file: what a user puts at a path makes nothing wait, and is read with that user's rights."""

import errno
import os
import pwd
import time
from pathlib import Path

import pytest
from harness import source  # noqa: F401 (the library's place)

import _file

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="reads as a user, which only root can")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory of nobody's, to which the way is open. A process that reads there has time to be started."""
    monkeypatch.setattr(_file, "_PATIENCE", 60)
    for place in [tmp_path, *tmp_path.parents][:-2]:
        place.chmod(place.stat().st_mode | 0o011)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    return home


@pytest.fixture
def secret(tmp_path):
    """A file of root's alone."""
    path = tmp_path / "secret"
    path.write_text("ssh-ed25519 AAAA root's\n")
    path.chmod(0o600)
    return path


def regular(path, secret):
    path.write_text("mine\n")


def large(path, secret):
    with path.open("wb") as file:
        file.truncate(1 << 40)


PLANTED = {
    "a file": (regular, None),
    "nothing": (lambda path, secret: None, errno.ENOENT),
    "a FIFO": (lambda path, secret: os.mkfifo(path), errno.EINVAL),
    "a directory": (lambda path, secret: path.mkdir(), errno.EINVAL),
    "a device without end": (lambda path, secret: path.symlink_to("/dev/zero"), errno.EINVAL),
    "a huge file": (large, errno.EFBIG),
    "a link to itself": (lambda path, secret: path.symlink_to(path), errno.ELOOP),
}
ROOTS = {
    "a link to root's": lambda path, secret: path.symlink_to(secret),
    "a hard link to root's": lambda path, secret: os.link(secret, path),
}


def came_to(read, path):
    """What was read, or the number of the error: within a second of a processor, and without waiting for anybody."""
    begun, worked = time.monotonic(), time.process_time()
    try:
        return read(str(path))
    except OSError as error:
        assert error.filename == str(path) and error.strerror
        return error.errno
    finally:
        assert time.process_time() - worked < 1 and time.monotonic() - begun < 30


def children():
    """The processes that this one has, also those that have ended and are not waited for yet."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_at_a_path(home, secret, what):
    plant, number = PLANTED[what]
    plant(home / "keys", secret)
    expected = number or b"mine\n"
    assert came_to(_file.read, home / "keys") == expected
    if os.geteuid() == 0:
        assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == expected


@as_root
@pytest.mark.parametrize("what", ROOTS)
def test_a_user_does_not_have_roots_files_read(home, secret, what):
    ROOTS[what](home / "keys", secret)
    assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == errno.EACCES
    assert _file.read(str(home / "keys")) == secret.read_bytes()
    assert os.geteuid() == 0


@as_root
def test_the_groups_are_the_users_own(home):
    """Neither root's groups, nor those of this process."""
    (home / "keys").write_text("")
    os.chown(home / "keys", 0, 0)
    (home / "keys").chmod(0o040)
    assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == errno.EACCES
    os.chown(home / "keys", 0, NOBODY.pw_gid)
    assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == b""


@as_root
def test_a_file_that_does_not_answer(home, monkeypatch):
    """As of a file system whose server is gone."""
    monkeypatch.setattr(_file, "read", lambda *args: time.sleep(60))
    monkeypatch.setattr(_file, "_PATIENCE", 0.2)
    before = children()
    assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == errno.ETIMEDOUT
    assert children() == before


@as_root
def test_more_than_a_pipe_holds(home):
    (home / "keys").write_bytes(b"k" * 1_000_000)
    assert came_to(lambda path: _file.read_as(NOBODY, path), home / "keys") == b"k" * 1_000_000
