"""sshd_config: lossless parsing, edits ahead of Include and Match, and taking them back to the byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

import _child
import sshd_config

OPTIONS = {"UsePAM": True, "PermitRootLogin": "prohibit-password", "ChallengeResponseAuthentication": False}

PIECES = st.sampled_from(
    ["PermitRootLogin yes", "permitrootlogin=no", "#PermitRootLogin yes", "UsePAM", '"UsePAM" "no"', "KeepAlive yes"]
    + ["KbdInteractiveAuthentication yes # why", "Match User x", "Include /nowhere/*.conf", "Match all", "#UsePAM"]
    + ["\n", "\n", "\n", "\r\n", " ", "\t", "#", "=", '"', "'", "\\", "\x0b", "é", "\udcff", "# salt"]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def first_values(text):
    """What counts outside Match, first value first, by a reading of its own."""
    found = {}
    for entry in sshd_config.parse(text):
        if entry["kind"] == "match":
            break
        if entry["kind"] == "setting":
            found.setdefault(entry["keyword"], entry["words"])
    return found


@given(TEXTS | st.text())
def test_parse_loses_nothing(text):
    assert "".join(e["text"] for e in sshd_config.parse(text)) == text


@given(TEXTS)
def test_an_edit_is_taken_back_to_the_byte(text):
    assert sshd_config.unedit(sshd_config.edit(text, OPTIONS)) == text


@given(TEXTS)
def test_an_edit_counts_and_twice_is_once(text):
    edited = sshd_config.edit(text, OPTIONS)
    found = first_values(edited)
    assert found["usepam"] == ["yes"]
    assert found["permitrootlogin"] == ["prohibit-password"]
    assert found["kbdinteractiveauthentication"] == ["no"]
    assert sshd_config.edit(edited, OPTIONS) == edited


@given(TEXTS)
def test_an_edit_keeps_every_other_setting(text):
    keys = ("usepam", "permitrootlogin", "kbdinteractiveauthentication")
    kept = {k: v for k, v in first_values(text).items() if k not in keys}
    after = first_values(sshd_config.edit(text, OPTIONS))
    assert {k: v for k, v in after.items() if k not in keys} == kept


@given(TEXTS)
def test_other_options_take_the_place_of_earlier_ones(text):
    again = sshd_config.edit(sshd_config.edit(text, OPTIONS), {"UsePAM": False})
    assert again == sshd_config.edit(text, {"UsePAM": False})


@pytest.mark.parametrize(
    "text, kind, keyword, words",
    [
        ("PermitRootLogin yes\n", "setting", "permitrootlogin", ["yes"]),
        ("\tpermitrootlogin = no # c\r\n", "setting", "permitrootlogin", ["no"]),
        ("PermitRootLogin=no", "setting", "permitrootlogin", ["no"]),
        ('"AllowUsers" "a b" c\n', "setting", "allowusers", ["a b", "c"]),
        ("ChallengeResponseAuthentication no\n", "setting", "kbdinteractiveauthentication", ["no"]),
        ("Include a.conf /b/*.conf # x\n", "include", "include", ["a.conf", "/b/*.conf"]),
        # A backslash counts ahead of some characters, and where it stands decides which.
        ("Include /a\\ b/*.conf \"/it's\" 'c\"d'\n", "include", "include", ["/a b/*.conf", "/it's", 'c"d']),
        ("Banner a\\\"b\\'c\\\\d\\e\\#f\n", "setting", "banner", ["a\"b'c\\d\\e\\#f"]),
        ('Banner "a\\"b\\\\c\\ d" \'e\\\'f\'\n', "setting", "banner", ['a"b\\c\\ d', "e'f"]),
        ("Banner a\\\n", "setting", "banner", ["a\\"]),
        ('Banner "a\\"\n', "invalid", None, None),
        ("Match User a Address 192.0.2.0/24\n", "match", "match", ["User", "a", "Address", "192.0.2.0/24"]),
        ("  # PermitRootLogin yes\n", "comment", None, None),
        (" \r\n", "blank", None, None),
        ("PermitRootLogin\n", "invalid", None, None),
    ],
)
def test_parse(text, kind, keyword, words):
    (entry,) = sshd_config.parse(text)
    assert (entry["kind"], entry.get("keyword"), entry.get("words")) == (kind, keyword, words)


@pytest.mark.parametrize(
    "before, after",
    [
        ("PermitRootLogin yes\n", "# t was: PermitRootLogin yes\nPermitRootLogin no\n"),
        ("  permitrootlogin\t= yes  # c", "# t was:   permitrootlogin\t= yes  # c\n  permitrootlogin\t= no  # c"),
        ("PermitRootLogin no\n", "PermitRootLogin no\n"),
        (
            "PermitRootLogin yes\nPermitRootLogin x\n",
            "# t was: PermitRootLogin yes\nPermitRootLogin no\nPermitRootLogin x\n",
        ),
        (
            "#PermitRootLogin yes\nPort 22\n",
            "#PermitRootLogin yes\n# t added: PermitRootLogin\nPermitRootLogin no\nPort 22\n",
        ),
        ("Port 22\nMatch all\n", "Port 22\n# t added: PermitRootLogin\nPermitRootLogin no\nMatch all\n"),
        (
            "Include x\nPermitRootLogin yes\n",
            "# t added: PermitRootLogin\nPermitRootLogin no\nInclude x\nPermitRootLogin yes\n",
        ),
        ("Port 22", "# t added: PermitRootLogin\nPermitRootLogin no\nPort 22"),
        ("", "# t added: PermitRootLogin\nPermitRootLogin no\n"),
    ],
)
def test_edit(before, after):
    assert sshd_config.edit(before, {"PermitRootLogin": False}, "t") == after


def test_none_leaves_a_keyword_alone():
    assert sshd_config.edit("PermitRootLogin yes\n", {"PermitRootLogin": None}) == "PermitRootLogin yes\n"


@pytest.mark.parametrize(
    "options",
    [
        {"KbdInteractiveAuthentication": False, "ChallengeResponseAuthentication": False},
        {"KbdInteractiveAuthentication": False, "ChallengeResponseAuthentication": None},
        {"ChallengeResponseAuthentication": None, "KbdInteractiveAuthentication": False},
    ],
)
def test_two_names_that_agree_are_one_option(options):
    edited = sshd_config.edit("KbdInteractiveAuthentication yes\n", options, "t")
    assert edited == "# t was: KbdInteractiveAuthentication yes\nKbdInteractiveAuthentication no\n"


def test_an_older_name_is_replaced_with_the_one_asked_for():
    edited = sshd_config.edit("KbdInteractiveAuthentication yes\n", {"ChallengeResponseAuthentication": False}, "t")
    assert edited == "# t was: KbdInteractiveAuthentication yes\nChallengeResponseAuthentication no\n"


@pytest.mark.parametrize(
    "edited, restored",
    [
        ("# t was: PermitRootLogin yes\nPermitRootLogin maybe\nPort 1\n", "PermitRootLogin yes\nPort 1\n"),
        ("# t was: PermitRootLogin yes\nPort 1\n", "PermitRootLogin yes\nPort 1\n"),
        ("# t added: UsePAM\nPort 1\n", "Port 1\n"),
        ("# other was: UsePAM no\nUsePAM yes\n", "# other was: UsePAM no\nUsePAM yes\n"),
    ],
)
def test_taking_back_what_somebody_changed_since(edited, restored):
    assert sshd_config.unedit(edited, "t") == restored


@pytest.mark.parametrize(
    "options, named",
    [
        ({"Permit Root": "x"}, "'Permit Root' is not an sshd_config keyword"),
        ({"Match": "all"}, "Match is not allowed"),
        ({"include": "x"}, "include is not allowed"),
        ({"UsePAM": True, "usepam": False}, "usepam and UsePAM are the same option, and no is not yes: give one"),
        (
            {"KbdInteractiveAuthentication": False, "ChallengeResponseAuthentication": True},
            "ChallengeResponseAuthentication and KbdInteractiveAuthentication are the same option",
        ),
        ({"UsePAM": []}, "UsePAM: [] is not allowed"),
        ({"UsePAM": {"a": 1}}, "UsePAM: {'a': 1} is not allowed"),
        ({"UsePAM": "yes\nMatch all"}, "UsePAM: 'yes\\nMatch all' is not allowed"),
        ("UsePAM", "not a mapping"),
    ],
)
def test_what_cannot_be_an_option_is_refused(options, named):
    with pytest.raises(SaltInvocationError) as refused:
        sshd_config.edit("", options)
    assert named in str(refused.value)


def test_a_tag_that_cannot_be_told_apart_is_refused():
    with pytest.raises(SaltInvocationError, match="tag: 'a b' is not allowed"):
        sshd_config.edit("", {}, "a b")


HEADER = "# Managed by Salt (t): changes here are lost.\n"


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """Where no sshd is installed, so that options are taken as they are."""
    monkeypatch.setattr(_child, "which", lambda program: None)
    (tmp_path / "d").mkdir()
    (tmp_path / "sshd_config").write_text(f"Port 22\nInclude {tmp_path}/d/*.conf\nUsePAM no\nMatch all\n")
    return tmp_path


def plan(etc, options):
    return sshd_config.plan(options, f"{etc}/sshd_config", f"{etc}/d/00-t.conf", "t")


def test_a_directory_and_a_masked_file_are_included_and_empty(etc):
    (etc / "d/20-old.conf").mkdir()
    (etc / "d/30-masked.conf").symlink_to("/dev/null")
    (etc / "d/40.conf").write_text("X11Forwarding yes\n")
    found = [entry["file"] for entry in sshd_config.read(f"{etc}/sshd_config")]
    assert list(dict.fromkeys(found)) == [f"{etc}/sshd_config", f"{etc}/d/40.conf"]


def test_plan_is_a_drop_in_where_it_is_read_first(etc):
    options = {"UsePAM": True, "AllowGroups": ["a b", "c"]}
    planned = plan(etc, options)
    assert planned == {f"{etc}/d/00-t.conf": HEADER + 'UsePAM yes\nAllowGroups "a b" c\n'}
    (etc / "d/00-t.conf").write_text(planned[f"{etc}/d/00-t.conf"])
    assert plan(etc, options) == {}
    assert plan(etc, {}) == {f"{etc}/d/00-t.conf": None}


@pytest.mark.parametrize(
    "earlier",
    ["UsePAM no\nInclude {etc}/d/*.conf\n", "Match User x\nInclude {etc}/d/*.conf\n", "Include {etc}/e/*\n", ""],
)
def test_plan_is_an_edit_where_a_drop_in_would_come_late(etc, earlier):
    (etc / "d/00-t.conf").write_text(HEADER + "UsePAM no\n")
    main = etc / "sshd_config"
    main.write_text(earlier.format(etc=etc))
    planned = plan(etc, {"UsePAM": True})
    assert planned == {str(main): sshd_config.edit(main.read_text(), {"UsePAM": True}, "t"), f"{etc}/d/00-t.conf": None}
    before = main.read_text()
    main.write_text(planned[str(main)])
    (etc / "d/00-t.conf").unlink()
    assert plan(etc, {}) == {str(main): before}


def test_plan_is_an_edit_where_another_drop_in_is_read_first(etc):
    (etc / "d/00-a.conf").write_text("UsePAM no\n")
    assert list(plan(etc, {"UsePAM": True})) == [f"{etc}/sshd_config"]
    assert list(plan(etc, {"Banner": "x"})) == [f"{etc}/d/00-t.conf"]


def test_a_drop_in_of_that_name_that_is_not_ours(etc):
    (etc / "d/00-t.conf").write_text("UsePAM no\n")
    with pytest.raises(CommandExecutionError, match="is there and is not managed with tag t: move it away"):
        plan(etc, {"UsePAM": True})
    assert plan(etc, {}) == {}


def test_the_vendors_file_is_never_edited(etc, monkeypatch):
    main = f"{etc}/sshd_config"
    monkeypatch.setattr(sshd_config, "_VENDOR", main)
    assert list(plan(etc, {"UsePAM": True})) == [f"{etc}/d/00-t.conf"]
    with pytest.raises(CommandExecutionError, match="comes too late for Port"):
        plan(etc, {"Port": 23})


def test_taking_back_without_any_sshd_config(etc):
    (etc / "sshd_config").unlink()
    (etc / "d/00-t.conf").write_text(HEADER)
    assert plan(etc, {}) == {f"{etc}/d/00-t.conf": None}
    with pytest.raises(CommandExecutionError, match=f"No sshd_config here: looked for {etc}/sshd_config"):
        plan(etc, {"UsePAM": True})
