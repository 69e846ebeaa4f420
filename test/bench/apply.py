#!/usr/bin/env python3
"""
What an apply costs a node that has nothing to do, beside another checkout of this repository, in one run.

    .venv/bin/python test/bench/apply.py --beside DIRECTORY

boots a node for each of the two and has them take turns: with ``slurm_pam.ready`` while they are open, and with the
whole of ``slurm_pam`` when they are closed, where it changes nothing. Processor time of salt-call and its children, in
seconds; the ratio is that of the fastest turns, which other work on the machine disturbs least.
"""

import argparse
import contextlib
import platform
import secrets
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TURNS = 8
TIMED = "TIMEFORMAT='%U %S'; time salt-call --local --out=quiet state.apply {}"


class Subject:
    """A node of a checkout."""

    def __init__(self, tree: Path, name: str) -> None:
        self.tree, self.name, self.turns = tree, name, []

    def do(self, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tree / "test/node"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, **options)

    def inside(self, *words: str, **options: str) -> str:
        return self.do("exec", self.name, "--", *words, **options).stderr

    def turn(self, sls: str) -> None:
        self.turns.append(sum(map(float, self.inside("bash", "-c", TIMED.format(sls)).split()[-2:])))


@contextlib.contextmanager
def nodes(trees: list[Path]) -> Iterator[list[Subject]]:
    """A node of each, with the example's pillar and the formula's modules."""
    subjects = [Subject(tree, f"bench-{secrets.token_hex(3)}") for tree in trees]
    with contextlib.ExitStack() as up:
        for subject in subjects:
            subject.do("boot", subject.name)
            up.callback(subject.do, "stop", subject.name)
            pillar = (subject.tree / "pillar.example").read_text()
            subject.inside("sh", "-c", "cat > /srv/pillar/slurm_pam.sls", input=pillar)
            subject.inside("salt-call", "--local", "--out=quiet", "saltutil.sync_all")
        yield subjects


def row(what: str, subjects: list[Subject]) -> str:
    ours, theirs = subjects
    cells = [f"{min(each.turns):.2f} ({statistics.median(each.turns):.2f})" for each in subjects]
    return f"| {what} | {' | '.join(cells)} | {min(ours.turns) / min(theirs.turns):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, required=True, metavar="DIRECTORY", help="the other checkout")
    beside = parser.parse_args().beside.resolve()
    asked = ["git", "-C", beside, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    print(f"{platform.platform()}, Python {platform.python_version()}; seconds of processor time, fastest (median)\n")
    print(f"| | here | {commit.strip() or beside.name} | ratio |\n|---|---|---|---|")
    with nodes([ROOT, beside]) as subjects:
        for what, sls in (("ready, an open node", "slurm_pam.ready"), ("an apply, a closed node", "slurm_pam")):
            for subject in subjects:
                # The first time, it may have something to do.
                subject.turn(sls)
                subject.turns.clear()
            for subject in subjects * TURNS:
                subject.turn(sls)
            print(row(what, subjects), flush=True)


if __name__ == "__main__":
    main()
