#!/usr/bin/env python3
"""
What it costs to look at the ways onto a node on which 200 processes run.

    .venv/bin/python test/bench/doors.py

boots a node, starts what is missing of 200 processes, and asks in it, by Salt's Python and without Salt: processor time
of the look and of its children, in milliseconds, the fastest of 20 turns (median).
"""

import platform
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROCESSES = 200
INSIDE = """
import json, resource, statistics, subprocess, sys
sys.path.insert(0, "/srv/formula/_modules")
import _processes, _slurm_pam_ask, _slurm_pam_ways_in
settings = json.loads(subprocess.check_output(["salt-call", "--local", "--out=json", "slurm_pam.settings"]))["local"]
missing = %d - len(list(_processes.running()))
idle = [subprocess.Popen(["sleep", "infinity"]) for _ in range(missing)]

def spent():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return 1000 * sum(usage.ru_utime + usage.ru_stime for usage in usages)

def within(look):
    with _slurm_pam_ask.once():
        _slurm_pam_ask.every_unit()  # ready has asked already
        before = spent()
        look()
        return spent() - before

def alone(look):
    before = spent()
    look()
    return spent() - before

report = lambda: _slurm_pam_ways_in.report(settings)
warns = lambda: list(_slurm_pam_ways_in.doors(settings, {}))
for what, take, look in (("slurm_pam.doors", alone, report), ("its look within ready", within, warns)):
    turns = [take(look) for _ in range(20)]
    print(f"| {what} | {min(turns):.0f} ({statistics.median(turns):.0f}) |")
print(len(list(_processes.running())), "processes,", len(report()["doors"]), "doors")
for process in idle:
    process.kill()
"""


def main() -> None:
    name = f"bench{secrets.token_hex(3)}"

    def do(*words: str, **options: str) -> str:
        command = [str(ROOT / "test/node"), *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout

    do("boot", name)
    try:
        pillar = (ROOT / "pillar.example").read_text()
        do("exec", name, "--", "sh", "-c", "cat > /srv/pillar/slurm_pam.sls", input=pillar)
        do("exec", name, "--", "salt-call", "--local", "--out=quiet", "saltutil.sync_all")
        print(f"{platform.platform()}\n\n| | ms |\n|---|---|")
        print(do("exec", name, "--", "/opt/salt/bin/python3", "-c", INSIDE % PROCESSES))
    finally:
        do("stop", name)


if __name__ == "__main__":
    main()
