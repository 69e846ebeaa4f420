#!/usr/bin/env python3
"""
What minions cost a master, and how that grows: a real master, and real minions that are processes of one closed node.

    .venv/bin/python test/bench/scale.py --minions 10,50,150

starts that many minions on one node, forked from one parent, each with a root directory of its own for Salt, and
measures with each number of them: bringing the modules, an audit, an apply that changes nothing, and a rollout that
finds everything closed, all in waves of 25. A number for which there is no memory is left out, and named. Says how far
it is, and writes test/bench/report-scale.md anew with each number that it has, so one that is stopped has told what it
saw. The minions take the same processors as the master.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
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
# What makes many minions cheap on one machine, and why a master sees no difference: told in the report.
DEPARTURES = {
    "jobs are threads of the minion (`multiprocessing: False`)": "a fork for each would load all modules anew",
    "its key is parsed once": "Salt parses it for each question again, which is half of a sync's time on a node",
    "compiled modules lie apart": "a sync deletes them, and the next job compiles the library again",
    "each has a place of its own for locks": "two applies of one node at a time refuse each other",
}
# Runs in the node: minions of one forked parent, which has Salt's imports for all of them.
PARENT = """
import ctypes, functools, gc, importlib, os, sys, time
place, *names = sys.argv[1:]
libc, locks = ctypes.CDLL(None, use_errno=True), b"/run/salt-file_transaction"
for name in {imports!r}:
    importlib.import_module(name)
key = sys.modules["salt.crypt"].PrivateKey
key.from_str = staticmethod(functools.cache(key.from_str))
sys.pycache_prefix = f"{{place}}/compiled"
os.makedirs(locks, 0o700, exist_ok=True)
gc.collect()
gc.freeze()
for name in names:
    os.makedirs(f"{{place}}/{{name}}", exist_ok=True)
    with open(f"{{place}}/{{name}}/minion", "w") as file:
        file.write(f"{config}id: {{name}}\\nroot_dir: {{place}}/{{name}}\\n")
    if os.fork() == 0:
        os.setsid()
        # CLONE_NEWNS; MS_REC and MS_SLAVE
        wrong = libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x4000 | 0x80000, None)
        if wrong or libc.mount(b"tmpfs", locks, b"tmpfs", 0, b"mode=0700"):
            raise OSError(ctypes.get_errno(), "its own place for locks")
        sys.argv = ["salt-minion", f"--config-dir={{place}}/{{name}}", "--log-level=quiet"]
        sys.modules["salt.cli.daemons"].Minion().start()
    time.sleep(0.3)
while True:
    os.wait()
""".format(
    imports=("salt.crypt", "salt.minion", "salt.cli.daemons", *IMPORTS),
    config=(MINION_CONFIG + "multiprocessing: False\n").replace("\n", "\\n"),
)
PATIENCE = 1800  # seconds for one command
STEP = 10  # minions whose keys are accepted together
AT_ONCE = 25  # minions that are asked at the same time: they share the processors
EACH = 80  # MiB of a minion, until it is known
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
    each: float = 0.0  # MiB of a minion that had jobs and has nothing to do

    def grow(self, count: int) -> None:
        """So many minions, with accepted keys, that answer and have the formula's modules."""
        more = [f"m{number:03}" for number in range(len(self.names), count)]
        self.node.write("/root/minions.py", PARENT)
        command = ["systemd-run", "--quiet", f"--unit=minions-{count}", f"{HOME}/bin/python3.11", "/root/minions.py"]
        self.node.run([*command, PLACE, *more], check=True)
        for first in range(0, len(more), STEP):
            for name in more[first : first + STEP]:
                self.master.await_key(name)
            self.master.run(["salt-key", "--yes", "--accept-all"], check=True)
        self.names += more
        progress.note(f"{count} minions: their keys are accepted")
        deadline = time.monotonic() + PATIENCE
        while len(self.master.salt("m*", "test.ping", patience=60)) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{count} minions: not all of them answer")
        # Which is what only the first time costs.
        self.master.run([*COMMANDS["sync"], *more], check=True, timeout=PATIENCE)

    def _pids(self) -> list[int]:
        """Those of the minions, and of what forked them."""
        there = cgroups.processes(self.node.groups)
        return [pid for pid in there if any("/root/minions.py" in line for line in _lines(f"/proc/{pid}/cmdline"))]

    def fits(self, count: int) -> bool:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        there = int(lines["MemAvailable"].split()[0]) / 1024 * SPARE
        return (count - len(self.names)) * (self.each or EACH) < there

    def measure(self, what: str) -> None:
        """One command on the master, which has to end well and to have a good answer of each minion."""
        words = COMMANDS[what]
        words = words if what == "rollout" else [*words, *self.names]
        before, begun = self.master.cpu(), time.monotonic()
        with subprocess.Popen(self.master.command(words), stdout=subprocess.PIPE, cwd="/") as child:
            output = child.stdout.read()
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begun
        answers = json.loads(output)["nodes"] if child.returncode == 0 else {}
        if answers.keys() != set(self.names):
            told = output.decode(errors="replace")
            raise Failed(f"{what}: exit {child.returncode}, {len(answers)} of {len(self.names)} answers\n{told}")
        cpu = self.master.cpu() - before + used.ru_utime + used.ru_stime
        self.found.append(Measured(what, len(self.names), cpu, wall, used.ru_maxrss / 1024))
        self.masters[len(self.names)] = sum(map(_memory, _processes(self.master)))
        self.each = sum(map(_memory, self._pids())) / len(self.names)
        progress.note(f"{what}: {self.found[-1]}")

    def forget(self) -> None:
        """The rollout found all of them closed, and the next one knows of none."""
        told = json.loads(self.master.runner("slurm_pam.report", "form=counts", "--out=json").stdout)
        # A minion that was never asked for an apply may have its turn once, in which nothing changes.
        if told["nodes"].keys() - {"unchanged", "done"} or sum(told["nodes"].values()) != len(self.names):
            raise Failed(f"the rollout: {told}")
        self.master.runner("slurm_pam.forget")


# Runs on the master: one function with these minions, in waves.
WAVES = f"""
import json, sys
import salt.client
function, arguments, *names = sys.argv[1:]
client, nodes = salt.client.LocalClient(), {{}}
for first in range(0, len(names), {AT_ONCE}):
    wave = names[first : first + {AT_ONCE}]
    nodes |= client.cmd(wave, function, json.loads(arguments), {PATIENCE}, "list", full_return=True)
    print(function, len(nodes), "of", len(names), file=sys.stderr, flush=True)
bad = {{name: answer["ret"] for name, answer in nodes.items() if answer["retcode"]}}
json.dump({{"nodes": bad or dict.fromkeys(nodes)}}, sys.stdout)
sys.exit(bool(bad))
"""


def _waves(function: str, *arguments: str) -> list[str]:
    return ["python", "-c", WAVES, function, json.dumps(arguments)]


COMMANDS = {
    "sync": _waves("saltutil.sync_all"),
    "audit": _waves("slurm_pam.audit"),
    "apply that changes nothing": _waves("state.apply", "slurm_pam"),
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
    """Of each command, the seconds of CPU for each minion more and for 10,000 of them, by least squares."""
    grown = {}
    for what in dict.fromkeys(one.what for one in found):
        costs = {one.minions: one.master for one in found if one.what == what}
        if len(costs) > 1:
            slope, fixed = statistics.linear_regression([*costs], [*costs.values()])
            grown[what] = (slope, fixed + slope * 10_000)
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
            "processors with the master and with what else runs there: the wall time is theirs. CPU is that of all the",
            "master's processes and of the command; MiB that of the command at its largest.",
            f"{AT_ONCE} are asked at a time. What only the first time costs, as bringing the modules, is in no number.",
            "",
            "| what | minions | master, CPU s | ms a minion | wall s | command, MiB |",
            "|---|---|---|---|---|---|",
            *(row(one) for one in sorted(crowd.found, key=lambda one: ([*COMMANDS].index(one.what), one.minions))),
            "",
            f"{none}The master's own processes: "
            f"{', '.join(f'{size:.0f} MiB with {n}' for n, size in crowd.masters.items())}. A minion that waits takes "
            f"{crowd.each:.0f} MiB.",
            "",
            *_projected(crowd.found),
            "The minions are Salt's own, with a key, caches and connections each. What makes them cheap, and is",
            "the same to the master:",
            "",
            *(f"- {what}: {why}." for what, why in DEPARTURES.items()),
            "",
        ]
    )


def _projected(found: list[Measured]) -> list[str]:
    grown = growth(found)
    if not grown:
        return []
    return [
        "Projected to 10,000 minions by a straight line through these numbers (least squares), if it goes on so:",
        "",
        "| what | ms for each more | CPU s of the master |",
        "|---|---|---|",
        *(f"| {what} | {slope * 1000:.0f} | {many:.0f} |" for what, (slope, many) in grown.items()),
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
                for what in COMMANDS:
                    crowd.measure(what)
                    arguments.report.write_text(report(crowd, left_out))
                crowd.forget()
    print(report(crowd, left_out))


if __name__ == "__main__":
    main()
