"""Settings that are wrong: one failed state that names the key, and /etc as it was."""

import pytest
from harness.formula import EXAMPLE, apply, changed, failed, pillar, settings


def with_example(**settings):
    return {"slurm_pam": {**EXAMPLE, **settings}}


REFUSED = {
    "unknown key": (with_example(moed="audit"), ["slurm_pam:moed is not a setting", "did you mean mode?"]),
    "unknown key deep down": (
        with_example(access={**EXAMPLE["access"], "roots": ["ALL"]}),
        ["slurm_pam:access:roots is not a setting", "did you mean root?"],
    ),
    "wrong type": (with_example(access="everyone"), ["slurm_pam:access is 'everyone'", "mapping"]),
    "wrong type at the top": ({"slurm_pam": ["mode"]}, ["slurm_pam is ['mode']", "mapping"]),
    "wrong types everywhere": (
        with_example(sshd={"options": 1}, slurm={"settings": 2}, packages=3, pam={"session_remove": 4}),
        ["slurm_pam:sshd:options", "slurm_pam:slurm:settings", "slurm_pam:packages", "slurm_pam:pam:session_remove"],
    ),
    "unknown mode": (with_example(mode="enforced"), ["slurm_pam:mode is 'enforced'", "did you mean enforce?"]),
    "unknown module": (with_example(module="pam_slurm_adapt"), ["slurm_pam:module", "did you mean pam_slurm_adopt?"]),
    "unknown policy": (
        with_example(pam={"policy": [{"name": "x", "service": "sshd", "call": "acct_mgmt", "expect": "perhaps"}]}),
        ["slurm_pam:pam:policy", "x", "perhaps", "permit"],
    ),
    "unknown option": (
        with_example(pam_slurm_adopt={"action_nojobs": "deny"}),
        ["slurm_pam:pam_slurm_adopt:action_nojobs", "did you mean action_no_jobs?"],
    ),
    "unknown option value": (
        with_example(pam_slurm_adopt={"action_no_jobs": "refuse"}),
        ["slurm_pam:pam_slurm_adopt:action_no_jobs is 'refuse'", "ignore, deny"],
    ),
    "no origin": (
        with_example(access={"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/33"]}}}),
        ["slurm_pam:access:groups:hpc_admin_g:origins", "192.0.2.0/33", "a network"],
    ),
    "no group name": (
        with_example(access={"groups": {"hpc admins": {"origins": ["ALL"]}}}),
        ["slurm_pam:access:groups:hpc admins:local", "a local group has no blanks in its name"],
    ),
    "no user name": (
        with_example(access={"users": {"a:b": {"origins": ["ALL"]}}}),
        ["slurm_pam:access:users:a:b", "a user name"],
    ),
    "a user name that pam_access reads otherwise": (
        with_example(access={"users": {"admin@example.org": {"origins": ["ALL"]}, "all": {"origins": ["ALL"]}}}),
        ["users:admin@example.org", "it reads as user@host", "users:all", "keywords of pam_access, in any case"],
    ),
    "relative path": (
        with_example(access={**EXAMPLE["access"], "file": "slurm-access.conf"}),
        ["slurm_pam:access:file is 'slurm-access.conf'", "absolute path"],
    ),
    "path of a directory": (
        with_example(slurm={"conf": "/etc/slurm"}),
        ["slurm_pam:slurm:conf is '/etc/slurm'", "absolute path of a file"],
    ),
    "no administrator": (with_example(access={}), ["slurm_pam:access names no administrator", "root_only: true"]),
    "an option that sshd refuses": (
        with_example(sshd={"options": {"PermitRootLogin": "sometimes"}}),
        ["slurm_pam:sshd:options", "PermitRootLogin", "sometimes"],
    ),
    "an option that sshd does not know": (
        with_example(sshd={"options": {"PermitRootLogins": "no"}}),
        ["slurm_pam:sshd:options", "PermitRootLogins"],
    ),
    "a partition without nodes": (
        with_example(partitions={"gpu": {"settings": {"mode": "audit"}}}),
        ["slurm_pam:partitions:gpu:nodes is missing", "compound target"],
    ),
    "a partition with a wrong setting": (
        with_example(partitions={"gpu": {"nodes": "elsewhere", "settings": {"logind": "masked"}}}),
        ["slurm_pam:partitions:gpu:settings:logind is 'masked'", "did you mean mask?"],
    ),
}


def refusal(node):
    """The comment of the one failed state of an apply that changes nothing."""
    before = node.snapshot("/etc")
    results = apply(node)
    assert node.snapshot("/etc") == before
    assert set(changed(results)) <= {"slurm_pam-modules-synced"}
    (comment,) = failed(results).values()
    return comment


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_settings_are_one_failed_state_and_no_change(node, case):
    given, told = REFUSED[case]
    pillar(node, given)
    comment = refusal(node)
    assert all(words in comment for words in told), comment


def test_a_node_without_slurmd_is_refused(node):
    settings(node)
    node.run(["systemctl", "disable", "--now", "slurmd"], check=True)
    try:
        comment = refusal(node)
    finally:
        node.run(["systemctl", "enable", "--now", "slurmd"], check=True)
    assert "slurm_pam:require_slurmd" in comment
    assert "is inactive and disabled" in comment


def test_an_option_that_the_installed_slurm_does_not_know(node):
    """The Slurm that runs stays; what is asked for its version says an older one."""
    settings(node, pam_slurm_adopt={"join_container": False})
    node.write("/usr/local/sbin/slurmd", "#!/bin/sh\necho slurm 20.11.4\n")
    node.run(["chmod", "755", "/usr/local/sbin/slurmd"], check=True)
    try:
        comment = refusal(node)
    finally:
        node.run(["rm", "/usr/local/sbin/slurmd"], check=True)
    assert "slurm_pam:pam_slurm_adopt:join_container" in comment
    assert "20.11.4" in comment and "20.11.5" in comment
