"""What each rule of an account stack would answer to a login: Slurm's by the jobs, others as they say themselves."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _pam_ask import Rule, Said, rule_of
from _pam_expand import Handler


@dataclass(frozen=True)
class Login:
    """Who logs in, and what this node tells of them."""

    account: pwd.struct_passwd
    access: str | None  # the rule of the access file that fits
    access_file: str
    jobs: list[dict[str, Any]]  # the user's
    said: Mapping[Rule, Said]  # what this node's modules answered
    service: str = "sshd"  # the PAM service that sshd asks
    node: str | None = None  # the NodeName by which Slurm's module looks for jobs, if it is known

    @property
    def is_root(self) -> bool:
        return self.account.pw_uid == 0

    @property
    def is_administrator(self) -> bool:
        return (self.access or "").startswith("+")

    def answer(self, rule: Handler) -> str:
        """What a rule's module would answer. One that was not asked, or could not be, is taken to succeed."""
        if answers := _SLURM.get(name(rule)):
            return answers(self, rule["args"])
        if code := self.said[rule_of(rule)].code:
            return code
        # Nobody is an administrator because a question failed.
        return "perm_denied" if self.is_access(rule) and not self.is_administrator else "success"

    def unasked(self, rule: Handler) -> Said | None:
        """Why a rule's module has not answered itself, if it has not; Slurm's never do."""
        said = None if is_slurm(rule) else self.said[rule_of(rule)]
        return None if said is None or said.code else said

    def is_access(self, rule: Handler) -> bool:
        """Whether it is the rule that asks our access file."""
        return name(rule) == "pam_access.so" and f"accessfile={self.access_file}" in rule["args"]

    def is_ours(self, rule: Handler) -> bool:
        return self.is_access(rule) or is_slurm(rule)


def name(rule: Handler) -> str:
    """What a rule's module is known by: its name if it is one of libpam's own, else its path; empty if it has none."""
    return rule["name"] or ""


def is_slurm(rule: Handler) -> bool:
    return name(rule) in _SLURM


# Slurm


def _slurm(login: Login, args: list[str]) -> str:
    return "success" if login.is_root or _found(login.jobs, login.node) else "perm_denied"


def _slurm_adopt(login: Login, args: list[str]) -> str:
    return "ignore" if login.is_root or not acts_for(login.service, args) else adopted(login.jobs, args, login.node)[0]


_SLURM: dict[str, Callable[[Login, list[str]], str]] = {
    "pam_slurm.so": _slurm,
    "pam_slurm_adopt.so": _slurm_adopt,
}


def acts_for(service: str, args: list[str]) -> bool:
    """Whether pam_slurm_adopt does anything for a PAM service: that which it is told of, else sshd."""
    told = [arg.partition("=")[2] for arg in args if arg.startswith("service=")]
    return (told or ["sshd"])[-1] in (service, "*")


def _found(jobs: list[dict[str, Any]], node: str | None) -> list[dict[str, Any]]:
    """The jobs that Slurm's module finds, which looks for those of one NodeName."""
    return [job for job in jobs if node in (None, job["node"])]


def adopted(jobs: list[dict[str, Any]], args: list[str], node: str | None = None) -> tuple[str, list[str]]:
    """
    What pam_slurm_adopt answers a user with these jobs, and what there is to say about it.

    Of several jobs it takes the one that the connection comes from, if slurmd on the origin knows it, else it does what
    action_unknown says (pam_sm_acct_mgmt in contribs/pam_slurm_adopt/pam_slurm_adopt.c).
    """
    options = dict(arg.split("=", 1) for arg in args if "=" in arg)
    node = options.get("nodename", node)
    found = _found(jobs, node)
    seen, unseen = ([str(job["job"]) for job in found if job["extern"] is extern] for extern in (True, False))
    notes = [
        f"Job {job['job']} began under the NodeName {job['node']}, and pam_slurm_adopt looks for jobs of {node}, so it "
        "does not see it. Give this host the name that slurm.conf has for it, or set "
        f"slurm_pam:pam_slurm_adopt:nodename: {job['node']}."
        for job in jobs
        if job not in found
    ]
    notes += [f"Job {job} has no extern step, so pam_slurm_adopt does not see it." for job in unseen]
    if not seen:
        return "ignore" if options.get("action_no_jobs") == "ignore" else "perm_denied", notes
    if len(seen) > 1 and options.get("action_unknown") == "deny":
        notes.append(
            f"From a host that is not a node of one of the jobs {', '.join(seen)}, Slurm cannot tell to which of them "
            "the login belongs, and slurm_pam:pam_slurm_adopt:action_unknown is deny."
        )
        return "perm_denied", notes
    return "success", notes
