"""What happened in a run of a stack, in words for people."""

from __future__ import annotations

from typing import Any

from _pam_dispatch import Run, Stack, Step, action, verdict
from _pam_expand import Handler


def place(rule: Handler) -> str:
    return f"{rule['file']}:{rule['line']}"


def written(rule: Handler) -> str:
    """A rule as one writes it."""
    words = [rule["control"], rule["module"], *rule["args"]]
    return " ".join(["-" * rule["silent"] + rule["type"], *filter(None, words)])


def cited(rule: Handler) -> dict[str, Any]:
    return {"file": rule["file"], "line": rule["line"], "rule": written(rule)}


_WHY = {
    # (effect, whether the state changed): what it means
    ("ignore", False): "{answer} is ignored by this line.",
    ("ok", True): "It grants, and the following modules are asked.",
    ("ok", False): "It grants, which changes nothing: {status} stands.",
    ("bad", True): "It refuses: whatever follows, the answer is {verdict}.",
    ("bad", False): "It refuses, which changes nothing: {status} stands.",
    ("die", True): "It refuses and ends {stack} here.",
    ("die", False): "It refuses and ends {stack} here; {status} stands.",
    ("reset", True): "Everything that {stack} said is forgotten.",
    ("reset", False): "Everything that {stack} said is forgotten, which was nothing.",
    ("jump", False): "It jumps to {next}.",
    ("counted jump", True): "It grants and jumps to {next}.",
    ("counted jump", False): "It jumps to {next}.",
    ("lost jump", True): "It jumps out of {stack}, which refuses with perm_denied.",
    ("lost jump", False): "It jumps out of {stack}, which refuses with perm_denied.",
    ("suspend", False): "The application must repeat the call, which goes on from here.",
}


def why(step: Step, stack: Stack) -> str:
    """What came of a step's answer, as a sentence."""
    rule, effect = step.entry.rule, step.effect
    if effect == "done" and step.next == step.entry.index + 1 and step.state[0] != "positive":
        text = "It grants, but does not end {stack}, because {status} stands."
    elif effect == "done":
        text = "It grants and ends {stack} here." if step.state != step.before else "It ends {stack} here."
    else:
        text = _WHY[effect, step.state != step.before]
    following = next((entry for entry in stack[step.next :] if entry.moves), None)
    text = text.format(
        answer=step.answer,
        status=step.state[1],
        verdict=verdict(step.state),
        stack="the substack" if step.entry.level else "the stack",
        next=place(following.rule) if following else "the end",
    )
    if step.chosen != step.answer:
        text = f"It takes the way of the earlier call, where it answered {step.chosen}. {text}"
    if rule["kind"] == "must_fail":
        text = f"libpam cannot use this line ({rule['reason']}). {text}"
    return text


def _action(step: Step) -> str:
    """The action in pam.conf's words."""
    taken = action(step.entry.rule, step.chosen)
    return "suspend" if step.effect == "suspend" else f"jump {taken}" if isinstance(taken, int) else taken


def told(run: Run) -> dict[str, Any]:
    """A run as ``pam_verdict.decide`` returns it."""
    trace = [_told(step, run.stack) for step in run.steps]
    return {"call": run.call, "code": run.code, "trace": [*_aborted(run), *trace]}


def _told(step: Step, stack: Stack) -> dict[str, Any]:
    impression, status = step.state
    return {
        "call": step.call,
        **cited(step.entry.rule),
        "answer": step.answer,
        "action": _action(step),
        "impression": impression,
        "status": status,
        "why": why(step, stack),
    }


def _aborted(run: Run) -> list[dict[str, Any]]:
    """The one step of a service that could not be started."""
    if run.abort is None:
        return []
    nothing = dict.fromkeys(("rule", "answer", "action", "impression", "status"))
    place = {"file": run.abort["file"], "line": run.abort["line"]}
    return [{"call": run.call, **place, **nothing, "why": run.abort["reason"]}]
