"""
What the PAM library raises, and how a face makes it Salt's.

The two kinds are kept apart as Salt keeps its own: to catch what cannot be done is not to catch a bad argument.
"""

from __future__ import annotations

import functools
from collections.abc import Callable


class PamError(Exception):
    """What was asked for cannot be had; the text says why."""


class PamUsageError(Exception):
    """An argument is not what it may be."""


class Refusal(PamError):
    """What libpam makes of the files cannot be said: ``kind`` tells why, ``file`` and ``line`` where."""

    def __init__(self, kind: str, file: str | None, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.file, self.line, self.reason = kind, file, line, reason


def translated(error_class: type[Exception], usage_class: type[Exception]) -> Callable[[Callable], Callable]:
    """A decorator: the function raises these two instead, with the same text and attributes."""
    classes = {PamError: error_class, PamUsageError: usage_class}

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except tuple(classes) as error:
                kind = next(kind for kind in classes if isinstance(error, kind))
                translation = classes[kind](str(error))
                vars(translation).update(vars(error))
                raise translation from error

        return wrapper

    return decorate
