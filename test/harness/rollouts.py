"""Rollouts over a real master and real minions: the cluster for them, one of them, and what it came to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import yaml

from harness.cluster import Cluster
from harness.formula import EXAMPLE

HOSTS = ["head", "cn1", "cn2", "cn3", "gpu1"]
PARTITIONS = {"batch": ["head", "cn1", "cn2", "cn3"], "gpu": ["gpu1"]}
TARGETS = HOSTS[1:]
PROBES = [
    {"command": "ssh -o BatchMode=yes admin@{node} true"},
    {"command": "ssh -o BatchMode=yes alice@{node} true", "expect": "deny", "says": "you have no active jobs"},
]
# What an apply keeps for taking it back: there is something in it until that was done.
KEPT = "/var/lib/slurm_pam"


@contextlib.contextmanager
def boot() -> Iterator[Cluster]:
    """Its nodes are open, and its master has never synced its runners."""
    with Cluster.boot(HOSTS, HOSTS, PARTITIONS) as cluster:
        cluster.master.pillar("slurm_pam", yaml.safe_dump({"slurm_pam": EXAMPLE}))
        cluster.master.login_everywhere()
        yield cluster


def reopen(cluster: Cluster) -> None:
    """All nodes open, and no rollout remembered."""
    touched = [name for name in TARGETS if cluster.nodes[name].run(["find", KEPT, "-mindepth", "1"]).stdout]
    if touched:
        answers = cluster.master.salt(",".join(touched), "state.apply", "slurm_pam.clean", targeting="list")
        assert sorted(answers) == sorted(touched), answers
    cluster.master.runner("slurm_pam.forget")


def command(**arguments: object) -> list[str]:
    """The words of salt-run for a rollout with these arguments instead of the usual ones."""
    settings = {"nodes": "cn* or gpu*", "canary": "cn1", "batch": 1, "confirm": 240, "probes": PROBES, **arguments}
    return ["state.orch", "slurm_pam.rollout", f"pillar={json.dumps({'rollout': settings})}", "--out=json"]


def rollout(cluster: Cluster, **arguments: object) -> tuple[dict, list[str]]:
    """The state of the orchestration and the lines it said on the way."""
    done = cluster.master.runner(*command(**arguments))
    (states,) = json.loads(done.stdout[done.stdout.index("{") :])["data"].values()
    (state,) = states.values()
    assert (done.rc == 0) == state["result"]
    return state, [line for line in done.stderr.splitlines() if line[:1].isdigit()]


def became(state: dict) -> dict[str, str]:
    return {name: node["state"] for name, node in state["changes"]["return"]["nodes"].items()}


def reason(state: dict, name: str) -> str:
    return state["changes"]["return"]["nodes"][name]["reason"]


def closed(cluster: Cluster) -> list[str]:
    """The nodes that turn a user without a job away; an administrator gets in everywhere."""
    assert all(cluster.nodes[name].ssh("admin").ok for name in TARGETS)
    return [name for name in TARGETS if not cluster.nodes[name].ssh("alice").ok]
