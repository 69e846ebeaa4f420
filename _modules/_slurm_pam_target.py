"""Whether Salt can read a compound target: one that it cannot read matches no node, without a word."""

from __future__ import annotations

import ast
import ipaddress
import re

# As salt.utils.minions has them: the kinds of target, those with a delimiter of their own among them.
_TERM = re.compile(r"(?:(?P<kind>[A-Z])(?P<delimiter>(?<=[GPIJ])[^@\s])?@)?(?P<pattern>.+)")
_OPERATORS = ("and", "or", "not", "(", ")")


def is_target(text: str) -> bool:
    """
    Whether ``text`` is a compound target that Salt can read and that some minion could match.

    Source: salt/matchers/compound_match.py. Words stand apart, brackets as well. Each is an operator or a term, and all
    of them have to come to an expression.
    """
    words = text.split()
    if not words or not all(word in _OPERATORS or _is_term(word) for word in words):
        return False
    expression: list[str] = []
    for word in words:
        if word == "not" and expression and expression[-1] not in ("and", "or", "("):
            expression.append("and")
        expression.append(word if word in _OPERATORS else "True")
    try:
        ast.parse(" ".join(expression), mode="eval")
    except SyntaxError:
        return False
    # To Salt a bracket right behind a term is a call, and an empty pair is nothing.
    return not re.search(r"(True|\)) \(|\( \)", " ".join(expression))


def _is_term(word: str) -> bool:
    found = _TERM.fullmatch(word)
    if not found or not found["kind"]:
        # A bracket that is not a word of its own is part of a name, and no name has one.
        return bool(found) and not re.search(r"[()]", word)
    test = _KINDS.get(found["kind"])
    return test is not None and test(found["pattern"], found["delimiter"] or ":")


def _is_pair(pattern: str, delimiter: str) -> bool:
    """A key and what it is, such as ``os:SLES``."""
    key, _, value = pattern.partition(delimiter)
    return bool(key and value)


def _is_pair_of_pattern(pattern: str, delimiter: str) -> bool:
    return _is_pair(pattern, delimiter) and _is_expression(pattern.rpartition(delimiter)[2], delimiter)


def _is_expression(pattern: str, _delimiter: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError):  # the latter of a{99999999999}
        return False
    return True


def _is_network(pattern: str, _delimiter: str) -> bool:
    try:
        ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
    return True


def _is_anything(_pattern: str, _delimiter: str) -> bool:
    return True


_KINDS = {
    "G": _is_pair,
    "P": _is_pair_of_pattern,
    "I": _is_pair,
    "J": _is_pair_of_pattern,
    "L": _is_anything,
    "N": _is_anything,
    "S": _is_network,
    "E": _is_expression,
    "R": _is_anything,
}
