#!/usr/bin/env python3
"""
What it costs to look at the ways onto a node on which 200 processes run.

    .venv/bin/python test/bench/doors.py

boots a node, starts what is missing of 200 processes, and asks in it, by Salt's Python and without Salt: processor time
of the look and of its children, in milliseconds, the fastest of 20 turns (median). Writes what it found to
test/bench/report-doors.md.
"""

import datetime
import json
import os
import platform
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPORT = Path(__file__).resolve().parent / "report-doors.md"
PROCESSES, MOST = 200, 100  # of them, ms
INSIDE = """
import json, resource, statistics, subprocess, sys
sys.path.insert(0, "/srv/formula/_modules")
import _processes, _slurm_pam_ask, _slurm_pam_ways_in, sshd_config
settings = json.loads(subprocess.check_output(["salt-call", "--local", "--out=json", "slurm_pam.settings"]))["local"]
missing = %d - len(list(_processes.running()))
idle = [subprocess.Popen(["sleep", "infinity"]) for _ in range(missing)]

def spent():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return 1000 * sum(usage.ru_utime + usage.ru_stime for usage in usages)

def alone(look):
    before = spent()
    look()
    return spent() - before

def within(look):
    with _slurm_pam_ask.once():
        _slurm_pam_ask.every_unit()  # ready has asked already
        return alone(look)

report = lambda: _slurm_pam_ways_in.report(settings)
looks = {
    "slurm_pam.doors": (alone, report),
    "of these, systemctl": (alone, _slurm_pam_ask.every_unit),
    "of these, sshd": (alone, sshd_config.connections),
    "its look within ready": (within, lambda: list(_slurm_pam_ways_in.doors(settings, {}))),
}
found = {}
for what, (take, look) in looks.items():
    turns = [take(look) for _ in range(20)]
    found[what] = [min(turns), statistics.median(turns)]
print(json.dumps([found, len(list(_processes.running())), len(report()["doors"])]))
for process in idle:
    process.kill()
"""


def measured() -> tuple[dict[str, list[float]], int, int]:
    """Milliseconds of each, fastest and median; how many processes and doors there were."""
    name = f"bench{secrets.token_hex(3)}"

    def do(*words: str, **options: str) -> str:
        command = [str(ROOT / "test/node"), *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout

    do("boot", name)
    try:
        pillar = (ROOT / "pillar.example").read_text()
        do("exec", name, "--", "sh", "-c", "cat > /srv/pillar/slurm_pam.sls", input=pillar)
        do("exec", name, "--", "salt-call", "--local", "--out=quiet", "saltutil.sync_all")
        return json.loads(do("exec", name, "--", "/opt/salt/bin/python3", "-c", INSIDE % PROCESSES).splitlines()[-1])
    finally:
        do("stop", name)


def main() -> None:
    load = os.getloadavg()[0]
    found, processes, doors = measured()
    reached = {True: "reached", False: "**missed**"}[found["slurm_pam.doors"][0] < MOST]
    text = "\n".join(
        [
            "# Which doors a node has: what it costs to look",
            "",
            f"`test/bench/doors.py`, {datetime.date.today()}, {platform.release()}, {platform.machine()} with "
            f"{os.cpu_count()} processors, load {load:.1f}. Node: layout sle15, {processes} processes, {doors} doors.",
            "",
            "Processor time of the look and of its children, in milliseconds, the fastest of 20 turns (median).",
            "",
            "| | ms |",
            "|---|---|",
            *(f"| {what} | {least:.0f} ({middle:.0f}) |" for what, (least, middle) in found.items()),
            "",
            f"Target: less than {MOST} ms: {reached}.",
            "",
        ]
    )
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
