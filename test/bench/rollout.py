#!/usr/bin/env python3
"""
What a rollout's own work costs the master, apart from Salt's: minions that answer at once.

    .venv/bin/python test/bench/rollout.py

rolls out over 100, 1,000 and 10,000 nodes, each in a process of its own, with everything that a rollout does but Salt's
transport: turns, waves, what answers mean, the record on disk, events, lines on the terminal. Writes what it found to
test/bench/report-rollout.md.
"""

import argparse
import copy
import datetime
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

REPORT = Path(__file__).resolve().parent / "report-rollout.md"
SIZES = (100, 1_000, 10_000)
MOST_CPU, MOST_MEMORY = 60, 500  # seconds, MiB


def one(nodes: int, directory: str) -> dict:
    """A rollout over so many nodes, in batches of a tenth; one in a hundred does not come through."""
    from harness.runners import HALF, NOTHING, OPEN, WAITING, Minions, Rollouts

    minions = Minions([f"cn{number:05}" for number in range(nodes)])
    # An audit has a finding for each state, as on a node that is open.
    audit = copy.deepcopy(OPEN)
    audit.value["findings"] *= 12
    for name in minions.named:
        minions.answers[name]["slurm_pam.audit"][0] = audit
    for name in minions.named[99::100]:
        minions.answers[name] |= {"state.apply": HALF, "slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING]}
    rollout = Rollouts(Path(directory))
    rollout.fire = lambda tag, data: None
    start, used = time.monotonic(), time.process_time()
    report = rollout(minions, batch="10%", tolerate="1%")
    seconds = {"wall": time.monotonic() - start, "cpu": time.process_time() - used}
    states = [node["state"] for node in report["nodes"].values()]
    assert states.count("done") + states.count("taken back") == nodes and states.count("taken back") == nodes // 100
    assert rollout.recorded() == report["nodes"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, "memory": memory, "calls": minions.jobs, "answers": minions.answered}


def row(nodes: int) -> tuple[str, dict]:
    with tempfile.TemporaryDirectory() as directory:
        words = [sys.executable, __file__, "--one", str(nodes), "--directory", directory]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    found = json.loads(done.stdout)
    each = found["cpu"] / nodes * 1000
    line = (
        f"| {nodes:,} | {found['cpu']:.2f} | {each:.2f} | {found['wall']:.1f} | {found['memory']:.0f} "
        f"| {found['calls']:,} | {found['answers']:,} |"
    )
    return line, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=int, help="only a rollout over so many nodes, in this process")
    parser.add_argument("--directory", help="where that one has its record")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments.directory)))
        return
    rows = [row(nodes) for nodes in SIZES]
    last = rows[-1][1]
    reached = {True: "reached", False: "**missed**"}[last["cpu"] < MOST_CPU and last["memory"] < MOST_MEMORY]
    text = "\n".join(
        [
            "# What a rollout's own work costs the master",
            "",
            f"`test/bench/rollout.py`, {datetime.date.today()}, Python {platform.python_version()}, SQLite "
            f"{sqlite3.sqlite_version}, {platform.machine()} with {os.cpu_count()} processors, load "
            f"{os.getloadavg()[0]:.1f}.",
            "",
            "Minions answer at once; one in a hundred does not come through and is taken back. Batches of a tenth,",
            "calls to 500 nodes at most. Memory is the process's at its largest, with Python, Salt and these minions.",
            "",
            "| nodes | CPU s | ms a node | wall s | MiB | calls | answers |",
            "|---|---|---|---|---|---|---|",
            *(line for line, _ in rows),
            "",
            f"Target for 10,000 nodes: under {MOST_CPU} s of CPU and {MOST_MEMORY} MiB: {reached}.",
            "",
            "Not in it: what Salt's client and event bus cost for each call and answer; `scale.py` measures these.",
            "",
        ]
    )
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
