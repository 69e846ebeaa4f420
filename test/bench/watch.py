#!/usr/bin/env python3
"""
What one look of the watch costs, under each shell that may be /bin/sh.

    .venv/bin/python test/bench/watch.py

as root: on files of its own, more than a node has with the defaults. Milliseconds of processor time with all that
the program starts, the fastest of the turns (median), and how many times what a shell costs that does nothing. What
differs is looked at twice.
"""

import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "_modules"))

import _slurm_pam_watch

TURNS = 30
# Paths that are there, with their sizes: configuration, PAM modules, Slurm's library.
THERE = [1500] * 60 + [60_000] * 6 + [2_000_000]
ABSENT, DIRECTORIES = 60, 30
TARGET = 30


def cost(command: list[str], status: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == status, done
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def row(case: str, turns: Mapping[str, list[float]], nothing: Mapping[str, list[float]]) -> None:
    shown = [
        f"{min(each):.1f} ({statistics.median(each):.1f}), {min(each) / min(nothing[shell]):.0f}x"
        for shell, each in turns.items()
    ]
    print(f"| {case} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        home = pathlib.Path(made)
        files = [home / f"file{number}" for number in range(len(THERE))]
        for file, size in zip(files, THERE):
            file.write_bytes(os.urandom(size))
        for number in range(DIRECTORIES // 10):
            (home / f"d{number}").mkdir()
            (home / f"d{number}/0.conf").write_text("0")
        paths = [*map(str, files), *(f"{home}/none{number}" for number in range(ABSENT))]
        globs = [f"{home}/d{number}/*.conf" for number in range(DIRECTORIES)]
        program = home / "watch"
        program.write_text(_slurm_pam_watch.program())

        def differ() -> None:
            files[1].write_bytes(os.urandom(THERE[1]))

        def copy() -> None:
            """As an image is: all is there in the same words, as other inodes."""
            for place in (home, *home.glob("d?")):
                for file in [path for path in place.iterdir() if path.is_file()]:
                    shutil.copy2(file, f"{file}.new")
                    os.replace(f"{file}.new", file)

        def copy_and_differ() -> None:
            copy()
            differ()

        cases = {
            "all is well": (lambda: None, 0),
            "one file was written again": (lambda: os.utime(files[0]), 0),
            "one differs": (differ, 1),
            "every file was written again, as in a copied image": (copy, 0),
            "every file was, and one differs": (copy_and_differ, 1),
        }
        print(f"{platform.platform()}; {len(paths)} paths, {len(globs)} patterns, {sum(THERE) // 1000} kB\n")
        print("| | " + " | ".join(shells := [each for each in ("dash", "bash") if shutil.which(each)]) + " |")
        print("|---" * (len(shells) + 1) + "|")
        nothing = {shell: [cost([shell, "-c", ":"], 0) for _ in range(TURNS)] for shell in shells}
        row("a shell that does nothing", nothing, nothing)
        worst = 0.0
        for case, (change, status) in cases.items():
            settings = {"slurm": {"conf": None}, "pam_slurm_adopt": {}}
            (home / "accepted").write_text(_slurm_pam_watch._look(paths, globs, settings).text())
            change()
            count = 10 if status else TURNS
            turns = {shell: [cost([shell, program], status) for _ in range(count)] for shell in shells}
            row(case, turns, nothing)
            worst = max(worst, *map(min, turns.values()))
        print(f"\nTarget: less than {TARGET} ms in each case: {worst < TARGET}.")


if __name__ == "__main__":
    main()
