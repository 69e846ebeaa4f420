"""Why a user gets in, or does not, and the line that decides."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _pam_ask
import _pam_dispatch
import _pam_prove
import _slurm_pam_access
import _slurm_pam_accounts
import _slurm_pam_crowding
import _slurm_pam_daemons
import _slurm_pam_jobs
import _slurm_pam_login
import _slurm_pam_node
import _slurm_pam_selinux
import _slurm_pam_wanted
import sshd_config
from _pam_dispatch import Run
from _pam_expand import Handler
from _pam_words import cited, told, why
from _slurm_pam_access import LOCAL
from _slurm_pam_answers import Login, adopted, is_slurm, name
from _slurm_pam_ask import Unanswered
from _slurm_pam_daemons import Daemon
from _slurm_pam_doors import NETWORK


def login(user: str, origin: str, settings: Mapping[str, Any], service: str | None = None) -> dict[str, Any]:
    """
    Whether a user would get in from an origin, now, and why; :py:func:`slurm_pam.explain
    <salt.modules.slurm_pam.explain>` says what is returned. Changes nothing and logs nobody in.

    user
        A name.
    origin
        The address or host name that sshd sees.
    settings
        The merged settings of the formula.
    service
        Another PAM service than sshd's.

    Raises CommandExecutionError if this node's name services do not answer, and SaltInvocationError if a name is
    not a text.
    """
    for what, given in (("user", user), ("origin", origin), ("service", "" if service is None else service)):
        # Salt reads 4711 on a command line as a number, and "no" as a boolean.
        if not isinstance(given, str):
            raise SaltInvocationError(f"{what}: {given!r} is not a text. On a command line, quote it twice: \"'NAME'\"")
    other = service not in (None, settings["pam"]["service"])
    origin = LOCAL if other and _slurm_pam_wanted.door_of(service).reach != NETWORK else origin
    found = {"user": user, "origin": origin, "access": None, "jobs": [], "decided_by": None, "trace": []}
    if (account := _slurm_pam_accounts.user(user)) is None:
        return {**found, "permitted": False, "why": f"this node knows no user {user}"}
    # Nobody comes to sshd from there.
    if (origin != LOCAL or not other) and not _slurm_pam_accounts.addresses(origin):
        return {**found, "permitted": False, "why": f"this node knows no host {origin}"}
    if other:
        return {**found, **_at_door(service, account, origin, settings)}
    told = [_through(daemon, account, origin, settings) for daemon in _slurm_pam_daemons.listening(settings)]
    # Whoever gets in through one of them is in; the usual one comes first if they say the same.
    return {**found, **max(told, key=lambda one: _OPENNESS[one["permitted"]])}


_OPENNESS = {False: 0, None: 1, True: 2}


def _through(daemon: Daemon, account: pwd.struct_passwd, origin: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What comes of a login through one of the sshds that run."""
    user = account.pw_name
    groups = _slurm_pam_accounts.groups_of(user)
    sshd, rhost = _sshd_values(daemon, user, origin)
    known = _seen_by_sshd(_known(account, origin, sshd.get("usedns") == ["yes"], settings), settings)
    found = {"access": known.access, "jobs": known.counting}
    # sshd's own rules come before PAM is asked.
    if refusal := _slurm_pam_login.refusal(user, groups, sshd, origin):
        return {**found, "permitted": False, "why": refusal}
    if (asks := _slurm_pam_login.value(sshd, "usepam", "not known to it")) != "yes":
        return {**found, "permitted": True, "why": f"{daemon.who} does not ask PAM: its UsePAM is {asks}"}
    service = _slurm_pam_login.value(sshd, "pamservicename", daemon.name)
    verdict = _asked(service, account, known, rhost, settings)
    notes = [verdict["why"], *known.silent, *_beside(service, settings["pam"]["service"], origin, sshd)]
    if daemon.process:
        notes.append(f"This is about {daemon.who}.")
    return {**found, **verdict, "why": " ".join(notes)}


def _at_door(service: str, account: pwd.struct_passwd, origin: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the account rules of another service come to; what it asks before is its own."""
    known = _known(account, origin, origin == LOCAL, settings)
    rhost = "" if origin == LOCAL else str(_slurm_pam_accounts.addresses(origin)[0])
    verdict = _asked(service, account, known, rhost, settings)
    why = " ".join([verdict["why"], *known.silent])
    return {"access": known.access, "jobs": known.counting, **verdict, "why": why}


class _Known(NamedTuple):
    """What this node tells of somebody, whatever the way in."""

    access: str | None  # the rule of the access file that fits
    jobs: list[dict[str, Any]]
    counting: list[int]  # those that count to Slurm's module
    unasked: str
    silent: list[str]
    node: str | None  # the NodeName by which Slurm's module looks for jobs, if it is known


def _known(account: pwd.struct_passwd, origin: str, by_name: bool, settings: Mapping[str, Any]) -> _Known:
    user, file = account.pw_name, settings["access"]["file"]
    separator = "," if _slurm_pam_wanted.has_blanks(settings["access"]) else None
    silent: list[str] = []
    access = _slurm_pam_access.rule_for(file, user, _membership(user, silent), origin, by_name, separator)
    jobs, unasked = _jobs(user)
    node = _looked_for(jobs, settings, silent)
    found = [job for job in jobs if node in (None, job["node"])]
    counting = [job["job"] for job in found if job["extern"] or settings["module"] == "pam_slurm"]
    return _Known(access, jobs, counting, unasked, silent, node)


def _seen_by_sshd(known: _Known, settings: Mapping[str, Any]) -> _Known:
    """The same, without the jobs that SELinux keeps sshd from."""
    if not known.jobs:
        return known
    try:
        kept = _slurm_pam_selinux.refusal(settings)
    except Unanswered as error:
        return known._replace(silent=[*known.silent, f"{error}."])
    return known._replace(jobs=[], counting=[], silent=[*known.silent, f"{kept}."]) if kept else known


def _asked(
    service: str, account: pwd.struct_passwd, known: _Known, rhost: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What a service's account stack decides."""
    user, file = account.pw_name, settings["access"]["file"]
    said = _pam_ask.answers(_rules(service), service, user, rhost)
    verdict = _verdict(service, Login(account, known.access, file, known.jobs, said, service, known.node))
    by = verdict["decided_by"] or {"rule": None}
    if known.unasked and not verdict["permitted"] and f"{settings['module']}.so" in (by["rule"] or ""):
        why = f"This is not known. {known.unasked} If none of them is of {user}: {verdict['why']}"
        verdict.update(permitted=None, why=why)
    return verdict


def _membership(user: str, silent: list[str]) -> Callable[[str], bool]:
    """Whether the user is in a group, as pam_access sees it; what did not answer is added to ``silent``."""

    def is_in(group: str) -> bool:
        try:
            return _slurm_pam_accounts.is_in(user, group)
        except CommandExecutionError as error:
            silent.append(f"{error}, so pam_access has nobody in it.")
            return False

    return is_in


def _jobs(user: str) -> tuple[list[dict[str, Any]], str]:
    """The user's jobs, and what could not be asked of jobs here."""
    try:
        found = _slurm_pam_jobs.jobs()
    except Unanswered as error:
        return [], f"This node did not say which jobs run here: {error}."
    silent = ", ".join(str(job["job"]) for job in found if job["user"] is None)
    told = f"The step daemons of these jobs do not say whose they are: {silent}." if silent else ""
    return [job for job in found if job["user"] == user], told


def _looked_for(jobs: list[dict[str, Any]], settings: Mapping[str, Any], silent: list[str]) -> str | None:
    """The NodeName by which Slurm's module looks for these jobs; if that cannot be asked, None and a word about it."""
    if settings["module"] == "pam_slurm_adopt" and (given := settings["pam_slurm_adopt"].get("nodename")):
        return given
    try:
        return _slurm_pam_node.looked_for({job["node"] for job in jobs})
    except Unanswered as error:
        silent.append(f"It is not known by which name Slurm's module looks for jobs: {error}.")
        return None


def _beside(service: str, usual: str, origin: str, sshd: _slurm_pam_login.Values) -> Iterator[str]:
    """What sshd does besides asking the stack that is closed."""
    if service != usual:
        yield f"sshd's PAMServiceName is {service} for this login, and slurm_pam:pam:service is {usual}."
    if penalties := _slurm_pam_crowding.reasons(sshd, origin):
        yield (
            f"For a while after logins from {origin} have failed, sshd drops every login from there, whoever it is "
            f"(PerSourcePenalties {' '.join(penalties)})."
        )


def _sshd_values(daemon: Daemon, user: str, origin: str) -> tuple[_slurm_pam_login.Values, str]:
    """What an sshd's configuration comes to for this login, and the host that it tells to PAM."""
    asked = {"program": daemon.program, "options": daemon.options} if daemon.process else {}
    connection = _slurm_pam_login.connection(user, origin, sshd_config.effective(daemon.config, **asked))
    host = next(word.partition("=")[2] for word in connection.split(",") if word.startswith("host="))
    return sshd_config.effective(daemon.config, connection, **asked), host


# What the account stack decides


def _rules(service: str) -> list[Handler]:
    """The rules of a service's account stack that ask a module; none if it cannot be started."""
    stack = _pam_dispatch.compile(service, calls=["acct_mgmt"]).stacks.get("acct_mgmt", ())
    return [entry.rule for entry in stack if entry.rule["kind"] == "module"]


def _verdict(service: str, login: Login) -> dict[str, Any]:
    (run,) = _pam_prove.runs(service, ["acct_mgmt"], lambda rule, call: login.answer(rule))
    reason, decided_by = _decision(service, run, login)
    return {
        "permitted": _lets_in(run),
        "why": " ".join([reason, *_notes(run, login)]),
        "decided_by": decided_by,
        "trace": told(run)["trace"],
    }


def _lets_in(run: Run) -> bool:
    return run.code == "success"


def _decision(service: str, run: Run, login: Login) -> tuple[str, dict[str, Any] | None]:
    """Why the answer is what it is, and the line that decides."""
    if run.abort:
        place = {"file": run.abort["file"], "line": run.abort["line"], "rule": None}
        return f"{service} cannot be started: {run.abort['reason']}", place
    step = _pam_prove.decider(run, _gates(run, login), _lets_in(run))
    if step is None:
        return f"the account stack answers {run.code} without asking any module", None
    line = cited(step.entry.rule)
    said = f"{line['file']}:{line['line']} ({line['rule']}) answers {step.answer}."
    return f"{said} {why(step, run.stack)}", line


def _gates(run: Run, login: Login) -> Callable[[Handler], bool]:
    """
    The rules that were to decide. Who got in had to get past all of ours; an administrator gets in by the first of
    them, others by Slurm's. If a rule of somebody else's refused, ours did not come into it.
    """
    if _lets_in(run):
        return login.is_ours
    changes = [step.entry.rule for step in run.steps if step.state != step.before]
    if changes and not login.is_ours(changes[-1]):
        return lambda rule: False
    if login.is_administrator:
        return login.is_access
    return lambda rule: is_slurm(rule) and login.answer(rule) == "success"


def _not_asked(rule: Handler, said: _pam_ask.Said, login: Login) -> str:
    asked = "could not be asked" if said.tried else "was not asked"
    taken = "its file tells" if login.is_access(rule) else "taken to succeed"
    return f"{name(rule)} {asked}: {said.why_not} ({taken})."


def _notes(run: Run, login: Login) -> Iterator[str]:
    """What was not asked, and what there is to say about Slurm's answer."""
    rules = [step.entry.rule for step in run.steps if step.entry.rule["kind"] == "module"]
    yield from sorted({_not_asked(rule, said, login) for rule in rules if (said := login.unasked(rule))})
    for rule in rules:
        if name(rule) == "pam_slurm_adopt.so" and not login.is_root:
            yield from adopted(login.jobs, rule["args"], login.node)[1]
