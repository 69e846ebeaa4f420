"""What a caller says about the modules: which calls are made, and what each module answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from _pam_dispatch import CALLS, PASSES, Entry
from _pam_errors import PamUsageError
from _pam_expand import Handler
from _pam_grammar import RETURN_CODES
from _pam_words import place

# new_authtok_reqd is no failure: PAM's keywords (required, sufficient) take it as they take success.
_SETS = {"any": RETURN_CODES, "failure": tuple(c for c in RETURN_CODES if c not in ("success", "new_authtok_reqd"))}


def call_names(calls: Any, where: str = "calls") -> tuple[str, ...]:
    """A call, several with commas, or a list of them."""
    names = [name.strip() for name in calls.split(",")] if isinstance(calls, str) else calls
    if not isinstance(names, (list, tuple)) or not names or not all(name in CALLS for name in names):
        raise PamUsageError(f"{where}: {calls!r} is not a call or a list of calls; calls are {', '.join(CALLS)}")
    return tuple(names)


def _codes(value: Any, where: str) -> tuple[str, ...]:
    """A code, a list of codes, ``any`` or ``failure``, as a tuple of codes."""
    if isinstance(value, str) and value in _SETS:
        return _SETS[value]
    codes = [value] if isinstance(value, str) else value
    if not isinstance(codes, (list, tuple)) or not codes or not all(code in RETURN_CODES for code in codes):
        raise PamUsageError(
            f"{where}: {value!r} is not an answer; allowed are {', '.join(_SETS)}, one of these codes"
            f" or a list of them: {', '.join(RETURN_CODES)}"
        )
    return tuple(sorted(set(codes), key=RETURN_CODES.index))


class Given:
    """
    What modules are said to answer. A key is a module, by its path or, if it is one of libpam's own, by its name, and
    perhaps some of its arguments; where several keys fit a rule, the one with most words wins, and a path wins over a
    name.
    """

    def __init__(self, given: Any, where: str) -> None:
        if not isinstance(given, dict):
            raise PamUsageError(f"{where}: {given!r} is not a dictionary of modules and their answers")
        self.where = where
        self._answers = {}
        for key, value in given.items():
            words = tuple(str(key).split())
            if not words:
                raise PamUsageError(f"{where}: {key!r} names no module")
            self._answers[words] = _by_call(value, f"{where}: {key}")
        self._found = {}

    def find(self, rule: Handler, call: str) -> tuple[str, ...] | None:
        """The codes that a rule's module may answer, or None where nothing is said."""
        name = (rule["module"], *rule["args"])
        if name not in self._found:
            self._found[name] = self._match(rule)
        words = self._found[name]
        return None if words is None else self._answers[words].get(call)

    def names(self, rule: Handler) -> bool:
        return rule["kind"] == "module" and self._match(rule) is not None

    def unmatched(self, stack: Iterable[Entry]) -> list[str]:
        """The keys that answer for no rule of a stack."""
        used = {self._match(entry.rule) for entry in stack if entry.rule["kind"] == "module"}
        return [" ".join(words) for words in self._answers if words not in used]

    def _match(self, rule: Handler) -> tuple[str, ...] | None:
        names = (rule["module"], rule["name"])
        fits = [
            words for words in self._answers if words[0] in names and all(word in rule["args"] for word in words[1:])
        ]
        if not fits:
            return None
        ranks = {words: (len(words), "/" in words[0]) for words in fits}
        best = [words for words in fits if ranks[words] == max(ranks.values())]
        if len(best) > 1:
            keys = " and ".join(repr(" ".join(words)) for words in best)
            raise PamUsageError(f"{self.where}: {keys} fit {place(rule)} equally; give more of its arguments")
        return best[0]


def _by_call(value: Any, where: str) -> dict[str, tuple[str, ...]]:
    """{call: codes}; an answer to every call where the value does not tell calls apart."""
    if not isinstance(value, dict):
        return dict.fromkeys(PASSES, _codes(value, where))
    if unknown := sorted(set(value) - set(PASSES), key=str):
        raise PamUsageError(f"{where}: {unknown[0]!r} is not a call; calls are {', '.join(PASSES)}")
    answers = {call: _codes(codes, f"{where}: {call}") for call, codes in value.items()}
    if "chauthtok" in answers:
        answers.setdefault("prechauthtok", answers["chauthtok"])
    return answers


# What a module answers, by name or as a function of its rule and the call.
Results = Mapping[str, Any] | Callable[[Handler, str], str]


def answering(results: Results) -> Callable[[Entry, str], str]:
    """A function (entry, call) -> code for what the caller gave as results."""
    return _asking(results) if callable(results) else _looking_up(Given(results, "results"))


def _asking(results: Callable[[Handler, str], str]) -> Callable[[Entry, str], str]:
    def answer(entry: Entry, call: str) -> str:
        (code,) = _codes([results(entry.rule, call)], f"results: {place(entry.rule)}")
        return code

    return answer


def _looking_up(given: Given) -> Callable[[Entry, str], str]:
    def answer(entry: Entry, call: str) -> str:
        codes = given.find(entry.rule, call)
        if codes is None:
            raise PamUsageError(f"results: no answer to {call} for {entry.rule['module']} ({place(entry.rule)})")
        if len(codes) > 1:
            raise PamUsageError(f"results: {entry.rule['module']}: one answer is needed, and there are {codes}")
        return codes[0]

    return answer
