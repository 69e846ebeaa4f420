"""pam_stack.show, diagram and lint: what they say of a stack, and that no line is called unreachable that is not."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.pam_texts import DEBIAN_OLD, NEW, OLD

import _pam_expand
import _pam_grammar
import _pam_lint
import _pam_search
import _pam_show
from _pam_errors import PamError, PamUsageError

ETC = "/nowhere/pam.d"
NO_TYPE = "'foo' is not a type; the types are auth, account, password, session"
FILES = {
    f"{ETC}/sshd": "auth [success=1 default=ignore] a.so\nauth requisite pam_deny.so\nauth substack base\n"
    "-session optional b.so x\nfoo\n",
    f"{ETC}/base": "auth sufficient c.so\nauth required d.so\n",
}


def test_show():
    assert _pam_show.show("sshd", confdirs=[ETC], libpam=OLD, files=FILES) == (
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
    shown = _pam_show.show("sshd", "session", confdirs=[ETC], libpam=OLD, files=FILES)
    assert shown == "session (from sshd)\n   1  -optional  b.so x  /nowhere/pam.d/sshd:4\n"
    with pytest.raises(PamUsageError, match="'sesion' is not a type; there are auth"):
        _pam_show.show("sshd", "sesion", confdirs=[ETC], libpam=OLD, files=FILES)


def test_a_service_that_cannot_start():
    reading = {"confdirs": [ETC], "libpam": OLD, "files": {f"{ETC}/sshd": "auth required .so\n"}}
    for look in (_pam_show.show, _pam_show.diagram):
        with pytest.raises(PamError, match=r"libpam cannot start sshd: .*/sshd:1: '.so' names no module"):
            look("sshd", "auth", **reading)


def test_mermaid():
    files = {**FILES, f"{ETC}/base": 'auth sufficient c.so "#\nauth [success=1] d.so\n'}
    assert _pam_show.diagram("sshd", "auth", confdirs=[ETC], libpam=OLD, files=files) == (
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
    assert _pam_show.diagram("x", "account", "dot", confdirs=[ETC], libpam=NEW, files=files) == (
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


# Carriage return, escape, bell, the one-byte CSI, a byte that is not UTF-8, and a character that turns the line around.
HOSTILE = "\r\x1b\x07\x9b\udc9b\u202e"


@pytest.mark.parametrize(
    "look",
    [
        lambda **reading: _pam_show.show("x", **reading),
        lambda **reading: _pam_show.diagram("x", "auth", **reading),
        lambda **reading: _pam_show.diagram("x", "auth", "dot", **reading),
    ],
    ids=["show", "mermaid", "dot"],
)
def test_no_command_reaches_the_terminal(look):
    text = f"auth [success=ok{HOSTILE}] a{HOSTILE}.so b{HOSTILE}\nauth include y{HOSTILE}\nauth substack z{HOSTILE}\n"
    files = {f"{ETC}/x": text, f"{ETC}/z{HOSTILE}": "auth required é.so\n"}
    seen = look(confdirs=[ETC], libpam=OLD, files=files)
    assert seen.replace("\n", "").isprintable()
    assert all(word in seen for word in ("x1b", "x07", "udc9b", "u202e", "é"))


def test_escapes_are_not_the_formats_own():
    reading = {"confdirs": [ETC], "libpam": OLD, "files": {f"{ETC}/x": "auth required a.so \x1b\n"}}
    assert "a.so \\x1b " in _pam_show.show("x", "auth", **reading)
    assert "a.so \\\\x1b\\n" in _pam_show.diagram("x", "auth", "dot", **reading)
    assert "a.so #92;x1b<br/>" in _pam_show.diagram("x", "auth", **reading)


def test_diagram_of_what_there_is_not():
    for wrong in ({"type": "sesion"}, {"type": "auth", "format": "png"}):
        with pytest.raises(PamUsageError, match=" is not a "):
            _pam_show.diagram("sshd", **wrong)


# --- lint ---


def lint(sshd, libpam=OLD, **files):
    """The findings about sshd and the files it includes: (file:line, severity, finding)."""
    paths = {f"{ETC}/{name}": text for name, text in {"sshd": sshd, **files}.items()}
    found = _pam_lint.lint("sshd", confdirs=[ETC], libpam=libpam, files=paths)
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


# As EL has it: the last lines of password-auth, which sshd includes ahead of postlogin.
CROND = "session [success={} default=ignore] pam_succeed_if.so service in crond\nsession required pam_unix.so\n"
JUMPS = {
    "to the end of the file": ("session include y\nsession include z\n", CROND.format(1), None),
    "to the end, and the includer's line": ("session include y\nsession required b.so\n", CROND.format(1), None),
    "to the end, over a substack": (
        "session include y\nsession include z\n",
        CROND.format(1).replace("required pam_unix.so", "substack z"),
        None,
    ),
    "past the end of the file": ("session include y\nsession include z\n", CROND.format(2), "z:2"),
    "past the end, to the includer's line": (
        "session include y\nsession optional b.so\nsession required c.so\n",
        CROND.format(2),
        "sshd:3",
    ),
    "to a line that includes": ("session include y\n", CROND.format(1) + "session include z\n", None),
    "into the lines of an included file": ("session include y\n", CROND.format(2) + "session include z\n", "z:2"),
}


@pytest.mark.parametrize(("sshd", "y", "landing"), JUMPS.values(), ids=JUMPS)
def test_a_jump_may_go_to_the_very_end_of_its_file(sshd, y, landing):
    found = lint(sshd, y=y, z="session optional p.so\nsession optional q.so\n")
    told = [(place, finding.partition(" lands in another file, at ")[2]) for place, _, finding in found]
    assert told == ([("y:1", f"{ETC}/{landing}")] if landing else [])


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
        ("auth include sshd\n", "sshd:1", "error", "look for a file that includes itself"),
        ("auth include /elsewhere/z\n", "/elsewhere/z:1", "warning", "is in none of /nowhere/pam.d"),
        ("auth required .so\n", "sshd:1", "error", "libpam cannot start the service: '.so' names no module"),
        ("auth \\\n", "sshd:1", "error", "libpam cannot start the service: the file ends in a continuation"),
    ],
)
def test_findings(text, place, severity, words, tmp_path):
    y = "auth required c.so\nauth required d.so\n"
    files = {f"{ETC}/sshd": text, f"{ETC}/y": y, "/elsewhere/z": "auth required e.so\n"}
    found = _pam_lint.lint("sshd", confdirs=[ETC], libpam=OLD, files=files)
    assert any(
        (f"{(finding['file'] or '').removeprefix(ETC + '/')}:{finding['line']}", finding["severity"])
        == (place, severity)
        and words in finding["finding"]
        for finding in found
    ), found


# Up to 1.5.3 these are 1023 bytes of comment, and then a rule.
BEHIND_A_COMMENT = "#" + "x" * 1022 + "account sufficient pam_permit.so"
DIFFERENTLY = "libpam up to 1.5.3 reads the lines from here on differently than libpam from 1.6.0 on"


@pytest.mark.parametrize("libpam", [OLD, NEW])
def test_a_live_rule_behind_a_long_comment_at_the_end(libpam):
    text = "account required pam_unix.so\n"
    assert lint(text + BEHIND_A_COMMENT, libpam) == [("sshd:2", "warning", DIFFERENTLY)]
    assert ("y:1", "warning", DIFFERENTLY) in lint("auth include y\n", libpam, y=BEHIND_A_COMMENT)


@pytest.mark.parametrize("libpam", [OLD, NEW])
@pytest.mark.parametrize("jump", [2**32 + 1, 2**31, 2**32 - 1])
def test_a_jump_that_wraps(libpam, jump):
    text = f"auth required a.so\nauth [success={jump}] b.so\nauth required c.so\nauth required d.so\n"
    place, _, finding = lint(text, libpam)[-1 if libpam is NEW else 0]
    assert place == "sshd:2"
    assert finding == f"[success={jump}] jumps further than libpam up to 1.5.3 counts, and is an error from 1.6.0 on"
    assert lint(text.replace(str(jump), "1"), libpam) == []


@pytest.mark.parametrize("libpam", [OLD, NEW])
def test_includes_that_only_the_old_libpam_follows(libpam):
    def nested(levels):
        files = {f"x{number}": f"auth include x{number + 1}\n" for number in range(1, levels)}
        return lint("auth include x1\n", libpam, **files, **{f"x{levels}": "auth required a.so\n"})

    assert nested(15) == []
    finding = "libpam up to 1.5.3 makes another auth stack from here on than libpam from 1.6.0 on"
    assert nested(16)[0] == ("x15:1", "warning", finding)


@pytest.mark.parametrize(
    "place, finding, remedy, libpam, files",
    [
        ("sshd:2", "includes sshd 65 levels deep", "Break the circle: ", OLD, {"sshd": "#\nauth include sshd\n"}),
        (
            "sshd:20001",
            "expands to more than 20000 lines",
            "Break the circle, or shorten the files.",
            OLD,
            {"sshd": "account required a.so\n" * 20000 + "account required a.so"},
        ),
        ("y:1", "'?' names nothing to load; what follows is", "Name the ", OLD, {"y": "auth required ?\n"}),
        ("y:1", "cannot be opened; what follows is", "Put the file there", DEBIAN_OLD, {"y": "@include none\n"}),
        ("/dev/null:None", "is not a regular file", "Put a file there", OLD, {"y": {"link": "/dev/null"}}),
        ("y:1", "sshd would be level 16 of includes", "Nest the files less deeply", NEW, {"y": "auth include sshd"}),
        ("sshd:1", "y:1: the file ends in a continuation", "Correct the included file", OLD, {"y": "auth \\"}),
        ("sshd:1", "y cannot be opened", "Put the file there, or remove the line.", OLD, {"y": None}),
        ("sshd:1", "include names no file", "Name a file, or remove the line.", OLD, {"sshd": "auth include\n"}),
    ],
)
def test_each_refusal_has_its_place_and_remedy_and_hides_nothing_else(place, finding, remedy, libpam, files):
    texts = {"sshd": "auth include y\n", "y": "", "other": "foo\n", **files}
    reading = {"confdirs": [ETC], "libpam": libpam, "files": {f"{ETC}/{name}": text for name, text in texts.items()}}
    found = _pam_lint.lint("sshd", **reading)
    told = [each for each in found if finding in each["finding"] and each["remedy"].startswith(remedy)]
    assert [f"{each['file'].removeprefix(ETC + '/')}:{each['line']}" for each in told] == [place], found
    # Also where the reading ends for good, the lines of the files that were opened until then are looked at.
    if "20000" not in finding:
        assert any(each["file"] == f"{ETC}/other" and "'foo' is not a type" in each["finding"] for each in found)


def test_what_may_not_be_read_hides_nothing_else(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied") if path.startswith(f"{tmp_path}") else FileNotFoundError

    monkeypatch.setattr(_pam_expand, "_bytes", refuse)
    (tmp_path / "y").touch()
    text = f"auth include {tmp_path}/y\nauth [success=okay] a.so\nauth include z\nauth [success=1] b.so\n"
    assert lint(text, z="auth required\n") == [
        (f"{tmp_path}/y:None", "error", f"{tmp_path}/y cannot be read: Permission denied; libpam runs as root"),
        ("sshd:2", "error", "[success=okay] cannot be read from 'ay' on, so every answer counts as bad"),
        ("z:1", "error", "libpam cannot use this line: there is no module"),
    ]


def test_a_file_of_too_many_lines_is_not_parsed(monkeypatch):
    parsed = []
    monkeypatch.setattr(_pam_grammar, "parse", lambda text, *_, **__: parsed.append(text) or [])
    (finding,) = lint("a\n" * 500_000)
    assert finding[0] == "sshd:None" and "more than 20000 lines" in finding[2]
    assert parsed == []


def test_a_service_without_any_line():
    told = (
        "sshd:None",
        "error",
        "neither the service nor other comes to any rule, so every call of the service is denied",
    )
    assert lint("") == lint("# nothing\n", other="\n") == [told]
    assert lint("", other="auth required a.so\n") == lint("auth substack y\n", y="") == []


def test_a_service_that_is_not_there():
    (finding,) = _pam_lint.lint("sshd", confdirs=[ETC], libpam=OLD, files={})
    assert (finding["file"], finding["remedy"]) == (None, "Put a file there; until then every call of it fails.")


def test_bad_lines_of_files_that_gave_no_handler():
    assert lint("auth include y\nauth required a.so\n", y="session required\n", other="foo\n") == [
        ("y:1", "error", "libpam cannot use this line: there is no module"),
        ("other:1", "error", "libpam cannot use this line: 'foo' is not a type; the types are auth, account, password, "
         "session"),
    ]  # fmt: skip


@pytest.mark.parametrize("type_", ["auth", "account", "password", "session"])
@pytest.mark.parametrize(
    "end", ["sufficient pam_permit.so", "requisite pam_deny.so x", "[default=done] pam_permit.so"]
)
def test_nothing_gets_past_a_module_with_one_answer(type_, end):
    line = f"no answer leads to this line of {type_}"
    assert lint(f"{type_} {end}\n{type_} required a.so\n") == [("sshd:2", "warning", line)]
    assert lint(f"{type_} [success=1 default=ignore] a.so\n{type_} {end}\n{type_} required b.so\n") == []
    assert lint(f"{type_} optional pam_permit.so\n{type_} optional pam_deny.so\n{type_} required a.so\n") == []


@pytest.mark.parametrize(("module", "ends"), [("/lib/security/pam_deny.so", True), ("/opt/site/pam_deny.so", False)])
def test_a_module_of_a_known_name_elsewhere_may_answer_anything(module, ends):
    libpam = {**OLD, "module_dirs": ["/lib/security"]}
    text = f"auth [default=die module_unknown=ignore] {module}\nauth [default=bad module_unknown=ignore] a.so\n"
    told = [("sshd:2", "warning", "no answer leads to this line of auth")] if ends else []
    assert lint(text, libpam=libpam) == told
    # A fence that nothing leads to is pam_deny.so, and no other file of that name.
    fence = f"auth [default=die module_unknown=die] pam_deny.so\nauth [default=bad module_unknown=ignore] {module}\n"
    assert len([line for line, *_ in lint(fence, libpam=libpam) if line == "sshd:2"]) == (0 if ends else 1)


def test_what_has_failed_gets_past_a_sufficient_permit():
    assert lint("auth required a.so\nauth sufficient pam_permit.so\nauth required b.so\n") == []


def test_findings_come_as_the_lines_do():
    found = lint("auth [ignore=ok] a.so\n-auth include y\nfoo\nauth [success=9] b.so\n", y="-auth required c.so\nfoo\n")
    assert [place for place, *_ in found] == ["sshd:1", "sshd:3", "sshd:4", "y:1", "y:2"]


def test_another_nodes_libpam(tmp_path):
    (tmp_path / "a.so").touch()
    libpam = {**OLD, "confdirs": [ETC], "module_dirs": [str(tmp_path)]}
    (finding,) = _pam_lint.lint("x", libpam=libpam, files={f"{ETC}/x": "auth required a.so\nauth required b.so\n"})
    assert f"there is no b.so in {tmp_path}" in finding["finding"]


class Counted(dict):
    """A handler that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, key):
        Counted.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("control", ["requisite", "[success=900 default=ignore]", "[success=2 default=die]"])
@pytest.mark.parametrize(
    "look", [_pam_lint.lint, lambda *service, **reading: _pam_show.diagram(*service, "auth", **reading)]
)
def test_the_work_grows_as_the_stack_does(look, control, monkeypatch):
    expand = _pam_expand.expand

    def counted(*args, **kwargs):
        found = expand(*args, **kwargs)
        return {**found, "types": {type_: list(map(Counted, stack)) for type_, stack in found["types"].items()}}

    monkeypatch.setattr(_pam_expand, "expand", counted)
    Counted.looks = 0
    look("x", confdirs=[ETC], libpam=OLD, files={f"{ETC}/x": f"auth {control} a.so\n" * 1000})
    assert Counted.looks < 100_000


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
CODES = 3  # answers a module may give here: these, of which each stands for the codes around it
ANSWERS = ("success", "perm_denied", "ignore")


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
        actions = [actions[0]] * 6 + [actions[1]] * 19 + [actions[2]] * 7
        always = {"call": draw(st.sampled_from(ANSWERS))} if kind == "module" and draw(st.booleans()) else {}
        handlers.append({"kind": kind, "level": level, "actions": actions, "always": always, "paired": True})
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
        if handler["always"]:
            code = ANSWERS.index(handler["always"]["call"])
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
    return {"kind": kind, "level": level, "actions": [action] * 32, "always": {}, "paired": True}


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
    expanded = {"types": dict.fromkeys(("account", "auth"), handlers), "libpam": OLD}
    assert ran <= _pam_search.reachable(expanded, "auth")
    assert ran == _pam_search.reachable(expanded, "account")
