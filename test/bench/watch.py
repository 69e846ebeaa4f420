#!/usr/bin/env python3
"""
What one look of the watch costs, under each shell that may be /bin/sh.

    .venv/bin/python test/bench/watch.py

as root: on files of its own, more than a node has with the defaults. Milliseconds of processor time with all that
the program starts, the fastest of the turns (median). What differs is looked at twice.
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

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "_modules"))

import _slurm_pam_watch

TURNS = 30
# Paths that are there, with their sizes: configuration, PAM modules, Slurm's library.
THERE = [1500] * 60 + [60_000] * 6 + [2_000_000]
ABSENT, DIRECTORIES = 60, 30
TARGET = 30


def cost(shell: str, program: pathlib.Path, status: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([shell, program], stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == status, done
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        home = pathlib.Path(made)
        files = [home / f"file{number}" for number in range(len(THERE))]
        for file, size in zip(files, THERE):
            file.write_bytes(os.urandom(size))
        (home / "d0").mkdir()
        paths = [*map(str, files), *(f"{home}/none{number}" for number in range(ABSENT))]
        globs = [f"{home}/d{number}/*.conf" for number in range(DIRECTORIES)]
        program = home / "watch"
        program.write_text(_slurm_pam_watch.program())

        def again() -> None:
            for file in files:
                shutil.copy(file, f"{file}.new")
                os.replace(f"{file}.new", file)

        cases = {
            "all is well": (lambda: None, 0),
            "one file was written again": (lambda: os.utime(files[0]), 0),
            "every file was, with the same content": (again, 0),
            "one differs": (lambda: files[1].write_text("other"), 1),
        }
        print(f"{platform.platform()}; {len(paths)} paths, {len(globs)} patterns, {sum(THERE) // 1000} kB\n")
        print("| | " + " | ".join(shells := [each for each in ("dash", "bash") if shutil.which(each)]) + " |")
        print("|---" * (len(shells) + 1) + "|")
        worst = 0.0
        for case, (change, status) in cases.items():
            (home / "accepted").write_text(_slurm_pam_watch._look(paths, globs, {"slurm": {"conf": None}}).text())
            change()
            count = 5 if status else TURNS
            turns = {shell: [cost(shell, program, status) for _ in range(count)] for shell in shells}
            shown = [f"{min(each):.1f} ({statistics.median(each):.1f})" for each in turns.values()]
            print(f"| {case} | {' | '.join(shown)} |")
            if case == "all is well":
                worst = max(min(each) for each in turns.values())
        print(f"\nTarget: less than {TARGET} ms where all is well: {worst < TARGET}.")


if __name__ == "__main__":
    main()
