"""What a look at a node tells."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What was found, why it matters, and what to do about it; the last two are empty if the first says it all."""

    found: str
    why: str = ""
    do: str = ""
    # Problems stop an apply; warnings do not.
    kind: str = "problems"
    # What of a node is left open to users without a job, for whoever counts over many nodes: (kind, name).
    open: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        return ". ".join(filter(None, (self.found, self.why, self.do)))
