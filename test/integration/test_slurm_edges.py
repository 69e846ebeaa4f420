"""slurm.conf as it comes: what Slurm itself refuses, names that are as good, and which node of Slurm's this is."""

import contextlib

import pytest
from harness.formula import DENIED, applied, apply, failed, settings, sync
from harness.node import BATCH_STEP

CONF = "/etc/slurm/slurm.conf"
ENFORCE = {"manage": "enforce"}


@pytest.fixture(scope="module", autouse=True)
def synced(node):
    settings(node)
    sync(node)


@contextlib.contextmanager
def conf(node, **lines):
    """slurm.conf with other words for the rest of these lines, and Slurm running with it."""
    before = node.read(CONF)
    text = "".join(
        next((f"{key}{words}\n" for key, words in lines.items() if line.startswith(key)), line)
        for line in before.splitlines(keepends=True)
    )
    node.write(CONF, text)
    try:
        restart(node)
        yield
    finally:
        node.write(CONF, before)
        restart(node)


def restart(node):
    _start(node)
    node.until(lambda: "idle" in node.run(["sinfo", "--noheader", "--format=%T"]).stdout, "an idle node")


def _start(node):
    # systemd has a limit of starts, which tests soon come to.
    node.run(["systemctl", "reset-failed", "slurmctld", "slurmd"])
    node.run(["systemctl", "restart", "slurmctld", "slurmd"])


def told(node, kind, words):
    found = node.salt("slurm_pam.preflight")
    assert any(words in text for text in found[kind]), found
    return found


REFUSED = {
    "words that exclude each other": ("PrologFlags=NoHold", {}, "NoHold"),
    "no such flag": ("PrologFlags=Contain", {"settings": {"PrologFlags": ["Contain", "Bogus"]}}, "Bogus"),
    "no such key": ("PrologFlags=Contain", {"settings": {"NoSuchKey": "1"}}, "NoSuchKey"),
}


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_what_slurm_refuses_is_not_put_in_place(node, case, test):
    line, sections, words = REFUSED[case]
    before = node.read(CONF)
    node.write(CONF, before.replace("PrologFlags=Contain", line))
    try:
        written = node.read(CONF)
        settings(node, mode="adopt", slurm={**ENFORCE, **sections})
        told(node, "problems", words)
        results = apply(node, test=test)
        assert words in failed(results)["slurm_pam-ready"]
        assert node.read(CONF) == written
    finally:
        node.write(CONF, before)
    assert node.run(["scontrol", "show", "hostnames", "x"]).ok


def test_short_names_and_defaults_are_as_good(node):
    settings(node)
    with conf(node, TaskPlugin="=affinity,cgroup", ProctrackType="=proctrack/cgroup"):
        assert node.salt("slurm_pam.preflight")["problems"] == []
    before = node.read(CONF)
    with conf(node, ProctrackType="=proctrack/cgroup"):
        text = node.read(CONF).replace("ProctrackType=proctrack/cgroup\n", "")
        node.write(CONF, text.replace("task/cgroup", "cgroup"))
        restart(node)
        settings(node, slurm=ENFORCE)
        assert node.salt("slurm_pam.preflight")["problems"] == []
        assert node.salt("slurm_conf.plan", {"TaskPlugin": ["task/cgroup"], "ProctrackType": "proctrack/cgroup"}) == {}
    assert node.read(CONF) == before


# Which node this is


def test_a_node_that_slurm_knows_by_another_name(node):
    """With its host in slurm.conf, Slurm's module finds the jobs by itself; the formula says nothing, and is right."""
    settings(node)
    line = next(line for line in node.read(CONF).splitlines() if line.startswith("NodeName=node "))
    named = f"=cn1 NodeHostname=node {line.partition(' ')[2]}"
    with conf(node, NodeName=named, PartitionName="=p Nodes=cn1 Default=YES"):
        assert node.salt("slurm_pam.preflight")["problems"] == []
        applied(node)
        assert DENIED in node.ssh("alice").stderr
        submit = ["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep infinity"]
        job = node.run(submit, user="alice", check=True, cwd="/").stdout.strip()
        running = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
        node.wait(f"test -S {BATCH_STEP.format('cn1', job)}", "the job")
        assert f"job_{job}/" in node.ssh("alice", "cat /proc/self/cgroup").stdout
        node.run(["scancel", job], check=True)
        node.until(lambda: not node.run(running).stdout.strip(), "the end of the job")
        applied(node, "slurm_pam.clean")


def test_a_node_in_no_partition(node):
    settings(node)
    line = next(line for line in node.read(CONF).splitlines() if line.startswith("NodeName=node "))
    ghost = f"=node {line.partition(' ')[2]}\nNodeName=ghost State=FUTURE"
    before = node.read(CONF)
    node.write(CONF, before.replace(line, f"NodeName{ghost}").replace("Nodes=node", "Nodes=ghost"))
    try:
        _start(node)
        node.until(lambda: "NodeName=node" in node.run(["scontrol", "show", "node", "node"]).stdout, "slurmctld")
        told(node, "problems", "The node node is in no partition of Slurm")
    finally:
        node.write(CONF, before)
        restart(node)


def test_a_name_that_slurm_does_not_know(node):
    settings(node, pam_slurm_adopt={"nodename": "cn9"})
    told(node, "problems", "slurmctld knows no node cn9, which slurm_pam:pam_slurm_adopt:nodename names")


def test_a_slurmctld_that_is_down_stops_nothing(node):
    settings(node)
    node.run(["systemctl", "stop", "slurmctld"], check=True)
    try:
        found = told(node, "warnings", "slurmctld did not say what it knows of this node")
        assert found["problems"] == []
    finally:
        restart(node)
