"""The grammar: every text comes back byte for byte, and is read as libpam reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.pam_texts import DEBIAN_NEW, DEBIAN_OLD, LIBPAMS, NEW, OLD, TEXTS

import _pam_expand
import _pam_grammar
from _pam_errors import PamError


@given(TEXTS, LIBPAMS, st.booleans())
def test_parse_loses_nothing(text, libpam, conf):
    entries = _pam_grammar.parse(text, libpam, conf)
    assert _pam_grammar.render(entries) == text
    line = 1
    for entry in entries:
        assert entry["text"]
        assert entry["line"] == line
        line += entry["text"].count("\n")
    assert _pam_grammar.parse(_pam_grammar.render(entries), libpam, conf) == entries


@given(TEXTS, LIBPAMS)
def test_the_common_path_reads_as_the_exact_one(text, libpam):
    """Without the fast path every line is read by libpam's own steps, and nothing changes."""
    fast = _pam_grammar.parse(text, libpam)
    longest, _pam_grammar._COMMON_LENGTH = _pam_grammar._COMMON_LENGTH, -1
    try:
        exact = _pam_grammar.parse(text, libpam)
    finally:
        _pam_grammar._COMMON_LENGTH = longest
    assert fast == exact


@given(TEXTS, LIBPAMS)
def test_the_common_path_finds_places_as_the_exact_one(text, libpam):
    lines = [entry["text"] for entry in _pam_grammar.parse(text, libpam)]
    fast = [_pam_grammar.places(line, libpam) for line in lines]
    longest, _pam_grammar._COMMON_LENGTH = _pam_grammar._COMMON_LENGTH, -1
    try:
        exact = [_pam_grammar.places(line, libpam) for line in lines]
    finally:
        _pam_grammar._COMMON_LENGTH = longest
    assert fast == exact


def meaning(text, libpam=OLD, conf=False):
    """Each entry in short: the lines it spans, its kind, and what was read from it."""
    keys = ("service", "type", "control", "module", "target", "args")
    return [
        (entry["text"].count("\n"), entry["kind"], *(entry[key] for key in keys if entry.get(key)))
        for entry in _pam_grammar.parse(text, libpam, conf)
    ]


RULE = (1, "rule", "auth", "required", "a.so")
PAIR = "[success=1 default=ignore]"

CASES = {
    "empty": ("", []),
    "blank lines": ("\n \t\n", [(1, "blank"), (1, "blank")]),
    "no newline at the end": ("auth required a.so", [(0, *RULE[1:])]),
    "type and keyword in any case": ("AUTH Required a.so\n", [(1, "rule", "auth", "Required", "a.so")]),
    "a comment cuts anywhere": ("auth required a.so#x y\n", [RULE]),
    "a comment cuts in brackets": ("auth [success=1 # default=ignore] a.so\n", [(1, "invalid", "auth", "[success=1 ")]),
    "quotes mean nothing": ('auth required a.so "x y"\n', [(*RULE, ['"x', 'y"'])]),
    "a continuation is a blank": ("auth requi\\\nred a.so\n", [(2, "rule", "auth", "requi", "red", ["a.so"])]),
    "blanks after the backslash": ("auth required \\ \t\na.so\n", [(2, *RULE[1:])]),
    "a continuation in brackets": (
        "auth [success=1\\\ndefault=ignore] a.so\n",
        [(2, "rule", "auth", PAIR, "a.so")],
    ),
    "a comment never continues": ("auth required a.so # \\\nb\n", [RULE, (1, "invalid")]),
    "a comment line never continues": ("# \\\nauth required a.so\n", [(1, "comment"), RULE]),
    "a lone backslash": ("\\\nauth required a.so\n", [(2, *RULE[1:])]),
    "a backslash within a line": ("auth required a.so x\\y\n", [(*RULE, ["x\\y"])]),
    "a bracket inside a word": ("auth required a.so x[a b]\n", [(*RULE, ["x[a", "b]"])]),
    "an escaped bracket": ("auth required a.so [a\\]b] [\\\\]]\n", [(*RULE, ["a]b", "\\]"])]),
    "a bracket that is not closed": ("auth required a.so [x y", [(0, *RULE[1:], ["x y"])]),
    "an empty word": ("auth required a.so [] x\n", [(*RULE, ["", "x"])]),
    "no blank after a bracket": (f"auth {PAIR}a.so [x]y\n", [(1, "rule", "auth", PAIR, "a.so", ["x", "y"])]),
    "every word in brackets": ("[auth] [required] [a.so]\n", [(1, "rule", "auth", "[required]", "a.so")]),
    "an include in brackets": ("auth [INCLUDE] x\n", [(1, "include", "auth", "include", "x")]),
    "pairs without brackets": ("auth default=ignore a.so\n", [(1, "rule", "auth", "default=ignore", "a.so")]),
    "the words after an include": ("auth include x y z\n", [(1, "include", "auth", "include", "x")]),
    "an include of an absolute path": ("auth substack /x/y\n", [(1, "include", "auth", "substack", "/x/y")]),
    "carriage returns are in words": ("auth required a.so\r\n\r\n", [(1, *RULE[1:4], "a.so\r"), (1, "invalid")]),
    "a form feed is in a word": ("auth\frequired a.so\n", [(1, "invalid", "a.so")]),
    "a byte order mark is in a word": ("\ufeffauth required a.so\n", [(1, "invalid", "required", "a.so")]),
    "a blank from Unicode is in a word": ("auth required a.so x\xa0y\n", [(*RULE, ["x\xa0y"])]),
    "a Kelvin sign is not a k": ("auth substac\u212a a.so\n", [(1, "rule", "auth", "substac\u212a", "a.so")]),
    "nor where a file could be named": ("auth substac\u212a x\n", [(1, "rule", "auth", "substac\u212a", "x")]),
    "a long s is not an s": ("se\u017fsion required a.so\n", [(1, "invalid", "required", "a.so")]),
    "a byte that is not UTF-8": ("auth required a.so \udcff\n", [(*RULE, ["\udcff"])]),
    "no type": ("foo required a.so\n", [(1, "invalid", "required", "a.so")]),
    "no control": ("auth\n", [(1, "invalid", "auth")]),
    "no module": ("auth required\n", [(1, "invalid", "auth", "required")]),
    "no target": ("auth include\n", [(1, "invalid", "auth", "include")]),
    "a module of no name": ("auth required dir/.so\n", [(1, "invalid", "auth", "required", "dir/.so")]),
    "a module of a question mark": ("auth required ?.so\n", [(1, "invalid", "auth", "required", "?.so")]),
    "a module without a suffix": ("auth required a\n", [(1, "rule", "auth", "required", "a")]),
    "a substack of no name": ("auth substack x/\n", [(1, "invalid", "auth", "substack", "x/")]),
    "an include of no name": ("auth include x/\n", [(1, "include", "auth", "include", "x/")]),
    "two dashes": ("--auth required a.so\n", [(1, "invalid", "required", "a.so")]),
    "a dash alone": ("- required a.so\n", [(1, "invalid", "required", "a.so")]),
    "a dash and a blank": ("- auth required a.so\n", [(1, "invalid", "auth", "required", ["a.so"])]),
    "a module whose suffix goes on": ("auth required a.so.1 x\n", [(1, "rule", "auth", "required", "a.so.1", ["x"])]),
    "a module that goes on in another script": ("auth required a.so\xe9\n", [(1, *RULE[1:4], "a.so\xe9")]),
    "an include of a module's name": ("auth include a.so x\n", [(1, "include", "auth", "include", "a.so")]),
    "an include in brackets, in lower case": ("auth [include] x\n", [(1, "include", "auth", "include", "x")]),
    "a comment after arguments": ("auth required a.so x y#z w\n", [(*RULE, ["x", "y"])]),
    "a NUL in comments": ("# \0 \\\nauth required a.so # \0 \\\n", [(1, "comment"), RULE]),
    "a keyword that is a pair": ("auth [include=] a.so\n", [(1, "rule", "auth", "[include=]", "a.so")]),
    "a carriage return within a word": ("auth required a.so x\ry\n", [(*RULE, ["x\ry"])]),
    "blanks before the type": (" \tauth required a.so\n", [RULE]),
    "a comment without a newline": ("# auth required a.so", [(0, "comment")]),
    "a file that ends in a continuation": ("auth required a.so\nauth x \\\n", [RULE, (1, "invalid")]),
}


@pytest.mark.parametrize(
    "libpam", [OLD, NEW, DEBIAN_OLD, DEBIAN_NEW], ids=["old", "new", "Debian's old", "Debian's new"]
)
@pytest.mark.parametrize("text, expected", CASES.values(), ids=CASES)
def test_as_every_libpam_reads_it(text, expected, libpam):
    assert meaning(text, libpam) == expected


LONG = "x" * 1010
CONTINUED = "auth required a.so \\\n"

GENERATIONS = {
    "a blank line after a continuation": (
        f"{CONTINUED}\nx\n",
        [(3, *RULE[1:], ["x"])],
        [(2, *RULE[1:]), (1, "invalid")],
    ),
    "a comment line after a continuation": (
        f"{CONTINUED}  # c\nx\n",
        [(3, *RULE[1:], ["x"])],
        [(2, *RULE[1:]), (1, "invalid")],
    ),
    "blanks of a continuation line in brackets": (
        "auth required a.so [a\\\n  b]\n",
        [(2, *RULE[1:], ["a   b"])],
        [(2, *RULE[1:], ["a b"])],
    ),
    "a long line": (
        f"auth required a.so {LONG}\n",
        [(0, *RULE[1:], [LONG[:1004]]), (1, "invalid")],
        [(*RULE, [LONG])],
    ),
    "a long comment": (
        f"#{LONG}{'y' * 12}auth required a.so\n",
        [(0, "comment"), RULE],
        [(1, "comment")],
    ),
    "a NUL ends the line": ("auth required a.so \0x\n", [RULE], [RULE]),
    "a NUL before the backslash": (
        "auth required \0 x \\\na.so\n",
        [(1, "invalid", "auth", "required"), (1, "invalid")],
        [(2, "invalid", "auth", "required")],
    ),
    "a NUL after the backslash": (
        "auth required \\\0x\na.so\n",
        [(2, *RULE[1:])],
        [(1, "rule", "auth", "required", "\\"), (1, "invalid")],
    ),
    "a NUL at the start": ("\0auth required a.so\n", [(1, "comment")], [(1, "comment")]),
    "a continuation of nothing": (" \\\n\nauth required a.so\n", [(3, *RULE[1:])], [(2, "comment"), RULE]),
}


@pytest.mark.parametrize("text, old, new", GENERATIONS.values(), ids=GENERATIONS)
def test_as_each_generation_reads_it(text, old, new):
    assert meaning(text, OLD) == old
    assert meaning(text, NEW) == new


def test_a_line_that_fills_the_old_buffer_never_ends():
    text = "auth required a.so " + "x" * (1022 - 19) + "\\\nx\n"
    (entry,) = _pam_grammar.parse(text, OLD)
    assert "never returns" in entry["reason"]
    assert [entry["kind"] for entry in _pam_grammar.parse(text, NEW)] == ["rule"]


@pytest.mark.parametrize("start", ["", "auth", "auth required", "auth [", "auth required a.so", "@include", "#", "\\"])
def test_time_grows_with_the_text_and_not_with_its_square(start):
    for text in (f"{start}{' ' * 2**20}\n", f"{start} {'a' * 2**20}\xe9\n"):
        (entry,) = _pam_grammar.parse(text, DEBIAN_NEW)
        assert _pam_grammar.places(entry["text"], DEBIAN_NEW) is not None


def test_at_include_is_debians():
    for text in ("@include common-auth\n", "-@INCLUDE common-auth x\n"):
        assert meaning(text, DEBIAN_OLD) == [(1, "include", "@include", "common-auth")]
        assert meaning(text, OLD)[0][1] == "invalid"
    assert meaning("@include\n", DEBIAN_OLD) == [(1, "invalid", "@include")]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("auth required a.so x\n", {"silent": False, "args": ["x"]}),
        ("-auth required a.so\n", {"silent": True, "args": []}),
        ("-auth required a.so [x]\n", {"silent": True, "args": ["x"]}),
        ("-auth include x\n", {"silent": True, "type": "auth"}),
        ("@include x\n", {"silent": False, "type": None}),
        ("-@include x\n", {"silent": True, "type": None}),
    ],
)
def test_what_else_an_entry_has(text, expected):
    (entry,) = _pam_grammar.parse(text, DEBIAN_OLD)
    assert {key: entry[key] for key in expected} == expected


def test_a_rule_without_a_service_is_none_in_pam_conf():
    assert meaning("auth required a.so x\n", conf=True) == [(1, "invalid", "auth", "a.so", "x")]


def test_pam_conf_has_a_service_column():
    text = "SSHD auth required a.so x\n# c\n[other] -auth include y\nsshd\nsu auth\n"
    assert meaning(text, conf=True) == [
        (1, "rule", "sshd", "auth", "required", "a.so", ["x"]),
        (1, "comment"),
        (1, "include", "other", "auth", "include", "y"),
        (1, "invalid", "sshd"),
        (1, "invalid", "su", "auth"),
    ]
    assert _pam_grammar.parse("sshd\n", OLD, conf=True)[0]["reason"] == "there is no type"


def test_invalid_lines_say_why():
    def reason(text):
        return _pam_grammar.parse(text, OLD)[0]["reason"]

    assert reason("auht required a.so") == "'auht' is not a type; the types are auth, account, password, session"
    assert reason("auth") == "there is no control"
    assert reason("auth required") == "there is no module"
    assert reason("auth substack") == "substack names no file"
    assert reason("auth required .so") == "'.so' names no module, so libpam aborts"
    assert reason("auth required \\\n") == "the file ends in a continuation, so libpam aborts"


CODES = _pam_grammar.RETURN_CODES


def controlled(control, libpam=OLD):
    """The actions of a control other than the most frequent one, and that one."""
    actions = _pam_grammar.actions(control, libpam)
    most = max(actions.values(), key=list(actions.values()).count)
    return {code: action for code, action in actions.items() if action != most}, most


@pytest.mark.parametrize(
    "control, expected",
    [
        ("required", ({"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore"}, "bad")),
        ("REQUISITE", ({"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore"}, "die")),
        ("[sufficient]", ({"success": "done", "new_authtok_reqd": "done"}, "ignore")),
        ("optional", ({"success": "ok", "new_authtok_reqd": "ok"}, "ignore")),
        ("[]", ({}, "bad")),
        ("[ success = 2 \v default\t=die]", ({"success": 2}, "die")),
        ("success=ok", ({"success": "ok"}, "bad")),
        ("[success=okdefault=ignore]", ({"success": "ok"}, "ignore")),
        ("[success=1ignore=2]", ({"success": 1, "ignore": 2}, "bad")),
        ("[success=ok success=done]", ({"success": "done"}, "bad")),
        ("[default=die success=ok default=ignore]", ({"success": "ok"}, "die")),
        ("[default=3]", ({}, 3)),
        ("[success=reset]", ({"success": "reset"}, "bad")),
    ],
)
def test_controls(control, expected):
    assert controlled(control) == expected
    assert controlled(control, NEW) == expected


@pytest.mark.parametrize(
    "control",
    [
        "[success=okay]",
        "[success=0]",
        "[success]",
        "[success=]",
        "[=ok]",
        "[Success=ok]",
        "[success==ok]",
        "[x]",
        "maybe",
    ],
)
def test_a_control_with_an_error_is_all_bad(control):
    with pytest.raises(PamError, match="every answer counts as bad"):
        _pam_grammar.actions(control, OLD)
    files = {"/nowhere/pam.d/x": f"auth {control} a.so\n"}
    (handler,) = _pam_expand.expand("x", ["/nowhere/pam.d"], OLD, files)["types"]["auth"]
    assert handler["actions"] == ["bad"] * 32


def test_jumps_beyond_what_libpam_counts():
    assert controlled("[success=2147483647]", NEW) == ({"success": 2**31 - 1}, "bad")
    for jump in ("2147483648", "4294967296", "9" * 5000):
        with pytest.raises(PamError, match="larger than libpam counts"):
            _pam_grammar.actions(f"[success={jump}]", NEW)
    # Up to 1.5.3 the number wraps: to a jump, to a word, to nothing, to what never ends.
    assert controlled("[success=4294967298]") == ({"success": 2}, "bad")
    assert controlled("[success=4294967295]") == ({"success": "ok"}, "bad")
    assert controlled("[success=4294967290 default=die]") == ({}, "die")
    assert controlled("[success=4294967289]") == ({"success": -7}, "bad")
    with pytest.raises(PamError, match="goes nowhere"):
        _pam_grammar.actions("[success=4294967296]", OLD)


def test_return_codes_are_libpams():
    header = "/usr/include/security/_pam_types.h"
    assert len(CODES) == len(set(CODES)) == 32
    assert (CODES.index("perm_denied"), CODES.index("ignore"), CODES.index("module_unknown")) == (6, 25, 28), header


def test_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"auth required a.so \xff\r\n")
    assert _pam_expand.read(str(path), OLD)[0]["args"] == ["\udcff\r"]
    (tmp_path / "pam.conf").write_text("x auth required a.so\n")
    assert _pam_expand.read(str(tmp_path / "pam.conf"), OLD)[0]["service"] == "x"
    assert _pam_expand.read(str(path), OLD, files={str(path): "\n"})[0]["kind"] == "blank"
    with pytest.raises(PamError, match="none cannot be opened"):
        _pam_expand.read(str(tmp_path / "none"))
    (tmp_path / "large").write_bytes(b"\n" * (2**20 + 1))
    with pytest.raises(PamError, match="large is larger than"):
        _pam_expand.read(str(tmp_path / "large"))
    with pytest.raises(PamError, match="/dev/null is not a regular file"):
        _pam_expand.read("/dev/null")


@pytest.mark.parametrize(
    "text, libpam, fatal",
    [
        ("auth required a.so\\\n", OLD, "unfinished"),
        ("auth required a.so\\\n", NEW, "unfinished"),
        ("auth " + "x" * 1017 + "\\\nx", OLD, "endless"),
        ("auth required [?]\n", OLD, "nameless"),
        ("auth substack a/.so\n", NEW, "nameless"),
        ("sesion required ?\n", NEW, "nameless"),
        ("auth include ?\n", NEW, None),
        ("@include ?\n", DEBIAN_NEW, None),
        ("auth required\n", NEW, None),
    ],
)
def test_what_makes_libpam_give_a_file_up(text, libpam, fatal):
    assert _pam_grammar.parse(text, libpam)[0].get("fatal") == fatal


def test_words_and_where_they_are():
    assert _pam_grammar.words("a [b\\] c]\t[] #d\n") == ["a", "b] c", "", "#d"]
    line = "auth [a=b \\\n c] x.so # d"
    assert _pam_grammar.places(line, OLD) == [["auth", 0, 4], ["[a=b   c]", 5, 15], ["x.so", 16, 20]]


def test_places_are_those_of_one_line():
    assert _pam_grammar.places("auth\nrequired", OLD) == _pam_grammar.places("auth\nrequired", NEW) == [["auth", 0, 4]]


@given(TEXTS, LIBPAMS)
def test_words_stand_where_they_are_said_to(text, libpam):
    for entry in _pam_grammar.parse(text, libpam):
        places = _pam_grammar.places(entry["text"], libpam)
        ends = [0, *(end for _, _, end in places)]
        assert all(before <= start < end for before, (_, start, end) in zip(ends, places))
        # A continuation is a blank, also one that the file ends in.
        if "\n" not in entry["text"][:-1] and entry.get("fatal") != "unfinished":
            assert [entry["text"][start:end] for _, start, end in places] == [word for word, _, _ in places]
