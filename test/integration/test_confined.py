"""What a session is held to on real nodes: what is said of the configuration, and what is measured of sessions.

On QEMU it takes minutes, so that is tried with SLURM_PAM_FULL=1.
"""

import contextlib
import re

import pytest
from harness.formula import applied, apply, failed, settings
from harness.full import LONG
from harness.node import IDLE, Node
from harness.session import session

CONF, SLURM = "/etc/slurm/cgroup.conf", "/etc/slurm/slurm.conf"
# Slurm 22.05 with cgroup v1, 24.11 with cgroup v2 of a kernel without cpuset, and with all of it; and what jobs can be
# held to there.
MACHINES = {
    "container": ("sle15", ["cores", "memory", "devices"]),
    "uml": ("debian13", ["memory"]),
    "qemu": ("debian13", ["cores", "memory", "devices"]),
}
QEMU = pytest.param("qemu", marks=LONG)
# What Slurm gives out on QEMU, and to no job here: with cgroup v2 it decides on no device where it gives out none.
DEVICE = "/dev/gpu0"
GRES, TYPES = " Gres=gpu:1", "GresTypes=gpu\n"
KEYS = {"cores": "ConstrainCores", "memory": "ConstrainRAMSpace", "devices": "ConstrainDevices"}
# Every process of a user's that was started over SSH, into the root of each hierarchy that Slurm uses.
TAKE_OUT = """
for pid in $(pgrep -u alice {which}); do
    for root in /sys/fs/cgroup/cgroup.procs /run/slurm-cgroup/*/cgroup.procs; do
        test ! -e $root || echo $pid > $root
    done
done
"""


@pytest.fixture(scope="module", params=["container", "uml", QEMU])
def held(machine, request):
    """A node whose jobs are given memory, and what they can be held to there."""
    layout, kinds = MACHINES[request.param]
    with Node.boot(layout, machine=request.param) as booted:
        text = booted.read(SLURM).replace("=CR_CPU\n", "=CR_CPU_Memory\nDefMemPerNode=200\n")
        text = re.sub(r"(CPUs=\d+) State", r"\1 RealMemory=900 State", text)
        if request.param == "qemu":
            booted.run(["mknod", "-m", "666", DEVICE, "c", "1", "7"], check=True)
            booted.write("/etc/slurm/gres.conf", f"Name=gpu File={DEVICE}\n")
            text = TYPES + text.replace(" State=UNKNOWN", f"{GRES} State=UNKNOWN")
        booted.write(SLURM, text)
        yield booted, kinds


@contextlib.contextmanager
def constrained(node, kinds):
    """A cluster that holds its jobs to these, and a job of alice's that is."""
    before = node.read(CONF)
    kept = "".join(line for line in before.splitlines(True) if not line.startswith("Constrain"))
    node.write(CONF, kept + "".join(f"{KEYS[kind]}=yes\n" for kind in kinds))
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    node.wait(IDLE.format(node.name), "an idle node")
    job = node.job("alice")
    try:
        yield job
    finally:
        node.cancel(job)
        node.write(CONF, before)


def confined(node, user="alice"):
    told = node.salt("slurm_pam.confined")
    assert told["holds"] == (not any(row["problems"] for row in told["sessions"]))
    return [row for row in told["sessions"] if row["user"] == user]


def test_with_limits(held):
    node, kinds = held
    settings(node, confine=kinds)
    with constrained(node, kinds) as job:
        applied(node)
        with session(node, "alice") as inside:
            inside.ask("true")
            (row,) = confined(node)
            assert (row["job"], row["outside"], row["problems"]) == (job, [], []), row
            assert [kind for kind in kinds if row[kind]["held"] is not True] == [], row
            assert row["namespaces"] == {"held": True, "found": "those of its job"}
            assert f"/job_{job}" in inside.ask("cat /proc/self/cgroup")
            assert row["memory"]["found"] == "200 MiB"
            if "cores" in kinds:
                assert f"Cpus_allowed_list:\t{row['cores']['found']}\n" in inside.ask("cat /proc/self/status")
            if "programs" in row["devices"]["found"]:
                assert "Operation not permitted" in inside.ask(f"head -c 1 {DEVICE} 2>&1")

            # root takes a process out of it, then all of it.
            inside.ask("sleep 3600 & true")
            node.run(["sh", "-c", TAKE_OUT.format(which="-x sleep -n")], check=True)
            (row,) = confined(node)
            (left,) = node.run(["pgrep", "-u", "alice", "-x", "-n", "sleep"], check=True).stdout.split()
            assert (row["job"], row["outside"]) == (job, [int(left)]), row
            assert f"outside of the cgroup of its job {job}: {left}. " in row["problems"][0]
            node.run(["sh", "-c", TAKE_OUT.format(which="")], check=True)
            (row,) = confined(node)
            assert row["job"] is None, row
            assert f"is in no job, but in /, although job {job} of this user runs here" in row["problems"][0]
            # What had been its processes in the job is out as well, so it is ended here.
            node.run(["pkill", "-KILL", "-u", "alice"], check=True)


def test_without_limits(held):
    """The node is closed by now."""
    node, kinds = held
    with constrained(node, []):
        settings(node, confine=kinds)
        problem = failed(apply(node))["slurm_pam-ready"]
        assert f"slurm_pam:confine asks for {', '.join(kinds)}, but jobs here are not held to it" in problem
        assert f"{KEYS['memory']} is not set ({CONF})" in problem
        with session(node, "alice") as inside:
            inside.ask("true")
            (row,) = confined(node)
            assert [kind for kind in kinds if row[kind]["held"] is not False] == [], row
            assert len(row["problems"]) == len(kinds)
            settings(node, confine=[])
            (row,) = confined(node)
            assert row["problems"] == []
        warnings = node.salt("slurm_pam.preflight")["warnings"]
    told = [text for text in warnings if text.startswith("Jobs here are not held")]
    assert len(told) == 1 and "A session in a job of one core can use " in told[0]


@pytest.mark.parametrize("held", ["container", QEMU], indirect=True)
def test_where_slurm_gives_out_no_devices(held):
    """The node is closed by now."""
    node, kinds = held
    node.write(SLURM, node.read(SLURM).replace(GRES, "").replace(TYPES, ""))
    settings(node, confine=kinds)
    with constrained(node, kinds), session(node, "alice") as inside:
        inside.ask("true")
        (row,) = confined(node)
        assert row["devices"]["held"] is True and row["problems"] == [], row
