"""Nodes that boot closed: from an image in which the formula was applied, and by an apply before sshd starts."""

import json
import threading

import pytest
from harness.formula import DENIED, EXAMPLE, applied, changed
from harness.node import Node
from harness.paths import REPO
from harness.salt_tree import HOME, salt_tree
from harness.shell import run

PILLAR = {**EXAMPLE, "watch": True}
FORMULA = ("slurm_pam", "_modules", "_states")
PATH = f"PATH={HOME}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The build: a chroot with /proc of a system that runs something else, and without its /run.
CHROOT = """
root=$1 salt=$2 repository=$3
shift 3
mount -t proc proc "$root/proc"
mkdir -p "$root{home}"
mount --bind "$salt" "$root{home}"
for part in {parts}; do
    mkdir -p "$root/srv/formula/$part"
    mount --bind "$repository/$part" "$root/srv/formula/$part"
done
env {path} chroot "$root" "$@"
""".format(home=HOME, parts=" ".join(FORMULA), path=PATH)
PROCESSES = "import _processes; print(_processes.in_chroot(), [each.arguments[-1] for each in _processes.running()])"
# doc/images.md has it.
AT_BOOT = (REPO / "doc/images.md").read_text().partition("```ini\n")[2].partition("```")[0]


def in_image(node, *words):
    """Run a command in the files of a node that does not run."""
    shell = ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", CHROOT, "chroot"]
    return run([*shell, str(node.root), str(salt_tree("3008")), str(REPO), *words], check=False)


def salt(node, *words):
    return json.loads(in_image(node, "salt-call", "--local", "--out=json", "--log-level=quiet", *words).stdout)["local"]


def built(node):
    """Close it in the build, as doc/images.md says."""
    node.pillar(json.dumps({"slurm_pam": {**PILLAR, "confirm": 300}}))
    before = (node.root / "etc/pam.d/sshd").read_text()
    results = salt(node, "state.apply", "slurm_pam")
    (refused,) = [state["comment"] for state in results.values() if state["result"] is False]
    assert "slurm_pam:confirm is 300, but no systemd runs this system" in refused
    assert "confirm: 0 for the build" in refused
    assert (node.root / "etc/pam.d/sshd").read_text() == before

    node.pillar(json.dumps({"slurm_pam": PILLAR}))
    results = salt(node, "state.apply", "slurm_pam")
    assert all(state["result"] for state in results.values()), results
    told = {state["__id__"]: state for state in results.values()}
    assert (
        "does not run, and reads its configuration when it starts" in told["slurm_pam-sshd-service-reloaded"]["comment"]
    )
    assert any("No systemd runs this system" in text for text in told["slurm_pam-ready"]["warnings"])
    assert salt(node, "slurm_pam.audit")["holds"] is True
    # Of all that runs on the host, nothing is the image's.
    seen = in_image(node, "env", "PYTHONPATH=/srv/formula/_modules", f"{HOME}/bin/python3", "-c", PROCESSES).stdout
    assert seen == f"True {[PROCESSES]}\n"


def at_boot(node):
    """Have it close itself before sshd starts."""
    node.pillar(json.dumps({"slurm_pam": PILLAR}))
    node.write("/etc/systemd/system/slurm_pam.service", AT_BOOT.replace("/usr/bin/salt-call", f"{HOME}/bin/salt-call"))
    for unit in ("ssh", "slurmd"):
        wants = node.root / f"etc/systemd/system/{unit}.service.requires"
        wants.mkdir(parents=True)
        (wants / "slurm_pam.service").symlink_to("/etc/systemd/system/slurm_pam.service")


@pytest.fixture(scope="module")
def cluster(site):
    return site(["built", "atboot"])


@pytest.mark.parametrize(("name", "prepare"), [("built", built), ("atboot", at_boot)])
def test_closed_from_the_first_second(cluster, name, prepare):
    logins, up = [], threading.Event()

    def knock(node):
        while not up.is_set():
            logins.append(node.ssh("alice"))
            up.wait(0.2)

    def prepared(node):
        prepare(node)
        knocking.append(threading.Thread(target=knock, args=(node,), daemon=True))
        knocking[0].start()

    knocking = []
    try:
        node = Node.start(cluster, name, prepare=prepared)
    finally:
        up.set()
        for each in knocking:
            each.join()
    # From before there was a network until Slurm took jobs.
    assert not any(login.ok for login in logins)
    assert any(DENIED in login.stderr for login in [*logins, node.ssh("alice")])
    assert node.ssh("admin").ok and node.ssh("root").ok
    # The minion finds it closed, as the watch does.
    watch = node.run(["/var/lib/slurm_pam/watch"])
    assert watch.ok, watch.stdout
    results = applied(node)
    assert changed(results) == []
    assert not any("No systemd" in told for told in results["slurm_pam-ready"].get("warnings", []))
    job = node.job("alice")
    assert f"/job_{job}" in node.ssh("alice", "cat /proc/self/cgroup").stdout
    node.cancel(job)
