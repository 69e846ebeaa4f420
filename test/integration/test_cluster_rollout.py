"""A rollout over a real master and real minions: node by node while all goes well, and not one further."""

import json
import re

import pytest
import yaml
from harness.formula import EXAMPLE, etc
from harness.rollouts import PROBES, TARGETS, became, boot, closed, reason, reopen, rollout

KIOSK = "[Service]\nPAMName=kiosk\nUser=bob\nExecStart=/bin/sleep 3600\n"
OFF = ["systemctl", "stop", "kiosk"]


@pytest.fixture(scope="module")
def cluster(machine):
    with boot() as booted:
        yield booted


@pytest.fixture
def opened(cluster):
    """All nodes open, and no rollout remembered."""
    reopen(cluster)
    return cluster


def test_a_master_without_the_runner_says_what_to_do(cluster):
    state, _ = rollout(cluster)
    assert state["result"] is False
    assert "salt-run saltutil.sync_runners" in state["name"]
    assert "runners.slurm_pam" in cluster.master.runner("saltutil.sync_runners").stdout


def left_open(cluster):
    """On two nodes, a unit runs by a PAM service that turns nobody away; a third has a process of a user's."""
    for name in ("cn3", "gpu1"):
        node = cluster.nodes[name]
        node.write("/etc/pam.d/kiosk", "account required pam_permit.so\nsession required pam_permit.so\n")
        node.write("/etc/systemd/system/kiosk.service", KIOSK)
        node.run(["sh", "-ec", "systemctl daemon-reload; systemctl start kiosk"], check=True)
    assert cluster.nodes["cn2"].ssh("alice", "setsid sleep 3600 >/dev/null 2>&1 </dev/null &").ok


def test_partition_by_partition_on_minions_that_never_synced(cluster):
    """The canary, then the partition that comes first, then the others; what else lets people in is told."""
    left_open(cluster)
    state, said = rollout(cluster, batch="60%", partitions={"gpu": "gpu*", "batch": "cn*"})
    left = state["changes"]["return"]["open"]
    assert left["doors"]["kiosk"] == {"count": 2, "nodes": "cn3,gpu1"}, left
    assert left["strays"] == {"alice": {"count": 1, "nodes": "cn2"}}, left
    for name, words in {"cn2": ["pkill", "-u", "alice"], "cn3": OFF, "gpu1": OFF}.items():
        cluster.nodes[name].run(words, check=True)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]
    steps = [line.split(" ", 1)[1] for line in said if re.search("(canary|batch .*): ", line)]
    assert steps == ["canary: cn1", "gpu, batch 1 of 1: gpu1", "batch, batch 1 of 1: cn2, cn3"]
    assert closed(cluster) == TARGETS
    assert not any(cluster.master.salt("cn* or gpu*", "slurm_pam_confirm.pending").values())
    again, _ = rollout(cluster, nodes="cn* or gpu* or L@cn1,cn9 and not L@cn8")
    assert became(again) == {**dict.fromkeys(TARGETS, "unchanged"), "cn9": "unreachable"}, again["changes"]
    assert "the master has accepted no key for it" in reason(again, "cn9")
    assert not {"doors", "strays"} & again["changes"]["return"].get("open", {}).keys(), again["changes"]


def test_stops_where_a_login_does_not_end_as_it_should_and_goes_on_there(opened):
    """A user who should have no job on the second node has one: the node is taken back, and the rest is not touched."""
    job = opened.nodes["cn2"].job("alice")
    state, _ = rollout(opened)
    assert state["result"] is False
    assert became(state) == {"cn1": "done", "cn2": "taken back", "cn3": "waiting", "gpu1": "waiting"}, state["changes"]
    assert "alice@cn2 true: expected deny" in reason(state, "cn2")
    assert "Stopped at nodes, batch 1 of 3" in state["changes"]["return"]["summary"]
    opened.nodes["cn2"].cancel(job)
    assert closed(opened) == ["cn1"]
    told = json.loads(opened.master.runner("slurm_pam.report", "--out=json").stdout)
    assert {name: (node["state"], node["reason"]) for name, node in told["nodes"].items()} == {
        name: (node["state"], node["reason"]) for name, node in state["changes"]["return"]["nodes"].items()
    }
    state, said = rollout(opened)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]
    assert not any("canary" in line for line in said)
    assert closed(opened) == TARGETS


def test_a_node_that_cannot_be_closed_stops_it_before_anything_is_changed(opened):
    """Its PAM files say that everyone gets in, whatever comes after."""
    broken = opened.nodes["cn3"]
    before = broken.read("/etc/pam.d/sshd")
    line = "account     requisite   pam_nologin.so"
    broken.write("/etc/pam.d/sshd", before.replace(line, f"account sufficient pam_permit.so\n{line}"))
    state, _ = rollout(opened)
    broken.write("/etc/pam.d/sshd", before)
    assert state["result"] is False
    assert became(state) == {"cn1": "waiting", "cn2": "waiting", "cn3": "refused", "gpu1": "waiting"}, state["changes"]
    assert "/etc/pam.d/sshd" in reason(state, "cn3") and "pam_permit" in reason(state, "cn3")
    assert closed(opened) == []


def test_a_node_without_slurmd_stops_it_before_anything_is_changed(opened):
    """An audit tells it beside what an apply would change; to a rollout it is a reason not to begin."""
    before = {name: etc(opened.nodes[name]) for name in TARGETS}
    opened.nodes["cn3"].run(["systemctl", "disable", "--now", "slurmd"], check=True)
    state, _ = rollout(opened)
    opened.nodes["cn3"].run(["systemctl", "enable", "--now", "slurmd"], check=True)
    assert became(state) == {"cn1": "waiting", "cn2": "waiting", "cn3": "refused", "gpu1": "waiting"}, state["changes"]
    assert "this node does not run slurmd" in reason(state, "cn3")
    assert {name: etc(opened.nodes[name]) for name in TARGETS} == before


def test_a_node_that_still_waits_to_be_confirmed_is_verified_and_confirmed(opened):
    opened.master.salt("cn2", "state.apply", "slurm_pam", 'pillar={"slurm_pam": {"confirm": 250}}')
    assert opened.master.salt("cn2", "slurm_pam_confirm.status")["cn2"]["state"] == "waiting"
    state, _ = rollout(opened, batch=5)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]
    told = opened.master.salt("cn* or gpu*", "slurm_pam_confirm.status").values()
    assert [status["state"] for status in told] == ["nothing"] * len(TARGETS)


def test_a_node_that_took_itself_back_is_not_called_done(opened):
    """Its timer is over just when everything has been verified."""
    probe = {
        "command": "sh -c 'test {node} != cn2 || ssh -o BatchMode=yes root@cn2 sh /var/lib/slurm_pam/confirm/take-back'"
    }
    state, _ = rollout(opened, probes=[*PROBES, probe])
    assert became(state) == {"cn1": "done", "cn2": "taken back", "cn3": "waiting", "gpu1": "waiting"}, state["changes"]
    assert "Too late" in reason(state, "cn2")
    assert closed(opened) == ["cn1"]


def test_stops_where_a_session_is_not_held_to_its_job_as_the_settings_ask(opened):
    """cgroup.conf says so on both nodes; slurmd of the second one still runs without."""
    master, conf = opened.master, "/etc/slurm/cgroup.conf"
    master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": {**EXAMPLE, "confine": ["cores"]}}))
    names = ["cn1", "cn2"]
    before = {name: opened.nodes[name].read(conf) for name in names}
    for name in names:
        opened.nodes[name].write(conf, f"{before[name]}ConstrainCores=yes\n")
    opened.nodes["cn1"].run(["systemctl", "restart", "slurmd"], check=True)
    jobs = {name: opened.nodes[name].job("alice") for name in names}
    probe = {"command": "ssh -o BatchMode=yes alice@{node} cat", "expect": "confined", "user": "alice"}
    state, _ = rollout(opened, nodes="cn1 or cn2", probes=[probe])
    for name in names:
        opened.nodes[name].cancel(jobs[name])
        opened.nodes[name].write(conf, before[name])
    opened.nodes["cn1"].run(["systemctl", "restart", "slurmd"], check=True)
    master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
    assert became(state) == {"cn1": "done", "cn2": "taken back"}, state["changes"]
    told = f"is not held to the cores of its job {jobs['cn2']} (its job has no cgroup for it)"
    assert "ssh -o BatchMode=yes alice@cn2 cat: The session of alice" in reason(state, "cn2")
    assert told in reason(state, "cn2")
