"""slurm.conf on a node that runs jobs: checked, enforced with what was there kept, and taken back to the byte."""

import pytest
from harness.formula import applied, apply, changed, etc, failed, settings
from harness.node import Node

CONF = "/etc/slurm/slurm.conf"
SERVICE = "/etc/pam.d/slurm"
ENFORCED = {"slurm": {"manage": "enforce"}}
WITH_PAM = {"slurm": {"manage": "enforce", "use_pam": True}}


def lacking(node):
    """slurm.conf as a site has it that never heard of pam_slurm_adopt."""
    text = node.read(CONF)
    text = text.replace("PrologFlags=Contain", "PrologFlags=Alloc # ours")
    node.write(CONF, text.replace("TaskPlugin=task/cgroup", "TaskPlugin=\\\n task/affinity"))


@pytest.fixture
def lacking_node(machine, layout, salt, site):
    """A node that boots with such a slurm.conf."""
    yield Node.start(site(["node"]), "node", layout, salt, prepare=lacking)


def daemon(node, unit="slurmd"):
    return node.run(["systemctl", "show", "--property=MainPID", "--value", unit], check=True).stdout.strip()


def effective(node, key):
    shown = node.run(["scontrol", "show", "config"], check=True).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith(f"{key} "))
    return line.partition("=")[2].strip().lower()


def restart(node):
    """What the formula leaves to whoever runs the cluster."""
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    node.until(lambda: "idle" in node.run(["sinfo", "--noheader", "--format=%T"]).stdout, "an idle node")


def test_check_names_what_is_missing_and_touches_no_pam_file(lacking_node):
    node = lacking_node
    settings(node)
    before = node.snapshot("/etc")
    (comment,) = failed(apply(node)).values()
    assert "PrologFlags is Alloc (scontrol show config), and has to contain Contain" in comment
    assert "TaskPlugin is task/affinity (scontrol show config), and has to contain task/cgroup" in comment
    assert "restart slurmctld and every slurmd, or set slurm_pam:slurm:manage: enforce" in comment
    assert "ProctrackType" not in comment
    assert node.snapshot("/etc") == before


def test_enforce_keeps_what_is_there_and_is_taken_back(lacking_node):
    node = lacking_node
    before, running = etc(node), daemon(node)
    # pam_slurm_adopt sees no job that started before, so nobody is to be turned away yet.
    settings(node, mode="adopt", **ENFORCED)
    job = node.job("alice")
    first = applied(node)
    assert "slurm_pam-slurm-service-restarted" in changed(first)
    assert daemon(node) != running
    text = node.read(CONF)
    assert "\nPrologFlags=Alloc,Contain # ours\n" in text
    assert "\nTaskPlugin=\\\n task/affinity,task/cgroup\n" in text

    running = daemon(node)
    assert changed(applied(node)) == []
    assert daemon(node) == running
    assert str(job) in node.run(["squeue", "--noheader", "--format=%i", "--states=R"]).stdout
    node.cancel(job)
    restart(node)
    assert effective(node, "PrologFlags") == "alloc,contain"
    assert effective(node, "TaskPlugin") == "task/affinity,task/cgroup"
    job = node.job("alice")
    assert f"/job_{job}/step_extern" in node.ssh("alice", "cat /proc/self/cgroup").stdout

    running = daemon(node)
    cleaned = applied(node, "slurm_pam.clean")
    assert daemon(node) != running
    assert etc(node) == before
    order = list(cleaned)
    assert order.index("slurm_pam-clean-stacks-absent") < order.index("slurm_pam-clean-slurm-conf-absent")
    assert changed(applied(node, "slurm_pam.clean")) == []
    assert str(job) in node.run(["squeue", "--noheader", "--format=%i", "--states=R"]).stdout


def test_use_pam_and_back(fresh_node):
    node = fresh_node
    before = etc(node)
    settings(node, **WITH_PAM)
    applied(node)
    assert node.read(CONF).endswith("# slurm_pam added: UsePAM\nUsePAM=1\n")
    assert "account required pam_unix.so" in node.read(SERVICE)
    restart(node)
    assert effective(node, "UsePam") == "yes"
    # slurmstepd opens the service for a job's user: without the file, this would be `other`.
    assert node.run(["srun", "id", "-un"], user="alice", cwd="/").stdout == "alice\n"
    assert changed(applied(node)) == []

    cleaned = applied(node, "slurm_pam.clean")
    order = list(cleaned)
    restarted = order.index("slurm_pam-clean-slurm-service-restarted")
    assert order.index("slurm_pam-clean-slurm-conf-absent") < restarted
    assert restarted < order.index("slurm_pam-clean-slurm-pam-service-absent")
    assert etc(node) == before
    restart(node)
    assert effective(node, "UsePam") == "no"
    assert node.run(["srun", "id", "-un"], user="alice", cwd="/").stdout == "alice\n"
