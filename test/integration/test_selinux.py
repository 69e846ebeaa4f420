"""
A node that enforces SELinux: Debian's policy, on a kernel of its own, that of User Mode Linux and Debian's on QEMU. All
that is run in it, Salt too, is run by a service.

It boots and builds policies for minutes, so it is tried with SLURM_PAM_FULL=1.
"""

import pytest
from harness.figures import four_figures
from harness.formula import DENIED, applied, apply, changed, etc, failed, settings, sync
from harness.full import LONG
from harness.network import ADMIN_ORIGIN
from harness.node import Node

pytestmark = LONG

MACHINES = [("debian13-selinux", "uml"), ("debian13-selinux", "qemu")]
NEEDS = "sshd_t -> var_lib_t:sock_file (write)", "sshd_t -> initrc_t:unix_stream_socket (connectto)"
CHANGES = {what: {"old": "denied", "new": "allowed"} for what in NEEDS}
MODULE, CLEANED = "slurm_pam-selinux-managed", "slurm_pam-clean-selinux-absent"
# Refused with or without the formula: a module of the kernel's that nobody needs, and something of a console's.
NOISE = "module_request", 'comm="agetty"'


@pytest.fixture(scope="module", params=MACHINES, ids=lambda param: param[1])
def node(machine, request):
    layout, kind = request.param
    with Node.boot(layout, machine=kind) as booted:
        booted.run(["setenforce", "1"], check=True)
        settings(booted)
        sync(booted)
        yield booted


@pytest.fixture
def job(node):
    """A job of alice's."""
    number = node.job("alice")
    yield number
    node.cancel(number)


def denied_by_policy(node):
    """What the kernel has refused. The journal would not be read: a service may not."""
    said = node.run(["dmesg"], check=True).stdout
    assert "SELinux:" in said
    denied = (line for line in said.splitlines() if "avc:" in line and "permissive=0" in line)
    return [line for line in denied if not any(noise in line for noise in NOISE)]


def modules(node):
    return node.run(["semodule", "-lfull"], check=True).stdout.split()


def wrong_labels(node):
    """Files with another label than the policy says. Confirm's copies keep those of what they are copies of."""
    copies = "/var/lib/slurm_pam/confirm/before"
    return node.run(["restorecon", "-nvR", "-e", copies, "/etc", "/var/lib/slurm_pam"]).stdout.splitlines()


def test_a_policy_that_keeps_sshd_from_the_step_daemons_stands_against_an_apply(node, job):
    before = etc(node)
    results = apply(node)
    (comment,) = failed(results).values()
    assert "SELinux keeps sshd from the step daemons of Slurm: " + ", ".join(NEEDS) in comment
    assert "(allow sshd_t var_lib_t (sock_file (write)))" in comment
    assert etc(node) == before and not changed(results)


def test_with_a_module_the_four_figures_hold_and_the_labels_are_right(node):
    settings(node, selinux="manage", confirm=6 * 3600)
    assert applied(node)[MODULE]["changes"] == CHANGES
    assert "slurm_pam" in modules(node)
    four_figures(node)
    assert wrong_labels(node) == []
    assert denied_by_policy(node) == []


def test_an_apply_would_change_nothing_now_and_a_session_is_unconfined_in_its_job(node, job):
    session = node.ssh("alice", "cat /proc/self/cgroup; id -Z")
    assert f"/job_{job}/" in session.stdout and ":unconfined_t:" in session.stdout, session
    assert node.salt("slurm_pam.audit")["findings"] == []
    assert node.salt("slurm_pam.explain", "alice", ADMIN_ORIGIN)["permitted"]


def test_what_waits_to_be_confirmed_is_taken_back_with_the_module(node):
    node.salt("slurm_pam_confirm.take_back")
    assert node.ssh("bob").ok and wrong_labels(node) == []
    assert "slurm_pam" not in modules(node)


def test_clean_takes_the_module_back(node, job):
    settings(node, selinux="manage")
    before = etc(node)
    applied(node)
    node.run(["semodule", "-d", "slurm_pam"], check=True)
    explained = node.salt("slurm_pam.explain", "alice", ADMIN_ORIGIN)
    assert explained["permitted"] is False and NEEDS[0] in explained["why"]
    turned_away = node.ssh("alice")
    assert not turned_away.ok and DENIED in turned_away.stderr
    # What an apply would change is what the first one did change.
    (finding,) = node.salt("slurm_pam.audit")["findings"]
    assert finding["subject"] == MODULE and finding["changes"] == CHANGES
    taken_back = {"SELinux module slurm_pam": {"old": "loaded", "new": "not there"}}
    assert apply(node, "slurm_pam.clean", test=True)[CLEANED]["changes"] == taken_back
    assert applied(node, "slurm_pam.clean")[CLEANED]["changes"] == taken_back
    assert "slurm_pam" not in modules(node) and etc(node) == before and wrong_labels(node) == []
    assert applied(node, "slurm_pam.clean")[CLEANED]["changes"] == {}
