"""A run of the formula, stopped at a chosen system call by strace: killed there, or held there for a while."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.node import Node
from harness.shell import Failed

# Everything that changes a file or the names of files. Opening a file for writing is not among them: killed before it
# is killed after the call before, and killed after it is killed before the next.
CALLS = "fchmod fchown fsync ftruncate link linkat mkdir rename renameat renameat2 rmdir symlink symlinkat unlink write"
TRACE = "/var/tmp/trace"
LINE = re.compile(r"(?P<process>\d+) +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<answer>-?\d+|\?)")


@dataclass(frozen=True)
class Point:
    """One system call of salt-call itself: the how manyth of its name on the paths that are watched."""

    call: str
    number: int
    arguments: str

    def __str__(self) -> str:
        return f"{self.call} {self.number}: {self.arguments}"


class Held:
    """A run that stands still; ``answer`` is what salt-call wrote when it had ended."""

    answer = ""


class Run:
    """``state.apply`` of one SLS, from one state of the node, which is traced once and then repeated."""

    def __init__(self, node: Node, sls: str, **keywords: object) -> None:
        """Bring it about, and know its points from then on: the calls that changed something below /etc."""
        self.node, self.sls = node, sls
        words = ["state.apply", sls, *(f"{key}={value}" for key, value in keywords.items())]
        self.salt_call = ["salt-call", "--local", "--log-level=quiet", "--out=json", *words]
        # It stops only at these calls; where one is to be injected, strace has to see them all.
        self._strace("--seccomp-bpf", "-y", "-e", f"trace=execve,{','.join(CALLS.split())}")
        seen = [match for match in map(LINE.match, node.read(TRACE).splitlines()) if match]
        # The first call of all is salt-call's own execve.
        calls = [(match, _paths(match["arguments"])) for match in seen[1:] if match["process"] == seen[0]["process"]]
        self.paths = sorted({path for match, paths in calls if match["answer"] >= "0" for path in paths})
        self.points: list[Point] = []
        numbers: Counter[str] = Counter()
        for match, paths in calls:
            if not paths.isdisjoint(self.paths):
                numbers[match["call"]] += 1
                if match["answer"] >= "0":
                    self.points.append(Point(match["call"], numbers[match["call"]], match["arguments"]))
        if not self.points:
            raise Failed(f"{self.salt_call} changed nothing below /etc")

    def last(self, call: str, path: str) -> Point:
        """The last of the points where this call does something to this path."""
        return [point for point in self.points if point.call == call and path in _paths(point.arguments)][-1]

    def killed(self, point: Point) -> None:
        """Repeat the run; it is killed at this point, before the call takes place."""
        self._strace(*self._at(point, "KILL"))
        seen = self.node.read(TRACE)
        last = LINE.match(seen.splitlines()[-1]) if seen else None
        if last is None or (last["call"], last["answer"]) != (point.call, "?"):
            raise Failed(f"{self.salt_call} was not killed at {point}:\n{seen}")

    @contextlib.contextmanager
    def held(self, point: Point) -> Iterator[Held]:
        """Repeat the run; right after this call it stands still while the context lasts, then it goes on to its end."""
        (self.node.root / TRACE.lstrip("/")).unlink(missing_ok=True)
        command = self.node.command(self._traced(*self._at(point, "STOP")))
        held = Held()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as traced:
            try:
                self.node.until(lambda: self._past(point), f"standstill after {point}", 300)
                yield held
                self.node.run(["kill", "-CONT", self._past(point)], check=True)
                held.answer, _ = traced.communicate(timeout=600)
            finally:
                traced.kill()

    def _at(self, point: Point, signal: str) -> list[str]:
        watched = [word for path in self.paths for word in ("-P", path)]
        inject = f"inject={point.call}:signal={signal}:when={point.number}"
        return [*watched, "-e", f"trace={point.call}", "-e", inject]

    def _strace(self, *options: str) -> None:
        self.node.run(self._traced(*options))

    def _traced(self, *options: str) -> list[str]:
        return ["strace", "-f", "-qq", "-o", TRACE, "-e", "signal=none", *options, *self.salt_call]

    def _past(self, point: Point) -> str:
        """The number of the process that has done this call; empty as long as none has."""
        trace = self.node.root / TRACE.lstrip("/")
        done = [match for match in map(LINE.match, trace.read_text().splitlines() if trace.exists() else []) if match]
        return done[point.number - 1]["process"] if len(done) >= point.number else ""


def _paths(arguments: str) -> set[str]:
    """The paths below /etc that are named in a call's arguments, by name or by descriptor."""
    return set(re.findall(r"(?<=[\"<])/etc(?:/[^\">]*)?(?=[\">])", arguments))


def spread(points: list[Point], count: int) -> list[Point]:
    """So many of the points, evenly over all of them, the last one among them."""
    step = max(1, len(points) / count)
    return [points[-1 - round(number * step)] for number in range(min(count, len(points)))][::-1]
