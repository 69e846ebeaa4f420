"""
What a stack decides, which line decides it, and whether it keeps a policy's promises.

``decide``, ``trace``, ``outcomes`` and ``prove`` are those of the face ``pam_verdict``, whose manuals say what they
take and return.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from _pam_dispatch import Entry, Handle, Program, Run, Step, compile
from _pam_errors import PamError, PamUsageError
from _pam_expand import Content, Handler
from _pam_given import Given, Results, answering, call_names
from _pam_grammar import RETURN_CODES, Libpam
from _pam_search import possible
from _pam_words import cited, place, told, why, written
from _text import printable

# Decide: every answer is known


def runs(
    service: str,
    calls: str | list[str],
    results: Results,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[Run]:
    """Calls of a service on one handle, when its modules answer as given; the arguments are those of ``decide``."""
    names, answer = call_names(calls), answering(results)
    program = compile(service, confdirs, libpam, files, names)
    if program.abort:
        return [Run("start", "abort", [], (), program.abort)]
    handle = Handle(program)
    return [handle.call(name, answer) for name in names]


def decide(
    service: str,
    calls: str | list[str],
    results: Results,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[dict[str, Any]]:
    """What a service's stack answers when its modules answer as given, and why."""
    return [told(run) for run in runs(service, calls, results, confdirs, libpam, files)]


def trace(
    service: str,
    calls: str | list[str],
    results: Results,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """What ``decide`` says, as text to be read."""
    lines = []
    for made in decide(service, calls, results, confdirs, libpam, files):
        lines.append(f"{made['call']} answers {made['code']}")
        for step in made["trace"]:
            lines.append(f"  {step['file']}:{step['line']}  {step['rule'] or ''}".rstrip())
            answer = f"{step['answer']} -> {step['action']}: " if step["answer"] else ""
            lines.append(f"      {answer}{step['why']}")
        if not made["trace"]:
            lines.append("  No module was asked.")
    return "\n".join(map(printable, lines))


# The line that decides


def decider(run: Run, gates: Callable[[Handler], bool], let_in: bool) -> Step | None:
    """
    The step that made a run's answer what it is; None where no module was asked.

    gates
        Which rules were to decide: where the user got in, those that were to keep him out; where he did not, those that
        would have let him in.
    let_in
        Whether the answer lets the user in, as the caller sees it: ``new_authtok_reqd`` may do so or not.

    In libpam the first refusal stays until something lifts it, and a line that is passed over says nothing. So

    - a call that is suspended is decided by the line that suspends it;
    - who got in by a grant did so at the last gate whose refusal would have counted or, if none would have, at the last
      gate: by the line that passed over it, or else by the one that lifted a refusal after it, or else by its answer;
    - a refusal, also one that lets the user in to change his password, came before a gate if a line passed over that
      gate while nothing had been refused yet: by that line;
    - otherwise the last line that changed the state decides and, if none did, the last one that was asked.

    Of a call with two passes only the last one counts.
    """
    if not run.steps:
        return None
    last = run.steps[-1]
    if last.effect == "suspend":
        return last
    steps = [step for step in run.steps if step.call == last.call]
    named = [entry for entry in run.stack if entry.rule["kind"] == "module" and gates(entry.rule)]
    found = _past if let_in and last.state[0] == "positive" else _missed
    changes = [step for step in steps if step.state != step.before]
    return found(steps, named) or (changes or steps)[-1]


def _past(steps: list[Step], gates: list[Entry]) -> Step | None:
    counting = [gate for gate in gates if gate.moves["perm_denied"][0] in ("bad", "die", "lost jump")]
    for gate in (counting or gates)[-1:]:
        if step := _passing(steps, gate):
            return step
        for step in reversed(steps):
            if step.entry is gate or step.before[0] == "negative" != step.state[0]:
                return step
    return None


def _missed(steps: list[Step], gates: list[Entry]) -> Step | None:
    for gate in reversed(gates):
        step = _passing(steps, gate)
        if step and step.before[0] != "negative":
            return step
    return None


def _passing(steps: list[Step], gate: Entry) -> Step | None:
    """The step that went from ahead of a gate to behind it."""
    return next((step for step in steps if step.entry.index < gate.index < step.next), None)


# Outcomes: some answers are known


def outcomes(
    service: str,
    call: str,
    given: dict[str, Any] | None = None,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[str]:
    """Every code that a call can return, sorted, when modules answer as given and the others anything at all."""
    (call,) = call_names([call], "call")
    known = Given(given or {}, "given")
    program = compile(service, confdirs, libpam, files, (call,))
    return sorted(possible(program, call, lambda entry, pass_: known.find(entry.rule, pass_) or RETURN_CODES))


# Prove: a policy's promises

# After acct_mgmt, an application lets a user in who changes the expired password: no denial, and no plain permit.
_LETS_IN = {"acct_mgmt": {"success", "new_authtok_reqd"}}


class _Expectation(NamedTuple):
    others: tuple[str, ...]  # what modules may answer that the scenario does not name
    violates: Callable[[str, str], bool]  # (call, code) -> whether the code breaks the promise
    promise: str


_EXPECTATIONS = {
    "permit": _Expectation(("success",), lambda call, code: code != "success", "must permit"),
    "deny": _Expectation(RETURN_CODES, lambda call, code: code in _LETS_IN.get(call, {"success"}), "must deny"),
    "unreached": _Expectation(RETURN_CODES, lambda call, code: code == "reached", "must not reach"),
}


class _Scenario(NamedTuple):
    name: str
    service: str
    calls: tuple[str, ...]
    given: Given
    expect: str
    module: str | None


def _scenarios(policy: Any) -> list[_Scenario]:
    """A policy, checked."""
    if not isinstance(policy, (list, tuple)):
        raise PamUsageError("policy: a list of scenarios is needed")
    scenarios = [_scenario(number, scenario) for number, scenario in enumerate(policy, 1)]
    names = [scenario.name for scenario in scenarios]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PamUsageError(f"policy: there are several scenarios named {twice[0]!r}")
    return scenarios


def _scenario(number: int, scenario: Any) -> _Scenario:
    if not isinstance(scenario, dict):
        raise PamUsageError(f"policy: scenario {number} is not a dictionary")
    where = f"policy: scenario {scenario.get('name', number)!r}"
    for key in ("name", "service"):
        if not isinstance(scenario.get(key), str) or not scenario[key]:
            raise PamUsageError(f"{where}: {key}: a text is needed")
    allowed = ("name", "service", "call", "given", "expect") + ("module",) * (scenario.get("expect") == "unreached")
    if unknown := [key for key in scenario if key not in allowed]:
        raise PamUsageError(f"{where}: {unknown[0]}: no such key; allowed are {', '.join(allowed)}")
    expect, module = scenario.get("expect"), scenario.get("module")
    if expect not in _EXPECTATIONS:
        raise PamUsageError(f"{where}: expect: {expect!r} is not one of {', '.join(_EXPECTATIONS)}")
    if expect == "unreached" and (not isinstance(module, str) or not module.split()):
        raise PamUsageError(f"{where}: module: the module that must not be reached is needed")
    given = scenario.get("given")
    return _Scenario(
        name=scenario["name"],
        service=scenario["service"],
        calls=call_names(scenario.get("call"), f"{where}: call"),
        given=Given({} if given is None else given, f"{where}: given"),
        expect=expect,
        module=module,
    )


def prove(
    policy: list[dict],
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[dict[str, Any]]:
    """For each scenario of a policy, whether a service's stack keeps it."""
    scenarios, programs, proofs = _scenarios(policy), {}, []
    for scenario in scenarios:
        if scenario.service not in programs:
            programs[scenario.service] = compile(scenario.service, confdirs, libpam, files)
        program = programs[scenario.service]
        broken = filter(None, (_counterexample(program, scenario, call) for call in scenario.calls))
        counterexample = next(broken, None)
        proofs.append(
            {
                "name": scenario.name,
                "holds": counterexample is None,
                "expect": scenario.expect,
                "counterexample": counterexample,
                "unmatched": _unmatched(program, scenario),
            }
        )
    return proofs


def _unmatched(program: Program, scenario: _Scenario) -> list[str]:
    """The keys of a scenario's given that answer for no rule that any of its calls could come to."""
    stacks = (program.stacks.get(call, ()) for call in scenario.calls)
    return scenario.given.unmatched(itertools.chain.from_iterable(stacks))


# What breaks a promise


def _counterexample(program: Program, scenario: _Scenario, call: str) -> dict[str, Any] | None:
    """The shortest way to break a scenario with one call, or None."""
    expectation = _EXPECTATIONS[scenario.expect]
    goal = _running(scenario.module) if scenario.module else None

    def choose(entry: Entry, pass_: str) -> tuple[str, ...]:
        always = entry.rule["always"].get(pass_)
        return scenario.given.find(entry.rule, pass_) or ((always,) if always else expectation.others)

    found = possible(program, call, choose, goal and (lambda entry: goal(entry.rule)))
    ways = [(code, answers) for code, answers in found.items() if expectation.violates(call, code)]
    if not ways:
        return None
    # Where there is a choice, the answers that people know.
    code, answers = min(ways, key=lambda way: (way[0] not in ("success", "perm_denied"), len(way[1])))
    if program.abort:
        return {
            "call": call,
            "answers": [],
            "decided_by": {"file": program.abort["file"], "line": program.abort["line"], "rule": None},
            "code": code,
            "why": f"{scenario.service} {expectation.promise}, but cannot be started: {program.abort['reason']}",
        }
    run = Handle(program).call(call, lambda entry, pass_: answers.get((pass_, entry.index), "abort"))
    if goal:
        steps = run.steps[: next((n for n, step in enumerate(run.steps, 1) if goal(step.entry.rule)), 0)]
        run = run._replace(steps=steps, code="reached" if steps else run.code)
    if run.code != code:
        raise PamError(
            f"policy: scenario {scenario.name!r}: the search found {code} and the run {run.code}: a bug in pam_verdict"
        )
    step = run.steps[-1] if goal else decider(run, _gates(scenario, run), let_in=scenario.expect == "deny")
    return {
        "call": call,
        "answers": [
            {"call": step.call, **cited(step.entry.rule), "answer": step.answer}
            for step in run.steps
            if step.entry.rule["kind"] == "module"
        ],
        "decided_by": cited(step.entry.rule) if step else None,
        "code": code,
        "why": _story(scenario, run, step),
    }


def _running(module: str) -> Callable[[Handler], bool]:
    """Whether a rule runs a module that must not be reached: from wherever, since a copy elsewhere does the same."""
    name, *args = module.split()

    def runs(rule: Handler) -> bool:
        names = (rule["module"], rule["module"].rpartition("/")[2]) if rule["kind"] == "module" else ()
        return name in names and set(args) <= set(rule["args"])

    return runs


def _gates(scenario: _Scenario, run: Run) -> Callable[[Handler], bool]:
    """The rules that a scenario relies on: to deny, those that never permit; to permit, those that always do."""

    def is_gate(rule: Handler) -> bool:
        answers = scenario.given.find(rule, run.steps[-1].call) or RETURN_CODES
        return "success" not in answers if scenario.expect == "deny" else answers == ("success",)

    return is_gate


_ADVICE = {
    "done": "Take that line out, or give it a control that does not end the stack, such as required.",
    "jump": "Take that line out, or let it jump less far.",
    "counted jump": "Take that line out, or let it jump less far.",
    "lost jump": "Take that line out, or let it jump less far.",
    "bad": "Take that line out, or give it a control that does not refuse, such as optional.",
    "die": "Take that line out, or give it a control that does not refuse, such as optional.",
    "reset": "Take that line out, or give it a control that does not reset, such as optional.",
    "suspend": "Take that line out; no control keeps a module from suspending the call.",
}
_TO_COUNT = "Give that line a control with which its answer counts, such as required."


def _advice(scenario: _Scenario, run: Run, step: Step | None) -> str:
    """What to do about a counterexample."""
    if scenario.expect == "unreached":
        return f"Take that line out, or let {scenario.service} include a file without it."
    if step is None or (scenario.expect == "deny" and scenario.given.unmatched(run.stack)):
        return f"Let {scenario.service} include the file that has what is missing."
    if step.entry.rule["kind"] == "must_fail":
        return "Repair that line, or take it out."
    if scenario.expect == "deny" and _gates(scenario, run)(step.entry.rule):
        return _TO_COUNT
    return _ADVICE.get(step.effect, _TO_COUNT)


def _story(scenario: _Scenario, run: Run, step: Step | None) -> str:
    """A counterexample in words."""
    call, promise, advice = run.call, _EXPECTATIONS[scenario.expect].promise, _advice(scenario, run, step)
    if scenario.expect == "unreached":
        return (
            f"{call} of {scenario.service} {promise} {scenario.module}, but gets to {place(step.entry.rule)}. {advice}"
        )
    parts = [f"{call} of {scenario.service} {promise}, but answers {run.code}."]
    if step:
        rule = step.entry.rule
        said = f"{rule['module']} answers {step.answer} there. " if rule["kind"] == "module" else ""
        parts.append(f"{place(rule)} ({written(rule)}) decides: {said}{why(step, run.stack)}")
    else:
        parts.append("No module is asked at all.")
    asked = {step.entry.index for step in run.steps}
    skipped = [e.rule for e in run.stack if scenario.given.names(e.rule) and e.index not in asked]
    parts.extend(f"{rule['module']} ({place(rule)}) is never asked." for rule in skipped)
    if scenario.expect == "deny":
        parts.extend(f"{key} is not in the stack." for key in scenario.given.unmatched(run.stack))
    return " ".join([*parts, advice])
