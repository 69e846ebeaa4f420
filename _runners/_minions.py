"""The master's minions: called through Salt's client, heard on its event bus, logged in to from the master.

Salt's own way of waiting for answers ends with an exception, or never, where a minion sends events that make no sense.
This one looks at each event itself.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from _node_answers import Answer
from _waves import LOGIN, PATIENCE, Heard

# Nodes that are logged in to at the same time; events that are looked at in a row.
_LOGINS, _EVENTS = 10, 1000
# Seconds that an event is waited for, alone or while logins are on the way.
_WAIT, _WAIT_FOR_LOGINS = 1.0, 0.1


class Minions:
    """Those of a running master. ``failing`` is slurm_pam_logins.failing with its probes."""

    def __init__(self, client: Any, failing: Callable[[list[str], float], Mapping[str, str]]) -> None:
        self._client, self._failing = client, failing
        self._pool = ThreadPoolExecutor(_LOGINS)
        self._logins: SimpleQueue[tuple[str, Future]] = SimpleQueue()
        self._logging_in = 0
        client.event.connect_pub(timeout=PATIENCE)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.event.close_pub()

    def now(self) -> float:
        return time.monotonic()

    def send(self, whom: str | list[str], function: str, words: Sequence[Any], keywords: Mapping[str, Any]) -> str:
        """Call the minions in a list, or those that a compound target matches: the job, or nothing if there is none."""
        how = {"tgt_type": "list" if isinstance(whom, list) else "compound", "timeout": PATIENCE}
        # The client says on standard output what this runner's answer is not to begin with.
        with contextlib.redirect_stdout(sys.stderr):
            sent = self._client.run_job(whom, function, list(words), kwarg=dict(keywords), listen=False, **how)
        return sent.get("jid", "")

    def log_in(self, name: str, seconds: float) -> None:
        until = self.now() + seconds
        self._logging_in += 1
        login = self._pool.submit(lambda: self._failing([name], until - self.now()))
        login.add_done_callback(lambda login: self._logins.put((name, login)))

    def heard(self, seconds: float) -> Iterator[Heard]:
        """What there is within these seconds; as soon as there is anything."""
        until, found = self.now() + seconds, False
        while not found and (left := until - self.now()) > 0:
            how: dict[str, Any] = {"wait": min(left, _WAIT_FOR_LOGINS if self._logging_in else _WAIT)}
            # None is taken from the bus that is not looked at: the last one may be an answer.
            for _ in range(_EVENTS):
                if (event := self._event(**how)) is None:
                    break
                how = {"no_block": True}
                if (heard := returned(event)) is not None:
                    found = True
                    yield heard
            for heard in self._ended_logins():
                found = True
                yield heard

    def _event(self, **how: Any) -> Any:
        client = self._client
        return client.event.get_event(tag="salt/job/", full=True, auto_reconnect=client.auto_reconnect, **how)

    def _ended_logins(self) -> Iterator[Heard]:
        while self._logging_in:
            try:
                name, login = self._logins.get_nowait()
            except Empty:
                return
            self._logging_in -= 1
            if error := login.exception():
                problem = f"the login could not be made: {type(error).__name__}: {error}"
            else:
                problem = "".join(login.result().values())
            yield Heard(LOGIN, name, Answer(not problem, problem))


def returned(event: Any) -> Heard | None:
    """What an event brings of an answer, if it does."""
    found = re.match("salt/job/([^/]+)/ret/", event["tag"])
    data = event["data"] if found else {}
    sound = isinstance(data.get("id"), str) and "return" in data
    return Heard(found[1], data["id"], Answer(not data.get("retcode"), data["return"])) if sound else None
