"""A node with a kernel of its own: cgroup v2, jobs that are held to what they asked for, reboots and power cuts.

On QEMU it takes minutes, so that is tried with SLURM_PAM_FULL=1.
"""

import time

import pytest
from harness import network
from harness.full import LONG
from harness.node import Node
from harness.session import session

# The controllers that each has, its processors, and what a job is held to that asks for nothing.
MEMORY = str(200 * 1024**2)
MACHINES = {
    "uml": ({"cpu", "io", "memory", "pids"}, 1, {"memory.max": MEMORY}),
    "qemu": ({"cpu", "cpuset", "io", "memory", "pids"}, 2, {"memory.max": MEMORY, "cpuset.cpus": "0"}),
}


@pytest.fixture(scope="module", params=["uml", pytest.param("qemu", marks=LONG)])
def own_kernel(machine, request):
    with Node.boot("debian13", machine=request.param) as booted:
        booted.has = MACHINES[request.param]
        yield booted


def test_it_has_cgroup_v2_alone_and_a_kernel_of_its_own(own_kernel):
    assert own_kernel.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    controllers = own_kernel.read("/sys/fs/cgroup/cgroup.controllers").split()
    wanted, processors, _ = own_kernel.has
    assert wanted <= set(controllers) and ("cpuset" in controllers) == ("cpuset" in wanted)
    assert own_kernel.run(["nproc"]).stdout == f"{processors}\n"


def test_its_clock_is_right(own_kernel):
    there = int(own_kernel.run(["date", "+%s"]).stdout)
    assert abs(there - time.time()) < 60


def test_commands_have_their_streams_and_their_status(own_kernel):
    said = own_kernel.run(["sh", "-c", "cat; echo bad >&2; exit 7"], input="in\n")
    assert (said.rc, said.stdout, said.stderr) == (7, "in\n", "bad\n")
    assert own_kernel.run(["id", "-un"], user="bob").stdout == "bob\n"
    assert own_kernel.run(["no-such-program"]).rc == 127


@pytest.mark.parametrize("origin", [network.ADMIN_ORIGIN, network.OTHER_ORIGIN])
def test_logins_come_from_where_they_come_from(own_kernel, origin):
    assert own_kernel.ssh("alice", "echo $SSH_CLIENT", origin=origin).stdout.split()[0] == origin


def test_a_job_is_held_to_its_limits(own_kernel):
    *_, limits = own_kernel.has
    job = own_kernel.job("alice")
    assert own_kernel.job_limits(job) == limits
    own_kernel.cancel(job)


def test_reboot_and_power_cut(own_kernel):
    own_kernel.write("/root/kept", "kept\n")
    own_kernel.run(["sync"], check=True)
    ids = [own_kernel.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout]
    with session(own_kernel, "bob") as open_session:
        own_kernel.reboot()
        assert open_session.ended()
    ids.append(own_kernel.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout)
    own_kernel.power_cut()
    ids.append(own_kernel.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout)
    assert len(set(ids)) == 3
    assert own_kernel.read("/root/kept") == "kept\n"
    assert own_kernel.ssh("bob", "id -un").stdout == "bob\n"
