"""pam_stack.show, diagram and lint: what they say of a stack, and that no line is called unreachable that is not."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from unit.pam_texts import DEBIAN_OLD, NEW, OLD, views

ETC = "/nowhere/pam.d"
NO_TYPE = "'foo' is not a type; the types are auth, account, password, session"
FILES = {
    f"{ETC}/sshd": "auth [success=1 default=ignore] a.so\nauth requisite pam_deny.so\nauth substack base\n"
    "-session optional b.so x\nfoo\n",
    f"{ETC}/base": "auth sufficient c.so\nauth required d.so\n",
}


def test_show():
    assert views.show("sshd", confdirs=[ETC], libpam=OLD, files=FILES) == (
        "auth (from sshd)\n"
        "   1  [success=1 default=ignore]  a.so         /nowhere/pam.d/sshd:1\n"
        "   2  requisite                   pam_deny.so  /nowhere/pam.d/sshd:2\n"
        "   3  substack                    base         /nowhere/pam.d/sshd:3\n"
        "   4    sufficient                c.so         /nowhere/pam.d/base:1\n"
        "   5    required                  d.so         /nowhere/pam.d/base:2\n"
        f"   6  (no control)                (no module)  /nowhere/pam.d/sshd:5  ! {NO_TYPE}\n"
        "\n"
        "account (nothing, so it is denied)\n"
        "\n"
        "password (nothing, so it is denied)\n"
        "\n"
        "session (from sshd)\n"
        "   1  -optional  b.so x  /nowhere/pam.d/sshd:4\n"
    )


def test_show_of_one_type():
    shown = views.show("sshd", "session", confdirs=[ETC], libpam=OLD, files=FILES)
    assert shown == "session (from sshd)\n   1  -optional  b.so x  /nowhere/pam.d/sshd:4\n"
    with pytest.raises(SaltInvocationError, match="'sesion' is not a type; there are auth"):
        views.show("sshd", "sesion", confdirs=[ETC], libpam=OLD, files=FILES)


def test_a_service_that_cannot_start():
    reading = {"confdirs": [ETC], "libpam": OLD, "files": {f"{ETC}/sshd": "auth required .so\n"}}
    for look in (views.show, views.diagram):
        with pytest.raises(CommandExecutionError, match=r"libpam cannot start sshd: .*/sshd:1: '.so' names no module"):
            look("sshd", "auth", **reading)


def test_mermaid():
    files = {**FILES, f"{ETC}/base": 'auth sufficient c.so "#\nauth [success=1] d.so\n'}
    assert views.diagram("sshd", "auth", confdirs=[ETC], libpam=OLD, files=files) == (
        "flowchart TD\n"
        '  start(["sshd auth"])\n'
        '  n0["1. [success=1 default=ignore] a.so<br/>/nowhere/pam.d/sshd:1"]\n'
        '  n1["2. requisite pam_deny.so<br/>/nowhere/pam.d/sshd:2"]\n'
        '  n2["3. substack base<br/>/nowhere/pam.d/sshd:3"]\n'
        '  subgraph s2["substack base"]\n'
        '  n3["4. sufficient c.so #quot;<br/>/nowhere/pam.d/base:1"]\n'
        '  n4["5. [success=1] d.so<br/>/nowhere/pam.d/base:2"]\n'
        "  end\n"
        f'  n5["6. (no control)<br/>/nowhere/pam.d/sshd:5<br/>! {NO_TYPE}"]\n'
        '  finish(["the end"])\n'
        "  start --> n0\n"
        '  n0 -->|"success = jump 1"| n2\n'
        '  n0 -->|"else = ignore"| n1\n'
        '  n1 -->|"success, new_authtok_reqd = ok<br/>ignore = ignore"| n2\n'
        '  n1 -->|"else = die"| finish\n'
        "  n2 --> n3\n"
        '  n3 -->|"success, new_authtok_reqd = done"| n5\n'
        '  n3 -->|"else = ignore"| n4\n'
        '  n4 -->|"success = jump 1, out of lines: bad<br/>else = bad"| n5\n'
        '  n5 -->|"perm_denied = bad"| finish\n'
    )


def test_dot():
    files = {
        f"{ETC}/x": 'account substack y\naccount required a.so "\\\n\n',
        f"{ETC}/y": "account [default=die] b.so\n",
    }
    assert views.diagram("x", "account", "dot", confdirs=[ETC], libpam=NEW, files=files) == (
        'digraph stack {\n  node [shape=box fontname="sans-serif"]\n  edge [fontname="sans-serif"]\n'
        '  start [label="x account" shape=oval]\n'
        '  n0 [label="1. substack y\\n/nowhere/pam.d/x:1"]\n'
        '  subgraph cluster_s0 {\n  label="substack y"\n'
        '  n1 [label="2. [default=die] b.so\\n/nowhere/pam.d/y:1"]\n'
        "  }\n"
        '  n2 [label="3. required a.so \\"\\n/nowhere/pam.d/x:2"]\n'
        '  finish [label="the end" shape=oval]\n'
        "  start -> n0\n"
        "  n0 -> n1\n"
        '  n1 -> n2 [label="any answer = die"]\n'
        '  n2 -> finish [label="success, new_authtok_reqd = ok\\nignore = ignore\\nelse = bad"]\n'
        "}\n"
    )


def test_diagram_of_what_there_is_not():
    for wrong in ({"type": "sesion"}, {"type": "auth", "format": "png"}):
        with pytest.raises(SaltInvocationError, match=" is not a "):
            views.diagram("sshd", **wrong)


# --- lint ---


def lint(sshd, libpam=OLD, **files):
    """The findings about sshd and the files it includes: (file:line, severity, finding)."""
    paths = {f"{ETC}/{name}": text for name, text in {"sshd": sshd, **files}.items()}
    found = views.lint("sshd", confdirs=[ETC], libpam=libpam, files=paths)
    assert all(finding["remedy"].endswith(".") for finding in found)
    return [
        (
            f"{(finding['file'] or '').removeprefix(ETC + '/')}:{finding['line']}",
            finding["severity"],
            finding["finding"],
        )
        for finding in found
    ]


def test_nothing_to_find():
    assert lint("auth [success=1 default=ignore] a.so\nauth requisite pam_deny.so\nauth required b.so\n") == []
    assert lint("session [default=1] a.so\nsession requisite pam_deny.so\nsession required b.so\n") == []


@pytest.mark.parametrize(
    "text, place, severity, words",
    [
        ("foo\n", "sshd:1", "error", "cannot use this line: 'foo' is not a type"),
        (
            "auth required a.so\nauth [success=okay] a.so\n",
            "sshd:2",
            "error",
            "[success=okay] cannot be read from 'ay' on",
        ),
        ("auth [success=2 default=bad] a.so\nauth required b.so\n", "sshd:1", "error", "a jump of 2 runs out of lines"),
        (
            "auth [success=1] a.so\nauth include y\nauth required b.so\n",
            "sshd:1",
            "warning",
            "lands in another file, at ",
        ),
        ("auth [default=die] a.so\nauth required b.so\n", "sshd:2", "warning", "no answer leads to this line of auth"),
        ("auth include none\n", "sshd:1", "error", "always answers perm_denied: none cannot be opened"),
        ("-auth required a.so\n", "sshd:1", "warning", "does not let the stack pass without it"),
        ("auth [ignore=ok] a.so\n", "sshd:1", "warning", "an answer of ignore counts as a grant"),
        ("auth required a.so\r\n", "sshd:1", "error", "a carriage return is part of a word"),
        ("auth required a.so \\\n\nb\n", "sshd:1", "warning", "differently than libpam from 1.6.0 on"),
        ("auth include sshd\n", ":None", "error", "look for a file that includes itself"),
        ("auth include /elsewhere/z\n", "/elsewhere/z:1", "warning", "is in none of /nowhere/pam.d"),
        ("auth required .so\n", "sshd:1", "error", "libpam cannot start the service: '.so' names no module"),
        ("auth \\\n", "sshd:1", "error", "libpam cannot start the service: the file ends in a continuation"),
    ],
)
def test_findings(text, place, severity, words, tmp_path):
    y = "auth required c.so\nauth required d.so\n"
    files = {f"{ETC}/sshd": text, f"{ETC}/y": y, "/elsewhere/z": "auth required e.so\n"}
    found = views.lint("sshd", confdirs=[ETC], libpam=OLD, files=files)
    assert any(
        (f"{(finding['file'] or '').removeprefix(ETC + '/')}:{finding['line']}", finding["severity"])
        == (place, severity)
        and words in finding["finding"]
        for finding in found
    ), found


def test_missing_modules(tmp_path):
    (tmp_path / "a.so").touch()
    libpam = {**OLD, "module_dirs": [str(tmp_path)]}
    text = "auth required a.so\nauth required b.so\n-auth optional c.so\n"
    text += f"auth required {tmp_path}/a.so\nauth required /x/d.so\n"
    assert [(place, severity) for place, severity, _ in lint(text, libpam)] == [
        ("sshd:2", "error"),
        ("sshd:5", "error"),
    ]
    assert lint("auth required b.so\n", OLD) == []


def test_a_line_that_is_included_twice_is_wrong_once():
    assert len(lint("auth include y\nauth include y\n", y="auth [success=x] a.so\n")) == 1


def test_debians_generation_is_kept():
    assert lint("@include y\n", DEBIAN_OLD, y="auth required a.so\n") == []


ACTIONS = ("ignore", "ok", "done", "bad", "die", "reset", 1, 2, 9)
CODES = 3  # answers a module may give here: the first two codes and ignore


@st.composite
def stacks(draw):
    """A stack of handlers as expand gives them: levels that rise by one behind a substack's marker alone."""
    handlers, level = [], 0
    for _ in range(draw(st.integers(1, 5))):
        if handlers and handlers[-1]["kind"] == "substack":
            level += draw(st.integers(0, 1))
        else:
            level = draw(st.integers(0, level))
        kind = draw(st.sampled_from(["module", "module", "module", "must_fail", "substack"]))
        actions = [draw(st.sampled_from(ACTIONS)) for _ in range(CODES)]
        handlers.append(
            {"kind": kind, "level": level, "actions": [actions[0]] * 6 + [actions[1]] * 19 + [actions[2]] * 7}
        )
    return handlers


def dispatched(handlers, answers):
    """The handlers libpam runs when they answer so: pam_dispatch.c, with the codes success, perm_denied and ignore."""
    ran, impression, saved, previous, index = set(), "undefined", {0: "undefined"}, 0, 0
    while index < len(handlers):
        handler = handlers[index]
        level = handler["level"]
        if level > previous:
            saved[level] = impression
        previous = level
        ran.add(index)
        if handler["kind"] == "substack":
            index += 1
            continue
        code = 1 if handler["kind"] == "must_fail" else answers[index]
        action = handler["actions"][(0, 6, 25)[code]]
        if action == "reset":
            impression = saved.get(level, "undefined")
        elif action in ("ok", "done") and impression != "bad":
            impression = "good"
        elif action in ("bad", "die"):
            impression = "bad"
        if action == "die" or (action == "done" and impression == "good"):
            index, jump = index + 1, None
            while index < len(handlers) and handlers[index]["level"] >= level:
                index += 1
            continue
        jump = action if isinstance(action, int) else 0
        while jump and index + 1 < len(handlers) and handlers[index + 1]["level"] >= level:
            index += 1
            while index + 1 < len(handlers) and handlers[index + 1]["level"] > level:
                index += 1
            jump -= 1
        if jump:
            impression = "bad"
        index += 1
    return ran


def handler(kind, level, action):
    return {"kind": kind, "level": level, "actions": [action] * 32}


# A jump out of a substack counts as bad, so that the done after it does not stop.
LOST_JUMP = [
    handler("substack", 0, "ok"),
    handler("module", 1, 9),
    handler("module", 0, "done"),
    handler("module", 0, "ok"),
]


@given(stacks())
@example(LOST_JUMP)
def test_no_reachable_line_is_called_unreachable(handlers):
    ran = set()
    for answers in itertools.product(range(CODES), repeat=len(handlers)):
        ran |= dispatched(handlers, answers)
    for type_ in ("account", "auth"):
        assert ran <= views._reachable(handlers, type_)
    if all("reset" not in handler["actions"] for handler in handlers):
        assert ran == views._reachable(handlers, "account")
