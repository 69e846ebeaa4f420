"""audit, adopt and enforce on a node with a live job and an open session; switching harms neither."""

import subprocess

import pytest
import yaml
from harness.paths import REPO

EXAMPLE = yaml.safe_load((REPO / "pillar.example").read_text())["slurm_pam"]
DENIED = "Access denied by pam_slurm_adopt: you have no active jobs on this node"


def set_mode(node, mode, **settings):
    node.pillar(yaml.safe_dump({"slurm_pam": {**EXAMPLE, "mode": mode, **settings}}))


def apply(node, mode, **settings):
    set_mode(node, mode, **settings)
    results = node.salt("state.apply", "slurm_pam")
    assert all(result["result"] is True for result in results.values()), results
    return results


class Session:
    """An SSH session that stays open and answers line by line."""

    def __init__(self, node, user):
        command, environment = node.ssh_command(user, "cat")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def answers(self):
        self.process.stdin.write("still here\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "still here\n"

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=20)


@pytest.fixture
def job(node):
    number = node.job("alice")
    yield number
    node.cancel(number)


def in_job(node, job):
    return f"/job_{job}/step_extern" in node.ssh("alice", "cat /proc/self/cgroup").stdout


def test_audit_changes_nothing_and_reports(node, job):
    node.salt("saltutil.sync_all")
    set_mode(node, "audit")
    before = node.snapshot("/etc")
    results = node.salt("state.apply", "slurm_pam")
    assert node.snapshot("/etc") == before
    assert {result["__id__"] for result in results.values()} == {"slurm_pam-ready", "slurm_pam-ready-audited"}
    assert all(result["result"] is True and not result["changes"] for result in results.values())
    (audited,) = (result for result in results.values() if result["__id__"] == "slurm_pam-ready-audited")
    assert "states are not as they should be" in audited["comment"]
    told = " ".join(audited["warnings"])
    assert "slurm_pam-pam-stacks-managed: Would change " in told and "/etc/pam.d/sshd" in told
    assert "slurm_pam-logind-masked" in told
    assert not in_job(node, job)


@pytest.mark.parametrize("part", ["packages", "access", "slurm", "sshd", "pam", "logind"])
def test_audit_changes_nothing_by_any_part(node, part):
    set_mode(node, "audit")
    before = node.snapshot("/etc")
    node.salt("state.apply", f"slurm_pam.{part}")
    assert node.snapshot("/etc") == before


def test_switching_harms_neither_jobs_nor_sessions(node, job):
    node.salt("state.apply", "slurm_pam.clean")
    sessions = [Session(node, user) for user in ("root", "alice", "bob")]
    try:
        for mode in ("adopt", "enforce", "adopt", "audit", "enforce"):
            apply(node, mode)
            assert all(session.answers() for session in sessions), mode
            assert node.ssh("root").ok
            assert node.ssh("admin").ok
            assert in_job(node, job), mode
            visit = node.ssh("bob")
            # An audit leaves the node as it was: here, as adopt left it.
            assert visit.ok is (mode != "enforce"), (mode, visit)
            assert (DENIED in visit.stderr) is (mode == "enforce")
            assert node.salt("state.apply", "slurm_pam", test=True) is not None
    finally:
        for session in sessions:
            session.close()
    assert node.run(["squeue", "--noheader", "--format=%T"]).stdout.strip() == "RUNNING"


def test_adopt_turns_nobody_away_even_with_slurm_stopped(node):
    apply(node, "adopt")
    node.run(["systemctl", "stop", "slurmctld", "slurmd"], check=True)
    try:
        assert node.ssh("bob").ok
        assert node.ssh("admin", origin="198.51.100.1").ok
    finally:
        node.run(["systemctl", "start", "slurmctld", "slurmd"], check=True)


def test_the_older_module_turns_away_and_adopts_nothing(node, job):
    apply(node, "enforce", module="pam_slurm")
    assert node.ssh("root").ok
    assert node.ssh("admin").ok
    assert node.ssh("alice").ok
    assert not in_job(node, job)
    assert not node.ssh("bob").ok
    assert "pam_slurm.so" in node.read("/etc/pam.d/slurm-common-account-pc")


def test_root_from_where_the_settings_say(node):
    apply(node, "enforce", access={**EXAMPLE["access"], "root": ["192.0.2.0/24"]})
    assert node.ssh("root").ok
    assert not node.ssh("root", origin="198.51.100.1").ok
    assert node.ssh("admin").ok


def test_audit_holds_on_a_node_that_is_as_it_should_be(node):
    apply(node, "enforce")
    audit = node.salt("slurm_pam.audit")
    assert audit == {"holds": True, "summary": "This node is as it should be", "findings": []}
    done = node.run(["salt-call", "--local", "--retcode-passthrough", "slurm_pam.audit"])
    assert done.rc == 0, done


DRIFT = {
    "logind unmasked": (["systemctl", "unmask", "--now", "systemd-logind"], "slurm_pam-logind-masked"),
    "pam_systemd back": (
        ["sh", "-c", "echo session optional pam_systemd.so >>/etc/pam.d/slurm-common-session-pc"],
        "slurm_pam-pam-stacks-managed",
    ),
    "pam_systemd in sshd's file": (
        ["sh", "-c", "echo session optional pam_systemd.so >>/etc/pam.d/sshd"],
        "slurm_pam-pam-stacks-managed",
    ),
    "sshd's file replaced": (
        ["sed", "-i", "s/slurm-common/common/", "/etc/pam.d/sshd"],
        "slurm_pam-pam-stacks-managed",
    ),
    "common-session has a new module": (
        ["sh", "-c", "echo session optional pam_keyinit.so >>/etc/pam.d/common-session-pc"],
        "slurm_pam-pam-stacks-managed",
    ),
    "the module gone": (
        ["mv", "/lib64/security/pam_slurm_adopt.so", "/lib64/security/pam_slurm_adopt.so.away"],
        "slurm_pam-pam-stacks-managed",
    ),
    "a module that does not load": (
        ["sh", "-c", "cp -p /lib64/security/pam_slurm_adopt.so /tmp && echo >/lib64/security/pam_slurm_adopt.so"],
        "slurm_pam-pam-stacks-managed",
    ),
    "group emptied": (["gpasswd", "--members", "", "hpc_admin_g"], "slurm_pam-access-group-present-hpc_admin_g"),
    "access file changed": (
        ["sed", "-i", "s/- : ALL : ALL/+ : ALL : ALL/", "/etc/security/slurm-access.conf"],
        "slurm_pam-access-file-managed",
    ),
    "sshd's drop-in gone": (["rm", "/etc/ssh/sshd_config.d/00-slurm_pam.conf"], "slurm_pam-sshd-config-managed"),
}
REPAIR = {
    "common-session has a new module": ["sed", "-i", "/pam_keyinit/d", "/etc/pam.d/common-session-pc"],
    "pam_systemd in sshd's file": ["sed", "-i", "/pam_systemd/d", "/etc/pam.d/sshd"],
    "the module gone": ["mv", "/lib64/security/pam_slurm_adopt.so.away", "/lib64/security/pam_slurm_adopt.so"],
    "a module that does not load": ["cp", "-p", "/tmp/pam_slurm_adopt.so", "/lib64/security/pam_slurm_adopt.so"],
}


@pytest.mark.parametrize("drift", DRIFT)
def test_audit_finds_every_kind_of_drift(node, drift):
    apply(node, "enforce")
    command, subject = DRIFT[drift]
    node.run(command, check=True)
    done = node.run(["salt-call", "--local", "--out=json", "--retcode-passthrough", "slurm_pam.audit"])
    found = yaml.safe_load(done.stdout)["local"]
    assert done.rc != 0
    assert found["holds"] is False
    assert subject in [finding["subject"] for finding in found["findings"]], found
    node.run(REPAIR.get(drift, ["true"]), check=True)
    apply(node, "enforce")


def test_audit_finds_a_changed_slurm_conf(node):
    apply(node, "enforce")
    before = node.read("/etc/slurm/slurm.conf")
    node.write("/etc/slurm/slurm.conf", before.replace("PrologFlags=", "#PrologFlags="))
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    try:
        found = node.salt("slurm_pam.audit")
    finally:
        node.write("/etc/slurm/slurm.conf", before)
        node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    assert any("PrologFlags" in finding["found"] for finding in found["findings"]), found
