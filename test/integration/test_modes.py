"""audit, adopt and enforce on a node with a live job and an open session; switching harms neither."""

import contextlib
import textwrap

import pytest
import yaml
from harness.formula import DENIED, EXAMPLE, applied, apply, changed, settings, sync
from harness.paths import REPO
from harness.session import session


def switch(node, mode, **changes):
    settings(node, mode=mode, **changes)
    applied(node)


@pytest.fixture
def job(node):
    number = node.job("alice")
    yield number
    node.cancel(number)


def in_job(node, job):
    return f"/job_{job}/step_extern" in node.ssh("alice", "cat /proc/self/cgroup").stdout


def test_audit_changes_nothing_and_reports(node, job):
    sync(node)
    settings(node, mode="audit")
    before = node.snapshot("/etc")
    results = applied(node)
    assert node.snapshot("/etc") == before
    assert list(results) == ["slurm_pam-settings", "slurm_pam-ready", "slurm_pam-ready-audited"]
    assert changed(results) == []
    audited = results["slurm_pam-ready-audited"]
    assert "states are not as they should be" in audited["comment"]
    told = " ".join(audited["warnings"])
    assert "slurm_pam-pam-stacks-managed: Would change " in told and "/etc/pam.d/sshd" in told
    assert "slurm_pam-logind-managed" in told
    assert not in_job(node, job)


@pytest.mark.parametrize("part", ["packages", "access", "slurm", "sshd", "pam", "logind"])
def test_audit_changes_nothing_by_any_part(node, part):
    settings(node, mode="audit")
    before = node.snapshot("/etc")
    apply(node, f"slurm_pam.{part}")
    assert node.snapshot("/etc") == before


def test_switching_harms_neither_jobs_nor_sessions(node, job):
    applied(node, "slurm_pam.clean")
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(session(node, user)) for user in ("root", "alice", "bob")]
        for mode in ("adopt", "enforce", "adopt", "audit", "enforce"):
            switch(node, mode)
            assert [login.ask("echo still here") for login in sessions] == ["still here\n"] * 3, mode
            assert node.ssh("root").ok
            assert node.ssh("admin").ok
            assert in_job(node, job), mode
            visit = node.ssh("bob")
            # An audit leaves the node as it was: here, as adopt left it.
            assert visit.ok is (mode != "enforce"), (mode, visit)
            assert (DENIED in visit.stderr) is (mode == "enforce")
            assert changed(applied(node, test=True)) == [], mode
    assert node.run(["squeue", "--noheader", "--format=%T"]).stdout.strip() == "RUNNING"


def test_adopt_turns_nobody_away_even_with_slurm_stopped(node):
    switch(node, "adopt")
    node.run(["systemctl", "stop", "slurmctld", "slurmd"], check=True)
    try:
        assert node.ssh("bob").ok
        assert node.ssh("admin", origin="198.51.100.1").ok
    finally:
        node.run(["systemctl", "start", "slurmctld", "slurmd"], check=True)


def test_the_older_module_turns_away_and_adopts_nothing(node, job):
    switch(node, "enforce", module="pam_slurm")
    assert node.ssh("root").ok
    assert node.ssh("admin").ok
    assert node.ssh("alice").ok
    assert not in_job(node, job)
    assert not node.ssh("bob").ok
    assert "pam_slurm.so" in node.read("/etc/pam.d/slurm-common-account-pc")


def test_root_from_where_the_settings_say(node):
    switch(node, "enforce", access={**EXAMPLE["access"], "root": ["192.0.2.0/24"]})
    assert node.ssh("root").ok
    assert not node.ssh("root", origin="198.51.100.1").ok
    assert node.ssh("admin").ok


def test_audit_holds_on_a_node_that_is_as_it_should_be(node):
    switch(node, "enforce")
    audit = node.salt("slurm_pam.audit")
    assert (audit["holds"], audit["summary"], audit["findings"]) == (True, "This node is as it should be", [])
    done = node.run(["salt-call", "--local", "--retcode-passthrough", "slurm_pam.audit"])
    assert done.rc == 0, done


PROOF = """\
- counterexample: null
  expect: deny
  holds: true
  name: a user without a job is turned away
"""


def test_prove_holds_the_policy_against_the_node_as_it_is(node):
    switch(node, "enforce")
    prove = ["salt-call", "--local", "--out=json", "--retcode-passthrough", "slurm_pam.prove"]
    done = node.run(prove)
    assert done.rc == 0 and all(proof["holds"] for proof in yaml.safe_load(done.stdout)["local"]), done
    shown = node.run([word for word in prove if word != "--out=json"]).stdout
    assert PROOF in shown and textwrap.indent(PROOF, "    ") in (REPO / "README.md").read_text()
    node.run(["sed", "-i", "1i account sufficient pam_permit.so", "/etc/pam.d/sshd"], check=True)
    try:
        done = node.run(prove)
        assert node.ssh("bob").ok
    finally:
        node.run(["sed", "-i", "1d", "/etc/pam.d/sshd"], check=True)
    (broken,) = (proof for proof in yaml.safe_load(done.stdout)["local"] if not proof["holds"])
    assert done.rc != 0
    assert broken["name"] == "a user without a job is turned away"
    decided = {"file": "/etc/pam.d/sshd", "line": 1, "rule": "account sufficient pam_permit.so"}
    assert broken["counterexample"]["decided_by"] == decided
    assert not node.ssh("bob").ok


DRIFT = {
    "logind unmasked": (["systemctl", "unmask", "--now", "systemd-logind"], "slurm_pam-logind-managed"),
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
        ["sed", "-i", "s/-:ALL:ALL/+:ALL:ALL/", "/etc/security/slurm-access.conf"],
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
    switch(node, "enforce")
    command, subject = DRIFT[drift]
    node.run(command, check=True)
    done = node.run(["salt-call", "--local", "--out=json", "--retcode-passthrough", "slurm_pam.audit"])
    found = yaml.safe_load(done.stdout)["local"]
    assert done.rc != 0
    assert found["holds"] is False
    assert subject in [finding["subject"] for finding in found["findings"]], found
    node.run(REPAIR.get(drift, ["true"]), check=True)
    switch(node, "enforce")


def test_audit_finds_a_changed_slurm_conf(node):
    switch(node, "enforce")
    before = node.read("/etc/slurm/slurm.conf")
    node.write("/etc/slurm/slurm.conf", before.replace("PrologFlags=", "#PrologFlags="))
    node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    try:
        found = node.salt("slurm_pam.audit")
    finally:
        node.write("/etc/slurm/slurm.conf", before)
        node.run(["systemctl", "restart", "slurmctld", "slurmd"], check=True)
    assert any("PrologFlags" in finding["found"] for finding in found["findings"]), found
