"""The formula on a node: what its pillar says, what a run came to, and what /etc is then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from harness.node import Node
from harness.paths import REPO

EXAMPLE = yaml.safe_load((REPO / "pillar.example").read_text())["slurm_pam"]
# Most tests are of a node whose logind is masked, the guide's way, whatever its systemd.
EXAMPLE["logind_kept_from"] = 1000
SYSTEMS = yaml.safe_load((REPO / "FORMULA").read_text())["os"].split(", ")
DENIED = "Access denied by pam_slurm_adopt: you have no active jobs on this node"
# Clean leaves the groups. The rest is what the package manager and the tools that edit groups keep for themselves.
STAYS = ("/etc/group", "/etc/gshadow", "/etc/ld.so.cache", "/etc/zypp", "/etc/apt")


def settings(node: Node, **changes: object) -> None:
    """The pillar of this node: the example, with these sections instead of its own."""
    pillar(node, {"slurm_pam": {**EXAMPLE, **changes}})


def pillar(node: Node, data: object) -> None:
    node.pillar(yaml.safe_dump(data))


def sync(node: Node) -> None:
    """The formula's modules and states on the node, as an apply brings them. No minion has to be told of it."""
    node.salt("saltutil.sync_all", refresh=False)


def apply(node: Node, sls: str | None = "slurm_pam", **keywords: object) -> dict[str, dict]:
    """What each state came to, by its ID, in the order of the run. Without a state file, the highstate is applied."""
    results = node.salt("state.apply", *([sls] if sls else []), **keywords)
    assert isinstance(results, dict), results
    return {result["__id__"]: result for result in sorted(results.values(), key=lambda ret: ret["__run_num__"])}


def applied(node: Node, sls: str | None = "slurm_pam", **keywords: object) -> dict[str, dict]:
    """The same, where no state fails."""
    results = apply(node, sls, **keywords)
    assert not failed(results), failed(results)
    return results


def failed(results: dict[str, dict]) -> dict[str, str]:
    """The comments of the states that failed."""
    return {name: result["comment"] for name, result in results.items() if result["result"] is False}


def changed(results: dict[str, dict]) -> list[str]:
    """The states that changed something, or would."""
    return [name for name, result in results.items() if result["changes"]]


def platform(node: Node) -> tuple[str, str]:
    """The family and the release of this node's system as Salt has them. FORMULA names the system as Salt does."""
    grains = node.salt("grains.item", "os", "os_family", "osrelease")
    assert grains["os"] in SYSTEMS, grains
    return grains["os_family"], grains["osrelease"]


def etc(node: Node) -> dict[str, tuple]:
    """Every file below /etc that clean brings back."""
    return {path: what for path, what in node.snapshot("/etc").items() if not path.startswith(STAYS)}


def hurry(node: Node) -> None:
    """The time to confirm is over for the timer of the last apply: it is as if it had been told to wait a second."""
    timer = "/run/systemd/transient/slurm_pam-take-back*.timer"
    node.run(["sh", "-ec", f"sed -i s/^OnActiveSec=.*/OnActiveSec=1s/ {timer}; systemctl daemon-reload"], check=True)


@contextlib.contextmanager
def commands(node: Node, before: str, after: str) -> Iterator[None]:
    """The node after a command line, and as it was in the end by another one."""
    node.run(["sh", "-ec", before], check=True)
    try:
        yield
    finally:
        node.run(["sh", "-ec", after], check=True)
