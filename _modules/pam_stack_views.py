"""
Look at PAM stacks: as a table, as a picture, and for what is wrong with them.

These are functions of :py:mod:`pam_stack <salt.modules.pam_stack>`, which reads what is shown here.
"""

import os

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pam_stack"

_TYPES = ("auth", "account", "password", "session")
_OLD, _NEW = "1.5.3", "1.6.0"  # the last libpam before, and the first after, lines came to be read differently


def __virtual__():  # noqa: N807
    return __virtualname__


def _check(value, kind, allowed):
    if value not in allowed:
        raise SaltInvocationError(f"{value!r} is not a {kind}; there are {', '.join(allowed)}")


def _codes():
    """The return codes, by libpam's number."""
    return list(__salt__["pam_stack.actions"]("required"))


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

    The lines of a substack are indented. A line libpam cannot use is marked with ``!`` and the reason. A service that
    libpam cannot start raises ``CommandExecutionError``.

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
        (
            f"{number:>4}",
            "  " * handler["level"] + ("-" if handler["silent"] else "") + _control(handler),
            " ".join([handler["module"] or "(no module)", *handler["args"]]),
            _place(handler) + (f"  ! {handler['reason']}" if handler["reason"] else ""),
        )
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
        "escapes": {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"},
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

    An arrow for ``done`` holds where nothing has failed before; a stack that has failed goes on to the next line. A
    service that libpam cannot start raises ``CommandExecutionError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only pam_stack.diagram sshd account
        salt-call --out=newline_values_only pam_stack.diagram sshd auth format=dot
    """
    _check(format, "format", _SHAPES)
    _check(type, "type", _TYPES)
    shape = _SHAPES[format]
    handlers = _stacks(service, confdirs=confdirs, libpam=libpam, files=files)["types"][type]
    escapes = str.maketrans(shape["escapes"])

    def line(kind, label=(), **names):
        return shape[kind].format(label=shape["break"].join(text.translate(escapes) for text in label), **names)

    lines, level = [shape["head"], line("round", [f"{service} {type}"], name="start")], 0
    for index, handler in enumerate(handlers):
        lines += [shape["close"]] * (level - handler["level"])
        level = handler["level"]
        mark = [f"! {handler['reason']}"] if handler["reason"] else []
        lines.append(line("node", [f"{index + 1}. {_words(handler)}", _place(handler), *mark], name=f"n{index}"))
        if index + 1 < len(handlers) and handlers[index + 1]["level"] > level:
            lines.append(line("open", [f"substack {handler['module']}"], name=f"s{index}"))
    lines += [shape["close"]] * level
    edges = [line("plain", source="start", target=_name(handlers, 0))]
    for index, handler in enumerate(handlers):
        if handler["kind"] == "substack":
            edges.append(line("plain", source=f"n{index}", target=_name(handlers, index + 1)))
            continue
        for target, labels in _arrows(handlers, index).items():
            edges.append(line("edge", labels, source=f"n{index}", target=target))
    lines.append(line("round", ["the end"], name=_END))
    return "\n".join([*lines, *edges, shape["foot"]]).rstrip("\n") + "\n"


def _name(handlers, index):
    return f"n{index}" if index < len(handlers) else _END


def _arrows(handlers, index):
    """Where a handler's answers lead: {node: one label for each action}."""
    handler, arrows = handlers[index], {}
    for action, codes in _by_action(handler).items():
        if action in ("done", "die"):
            target = _name(handlers, _after_level(handlers, index))
        elif isinstance(action, int):
            landing, lost = _after_jump(handlers, index, action)
            target = _name(handlers, landing)
            action = f"jump {action}{', out of lines: bad' if lost else ''}"
        else:
            target = _name(handlers, index + 1)
        arrows.setdefault(target, []).append(f"{codes} = {action}")
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


def _after_level(handlers, index):
    """Where the stack goes on once a handler has ended its level."""
    level = handlers[index]["level"]
    index += 1
    while index < len(handlers) and handlers[index]["level"] >= level:
        index += 1
    return index


def _after_jump(handlers, index, count):
    """Where a jump lands, and whether it runs out of lines to jump; a substack counts as one line."""
    level = handlers[index]["level"]
    index += 1
    while count > 0 and index < len(handlers) and handlers[index]["level"] >= level:
        index += 1
        while index < len(handlers) and handlers[index]["level"] > level:
            index += 1
        count -= 1
    return index, count != 0


def _reachable(handlers, type_):
    """
    The indexes of the handlers some answers lead to, whatever the modules may answer.

    The state is that of pam_dispatch.c, less the status: which handler is next, and whether the stack so far has no
    impression, a good or a bad one.
    """
    seen, todo = set(), [(0, "undefined")]
    while todo:
        state = todo.pop()
        if state in seen or state[0] >= len(handlers):
            continue
        seen.add(state)
        todo += _ways(handlers, *state, type_)
    return {index for index, _ in seen}


def _ways(handlers, index, impression, type_):
    """The states that may follow a state."""
    handler = handlers[index]
    if handler["kind"] == "substack":
        return [(index + 1, impression)]
    ways = []
    for action in _by_action(handler):
        if action == "reset":
            ways += [(index + 1, saved) for saved in ("undefined", "good", "bad")]
        elif action == "bad":
            ways.append((index + 1, "bad"))
        elif action == "die":
            ways.append((_after_level(handlers, index), "bad"))
        elif action in ("ok", "done"):
            after = "bad" if impression == "bad" else "good"
            stops = action == "done" and after == "good"
            ways.append((_after_level(handlers, index) if stops else index + 1, after))
            if impression == "undefined" and type_ in ("auth", "session"):
                # setcred and close_session go the way of the call before; an ignore then leaves no impression.
                ways.append((index + 1, impression))
        elif isinstance(action, int):
            landing, lost = _after_jump(handlers, index, action)
            ways += [(landing, "bad")] if lost else [(landing, impression), (landing, "good")]
        else:
            ways.append((index + 1, impression))
    return ways


# --- what is wrong ---


def lint(service, confdirs=None, libpam=None, files=None):
    """
    Return what is surely (``error``) or probably (``warning``) wrong with a service's files, as a list of dictionaries:
    ``file``, ``line``, ``severity``, ``finding`` and ``remedy``.

    It finds lines libpam cannot use, controls with an error, jumps out of the stack or into another file's lines, lines
    that no answer leads to, missing modules and files, a ``-`` that does not do what it seems to, carriage returns,
    lines that libpam reads differently before and from 1.6.0 on, an ``ignore`` that counts as a grant, files that
    include each other, and included files that are outside the directories libpam reads. A line with pam_deny.so that
    nothing leads to is no finding: it stands there as a fence.

    confdirs, libpam, files
        As for :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`. Modules are looked for in ``libpam``'s
        ``module_dirs``, and not at all where it has none.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.lint sshd
    """
    libpam = libpam or __salt__["pam_stack.libpam"]()
    confdirs = confdirs or __salt__["pam_stack.libpam"]()["confdirs"]
    try:
        found = __salt__["pam_stack.expand"](service, confdirs=confdirs, libpam=libpam, files=files)
    except CommandExecutionError as error:
        return [_finding(None, None, "error", str(error), "Break the circle, or shorten the files.")]
    findings = []
    if found["abort"]:
        findings.append(
            _finding(
                *(found["abort"][key] for key in ("file", "line")),
                "error",
                f"libpam cannot start the service: {found['abort']['reason']}",
                "Correct the line; until then every call of this service fails.",
            )
        )
    handlers = [handler for stack in found["types"].values() for handler in stack]
    paths = dict.fromkeys(
        [handler["file"] for handler in handlers] + [path["file"] for path in findings if path["file"]]
    )
    for path in paths:
        findings += _file_findings(path, libpam, files)
    for type_, stack in found["types"].items():
        findings += _stack_findings(stack, type_, confdirs, libpam)
    return _once(findings)


def _finding(file, line, severity, finding, remedy):
    return {"file": file, "line": line, "severity": severity, "finding": finding, "remedy": remedy}


def _once(findings):
    """Findings without repetition: a line that is included twice is wrong once."""
    return list({tuple(finding.values()): finding for finding in findings}.values())


def _file_findings(path, libpam, files):
    """What is wrong with a file's lines, each by itself."""
    entries = __salt__["pam_stack.read"](path, libpam=libpam, files=files)
    for entry in entries:
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
    other = [
        [
            _meaning(entry)
            for entry in __salt__["pam_stack.read"](path, libpam={**libpam, "version": version}, files=files)
        ]
        for version in (_OLD, _NEW)
    ]
    for old, new in zip(*other):
        if old != new:
            yield _finding(
                path,
                old[0],
                "warning",
                f"libpam up to {_OLD} reads the lines from here on differently than libpam from {_NEW} on",
                "Let no blank or comment line follow a continued one, and keep lines below 1024 bytes.",
            )
            break


def _meaning(entry):
    """A line's number, and what libpam makes of it."""
    return entry["line"], {key: value for key, value in entry.items() if key not in ("text", "line")}


def _stack_findings(stack, type_, confdirs, libpam):
    """What is wrong with a stack's lines where they stand."""
    reachable = _reachable(stack, type_)
    for index, handler in enumerate(stack):
        checks = [
            _unusable(handler),
            _missing_module(handler, libpam.get("module_dirs")),
            _silent(handler),
            _granting_ignore(handler),
            _outside(handler, confdirs),
            *_jumps(stack, index),
        ]
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
    if handler["kind"] == "must_fail" and handler["control"] in ("include", "substack", "@include"):
        return (
            "error",
            f"the line always answers perm_denied: {handler['reason']}",
            "Put the file there, or remove the line.",
        )
    return None


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
    if handler["kind"] != "module" or _answer(handler, "ignore") not in ("ok", "done"):
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


def _jumps(stack, index):
    """What is wrong with where a handler's jumps go."""
    handler = stack[index]
    for action in {action for action in handler["actions"] if isinstance(action, int) and handler["kind"] == "module"}:
        landing, lost = _after_jump(stack, index, action)
        if lost:
            yield (
                "error",
                f"a jump of {action} runs out of lines, which fails the stack with perm_denied",
                "Make the jump shorter.",
            )
        elif (
            landing < len(stack)
            and stack[landing]["level"] == handler["level"]
            and stack[landing]["file"] != handler["file"]
        ):
            yield (
                "warning",
                f"a jump of {action} lands in another file, at {_place(stack[landing])}",
                "Let it land in its own file, for example on a line with pam_permit.so, or make that file a substack.",
            )
