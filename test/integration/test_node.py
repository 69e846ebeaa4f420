"""The compute node that the other tests stand on: what a login finds on it, and that nothing of it stays behind."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import network
from harness.cgroups import ROOT
from harness.formula import settings, sync
from harness.image import USERS
from harness.node import Node
from harness.paths import RUN
from harness.salt_tree import SALTS
from harness.session import session
from harness.site import machine as machine_name

FAMILIES = {"sle15": ("Suse", "15.5"), "debian12": ("Debian", "12"), "debian13": ("Debian", "13")}
# The other layouts are looked at where they are tried.
LOOKED_AT = ["sle15", "sle15-directory", "debian12", "debian13"]
every_layout = pytest.mark.parametrize("layout", LOOKED_AT, indirect=True, scope="module")


@every_layout
@pytest.mark.parametrize("user", ["root", *USERS])
@pytest.mark.parametrize("origin", [network.ADMIN_ORIGIN, network.OTHER_ORIGIN])
def test_everyone_logs_in_from_everywhere(node, user, origin):
    seen = node.ssh(user, "id -un; echo $SSH_CLIENT", origin=origin)
    assert seen.ok, seen
    assert [line.split()[0] for line in seen.stdout.splitlines()] == [user, origin]


@every_layout
def test_password_logs_in_a_user(node):
    assert node.ssh("alice", "id -un", method="password").stdout == "alice\n"


@every_layout
def test_salt_knows_the_platform(node, layout):
    family, release = FAMILIES[layout.partition("-")[0]]
    assert node.salt("grains.item", "os_family", "osrelease") == {"os_family": family, "osrelease": release}


@every_layout
def test_job_runs_apart_from_the_session_of_its_user(node):
    job = node.job("alice")
    step = f"uid_{node.uid('alice')}/job_{job}/step_extern"
    containers = node.run(["find", "/run/slurm-cgroup", "/sys/fs/cgroup", "-path", f"*/{step}"]).stdout
    assert step in containers
    assert step not in node.ssh("alice", "cat /proc/self/cgroup").stdout
    node.cancel(job)
    assert not node.run(["find", "/run/slurm-cgroup", "/sys/fs/cgroup", "-path", f"*/{step}"]).stdout


@every_layout
def test_no_unit_has_failed(node):
    assert node.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout == ""


def test_snapshot_tells_every_kind_of_change(fresh_node):
    before = fresh_node.snapshot("/etc")
    assert fresh_node.snapshot("/etc") == before
    change = (
        "echo >/etc/new; chmod 600 /etc/hosts; chown bob /etc/fstab; ln -sf x /etc/pam.d/common-auth; echo >>/etc/motd"
    )
    fresh_node.run(["sh", "-c", change], check=True)
    after = fresh_node.snapshot("/etc")
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed == {"/etc/new", "/etc/hosts", "/etc/fstab", "/etc/pam.d/common-auth", "/etc/motd"}


def test_salt_leaves_etc_alone(fresh_node):
    before = fresh_node.snapshot("/etc")
    assert fresh_node.salt("test.ping") is True
    assert fresh_node.salt("pillar.items") == {}
    assert fresh_node.snapshot("/etc") == before


def _lasting(answer):
    """Without what differs from one call to the next by itself."""
    if isinstance(answer, dict):
        passing = ("duration", "start_time", "pid")
        return {key: _lasting(value) for key, value in answer.items() if key not in passing}
    return answer


def _told(text):
    # Where Salt has only an error to tell, that is no JSON.
    with contextlib.suppress(ValueError):
        return _lasting(json.loads(text))
    return text


@pytest.fixture(scope="module")
def synced(node):
    settings(node)
    sync(node)
    minion = node.read("/etc/salt/minion")
    node.write("/etc/salt/minion", minion.replace("grains_cache: True", "grains_cache: False"))
    yield node
    node.write("/etc/salt/minion", minion)


@pytest.mark.parametrize("salt", SALTS, indirect=True, scope="module")
@pytest.mark.parametrize(
    "words",
    [
        ["test.ping"],
        ["grains.items"],
        ["sys.list_functions"],
        ["test.fib"],
        # By what a module calls itself, and in none.
        ["pkg.version", "bash"],
        ["test.nowhere"],
        ["nowhere.at_all"],
        ["state.apply", "slurm_pam", "test=True", "--retcode-passthrough"],
        ["slurm_pam.audit", "--retcode-passthrough"],
        ["test.ping", "--no-such-option"],
    ],
    ids=" ".join,
)
def test_salt_that_forks_answers_as_salt_call_does(synced, words):
    words = ["salt-call", "--local", "--out=json", "--log-level=error", *words]
    forked, started = synced.warm.call(*words), synced.run(words)
    assert (forked.rc, forked.stderr) == (started.rc, started.stderr)
    assert _told(forked.stdout) == _told(started.stdout)


def test_salt_that_forks_is_there_again_after_its_end(node):
    node.salt("test.ping")
    node.warm.end()
    assert node.salt("test.ping") is True


def test_session_stays_open_until_it_ends(node):
    with session(node, "bob") as open_session:
        assert open_session.ask("id -un") == "bob\n"
        assert open_session.ask("printf half") == "half"
        assert not open_session.ended(patience=0)
        node.run(["pkill", "-u", "bob"])
        assert open_session.ended()


def test_two_nodes_at_once_and_nothing_left(machine):
    with Node.boot() as one, Node.boot() as other:
        names = [machine_name(booted.site.name, booted.name) for booted in (one, other)]
        one.run(["systemctl", "stop", "slurmd"], check=True)
        assert other.run(["systemctl", "is-active", "slurmd"]).stdout == "active\n"
        assert _traces(names)
    assert not _traces(names)


def test_nodes_of_a_site_are_one_cluster(site):
    cluster = site(["head", "one"], {"cpu": ["head", "one"], "gpu": ["one"]})
    head, one = (Node.start(cluster, name) for name in cluster.hosts)
    job = one.job("alice")
    assert head.run(["squeue", "--noheader", "--format=%i %N %P"]).stdout.split() == [str(job), "one", "cpu"]
    assert [booted.ssh("bob", "hostname").stdout for booted in (head, one)] == ["head\n", "one\n"]


def _traces(names):
    """What this machine shows of these nodes."""
    mounts = subprocess.run(
        ["findmnt", "--noheadings", "--output", "TARGET"], capture_output=True, text=True, check=True
    )
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    seen = [line for line in (mounts.stdout + namespaces.stdout).splitlines() if any(name in line for name in names)]
    seen += [line for line in mounts.stdout.splitlines() if any(name.split("-")[2] in line for name in names)]
    # Others make and remove theirs meanwhile.
    seen += [Path(above, name) for above, below, _ in os.walk(ROOT) for name in names if name in below]
    return seen + [path for name in names for path in RUN.glob(name.split("-")[2])]
