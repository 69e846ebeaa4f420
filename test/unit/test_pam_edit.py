"""Editing does what is asked, once, and leaves every other byte alone."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit.pam_texts import DEBIAN_NEW, LIBPAMS, OLD, TEXTS

import _pam_edit
import _pam_grammar
import _pam_prove
from _pam_errors import PamError, PamUsageError

STACK = """\
#%PAM-1.0
auth       required     pam_sepermit.so
auth       substack     password-auth
account    required     pam_nologin.so
account    include      password-auth
password   include      password-auth
session    optional     pam_keyinit.so force \\
                        revoke  # x
"""
NOLOGIN = {"type": "account", "module": "pam_nologin.so"}
KEYINIT = {"module": "pam_keyinit.so"}


def edit(text, *changes, libpam=OLD):
    """What edit makes of a text, having seen that doing it again changes nothing."""
    once = _pam_edit.edit(text, list(changes), libpam)
    assert _pam_edit.edit(once, list(changes), libpam) == once
    return once


def changed(text, *changes, libpam=OLD):
    """The lines edit takes away and those it adds: ``-line`` and ``+line``, in order of the file."""
    before, after = text.splitlines(), edit(text, *changes, libpam=libpam).splitlines()
    while before and after and before[0] == after[0]:
        before, after = before[1:], after[1:]
    while before and after and before[-1] == after[-1]:
        before, after = before[:-1], after[:-1]
    return ["-" + line for line in before] + ["+" + line for line in after]


@pytest.mark.parametrize(
    "change, expected",
    [
        (
            {"insert": "account sufficient pam_access.so accessfile=/x", "after": NOLOGIN},
            ["+account    sufficient   pam_access.so accessfile=/x"],
        ),
        (
            {"insert": "-account [success=1 default=ignore] pam_x.so", "before": NOLOGIN},
            ["+-account   [success=1 default=ignore] pam_x.so"],
        ),
        ({"insert": "session required pam_x.so", "at": "first"}, ["+session    required     pam_x.so"]),
        ({"insert": "session required pam_x.so # why", "at": "last"}, ["+session    required     pam_x.so # why"]),
        ({"insert": "auth required pam_sepermit.so", "at": "first"}, []),
        (
            {"insert": "account substack password-auth", "at": "last"},
            ["-account    include      password-auth", "+account    substack     password-auth"],
        ),
        (
            {"insert": "account requisite pam_nologin.so x", "before": NOLOGIN | {"module": "pam_nologin.so"}},
            PamError,
        ),
        (
            {"replace": NOLOGIN, "with": "account requisite pam_nologin.so x"},
            ["-account    required     pam_nologin.so", "+account    requisite    pam_nologin.so x"],
        ),
        (
            {"set_control": NOLOGIN, "to": "[success=ok default=die]"},
            ["-account    required     pam_nologin.so", "+account    [success=ok default=die] pam_nologin.so"],
        ),
        (
            {"set_control": {"type": "auth", "target": "password-auth"}, "to": "include"},
            ["-auth       substack     password-auth", "+auth       include      password-auth"],
        ),
        ({"set_control": NOLOGIN, "to": "REQUIRED"}, []),
        ({"set_args": NOLOGIN, "to": ["a b", "c"]}, ["-account    required     pam_nologin.so", None]),
        (
            {"add_args": KEYINIT, "args": "debug force"},
            ["-                        revoke  # x", "+                        revoke debug  # x"],
        ),
        (
            {"remove_args": KEYINIT, "args": ["revoke"]},
            [
                "-session    optional     pam_keyinit.so force \\",
                "-                        revoke  # x",
                "+session    optional     pam_keyinit.so force  # x",
            ],
        ),
        (
            {"remove_args": KEYINIT, "args": ["force"]},
            ["-session    optional     pam_keyinit.so force \\", "+session    optional     pam_keyinit.so \\"],
        ),
        (
            {"remove": {"type": "auth"}, "missing": "ok"},
            ["-auth       required     pam_sepermit.so", "-auth       substack     password-auth"],
        ),
        ({"remove": {"type": "auth", "module": "pam_x.so"}, "missing": "ok"}, []),
        (
            {"comment_out": KEYINIT},
            [
                "-session    optional     pam_keyinit.so force \\",
                "-                        revoke  # x",
                "+#session    optional     pam_keyinit.so force \\",
                "+#                        revoke  # x",
            ],
        ),
        (
            {"retarget": {"from": "password-auth", "to": "site-auth", "type": "auth"}},
            ["-auth       substack     password-auth", "+auth       substack     site-auth"],
        ),
    ],
)
def test_each_change(change, expected):
    if expected is PamError:
        with pytest.raises(PamError):
            _pam_edit.edit(STACK, [change], OLD)
        return
    if expected and expected[-1] is None:
        expected = [*expected[:-1], "+account    required     pam_nologin.so [a b] c"]
    assert changed(STACK, change) == expected


def test_retarget_changes_every_include_and_nothing_else():
    text = (
        "@include common-auth\nauth\tinclude\tcommon-auth # common-auth\n"
        "-auth substack [common-auth] more\n# auth include common-auth\n"
    )
    change = {"retarget": {"from": "common-auth", "to": "x"}}
    assert edit(text, change, libpam=DEBIAN_NEW) == (
        "@include x\nauth\tinclude\tx # common-auth\n-auth substack x more\n# auth include common-auth\n"
    )


def test_a_retarget_for_a_type_changes_an_at_include_too():
    text = "@include common-account\naccount include common-account\nauth include common-account\n"
    change = {"retarget": {"from": "common-account", "to": "x", "type": "account"}}
    assert edit(text, change, libpam=DEBIAN_NEW) == "@include x\naccount include x\nauth include common-account\n"


@pytest.mark.parametrize(
    "line",
    [
        "account include  common-account  more  # ours",
        "account\tinclude\t\tcommon-account\t\tmore\t\t words\t",
        "account include common-account   more\r",
        "account include \\\n  common-account  \\\n   more",
        "@include  common-account  # more",
    ],
)
@pytest.mark.parametrize("to", ["a", "slurm-common-account", "/etc/a b"])
def test_a_retarget_and_its_way_back_leave_all_blanks_as_they_are(line, to):
    text = f"account   required        pam_unix.so  more\n{line}\naccount   required        pam_deny.so    more\n"
    there = edit(text, {"retarget": {"from": "common-account", "to": to}}, libpam=DEBIAN_NEW)
    assert there.split() == text.replace("common-account", f"[{to}]" if " " in to else to).split()
    assert edit(there, {"retarget": {"from": to, "to": "common-account"}}, libpam=DEBIAN_NEW) == text


def test_taking_a_retarget_back_gives_the_file_back():
    there = edit(STACK, {"retarget": {"from": "password-auth", "to": "x"}})
    assert there != STACK
    assert edit(there, {"retarget": {"from": "x", "to": "password-auth"}}) == STACK


def test_position_is_enforced_and_a_moved_line_keeps_its_text():
    text = "auth required a.so\nauth  optional   b.so x # mine\nauth required c.so\n"
    rule = "auth optional b.so x"
    assert edit(text, {"insert": rule, "at": "last"}) == (
        "auth required a.so\nauth required c.so\nauth  optional   b.so x # mine\n"
    )
    assert edit(text, {"insert": rule, "at": "first"}) == (
        "auth  optional   b.so x # mine\nauth required a.so\nauth required c.so\n"
    )
    assert edit(text, {"insert": rule, "after": {"module": "a.so"}}) == text


def test_what_stands_between_counts_only_where_it_has_a_say():
    text = "auth required a.so\n\n# a note\nsession required s.so\nauth required b.so\n"
    change = {"insert": "auth required b.so", "after": {"module": "a.so"}}
    assert edit(text, change) == text
    between = text.replace("session required s.so", "@include x")
    assert edit(between, change, libpam=DEBIAN_NEW).startswith("auth required a.so\nauth required b.so\n")


@pytest.mark.parametrize("place", ["before", "after"])
def test_each_of_several_lines_can_have_the_same_line_beside_it(place):
    gate = "session required pam_access.so"
    lines = ["session optional a.so", "# a note", "session optional b.so"]
    around = {"before": [gate, *lines[:2], gate, lines[2]], "after": [lines[0], gate, *lines[1:], gate]}[place]
    with_one = "".join(f"{line}\n" for line in (around[:4] if place == "after" else around[1:]))
    changes = [{"insert": gate, place: {"module": module}, "match": "here"} for module in ("b.so", "a.so")]
    assert edit(with_one, *changes).splitlines() == around


def test_two_lines_of_one_module_are_told_apart():
    text = "auth required pam_faillock.so preauth\nauth [default=die] pam_faillock.so authfail\n"
    change = {"insert": "auth required pam_faillock.so preauth silent", "at": "first"}
    with pytest.raises(PamError, match=r"match:\n  line 1: .*preauth\n  line 2: .*authfail"):
        _pam_edit.edit(text, [change], OLD)
    match = {"module": "pam_faillock.so", "args": ["preauth"]}
    assert edit(text, change | {"match": match}) == text.replace("preauth", "preauth silent")
    assert edit(text, {"insert": "auth required pam_faillock.so preauth", "at": "first"}) == text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "auth required x.so\n"),
        ("# only this", "# only this\nauth required x.so"),
        ("auth\toptional\ta.so", "auth\toptional\ta.so\nauth\trequired\tx.so"),
        ("auth\toptional\ta.so\t\r\n", "auth\toptional\ta.so\t\r\nauth\trequired\tx.so\r\n"),
        ("  auth optional a.so\n", "  auth optional a.so\n  auth required x.so\n"),
        ("auth optional a.so \\\n  x=1\n", "auth optional a.so \\\n  x=1\nauth required x.so\n"),
        ("auth    optional    a.so\nsession x\n", "auth    optional    a.so\nauth    required    x.so\nsession x\n"),
        (
            "auth sufficient a.so\nauth required   b.so\n",
            "auth sufficient a.so\nauth required   b.so\nauth required   x.so\n",
        ),
    ],
)
def test_a_new_line_is_written_as_its_neighbours(text, expected):
    change = {"insert": "auth required x.so", "at": "last"}
    assert edit(text, change) == expected
    assert _pam_edit.edit(expected, [{"remove": {"module": "x.so"}}], OLD) == text


def test_commented_lines_never_match_but_for_uncomment():
    text = "# auth required a.so\n#auth required b.so\nauth required c.so\n"
    for change in ({"remove": {"module": "a.so"}}, {"set_control": {"module": "a.so"}, "to": "optional"}):
        with pytest.raises(PamError, match="no line matches"):
            _pam_edit.edit(text, [change], OLD)
    assert edit(text, {"uncomment": {"module": "a.so"}}) == text.replace("# auth required a", "auth required a")
    assert edit(text, {"uncomment": {"module": "b.so"}}) == text.replace("#auth required b", "auth required b")
    assert edit(text, {"uncomment": {"module": "c.so"}}) == text
    assert edit(text, {"comment_out": {"module": "b.so"}}) == text
    with pytest.raises(PamError, match=r"several commented lines.*\n  line 1: .*\n  line 2: "):
        _pam_edit.edit(text.replace("\nauth", "\n#auth"), [{"uncomment": {"type": "auth"}}], OLD)


def test_a_commented_continuation_comes_back_whole():
    assert edit(edit(STACK, {"comment_out": KEYINIT}), {"uncomment": KEYINIT}) == STACK


def test_an_edit_that_would_join_two_lines_is_refused():
    dangling = "auth required a.so\nauth required b.so \\"
    with pytest.raises(PamError, match="two for one"):
        _pam_edit.edit(dangling, [{"insert": "session required x.so", "at": "last"}], OLD)


def test_a_newline_that_would_become_part_of_a_word_is_refused():
    with pytest.raises(PamError, match="has no end that could be changed"):
        _pam_edit.edit("auth required a.so [x", [{"insert": "session required x.so", "at": "last"}], OLD)
    with pytest.raises(PamError, match="has no end that could be changed"):
        _pam_edit.edit("auth required a.so [x\nauth required b.so", [{"remove": {"module": "b.so"}}], OLD)


def test_a_carriage_return_never_becomes_part_of_a_word():
    text = "auth required a.so x\t\r\nauth required b.so"
    assert edit(text, {"insert": "auth required x.so", "at": "last"}) == text + "\nauth required x.so"


def test_errors_list_the_lines():
    with pytest.raises(PamError, match=r"several lines; say which is meant:\n  line 2: .*\n  line 3: "):
        _pam_edit.edit(STACK, [{"insert": "auth required x.so", "before": {"type": "auth"}}], OLD)
    with pytest.raises(PamError, match=r"no line matches .*pam_x.so.*\n  line 2: auth "):
        _pam_edit.edit(STACK, [{"remove": {"module": "pam_x.so"}}], OLD)
    with pytest.raises(PamError, match="given more than once"):
        _pam_edit.edit("auth required a.so x=1 x=2\n", [{"add_args": {"module": "a.so"}, "args": ["x=3"]}], OLD)
    with pytest.raises(PamError, match="in the file already"):
        _pam_edit.edit(STACK, [{"replace": NOLOGIN, "with": "auth required pam_sepermit.so"}], OLD)
    with pytest.raises(PamError, match="has no arguments"):
        _pam_edit.edit(STACK, [{"add_args": {"type": "password"}, "args": ["x"]}], OLD)
    with pytest.raises(PamError, match="cannot be the control"):
        _pam_edit.edit(STACK, [{"set_control": {"type": "password"}, "to": "required"}], OLD)


def test_errors_count_lines_as_changes_before_left_them():
    text = "# c\nauth required a.so \\\n  x\nauth required b.so\nauth required c.so\n"
    changes = [
        {"insert": "auth required d.so", "at": "first"},
        {"remove": {"module": "b.so"}},
        {"remove": {"module": "gone.so"}},
    ]
    with pytest.raises(PamError, match=r"\n  line 2: .*d\.so\n  line 3: .*\n.*\n  line 5: .*c\.so\Z"):
        _pam_edit.edit(text, changes, OLD)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"insert": "auth required x.so"}, "insert needs one of"),
        ({"insert": "auth required x.so", "at": "middle"}, "insert needs one of"),
        ({"insert": "auth required x.so", "at": "first", "after": NOLOGIN}, "insert needs one of"),
        ({"insert": "auth required x.so", "at": "first", "match": "here"}, "match: here needs before"),
        ({"insert": "auth required x.so", "after": NOLOGIN, "match": "there"}, "'there' selects nothing"),
        ({"insert": "auth required", "at": "last"}, "there is no module"),
        ({"insert": "auth [success=okay] x.so", "at": "last"}, "every answer counts as bad"),
        ({"insert": "# auth required x.so", "at": "last"}, "it is a comment"),
        ({"insert": "auth required x.so\nauth required y.so", "at": "last"}, "not one line"),
        ({"insert": "auth required \\\nx.so", "at": "last"}, "not one line"),
        ({"insert": "auth required x.so \\", "at": "last"}, "continuation"),
        ({"insert": "", "at": "last"}, "not one line"),
        ({"insert": ["auth"], "at": "last"}, "is text"),
        ({"remove": {}}, "selects nothing"),
        ({"remove": {"name": "x"}}, "'name' is not a way to select a line; there are type, control"),
        ({"remove": {"type": ["auth"]}}, "type must be a word"),
        ({"remove": NOLOGIN, "missing": "fine"}, "missing can only be ok"),
        ({"remove": NOLOGIN, "at": "first"}, "remove takes missing, jumps, not at"),
        ({"set_args": NOLOGIN}, "set_args needs to"),
        ({"set_args": NOLOGIN, "to": ["#"]}, "cannot be written"),
        ({"set_args": NOLOGIN, "to": 3}, "arguments are a list"),
        ({"set_control": NOLOGIN, "to": "sometimes"}, "every answer counts as bad"),
        ({"retarget": {"from": "a"}}, "retarget takes from, to"),
        ({"retarget": {"from": "a", "to": "b", "control": "c"}}, "retarget takes from, to"),
        ({"delete": NOLOGIN}, "is not one change; the changes are insert, replace"),
        ({"remove": NOLOGIN, "insert": "auth required x.so"}, "is not one change"),
        ("remove", "is not one change"),
    ],
)
def test_a_change_that_is_not_understood_names_the_mistake(change, words):
    with pytest.raises(PamUsageError) as error:
        _pam_edit.edit(STACK, [change], OLD)
    assert words in str(error.value)


def test_changes_are_a_list():
    with pytest.raises(PamUsageError, match="changes are a list"):
        _pam_edit.edit(STACK, {"remove": NOLOGIN}, OLD)


def test_find():
    found = _pam_edit.find(_pam_grammar.parse(STACK, OLD), type="account", module="pam_nologin.so")
    assert [entry["line"] for entry in found] == [4]
    entries = _pam_grammar.parse("auth [Required] /lib/x.so a [b c]\r\n", OLD)
    assert _pam_edit.find(entries, control="required", args="[b c\r]") == []
    entries = _pam_grammar.parse("auth Required /lib/x.so a [b c] d\r\n", OLD)
    assert _pam_edit.find(entries, control="required", args=["d", "b c"], module="x.so") == entries
    assert not _pam_edit.find("auth required /lib/x.so\n", module="/usr/lib/x.so")
    with pytest.raises(PamUsageError, match="selects nothing"):
        _pam_edit.find(entries)


LINES = st.sampled_from(
    ["auth required new.so", "account sufficient new.so a=b [c d]", "-session [success=1 default=ignore] new.so"]
)
PLACES = st.sampled_from([{"at": "first"}, {"at": "last"}, {"before": NOLOGIN}, {"after": NOLOGIN}])
NEW = {"module": "new.so"}
CHANGES = st.one_of(
    st.builds(lambda line, place: {"insert": line} | place, LINES, PLACES),
    st.just({"insert": "account required pam_nologin.so x", "at": "last"}),
    st.builds(lambda line: {"replace": NOLOGIN, "with": line}, LINES),
    st.sampled_from(
        [
            {"set_control": NOLOGIN, "to": "[default=die]"},
            {"set_args": NOLOGIN, "to": ["x", "a b", "y=z"]},
            {"add_args": NOLOGIN, "args": ["x", "a=c"]},
            {"remove_args": NOLOGIN, "args": ["x", "a"]},
            {"remove": NOLOGIN, "missing": "ok"},
            {"comment_out": NOLOGIN, "missing": "ok"},
            {"uncomment": NOLOGIN},
            {"retarget": {"from": "common-auth", "to": "x"}, "missing": "ok"},
            {"retarget": {"from": "common-auth", "to": "/etc/a b", "type": "auth"}, "missing": "ok"},
        ]
    ),
)
ODD_LINES = st.sampled_from(
    [
        "account required pam_nologin.so a=b\n",
        "account  [a=b]\tpam_nologin.so \\\n x\\\n  a=b # c\n",
        "account Required nologin\r\n",
    ]
    + [
        "# account required pam_nologin.so\n",
        "@include common-auth\n",
        "auth include common-auth\n",
        "\n",
        "# x\n",
        "bad\n",
    ]
    + [
        "-session\toptional\tpam_x.so\tx\n",
        "auth sufficient pam_y.so\r\n",
        "   account requisite   pam_z.so   a  b\n",
        "auth \\",
    ]
)
FILES = st.lists(ODD_LINES, max_size=8).map("".join) | TEXTS


def attempt(text, changes, libpam):
    try:
        return _pam_edit.edit(text, changes, libpam)
    except (PamError, PamUsageError):
        return None


@given(FILES, CHANGES, LIBPAMS)
def test_once_is_twice(text, change, libpam):
    once = attempt(text, [change], libpam)
    assume(once is not None)
    assert _pam_edit.edit(once, [change], libpam) == once


@given(FILES, LINES, PLACES, LIBPAMS)
def test_taking_an_inserted_line_away_gives_the_file_back(text, line, place, libpam):
    there = attempt(text, [{"insert": line} | place], libpam)
    assume(there is not None)
    assert len(_pam_edit.find(_pam_grammar.parse(there, libpam), **NEW)) == 1
    assert _pam_edit.edit(there, [{"remove": NEW}], libpam) == text


@given(FILES, CHANGES, LIBPAMS)
def test_lines_that_no_change_means_stay(text, change, libpam):
    """Every line but those the change is about is in the result, in order, byte for byte."""
    after = attempt(text, [change], libpam)
    assume(after is not None)

    about = ("nologin", "new.so", "common-auth")
    others = [
        entry["text"] for entry in _pam_grammar.parse(text, libpam) if not any(word in entry["text"] for word in about)
    ]
    # The last line may gain or lose its newline.
    left = iter([entry["text"].rstrip("\r\n") for entry in _pam_grammar.parse(after, libpam)])
    assert all(other.rstrip("\r\n") in left for other in others)


GONE = {"remove": {"module": "gone.so"}, "missing": "ok", "jumps": "shorten"}


@pytest.mark.parametrize(
    ("above", "after"),
    [
        ("[success=1 default=ignore] a.so", "[success=ignore default=ignore] a.so"),
        ("[success=2 default=ignore] a.so", "[success=1 default=ignore] a.so"),
        ("[success=2 default=1] a.so x=3", "[success=1 default=ignore] a.so x=3"),
        ("[success = 12  default=bad] a.so", "[success = 11  default=bad] a.so"),
        ("required a.so", "required a.so"),
        # It lands on the line that goes, and then on the next one.
        ("[success=1] a.so\nsession required b.so", "[success=1] a.so\nsession required b.so"),
        ("[success=2] a.so\nsession substack b", "[success=1] a.so\nsession substack b"),
        ("[success=2] a.so\nauth required b.so", "[success=1] a.so\nauth required b.so"),
    ],
)
def test_jumps_land_where_they_did(above, after):
    text = f"session {above}\nsession optional gone.so\nsession required c.so\nsession required d.so\n"
    assert edit(text, GONE) == f"session {after}\nsession required c.so\nsession required d.so\n"


def test_a_jump_over_two_that_go():
    text = "auth [success=3 default=ignore] a.so\nauth optional gone.so\nauth optional gone.so x\nauth required b.so\n"
    assert edit(text, GONE) == "auth [success=1 default=ignore] a.so\nauth required b.so\n"


def test_a_jump_over_the_lines_of_another_file_is_not_guessed():
    text = "auth [success=3] a.so\nauth include b\nauth optional gone.so\n"
    with pytest.raises(
        PamError, match=r"what this jump passes over; change it first:\n  line 1: .*\n  line 2"
    ):
        _pam_edit.edit(text, [GONE], OLD)
    assert edit(text.replace("3", "1"), GONE) == "auth [success=1] a.so\nauth include b\n"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"remove": {"module": "gone.so"}, "jumps": True}, "shorten, not True"),
        ({"comment_out": {"module": "gone.so"}, "jumps": "lengthen"}, "shorten, not 'lengthen'"),
        ({"insert": "auth required x.so", "at": "last", "jumps": "shorten"}, "lengthen, not 'shorten'"),
        ({"uncomment": {"module": "x.so"}, "jumps": None}, "lengthen, not None"),
    ],
)
def test_jumps_takes_one_word(change, word):
    with pytest.raises(PamUsageError, match=f"jumps can only be {word}"):
        _pam_edit.edit(STACK, [change], OLD)


COMES = {"insert": "session optional x.so", "before": {"module": "c.so"}}


@pytest.mark.parametrize(
    ("above", "after"),
    [
        ("[success=1 default=ignore] a.so\nsession required b.so", None),  # it lands on the new line, and goes on
        ("[success=1 default=ignore] a.so", "[success=2 default=ignore] a.so"),
        ("[success=2 default=1] a.so", "[success=3 default=2] a.so"),
        ("[success = 12  default=bad] a.so x=3", "[success = 13  default=bad] a.so x=3"),
        ("required a.so", None),
        ("[success=1] a.so\nsession substack b", None),
        ("[success=2] a.so\nsession substack b", "[success=3] a.so\nsession substack b"),
        ("[success=1] a.so\nsession include b", None),
        ("[success=1] a.so\nauth required b.so", "[success=2] a.so\nauth required b.so"),
        ("[success=9] a.so", "[success=10] a.so"),  # beyond the end, into what follows elsewhere
        ("[auth_err=2] a.so\nsession [success=1] b.so", "[auth_err=3] a.so\nsession [success=2] b.so"),
    ],
)
def test_what_is_inserted_below_a_jump(above, after):
    text = f"session {above}\nsession required c.so\nsession required d.so\n"
    wanted = f"session {after or above}\nsession optional x.so\nsession required c.so\nsession required d.so\n"
    assert edit(text, {**COMES, "jumps": "lengthen"}) == wanted
    assert edit(wanted, {"remove": {"module": "x.so"}, "missing": "ok", "jumps": "shorten"}) == text
    if after is None:
        assert edit(text, COMES) == wanted
    else:
        with pytest.raises(PamError, match=r"'session optional x.so' .* with jumps: lengthen .*\n  line [12]: session"):
            _pam_edit.edit(text, [COMES], OLD)
    commented = wanted.replace("session optional x", "#session optional x")
    back = {"uncomment": {"module": "x.so"}}
    if after is None:
        assert edit(commented, back) == wanted
    else:
        commented = text.replace("session required c", "#session optional x.so\nsession required c")
        with pytest.raises(PamError, match="with jumps: lengthen"):
            _pam_edit.edit(commented, [back], OLD)
        assert edit(commented, {**back, "jumps": "lengthen"}) == wanted
        assert edit(wanted, {"comment_out": {"module": "x.so"}, "jumps": "shorten"}) == commented


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("auth [success=2] a.so\nauth include b\nauth required c.so\n", "auth optional x.so"),
        ("auth [success=2] a.so\n@include b\nauth required c.so\n", "auth optional x.so"),
        ("auth [success=2] a.so\nbad line here\nauth required c.so\n", "auth optional x.so"),
        ("auth [success=1] a.so\nauth required c.so\n", "auth include x"),
        ("auth [success=1] a.so\nauth required c.so\n", "@include x"),
    ],
)
def test_where_lines_cannot_be_counted_nothing_is_guessed(text, line):
    for jumps in ({}, {"jumps": "lengthen"}):
        with pytest.raises(PamError, match=r"cannot be told what this jump passes over; .*\n  line 1: auth"):
            _pam_edit.edit(text, [{"insert": line, "before": {"module": "c.so"}, **jumps}], DEBIAN_NEW)


def test_a_line_that_is_moved_leaves_jumps_as_well():
    text = "auth [success=2] a.so\nauth optional x.so\nauth required b.so\nauth required c.so\n"
    change = {"insert": "auth optional x.so", "at": "last"}
    with pytest.raises(PamError, match=r"with jumps: lengthen .*\n  line 1: "):
        _pam_edit.edit(text, [change], OLD)
    moved = "auth [success=1] a.so\nauth required b.so\nauth required c.so\nauth optional x.so\n"
    assert edit(text, {**change, "jumps": "lengthen"}) == moved
    # Within what a jump passes over, it may move.
    inside = {"insert": "auth optional x.so", "after": {"module": "b.so"}}
    wanted = "auth [success=2] a.so\nauth required b.so\nauth optional x.so\nauth required c.so\n"
    assert edit(text.replace("=2", "=3"), inside) == wanted.replace("=2", "=3")


JUMPING = st.lists(
    st.sampled_from(
        [
            "required",
            "sufficient",
            "[success=1 default=ignore]",
            "[success=2 default=bad]",
            "[success=3 auth_err=1 default=die]",
            "[success=ok auth_err=2 default=1]",
            "substack",
        ]
    ),
    min_size=1,
    max_size=7,
)
SAID = st.lists(st.sampled_from(["success", "auth_err", "perm_denied", "ignore"]), min_size=8, max_size=8)


def verdict(text, said):
    """What a stack answers when the module of each name answers as said; whoever is not among them ignores."""
    inner = "account [success=1 default=ignore] m7.so\naccount required m7.so\n"
    files = {"/nowhere/x": text, "/nowhere/inner": inner, "/nowhere/other": ""}
    answers = {f"m{number}.so": code for number, code in enumerate(said)} | {"new.so": "ignore"}
    return _pam_prove.decide("x", "acct_mgmt", answers, ["/nowhere"], OLD, files)[0]["code"]


@given(JUMPING, SAID, st.integers(0, 6), st.booleans())
def test_an_insert_that_lengthens_jumps_changes_no_verdict_but_by_its_own_rule(controls, said, where, after):
    rules = ["substack inner" if c == "substack" else f"{c} m{n}.so" for n, c in enumerate(controls)]
    text = "".join(f"account {rule}\n" for rule in rules)
    where %= len(rules)
    anchor = {"target": "inner"} if controls[where] == "substack" else {"module": f"m{where}.so"}
    assume(controls[where] != "substack" or controls.count("substack") == 1)
    insert = {"insert": "account optional new.so", "after" if after else "before": anchor}
    there = edit(text, {**insert, "jumps": "lengthen"})
    assert verdict(there, said) == verdict(text, said)
    assert edit(there, {"remove": NEW, "missing": "ok", "jumps": "shorten"}) == text
    plain = attempt(text, [insert], OLD)
    assert plain in (None, there)
    # Moved to the top, where it is passed over by nothing, and there it ignores as well.
    moved = edit(there, {"insert": "account optional new.so", "at": "first", "jumps": "lengthen"})
    assert moved == "account optional new.so\n" + text
