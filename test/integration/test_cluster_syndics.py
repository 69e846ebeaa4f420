"""A rollout from a master of masters, over minions that only its two syndics know. SLURM_PAM_FULL=1 tries it."""

import json

import pytest
import yaml
from harness.cluster import Cluster
from harness.formula import EXAMPLE
from harness.full import LONG
from harness.salt_tree import HOME

pytestmark = LONG  # it takes several masters

NAMES = ["cn1", "cn2"]
# Each node has a master of its own, for its minion alone, and a syndic that ties it to the master above.
BELOW = """\
interface: 127.0.0.1
auto_accept: True
worker_threads: 2
file_roots: {base: [/srv/formula]}
pillar_roots: {base: [/srv/pillar]}
syndic_master: salt
"""
SYNDIC = "id: syndic-{}\npki_dir: /etc/salt/pki/syndic\nmaster: 127.0.0.1\nacceptance_wait_time: 1\n"
TOP = "base:\n  '*': [slurm_pam]\n"
PILLAR = yaml.safe_dump({"slurm_pam": EXAMPLE})
DAEMONS = ("master", "syndic", "minion")


def daemon(node, name, verb="start"):
    if name == "minion" or verb != "start":
        node.run(["systemctl", verb, f"salt-{name}"], check=True)
        return
    code = f"from salt.scripts import salt_{name}; salt_{name}()"
    command = ["systemd-run", "--quiet", f"--unit=salt-{name}", f"{HOME}/bin/python3.11", "-c", code]
    node.run([*command, "--config-dir=/etc/salt/above" if name == "syndic" else "--config-dir=/etc/salt"], check=True)


@pytest.fixture(scope="module")
def cluster(machine):
    with Cluster.boot(NAMES, [], {"all": NAMES}) as booted:
        master = booted.master
        master.write("/etc/salt/master.d/above.conf", "order_masters: True\n")
        master.restart()
        for name in NAMES:
            files = {
                "/etc/salt/master": BELOW,
                "/etc/salt/above/master": BELOW,
                "/etc/salt/above/minion": SYNDIC.format(name),
                "/etc/salt/minion.d/below.conf": "master: 127.0.0.1\n",
                "/srv/pillar/top.sls": TOP,
                "/srv/pillar/slurm_pam.sls": PILLAR,
            }
            # A syndic of 3008.3 does not come to hear the master above, as far as it was tried.
            node = booted.start(name, salt="3006", files=files, started=False)
            for each in DAEMONS:
                daemon(node, each)
        for name in NAMES:
            master.await_key(f"syndic-{name}")
        master.run(["salt-key", "--yes", "--accept-all"], check=True)
        for name in NAMES:
            node.until(lambda name=name: below(booted, name, "test.ping", patience=5), f"{name}'s answer", 180)
        master.runner("saltutil.sync_runners")
        yield booted


def below(cluster, name, function, *words, patience=90):
    """What a minion answers; `salt --static` on a master of masters, which knows none of them, ends with the first."""
    return cluster.master.salt(name, function, *words, patience=patience, static=True).get(name)


def rollout(cluster, **arguments):
    words = [f"{key}={value}" for key, value in {"canary": "cn1", "batch": 1, "confirm": 240, **arguments}.items()]
    done = cluster.master.runner("slurm_pam.rollout", "cn*", *words, "--out=json")
    return json.loads(done.stdout[done.stdout.index("{") :])


def became(told):
    return {name: node["state"] for name, node in told["nodes"].items()}


def test_a_rollout_closes_the_nodes_below_and_leaves_them_alone_then(cluster):
    told = rollout(cluster)
    assert became(told) == dict.fromkeys(NAMES, "done"), told
    assert [cluster.nodes[name].ssh("alice").ok for name in NAMES] == [False, False]
    assert all(cluster.nodes[name].ssh("admin").ok for name in NAMES)
    assert not any(below(cluster, name, "slurm_pam_confirm.pending") for name in NAMES)
    assert became(rollout(cluster)) == dict.fromkeys(NAMES, "unchanged")
    found = json.loads(cluster.master.runner("slurm_pam.evidence", "cn*", "to=/srv/above", "--out=json").stdout)
    assert found["summary"] == "2 closed", found
