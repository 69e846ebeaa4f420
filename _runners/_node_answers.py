"""What a node says: its name, its answers, the output of logins to it. All of it is data, any of it may be nonsense.

Nothing here raises, whatever was said. A text of a node leaves this file in one line, printable and bounded. Of a
diff, and of an answer that makes no sense, nothing is shown: it may hold what is nobody else's business.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

# The most characters of one text of a node, and the most entries of one of its lists, that anybody is shown.
_LENGTH, _ENTRIES = 2000, 10
# What the name of a node looks like, to Python and to Salt's regular expressions. Operators of a target are none.
NAME = r"(?!(?:and|or|not)\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"
_ARMED = "slurm_pam-confirm-armed"
# What slurm_pam_confirm.status says of a node that an apply has changed and nobody has confirmed.
_UNCONFIRMED = ("waiting", "without a timer", "being taken back", "taking back failed")


class Answer(NamedTuple):
    """What a minion answered, and whether its function says that all went well."""

    well: bool
    value: Any


def line(text: str, length: int = _LENGTH) -> str:
    """The text in one line, with an escape for what a terminal takes for a command; cut where it is longer."""
    words = " ".join(text[: 2 * length].split())
    shown = words if words.isprintable() else "".join(map(_escaped, words))
    if len(text) <= 2 * length and len(shown) <= length:
        return shown
    return f"{shown[:length]} ... ({len(text)} characters)"


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


# Names


def unusable(name: str) -> str:
    """Why a minion with this name is no node; nothing where it may be one."""
    if re.fullmatch(NAME, name):
        return ""
    return (
        "this cannot be the name of a node. Allowed are up to 253 letters, digits, '.', '_' and '-', not beginning "
        "with '.' or '-', and not the words and, or, not: a name becomes a word of commands, and these mean something "
        "else there. Take it out of the target, or delete its key (salt-key --delete) and give the minion another id"
    )


def shown(name: str) -> str:
    """The name as one word that may be shown. One that is unusable stands in quotes, so that it is no node's."""
    quoted = ascii(name).replace(" ", "\\x20")
    return name if not unusable(name) else quoted if len(quoted) <= 80 else f"{quoted[:80]}..."


# What is wrong is a text; an answer that makes no sense is wrong.


def error(answer: Answer) -> str:
    """An answer that is none: Salt has the error as a text, or as a list of texts."""
    value = answer.value
    texts = value[:_ENTRIES] if isinstance(value, list) else [value]
    told = line("\n".join(texts)) if all(isinstance(text, str) for text in texts) else ""
    return told or f"the minion's answer makes no sense ({_kind(value)})"


def blocked(audit: Answer) -> str:
    """What stands in the way of an apply."""
    found = _findings(audit)
    if found is None:
        return f"its audit: {error(audit)}"
    return _listed([finding for finding in found if finding.get("result") is False])


def unfit(preflight: Answer) -> str:
    """The same, of what an audit only mentions."""
    problems = preflight.value.get("problems") if isinstance(preflight.value, dict) else None
    if not isinstance(problems, list):
        return f"its preflight: {error(preflight)}"
    return _joined([_text(problem) for problem in problems[:_ENTRIES]], len(problems))


def not_applied(apply: Answer) -> str:
    """The first state that failed."""
    states = _states(apply)
    if not states:
        return error(apply)
    failed = [state for state in states if state["result"] is False]
    if failed:
        first = min(failed, key=_run_number)
        return line(f"{_text(first['__id__'])}: {_text(first['comment'])}")
    if not any(state["__id__"] == _ARMED for state in states):
        return (
            f"the apply was without {_ARMED}, so that nothing of it can be taken back. Either slurm_pam:mode is audit "
            "there, or the settings of a partition say confirm: 0; salt NODE slurm_pam.settings origins=True tells"
        )
    return ""


def not_verified(audit: Answer) -> str:
    found = _findings(audit)
    if found is None:
        return f"the audit after the apply: {error(audit)}"
    return "" if audit.value["holds"] else f"after the apply: {_listed(found) or 'its audit does not hold'}"


def not_well(answer: Answer) -> str:
    return "" if answer.well else error(answer)


def unconfined(confined: Answer, user: str) -> str:
    """What is wrong with this user's sessions; that there are none is wrong as well."""
    sessions = confined.value.get("sessions") if isinstance(confined.value, dict) else None
    if not isinstance(sessions, list) or not all(isinstance(each, dict) for each in sessions):
        return f"slurm_pam.confined: {error(confined)}"
    problems = [each.get("problems") for each in sessions if each.get("user") == user]
    if not problems:
        return f"{user} was let in, and is in no job there: that needs a job of this user on the node"
    told = [problem for each in problems for problem in (each if isinstance(each, list) else [each])]
    return _joined([_text(problem) for problem in told[:_ENTRIES]], len(told))


def states_run(running: Answer) -> bool:
    """Of state.running, which has a text for each run."""
    return running.well and isinstance(running.value, list) and bool(running.value)


def unclear(status: Answer) -> str:
    known = isinstance(status.value, dict) and isinstance(status.value.get("state"), str)
    return "" if known else f"slurm_pam_confirm.status: {error(status)}"


# What slurm_pam.confirm has of the watch, and the ends of that where Slurm gives the node jobs.
_WATCH = ". The watch: "
_HAS_JOBS = (" as it was accepted", ", and Slurm gives it jobs again")


def of_watch(confirmed: Answer) -> str:
    """What the watch said when the node was confirmed; nothing if there is none, or it has nothing to complain of."""
    told = confirmed.value.partition(_WATCH)[2] if isinstance(confirmed.value, str) else ""
    return line(f"the watch: {told}") if told and not told.endswith(_HAS_JOBS) else ""


# What is well


def holds(audit: Answer) -> bool:
    """Whether it is an audit, and all is as it should be."""
    return _findings(audit) is not None and audit.value["holds"]


def summary(audit: Answer) -> str:
    """An audit's own, where it has one."""
    told = audit.value.get("summary") if isinstance(audit.value, dict) else None
    return line(told) if isinstance(told, str) else ""


# What an audit tells of what is left open, and the most names of each that are kept of a node.
OPEN = ("doors", "doubtful", "strays")
_NAMES, _NAME = 50, 100


def left_open(audit: Answer) -> dict[str, list[str]]:
    """What users without a job still come in by, or have on the node, by an audit."""
    told = audit.value.get("open") if isinstance(audit.value, dict) else None
    lists = {kind: told.get(kind) for kind in OPEN} if isinstance(told, dict) else {}
    return {
        kind: [line(name, _NAME) for name in names[:_NAMES] if isinstance(name, str)]
        for kind, names in lists.items()
        if isinstance(names, list) and names
    }


def armed(apply: Answer) -> bool:
    """Whether an apply was going to change its node."""
    return any(state["__id__"] == _ARMED and bool(state.get("changes")) for state in _states(apply))


def unconfirmed(status: Answer) -> bool:
    return not unclear(status) and status.value["state"] in _UNCONFIRMED


def taken_back(now: Answer, before: Answer) -> bool:
    """Whether the node was taken back since. What was taken back before has its own time."""
    then = before.value if isinstance(before.value, dict) else {}
    return not unclear(now) and now.value["state"] == "taken back" and _time(now.value) != _time(then)


# Shapes


def _findings(audit: Answer) -> list[dict] | None:
    """Those of an audit; None where it is none."""
    value = audit.value if isinstance(audit.value, dict) else {}
    found = value.get("findings")
    sound = isinstance(value.get("holds"), bool) and isinstance(found, list)
    return found if sound and all(isinstance(finding, dict) for finding in found) else None


def _listed(findings: list[dict]) -> str:
    told = [f"{_text(finding.get('subject'))}: {_text(finding.get('found'))}" for finding in findings[:_ENTRIES]]
    return _joined(told, len(findings))


def _joined(told: list[str], of: int) -> str:
    more = [f"and {of - len(told)} more"] if of > len(told) else []
    return line("; ".join([*told, *more]))


def _states(apply: Answer) -> list[dict]:
    states = list(apply.value.values()) if isinstance(apply.value, dict) else []
    needed = {"__id__", "__run_num__", "result", "comment"}
    return states if all(isinstance(state, dict) and needed <= state.keys() for state in states) else []


def _run_number(state: dict) -> float:
    number = state["__run_num__"]
    return number if isinstance(number, int) else float("inf")


def _time(status: dict) -> Any:
    at = status.get("at")
    return at if isinstance(at, (int, float, str)) else None


def _text(value: Any) -> str:
    return line(value) if isinstance(value, str) else f"({_kind(value)})"


def _kind(value: Any) -> str:
    return "an empty text" if isinstance(value, str) else f"of the type {type(value).__name__}"
