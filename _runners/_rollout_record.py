"""What became of each node of a rollout: a database, so that a word about one node costs the same beside any number.

Whoever is killed leaves what was settled, and nothing half of it. Others may read it meanwhile, and leave a wish.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import _node_answers as said

# What a node can be in a report, and whether the rollout is through with it
STATES = {
    "waiting": False,
    "unreachable": False,
    "refused": False,
    "applying": False,
    "failed": False,
    "taken back": False,
    "done": True,
    "unchanged": True,
}
# The most characters of a reason or a summary: what a node said, and what we say of it.
REASON = 5000
# What another terminal can ask of a rollout.
PAUSE, STOP = "pause", "stop"

_NAME, _LOCK, _JSON = "rollout.db", "rollout.lock", "rollout.json"
# What each version has besides the one before.
_VERSIONS = (
    (
        "CREATE TABLE node (name TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, part TEXT NOT NULL,"
        " at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE wish (what TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
    ("ALTER TABLE node ADD COLUMN open TEXT NOT NULL DEFAULT '{}'",),
)
_VERSION = len(_VERSIONS)
# A power cut takes nothing back that was settled.
_SYNCHRONOUS = "FULL"
_BUSY = 30  # seconds that another process may take with the database


class Node(NamedTuple):
    """What became of a node, since when, in which partition it is, and what is left open there."""

    state: str = "waiting"
    reason: str = ""
    partition: str = ""
    at: float = 0.0
    open: Mapping[str, list[str]] = {}


class Unreadable(ValueError):
    """There is a record, and it cannot be read."""

    def __init__(self, path: str, error: Exception) -> None:
        super().__init__(
            f"{path}, the record of the last rollout, cannot be read: {error}. "
            "salt-run slurm_pam.forget removes it; the next rollout then begins with its canary"
        )


class Record:
    """The record in the master's cache directory. Raises Unreadable."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, _NAME)
        self.nodes: dict[str, Node] = {}
        self._new: set[str] = set()
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._base = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            self._prepare()
            self._take_over(os.path.join(directory, _JSON))
            rows = self._base.execute("SELECT name, state, reason, part, at, open FROM node")
            self.nodes = {name: _sound(Node(*node, json.loads(left))) for name, *node, left in rows}
        except Unreadable:
            self.close()
            raise
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            self.close()
            raise Unreadable(self.path, error) from error

    def close(self) -> None:
        self._base.close()

    def _prepare(self) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        if self._version() > _VERSION:
            raise ValueError("a later release wrote it")
        if self._version() == _VERSION:
            return  # who only reads waits for nobody
        with self._at_once():
            for line in itertools.chain(*_VERSIONS[self._version() :]):
                self._base.execute(line)
            self._base.execute(f"PRAGMA user_version = {_VERSION}")

    def _version(self) -> int:
        return self._base.execute("PRAGMA user_version").fetchone()[0]

    def _take_over(self, path: str) -> None:
        """What 1.0.0 wrote down. It goes when it is here, so that a rollout of 1.0.0 after this one is seen as well."""
        if not os.path.lexists(path):
            return  # who only reads waits for nobody
        # Of several who begin at once, one that read it and wrote it late would undo what another has told since.
        with self._at_once():
            earlier = _of_json(path) or {}
            self._write(earlier.items())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            # A full disk has ended it already.
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            with self._at_once():
                yield
        except sqlite3.Error as error:
            raise ValueError(f"{self.path} cannot be written: {error}") from error

    # What became of nodes

    def resume(self, names: Iterable[str]) -> None:
        """Of an earlier rollout that came to its end, nothing is to be gone on with."""
        names = list(names)
        ended = all(STATES[self.nodes[name].state] for name in names if name in self.nodes)
        for name in names:
            if ended or name not in self.nodes:
                self.nodes[name] = Node(at=time.time())
                self._new.add(name)

    def tell(
        self,
        name: str,
        state: str,
        reason: str,
        partition: str | None = None,
        left: Mapping[str, list[str]] | None = None,
    ) -> Node:
        """Note what became of a node; it stays once it is settled. None is what was known."""
        known = self.nodes[name]
        at = known.at if known.state == state else time.time()
        partition = known.partition if partition is None else partition
        node = Node(state, said.line(reason, REASON), partition, at, known.open if left is None else left)
        self.nodes[name] = node
        self._new.add(name)
        return node

    def settle(self) -> None:
        """What was told goes to disk. Raises ValueError if that cannot be written."""
        if not self._new:
            return
        rows = [(name, self.nodes[name]) for name in sorted(self._new)]
        with self._written():
            self._write(rows)
        self._new.clear()

    def _write(self, nodes: Iterable[tuple[str, Node]]) -> None:
        rows = ((name, *node[:-1], json.dumps(node.open)) for name, node in nodes)
        self._base.executemany("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?)", rows)

    # What others wish

    def wish(self, *wishes: str) -> None:
        """These instead of those that were. Raises ValueError if that cannot be written."""
        with self._written():
            self._base.execute("DELETE FROM wish")
            self._base.executemany("INSERT INTO wish VALUES (?)", [(wish,) for wish in wishes])

    def wishes(self) -> set[str]:
        return {wish for (wish,) in self._base.execute("SELECT what FROM wish")}


def there(directory: str) -> bool:
    return any(os.path.exists(os.path.join(directory, name)) for name in (_NAME, _JSON))


def forget(directory: str) -> None:
    for name in (_NAME, f"{_NAME}-wal", f"{_NAME}-shm", _JSON):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))


@contextlib.contextmanager
def alone(directory: str) -> Iterator[bool]:
    """Whether there is no other rollout; the lock goes with its process."""
    with open(os.path.join(directory, _LOCK), "w", encoding="utf-8", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _of_json(path: str) -> dict[str, Node] | None:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
            at = os.fstat(file.fileno()).st_mtime
        return {
            # 1.0.0 wrote down what it was told.
            name if name.isprintable() else said.shown(name): _sound(
                Node(node["state"], said.line(node["reason"], REASON), "", at)
            )
            for name, node in record.items()
        }
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(path, error) from error


def _sound(node: Node) -> Node:
    texts = isinstance(node.reason, str) and isinstance(node.partition, str)
    left = isinstance(node.open, dict) and all(isinstance(names, list) for names in node.open.values())
    # What can be shown as a time, up to the year 9999.
    then = isinstance(node.at, (int, float)) and 0 <= node.at < 253402300800
    if node.state not in STATES or not (texts and left and then):
        raise ValueError("it is not a record of a rollout")
    return node
