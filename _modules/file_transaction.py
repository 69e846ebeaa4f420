"""
Write several files as one transaction: all of them or none, each whole at every instant.

Every new file is complete on the disk, and every old one kept under a second name, before the first is put in place.
What can fail mostly fails by then (a full disk, a read-only or immutable file), with nothing changed; what fails later
is undone by renames, which need no room. A run that is killed leaves each file old or new, and the next run over the
same paths removes what it left beside them.

A change is ``{"path", "before", "after"}``: what the path was when it was read, and what it is to be. Both are a text,
``{"link": target}``, or None where there is nothing.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import _library

_library.renew(os.path.dirname(__file__))

from salt.exceptions import CommandExecutionError

import _file
import _selinux
import _text

Thing = str | Mapping[str, str] | None
Change = Mapping[str, Any]

# A minion that is not root's makes nothing in /run.
_LOCKS = "/run/salt-file_transaction" if os.geteuid() == 0 else f"/tmp/salt-file_transaction-{os.geteuid()}"
# Seconds for which a file still stands after the one that named it was replaced: a login may be between the two.
_GRACE = 1
# As many as the kernel follows.
_MOST_LINKS = 40
# linux/fs.h: FS_IOC_GETFLAGS, and FS_IMMUTABLE_FL with FS_APPEND_FL
_GET_FLAGS, _IMMUTABLE = 0x80086601, 0x30
_OPEN_TO_ALL = stat.S_IWGRP | stat.S_IWOTH
_LABELS = ("security.selinux", "system.posix_acl_access")
_REMEDIES = {
    errno.EDQUOT: "Make room on its file system",
    errno.ENAMETOOLONG: "Give it a shorter name",
    errno.ENOSPC: "Make room on its file system",
    errno.EPERM: "See with lsattr whether it is immutable",
    errno.EROFS: "Make its file system writable",
}


# What is there


def read(path: str) -> Thing:
    """
    Return what stands at a path: its text, ``{"link": target}`` for a symbolic link, or None.

    path
        An absolute path. Bytes that are not UTF-8 come in as surrogate escapes, and :py:func:`commit` writes them back
        as they were.

    Raises CommandExecutionError for what is neither a file nor a link, or cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.read /etc/pam.d/sshd

    .. versionadded:: 1.0.0
    """
    try:
        return _file.text(path, flags=os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return {"link": os.readlink(path)}
        if error.errno == errno.EINVAL:
            what = f"{path} is neither a file nor a link"
            raise CommandExecutionError(f"{what}. Nothing was changed. Look at what it is") from error
        raise CommandExecutionError(f"{path} cannot be read: {error.strerror}. Nothing was changed") from error


def follow(path: str) -> str:
    """
    Return the file that a path leads to, so that a link stays a link when it is written.

    path
        An absolute path, of a file or of what is not there yet; then it is returned as it is.

    Raises CommandExecutionError if the path is a link that leads nowhere, or if others than root can write to the
    file, or to any directory or link on the way to it, and so put there what they like.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.follow /etc/pam.d/common-auth

    .. versionadded:: 1.0.0
    """
    real = os.path.realpath(path)
    if os.path.islink(path) and not os.path.exists(real):
        raise CommandExecutionError(
            f"{path} is a link to {real}, which is not there. Nothing was changed. Remove the link, or restore the file"
        )
    _check_way(path, path)
    return real


def _check_way(path: str, end: str) -> None:
    """Nobody but root can write to anything on the way to the end of it, which is the path or its directory."""
    for place in _way(end):
        if _others_write(place):
            raise _not_roots_alone(path, os.path.realpath(path), place)


def _way(path: str) -> Iterator[str]:
    """Every directory, link and file on the way to where a path leads, as far as it is there."""
    place, steps = "/", path.split("/")[::-1]
    links = _MOST_LINKS
    while steps:
        place = os.path.normpath(os.path.join(place, steps.pop()))
        if not os.path.lexists(place):
            return
        yield place
        if os.path.islink(place) and links:
            links -= 1
            # A link's own steps come next, from its directory or, where they begin with an empty one, from the top.
            target = os.readlink(place)
            steps += target.split("/")[::-1]
            place = "/" if target.startswith("/") else os.path.dirname(place)


def _others_write(path: str) -> bool:
    found = os.lstat(path)
    # A link has no mode of its own; in a sticky directory nobody moves what is root's.
    open_to_all = found.st_mode & _OPEN_TO_ALL and not stat.S_ISLNK(found.st_mode)
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return found.st_uid not in (0, os.geteuid()) or bool(open_to_all and not sticky)


def _not_roots_alone(path: str, real: str, place: str) -> CommandExecutionError:
    if os.path.islink(path):
        problem = f"{path} is a link to {real}, but others"
        remedy = f"Replace the link by the file that it should be, or let {place} be root's alone"
    else:
        problem = f"{path} is not safe: others"
        remedy = f"Look at what is there, then let it be root's alone: chown -h root {place}; chmod go-w {place}"
    return CommandExecutionError(f"{problem} than root can write to {place}. Nothing was changed. {remedy}")


def obstacles(paths: Iterable[str]) -> dict[str, list[str]]:
    """
    Return what stands against writing these paths, or removing what is there, before anything is changed.

    paths
        Absolute paths, of files, links, or what is not there yet. A link is what is written, not where it leads.

    Returns ``{"unsafe": [...], "unwritable": [...]}``, one text each: that others than root can write to it or to the
    way to it, or that it is neither a file nor a link; and that its file system is read-only, that it is mounted by
    itself, that it is immutable, or that its name is too long.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.obstacles '[/etc/pam.d/sshd, /etc/slurm/slurm.conf]'

    .. versionadded:: 1.1.0
    """
    told: dict[str, dict[str, None]] = {"unsafe": {}, "unwritable": {}}
    for path in paths:
        try:
            _check_safe(path)
            _check_writable(path)
        except CommandExecutionError as error:
            told["unsafe"][str(error)] = None
        except OSError as error:
            told["unwritable"][_failure(path, error, [])] = None
    return {kind: list(texts) for kind, texts in told.items()}


def _check_safe(path: str) -> None:
    """Nobody else can put anything at the name that is opened, renamed or removed, nor write to what is there."""
    _check_way(path, os.path.dirname(path))
    if isinstance(read(path), str):
        follow(path)


def _check_writable(path: str) -> None:
    directory = os.path.dirname(path)
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    directory = os.path.realpath(directory)
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    with contextlib.suppress(FileNotFoundError):
        # What waits beside it has the longer name.
        os.lstat(_new(path))
    there = os.path.isfile(path) and not os.path.islink(path)
    if there and os.path.join(directory, os.path.basename(path)) in _mounts():
        raise OSError(errno.EBUSY, "it is mounted by itself, and cannot be replaced")
    if any(map(_is_immutable, (directory, path) if there else (directory,))):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _mounts() -> set[str]:
    """
    Where something is mounted, by the names that this process has (proc(5), mountinfo). Devices do not tell: an overlay
    has files and directories on two, and a bind mount may be of the same.
    """
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            places = [line.split(" ")[4] for line in lines]
    except OSError:
        return set()
    return {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place) for place in places}


def _is_immutable(path: str) -> bool:
    """ioctl_iflags(2); immutable, or append-only, which is neither renamed nor removed."""
    flags = bytearray(8)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.ioctl(handle, _GET_FLAGS, flags)
    except OSError:  # a file system that has none
        return False
    finally:
        os.close(handle)
    return bool(int.from_bytes(flags[:4], sys.byteorder) & _IMMUTABLE)


def newer(paths: Iterable[str], than: str) -> list[str]:
    """
    Return those of the paths that have changed since another file was written, such as a configuration since a daemon
    that read it wrote its PID file. A directory changes with the names in it.

    paths
        Absolute paths; those where nothing is are left out.
    than
        The other file. If it is not there, nothing is newer.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.newer '[/etc/ssh/sshd_config]' /run/sshd.pid

    .. versionadded:: 1.0.0
    """
    written = _found(than)
    if written is None:
        return []
    # What is said to have changed in the future says nothing: the clock was wrong then or is wrong now.
    since, now = written.st_mtime, time.time()
    return [path for path in paths if (found := _found(path)) and since < found.st_ctime <= now]


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None  # not there, or not any more


# What would change


def diff(changes: Iterable[Change]) -> dict[str, dict[str, str]]:
    """
    Return what Salt shows of the changes. A path that stays as it is, is left out.

    changes
        As for :py:func:`commit`.

    Returns ``{path: {"diff": text}}``, or ``{path: {"old", "new"}}`` if a link is involved. If not everybody may read a
    file, only new lines are shown, since Salt keeps what it shows.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.diff '[{path: /etc/motd, before: null, after: "Welcome\\n"}]'

    .. versionadded:: 1.0.0
    """
    return {change["path"]: _difference(change) for change in _pending(changes)}


def _pending(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change["before"] != change["after"]]


def _difference(change: Change) -> dict[str, str]:
    path, before, after = change["path"], change["before"], change["after"]
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        return {"old": _told(before), "new": _told(after)}
    # A part of a line would not be known for what the file had.
    lines = difflib.unified_diff(
        _text.lines(before or ""),
        _text.lines(after or ""),
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
    )
    if before is not None and not _file.everybody_reads(path):
        lines = _new_lines(lines, before)
    shown = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return {"diff": shown.encode("utf-8", "replace").decode()}


def _new_lines(lines: Iterable[str], before: str) -> Iterator[str]:
    """A diff without what the file had, in whatever form, which is not for everyone who reads what Salt keeps."""
    had = {line.strip() for line in before.split("\n")} - {""}
    for number, line in enumerate(lines):
        if number < 2 or line[0] == "@" or (line[0] == "+" and not any(old in line for old in had)):
            yield line
        elif line[0] != " ":
            yield f"{line[0]}(not shown, since not everybody may read this file)\n"


def _told(thing: Thing) -> str:
    if thing is None:
        return "not there"
    return f"link to {thing['link']}" if isinstance(thing, Mapping) else "a file"


# What is written


def commit(changes: Sequence[Change]) -> bool:
    """
    Bring every path from ``before`` to ``after``, in the order given, and return True.

    changes
        What the files include or name comes before them, and goes after them; a file that goes after another was
        replaced does so a second later, for those who are just reading the old one. A path that stays as it is may be
        among them, so that what a killed run left beside it is removed.
        A file that is replaced keeps its mode, owner, ACL and SELinux label; a new one is root's with ``mode`` (an
        integer, 0644 if the change has none). A directory that is missing is made. What is new has the SELinux label
        that the policy wants there, whatever Salt runs as.

    Raises CommandExecutionError, saying why and what to do, with everything put back as it was: also if a path is no
    longer what it was when it was read, if others than root can write to its directory or the way to it, or if another
    run is writing.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.commit '[{path: /etc/motd, before: null, after: "Welcome\\n"}]'

    .. versionadded:: 1.0.0
    """
    pending = _pending(changes)
    for change in changes:
        # Nobody else can then put anything at a name that is opened, renamed or removed from here on.
        _check_way(change["path"], os.path.dirname(change["path"]))
    # Two runs that find all as it is to be are not in each other's way.
    if pending or any(map(os.path.lexists, _beside(changes))):
        _make_directories(pending)
        with _alone({os.path.dirname(change["path"]) for change in changes}):
            _clear(changes)
            _put(pending)
    return True


def bring_about(changes: Sequence[Change], test: bool = False) -> dict[str, Any]:
    """
    Commit the changes, or with ``test`` only look at them, and return what a state says of them.

    changes
        As for :py:func:`commit`.
    test
        Whether nothing is to be written.

    Returns ``{"result", "changes"}``: the changes as :py:func:`diff` shows them, computed before anything is written,
    and True, or None if they are still to be made.

    Raises CommandExecutionError as :py:func:`commit` does.

    CLI Example:

    .. code-block:: bash

        salt-call file_transaction.bring_about '[{path: /etc/motd, before: null, after: "Welcome\\n"}]' test=True

    .. versionadded:: 1.1.0
    """
    shown = diff(changes)
    if not test:
        commit(changes)
    return {"result": None if test and shown else True, "changes": shown}


def _make_directories(pending: Iterable[Change]) -> None:
    for directory in {os.path.dirname(change["path"]) for change in pending if change["after"] is not None}:
        try:
            _selinux.make_directory(directory, 0o755)
        except OSError as error:
            raise CommandExecutionError(_failure(directory, error, [])) from error


def _put(pending: Sequence[Change]) -> None:
    done: list[Change] = []
    try:
        for change in pending:
            _stage(change)
        for change in pending:
            if change["after"] is None and done and done[-1]["after"] is not None:
                time.sleep(_GRACE)
            _switch(change)
            done.append(change)
            # Should the disk not take it in, it has changed all the same, and has to be put back.
            _sync(os.path.dirname(change["path"]))
    except (OSError, CommandExecutionError) as error:
        left = _undo(done)
        _clear(change for change in pending if change not in left)
        raise CommandExecutionError(_failure(change["path"], error, left)) from error
    _clear(pending)


def _failure(path: str, error: Exception, left: list[Change]) -> str:
    now = "Everything is as it was"
    if left:
        kept = ", ".join(f"{each['path']} (it was {_old(each['path'])})" for each in left)
        now = f"Still changed, and to be put back by hand: {kept}"
    if isinstance(error, OSError):
        remedy = _REMEDIES.get(error.errno, "See to it that it can be written")
        return f"{path} could not be written: {error.strerror}. {now}. {remedy}, and apply again"
    return f"{path} could not be written: {error}. {now}. Apply again"


@contextlib.contextmanager
def _alone(directories: Iterable[str]) -> Iterator[None]:
    """One transaction at a time; the locks go with the process that holds them, whatever ends it."""
    with contextlib.ExitStack() as held:
        # Each once, by whatever links it is reached, and always in this order.
        places = {os.path.realpath(directory): directory for directory in directories if os.path.isdir(directory)}
        for place, directory in sorted(places.items()):
            path, lock = _lock(place, directory)
            held.callback(os.close, lock)
            # Before it is free: whoever opened it until now sees that it is not the one any more.
            held.callback(os.unlink, path)
        yield


def _lock(place: str, directory: str) -> tuple[str, int]:
    """
    The lock of a directory, held: its path, and a descriptor. Not the directory itself is locked, because whoever can
    open what is locked can hold the lock.
    """
    path = os.path.join(_LOCKS, hashlib.sha256(os.fsencode(place)).hexdigest()[:32])
    while True:
        lock = _open_lock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise CommandExecutionError(
                f"Another run is changing the files in {directory}. Nothing was changed. Apply again when it has ended"
            ) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return path, lock
        os.close(lock)


def _open_lock(path: str) -> int:
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(_LOCKS, 0o700)
        found = os.lstat(_LOCKS)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OPEN_TO_ALL:
            raise CommandExecutionError(
                f"{_LOCKS} is not a directory of root's alone. Nothing was changed. Remove it, and apply again"
            )
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CommandExecutionError(_failure(_LOCKS, error, [])) from error


def _new(path: str) -> str:
    """Where the file waits that is to come; always the same name, so that the next run finds what a killed one left."""
    return _named(path, "new")


def _old(path: str) -> str:
    """Where the file that was there is kept until all is done."""
    return _named(path, "old")


def _named(path: str, word: str) -> str:
    directory, base = os.path.split(path)
    return os.path.join(directory, f".{base}.salt-{word}")


def _beside(changes: Iterable[Change]) -> list[str]:
    """All that lies beside these paths while they are written, and still does if the run is killed."""
    return [waiting(change["path"]) for change in changes for waiting in (_new, _old)]


def _stage(change: Change) -> None:
    """All that takes room: the old file under a second name, the new one complete under another."""
    path, before, after = change["path"], change["before"], change["after"]
    _check(change)
    if before is not None:
        os.link(path, _old(path), follow_symlinks=False)
    if isinstance(after, Mapping):
        with _selinux.labelling(path, stat.S_IFLNK):
            os.symlink(after["link"], _new(path))
    elif after is not None:
        with _selinux.labelling(path, stat.S_IFREG):
            handle = os.open(_new(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        _fill(handle, after, path if isinstance(before, str) else None, change.get("mode", 0o644))


def _fill(handle: int, text: str, like: str | None, mode: int) -> None:
    """A new file, with the mode, owner and labels of the one that it is to replace."""
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        if like:
            found = os.lstat(like)
            mode = stat.S_IMODE(found.st_mode)
            os.fchown(handle, found.st_uid, found.st_gid)
            for label in set(_LABELS) & set(os.listxattr(like, follow_symlinks=False)):
                os.setxattr(handle, label, os.getxattr(like, label, follow_symlinks=False))
        os.fchmod(handle, mode)
        file.write(text)
        file.flush()
        os.fsync(handle)


def _check(change: Change) -> None:
    if read(change["path"]) != change["before"]:
        raise CommandExecutionError("somebody else has changed it since it was read")


def _switch(change: Change) -> None:
    path = change["path"]
    _check(change)
    if change["after"] is None:
        os.unlink(path)
    else:
        os.rename(_new(path), path)


def _undo(done: list[Change]) -> list[Change]:
    """Put back what was switched, the last one first; what could not be put back is returned."""
    left = []
    for change in reversed(done):
        path = change["path"]
        try:
            if change["before"] is None:
                os.unlink(path)
            else:
                os.rename(_old(path), path)
        except OSError:
            left.append(change)
        with contextlib.suppress(OSError):
            _sync(os.path.dirname(path))
    return left


def _clear(changes: Iterable[Change]) -> None:
    for path in _beside(changes):
        # Most are not there. One that cannot be removed is in the way, and staging says so.
        with contextlib.suppress(OSError):
            os.unlink(path)


def _sync(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
