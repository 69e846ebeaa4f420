"""What people want of a session in a job: their GPUs and no others, a runtime directory, podman, nothing left behind.

doc/runtime-directory.md is laid on the node as it is written there.
"""

import os
import re
import stat

import pytest
from harness import debs
from harness.formula import applied, settings
from harness.full import LONG
from harness.node import Node
from harness.paths import REPO
from harness.site import Site

PAGE = (REPO / "doc/runtime-directory.md").read_text()
SLURM, GROUPS = "/etc/slurm/slurm.conf", "/etc/slurm/cgroup.conf"
# Added to, where others are new.
ADDED = ("/etc/fstab", SLURM)
RUNTIME = "/run/slurm_user"
# Devices whose numbers every kernel has, in the place of GPUs: full(4) and random(4).
GPUS = {"/var/gpu0": (1, 7), "/var/gpu1": (1, 8)}
BATCH = "#!/bin/sh\necho $XDG_RUNTIME_DIR >/var/tmp/$SLURM_JOB_ID\nsleep infinity\n"
# A container for one program; keyrings and sysctls are what systemd-nspawn keeps from its guests.
CONTAINERS = "[containers]\nkeyring = false\ndefault_sysctls = []\n"
IMAGE = "mkdir -p /root/tiny/bin && cp /bin/busybox /root/tiny/bin && tar -C /root/tiny -cf /usr/local/share/tiny.tar ."
PODMAN = "podman run --rm --network=none tiny /bin/busybox"


def lay(node):
    """The page's files, and two GPUs."""
    for block in re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (path,) = re.findall(r"^# (/\S+)$", block, re.MULTILINE)
        node.write(path, (node.read(path) if path in ADDED else "") + block)
        if block.startswith("#!"):
            (node.root / path[1:]).chmod(0o755)
    conf = node.read(SLURM).replace(" State=UNKNOWN", " Gres=gpu:2 State=UNKNOWN")
    node.write(SLURM, conf + "GresTypes=gpu\n")
    node.write("/etc/slurm/gres.conf", "".join(f"Name=gpu File={path}\n" for path in GPUS))
    node.write(GROUPS, node.read(GROUPS) + "ConstrainDevices=yes\n")
    for path, numbers in GPUS.items():
        os.mknod(node.root / path[1:], stat.S_IFCHR | 0o666, os.makedev(*numbers))
        (node.root / path[1:]).chmod(0o666)
    node.write("/usr/local/bin/batch", BATCH)


def lay_with_file_systems(node):
    """The same, where Slurm gives each job its own /tmp."""
    lay(node)
    node.write(SLURM, node.read(SLURM) + "JobContainerType=job_container/tmpfs\n")
    node.write("/etc/slurm/job_container.conf", "AutoBasePath=true\nBasePath=/var/jobs\n")


@pytest.fixture(scope="module", params=[lay], ids=["plain"])
def closed(machine, request):
    site = Site.create()
    try:
        node = Node.start(site, "node", "debian12", prepare=request.param)
        settings(node)
        applied(node)
        yield node
        node.warm.end()
    finally:
        site.remove()


@pytest.fixture
def batch(closed):
    """A function that submits a job of alice's with these options, and waits for what it says first."""
    numbers = []

    def submit(*options):
        line = ["sbatch", "--parsable", "--output=/dev/null", "--export=ALL,XDG_RUNTIME_DIR=/run/user/0", *options]
        number = int(closed.run([*line, "/usr/local/bin/batch"], user="alice", check=True, cwd="/").stdout)
        numbers.append(number)
        closed.until(lambda: closed.run(["test", "-s", f"/var/tmp/{number}"]).ok, f"word of job {number}")
        return number

    yield submit
    for number in numbers:
        closed.cancel(number)


def there(node):
    """The runtime directories, with mode and owner."""
    told = node.run(["find", RUNTIME, "-mindepth", "1", "-maxdepth", "1", "-printf", "%f %m %u\n"], check=True).stdout
    return {line for line in told.splitlines() if line.split()[0] not in ("jobs", "lock")}


def test_a_session_sees_the_gpu_of_its_job(closed, batch):
    number = batch("--gres=gpu:1")
    gpus = "".join(f"head -c 0 {path} 2>&1 && echo has {path}; " for path in GPUS)
    mine = set(re.findall(r"has (\S+)", closed.ssh("alice", gpus).stdout))
    assert len(mine) == 1
    (other,) = set(GPUS) - mine
    assert f"{other}' for reading: Operation not permitted" in closed.ssh("alice", gpus).stdout
    closed.cancel(number)
    batch()
    assert "has" not in closed.ssh("alice", gpus).stdout
    # An administrator's session is in no job.
    assert set(re.findall(r"has (\S+)", closed.ssh("admin", gpus).stdout)) == set(GPUS)


def test_the_runtime_directory_of_a_user(closed, batch):
    uid = closed.uid("alice")
    first = batch()
    assert closed.read(f"/var/tmp/{first}") == f"{RUNTIME}/{uid}\n"
    second = batch()
    assert there(closed) == {f"{uid} 700 alice"}
    login = "bash -lc 'echo $XDG_RUNTIME_DIR && touch $XDG_RUNTIME_DIR/file && systemctl --user status'"
    seen = closed.ssh("alice", login)
    assert seen.stdout == f"{RUNTIME}/{uid}\n" and "Failed to connect to bus" in seen.stderr
    assert closed.ssh("alice", "echo $XDG_RUNTIME_DIR").stdout == "\n"
    assert closed.ssh("alice", "bash -lc 'dbus-run-session -- busctl --user status'").ok
    assert closed.ssh("admin", "bash -lc 'echo $XDG_RUNTIME_DIR'").stdout == "\n"
    closed.cancel(first)
    assert closed.ssh("alice", f"cat {RUNTIME}/{uid}/file").ok
    closed.cancel(second)
    closed.until(lambda: not there(closed), "the directory gone")


def test_nobody_takes_a_name_there(closed, batch):
    """Neither before the directory is made nor in its place."""
    batch()
    for line in (f"ln -s /etc {RUNTIME}/x", f"mv {RUNTIME}/$(id -u) {RUNTIME}/x", f"ls {RUNTIME}/jobs/$(id -u)"):
        assert "Permission denied" in closed.ssh("alice", line).stderr


def cgroup_of_the_sleep(node):
    """The cgroups of what a session has left behind, as /proc has them; nothing if it has ended."""
    return node.run(["sh", "-c", "cat /proc/$(pgrep -f '(^|[ /])sleep 1234$')/cgroup"]).stdout


def test_what_a_session_leaves_behind_ends_with_the_job(closed, batch):
    """As VS Code's server is left."""
    number = batch()
    assert closed.ssh("alice", "setsid nohup sleep 1234 >/dev/null 2>&1 </dev/null &").ok
    closed.wait("pgrep -fx 'sleep 1234' >/dev/null", "what is left behind")
    assert f"/job_{number}/" in cgroup_of_the_sleep(closed)
    closed.cancel(number)
    assert not cgroup_of_the_sleep(closed)


@LONG  # it installs podman
def test_podman_and_lingering(closed, batch):
    debs.install(closed, "busybox-static", "crun", "dbus-user-session", "podman", "uidmap")
    closed.write("/etc/containers/containers.conf", CONTAINERS)
    closed.run(["sh", "-ec", IMAGE], check=True)
    number = batch()
    assert closed.ssh("alice", "bash -lc 'podman import --quiet /usr/local/share/tiny.tar tiny'").ok
    told = closed.ssh("alice", f"bash -lc '{PODMAN} id'")
    assert told.stdout.startswith("uid=0") and "Falling back to --cgroup-manager=cgroupfs" in told.stderr
    assert closed.ssh("alice", f"bash -lc '{PODMAN.replace('--rm', '--detach')} sleep 1234'").ok
    closed.wait("pgrep -f '[ /]sleep 1234$' >/dev/null", "what the container runs")
    assert f"/job_{number}/" in cgroup_of_the_sleep(closed)
    closed.cancel(number)
    assert not cgroup_of_the_sleep(closed)

    closed.run(["sh", "-ec", "systemctl unmask systemd-logind; systemctl start systemd-logind"], check=True)
    closed.run(["loginctl", "enable-linger", "alice"], check=True)
    number, runtime = batch(), f"/run/user/{closed.uid('alice')}"
    closed.until(lambda: closed.run(["test", "-S", f"{runtime}/bus"]).ok, "a bus of the user's")
    assert closed.ssh("alice", f"XDG_RUNTIME_DIR={runtime} systemd-run --user sleep 1234").ok
    closed.wait("pgrep -f '(^|/)sleep 1234$' >/dev/null", "what the manager runs")
    assert "/job_" not in cgroup_of_the_sleep(closed)
    closed.cancel(number)
    assert cgroup_of_the_sleep(closed)


@LONG  # a node of its own
@pytest.mark.parametrize("closed", [lay_with_file_systems], ids=["job_container"], indirect=True)
def test_a_session_in_a_job_with_a_file_system_of_its_own(closed, batch):
    """The session has them too, and the runtime directory."""
    number = batch()
    line = "readlink /proc/self/ns/mnt; touch /tmp/mine; touch $XDG_RUNTIME_DIR/file; ls $XDG_RUNTIME_DIR"
    namespace, seen = closed.ssh("alice", f"bash -lc '{line}'").stdout.splitlines()
    assert namespace == closed.run(["sh", "-c", "readlink /proc/$(pgrep -fx 'sleep infinity')/ns/mnt"]).stdout.strip()
    assert namespace != closed.run(["readlink", "/proc/1/ns/mnt"]).stdout.strip()
    assert seen == "file" and closed.read(f"/var/jobs/node/{number}/.{number}/mine") == ""
    closed.cancel(number)
    closed.until(lambda: not there(closed), "the directory gone")
