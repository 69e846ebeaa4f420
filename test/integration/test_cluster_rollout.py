"""A rollout over a real master and real minions: node by node while all goes well, and not one further."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
import yaml
from harness.cluster import Cluster
from harness.formula import EXAMPLE, etc

HOSTS = ["head", "cn1", "cn2", "cn3", "gpu1"]
PARTITIONS = {"batch": ["head", "cn1", "cn2", "cn3"], "gpu": ["gpu1"]}
TARGETS = HOSTS[1:]
PROBES = [
    {"command": "ssh -o BatchMode=yes admin@{node} true"},
    {"command": "ssh -o BatchMode=yes alice@{node} true", "expect": "deny", "says": "you have no active jobs"},
]
KIOSK = "[Service]\nPAMName=kiosk\nUser=bob\nExecStart=/bin/sleep 3600\n"
OFF = ["systemctl", "stop", "kiosk"]


@pytest.fixture(scope="module")
def cluster(machine):
    with Cluster.boot(HOSTS, HOSTS, PARTITIONS) as booted:
        master = booted.master
        master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
        master.login_everywhere()
        yield booted


@pytest.fixture
def opened(cluster):
    """All nodes open, and no rollout remembered."""
    cluster.master.salt("cn* or gpu*", "state.apply", "slurm_pam.clean")
    cluster.master.runner("slurm_pam.forget")
    return cluster


def command(**arguments):
    settings = {"nodes": "cn* or gpu*", "canary": "cn1", "batch": 1, "confirm": 240, "probes": PROBES, **arguments}
    return ["state.orch", "slurm_pam.rollout", f"pillar={json.dumps({'rollout': settings})}", "--out=json"]


def rollout(cluster, **arguments):
    """The state of the orchestration and the lines it said on the way."""
    done = cluster.master.runner(*command(**arguments))
    (states,) = json.loads(done.stdout[done.stdout.index("{") :])["data"].values()
    (state,) = states.values()
    assert (done.rc == 0) == state["result"]
    return state, [line for line in done.stderr.splitlines() if line[:1].isdigit()]


def became(state):
    return {name: node["state"] for name, node in state["changes"]["return"]["nodes"].items()}


def reason(state, name):
    return state["changes"]["return"]["nodes"][name]["reason"]


def closed(cluster):
    """The nodes that turn a user without a job away; an administrator gets in everywhere."""
    assert all(cluster.nodes[name].ssh("admin").ok for name in TARGETS)
    return [name for name in TARGETS if not cluster.nodes[name].ssh("alice").ok]


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
    again, _ = rollout(cluster)
    assert became(again) == dict.fromkeys(TARGETS, "unchanged"), again["changes"]
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


def fake(node, path, script):
    """A program of that name ahead of the node's own, for its minion."""
    node.write(path, f"#!/bin/sh\n{script}\n")
    node.run(["chmod", "755", path], check=True)


def test_what_goes_wrong_on_a_node_is_taken_back_there(opened):
    """One apply fails, one node is not as it should be afterwards, and one cannot be taken back; a fourth is well."""
    wrapper, own = "/usr/local/bin/systemctl", 'exec /usr/bin/systemctl "$@"'
    confirm = "/var/lib/slurm_pam/confirm"
    # slurm_pam.logind is the last that an apply changes, and the first that needs this verb.
    masking = 'case "$*" in *mask*systemd-logind*)'
    drift = "echo account required pam_permit.so >> /etc/pam.d/slurm-common-account-pc"
    broken = f"echo 'echo the disk is full >&2; exit 1' > {confirm}/take-back; exit 1"
    fake(opened.nodes["cn2"], wrapper, f"{masking} exit 1;; esac\n{own}")
    fake(opened.nodes["cn3"], wrapper, f"{masking} {drift};; esac\n{own}")
    fake(opened.nodes["gpu1"], wrapper, f"{masking} {broken};; esac\n{own}")
    before = {name: etc(opened.nodes[name]) for name in ("cn2", "cn3")}
    state, _ = rollout(opened, batch=5, confirm=120)
    for name in ("cn2", "cn3", "gpu1"):
        opened.nodes[name].run(["rm", wrapper], check=True)
    assert became(state) == {"cn1": "done", "cn2": "taken back", "cn3": "taken back", "gpu1": "failed"}, state[
        "changes"
    ]
    assert "slurm_pam-logind-managed: " in reason(state, "cn2")
    assert "after the apply: slurm_pam-pam-stacks-managed" in reason(state, "cn3")
    assert "Taking back failed: " in reason(state, "gpu1") and "the disk is full" in reason(state, "gpu1")
    assert {name: etc(opened.nodes[name]) for name in ("cn2", "cn3")} == before
    assert closed(opened) == ["cn1", "gpu1"]
    state, _ = rollout(opened, batch=5)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]


def test_an_apply_that_hangs_does_not_hold_the_rollout(opened):
    """The others of its batch are done; the node is as it was, also when the apply goes on at last."""
    hanging = opened.nodes["cn2"]
    before = etc(hanging)
    hang = "while [ -e /root/hang ]; do sleep 1; done"
    fake(
        hanging,
        "/usr/local/bin/systemctl",
        f'case "$*" in *mask*systemd-logind*) {hang};; esac\nexec /usr/bin/systemctl "$@"',
    )
    hanging.write("/root/hang", "")
    start = time.monotonic()
    state, _ = rollout(opened, batch=5, confirm=100)
    took = time.monotonic() - start
    assert became(state) == {"cn1": "done", "cn2": "taken back", "cn3": "done", "gpu1": "done"}, state["changes"]
    assert "no answer to state.apply within 60 s; it may still be at it" in reason(state, "cn2")
    assert took < 240
    assert hanging.ssh("alice").ok
    hanging.run(["rm", "/root/hang"], check=True)
    hanging.until(lambda: not opened.master.salt("cn2", "state.running")["cn2"], "apply ended", 90)
    hanging.run(["rm", "/usr/local/bin/systemctl"], check=True)
    assert etc(hanging) == before


def test_a_dead_minion_is_left_out_and_named(opened):
    opened.nodes["cn2"].run(["systemctl", "stop", "salt-minion"], check=True)
    opened.nodes["cn2"].run(["systemctl", "kill", "salt-minion"])
    try:
        state, _ = rollout(opened, batch=5)
        assert state["result"] is False
        assert became(state) == {"cn1": "done", "cn2": "unreachable", "cn3": "done", "gpu1": "done"}, state["changes"]
        assert closed(opened) == ["cn1", "cn3", "gpu1"]
    finally:
        opened.nodes["cn2"].run(["systemctl", "start", "salt-minion"], check=True)
        opened.master.accept("cn2")
    state, _ = rollout(opened, batch=5)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]


def test_a_minion_that_dies_in_the_middle_stops_it_and_the_node_takes_itself_back(opened):
    dying = opened.nodes["cn2"]
    # sshd is asked in the middle of an apply; then the minion is killed with all that it does.
    dying.write(
        "/usr/local/sbin/sshd",
        "#!/bin/sh\n[ -e /var/lib/slurm_pam/confirm/until ] && systemctl kill --signal=KILL salt-minion\n"
        'exec /usr/sbin/sshd "$@"\n',
    )
    dying.run(["chmod", "755", "/usr/local/sbin/sshd"], check=True)
    state, _ = rollout(opened, confirm=60)
    assert state["result"] is False
    assert became(state) == {"cn1": "done", "cn2": "failed", "cn3": "waiting", "gpu1": "waiting"}, state["changes"]
    assert "no answer to state.apply" in reason(state, "cn2")
    assert "takes back by itself within 60 s" in reason(state, "cn2")
    dying.wait("test -e /var/lib/slurm_pam/confirm/taken-back", "take-back", 60)
    assert closed(opened) == ["cn1"]
    dying.run(["rm", "/usr/local/sbin/sshd"], check=True)
    dying.run(["systemctl", "start", "salt-minion"], check=True)
    opened.master.accept("cn2")
    state, _ = rollout(opened)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]


def test_in_waves_with_a_node_that_is_tolerated_and_paused_by_somebody(opened):
    """No call to more than two; a broken node is tolerated; another terminal pauses it and lets it go on."""
    opened.nodes["cn3"].run(["systemctl", "disable", "--now", "slurmd"], check=True)
    order = command(at_once=2, batch=2, tolerate="25%", probes=[])
    with subprocess.Popen(opened.master.command(["salt-run", *order]), stdout=-1, stderr=-1, text=True) as running:
        said = []
        for line in running.stderr:
            said.append(line)
            if "canary: cn1" in line:
                assert "waits ahead of its next batch" in opened.master.runner("slurm_pam.pause").stdout
            if "Paused ahead of nodes, batch 1 of 1" in line:
                counts = json.loads(opened.master.runner("slurm_pam.report", "form=counts", "--out=json").stdout)
                assert counts == {"nodes": {"waiting": 2, "refused": 1, "done": 1}}
                opened.master.runner("slurm_pam.resume")
        states = json.loads(running.stdout.read())["data"].values()
    opened.nodes["cn3"].run(["systemctl", "enable", "--now", "slurmd"], check=True)
    (state,) = next(iter(states)).values()
    assert became(state) == {"cn1": "done", "cn2": "done", "cn3": "refused", "gpu1": "done"}, (state, said)
    assert "no more are open than is tolerated" in state["changes"]["return"]["summary"]
    assert "No rollout is running" in opened.master.runner("slurm_pam.stop").stdout
    assert closed(opened) == ["cn1", "cn2", "gpu1"]


def test_killed_itself_it_goes_on_and_there_is_never_a_second_one(opened):
    words = opened.master.command(["salt-run", *command(batch=5)])
    first = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in first.stderr:
        if "cn3" in line and "applying" in line:
            break
    state, _ = rollout(opened)
    assert "Another rollout is running" in state["changes"]["return"]["summary"]
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    time.sleep(1)
    state, _ = rollout(opened, batch=5)
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]
    assert closed(opened) == TARGETS
    assert not any(opened.master.salt("cn* or gpu*", "slurm_pam_confirm.pending").values())


def test_stops_where_a_session_is_not_held_to_its_job_as_the_settings_ask(opened):
    """cgroup.conf says so on both nodes; slurmd of the second one still runs without."""
    master, conf = opened.master, "/etc/slurm/cgroup.conf"
    master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": {**EXAMPLE, "confine": ["cores"]}}))
    names = ["cn1", "cn2"]
    before = {name: opened.nodes[name].read(conf) for name in names}
    for name in names:
        opened.nodes[name].write(conf, f"{before[name]}ConstrainCores=yes\n")
    opened.nodes["cn1"].run(["systemctl", "restart", "slurmd"], check=True)
    jobs = {name: opened.nodes[name].job("alice", 60) for name in names}
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
