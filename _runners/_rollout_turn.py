"""A node's part of a rollout, question by question: how it is looked at, how it is closed, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import _node_answers as said
from _node_answers import Answer
from _rollout_record import STATES, Node
from _waves import LOOKING, Login, Question, Reply

# The parts of the seconds to confirm by which a node has to be applied, audited and logged in to. What is left is for
# confirming.
_APPLIED, _AUDITED, _VERIFIED = 0.6, 0.75, 0.9
# The least seconds that an answer is waited for.
_LEAST = 5
# Seconds between two looks at whether other states run.
_BETWEEN = 5


class Found(NamedTuple):
    """What a node is, and why; in which partition, and what is left open there, of which None is what was known."""

    state: str
    reason: str
    partition: str | None = None
    open: Mapping[str, list[str]] | None = None


# How it stands


def look(known: Node, partitions: Mapping[str, str], rest: str) -> Generator[Question, Reply, Found]:
    """Bring it the formula's modules, audit it, change nothing. ``partitions`` and their targets, ``rest`` for none."""
    try:
        yield from _answered("saltutil.sync_all")
        audit = yield from _answered("slurm_pam.audit")
        standing = yield from _answered("slurm_pam_confirm.status")
        # One that is as it should be had its preflight as a part of the audit.
        doubtful = not (said.blocked(audit) or said.holds(audit))
        fit = (yield from _answered("slurm_pam.preflight")) if doubtful else None
        partition = rest
        for name, target in partitions.items():
            matching = yield from _answered("match.compound", tgt=target)
            if not isinstance(matching.value, bool):
                problem = f"whether it is in {name} cannot be told: {said.error(matching)}"
                return Found("refused", problem, rest, said.left_open(audit))
            if matching.value:
                partition = name
                break
    except _Silent as error:
        return Found("unreachable", silent(known, str(error)))
    return Found(*found(known, audit, standing, fit), partition, said.left_open(audit))


class _Silent(Exception):
    """There was no answer to this function."""


def _answered(function: str, **keywords: Any) -> Generator[Question, Reply, Answer]:
    reply = yield Question(function, (), keywords)
    if reply.answer is None:
        raise _Silent(function)
    return reply.answer


def silent(known: Node, asked: str) -> str:
    """What is to be said of a node whose minion does not answer: what it was asked, or why it was not."""
    if known.state == "unreachable":
        return known.reason
    told = f"its minion does not answer ({asked}); this run did nothing there"
    if known.state in ("waiting", "refused"):
        return told
    return f"{told}. An earlier run left it {known.state}{known.reason and ': '}{known.reason}"


def found(known: Node, audit: Answer, standing: Answer, preflight: Answer | None) -> tuple[str, str]:
    """The state of a node before its turn, and the reason."""
    problem = said.blocked(audit) or said.unclear(standing) or (preflight and said.unfit(preflight))
    if problem:
        return "refused", problem
    if not said.holds(audit):
        return "waiting", said.summary(audit)
    if said.unconfirmed(standing):
        return "waiting", "it is as it should be, but waits to be confirmed"
    if STATES[known.state]:
        return known.state, known.reason
    if known.state in ("waiting", "refused"):
        return "unchanged", "it was as it should be before"
    return "waiting", f"it is as it should be, but an earlier run left it {known.state} and did not verify it"


# How it is closed


class Case(NamedTuple):
    """A node that did not come through, and what is known of it."""

    problem: str
    verified: bool  # so that only its confirmation went wrong
    applied: bool  # whether the apply was answered
    before: Answer  # slurm_pam_confirm.status before the apply
    now: Answer | None = None
    back: Answer | None = None  # slurm_pam_confirm.take_back


def close(confirm: int, probing: bool, applying: Callable[[], Any]) -> Generator[Question | Login, Reply, Found]:
    """Apply, verify, confirm; one that does not come through is taken back. ``applying`` is called ahead of it."""
    before = yield from _before()
    if before is None:
        return Found("unreachable", "its minion does not answer any more; this run changed nothing there")
    applying()
    pillar = {"slurm_pam": {"confirm": confirm}}
    reply = yield Question("state.apply", ("slurm_pam",), {"pillar": pillar}, _APPLIED * confirm)
    begun, applied = reply.sent, reply.answer
    problem = _problem(reply, "state.apply", said.not_applied, _APPLIED * confirm)
    left = None
    if not problem:
        reply = yield Question("slurm_pam.audit", seconds=_left(reply, begun + _AUDITED * confirm))
        problem = _problem(reply, "slurm_pam.audit", said.not_verified, _AUDITED * confirm)
        left = said.left_open(reply.answer) if reply.answer else None
    if not problem and probing:
        reply = yield Login(begun + _VERIFIED * confirm - reply.at)
        problem = reply.answer.value
    verified = not problem
    if verified:
        idle = not said.armed(applied) and not said.unconfirmed(before)
        if idle:
            return Found("done", "nothing was to be changed", open=left)
        reply = yield Question("slurm_pam.confirm", seconds=_left(reply, begun + confirm))
        problem = _problem(reply, "slurm_pam.confirm", said.not_well, confirm)
    if not problem:
        return Found("done", said.of_watch(reply.answer), open=left)
    return (yield from _wound_up(Case(problem, verified, applied is not None, before), confirm))


def _before() -> Generator[Question, Reply, Answer | None]:
    """
    How it stands ahead of the apply, once other states there are through, such as a schedule's or those of a rollout
    that was killed: Salt would refuse ours.
    """
    reply = yield Question("state.running")
    until = reply.sent + LOOKING
    while reply.answer and said.states_run(reply.answer) and reply.at < until:
        yield Question("test.sleep", (_BETWEEN,))
        reply = yield Question("state.running")
    return (yield Question("slurm_pam_confirm.status")).answer if reply.answer else None


def _left(reply: Reply, until: float) -> float:
    return max(_LEAST, until - reply.at)


def _problem(reply: Reply, function: str, meaning: Callable[[Answer], str], seconds: float) -> str:
    if reply.answer:
        return meaning(reply.answer)
    why = f" within {seconds:.0f} s; it may still be running" if reply.late else ", and no sign that it still runs"
    return f"no answer to {function}{why}"


def _wound_up(case: Case, confirm: int) -> Generator[Question, Reply, Found]:
    """Take back what did not come through."""
    case = case._replace(now=(yield Question("slurm_pam_confirm.status")).answer)
    if case.now and said.unconfirmed(case.now):
        case = case._replace(back=(yield Question("slurm_pam_confirm.take_back")).answer)
    return Found(*became(case, confirm))


def became(case: Case, confirm: int) -> tuple[str, str]:
    """The state of such a node, and the reason."""
    itself = f"the node takes the change back by itself within {confirm} s"
    if case.now is None and case.verified:
        return (
            "failed",
            f"{case.problem}. It was verified before its minion went away: unless it was confirmed, {itself}",
        )
    if case.now is None:
        return "failed", f"{case.problem}. The minion is gone: {itself}"
    if problem := said.unclear(case.now):
        return "failed", f"{case.problem}. How it stands cannot be told ({problem}): unless it was confirmed, {itself}"
    if said.unconfirmed(case.now) and case.back is None:
        return "failed", f"{case.problem}. There was no answer to slurm_pam_confirm.take_back: {itself}"
    if said.unconfirmed(case.now) and not case.back.well:
        return "failed", f"{case.problem}. Taking back failed: {said.error(case.back)}"
    if said.unconfirmed(case.now):
        return "taken back", case.problem
    if said.taken_back(case.now, case.before):
        return "taken back", case.problem
    if case.verified:
        return "done", f"verified; it was confirmed already ({case.problem})"
    if not case.applied:
        return "failed", f"{case.problem}. There is nothing to take back yet. If it still changes something, {itself}"
    return "failed", f"{case.problem}. There was nothing to take back"
