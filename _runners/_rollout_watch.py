"""What the person sees who watches a rollout: a line for each of a few nodes, one moving line where there are many."""

from __future__ import annotations

import contextlib
import time
from typing import TextIO

from _rollout_record import Node

# Up to so many nodes have a line each.
FEW = 50
# Seconds between two of the moving line: where it moves, and where each is one more line of a file.
_MOVING, _STANDING = 0.5, 30.0
_NOT_WELL = ("unreachable", "refused", "failed", "taken back")


class Watch:
    """Says on a stream what happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._moves = stream, stream.isatty()
        self._many, self._moving = False, False
        self._label, self._left, self._done, self._failing, self._begun, self._last = "", 0, 0, 0, 0.0, 0.0

    def expect(self, nodes: int) -> None:
        """So many nodes there are in all."""
        self._many = nodes > FEW

    def say(self, line: str) -> None:
        clear, self._moving = "\r\x1b[K" if self._moving else "", False
        self._print(f"{clear}{time.strftime('%H:%M:%S')} {line}\n")

    def node(self, name: str, node: Node) -> None:
        """What became of it; of many nodes, only of those that are not well, or done and there is more to say."""
        if not self._many or node.state in _NOT_WELL or (node.state == "done" and node.reason):
            self.say(f"  {name:20} {node.state:12} {node.reason}".rstrip())

    def begin(self, label: str, names: list[str]) -> None:
        """These are done now."""
        self._label, self._left, self._done, self._failing = label, len(names), 0, 0
        self._begun = self._last = time.monotonic()
        self.say(f"{label}: {f'{len(names):,} nodes' if len(names) > FEW else ', '.join(names)}")

    def ended(self, node: Node) -> None:
        """One of them is through."""
        self._left -= 1
        if node.state in _NOT_WELL:
            self._failing += 1
        else:
            self._done += 1
        self.move()

    def move(self) -> None:
        """The moving line, where it is time for it."""
        now = time.monotonic()
        if not self._many or now < self._last + (_MOVING if self._moves else _STANDING):
            return
        self._last, line = now, progress(self._label, self._done, self._failing, self._left, now - self._begun)
        if self._moves:
            self._print(f"\r{line}\x1b[K")
            self._moving = True
        else:
            self.say(line)

    def _print(self, text: str) -> None:
        # A pager that was left, or a log on a full disk, takes no node back.
        with contextlib.suppress(OSError):
            print(text, end="", file=self._stream, flush=True)


def progress(label: str, done: int, failing: int, left: int, seconds: float) -> str:
    """How far it is, how fast, and how long the rest takes if it goes on like this."""
    line = f"{label}: {done:,} done, {failing:,} failing, {left:,} left"
    rate = (done + failing) / seconds if seconds > 0 else 0
    return f"{line}, {rate:.1f} a second, {_time(left / rate)} to go" if rate else line


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
