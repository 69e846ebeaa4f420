"""
Say what a PAM stack decides, exactly as libpam decides it, and prove what it can never decide.

- :py:func:`decide` and :py:func:`trace` answer a call when every module's answer is known
- :py:func:`outcomes` gives every answer that remains possible when only some are known
- :py:func:`prove` holds a stack to a list of promises, and shows how one is broken

The behaviour is that of ``libpam/pam_dispatch.c`` of Linux-PAM (:manpage:`pam.conf(5)` describes it, and where the two
differ the library is followed). What the stack *says* comes from ``pam_stack.expand``; no module is ever run.

Codes are libpam's names in lower case and without their prefix: ``success``, ``perm_denied``.
"""

import itertools
import os.path
import typing

from salt.exceptions import CommandExecutionError, SaltInvocationError

# By libpam's number (security/_pam_types.h).
RETURN_CODES = (
    *("success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err"),
    *("cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries", "new_authtok_reqd", "acct_expired"),
    *("session_err", "cred_unavail", "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err"),
    *("authtok_recover_err", "authtok_lock_busy", "authtok_disable_aging", "try_again", "ignore", "abort"),
    *("authtok_expired", "module_unknown", "bad_item", "conv_again", "incomplete"),
)

# For people: half as long as Salt's nested output, and what a terminal would take for a command is escaped. It is data
# all the same, for --out=json and in Python.
__outputter__ = {"decide": "yaml", "prove": "yaml"}


class _Call(typing.NamedTuple):
    facility: str
    passes: tuple  # the calls that modules see
    frozen: bool = False  # follows the way that the facility's other call took on the same handle


CALLS = {
    "authenticate": _Call("auth", ("authenticate",)),
    "setcred": _Call("auth", ("setcred",), frozen=True),
    "acct_mgmt": _Call("account", ("acct_mgmt",)),
    "open_session": _Call("session", ("open_session",)),
    "close_session": _Call("session", ("close_session",), frozen=True),
    "chauthtok": _Call("password", ("prechauthtok", "chauthtok")),
}
PASSES = tuple(name for call in CALLS.values() for name in call.passes)

# --- one answer: what it makes of the state ---------------------------------------------------------------------------

# The state is (impression, status). Nothing has been said while it is _FRESH; only _FRESH and _GRANTED take a grant.
_FRESH = ("undefined", "perm_denied")
_GRANTED = ("positive", "success")
_LOST = ("negative", "perm_denied")


def _keep(state, _saved, _answer, _chosen):
    return state


def _grant(state, _saved, answer, chosen):
    """``ok``. In a frozen call the answer that chose the way may differ, and then ``ignore`` does not count."""
    if state in (_FRESH, _GRANTED) and (answer != "ignore" or chosen == answer):
        return ("positive", answer)
    return state


def _refuse(state, _saved, answer, _chosen):
    """``bad``: the first refusal stays."""
    if state[0] == "negative":
        return state
    return ("negative", "perm_denied" if answer == "ignore" else answer)


def _reset(_state, saved, _answer, _chosen):
    return saved


def _lose(_state, _saved, _answer, _chosen):
    return _LOST


_EFFECTS = {
    "ignore": _keep,
    "ok": _grant,
    "done": _grant,
    "bad": _refuse,
    "die": _refuse,
    "reset": _reset,
    "jump": _keep,
    "counted jump": _grant,  # upstream's way of jumping in a frozen call
    "lost jump": _lose,  # it would leave the (sub)stack
    "suspend": _keep,
}


def _verdict(state):
    """What libpam returns to the application at the end of the stack."""
    impression, status = state
    return "perm_denied" if status == "success" and impression != "positive" else status


# --- compile: from handlers to entries that know where each answer leads ----------------------------------------------


class _Entry(typing.NamedTuple):
    index: int
    rule: dict  # pam_stack.expand's handler
    level: int
    enters: bool  # the first of a substack
    end: int  # the index behind its (sub)stack
    moves: dict  # code: (effect, next index); empty for a substack's marker, which only holds a place
    fixed: str | None  # the answer of a line that libpam cannot use


class _Program(typing.NamedTuple):
    abort: dict | None  # pam_start fails, and there are no stacks
    stacks: dict  # call: tuple of entries


def _compile(service, confdirs=None, libpam=None, files=None, calls=tuple(CALLS)):
    """A service as a program that can be run and searched many times."""
    plan = __salt__["pam_stack.expand"](service, confdirs=confdirs, libpam=libpam, files=files)
    if plan["abort"]:
        return _Program(plan["abort"], {})
    stacks = {}
    for name in calls:
        call = CALLS[name]
        handlers = [handler for handler in plan["types"][call.facility] if handler["paired"] or not call.frozen]
        stacks[name] = _link(handlers, "counted jump" if call.frozen and not plan["libpam"]["debian"] else "jump")
    return _Program(None, stacks)


def _link(handlers, jump):
    """Handlers as entries: each knows what its answers do and where they lead."""
    entries, above, suspended = [], 0, _suspended(handlers)
    for index, (handler, ways) in enumerate(zip(handlers, __salt__["pam_stack.ways"](handlers))):
        level = handler["level"]
        entries.append(
            _Entry(
                index=index,
                rule=handler,
                level=level,
                enters=level > above,
                end=ways["done"][0],
                moves={} if handler["kind"] == "substack" else _moves(handler, ways, jump, suspended),
                fixed="perm_denied" if handler["kind"] == "must_fail" else None,
            )
        )
        above = level
    return tuple(entries)


def _moves(handler, ways, jump, suspended):
    """Where each answer of a rule leads: {code: (effect, next index)}."""
    moves_of = {
        action: (("lost jump" if lost else jump) if isinstance(action, int) else action, index)
        for action, (index, lost) in ways.items()
    }
    moves = {code: moves_of[action] for code, action in zip(RETURN_CODES, handler["actions"])}
    moves["incomplete"] = ("suspend", suspended)
    return moves


def _suspended(stack):
    """The place, behind every end, where a suspended call waits."""
    return len(stack) + 1


def _reached(stack):
    """The place, behind every end, where a search leads that has reached its goal."""
    return len(stack) + 2


# --- run: every answer is known ---------------------------------------------------------------------------------------


class _Step(typing.NamedTuple):
    call: str  # as the module sees it
    entry: _Entry
    answer: str
    chosen: str  # the answer that chose the action: an earlier one in a frozen call
    effect: str
    before: tuple
    state: tuple
    next: int


class _Handle:
    """What libpam keeps from call to call: the answers that freeze a way, and a call that a module suspended."""

    def __init__(self, program):
        self._stacks = program.stacks
        self._chosen = {call.facility: {} for call in CALLS.values()}
        self._suspended = None

    def call(self, name, answer):
        """One call of the application; answer(entry, call) asks a module. Returns (code, steps)."""
        facility, passes, frozen = CALLS[name]
        stack, chosen = self._stacks[name], self._chosen[facility]
        first, at, state, saved = 0, 0, _FRESH, {0: _FRESH}
        if self._suspended:
            waiting, first, at, state, saved = self._suspended
            if waiting != name:
                return "abort", []
            self._suspended = None
        steps = []
        for number in range(first, len(passes)):
            at, state = self._walk(stack, passes[number], answer, chosen, frozen, at, state, saved, steps)
            if at < len(stack):
                self._suspended = (name, number, at, state, saved)
                return "incomplete", steps
            code = _verdict(state)
            if code != "success":
                break
            at, state, saved = 0, _FRESH, {0: _FRESH}
        return code, steps

    @staticmethod
    def _walk(stack, call, answer, chosen, frozen, at, state, saved, steps):
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
            before, state = state, _EFFECTS[effect](state, saved[entry.level], said, went)
            if effect == "done" and state[0] != "positive":
                target = at + 1
            steps.append(_Step(call, entry, said, went, effect, before, state, target))
            if effect == "suspend":
                break
            at = target
        return at, state


# --- search: some answers are not known -------------------------------------------------------------------------------

# The status with which a substack was entered, whichever it was: it only ever passes through.
_INHERITED = "inherited"


class _Search:
    """
    Every state in which libpam can leave a stack when each entry may give any of choices(entry).

    States and not paths are followed, so the work grows with the length of the stack. ``reset`` returns to the state in
    which a substack was entered; such a substack is searched once for each *kind* of state that can enter it.
    """

    def __init__(self, stack, choices, goal=lambda entry: False):
        self._stack = stack
        self._edges = [self._edges_of(entry, choices, goal(entry)) for entry in stack]
        self._resetting = {entry.index for entry in stack if entry.enters and self._resets(entry)}
        self._searched = {}
        self.seen = self._explore(0, len(stack), _FRESH)

    def ends(self):
        """The (index, state) in which the stack is left. The index tells a suspended call and a reached goal."""
        return [key for key in self.seen if key[0] >= len(self._stack)]

    def _edges_of(self, entry, choices, is_goal):
        """The rule's possible answers, grouped by (effect, next index)."""
        if not entry.moves:
            return {}
        codes = (entry.fixed,) if entry.fixed else choices(entry)
        edges = {}
        for code in sorted(codes, key=lambda code: code not in _BEST_KNOWN):
            move = ("jump", _reached(self._stack)) if is_goal else entry.moves[code]
            edges.setdefault(move, []).append(code)
        return edges

    def _resets(self, first):
        """Whether the substack that begins with this entry may go back to the state in which it was entered."""
        return any(
            effect == "reset"
            for entry in self._stack[first.index : first.end]
            if entry.level == first.level
            for effect, _ in self._edges[entry.index]
        )

    def _explore(self, start, end, entered):
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

    def _successors(self, at, state, saved):
        entry = self._stack[at]
        if not entry.moves:
            return self._through_substack(at, state)
        found = []
        for (effect, target), codes in self._edges[at].items():
            grants = _EFFECTS[effect] is _grant and state in (_FRESH, _GRANTED)
            refuses = _EFFECTS[effect] is _refuse and state[0] != "negative"
            # Where the answer leaves no trace in the state, one stands for all.
            for code in codes if grants or refuses else codes[:1]:
                after = _EFFECTS[effect](state, saved, code, code)
                stops = effect != "done" or after[0] == "positive"
                found.append(((target if stops else at + 1, after), (at, code)))
        return found

    def _through_substack(self, marker, state):
        body = marker + 1
        if body not in self._resetting:
            return [((body, state), None)]
        entered = state if state in (_FRESH, _GRANTED) else (state[0], _INHERITED)
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

    def path(self, key, seen=None):
        """The answers on a shortest way to a state: [(index, code)]."""
        seen = self.seen if seen is None else seen
        steps = []
        while seen[key]:
            key, how = seen[key]
            if how and isinstance(how[0], int):
                steps.append(how)
            elif how:
                inside, leaf = how
                steps.extend(reversed(self.path(leaf, self._searched[inside])))
        return steps[::-1]


def _possible(program, name, choose, goal=None):
    """
    Every code that a call on a fresh handle can return: {code: {(pass, index): answer}}, an example for each.

    choose(entry, pass) gives the answers that a module may give. With a goal, the ways to an entry for which
    goal(entry) is true are there as the code "reached".
    """
    if program.abort:
        return {} if goal else {"abort": {}}
    stack, found, way = program.stacks[name], {}, {}
    special = {_suspended(stack): "incomplete", _reached(stack): "reached"}
    for pass_ in CALLS[name].passes:
        search = _Search(stack, lambda entry, pass_=pass_: choose(entry, pass_), goal or (lambda entry: False))
        for end in search.ends():
            at, state = end
            code = special.get(at) or _verdict(state)
            if code not in found:
                found[code] = way | {(pass_, index): answer for index, answer in search.path(end)}
        if "success" not in found:
            break
        if pass_ != CALLS[name].passes[-1]:
            way = found.pop("success")
    return found


# --- what the caller says about the modules ---------------------------------------------------------------------------

# new_authtok_reqd is no failure: PAM's keywords (required, sufficient) take it as they take success.
_SETS = {"any": RETURN_CODES, "failure": tuple(c for c in RETURN_CODES if c not in ("success", "new_authtok_reqd"))}

# Where several answers would do, an example has the one that people know best.
_BEST_KNOWN = ("success", "perm_denied", "auth_err", "ignore")


def _codes(value, where):
    """A code, a list of codes, ``any`` or ``failure``, as a tuple of codes."""
    if isinstance(value, str) and value in _SETS:
        return _SETS[value]
    codes = [value] if isinstance(value, str) else value
    if not isinstance(codes, (list, tuple)) or not codes or not all(code in RETURN_CODES for code in codes):
        raise SaltInvocationError(
            f"{where}: {value!r} is not an answer; allowed are {', '.join(_SETS)}, one of these codes"
            f" or a list of them: {', '.join(RETURN_CODES)}"
        )
    return tuple(sorted(set(codes), key=RETURN_CODES.index))


class _Given:
    """
    What modules are said to answer. A key is a module, by its path or its base name, and perhaps some of its arguments;
    where several keys fit a rule, the one with most words wins, and a path wins over a base name.
    """

    def __init__(self, given, where):
        if not isinstance(given, dict):
            raise SaltInvocationError(f"{where}: {given!r} is not a dictionary of modules and their answers")
        self.where = where
        self._answers = {}
        for key, value in given.items():
            words = tuple(str(key).split())
            if not words:
                raise SaltInvocationError(f"{where}: {key!r} names no module")
            self._answers[words] = self._by_call(value, f"{where}: {key}")
        self._found = {}

    @staticmethod
    def _by_call(value, where):
        """{call: codes}; an answer to every call where the value does not tell calls apart."""
        if not isinstance(value, dict):
            return dict.fromkeys(PASSES, _codes(value, where))
        if unknown := sorted(set(value) - set(PASSES), key=str):
            raise SaltInvocationError(f"{where}: {unknown[0]!r} is not a call; calls are {', '.join(PASSES)}")
        answers = {call: _codes(codes, f"{where}: {call}") for call, codes in value.items()}
        if "chauthtok" in answers:
            answers.setdefault("prechauthtok", answers["chauthtok"])
        return answers

    def find(self, rule, call):
        """The codes that a rule's module may answer, or None where nothing is said."""
        name = (rule["module"], *rule["args"])
        if name not in self._found:
            self._found[name] = self._match(rule)
        words = self._found[name]
        return None if words is None else self._answers[words].get(call)

    def names(self, rule):
        return rule["kind"] == "module" and self._match(rule) is not None

    def unmatched(self, stack):
        """The keys that answer for no rule of a stack."""
        used = {self._match(entry.rule) for entry in stack if entry.rule["kind"] == "module"}
        return [" ".join(words) for words in self._answers if words not in used]

    def _match(self, rule):
        names = (rule["module"], os.path.basename(rule["module"]))
        fits = [
            words for words in self._answers if words[0] in names and all(word in rule["args"] for word in words[1:])
        ]
        if not fits:
            return None
        ranks = {words: (len(words), "/" in words[0]) for words in fits}
        best = [words for words in fits if ranks[words] == max(ranks.values())]
        if len(best) > 1:
            keys = " and ".join(repr(" ".join(words)) for words in best)
            raise SaltInvocationError(f"{self.where}: {keys} fit {_place(rule)} equally; give more of its arguments")
        return best[0]


def _answering(results):
    """A function (entry, call) -> code for what the caller gave as results."""
    if callable(results):

        def ask(entry, call):
            (code,) = _codes([results(entry.rule, call)], f"results: {_place(entry.rule)}")
            return code

        return ask
    given = _Given(results, "results")

    def look_up(entry, call):
        codes = given.find(entry.rule, call)
        if codes is None:
            raise SaltInvocationError(f"results: no answer to {call} for {entry.rule['module']} ({_place(entry.rule)})")
        if len(codes) > 1:
            raise SaltInvocationError(f"results: {entry.rule['module']}: one answer is needed, and there are {codes}")
        return codes[0]

    return look_up


def _call_names(calls, where="calls"):
    """A call, several with commas, or a list of them."""
    names = [name.strip() for name in calls.split(",")] if isinstance(calls, str) else calls
    if not isinstance(names, (list, tuple)) or not names or not all(name in CALLS for name in names):
        raise SaltInvocationError(f"{where}: {calls!r} is not a call or a list of calls; calls are {', '.join(CALLS)}")
    return tuple(names)


# --- words for people -------------------------------------------------------------------------------------------------


def _printable(text):
    """A text that a terminal takes no commands from."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _place(rule):
    return f"{rule['file']}:{rule['line']}"


def _words(rule):
    """A rule as one writes it."""
    words = [rule["control"], rule["module"], *rule["args"]]
    return " ".join(["-" * rule["silent"] + rule["type"], *filter(None, words)])


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


def _why(step, stack):
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
        verdict=_verdict(step.state),
        stack="the substack" if step.entry.level else "the stack",
        next=_place(following.rule) if following else "the end",
    )
    if step.chosen != step.answer:
        text = f"It takes the way of the earlier call, where it answered {step.chosen}. {text}"
    if rule["kind"] == "must_fail":
        text = f"libpam cannot use this line ({rule['reason']}). {text}"
    return text


def _action(step):
    """The action in pam.conf's words."""
    action = step.entry.rule["actions"][RETURN_CODES.index(step.chosen)]
    return "suspend" if step.effect == "suspend" else f"jump {action}" if isinstance(action, int) else action


def _explained(step, stack):
    """A step as decide returns it."""
    impression, status = step.state
    rule = step.entry.rule
    return {
        "call": step.call,
        "file": rule["file"],
        "line": rule["line"],
        "rule": _words(rule),
        "answer": step.answer,
        "action": _action(step),
        "impression": impression,
        "status": status,
        "why": _why(step, stack),
    }


def _aborted(abort):
    """pam_start's failure as decide returns it."""
    nothing = dict.fromkeys(("rule", "answer", "action", "impression", "status"))
    step = {"call": "start", "file": abort["file"], "line": abort["line"], **nothing, "why": abort["reason"]}
    return [{"call": "start", "code": "abort", "trace": [step]}]


# --- decide -----------------------------------------------------------------------------------------------------------


def decide(service, calls, results, confdirs=None, libpam=None, files=None):
    """
    Return what a service's stack answers when its modules answer as given.

    service
        The PAM service, such as ``sshd``.

    calls
        One call, several separated by commas, or a list: ``authenticate``, ``setcred``, ``acct_mgmt``,
        ``open_session``, ``close_session``, ``chauthtok``. They are made in this order on one handle, so that
        ``setcred`` and ``close_session`` follow the way that ``authenticate`` and ``open_session`` took.

    results
        What each module answers: ``{module: code}`` or ``{module: {call: code}}``, where ``prechauthtok`` is the first
        of ``chauthtok``'s two passes. A module is named as in the stack or by its base name; ``"pam_access.so
        accessfile=/etc/x"`` names the rules that have this argument, and the key with most words wins. From Python
        also a function ``(rule, call) -> code``.

    confdirs, libpam, files
        The directories with PAM files, the libpam to be, and files that are not yet there, as for
        :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`; this node's by default.

    Modules are not looked for: one that is not on the disk answers ``module_unknown``, which ``results`` has to say.

    Returns a list with, for each call, a dictionary with ``call``, ``code`` and ``trace``: the lines that ran, each
    with ``file``, ``line``, ``rule``, ``answer``, ``action``, the state it left (``impression`` and ``status``) and
    ``why``, a sentence. Where the service cannot even be started, the list is one step with the call ``start`` and the
    code ``abort``. The command line shows it as YAML; :py:func:`trace` says the same as a text to be read.

    Raises SaltInvocationError where a module is asked that ``results`` does not name, or on a bad argument, call or
    code, and CommandExecutionError where :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    Source: ``_pam_dispatch_aux`` in ``libpam/pam_dispatch.c``; :manpage:`pam.conf(5)`.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.decide login acct_mgmt '{pam_nologin.so: success, pam_unix.so: acct_expired}'
        salt-call --out=json pam_verdict.decide sshd acct_mgmt results='{pam_nologin.so: perm_denied}'
    """
    calls, answer = _call_names(calls), _answering(results)
    program = _compile(service, confdirs, libpam, files, calls)
    if program.abort:
        return _aborted(program.abort)
    handle, answers = _Handle(program), []
    for call in calls:
        code, steps = handle.call(call, answer)
        stack = program.stacks[call]
        answers.append({"call": call, "code": code, "trace": [_explained(step, stack) for step in steps]})
    return answers


def trace(service, calls, results, confdirs=None, libpam=None, files=None):
    """
    Return :py:func:`decide`'s answer as text to be read: line by line what each module answered and what came of it.

    The arguments and errors are those of :py:func:`decide`. Characters that cannot be printed are escaped.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.trace su acct_mgmt '{pam_unix.so: acct_expired}'
    """
    lines = []
    for made in decide(service, calls, results, confdirs=confdirs, libpam=libpam, files=files):
        lines.append(f"{made['call']} answers {made['code']}")
        for step in made["trace"]:
            lines.append(f"  {step['file']}:{step['line']}  {step['rule'] or ''}".rstrip())
            told = f"{step['answer']} -> {step['action']}: " if step["answer"] else ""
            lines.append(f"      {told}{step['why']}")
        if not made["trace"]:
            lines.append("  No module was asked.")
    return "\n".join(map(_printable, lines))


# --- outcomes ---------------------------------------------------------------------------------------------------------


def outcomes(service, call, given=None, confdirs=None, libpam=None, files=None):
    """
    Return every code that a call can return, sorted, when some modules answer as given and the others anything at all.

    The list is exact: each code in it can be reached, and no other can. The call is made on a fresh handle.

    service
        The PAM service.

    call
        One of :py:func:`decide`'s calls.

    given
        What is known: ``{module: answer}`` or ``{module: {call: answer}}``, with modules named as in :py:func:`decide`.
        An answer is a code, a list of codes, ``any``, or ``failure`` for every code but ``success`` and
        ``new_authtok_reqd``. Each rule chooses on its own. Modules that are not named may give any of libpam's 32
        codes, ``incomplete`` included, which ends the call at once.

    confdirs, libpam, files
        As in :py:func:`decide`.

    Raises SaltInvocationError on a bad argument, call or code, and CommandExecutionError where
    :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.outcomes login acct_mgmt '{pam_unix.so: [success, acct_expired]}'
    """
    (call,) = _call_names([call], "call")
    known = _Given(given or {}, "given")
    program = _compile(service, confdirs, libpam, files, (call,))
    return sorted(_possible(program, call, lambda entry, pass_: known.find(entry.rule, pass_) or RETURN_CODES))


# --- prove ------------------------------------------------------------------------------------------------------------

# After acct_mgmt, an application lets a user in who changes the expired password: no denial, and no plain permit.
_LETS_IN = {"acct_mgmt": {"success", "new_authtok_reqd"}}


class _Expectation(typing.NamedTuple):
    others: tuple  # what modules may answer that the scenario does not name
    violates: typing.Callable  # (call, code) -> whether the code breaks the promise
    promise: str


_EXPECTATIONS = {
    "permit": _Expectation(("success",), lambda call, code: code != "success", "must permit"),
    "deny": _Expectation(RETURN_CODES, lambda call, code: code in _LETS_IN.get(call, {"success"}), "must deny"),
    "unreached": _Expectation(RETURN_CODES, lambda call, code: code == "reached", "must not reach"),
}


class _Scenario(typing.NamedTuple):
    name: str
    service: str
    calls: tuple
    given: _Given
    expect: str
    module: str | None


def _scenarios(policy):
    """A policy, checked."""
    if not isinstance(policy, (list, tuple)):
        raise SaltInvocationError("policy: a list of scenarios is needed")
    scenarios = [_scenario(number, scenario) for number, scenario in enumerate(policy, 1)]
    names = [scenario.name for scenario in scenarios]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SaltInvocationError(f"policy: there are several scenarios named {twice[0]!r}")
    return scenarios


def _scenario(number, scenario):
    if not isinstance(scenario, dict):
        raise SaltInvocationError(f"policy: scenario {number} is not a dictionary")
    where = f"policy: scenario {scenario.get('name', number)!r}"
    for key in ("name", "service"):
        if not isinstance(scenario.get(key), str) or not scenario[key]:
            raise SaltInvocationError(f"{where}: {key}: a text is needed")
    allowed = ("name", "service", "call", "given", "expect") + ("module",) * (scenario.get("expect") == "unreached")
    if unknown := [key for key in scenario if key not in allowed]:
        raise SaltInvocationError(f"{where}: {unknown[0]}: no such key; allowed are {', '.join(allowed)}")
    expect, module = scenario.get("expect"), scenario.get("module")
    if expect not in _EXPECTATIONS:
        raise SaltInvocationError(f"{where}: expect: {expect!r} is not one of {', '.join(_EXPECTATIONS)}")
    if expect == "unreached" and (not isinstance(module, str) or not module.split()):
        raise SaltInvocationError(f"{where}: module: the module that must not be reached is needed")
    given = scenario.get("given")
    return _Scenario(
        name=scenario["name"],
        service=scenario["service"],
        calls=_call_names(scenario.get("call"), f"{where}: call"),
        given=_Given({} if given is None else given, f"{where}: given"),
        expect=expect,
        module=module,
    )


def prove(policy, confdirs=None, libpam=None, files=None):
    """
    Return, for each scenario of a policy, whether a service's stack keeps it.

    policy
        A list of scenarios, each a dictionary with

        ``name``
            what it is about; each name once
        ``service``, ``call``
            as in :py:func:`decide`; of several calls, each is looked at on its own
        ``given``
            as in :py:func:`outcomes`
        ``expect``
            ``permit``: the call returns success when the modules that are not given succeed. ``deny``: it cannot let
            anybody in, whatever the modules that are not given answer. ``unreached``: it cannot get to the rule named
            by ``module``, whatever they answer.

        ``pam_permit.so`` and ``pam_deny.so`` answer what they always do unless given. ``new_authtok_reqd`` from
        ``acct_mgmt`` leads to a change of password and then in, so it is neither a permit nor a denial.

    confdirs, libpam, files
        As in :py:func:`decide`; ``files`` is how a policy is proven for files before they are written.

    Returns a list of dictionaries:

    ``name``, ``expect``
        as in the scenario
    ``holds``
        whether the stack keeps it
    ``unmatched``
        the keys of ``given`` that answer for no rule in the stacks of its calls. What is said under such a key had no
        part in the proof: the module is not there, or the key is mistyped, and then a permit was proven with the module
        that was meant succeeding. It is no violation by itself.
    ``counterexample``
        None where the scenario holds, and otherwise a case that breaks it: ``call``; ``answers``, what the modules
        answer in it, one by one (``call``, ``file``, ``line``, ``rule``, ``answer``); the ``code`` that the call then
        returns, or ``reached``; ``decided_by``, the line that decided (``file``, ``line``, ``rule``; None where there
        is none); and ``why``, in words, with what to do. It is a short one, and a run of the stack has confirmed it.

    The modules themselves are not looked at. One that is not on the disk answers ``module_unknown``, whatever is
    ``given`` of it: a permit with it may be proven and nobody get in. :py:func:`pam_stack.lint
    <salt.modules.pam_stack.lint>` finds such a line.

    Raises SaltInvocationError on a bad policy, naming the scenario and the key, and CommandExecutionError where
    :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.prove '[{name: expired, service: su, call: acct_mgmt, given: {pam_unix.so: acct_expired},
            expect: deny}]'
    """
    scenarios, programs, proofs = _scenarios(policy), {}, []
    for scenario in scenarios:
        if scenario.service not in programs:
            programs[scenario.service] = _compile(scenario.service, confdirs, libpam, files)
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


def _unmatched(program, scenario):
    """The keys of a scenario's given that answer for no rule that any of its calls could come to."""
    stacks = (program.stacks.get(call, ()) for call in scenario.calls)
    return scenario.given.unmatched(itertools.chain.from_iterable(stacks))


def _counterexample(program, scenario, call):
    """The shortest way to break a scenario with one call, or None."""
    expectation = _EXPECTATIONS[scenario.expect]
    goal = _Given({scenario.module: "any"}, scenario.name).names if scenario.module else None

    def choose(entry, pass_):
        always = entry.rule["always"].get(pass_)
        return scenario.given.find(entry.rule, pass_) or ((always,) if always else expectation.others)

    possible = _possible(program, call, choose, goal and (lambda entry: goal(entry.rule)))
    ways = [(code, answers) for code, answers in possible.items() if expectation.violates(call, code)]
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
    stack = program.stacks[call]
    confirmed, steps = _Handle(program).call(call, lambda entry, pass_: answers.get((pass_, entry.index), "abort"))
    if goal:
        steps = steps[: next((n for n, step in enumerate(steps, 1) if goal(step.entry.rule)), 0)]
        confirmed = "reached" if steps else confirmed
    if confirmed != code:
        raise CommandExecutionError(
            f"policy: scenario {scenario.name!r}: the search found {code} and the run {confirmed}: a bug in pam_verdict"
        )
    decider = steps[-1] if goal and steps else _decider(steps, stack, scenario)
    return {
        "call": call,
        "answers": [
            {"call": step.call, **_cited(step.entry.rule), "answer": step.answer}
            for step in steps
            if step.entry.rule["kind"] == "module"
        ],
        "decided_by": _cited(decider.entry.rule) if decider else None,
        "code": code,
        "why": _story(scenario, call, code, steps, decider, stack),
    }


def _cited(rule):
    return {"file": rule["file"], "line": rule["line"], "rule": _words(rule)}


def _decider(steps, stack, scenario):
    """The step to look at: the one that passed over a module which was to decide, or made the answer what it is."""
    asked = {step.entry.index for step in steps}
    for entry in reversed(stack):
        if entry.index not in asked and scenario.given.names(entry.rule) and not _may_refuse(scenario, entry.rule):
            passing = [step for step in steps if step.entry.index < entry.index < step.next]
            if passing:
                return passing[-1]
    if scenario.expect == "deny" and not scenario.given.unmatched(stack):
        for step in reversed(steps):
            lifted = step.before[0] == "negative" != step.state[0]
            in_vain = scenario.given.names(step.entry.rule) and step.state == step.before
            if lifted or in_vain:
                return step
    changes = [step for step in steps if step.state != step.before]
    return (changes or steps or [None])[-1]


def _may_refuse(scenario, rule):
    """Whether a permit has to hold although this module refuses; then it does not matter that nobody asks it."""
    answers = {code for pass_ in PASSES for code in scenario.given.find(rule, pass_) or ()}
    return scenario.expect == "permit" and answers != {"success"}


_ADVICE = {
    "done": "Take that line out, or give it a control that does not end the stack, such as required.",
    "jump": "Take that line out, or let it jump less far.",
    "counted jump": "Take that line out, or let it jump less far.",
    "lost jump": "Take that line out, or let it jump less far.",
    "bad": "Take that line out, or give it a control that does not refuse, such as optional.",
    "die": "Take that line out, or give it a control that does not refuse, such as optional.",
    "reset": "Take that line out, or give it a control that does not reset, such as optional.",
}


def _advice(scenario, decider, stack):
    """What to do about a counterexample."""
    if scenario.expect == "unreached":
        return f"Take that line out, or let {scenario.service} include a file without it."
    if decider is None or (scenario.expect == "deny" and scenario.given.unmatched(stack)):
        return f"Let {scenario.service} include the file that has what is missing."
    if decider.entry.rule["kind"] == "must_fail":
        return "Repair that line, or take it out."
    return _ADVICE.get(decider.effect, "Give that line a control with which its answer counts, such as required.")


def _story(scenario, call, code, steps, decider, stack):
    """A counterexample in words."""
    promise = _EXPECTATIONS[scenario.expect].promise
    if scenario.expect == "unreached":
        place, advice = _place(decider.entry.rule), _advice(scenario, decider, stack)
        return f"{call} of {scenario.service} {promise} {scenario.module}, but gets to {place}. {advice}"
    parts = [f"{call} of {scenario.service} {promise}, but answers {code}."]
    if decider:
        rule = decider.entry.rule
        said = f"{rule['module']} answers {decider.answer} there. " if rule["kind"] == "module" else ""
        parts.append(f"{_place(rule)} ({_words(rule)}) decides: {said}{_why(decider, stack)}")
    else:
        parts.append("No module is asked at all.")
    asked = {step.entry.index for step in steps}
    skipped = [e.rule for e in stack if scenario.given.names(e.rule) and e.index not in asked]
    parts.extend(f"{rule['module']} ({_place(rule)}) is never asked." for rule in skipped)
    if scenario.expect == "deny":
        parts.extend(f"{key} is not in the stack." for key in scenario.given.unmatched(stack))
    return " ".join([*parts, _advice(scenario, decider, stack)])
