#!/usr/bin/env python3
"""
What a crowd of minions costs a master: a real master, and real minions that are processes of one closed node.

    .venv/bin/python test/bench/crowd.py --minions 10,50,150

starts that many minions on one node, each with a root directory of its own for Salt, and measures with each number of
them: bringing the modules, an audit, an apply that changes nothing, a rollout that finds everything closed, and the
page about the cluster. Prints what it found and writes it to test/bench/report-crowd.md. A minion takes 50 MiB, and a
second of CPU for each of these.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import cgroups, host, progress
from harness.cluster import MINION_CONFIG, Cluster
from harness.paths import REPO
from harness.salt_tree import HOME, SALTS
from harness.site import interrupt_on_signals

REPORT = Path(__file__).resolve().parent / "report-crowd.md"
NODE, PLACE = "node", "/root/minions"
PATIENCE = 1800
STEP = 10  # minions that are started at the same time


@dataclass
class Measured:
    what: str
    minions: int
    master: float  # seconds of CPU of all the master's processes and of the command
    wall: float
    memory: float  # MiB of the command at its largest


def start(cluster: Cluster, first: int, last: int) -> None:
    """Minions of these numbers, with accepted keys, that answer."""
    node, master = cluster.nodes[NODE], cluster.master
    for begin in range(first, last, STEP):
        names = [f"m{number:03}" for number in range(begin, min(begin + STEP, last))]
        for name in names:
            place = f"{PLACE}/{name}"
            config = f"{MINION_CONFIG}id: {name}\nroot_dir: {place}\n"
            node.run(["sh", "-ec", 'mkdir -p "$1"; cat > "$1/minion"', "sh", place], input=config, check=True)
            command = [f"{HOME}/bin/salt-minion", f"--config-dir={place}", "--disable-keepalive", "--daemon"]
            node.run(command, check=True, timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while set(names) - set(master.keys("pre")) - set(master.keys("acc")) and time.monotonic() < deadline:
            time.sleep(2)
        master.run(["salt-key", "--yes", "--accept-all"], check=True)
    while len(master.salt("m*", "test.ping", patience=60)) < last and time.monotonic() < deadline:
        time.sleep(2)


def measured(cluster: Cluster, what: str, minions: int, words: list[str]) -> Measured:
    """One command on the master."""
    before, begun = cluster.master.cpu(), time.monotonic()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(cluster.master.command(words), **pipes, cwd="/") as child:
        output = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    answered = words[0] != "salt" or len(json.loads(output)) == minions
    if child.returncode or not answered:
        sys.exit(f"{' '.join(words)}: exit {child.returncode}\n{output.decode(errors='replace')[-3000:]}")
    cpu = cluster.master.cpu() - before + used.ru_utime + used.ru_stime
    return Measured(what, minions, cpu, wall, used.ru_maxrss / 1024)


def memory(cluster: Cluster) -> float:
    """MiB of all the master's processes, what they share counted once."""
    total = 0
    for pid in cgroups.processes(cgroups.hierarchies(cluster.master._holder.pid).values()):
        try:
            told = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:"))
    return total / 1024


def crowd(counts: list[int]) -> tuple[list[Measured], dict[int, float]]:
    found, resident = [], {}
    salt = ["salt", "--static", "--out=json", f"--timeout={PATIENCE}", "--hide-timeout", "m*"]
    with Cluster.boot([NODE], [NODE], {"all": [NODE]}) as cluster:
        cluster.master.pillar("slurm_pam", (REPO / "pillar.example").read_text())
        cluster.master.runner("saltutil.sync_runners")
        cluster.master.salt(NODE, "state.apply", "slurm_pam", patience=600)
        started = 0
        for count in counts:
            with progress.step(f"{count} minions"):
                start(cluster, started, count)
                started = count
                for what, words in {
                    "sync": [*salt, "saltutil.sync_all"],
                    "audit": [*salt, "slurm_pam.audit"],
                    "apply that changes nothing": [*salt, "state.apply", "slurm_pam"],
                    "rollout": ["salt-run", "--out=json", "slurm_pam.rollout", "m*", "at_once=50"],
                    "evidence": ["salt-run", "--out=json", "slurm_pam.evidence", "m*", "at_once=50", "to=/srv/m001"],
                }.items():
                    found.append(measured(cluster, what, count, words))
                    progress.note(f"{what}: {found[-1]}")
                resident[count] = memory(cluster)
                told = json.loads(cluster.master.runner("slurm_pam.report", "form=counts", "--out=json").stdout)
                assert told["nodes"] == {"unchanged": count}, told
                cluster.master.runner("slurm_pam.forget")
    return found, resident


def report(found: list[Measured], resident: dict[int, float]) -> str:
    def row(one: Measured) -> str:
        each = one.master / one.minions
        cells = (f"{one.master:.1f}", f"{each * 1000:.0f}", f"{one.wall:.0f}", f"{one.memory:.0f}")
        return f"| {one.what} | {one.minions} | {' | '.join(cells)} |"

    counts = sorted({one.minions for one in found})
    lines = [row(one) for one in sorted(found, key=lambda one: (one.what, one.minions))]
    grown = []
    for what in dict.fromkeys(one.what for one in found):
        costs = {one.minions: one.master for one in found if one.what == what}
        least, most = counts[0], counts[-1]
        slope = (costs[most] - costs[least]) / (most - least) if most > least else costs[most] / most
        grown.append(f"| {what} | {slope * 1000:.0f} | {costs[least] + slope * (10_000 - least):.0f} |")
    return "\n".join(
        [
            "# What a crowd of minions costs a master",
            "",
            f"`test/bench/crowd.py --minions {','.join(map(str, counts))}`, {datetime.date.today()}, Salt "
            f"{SALTS['3008']}, {platform.machine()} with {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}.",
            "",
            "Real minions, all of them processes of one closed node (layout sle15, `pillar.example`), which share the",
            "processors with the master: the wall time is theirs. CPU is that of all the master's processes and of the",
            "command; MiB that of the command at its largest.",
            "",
            "| what | minions | master, CPU s | ms a minion | wall s | command, MiB |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
            f"The master's own processes: {', '.join(f'{size:.0f} MiB with {n}' for n, size in resident.items())}.",
            "",
            f"Projected to 10,000 minions by the growth from {counts[0]} to {counts[-1]}, if it goes on like this:",
            "",
            "| what | ms for each more | CPU s of the master |",
            "|---|---|---|",
            *grown,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minions", default="10,50,150", help="numbers of them, one after another; %(default)s")
    counts = sorted(map(int, parser.parse_args().minions.split(",")))
    host.install_packages()
    interrupt_on_signals()
    text = report(*crowd(counts))
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
