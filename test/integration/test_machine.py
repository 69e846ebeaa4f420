"""A node with a kernel of its own: cgroup v2, jobs that are held to their memory, reboots and power cuts."""

import pytest
from harness import network
from harness.node import Node
from harness.session import session


@pytest.fixture(scope="module")
def own_kernel(machine):
    with Node.boot("debian13", machine="uml") as booted:
        yield booted


def test_it_has_cgroup_v2_alone_and_a_kernel_of_its_own(own_kernel):
    assert own_kernel.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    controllers = own_kernel.read("/sys/fs/cgroup/cgroup.controllers").split()
    assert {"cpu", "memory", "pids"} <= set(controllers)


def test_commands_have_their_streams_and_their_status(own_kernel):
    said = own_kernel.run(["sh", "-c", "cat; echo bad >&2; exit 7"], input="in\n")
    assert (said.rc, said.stdout, said.stderr) == (7, "in\n", "bad\n")
    assert own_kernel.run(["id", "-un"], user="bob").stdout == "bob\n"
    assert own_kernel.run(["no-such-program"]).rc == 127


@pytest.mark.parametrize("origin", [network.ADMIN_ORIGIN, network.OTHER_ORIGIN])
def test_logins_come_from_where_they_come_from(own_kernel, origin):
    assert own_kernel.ssh("alice", "echo $SSH_CLIENT", origin=origin).stdout.split()[0] == origin


def test_a_job_is_held_to_its_memory(own_kernel):
    job = own_kernel.job("alice")
    assert own_kernel.memory_limit(job) == str(200 * 1024**2)
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
