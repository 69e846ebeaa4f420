"""What each module of an account stack would answer to a login, as far as this node tells."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _pam_expand import Handler


@dataclass(frozen=True)
class Login:
    """Who logs in, and what this node tells of them."""

    account: pwd.struct_passwd
    access: str | None  # the rule of the access file that fits
    access_file: str
    jobs: list[dict[str, Any]]  # the user's
    shadow: Callable[[str], Mapping[str, Any]]  # Salt's shadow.info
    service: str = "sshd"  # the PAM service that sshd asks

    @property
    def is_root(self) -> bool:
        return self.account.pw_uid == 0

    @property
    def is_administrator(self) -> bool:
        return (self.access or "").startswith("+")

    def answer(self, rule: Handler) -> str:
        """What a rule's module would answer. One of which nothing is known is taken to succeed."""
        answers = _ANSWERS.get(name(rule))
        return answers(self, rule["args"]) if answers else "success"

    def is_access(self, rule: Handler) -> bool:
        """Whether it is the rule that asks our access file."""
        return name(rule) == "pam_access.so" and _asks_ours(self, rule["args"])

    def is_ours(self, rule: Handler) -> bool:
        return self.is_access(rule) or is_slurm(rule)


def name(rule: Handler) -> str:
    """What a rule's module is known by: its name if it is one of libpam's own, else its path; empty if it has none."""
    return rule["name"] or ""


def is_known(rule: Handler) -> bool:
    return name(rule) in _ANSWERS


def is_slurm(rule: Handler) -> bool:
    return name(rule) in ("pam_slurm.so", "pam_slurm_adopt.so")


# Modules


def _access(login: Login, args: list[str]) -> str:
    return "perm_denied" if _asks_ours(login, args) and not login.is_administrator else "success"


def _asks_ours(login: Login, args: list[str]) -> bool:
    return f"accessfile={login.access_file}" in args


def _deny(login: Login, args: list[str]) -> str:
    return "perm_denied"


def _nologin(login: Login, args: list[str]) -> str:
    closed = any(map(os.path.exists, ("/etc/nologin", "/var/run/nologin", "/run/nologin")))
    return "auth_err" if closed and not login.is_root else "success"


def _slurm(login: Login, args: list[str]) -> str:
    return "success" if login.is_root or login.jobs else "perm_denied"


def _slurm_adopt(login: Login, args: list[str]) -> str:
    return "ignore" if login.is_root or not acts_for(login.service, args) else adopted(login.jobs, args)[0]


def _succeed_if(login: Login, args: list[str]) -> str:
    return "auth_err" if args[-3:] == ["uid", "!=", "0"] and login.is_root else "success"


def _unix(login: Login, args: list[str]) -> str:
    return _expiry(login.shadow(login.account.pw_name))


_ANSWERS: dict[str, Callable[[Login, list[str]], str]] = {
    "pam_access.so": _access,
    "pam_deny.so": _deny,
    "pam_nologin.so": _nologin,
    "pam_slurm.so": _slurm,
    "pam_slurm_adopt.so": _slurm_adopt,
    "pam_succeed_if.so": _succeed_if,
    "pam_unix.so": _unix,
}


# Slurm


def acts_for(service: str, args: list[str]) -> bool:
    """Whether pam_slurm_adopt does anything for a PAM service: that which it is told of, else sshd."""
    told = [arg.partition("=")[2] for arg in args if arg.startswith("service=")]
    return (told or ["sshd"])[-1] in (service, "*")


def adopted(jobs: list[dict[str, Any]], args: list[str]) -> tuple[str, list[str]]:
    """
    What pam_slurm_adopt answers a user with these jobs, and what there is to say about it.

    Of several jobs it takes the one that the connection comes from, if slurmd on the origin knows it, else it does what
    action_unknown says (pam_sm_acct_mgmt in contribs/pam_slurm_adopt/pam_slurm_adopt.c).
    """
    options = dict(arg.split("=", 1) for arg in args if "=" in arg)
    seen, unseen = ([str(job["job"]) for job in jobs if job["extern"] is extern] for extern in (True, False))
    notes = [f"Job {job} has no extern step, and is none to pam_slurm_adopt." for job in unseen]
    if not seen:
        return "ignore" if options.get("action_no_jobs") == "ignore" else "perm_denied", notes
    if len(seen) > 1 and options.get("action_unknown") == "deny":
        notes.append(
            f"From a host that is not a node of one of the jobs {', '.join(seen)}, Slurm cannot tell to which of them "
            "the login belongs, and slurm_pam:pam_slurm_adopt:action_unknown is deny."
        )
        return "perm_denied", notes
    return "success", notes


# Expiry


_DAY = 86400  # seconds


def _expiry(entry: Mapping[str, Any]) -> str:
    """What pam_unix says of the account's and the password's age (shadow(5)); days since 1970, -1 for never."""
    today = int(time.time() // _DAY)
    expires, changed, longest = (_days(entry.get(key)) for key in ("expire", "lstchg", "max"))
    if 0 <= expires <= today:
        return "acct_expired"
    if changed == 0 or (changed > 0 and longest >= 0 and changed + longest < today):
        return "new_authtok_reqd"
    return "success"


def _days(value: Any) -> int:
    return value if isinstance(value, int) else -1
