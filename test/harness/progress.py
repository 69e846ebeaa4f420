"""What a person sees while something takes its time. Goes to stderr, so that stdout stays for results."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def live(tell: Callable[[], str]) -> Iterator[None]:
    """A line on a terminal that is kept up to date as long as the context lasts, and nothing elsewhere."""
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(1):
            print(f"\r\033[K{tell()}", end="", file=sys.stderr, flush=True)

    shower = threading.Thread(target=show, daemon=True)
    if sys.stderr.isatty():
        shower.start()
    try:
        yield
    finally:
        ended.set()
        if shower.ident:
            shower.join()
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, count its seconds on a terminal, and say how it ended."""
    started, mark = time.monotonic(), "failed"

    def seconds() -> float:
        return time.monotonic() - started

    if not sys.stderr.isatty():
        note(f"  ... {text}")
    try:
        with live(lambda: f"  ... {text} {seconds():.0f} s"):
            yield
        mark = "ok"
    finally:
        note(f"  {mark:6} {text} ({seconds():.1f} s)")
