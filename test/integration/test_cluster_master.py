"""From a master: minions that never synced, partitions that differ, and a node whose master is gone."""

import json

import pytest
import yaml
from harness.cluster import Cluster, cut_off
from harness.formula import EXAMPLE, hurry

HOSTS = ["head", "cn1", "gpu1", "big1"]
# big1 is in both.
PARTITIONS = {"batch": ["head", "cn1", "big1"], "gpu": ["gpu1", "big1"]}
SALTS = {"gpu1": "3006"}
NODES = HOSTS[1:]


@pytest.fixture(scope="module")
def cluster(machine):
    with Cluster.boot(HOSTS, HOSTS, PARTITIONS, SALTS) as booted:
        booted.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
        yield booted


def apply(cluster, target="cn* or gpu* or big*", *words, sls="slurm_pam"):
    """The states of each minion; none of them failed."""
    answers = cluster.master.salt(target, "state.apply", sls, *words)
    for name, states in answers.items():
        assert isinstance(states, dict), (name, states)
        assert [state for state in states.values() if state["result"] is False] == [], name
    return answers


def changed(states):
    return [state["__id__"] for state in states.values() if state["changes"]]


def origins(cluster, node):
    """Each setting of a node: its value, and where it comes from."""
    return cluster.master.salt(node, "slurm_pam.settings", "origins=True")[node]


def test_a_dry_run_on_minions_that_never_synced(cluster):
    """Plain test=True is one clear state; with sync_mods=all it says what would change; neither changes anything."""
    nodes = cluster.nodes
    before = {name: nodes[name].snapshot("/etc") for name in NODES}
    plain = cluster.master.salt("cn* or gpu* or big*", "state.apply", "slurm_pam", "test=True")
    assert sorted(plain) == sorted(NODES)
    for states in plain.values():
        (state,) = states.values()
        assert state["result"] is False and "sync_mods=all" in state["name"]
    dry = apply(cluster, "cn* or gpu* or big*", "test=True", "sync_mods=all")
    assert sorted(dry) == sorted(NODES)
    assert all("slurm_pam-pam-stacks-managed" in changed(states) for states in dry.values())
    assert {name: nodes[name].snapshot("/etc") for name in NODES} == before


def test_one_apply_closes_all_of_them(cluster):
    """Their modules are taken away again first, so that it is the apply that brings them."""
    for name in NODES:
        cluster.nodes[name].run(["rm", "-rf", "/var/cache/salt/minion/extmods"], check=True)
        cluster.nodes[name].run(["systemctl", "restart", "salt-minion"], check=True)
    cluster.master.accept(*NODES)
    assert sorted(apply(cluster)) == sorted(NODES)
    for name in NODES:
        assert cluster.nodes[name].ssh("admin").ok
        assert "you have no active jobs" in cluster.nodes[name].ssh("alice").stderr
    job = cluster.nodes["big1"].job("alice")
    assert f"/job_{job}/step_extern" in cluster.nodes["big1"].ssh("alice", "cat /proc/self/cgroup").stdout
    assert not cluster.nodes["cn1"].ssh("alice").ok
    cluster.nodes["big1"].cancel(job)
    assert not any(changed(states) for states in apply(cluster).values())


def partition(nodes, **settings):
    return {"nodes": nodes, "settings": settings}


GPU = {
    "mode": "adopt",
    "pam_slurm_adopt": {"action_unknown": "deny"},
    "access": {"groups": {"hpc_admin_g": None, "gpu_admin_g": {"origins": ["ALL"], "members": ["bob"]}}},
}
BIG = {"mode": "enforce", "pam_slurm_adopt": {"log_level": "debug"}, "logind": "stop"}


def test_partitions_of_the_settings_and_a_node_in_two(cluster):
    """Another group, mode and option for each; the later partition wins where both say something."""
    settings = {
        **EXAMPLE,
        "partitions": {
            "gpu": partition("E@(gpu|big)\\d+", **GPU),
            "big": partition("big*", **BIG),
            "elsewhere": partition("G@os:NoSuch", mode="audit"),
        },
    }
    cluster.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": settings}, sort_keys=False))
    apply(cluster)
    cn1, gpu1, big1 = (origins(cluster, name) for name in NODES)
    assert cn1["slurm_pam:mode"] == {"value": "enforce", "from": "pillar slurm_pam"}
    assert cn1["slurm_pam:pam:suffix"] == {"value": "-pc", "from": "platforms.yaml:Suse"}
    assert gpu1["slurm_pam:mode"] == {"value": "adopt", "from": "pillar slurm_pam:partitions:gpu"}
    assert gpu1["slurm_pam:access:groups:hpc_admin_g"]["value"] is None
    assert big1["slurm_pam:mode"] == {"value": "enforce", "from": "pillar slurm_pam:partitions:big"}
    assert big1["slurm_pam:pam_slurm_adopt:action_unknown"]["from"] == "pillar slurm_pam:partitions:gpu"
    assert big1["slurm_pam:logind"] == {"value": "stop", "from": "pillar slurm_pam:partitions:big"}
    assert big1["slurm_pam:access:root"] == {"value": ["ALL"], "from": "pillar slurm_pam"}
    assert big1["slurm_pam:slurm:manage"] == {"value": "check", "from": "defaults.yaml"}
    logins = {name: [user for user in ("admin", "alice", "bob") if cluster.nodes[name].ssh(user).ok] for name in NODES}
    assert logins == {"cn1": ["admin"], "gpu1": ["admin", "alice", "bob"], "big1": ["bob"]}
    assert "log_level=debug" in cluster.nodes["big1"].read("/etc/pam.d/slurm-common-account-pc")
    assert not any(changed(states) for states in apply(cluster).values())


def test_partitions_by_pillar_targeting(cluster):
    """A file for each partition, assigned in top.sls and merged by Salt."""
    master = cluster.master
    master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
    master.pillar("gpu", yaml.safe_dump({"slurm_pam": GPU}))
    master.pillar("big", yaml.safe_dump({"slurm_pam": BIG}))
    top = {"*": ["slurm_pam"], "gpu* or big*": [{"match": "compound"}, "gpu"], "big*": ["big"]}
    master.write("/srv/pillar/top.sls", yaml.safe_dump({"base": top}, sort_keys=False))
    assert not any(changed(states) for states in apply(cluster).values())
    big1 = origins(cluster, "big1")
    assert big1["slurm_pam:mode"] == {"value": "enforce", "from": "pillar slurm_pam"}
    assert big1["slurm_pam:access:groups:gpu_admin_g:members"]["value"] == ["bob"]
    master.write("/srv/pillar/top.sls", yaml.safe_dump({"base": {"*": ["slurm_pam"]}}))
    apply(cluster)


@pytest.mark.parametrize(
    ("partitions", "told"),
    [
        ({"gpu": {"settings": {"mode": "adopt"}}}, "slurm_pam:partitions:gpu:nodes is missing"),
        ({"gpu": partition(["gpu1"])}, "slurm_pam:partitions:gpu:nodes is ['gpu1']"),
        ({"gpu": partition("gpu*", partitions={})}, "slurm_pam:partitions:gpu:settings:partitions is not a setting"),
        (["gpu"], "slurm_pam:partitions is ['gpu']"),
        ({"gpu": "gpu*"}, "slurm_pam:partitions:gpu is 'gpu*'"),
        ({"gpu": {"nodes": "gpu*", "setting": {}}}, "did you mean settings?"),
    ],
)
def test_a_partition_that_makes_no_sense_is_named(cluster, partitions, told):
    """On every node alike, whether it would be in that partition or not."""
    cluster.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": {**EXAMPLE, "partitions": partitions}}))
    answers = cluster.master.salt("cn1 or gpu1", "state.apply", "slurm_pam")
    cluster.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
    assert sorted(answers) == ["cn1", "gpu1"]
    for states in answers.values():
        assert isinstance(states, dict), states
        assert [told in state["comment"] for state in states.values() if state["result"] is False] == [True], states


def test_a_partition_without_settings_or_taken_out_is_nothing(cluster):
    partitions = {"gpu": {"nodes": "*"}, "old": None}
    cluster.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": {**EXAMPLE, "partitions": partitions}}))
    assert not any(changed(states) for states in apply(cluster).values())


def test_taken_back_with_the_master_cut_off_and_the_minion_dead(cluster):
    """Open before, closed by an apply that is not confirmed, and open again without anyone's help."""
    node = cluster.nodes["cn1"]
    apply(cluster, "cn1", sls="slurm_pam.clean")
    before = {path: what for path, what in node.snapshot("/etc").items() if not path.startswith("/etc/zypp")}
    apply(cluster, "cn1", f"pillar={json.dumps({'slurm_pam': {'confirm': 900}})}")
    assert not node.ssh("alice").ok
    cluster.master.stop()
    node.run(["systemctl", "kill", "--signal=KILL", "salt-minion"], check=True)
    node.run(["rm", "-rf", "/var/cache/salt"], check=True)
    with cut_off(cluster.site, node):
        # A signal is sent, and systemd hears of the end a moment later.
        node.wait("! systemctl is-active --quiet salt-minion", "the minion dead")
        hurry(node)
        node.wait("test -e /var/lib/slurm_pam/confirm/taken-back", "take-back", 180)
    after = {path: what for path, what in node.snapshot("/etc").items() if not path.startswith("/etc/zypp")}
    assert after == before
    assert node.ssh("alice").ok
    assert node.run(["systemctl", "is-active", "systemd-logind"]).stdout.strip() == "active"
