"""What nodes say of themselves for the page about a cluster."""

from __future__ import annotations

import copy
from typing import Any

from harness.runners import Answer, Minions

# As on a node of SLE 15 that is closed.
STACK = [
    ("required", "pam_nologin.so", "/etc/pam.d/sshd:7", [[1, "any answer"]]),
    ("substack", "slurm-common-account", "/etc/pam.d/sshd:8", [[2, ""]]),
    (
        "[success=1 default=ignore]",
        "pam_access.so nodefgroup accessfile=/etc/security/slurm-access.conf",
        "/etc/pam.d/slurm-common-account-pc:2",
        [[4, "success = jump 1"], [3, "else = ignore"]],
    ),
    (
        "required",
        "pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny",
        "/etc/pam.d/slurm-common-account-pc:3",
        [[4, "success, new_authtok_reqd = ok, ignore = ignore, else = bad"]],
    ),
    ("substack", "common-account", "/etc/pam.d/slurm-common-account-pc:4", [[5, ""]]),
    ("requisite", "pam_unix.so", "/etc/pam.d/common-account-pc:9", [[6, "success = ok"], [7, "else = die"]]),
    ("sufficient", "pam_localuser.so", "/etc/pam.d/common-account-pc:10", [[7, "success = done, else = ignore"]]),
]
LEVELS = (0, 0, 1, 1, 1, 2, 2)
KEEPS = [
    {"name": name, "holds": True, "why": "", "where": ""}
    for name in (
        "root and administrators get in from their origins with Slurm broken",
        "a user with a job gets in",
        "a user without a job is turned away",
        "every login over SSH asks PAM for sshd",
    )
]
BROKEN = {
    "name": "a user without a job is turned away",
    "holds": False,
    "why": "account must refuse, but pam_permit.so lets everyone in ahead of Slurm",
    "where": "/etc/pam.d/sshd:6",
}
CLOSED = {
    "mode": "enforce",
    "version": "1.1.0",
    "since": 1_790_000_000,
    "access": [
        {"may": "yes", "who": "root", "origins": "ALL"},
        {"may": "yes", "who": "(hpc_admin_g)", "origins": "192.0.2.0/24"},
        {"may": "no", "who": "ALL", "origins": "ALL"},
    ],
    "promises": KEEPS,
    "doors": [
        {
            "name": "sshd",
            "what": "SSH",
            "reach": "network",
            "shell": True,
            "setting": "close",
            "stranger": "does not",
            "administrator": "gets in",
            "why": "pam_slurm_adopt.so refuses",
            "where": "/etc/pam.d/slurm-common-account-pc:3",
        }
    ],
    "unseen": [],
    "strays": [],
    "loose": [],
    "drift": [],
    "warnings": [],
    "stack": [
        {"level": level, "control": control, "module": module, "where": where, "leads": leads}
        for level, (control, module, where, leads) in zip(LEVELS, STACK)
    ],
}


def says(**otherwise: Any) -> dict[str, Any]:
    """A closed node, with what is otherwise."""
    return {**copy.deepcopy(CLOSED), **copy.deepcopy(otherwise)}


OPEN = says(promises=[*KEEPS[:2], BROKEN, KEEPS[3]])
DRIFTED = says(drift=[{"subject": "slurm_pam-logind-managed", "found": "systemd-logind is not masked"}])
ADOPTING = says(mode="adopt", warnings=["the cluster runs with a Slurm that is newer than this formula knows"])


def minions(facts: dict[str, Any]) -> Minions:
    """Nodes that say these; None does not answer."""
    answers = {name: {"slurm_pam.evidence": said and Answer(True, said)} for name, said in facts.items()}
    return Minions(list(facts), **answers)
