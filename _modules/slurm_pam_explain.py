"""
Why a user gets in, or does not: what each module would answer, as far as this node tells, and the line that decides.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_DAY = 86400  # seconds


def login(user: str, origin: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Whether ``user`` would get in over SSH from ``origin``, now, and why. Changes nothing and logs nobody in.

    user
        A name.
    origin
        The address or host name that sshd sees.
    settings
        The merged settings of the formula.

    Returns ``{"user", "origin", "permitted": bool, "why": str, "access": str, "jobs": [int], "decided_by", "trace"}``:
    ``access`` is the rule of the access file that fits, ``jobs`` those that count to Slurm's module, ``decided_by`` the
    PAM rule that decides (``file``, ``line``, ``rule``), and ``trace`` each PAM rule that is asked, as
    :py:func:`pam_verdict.decide <salt.modules.pam_verdict.decide>` gives it.

    sshd's own rules are asked of sshd, expiry of the shadow file, jobs of Slurm's step daemons. Other modules are taken
    to succeed, and ``why`` names them. The origin is taken not to be a node of one of the user's jobs.

    Sources: access.conf(5), https://slurm.schedmd.com/pam_slurm_adopt.html, sshd_config(5), shadow(5), pam_nologin(8).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_explain.login alice 192.0.2.1 '{...}'

    .. versionadded:: 1.0.0
    """
    told = {"user": user, "origin": origin, "access": None, "jobs": [], "decided_by": None, "trace": []}
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return {**told, "permitted": False, "why": f"this node knows no user {user}"}
    groups = __salt__["slurm_pam_sshd.group_names"](user)
    sshd = _sshd_values(settings["sshd"]["config"], user, origin)
    told["access"] = _access_rule(settings["access"]["file"], user, groups, origin, sshd.get("usedns") == ["yes"])
    jobs = [job for job in __salt__["slurm_pam.jobs"]() if job["user"] == user]
    told["jobs"] = [job["job"] for job in jobs if job["extern"] or settings["module"] == "pam_slurm"]
    # sshd's own rules come before PAM is asked.
    refusal = __salt__["slurm_pam_sshd.refusal"](user, groups, sshd, origin)
    if refusal:
        return {**told, "permitted": False, "why": refusal}

    assumed: set[str] = set()
    notes: list[str] = []
    answers = _answers(account, told["access"], jobs, settings, notes)

    def answer(rule: Mapping[str, Any], call: str) -> str:
        module = os.path.basename(rule["module"])
        if module not in answers:
            assumed.add(module)
            return "success"
        return answers[module](rule["args"])

    (step,) = __salt__["pam_verdict.decide"](settings["pam"]["service"], ["acct_mgmt"], answer)
    why = _reason(step)
    if assumed:
        why += f" (taken to succeed: {', '.join(sorted(assumed))})"
    why = " ".join([why, *notes])
    decider = _decider(step)
    cited = {key: decider[key] for key in ("file", "line", "rule")} if decider else None
    return {**told, "permitted": step["code"] == "success", "why": why, "decided_by": cited, "trace": step["trace"]}


# The access file


def _access_rule(file: str, user: str, groups: list[str], origin: str, by_name: bool) -> str | None:
    """
    The first rule that fits, as pam_access reads the file; None where none does or there is no file. ``by_name`` is
    whether sshd tells PAM the origin's name (UseDNS).
    """
    for line in _rules(file):
        permission, who, origins = (field.strip() for field in line.split(":", 2))
        meant = any(_is_meant(word, user, groups) for word in who.split())
        if meant and any(_comes_from(word, origin, by_name) for word in origins.split()):
            return f"{permission} : {who} : {origins}"
    return None


def _rules(file: str) -> Iterator[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            yield from (line.strip() for line in lines if line.count(":") >= 2 and not line.startswith("#"))
    except FileNotFoundError:
        return


def _is_meant(word: str, user: str, groups: list[str]) -> bool:
    return word.lower() in ("all", user.lower()) or (word[:1] + word[-1:] == "()" and word[1:-1] in groups)


def _comes_from(word: str, origin: str, by_name: bool) -> bool:
    """A network or address holds the origin's addresses, a .domain ends its name, a host is one of its names."""
    if word.lower() in ("all", origin.lower()):
        return True
    if word.startswith("."):
        return by_name and origin.lower().endswith(word.lower())
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return bool(_addresses(word) & _addresses(origin))
    return any(address in network for address in _addresses(origin))


def _addresses(host: str) -> set:
    try:
        return {ipaddress.ip_address(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


# What sshd and the modules say


def _sshd_values(config: str | None, user: str, origin: str) -> dict[str, list[str]]:
    """What sshd's configuration comes to for this login."""
    ask = __salt__["sshd_config.effective"]
    return ask(config, __salt__["slurm_pam_sshd.connection"](user, origin, ask(config)))


def _answers(
    account: pwd.struct_passwd, access: str | None, jobs: list[dict], settings: Mapping[str, Any], notes: list[str]
) -> dict:
    """What each module that something is known of would answer, by its arguments; what it has to add goes to notes."""
    is_root = account.pw_uid == 0
    ours = f"accessfile={settings['access']['file']}"

    def adopt(args: list[str]) -> str:
        if is_root:
            return "ignore"
        answer, said = _adopted(jobs, dict(arg.split("=", 1) for arg in args if "=" in arg))
        notes.extend(said)
        return answer

    def succeed_if(args: list[str]) -> str:
        return "auth_err" if args[-3:] == ["uid", "!=", "0"] and is_root else "success"

    def pam_access(args: list[str]) -> str:
        return "perm_denied" if ours in args and not (access or "").startswith("+") else "success"

    closed = any(map(os.path.exists, ("/etc/nologin", "/var/run/nologin", "/run/nologin")))
    known: dict[str, Callable[[list[str]], str]] = {
        "pam_access.so": pam_access,
        "pam_deny.so": lambda args: "perm_denied",
        "pam_nologin.so": lambda args: "auth_err" if closed and not is_root else "success",
        "pam_slurm.so": lambda args: "success" if is_root or jobs else "perm_denied",
        "pam_slurm_adopt.so": adopt,
        "pam_succeed_if.so": succeed_if,
        "pam_unix.so": lambda args: _expiry(account.pw_name),
    }
    return known


def _adopted(jobs: list[dict], options: Mapping[str, str]) -> tuple[str, list[str]]:
    """
    What pam_slurm_adopt answers a user with these jobs, and what there is to say about it.

    Of several jobs it takes the one that the connection comes from, if slurmd on the origin knows it, else it does what
    action_unknown says (pam_sm_acct_mgmt in contribs/pam_slurm_adopt/pam_slurm_adopt.c).
    """
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


def _expiry(user: str) -> str:
    """What pam_unix says of the account's and the password's age (shadow(5)); days since 1970, -1 for never."""
    entry = __salt__["shadow.info"](user)
    today = int(time.time() // _DAY)
    expires, changed, longest = (_days(entry.get(key)) for key in ("expire", "lstchg", "max"))
    if 0 <= expires <= today:
        return "acct_expired"
    if changed == 0 or (changed > 0 and longest >= 0 and changed + longest < today):
        return "new_authtok_reqd"
    return "success"


def _days(value: Any) -> int:
    return value if isinstance(value, int) else -1


# What is told


_GATES = (" pam_access.so", " pam_slurm.so", " pam_slurm_adopt.so")


def _decider(step: Mapping[str, Any]) -> dict | None:
    """The last rule that lets the user past Slurm or, where there is none, in; or the last that made it a refusal."""
    if step["code"] == "success":
        granted = [rule for rule in step["trace"] if rule["answer"] == "success"]
        gates = [rule for rule in granted if any(module in rule["rule"] for module in _GATES)]
        return (gates or granted or [None])[-1]
    decider, before = None, None
    for rule in step["trace"]:
        state = (rule["impression"], rule["status"])
        if state != before:
            decider = rule
        before = state
    return decider


def _reason(step: Mapping[str, Any]) -> str:
    decider = _decider(step)
    if decider is None:
        return f"the account stack answers {step['code']} without asking any module"
    return f"{decider['file']}:{decider['line']} ({decider['rule']}) answers {decider['answer']}. {decider['why']}"
