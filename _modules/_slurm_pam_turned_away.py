"""A look: whether the node's own account rules turn away users with a job, whom Slurm's module lets in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _pam_ask
import _pam_dispatch
import _pam_prove
import _slurm_pam_accounts
import _slurm_pam_jobs
import _slurm_pam_login
from _pam_errors import PamError
from _pam_expand import Handler
from _pam_words import cited
from _slurm_pam_answers import is_slurm, name
from _slurm_pam_finding import Finding

# What judges by lists of the site's; an account that has expired is its user's own matter.
_JUDGES = ("pam_access.so", "pam_listfile.so", "pam_succeed_if.so", "pam_time.so", "pam_wheel.so")
# Whom there is on every node, and who is in no list.
_STAND_IN = "nobody"
_ENOUGH = 3  # users


def turned_away(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """
    The rules that turn away owners of this node's jobs, or without a job, somebody whom they do not name.

    They do so before an apply as well, so they are warnings: refusing to close the node would let nobody in.
    """
    service = settings["pam"]["service"]
    ours = {file["path"] for file in wanted["pam"]["files"] if "contents" in file}
    try:
        stack = _pam_dispatch.compile(service, calls=["acct_mgmt"]).stacks.get("acct_mgmt", ())
    except PamError:
        return  # the look at the stacks tells
    asking = [entry.rule for entry in stack if entry.rule["kind"] == "module"]
    rules = [rule for rule in asking if os.path.realpath(rule["file"]) not in ours]  # SUSE has links
    if not any(name(rule) in _JUDGES for rule in rules):
        return
    owners = _owners()
    users = owners or list(filter(_slurm_pam_accounts.is_user, [_STAND_IN]))
    refused: dict[str, list[str]] = {}
    silent: dict[str, str] = {}
    for user in users[:_ENOUGH]:
        deciding = [_deciding(service, user, origin, rules, silent) for origin in _origins(user)]
        if all(deciding):
            refused.setdefault(deciding[0], []).append(user)
    for line, whom in refused.items():
        yield _refusal(line, whom, bool(owners))
    for module, why in silent.items():
        yield Finding(
            f"{module} could not be asked whom it lets in: {why}",
            "It is among this node's own account rules, and may turn away users with a job",
            f"Try it with a user who has one: pamtester {service} USER acct_mgmt",
            "warnings",
        )


def _owners() -> list[str]:
    try:
        jobs = _slurm_pam_jobs.jobs()
    except CommandExecutionError:
        return []  # the look at jobs tells
    return sorted({job["user"] for job in jobs if isinstance(job["user"], str)} - {"root"})


def _origins(user: str) -> Iterator[str]:
    """This node's own address, of the network that most users come from, and itself."""
    connection = _slurm_pam_login.connection(user, _slurm_pam_login.SOMEWHERE, {})
    yield from dict.fromkeys([dict(word.split("=", 1) for word in connection.split(","))["laddr"], "127.0.0.1"])


def _deciding(service: str, user: str, origin: str, rules: list[Handler], silent: dict[str, str]) -> str | None:
    """The rule that turns a user with a job away, if one of the judging does."""
    said = _pam_ask.answers(rules, service, user, origin)
    for rule in rules:
        asked = said[_pam_ask.rule_of(rule)]
        if name(rule) in _JUDGES and asked.code is None:
            silent[name(rule)] = asked.why_not

    def answer(rule: Handler, call: str) -> str:
        own = said.get(_pam_ask.rule_of(rule))
        # Ours let in whoever has a job.
        return "success" if own is None or is_slurm(rule) else own.code or "success"

    (run,) = _pam_prove.runs(service, ["acct_mgmt"], answer)
    step = None if run.code == "success" else _pam_prove.decider(run, lambda rule: False, False)
    if step is None or name(step.entry.rule) not in _JUDGES:
        return None
    line = cited(step.entry.rule)
    return f"{line['file']}:{line['line']} ({line['rule']})"


def _refusal(line: str, users: list[str], have_jobs: bool) -> Finding:
    whom = f"{', '.join(users)}, with a job on this node" if have_jobs else f"{users[0]}, whom it does not name"
    return Finding(
        f"{line} turns away {whom}",
        "Slurm's module lets users with a job in, and this node's own rules keep them out all the same, as they do now",
        "Let your users in there, or leave the rule as it is if it names them otherwise or is meant to keep them out",
        "warnings",
    )
