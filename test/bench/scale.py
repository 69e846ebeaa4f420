#!/usr/bin/env python3
"""
What minions cost a master, and how that grows: a real master, and real minions that are processes of one closed node.

    .venv/bin/python test/bench/scale.py --minions 10,50,150

starts that many minions on one node, forked from one parent, each with a root directory of its own for Salt, and
measures with each number of them: bringing the modules, an audit, an apply that changes nothing, and a rollout that
finds everything closed. A number for which there is no memory is left out, and named. Prints what it found and writes
it to test/bench/report-scale.md. Each minion takes some 6 s of CPU for all of it, on the same processors as the master.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import cgroups, host, progress
from harness.cluster import MINION_CONFIG, Cluster, Master
from harness.node import Node
from harness.paths import REPO
from harness.salt_tree import HOME, SALTS
from harness.shell import Failed
from harness.site import interrupt_on_signals
from harness.warm import IMPORTS

REPORT = Path(__file__).resolve().parent / "report-scale.md"
PLACE = "/root/minions"
# Runs in the node: minions of one forked parent, which has Salt's imports for all of them.
PARENT = """
import gc, importlib, os, sys, time
place, *names = sys.argv[1:]
for name in {imports!r}:
    importlib.import_module(name)
gc.collect()
gc.freeze()
for name in names:
    os.makedirs(f"{{place}}/{{name}}", exist_ok=True)
    with open(f"{{place}}/{{name}}/minion", "w") as file:
        file.write(f"{config}id: {{name}}\\nroot_dir: {{place}}/{{name}}\\n")
    if os.fork() == 0:
        os.setsid()
        sys.argv = ["salt-minion", f"--config-dir={{place}}/{{name}}", "--log-level=quiet"]
        sys.modules["salt.cli.daemons"].Minion().start()
    time.sleep(0.3)
while True:
    os.wait()
""".format(imports=("salt.minion", "salt.cli.daemons", *IMPORTS), config=MINION_CONFIG.replace("\n", "\\n"))
PATIENCE = 1800  # seconds for one command
STEP = 10  # minions whose keys are accepted together
AT_ONCE = 25  # minions that a rollout asks at the same time: they share the processors
AT_WORK = 60  # MiB that a minion takes besides while it has a job
SPARE = 0.8  # of the memory that is there, what they may take


@dataclass
class Measured:
    what: str
    minions: int
    master: float  # seconds of CPU of all the master's processes and of the command
    wall: float
    memory: float  # MiB of the command at its largest


@dataclass
class Crowd:
    """The minions of a closed node, ``m000`` and following, and what was measured with them."""

    master: Master
    node: Node
    names: list[str] = field(default_factory=list)
    found: list[Measured] = field(default_factory=list)
    masters: dict[int, float] = field(default_factory=dict)  # MiB of its processes, by the number of minions
    each: float = 0.0  # MiB of a minion that has nothing to do

    def grow(self, count: int) -> None:
        """So many minions, with accepted keys, that answer."""
        more = [f"m{number:03}" for number in range(len(self.names), count)]
        self.node.write("/root/minions.py", PARENT)
        command = ["systemd-run", "--quiet", f"--unit=minions-{count}", f"{HOME}/bin/python3.11", "/root/minions.py"]
        self.node.run([*command, PLACE, *more], check=True)
        for first in range(0, len(more), STEP):
            for name in more[first : first + STEP]:
                self.master.await_key(name)
            self.master.run(["salt-key", "--yes", "--accept-all"], check=True)
        self.names += more
        deadline = time.monotonic() + PATIENCE
        while len(self.master.salt("m*", "test.ping", patience=60)) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{count} minions: not all of them answer")
        self.each = sum(map(_memory, self._pids())) / count

    def settle(self) -> None:
        """What only the first time costs is over."""
        self.master.run(COMMANDS["sync"], check=True, timeout=PATIENCE)

    def _pids(self) -> list[int]:
        """Those of the minions, and of what forked them."""
        there = cgroups.processes(self.node.groups)
        return [pid for pid in there if any("/root/minions.py" in line for line in _lines(f"/proc/{pid}/cmdline"))]

    def fits(self, count: int) -> bool:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        there = int(lines["MemAvailable"].split()[0]) / 1024 * SPARE
        return (count - len(self.names)) * self.each + count * AT_WORK < there

    def measure(self, what: str, words: list[str]) -> None:
        """One command on the master, which has to end well and to have an answer of each minion."""
        before, begun = self.master.cpu(), time.monotonic()
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(self.master.command(words), stdout=subprocess.PIPE, stderr=said, cwd="/") as child:
                output = child.stdout.read()
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            complaints = said.read().decode(errors="replace")
        wall = time.monotonic() - begun
        answers = json.loads(output) if child.returncode == 0 else {}
        if (answers.get("nodes", answers)).keys() != set(self.names):
            told = output.decode(errors="replace")[-3000:]
            raise Failed(f"{' '.join(words)}: exit {child.returncode}, {len(answers)} answers\n{complaints}\n{told}")
        cpu = self.master.cpu() - before + used.ru_utime + used.ru_stime
        self.found.append(Measured(what, len(self.names), cpu, wall, used.ru_maxrss / 1024))
        progress.note(f"{what}: {self.found[-1]}")

    def work(self, *which: str) -> None:
        """These commands with all minions, by default every one."""
        for what in which or COMMANDS:
            self.measure(what, COMMANDS[what])
        self.masters[len(self.names)] = sum(map(_memory, _processes(self.master)))
        if "rollout" in (which or COMMANDS):
            told = json.loads(self.master.runner("slurm_pam.report", "form=counts", "--out=json").stdout)
            # A minion that was never asked for an apply may have its turn once, in which nothing changes.
            if told["nodes"].keys() - {"unchanged", "done"} or sum(told["nodes"].values()) != len(self.names):
                raise Failed(f"the rollout: {told}")
            self.master.runner("slurm_pam.forget")


_SALT = ["salt", "--static", "--out=json", f"--timeout={PATIENCE}", "--hide-timeout", "m*"]
COMMANDS = {
    "sync": [*_SALT, "saltutil.sync_all"],
    "audit": [*_SALT, "slurm_pam.audit"],
    "apply that changes nothing": [*_SALT, "state.apply", "slurm_pam"],
    "rollout": ["salt-run", "--out=json", "slurm_pam.rollout", "m*", f"at_once={AT_ONCE}"],
}


def _processes(master: Master) -> list[int]:
    return cgroups.processes(cgroups.hierarchies(master._holder.pid).values())


def _memory(pid: int) -> float:
    """MiB of a process, of what it shares with others its part."""
    return sum(int(line.split()[1]) for line in _lines(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:")) / 1024


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []  # gone


# What it comes to


def growth(found: list[Measured]) -> dict[str, tuple[float, float]]:
    """Of each command, the seconds of CPU for each minion more, and those that there are for 10,000 by that."""
    grown = {}
    for what in dict.fromkeys(one.what for one in found):
        costs = {one.minions: one.master for one in found if one.what == what}
        least, most = min(costs), max(costs)
        slope = (costs[most] - costs[least]) / (most - least) if most > least else costs[most] / most
        grown[what] = (slope, costs[least] + slope * (10_000 - least))
    return grown


def report(crowd: Crowd, left_out: list[int]) -> str:
    def row(one: Measured) -> str:
        each = one.master / one.minions
        cells = (f"{one.master:.1f}", f"{each * 1000:.0f}", f"{one.wall:.0f}", f"{one.memory:.0f}")
        return f"| {one.what} | {one.minions} | {' | '.join(cells)} |"

    counts = sorted({one.minions for one in crowd.found})
    none = f"Left out for want of memory: {', '.join(map(str, left_out))}.\n\n" if left_out else ""
    return "\n".join(
        [
            "# What minions cost a master, and how that grows",
            "",
            f"`test/bench/scale.py --minions {','.join(map(str, counts))}`, {datetime.date.today()}, Salt "
            f"{SALTS['3008']}, {platform.machine()} with {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}.",
            "",
            "Real minions, all of them processes of one closed node (layout sle15, `pillar.example`), which share the",
            "processors with the master: the wall time is theirs. CPU is that of all the master's processes and of the",
            f"command; MiB that of the command at its largest. A rollout asks {AT_ONCE} at a time. What only the first",
            "time costs, as bringing the modules to new minions, is in no number.",
            "",
            "| what | minions | master, CPU s | ms a minion | wall s | command, MiB |",
            "|---|---|---|---|---|---|",
            *(row(one) for one in sorted(crowd.found, key=lambda one: ([*COMMANDS].index(one.what), one.minions))),
            "",
            f"{none}The master's own processes: "
            f"{', '.join(f'{size:.0f} MiB with {n}' for n, size in crowd.masters.items())}. A minion that waits takes "
            f"{crowd.each:.0f} MiB.",
            "",
            *(_projected(crowd.found) if len(counts) > 1 else ()),
        ]
    )


def _projected(found: list[Measured]) -> list[str]:
    counts = [one.minions for one in found]
    return [
        f"Projected to 10,000 minions by the growth from {min(counts)} to {max(counts)}, if it goes on like this:",
        "",
        "| what | ms for each more | CPU s of the master |",
        "|---|---|---|",
        *(f"| {what} | {slope * 1000:.0f} | {many:.0f} |" for what, (slope, many) in growth(found).items()),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minions", default="10,50,150", help="numbers of them, one after another; %(default)s")
    parser.add_argument("--report", type=Path, default=REPORT, help="where it is written; %(default)s")
    arguments = parser.parse_args()
    counts = sorted(map(int, arguments.minions.split(",")))
    host.install_packages()
    interrupt_on_signals()
    left_out = []
    with Cluster.boot(["node"], ["node"], {"all": ["node"]}) as cluster:
        cluster.master.pillar("slurm_pam", (REPO / "pillar.example").read_text())
        cluster.master.runner("saltutil.sync_runners")
        cluster.master.salt("node", "state.apply", "slurm_pam", patience=600)
        crowd = Crowd(cluster.master, cluster.nodes["node"])
        for count in counts:
            if not crowd.fits(count):
                left_out.append(count)
                continue
            with progress.step(f"{count} minions"):
                crowd.grow(count)
                crowd.settle()
                crowd.work()
            text = report(crowd, left_out)
            arguments.report.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
