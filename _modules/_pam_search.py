"""
Where libpam can come to in a stack when some of its modules' answers are not known.

States and not paths are followed, so the work grows with the length of the stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from _pam_dispatch import (
    CALLS,
    EFFECTS,
    FRESH,
    GRANTED,
    Entry,
    Move,
    Program,
    Stack,
    State,
    grant,
    link,
    refuse,
    suspended,
    verdict,
)
from _pam_grammar import RETURN_CODES

# What a module may say, and the answer that chooses the action: another one in a frozen call alone.
Answer = tuple[str, str]

# Where several answers would do, an example has the one that people know best.
_BEST_KNOWN = ("success", "perm_denied", "auth_err", "ignore")
_SAME = {code: (code, code) for code in RETURN_CODES}

# The status of a substack's beginning, where it makes no difference to the substack which one it is.
_INHERITED = "as it was"


class Search:
    """
    Every state in which libpam can leave a stack when each entry may give any of answers(entry).

    States and not paths are followed, so the work grows with the length of the stack. ``reset`` returns to the state in
    which a substack was entered; such a substack is searched once for each *kind* of state that can enter it.
    """

    def __init__(
        self,
        stack: Stack,
        answers: Callable[[Entry], Iterable[Answer]],
        goal: Callable[[Entry], bool] = lambda entry: False,
    ) -> None:
        self._stack = stack
        self._edges = [self._edges_of(entry, answers, goal(entry)) for entry in stack]
        self._resetting = {entry.index for entry in stack if entry.enters and self._resets(entry)}
        self._searched = {}
        self._seen = self._explore(0, len(stack), FRESH)

    def ends(self) -> list[tuple[int, State]]:
        """The (index, state) in which the stack is left. The index tells a suspended call and a reached goal."""
        return [key for key in self._seen if key[0] >= len(self._stack)]

    def visited(self) -> set[int]:
        """The indexes of the entries that libpam can come to."""
        found = itertools.chain(self._seen, *self._searched.values())
        return {at for at, _ in found if at < len(self._stack)}

    def _edges_of(
        self, entry: Entry, answers: Callable[[Entry], Iterable[Answer]], is_goal: bool
    ) -> dict[Move, list[Answer]]:
        """The rule's possible answers, grouped by what they do."""
        if not entry.moves:
            return {}
        edges = {}
        for answer in [_SAME[entry.fixed]] if entry.fixed else sorted(answers(entry), key=_is_little_known):
            move = ("jump", _reached(self._stack)) if is_goal else entry.moves[answer[1]]
            edges.setdefault(move, []).append(answer)
        return edges

    def _resets(self, first: Entry) -> bool:
        """Whether the substack that begins with this entry may go back to the state in which it was entered."""
        return any(
            effect == "reset"
            for entry in self._stack[first.index : first.end]
            if entry.level == first.level
            for effect, _ in self._edges[entry.index]
        )

    def _explore(self, start: int, end: int, entered: State) -> dict:
        """{(index, state): how it was first reached} for stack[start:end] and where it leads."""
        seen = {(start, entered): None}
        waiting = [(start, entered)]
        for key in waiting:
            if start <= key[0] < end:
                for found, how in self._successors(*key, entered):
                    if found not in seen:
                        seen[found] = (key, how)
                        waiting.append(found)
        return seen

    def _successors(self, at: int, state: State, saved: State) -> list[tuple]:
        entry = self._stack[at]
        if not entry.moves:
            return self._through_substack(at, state)
        found = []
        for (effect, target), answers in self._edges[at].items():
            grants = EFFECTS[effect] is grant and state in (FRESH, GRANTED)
            refuses = EFFECTS[effect] is refuse and state[0] != "negative"
            # Where the answer leaves no trace in the state, one stands for all.
            for said, chosen in answers if grants or refuses else answers[:1]:
                after = EFFECTS[effect](state, saved, said, chosen)
                stops = effect != "done" or after[0] == "positive"
                found.append(((target if stops else at + 1, after), (at, said)))
        return found

    def _through_substack(self, marker: int, state: State) -> list[tuple]:
        body = marker + 1
        if body not in self._resetting:
            return [((body, state), None)]
        entered = state if state in (FRESH, GRANTED) else (state[0], _INHERITED)
        end = self._stack[body].end
        if (body, entered) not in self._searched:
            self._searched[body, entered] = self._explore(body, end, entered)
        found = []
        for leaf in self._searched[body, entered]:
            at, (impression, status) = leaf
            if not body <= at < end:
                after = (impression, state[1] if status == _INHERITED else status)
                found.append(((at, after), ((body, entered), leaf)))
        return found

    def path(self, key: tuple[int, State], seen: dict | None = None) -> list[tuple[int, str]]:
        """The answers on a shortest way to a state: [(index, code)]."""
        seen = self._seen if seen is None else seen
        steps = []
        while seen[key]:
            key, how = seen[key]
            if how and isinstance(how[0], int):
                steps.append(how)
            elif how:
                inside, leaf = how
                steps.extend(reversed(self.path(leaf, self._searched[inside])))
        return steps[::-1]


def possible(
    program: Program,
    name: str,
    choose: Callable[[Entry, str], Iterable[str]],
    goal: Callable[[Entry], bool] | None = None,
) -> dict[str, dict[tuple[str, int], str]]:
    """
    Every code that a call on a fresh handle can return: {code: {(pass, index): answer}}, an example for each.

    choose(entry, pass) gives the answers that a module may give. With a goal, the ways to an entry for which
    goal(entry) is true are there as the code "reached".
    """
    if program.abort:
        return {} if goal else {"abort": {}}
    stack, found, way = program.stacks[name], {}, {}
    special = {suspended(stack): "incomplete", _reached(stack): "reached"}
    for pass_ in CALLS[name].passes:
        search = Search(
            stack,
            lambda entry, pass_=pass_: [_SAME[code] for code in choose(entry, pass_)],
            goal or (lambda entry: False),
        )
        for end in search.ends():
            at, state = end
            code = special.get(at) or verdict(state)
            if code not in found:
                found[code] = way | {(pass_, index): answer for index, answer in search.path(end)}
        if "success" not in found:
            break
        if pass_ != CALLS[name].passes[-1]:
            way = found.pop("success")
    return found


def reachable(expanded: Mapping[str, Any], facility: str) -> set[int]:
    """The places of a facility's handlers that libpam can come to, by any call and whatever the modules answer."""
    places = {id(handler): place for place, handler in enumerate(expanded["types"][facility])}
    found = set()
    for name, call in CALLS.items():
        if call.facility == facility:
            stack = link(expanded, name)
            search = Search(stack, lambda entry, frozen=call.frozen: _one_of_each(entry, frozen))
            found |= {places[id(stack[at].rule)] for at in search.visited()}
    return found


def _one_of_each(entry: Entry, frozen: bool) -> list[Answer]:
    """An answer for each thing that the answers can do; which of them it is makes no difference to the way."""
    if entry.rule["always"]:
        # A frozen call goes the way of what the module answered to the other.
        return [_SAME[code] for code in entry.rule["always"].values()]
    # Of several that do the same the last one stands, which is ignore only where there is no other.
    codes = {entry.moves[code]: code for code in sorted(RETURN_CODES, key=lambda code: code != "ignore")}
    answers = [_SAME[code] for code in codes.values()]
    if frozen:
        # An ignore that goes the way of another answer grants nothing.
        answers += [("ignore", code) for code in codes.values()]
    return answers


def _is_little_known(answer: Answer) -> bool:
    return answer[0] not in _BEST_KNOWN


def _reached(stack: Stack) -> int:
    """The place, behind every end, where a search leads that has reached its goal."""
    return len(stack) + 2
