"""What a person sees while something takes its time. Goes to stderr, so that stdout stays for results."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, count its seconds on a terminal, and say how it ended."""
    started, ended = time.monotonic(), threading.Event()
    live = sys.stderr.isatty()

    def count() -> None:
        while not ended.wait(1):
            print(f"\r  ... {text} {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True)

    counter = threading.Thread(target=count, daemon=True)
    if live:
        counter.start()
    else:
        note(f"  ... {text}")
    mark = "failed"
    try:
        yield
        mark = "ok"
    finally:
        ended.set()
        if live:
            counter.join()
        lead = "\r\033[K" if live else ""
        note(f"{lead}  {mark:6} {text} ({time.monotonic() - started:.1f} s)")
