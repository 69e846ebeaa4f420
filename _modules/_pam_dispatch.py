"""
What libpam does with a stack and its modules' answers: ``_pam_dispatch_aux`` in ``libpam/pam_dispatch.c``.

A service is compiled to entries that know where each answer leads. Here they are run, with an answer of every module;
``_pam_search`` follows them where some answers are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import _pam_expand
from _pam_expand import Content, Handler
from _pam_grammar import RETURN_CODES, Action, Libpam


class Call(NamedTuple):
    facility: str
    passes: tuple[str, ...]  # the calls that modules see
    frozen: bool = False  # follows the way that the facility's other call took on the same handle


CALLS = {
    "authenticate": Call("auth", ("authenticate",)),
    "setcred": Call("auth", ("setcred",), frozen=True),
    "acct_mgmt": Call("account", ("acct_mgmt",)),
    "open_session": Call("session", ("open_session",)),
    "close_session": Call("session", ("close_session",), frozen=True),
    "chauthtok": Call("password", ("prechauthtok", "chauthtok")),
}
PASSES = tuple(name for call in CALLS.values() for name in call.passes)

# Where an action leads

# {action: (the index to go on with, whether a jump runs out of handlers)}
Ways = dict[Action, tuple[int, bool]]


def ways(handlers: list[Handler]) -> list[Ways]:
    """
    Where the actions of each handler of one facility lead; the index behind the last handler is the end.

    For ``done`` it is where a stack that has not failed goes. A jump passes over so many handlers of its own
    (sub)stack, where a nested substack counts as one, together with what is in it. One that runs out of them is lost,
    which counts as a refusal.
    """
    found = []
    for index, (handler, (places, number)) in enumerate(zip(handlers, _places(handlers))):
        ahead, end = (index + 1, False), (places[-1], False)
        leads = {"ignore": ahead, "ok": ahead, "done": end, "bad": ahead, "die": end, "reset": ahead}
        for action in set(handler["actions"]):
            if isinstance(action, int):
                leads[action] = _landing(places, number + action) if action > 0 else (index + 1, True)
        found.append(leads)
    return found


def _landing(places: list[int], number: int) -> tuple[int, bool]:
    return (places[number], False) if number < len(places) else (places[-1], True)


def _places(handlers: list[Handler]) -> list[tuple[list[int], int]]:
    """
    For each handler (places, number): the indexes of its (sub)stack's handlers, less those of nested substacks, with
    the one behind the (sub)stack last, and how many of them are not behind this handler.
    """
    found, entered = [], []
    for index, level in enumerate(handler["level"] for handler in handlers):
        while entered and entered[-1][0] > level:
            entered.pop()[1].append(index)
        if not entered or entered[-1][0] < level:
            entered.append((level, []))
        places = entered[-1][1]
        places.append(index)
        found.append((places, len(places)))
    for _, places in entered:
        places.append(len(handlers))
    return found


def action(handler: Handler, code: str) -> Action:
    """What a handler does with an answer."""
    return handler["actions"][RETURN_CODES.index(code)]


# One answer: what it makes of the state

# (impression, status). Nothing has been said while it is FRESH; only FRESH and GRANTED take a grant.
State = tuple[str, str]
FRESH = ("undefined", "perm_denied")
GRANTED = ("positive", "success")
_LOST = ("negative", "perm_denied")


def _keep(state: State, _saved: State, _answer: str, _chosen: str) -> State:
    return state


def grant(state: State, _saved: State, answer: str, chosen: str) -> State:
    """``ok``. In a frozen call the answer that chose the way may differ, and then ``ignore`` does not count."""
    if state in (FRESH, GRANTED) and (answer != "ignore" or chosen == answer):
        return ("positive", answer)
    return state


def refuse(state: State, _saved: State, answer: str, _chosen: str) -> State:
    """``bad``: the first refusal stays."""
    if state[0] == "negative":
        return state
    return ("negative", "perm_denied" if answer == "ignore" else answer)


def _reset(_state: State, saved: State, _answer: str, _chosen: str) -> State:
    return saved


def _lose(_state: State, _saved: State, _answer: str, _chosen: str) -> State:
    return _LOST


EFFECTS = {
    "ignore": _keep,
    "ok": grant,
    "done": grant,
    "bad": refuse,
    "die": refuse,
    "reset": _reset,
    "jump": _keep,
    "counted jump": grant,  # upstream's way of jumping in a frozen call
    "lost jump": _lose,  # it would leave the (sub)stack
    "suspend": _keep,
}


def verdict(state: State) -> str:
    """What libpam returns to the application at the end of the stack."""
    impression, status = state
    return "perm_denied" if status == "success" and impression != "positive" else status


# Compile: from handlers to entries that know where each answer leads

Move = tuple[str, int]  # effect, next index


class Entry(NamedTuple):
    index: int
    rule: Handler
    level: int
    enters: bool  # the first of a substack
    end: int  # the index behind its (sub)stack
    moves: dict[str, Move]  # by code; empty for a substack's marker, which only holds a place
    fixed: str | None  # the answer of a line that libpam cannot use


Stack = tuple[Entry, ...]


class Program(NamedTuple):
    abort: dict[str, Any] | None  # pam_start fails, and there are no stacks
    stacks: dict[str, Stack]  # by call


def compile(
    service: str,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
    calls: Iterable[str] = tuple(CALLS),
) -> Program:
    """A service as a program that can be run and searched many times; the arguments are those of ``expand``."""
    expanded = _pam_expand.expand(service, confdirs=confdirs, libpam=libpam, files=files)
    if expanded["abort"]:
        return Program(expanded["abort"], {})
    return Program(None, {name: link(expanded, name) for name in calls})


def link(expanded: Mapping[str, Any], name: str) -> Stack:
    """The stack of one call, of what ``expand`` found."""
    call, jump = CALLS[name], "jump"
    if call.frozen and not expanded["libpam"]["debian"]:
        jump = "counted jump"
    handlers = [handler for handler in expanded["types"][call.facility] if handler["paired"] or not call.frozen]
    entries, above, waiting = [], 0, suspended(handlers)
    for index, (handler, leads) in enumerate(zip(handlers, ways(handlers))):
        level = handler["level"]
        entries.append(
            Entry(
                index=index,
                rule=handler,
                level=level,
                enters=level > above,
                end=leads["done"][0],
                moves={} if handler["kind"] == "substack" else _moves(handler, leads, jump, waiting),
                fixed="perm_denied" if handler["kind"] == "must_fail" else None,
            )
        )
        above = level
    return tuple(entries)


def _moves(handler: Handler, leads: Ways, jump: str, waiting: int) -> dict[str, Move]:
    moves_of = {
        action: (("lost jump" if lost else jump) if isinstance(action, int) else action, index)
        for action, (index, lost) in leads.items()
    }
    moves = dict(zip(RETURN_CODES, itemgetter(*handler["actions"])(moves_of)))
    moves["incomplete"] = ("suspend", waiting)
    return moves


def suspended(stack: Sequence) -> int:
    """The place, behind every end, where a suspended call waits."""
    return len(stack) + 1


# Run: every answer is known


class Step(NamedTuple):
    call: str  # as the module sees it
    entry: Entry
    answer: str
    chosen: str  # the answer that chose the action: an earlier one in a frozen call
    effect: str
    before: State
    state: State
    next: int


class Run(NamedTuple):
    """One call of the application, and what came of it."""

    call: str
    code: str
    steps: list[Step]
    stack: Stack
    abort: dict[str, Any] | None = None  # why the service could not be started; then nothing was called


class Handle:
    """What libpam keeps from call to call: the answers that freeze a way, and a call that a module suspended."""

    def __init__(self, program: Program) -> None:
        self._stacks = program.stacks
        self._chosen = {call.facility: {} for call in CALLS.values()}
        self._suspended = None

    def call(self, name: str, answer: Callable[[Entry, str], str]) -> Run:
        """One call of the application; answer(entry, call) asks a module."""
        facility, passes, frozen = CALLS[name]
        stack, chosen = self._stacks[name], self._chosen[facility]
        first, at, state, saved = 0, 0, FRESH, {0: FRESH}
        if self._suspended:
            waiting, first, at, state, saved = self._suspended
            if waiting != name:
                return Run(name, "abort", [], stack)
            self._suspended = None
        steps = []
        for number in range(first, len(passes)):
            at, state = self._walk(stack, passes[number], answer, chosen, frozen, at, state, saved, steps)
            if at < len(stack):
                self._suspended = (name, number, at, state, saved)
                return Run(name, "incomplete", steps, stack)
            code = verdict(state)
            if code != "success":
                break
            at, state, saved = 0, FRESH, {0: FRESH}
        return Run(name, code, steps, stack)

    @staticmethod
    def _walk(
        stack: Stack,
        call: str,
        answer: Callable[[Entry, str], str],
        chosen: dict[int, str],
        frozen: bool,
        at: int,
        state: State,
        saved: dict[int, State],
        steps: list[Step],
    ) -> tuple[int, State]:
        """Follow a stack to its end, or to the module that suspends the call: (index, state)."""
        while at < len(stack):
            entry = stack[at]
            if entry.enters:
                saved[entry.level] = state
            if not entry.moves:
                at += 1
                continue
            said = entry.fixed or answer(entry, call)
            went = said
            if said != "incomplete":
                # The frozen call's stack may lack a handler, so its indices may differ.
                if frozen:
                    went = chosen.get(id(entry.rule), said)
                else:
                    chosen[id(entry.rule)] = said
            effect, target = entry.moves[went]
            before, state = state, EFFECTS[effect](state, saved[entry.level], said, went)
            if effect == "done" and state[0] != "positive":
                target = at + 1
            steps.append(Step(call, entry, said, went, effect, before, state, target))
            if effect == "suspend":
                break
            at = target
        return at, state
