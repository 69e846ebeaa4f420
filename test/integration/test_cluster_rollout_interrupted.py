"""A rollout that meets what ends in the middle: applies, minions, and the rollout itself."""

import contextlib
import json
import os
import signal
import subprocess

import pytest
from harness.formula import etc, hurry
from harness.rollouts import TARGETS, became, boot, closed, command, reason, reopen, rollout


@pytest.fixture(scope="module")
def cluster(machine):
    with boot() as booted:
        booted.master.runner("saltutil.sync_runners")
        yield booted


@pytest.fixture
def opened(cluster):
    """All nodes open, and no rollout remembered."""
    reopen(cluster)
    return cluster


def fake(node, path, script):
    """A program of that name ahead of the node's own, for its minion."""
    node.write(path, f"#!/bin/sh\n{script}\n")
    node.run(["chmod", "755", path], check=True)


@contextlib.contextmanager
def hanging(node):
    """Its next apply hangs, until this ends."""
    hang = "while [ -e /root/hang ]; do sleep 1; done"
    own = 'exec /usr/bin/systemctl "$@"'
    node.write("/root/hang", "")
    fake(node, "/usr/local/bin/systemctl", f'case "$*" in *mask*systemd-logind*) {hang};; esac\n{own}')
    yield
    node.run(["rm", "/root/hang"], check=True)


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
    node = opened.nodes["cn2"]
    before = etc(node)
    with hanging(node):
        state, _ = rollout(opened, batch=5, confirm=200)
        # It has not been waited for, and what only reads does not wait for it.
        assert opened.master.salt("cn2", "state.running")["cn2"]
        assert opened.master.salt("cn2", "slurm_pam.settings")["cn2"]["mode"] == "enforce"
        assert became(state) == {"cn1": "done", "cn2": "taken back", "cn3": "done", "gpu1": "done"}, state["changes"]
        assert "no answer to state.apply within 120 s; it may still be running" in reason(state, "cn2")
        assert node.ssh("alice").ok
    node.until(lambda: not opened.master.salt("cn2", "state.running")["cn2"], "apply ended")
    node.run(["rm", "/usr/local/bin/systemctl"], check=True)
    assert etc(node) == before


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
    state, _ = rollout(opened, confirm=600)
    assert state["result"] is False
    assert became(state) == {"cn1": "done", "cn2": "failed", "cn3": "waiting", "gpu1": "waiting"}, state["changes"]
    assert "no answer to state.apply" in reason(state, "cn2")
    assert "takes the change back by itself within 600 s" in reason(state, "cn2")
    hurry(dying)
    dying.wait("test -e /var/lib/slurm_pam/confirm/taken-back", "take-back", 180)
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


def begun(opened, *until):
    """A rollout that has come to a line with these words."""
    words = opened.master.command(["salt-run", *command(batch=5)])
    running = subprocess.Popen(words, stdout=-1, stderr=-1, text=True, start_new_session=True)
    for line in running.stderr:
        if all(word in line for word in until):
            return running
    raise AssertionError(running.communicate())


def test_killed_itself_it_goes_on_and_there_is_never_a_second_one(opened):
    """The apply that it leaves on a node is waited for."""
    node = opened.nodes["cn3"]
    with hanging(node):
        first = begun(opened, "cn3", "applying")
        node.until(lambda: opened.master.salt("cn3", "state.running")["cn3"], "the apply runs")
        # However long the second one takes to begin, the first is not over.
        os.killpg(first.pid, signal.SIGSTOP)
        state, _ = rollout(opened)
        assert "Another rollout is running" in state["changes"]["return"]["summary"]
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        second = begun(opened, "nodes, batch 1 of 1: ", "cn3")
        node.until(lambda: opened.master.salt("cn3", "saltutil.is_running", "test.sleep")["cn3"], "the rollout waits")
    told, _ = second.communicate()
    node.run(["rm", "/usr/local/bin/systemctl"], check=True)
    ((state,),) = (states.values() for states in json.loads(told)["data"].values())
    assert became(state) == dict.fromkeys(TARGETS, "done"), state["changes"]
    assert closed(opened) == TARGETS
    assert not any(opened.master.salt("cn* or gpu*", "slurm_pam_confirm.pending").values())
