#!/usr/bin/env python3
"""
What it costs to tell who is on a node outside every job, beside ps, which tells less, in one run.

    .venv/bin/python test/bench/strays.py

as root: in a namespace of its own with 200 processes, half of them of a user without a job. Milliseconds of processor
time, the fastest of the turns (median). ``slurm_pam.strays`` is what its library takes within a minion or an apply.
"""

import argparse
import os
import pathlib
import platform
import pwd
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "_modules"))

import _slurm_pam_strays

PROCESSES, TURNS = 200, 30
SETTINGS = {"access": {"users": {}, "groups": {"root": {}}}, "module": "pam_slurm_adopt"}
PS = ["ps", "-eo", "pid,ppid,uid,euid,lstart,tty,cgroup,pidns,args"]
IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def ours() -> float:
    begun = time.process_time()
    _slurm_pam_strays.told(_slurm_pam_strays.strays(SETTINGS))
    return time.process_time() - begun


def theirs() -> float:
    def used() -> float:
        times = resource.getrusage(resource.RUSAGE_CHILDREN)
        return times.ru_utime + times.ru_stime

    begun = used()
    subprocess.run(PS, stdout=subprocess.DEVNULL, check=True)
    return used() - begun


def measure() -> None:
    user = next(one.pw_uid for one in pwd.getpwall() if _slurm_pam_strays.is_ordinary(one.pw_uid, SETTINGS["access"]))
    there = len([name for name in os.listdir("/proc") if name.isdigit()])
    for number in range(PROCESSES - there):
        subprocess.Popen(["sleep", "600"], **({"user": user} if number % 2 else {}))
    found = _slurm_pam_strays.told(_slurm_pam_strays.strays(SETTINGS))
    turns = [(ours() * 1000, theirs() * 1000) for _ in range(TURNS)]
    print(f"{platform.platform()}, Python {platform.python_version()}; {PROCESSES} processes,", end=" ")
    print(f"{sum(each['count'] for each in found)} of them outside of jobs\n")
    print("| | ms of CPU |\n|---|---|")
    for name, times in zip(("slurm_pam.strays", " ".join(PS)), zip(*turns)):
        print(f"| {name} | {min(times):.1f} ({statistics.median(times):.1f}) |")
    fastest = [min(times) for times in zip(*turns)]
    print(f"\nRatio: {fastest[0] / fastest[1]:.1f}. Target: less than 100 ms: {fastest[0] < 100}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", action="store_true", help="measure here; by default in a namespace of its own")
    if parser.parse_args().inside:
        measure()
    else:
        subprocess.run([*IN_A_NAMESPACE, sys.executable, __file__, "--inside"], check=True)


if __name__ == "__main__":
    main()
