"""What is surely or probably wrong with a service's files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import _pam_expand
import _pam_grammar
from _pam_dispatch import Ways, action, ways
from _pam_errors import PamError
from _pam_expand import Content, Handler
from _pam_grammar import Entry, Libpam
from _pam_search import reachable
from _pam_words import place

_OLD, _NEW = "1.5.3", "1.6.0"  # the last libpam before, and the first after, lines came to be read differently

Finding = dict[str, Any]
# What is found wrong with a line: (severity, finding, remedy).
Check = tuple[str, str, str]

# What to do about a file that cannot be read as libpam would, and about one that a line includes in vain.
_REMEDIES = {
    "unreadable": "Look at it as root, as libpam does.",
    "special": "Put a file there, or a link to one.",
    "large": "Put the file there that is meant.",
    "nameless": "Name the module or the file, or remove the line.",
    "unset": "Put the file there, or remove the line.",
    "circle": "Break the circle: let one of the files not include the other.",
    "long": "Break the circle, or shorten the files.",
    "unnamed": "Name a file, or remove the line.",
    "missing": "Put the file there, or remove the line.",
    "deep": "Nest the files less deeply; perhaps one of them includes itself.",
    "given up": "Correct the included file; until then the lines behind that one are not run.",
}


def lint(
    service: str,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[Finding]:
    """The findings about every file that ``pam_start`` opens for a service, in the order in which it reads them."""
    found = _pam_expand.expand(service, confdirs=confdirs, libpam=libpam, files=files, strict=False)
    libpam, confdirs = found["libpam"], found["confdirs"]
    findings = [
        _finding(refusal["file"], refusal["line"], "error", refusal["reason"], _REMEDIES[refusal["kind"]])
        for refusal in found["refused"]
    ]
    findings += _start_findings(found)
    differing = []
    for path in found["opened"]:
        findings += _file_findings(path, libpam, files)
        differing += _generation_findings(path, libpam, files)
    findings += differing or _nesting_findings(service, confdirs, libpam, files)
    for type_ in found["types"]:
        findings += _stack_findings(found, type_)
    order = {path: number for number, path in enumerate(found["opened"])}
    return sorted(_once(findings), key=lambda finding: (order.get(finding["file"], -1), finding["line"] or 0))


def _finding(file: str | None, line: int | None, severity: str, finding: str, remedy: str) -> Finding:
    return {"file": file, "line": line, "severity": severity, "finding": finding, "remedy": remedy}


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Findings without repetition: a line that is included twice is wrong once."""
    return list({tuple(finding.values()): finding for finding in findings}.values())


# A service and its files


def _start_findings(found: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with a service as a whole."""
    abort = found["abort"]
    if abort:
        yield _finding(
            abort["file"],
            abort["line"],
            "error",
            f"libpam cannot start the service: {abort['reason']}",
            f"{'Correct the line' if abort['file'] else 'Put a file there'}; until then every call of it fails.",
        )
    elif not any(found["from"].values()) and not found["refused"]:
        yield _finding(
            found["opened"][0],
            None,
            "error",
            "neither the service nor other comes to any rule, so every call of the service is denied",
            "Put the service's lines there, or those for all services into other.",
        )


def _file_findings(path: str, libpam: Libpam, files: dict[str, Content] | None) -> Iterator[Finding]:
    """What is wrong with a file's lines, each by itself."""
    for entry in _pam_expand.read(path, libpam=libpam, files=files):
        line = entry["line"]
        if entry["kind"] == "invalid":
            yield _finding(
                path, line, "error", f"libpam cannot use this line: {entry['reason']}", "Correct it or comment it out."
            )
        elif entry["kind"] == "rule":
            try:
                _pam_grammar.actions(entry["control"], libpam=libpam)
            except PamError as error:
                yield _finding(path, line, "error", str(error), "Correct the control; pam.conf(5) has the words.")
        words = [entry.get("module"), entry.get("target"), *entry.get("args", [])]
        if any("\r" in word for word in words if word):
            yield _finding(
                path,
                line,
                "error",
                "a carriage return is part of a word, as in files written on Windows",
                "Take the carriage returns out of the file.",
            )


# The two generations of libpam


def _generations(libpam: Libpam) -> list[Libpam]:
    return [{**libpam, "version": version} for version in (_OLD, _NEW)]


def _generation_findings(path: str, libpam: Libpam, files: dict[str, Content] | None) -> Iterator[Finding]:
    """The first line of a file that the two generations of libpam take for different things, and such controls."""
    read = [_pam_expand.read(path, libpam=generation, files=files) for generation in _generations(libpam)]
    for old, new in itertools.zip_longest(*read):
        if old is None or new is None or _meaning(old) != _meaning(new):
            yield _finding(
                path,
                (old or new)["line"],
                "warning",
                f"libpam up to {_OLD} reads the lines from here on differently than libpam from {_NEW} on",
                "Let no blank or comment line follow a continued one, keep lines below 1024 bytes and without NULs.",
            )
            return
        if old["kind"] == "rule":
            actions = [_actions(old["control"], generation) for generation in _generations(libpam)]
            if actions[0] != actions[1]:
                yield _finding(
                    path,
                    old["line"],
                    "warning",
                    f"{old['control']} jumps further than libpam up to {_OLD} counts, and is an error from {_NEW} on",
                    "Let the jump be as long as there are lines.",
                )


def _meaning(entry: Entry) -> Entry:
    """What libpam makes of a line, and which line it is."""
    return {key: value for key, value in entry.items() if key != "text"}


def _actions(control: str, libpam: Libpam) -> dict[str, Any] | None:
    """What libpam makes of a control; none where it has an error."""
    try:
        return _pam_grammar.actions(control, libpam=libpam)
    except PamError:
        return None


def _nesting_findings(
    service: str, confdirs: list[str], libpam: Libpam, files: dict[str, Content] | None
) -> Iterator[Finding]:
    """The first place from which on the two generations make different stacks of the same lines."""
    old, new = (
        _pam_expand.expand(service, confdirs=confdirs, libpam=generation, files=files, strict=False)
        for generation in _generations(libpam)
    )
    for type_ in old["types"]:
        for pair in itertools.zip_longest(old["types"][type_], new["types"][type_]):
            if _effect(pair[0]) != _effect(pair[1]):
                handler = min(filter(None, pair), key=lambda handler: handler["kind"] != "must_fail")
                yield _finding(
                    handler["file"],
                    handler["line"],
                    "warning",
                    f"libpam up to {_OLD} makes another {type_} stack from here on than libpam from {_NEW} on",
                    "Nest files at most 15 levels deep, and name a module or a file in each line.",
                )
                return


def _effect(handler: Handler | None) -> Handler | None:
    """What a handler does, whichever words say why."""
    return handler and {key: value for key, value in handler.items() if key not in ("reason", "fault")}


# A stack's lines where they stand


def _stack_findings(found: dict[str, Any], type_: str) -> Iterator[Finding]:
    """What is wrong with a stack's lines; where lines are missing, less what depends on the others."""
    stack, whole = found["types"][type_], not found["refused"]
    reached = reachable(found, type_) if whole else range(len(stack))
    for index, (handler, leads) in enumerate(zip(stack, ways(stack))):
        checks = [
            _unusable(handler),
            _missing_module(handler, found["libpam"].get("module_dirs")),
            _silent(handler),
            _granting_ignore(handler),
            _outside(handler, found["confdirs"]),
        ]
        if whole:
            checks += _jumps(stack, index, leads)
        if index not in reached and handler["name"] != "pam_deny.so":
            checks.append(
                ("warning", f"no answer leads to this line of {type_}", "Move it up, or remove it: it is never run.")
            )
        for check in filter(None, checks):
            yield _finding(handler["file"], handler["line"], *check)


def _unusable(handler: Handler) -> Check | None:
    if handler["fault"] is None:
        return None
    return "error", f"the line always answers perm_denied: {handler['reason']}", _REMEDIES[handler["fault"]]


def _missing_module(handler: Handler, directories: list[str] | None) -> Check | None:
    module = handler["module"]
    if handler["kind"] != "module" or not directories or "$ISA" in module:
        return None
    if any(os.path.exists(os.path.join(directory, module.rstrip("\r"))) for directory in directories):
        return None
    if action(handler, "module_unknown") == "ignore":
        return None
    return (
        "error",
        f"there is no {module} in {', '.join(directories)}: the line answers module_unknown, which it does not ignore",
        "Install the module, or remove the line.",
    )


def _silent(handler: Handler) -> Check | None:
    if handler["kind"] != "module" or not handler["silent"] or action(handler, "module_unknown") == "ignore":
        return None
    return (
        "warning",
        "the - keeps a missing module out of the log, but does not let the stack pass without it",
        "Where it may be missing use optional, or [... module_unknown=ignore].",
    )


def _granting_ignore(handler: Handler) -> Check | None:
    if handler["kind"] != "module" or handler["always"] or action(handler, "ignore") not in ("ok", "done"):
        return None
    return (
        "warning",
        "an answer of ignore counts as a grant here, and can become the answer of the whole stack",
        "Add ignore=ignore to the control.",
    )


def _outside(handler: Handler, confdirs: list[str]) -> Check | None:
    """An included file that is in none of libpam's directories."""
    directory = os.path.dirname(handler["file"])
    if directory in [name.rstrip("/") for name in confdirs] or os.path.basename(handler["file"]) == "pam.conf":
        return None
    return (
        "warning",
        f"{handler['file']} is in none of {', '.join(confdirs)}, where those who look after PAM would look for it",
        "Move it there and include it by its name.",
    )


def _jumps(stack: list[Handler], at: int, leads: Ways) -> Iterator[Check]:
    """What is wrong with where a handler's jumps go."""
    handler = stack[at]
    if handler["kind"] != "module":
        return
    for taken, (index, lost) in leads.items():
        if not isinstance(taken, int):
            continue
        landing = stack[index] if index < len(stack) else handler
        if lost:
            yield (
                "error",
                f"a jump of {taken} runs out of lines, which fails the stack with perm_denied",
                "Make the jump shorter.",
            )
        # One over the lines of its own file up to the last lands where that file ends, whatever follows there.
        elif (
            landing["level"] == handler["level"]
            and landing["file"] != handler["file"]
            and _last_passed(stack, at, index)["file"] != handler["file"]
        ):
            yield (
                "warning",
                f"a jump of {taken} lands in another file, at {place(landing)}",
                "Let it land in its own file, for example on a line with pam_permit.so, or make that file a substack.",
            )


def _last_passed(stack: list[Handler], at: int, landing: int) -> Handler:
    """The last handler that a jump counts: a substack counts as one, together with what is in it."""
    level = stack[at]["level"]
    return next(stack[index] for index in range(landing - 1, at, -1) if stack[index]["level"] == level)
