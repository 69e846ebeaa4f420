"""
Look at PAM stacks: as a table, as a picture, and for what is wrong with them.

These are functions of :py:mod:`pam_stack <salt.modules.pam_stack>`, which reads what is shown here.
"""

import functools
import itertools
import os

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pam_stack"

_TYPES = ("auth", "account", "password", "session")
_OLD, _NEW = "1.5.3", "1.6.0"  # the last libpam before, and the first after, lines came to be read differently


# For people: half as long as Salt's nested output, and what a terminal would take for a command is escaped. It is data
# all the same, for --out=json and in Python.
__outputter__ = {"lint": "yaml"}


def __virtual__():  # noqa: N807
    return __virtualname__


def _check(value, kind, allowed):
    if value not in allowed:
        raise SaltInvocationError(f"{value!r} is not a {kind}; there are {', '.join(allowed)}")


@functools.lru_cache(maxsize=1)
def _codes():
    """The return codes, by libpam's number."""
    return tuple(__salt__["pam_stack.actions"]("required"))


def _printable(text):
    """A text that a terminal takes no commands from."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _stacks(service, **reading):
    """The service's expansion; one that libpam aborts on raises."""
    found = __salt__["pam_stack.expand"](service, **reading)
    if abort := found["abort"]:
        place = f"{abort['file']}:{abort['line']}: " if abort["file"] else ""
        raise CommandExecutionError(f"libpam cannot start {service}: {place}{abort['reason']}")
    return found


def _place(handler):
    return f"{handler['file']}:{handler['line']}"


def _words(handler):
    """A handler's control, module and arguments."""
    return " ".join(word for word in (_control(handler), handler["module"], *handler["args"]) if word)


def _control(handler):
    return handler["control"] or "(no control)"


# --- a table ---


def show(service, type=None, confdirs=None, libpam=None, files=None):
    """
    Return a service's effective stack as a table: every line libpam runs, includes and substacks followed, with the
    file and line it comes from.

    type
        Only this of ``auth``, ``account``, ``password`` and ``session``.

    confdirs, libpam, files
        As for :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`.

    The lines of a substack are indented. A line libpam cannot use is marked with ``!`` and the reason. Characters that
    cannot be printed are escaped.

    A service that libpam cannot start raises ``CommandExecutionError``, and an argument that is not what it may be
    ``SaltInvocationError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.show sshd
        salt-call pam_stack.show sshd account
    """
    if type is not None:
        _check(type, "type", _TYPES)
    found = _stacks(service, confdirs=confdirs, libpam=libpam, files=files)
    return "\n".join(_table(name, found["types"][name], found["from"][name]) for name in _TYPES if type in (None, name))


def _table(type_, handlers, origin):
    rows = [
        [
            f"{number:>4}",
            "  " * handler["level"] + ("-" if handler["silent"] else "") + _printable(_control(handler)),
            _printable(" ".join([handler["module"] or "(no module)", *handler["args"]])),
            _printable(_place(handler) + (f"  ! {handler['reason']}" if handler["reason"] else "")),
        ]
        for number, handler in enumerate(handlers, 1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([f"{type_} ({f'from {origin}' if origin else 'nothing, so it is denied'})", *lines, ""])


# --- a picture ---

_END = "finish"  # Mermaid keeps "end" for itself
_SHAPES = {
    "mermaid": {
        "head": "flowchart TD",
        "node": '  {name}["{label}"]',
        "round": '  {name}(["{label}"])',
        "open": '  subgraph {name}["{label}"]',
        "close": "  end",
        "edge": '  {source} -->|"{label}"| {target}',
        "plain": "  {source} --> {target}",
        "foot": "",
        "break": "<br/>",
        "escapes": {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\\": "#92;"},
    },
    "dot": {
        "head": 'digraph stack {\n  node [shape=box fontname="sans-serif"]\n  edge [fontname="sans-serif"]',
        "node": '  {name} [label="{label}"]',
        "round": '  {name} [label="{label}" shape=oval]',
        "open": '  subgraph cluster_{name} {{\n  label="{label}"',
        "close": "  }",
        "edge": '  {source} -> {target} [label="{label}"]',
        "plain": "  {source} -> {target}",
        "foot": "}",
        "break": "\\n",
        "escapes": {"\\": "\\\\", '"': '\\"'},
    },
}


def diagram(service, type, format="mermaid", confdirs=None, libpam=None, files=None):
    """
    Return a picture of a service's stack of one type, as text for Mermaid or Graphviz: each line a box, each way from
    it an arrow with the answers that take it, each substack a frame.

    format
        ``mermaid`` or ``dot``.

    confdirs, libpam, files
        As for :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`.

    An arrow for ``done`` holds where nothing has failed before; a stack that has failed goes on to the next line.
    Characters that cannot be printed are escaped. On the command line Salt writes the node's name above it: without
    that line, ``salt-call pam_stack.diagram sshd account format=dot | tail -n +2 | dot -Tsvg`` draws it.

    A service that libpam cannot start raises ``CommandExecutionError``, and an argument that is not what it may be
    ``SaltInvocationError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.diagram sshd account
        salt-call pam_stack.diagram sshd auth format=dot
    """
    _check(format, "format", _SHAPES)
    _check(type, "type", _TYPES)
    shape = _SHAPES[format]
    handlers = _stacks(service, confdirs=confdirs, libpam=libpam, files=files)["types"][type]
    escapes = str.maketrans(shape["escapes"])

    def escaped(text):
        return _printable(text).translate(escapes)

    def line(kind, label=(), **names):
        return shape[kind].format(label=shape["break"].join(map(escaped, label)), **names)

    lines, level = [shape["head"], line("round", [f"{service} {type}"], name="start")], 0
    for index, handler in enumerate(handlers):
        lines += [shape["close"]] * (level - handler["level"])
        level = handler["level"]
        mark = [f"! {handler['reason']}"] if handler["reason"] else []
        lines.append(line("node", [f"{index + 1}. {_words(handler)}", _place(handler), *mark], name=f"n{index}"))
        if index + 1 < len(handlers) and handlers[index + 1]["level"] > level:
            lines.append(line("open", [f"substack {handler['module']}"], name=f"s{index}"))
    lines += [shape["close"]] * level
    names = [*(f"n{index}" for index in range(len(handlers))), _END]
    edges = [line("plain", source="start", target=names[0])]
    for index, (handler, ways) in enumerate(zip(handlers, __salt__["pam_stack.ways"](handlers))):
        if handler["kind"] == "substack":
            edges.append(line("plain", source=names[index], target=names[index + 1]))
            continue
        for target, labels in _arrows(handler, ways).items():
            edges.append(line("edge", labels, source=names[index], target=names[target]))
    lines.append(line("round", ["the end"], name=_END))
    return "\n".join([*lines, *edges, shape["foot"]]).rstrip("\n") + "\n"


def _arrows(handler, ways):
    """Where a handler's answers lead: {index: one label for each action}."""
    arrows = {}
    for action, codes in _by_action(handler).items():
        index, lost = ways[action]
        if isinstance(action, int):
            action = f"jump {action}{', out of lines: bad' if lost else ''}"
        arrows.setdefault(index, []).append(f"{codes} = {action}")
    return arrows


def _by_action(handler):
    """Each action of a handler with the codes that lead to it; the one that most lead to has ``else``."""
    if handler["kind"] == "must_fail":
        return {_answer(handler, "perm_denied"): "perm_denied"}
    groups = {}
    for code, action in zip(_codes(), handler["actions"]):
        groups.setdefault(action, []).append(code)
    most = max(groups, key=lambda action: len(groups[action]))
    named = {action: ", ".join(group) for action, group in groups.items() if action != most}
    return named | {most: "else" if named else "any answer"}


# --- where a stack goes: pam_dispatch.c's ways through it ---


def _reachable(handlers, type_):
    """
    The indexes of the handlers some answers lead to, whatever the modules may answer.

    The state is that of pam_dispatch.c, less the status: which handler is next, and whether the stack so far has no
    impression, a good or a bad one.
    """
    ways = __salt__["pam_stack.ways"](handlers)
    actions = [_possible(handler) for handler in handlers]
    # setcred and close_session go the way of the call before; an ignore then leaves no impression.
    frozen = type_ in ("auth", "session")
    may_ignore = [frozen and handler["kind"] == "module" and not handler["always"] for handler in handlers]
    seen, todo = set(), [(0, "undefined")]
    while todo:
        state = todo.pop()
        if state in seen or state[0] >= len(handlers):
            continue
        seen.add(state)
        index, impression = state
        for action in actions[index]:
            todo += _after(action, ways[index][action], index + 1, impression, may_ignore[index])
    return {index for index, _ in seen}


def _possible(handler):
    """The actions that a handler's answers can come to; a substack's own line does nothing."""
    if handler["kind"] == "substack":
        return {"ignore"}
    if handler["kind"] == "must_fail":
        return {_answer(handler, "perm_denied")}
    if handler["always"]:
        return {_answer(handler, code) for code in handler["always"].values()}
    return set(handler["actions"])


def _after(action, way, following, impression, may_ignore):
    """The states that may follow an action."""
    index, lost = way
    if action == "reset":
        return [(index, saved) for saved in ("undefined", "good", "bad")]
    if lost or action in ("bad", "die"):
        return [(index, "bad")]
    if isinstance(action, int):
        return [(index, impression), (index, "good")]
    if action == "ignore":
        return [(index, impression)]
    # ok, and done, which stops where nothing has failed.
    states = [(index, "good")] if impression != "bad" else [(following, "bad")]
    if impression == "undefined" and may_ignore:
        states.append((following, impression))
    return states


# --- what is wrong ---

# What to do about a file that cannot be read as libpam would, and about one that a line includes in vain.
_REMEDIES = {
    "unreadable": "Look at it as root, as whom libpam reads it.",
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


def lint(service, confdirs=None, libpam=None, files=None):
    """
    Return what is surely (``error``) or probably (``warning``) wrong with a service's files, as a list of dictionaries:
    ``file``, ``line`` (none where a whole file is meant, and no file where there is none), ``severity``, ``finding``
    and ``remedy``, in the order in which libpam reads the files.

    It finds lines libpam cannot use, controls with an error, jumps out of the stack or into another file's lines, lines
    that no answer leads to, missing modules and files, a ``-`` that does not do what it seems to, carriage returns,
    lines and nested files that libpam reads differently before and from 1.6.0 on, an ``ignore`` that counts as a grant,
    files that include each other or may not be read, a service without any line, and included files that are outside
    the directories libpam reads. It looks at every file that ``pam_start`` opens, ``other`` among them. A line with
    pam_deny.so that nothing leads to is no finding: it stands there as a fence.

    confdirs, libpam, files
        As for :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`. Modules are looked for in ``libpam``'s
        ``module_dirs``, and not at all where it has none.

    The command line shows the findings as YAML; ``--out=json`` has them for programs. An argument that is not what it
    may be raises ``SaltInvocationError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.lint sshd
        salt-call --out=json pam_stack.lint sshd
    """
    found = __salt__["pam_stack.expand"](service, confdirs=confdirs, libpam=libpam, files=files, strict=False)
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
    for type_, stack in found["types"].items():
        findings += _stack_findings(stack, type_, confdirs, libpam, whole=not found["refused"])
    order = {path: number for number, path in enumerate(found["opened"])}
    return sorted(_once(findings), key=lambda finding: (order.get(finding["file"], -1), finding["line"] or 0))


def _finding(file, line, severity, finding, remedy):
    return {"file": file, "line": line, "severity": severity, "finding": finding, "remedy": remedy}


def _once(findings):
    """Findings without repetition: a line that is included twice is wrong once."""
    return list({tuple(finding.values()): finding for finding in findings}.values())


def _start_findings(found):
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


def _file_findings(path, libpam, files):
    """What is wrong with a file's lines, each by itself."""
    for entry in __salt__["pam_stack.read"](path, libpam=libpam, files=files):
        line = entry["line"]
        if entry["kind"] == "invalid":
            yield _finding(
                path, line, "error", f"libpam cannot use this line: {entry['reason']}", "Correct it or comment it out."
            )
        elif entry["kind"] == "rule":
            try:
                __salt__["pam_stack.actions"](entry["control"], libpam=libpam)
            except CommandExecutionError as error:
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


def _generations(libpam):
    return [{**libpam, "version": version} for version in (_OLD, _NEW)]


def _generation_findings(path, libpam, files):
    """The first line of a file that the two generations of libpam take for different things, and such controls."""
    read = [__salt__["pam_stack.read"](path, libpam=generation, files=files) for generation in _generations(libpam)]
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


def _meaning(entry):
    """What libpam makes of a line, and which line it is."""
    return {key: value for key, value in entry.items() if key != "text"}


def _actions(control, libpam):
    """What libpam makes of a control; none where it has an error."""
    try:
        return __salt__["pam_stack.actions"](control, libpam=libpam)
    except CommandExecutionError:
        return None


def _nesting_findings(service, confdirs, libpam, files):
    """The first place from which on the two generations make different stacks of the same lines."""
    old, new = (
        __salt__["pam_stack.expand"](service, confdirs=confdirs, libpam=generation, files=files, strict=False)
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


def _effect(handler):
    """What a handler does, whichever words say why."""
    return handler and {key: value for key, value in handler.items() if key not in ("reason", "fault")}


def _stack_findings(stack, type_, confdirs, libpam, whole):
    """What is wrong with a stack's lines where they stand; where lines are missing, less what depends on the others."""
    ways = __salt__["pam_stack.ways"](stack)
    reachable = _reachable(stack, type_) if whole else range(len(stack))
    for index, handler in enumerate(stack):
        checks = [
            _unusable(handler),
            _missing_module(handler, libpam.get("module_dirs")),
            _silent(handler),
            _granting_ignore(handler),
            _outside(handler, confdirs),
        ]
        if whole:
            checks += _jumps(stack, handler, ways[index])
        if index not in reachable and os.path.basename(handler["module"] or "") != "pam_deny.so":
            checks.append(
                ("warning", f"no answer leads to this line of {type_}", "Move it up, or remove it: it is never run.")
            )
        for check in filter(None, checks):
            yield _finding(handler["file"], handler["line"], *check)


def _answer(handler, code):
    """What a handler makes of a return code."""
    return handler["actions"][_codes().index(code)]


def _unusable(handler):
    if handler["fault"] is None:
        return None
    return "error", f"the line always answers perm_denied: {handler['reason']}", _REMEDIES[handler["fault"]]


def _missing_module(handler, directories):
    module = handler["module"]
    if handler["kind"] != "module" or not directories or "$ISA" in module:
        return None
    if any(os.path.exists(os.path.join(directory, module.rstrip("\r"))) for directory in directories):
        return None
    if _answer(handler, "module_unknown") == "ignore":
        return None
    return (
        "error",
        f"there is no {module} in {', '.join(directories)}: the line answers module_unknown, which it does not ignore",
        "Install the module, or remove the line.",
    )


def _silent(handler):
    if handler["kind"] != "module" or not handler["silent"] or _answer(handler, "module_unknown") == "ignore":
        return None
    return (
        "warning",
        "the - keeps a missing module out of the log, but does not let the stack pass without it",
        "Where it may be missing use optional, or [... module_unknown=ignore].",
    )


def _granting_ignore(handler):
    if handler["kind"] != "module" or handler["always"] or _answer(handler, "ignore") not in ("ok", "done"):
        return None
    return (
        "warning",
        "an answer of ignore counts as a grant here, and can become the answer of the whole stack",
        "Add ignore=ignore to the control.",
    )


def _outside(handler, confdirs):
    """An included file that is in none of libpam's directories."""
    directory = os.path.dirname(handler["file"])
    if directory in [name.rstrip("/") for name in confdirs] or os.path.basename(handler["file"]) == "pam.conf":
        return None
    return (
        "warning",
        f"{handler['file']} is in none of {', '.join(confdirs)}, where those who look after PAM would look for it",
        "Move it there and include it by its name.",
    )


def _jumps(stack, handler, ways):
    """What is wrong with where a handler's jumps go."""
    if handler["kind"] != "module":
        return
    for action, (index, lost) in ways.items():
        if not isinstance(action, int):
            continue
        landing = stack[index] if index < len(stack) else handler
        if lost:
            yield (
                "error",
                f"a jump of {action} runs out of lines, which fails the stack with perm_denied",
                "Make the jump shorter.",
            )
        elif landing["level"] == handler["level"] and landing["file"] != handler["file"]:
            yield (
                "warning",
                f"a jump of {action} lands in another file, at {_place(landing)}",
                "Let it land in its own file, for example on a line with pam_permit.so, or make that file a substack.",
            )
