"""Expansion: the handlers pam_start builds, from files that are there and files that are not yet."""

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.pam_texts import DEBIAN_NEW, DEBIAN_OLD, LIBPAMS, NEW, OLD, TEXTS

import _pam_expand
import _pam_grammar
import _pam_libpam
from _pam_errors import PamError, PamUsageError

DIRECTORIES = ["/nowhere/etc/pam.d", "/nowhere/usr/etc/pam.d"]
ETC, VENDOR = DIRECTORIES
HERE = {"version": "1.5.2", "debian": True, "confdirs": [ETC], "module_dirs": ["/nowhere/security"]}


def expand(service, libpam=OLD, confdirs=DIRECTORIES, strict=True, **files):
    """What expand makes of files: ``etc_sshd`` is sshd in the first directory, ``usr_sshd`` in the second."""
    paths = {(ETC if name.startswith("etc_") else VENDOR) + "/" + name[4:]: text for name, text in files.items()}
    return _pam_expand.expand(service, confdirs=confdirs, libpam=libpam, files=paths, strict=strict)


REQUIRED = {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore"}


def brief(handlers):
    return [
        (handler["level"], handler["kind"], handler["module"], f"{os.path.basename(handler['file'])}:{handler['line']}")
        for handler in handlers
    ]


def test_includes_substacks_and_where_they_come_from():
    found = expand(
        "sshd",
        etc_sshd="auth required a.so x\nauth substack one\naccount include one\n-auth optional b.so\n",
        usr_one="# c\nauth include two\naccount required c.so\nauth sufficient d.so\n",
        etc_two="auth requisite e.so\nsession required f.so\n",
    )
    assert brief(found["types"]["auth"]) == [
        (0, "module", "a.so", "sshd:1"),
        (0, "substack", "one", "sshd:2"),
        (1, "module", "e.so", "two:1"),
        (1, "module", "d.so", "one:4"),
        (0, "module", "b.so", "sshd:4"),
    ]
    assert brief(found["types"]["account"]) == [(0, "module", "c.so", "one:3")]
    assert found["from"] == {"auth": "sshd", "account": "sshd", "password": None, "session": None}
    assert found["abort"] is None
    first, *_, last = found["types"]["auth"]
    assert first == {
        "kind": "module",
        "level": 0,
        "type": "auth",
        "silent": False,
        "control": "required",
        "actions": [REQUIRED.get(code, "bad") for code in _pam_grammar.RETURN_CODES],
        "module": "a.so",
        "name": "a.so",
        "args": ["x"],
        "always": {},
        "file": f"{ETC}/sshd",
        "line": 1,
        "reason": None,
        "fault": None,
        "paired": True,
    }
    assert last["silent"] is True


def test_what_was_read_is_said():
    found = expand("x", etc_x="auth include y\nauth include none\n", etc_y="account required a.so\n", etc_other="")
    assert found["opened"] == [f"{ETC}/x", f"{ETC}/y", f"{ETC}/other"]
    assert (found["confdirs"], found["libpam"], found["refused"]) == (DIRECTORIES, OLD, [])
    assert expand("x", etc_x="auth include y\n", etc_y="auth \\")["opened"] == [f"{ETC}/x", f"{ETC}/y"]
    assert expand("x", etc_x="auth \\")["opened"] == [f"{ETC}/x"]


def test_modules_with_one_answer():
    types = _pam_grammar.TYPES
    text = "".join(f"{type_} required {module}\n" for type_ in types for module in ("pam_deny.so", "/x/y.so"))
    found = expand("x", etc_x=text + "auth required pam_permit.so\nauth sufficient\n")
    assert [[handler["always"] for handler in found["types"][type_]] for type_ in types] == [
        [
            {"authenticate": "auth_err", "setcred": "cred_err"},
            {},
            {"authenticate": "success", "setcred": "success"},
            {},
        ],
        [{"acct_mgmt": "auth_err"}, {}],
        [{"prechauthtok": "authtok_err", "chauthtok": "authtok_err"}, {}],
        [{"open_session": "session_err", "close_session": "session_err"}, {}],
    ]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pam_deny.so", "pam_deny.so"),
        ("{own}/pam_deny.so", "pam_deny.so"),
        ("{own}/../security/pam_deny.so", "pam_deny.so"),
        ("{top}/alias/pam_deny.so", "pam_deny.so"),  # as /lib is, where it is a link to /usr/lib
        ("{top}/opt/pam_deny.so", None),
        ("{own}/more/pam_deny.so", None),
        ("{own}/../../opt/pam_deny.so", None),
        ("{own}/away/pam_deny.so", None),  # a link out of libpam's directory
        ("more/pam_deny.so", None),
        ("../opt/pam_deny.so", None),
        ("{top}/gone/pam_deny.so", None),
    ],
)
def test_a_module_is_known_by_its_name_in_libpams_own_directories_alone(tmp_path, module, name):
    own = tmp_path / "usr/security"
    for directory in (own, own / "more", tmp_path / "opt"):
        directory.mkdir(parents=True)
    (tmp_path / "alias").symlink_to(own)
    (own / "away").symlink_to(tmp_path / "opt")
    module = module.format(own=own, top=tmp_path)
    for directories in ([str(own)], ["/nowhere", f"{own}/"], [str(tmp_path / "alias")]):
        found = expand("x", libpam={**OLD, "module_dirs": directories}, etc_x=f"account required {module}\n")
        (handler,) = found["types"]["account"]
        assert (handler["module"], handler["name"]) == (module, name or module)
        assert bool(handler["always"]) is (name is not None)
    # A libpam of which no directories are known has none of its own.
    (handler,) = expand("x", etc_x=f"account required {module}\n")["types"]["account"]
    assert handler["name"] == module


def test_other_is_the_fallback_of_each_type():
    found = expand("x", etc_x="auth required a.so\nfoo\n", etc_other="auth required o.so\naccount required o.so\n")
    assert found["from"] == {"auth": "x", "account": "other", "password": None, "session": None}
    found = expand("x", etc_x="session substack empty\n", etc_empty="", etc_other="session required o.so\n")
    assert brief(found["types"]["session"]) == [(0, "substack", "empty", "x:1")]
    # The file of the service other is read as the service's and as the fallback's.
    assert len(expand("other", etc_other="auth required o.so\n")["types"]["auth"]) == 2


def test_the_service_name():
    assert expand("a/SSHD", etc_sshd="auth required a.so\n")["from"]["auth"] == "sshd"


@pytest.mark.parametrize(
    "line, control, module, reason",
    [
        ("foo required a.so x", "required", "a.so", "'foo' is not a type"),
        ("auth", None, None, "there is no control"),
        ("auth required", "required", None, "there is no module"),
        ("auth include none", "include", None, "none cannot be opened"),
        ("foo", None, None, "'foo' is not a type"),
    ],
)
def test_lines_that_must_fail(line, control, module, reason):
    (handler,) = expand("x", etc_x=line)["types"]["auth"]
    assert (handler["kind"], handler["control"], handler["module"]) == ("must_fail", control, module)
    assert handler["reason"].startswith(reason)
    assert handler["actions"][6] == "bad"


def test_a_line_without_a_type_belongs_to_the_including_type():
    found = expand("x", etc_x="session include y\n", etc_y="foo optional a.so\n")
    (handler,) = found["types"]["session"]
    assert (handler["kind"], handler["type"], handler["actions"][6]) == ("must_fail", "session", "ignore")
    # Without a type, but with an include, it is one.
    assert brief(expand("x", etc_x="foo include y\n", etc_y="auth required a.so\n")["types"]["auth"]) == [
        (0, "module", "a.so", "y:1")
    ]


def test_a_substack_that_is_not_there_takes_two_slots():
    found = expand("x", etc_x="auth substack none\n")
    assert brief(found["types"]["auth"]) == [(0, "substack", "none", "x:1"), (0, "must_fail", None, "x:1")]


def test_a_file_that_ends_in_a_continuation():
    found = expand("x", etc_x="auth required a.so\nauth \\\n")
    assert (found["abort"]["file"], found["abort"]["line"]) == (f"{ETC}/x", 2)
    assert found["types"]["auth"] == []
    included = expand("x", etc_x="auth include y\nauth required b.so\n", etc_y="auth required a.so\nauth \\\n")
    assert brief(included["types"]["auth"]) == [
        (0, "module", "a.so", "y:1"),
        (0, "must_fail", None, "x:1"),
        (0, "module", "b.so", "x:2"),
    ]
    assert "the file ends in a continuation" in included["types"]["auth"][1]["reason"]


def test_a_line_that_libpam_never_returns_from():
    endless = "auth " + "x" * 1017 + "\\\nx"
    for files in ({"etc_x": endless}, {"etc_x": "auth include y\n", "etc_y": endless}):
        found = expand("x", **files)
        assert (found["abort"]["line"], found["types"]["auth"]) == (1, [])
        assert "never returns" in found["abort"]["reason"]


@pytest.mark.parametrize(
    "line", ["auth required .so", "auth required dir/", "auth required ?", "auth substack x/.y", "foo x ?"]
)
def test_names_that_abort(line):
    assert expand("x", etc_x=line)["abort"]["line"] == 1


def test_no_file_at_all():
    assert expand("x", etc_y="")["abort"]["reason"].startswith("neither x nor other is in")
    assert expand("x", etc_x="")["abort"] is None


def test_the_first_directory_that_has_the_file():
    both = {"etc_x": "auth required a.so", "usr_x": "auth required b.so", "usr_y": "auth include x\n"}
    assert expand("x", **both)["types"]["auth"][0]["module"] == "a.so"
    assert expand("y", **both)["types"]["auth"][0]["module"] == "a.so"
    # Debian reads a service everywhere, and what is included in the first directory alone.
    assert expand("y", DEBIAN_OLD, **both)["types"]["auth"][0]["module"] == "a.so"
    del both["etc_x"]
    assert expand("x", DEBIAN_OLD, **both)["types"]["auth"][0]["module"] == "b.so"
    assert expand("y", DEBIAN_OLD, **both)["types"]["auth"][0]["kind"] == "must_fail"
    assert expand("y", **both)["types"]["auth"][0]["module"] == "b.so"


def test_at_include():
    files = {"etc_x": "@include y\n", "etc_y": "auth required a.so\nsession required b.so\nfoo\n"}
    for libpam in (DEBIAN_OLD, DEBIAN_NEW):
        found = expand("x", libpam, **files)
        assert [handler["kind"] for handler in found["types"]["auth"]] == ["module", "must_fail"]
        assert brief(found["types"]["session"]) == [(0, "module", "b.so", "y:2")]
        assert expand("x", libpam, etc_x="@include none\n")["abort"]["reason"] == "none cannot be opened"
    assert brief(expand("x", OLD, **files)["types"]["auth"]) == [(0, "must_fail", None, "x:1")]


def test_an_include_of_nothing():
    assert expand("x", OLD, etc_x="auth include\n")["types"]["auth"][0]["reason"] == "include names no file"
    assert "crashes" in expand("x", DEBIAN_OLD, etc_x="auth include\n")["abort"]["reason"]
    assert "crashes" in expand("x", DEBIAN_OLD, etc_x="auth include y\n", etc_y="auth substack\n")["abort"]["reason"]


def chain(word, length):
    files = {f"etc_x{number}": f"auth {word} x{number + 1}\n" for number in range(length)}
    return files | {f"etc_x{length}": "auth required a.so\n"}


@pytest.mark.parametrize("word, libpam", [("substack", OLD), ("substack", NEW), ("include", NEW)])
def test_fifteen_levels_work_and_the_sixteenth_fails(word, libpam):
    assert expand("x0", libpam, **chain(word, 15))["types"]["auth"][-1]["module"] == "a.so"
    last = expand("x0", libpam, **chain(word, 16))["types"]["auth"][-1]
    assert (last["kind"], "level 16" in last["reason"]) == ("must_fail", True)


def test_the_old_libpam_counts_no_includes():
    assert expand("x0", OLD, **chain("include", 30))["types"]["auth"][-1]["module"] == "a.so"
    with pytest.raises(PamError, match="look for a file that includes itself"):
        expand("x", OLD, etc_x="auth include x\n")


@pytest.mark.parametrize(
    "fault, libpam, files",
    [
        ("unnamed", OLD, {"etc_x": "auth include\n"}),
        ("missing", OLD, {"etc_x": "auth include none\n"}),
        ("deep", NEW, {"etc_x": "auth include x\n"}),
        ("given up", OLD, {"etc_x": "auth include y\n", "etc_y": "auth \\\n"}),
        (None, OLD, {"etc_x": "auth required\n"}),
    ],
)
def test_what_is_wrong_with_an_included_file(fault, libpam, files):
    (handler,) = expand("x", libpam, **files)["types"]["auth"]
    assert (handler["kind"], handler["fault"]) == ("must_fail", fault)


@pytest.mark.parametrize(
    "kind, place, libpam, files",
    [
        ("circle", "x:1", OLD, {"etc_x": "auth include x\n"}),
        ("nameless", "y:2", OLD, {"etc_x": "auth include y\n", "etc_y": "#\nauth required ?\n"}),
        ("unset", "y:1", DEBIAN_OLD, {"etc_x": "auth include y\n", "etc_y": "@include none\n"}),
        ("long", "x:20001", OLD, {"etc_x": "auth required a.so\n" * 20000 + "auth required a.so"}),
        ("long", "x:None", OLD, {"etc_x": "#\n" * 20001}),
        ("special", "null:None", OLD, {"etc_x": "auth include /dev/null\n"}),
    ],
)
def test_a_refusal_says_where_and_of_which_kind(kind, place, libpam, files):
    files["etc_other"] = "account required o.so\n"
    with pytest.raises(PamError) as raised:
        expand("x", libpam, **files)
    told = raised.value
    assert (told.kind, f"{os.path.basename(told.file)}:{told.line}") == (kind, place)
    found = expand("x", libpam, strict=False, **files)
    assert found["refused"] == [{"file": told.file, "line": told.line, "kind": kind, "reason": str(told)}]
    # What is not concerned is read nevertheless, but for where there would be no end to it.
    assert bool(found["types"]["account"]) == (kind != "long")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    (tmp_path / "y").write_text("")
    files = {f"{ETC}/x": f"auth include {tmp_path}/y\nauth required a.so\n", f"{ETC}/other": ""}
    with pytest.raises(PamError, match="y cannot be read: Permission denied; libpam runs as root"):
        _pam_expand.expand("x", [ETC], OLD, files)
    found = _pam_expand.expand("x", [ETC], OLD, files, strict=False)
    assert [refused["kind"] for refused in found["refused"]] == ["unreadable"]
    assert brief(found["types"]["auth"]) == [(0, "module", "a.so", "x:2")]
    assert found["opened"] == [f"{ETC}/x", f"{ETC}/other"]


def texts_that_are_parsed(monkeypatch):
    """A list that fills with them."""
    parsed, parse = [], _pam_grammar.parse
    monkeypatch.setattr(_pam_grammar, "parse", lambda text, *rest: parsed.append(text) or parse(text, *rest))
    return parsed


def test_a_text_that_comes_again_is_not_parsed_again(monkeypatch):
    parsed = texts_that_are_parsed(monkeypatch)
    files = {"etc_x": "auth include y\n# comes again\n", "etc_y": "auth required a.so one # comes again\n"}
    first = expand("x", **files)
    first["types"]["auth"][0]["args"].append("changed by a caller")
    again = expand("x", **files, etc_other="auth required a.so two # comes again\n")
    assert len(parsed) == 3
    assert again["types"]["auth"][0]["args"] == ["one"]


def test_libpams_that_read_a_text_differently_are_not_mixed_up():
    text = "auth required a.so \\\n\n@include y # mixed up\n"
    found = [expand("x", libpam, etc_x=text)["types"]["auth"] for libpam in (OLD, NEW, DEBIAN_OLD, DEBIAN_NEW)]
    assert [len(handlers) for handlers in found] == [1, 2, 1, 0]


@pytest.mark.parametrize("text", ["a\n", "#\n", "\n", "a \\\n", "auth required a.so\n"])
def test_a_file_of_too_many_lines_is_not_even_parsed(text, monkeypatch):
    parsed = texts_that_are_parsed(monkeypatch)
    with pytest.raises(PamError, match="x expands to more than 20000 lines"):
        expand("x", etc_x="auth include y\n", etc_y="", etc_other=text * (1024 * 1024 // len(text)))
    assert sum(map(len, parsed)) < 100


def test_many_long_files_are_not_all_parsed(monkeypatch):
    parsed = texts_that_are_parsed(monkeypatch)
    files = {f"etc_x{number}": "#\n" * 6000 + f"auth include x{number + 1}\n" for number in range(50)}
    with pytest.raises(PamError, match=r"x0 expands to more than 20000 lines \(at .*/x3\)"):
        expand("x0", **files)
    assert len(parsed) == 3


@pytest.mark.parametrize("libpam", [OLD, NEW, DEBIAN_OLD, DEBIAN_NEW])
@pytest.mark.parametrize("lines", [2, 10, 5000])
def test_an_include_bomb_ends_in_an_error(libpam, lines):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = {f"etc_x{number}": f"auth substack x{number + 1}\n" * lines for number in range(15)}
    with pytest.raises(PamError, match="x0 expands to more than 20000 lines"):
        expand("x0", libpam, **files)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_files_over_those_that_are_there(tmp_path):
    confdir = tmp_path / "pam.d"
    confdir.mkdir()
    (confdir / "x").write_text("auth include y\n")
    (confdir / "y-pc").write_text("auth required a.so\n")
    (confdir / "y").symlink_to("y-pc")

    def auth(files):
        return brief(_pam_expand.expand("x", confdirs=[str(confdir)], libpam=OLD, files=files)["types"]["auth"])

    assert auth({}) == [(0, "module", "a.so", "y:1")]
    assert auth({f"{confdir}/y-pc": "auth required b.so"}) == [(0, "module", "b.so", "y:1")]
    assert auth({f"{confdir}/y": None}) == [(0, "must_fail", None, "x:1")]
    assert auth({f"{confdir}/y-pc": None}) == [(0, "must_fail", None, "x:1")]
    assert auth({f"{confdir}/y": {"link": "z"}, f"{confdir}/z": "auth required c.so"}) == [(0, "module", "c.so", "y:1")]
    assert auth({f"{confdir}/y": {"link": "y"}}) == [(0, "must_fail", None, "x:1")]
    # A directory reads as an empty file; what is no file at all is refused.
    (confdir / "d").mkdir()
    assert auth({f"{confdir}/x": "auth include d\nauth required e.so"}) == [(0, "module", "e.so", "x:2")]
    os.mkfifo(confdir / "p")
    with pytest.raises(PamError, match="p is not a regular file"):
        auth({f"{confdir}/x": "auth include p\n"})


def test_links_lead_where_the_kernel_goes(tmp_path):
    """A relative link is followed from where its directory really is."""
    for directory in ("real/deep/pam.d", "real/deep/site", "etc/site"):
        (tmp_path / directory).mkdir(parents=True)
    confdir = tmp_path / "etc/pam.d"
    confdir.symlink_to(tmp_path / "real/deep/pam.d")
    (confdir / "x").symlink_to("../site/x")
    (tmp_path / "real/deep/site/x").write_text("auth required kernel.so\n")
    (tmp_path / "etc/site/x").write_text("auth required lexical.so\n")

    def auth(files=None):
        found = _pam_expand.expand("x", confdirs=[str(confdir)], libpam=OLD, files=files)
        return brief(found["types"]["auth"])

    assert (confdir / "x").read_text() == "auth required kernel.so\n"
    assert auth() == [(0, "module", "kernel.so", "x:1")]
    # A file that is not yet written may be named by either way to it.
    for path in ("real/deep/site/x", "real/deep/pam.d/x", "etc/pam.d/x", "etc/pam.d/../site/x"):
        assert auth({f"{tmp_path}/{path}": "auth required over.so"}) == [(0, "module", "over.so", "x:1")]
    assert auth({f"{tmp_path}/etc/site/x": "auth required over.so"}) == [(0, "module", "kernel.so", "x:1")]
    link = {f"{confdir}/x": {"link": "../site/y"}, f"{tmp_path}/real/deep/site/y": "auth required y.so"}
    assert auth(link) == [(0, "module", "y.so", "x:1")]


@pytest.mark.parametrize("name", ["\0", "\ud800", "x" * 5000, "../x", "y/../x", "//x"])
def test_names_that_no_file_has(name):
    """libpam opens nothing by them; a file laid over may have any."""
    files = {f"{ETC}/x": f"auth include /nowhere/{name}/y\n"}
    assert _pam_expand.expand("x", [ETC], NEW, files)["types"]["auth"][0]["kind"] == "must_fail"
    files[f"/nowhere/{name}/y"] = "auth required a.so"
    if "\0" not in name:  # which ends the line
        assert brief(_pam_expand.expand("x", [ETC], NEW, files)["types"]["auth"]) == [(0, "module", "a.so", "y:1")]


def test_a_file_that_comes_in_pieces(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("auth required a.so\n" * 100)
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: read(descriptor, min(count, 10)))
    assert len(_pam_expand.read(f"{tmp_path}/x", OLD)) == 100


def test_pam_conf_where_no_directory_is(tmp_path):
    conf = {str(tmp_path / "pam.conf"): "x auth required a.so\ny auth required b.so\nOTHER auth required o.so\n"}
    confdirs = [str(tmp_path / "pam.d")]
    found = _pam_expand.expand("x", confdirs=confdirs, libpam=OLD, files=conf)
    assert [handler["module"] for handler in found["types"]["auth"]] == ["a.so"]
    assert _pam_expand.expand("z", confdirs=confdirs, libpam=OLD, files=conf)["from"]["auth"] == "other"
    (tmp_path / "pam.d").mkdir()
    assert _pam_expand.expand("x", confdirs=confdirs, libpam=OLD, files=conf)["abort"]
    (tmp_path / "pam.d").rmdir()
    assert _pam_expand.expand("x", confdirs=confdirs, libpam=OLD)["abort"]["reason"].startswith("there is neither")


@given(st.lists(TEXTS, min_size=2, max_size=4), LIBPAMS)
def test_whatever_is_in_the_files(texts, libpam):
    files = {f"{ETC}/{name}": text for name, text in zip(("other", "x", "common-auth", "pam_unix.so"), texts)}
    try:
        found = _pam_expand.expand("x", confdirs=DIRECTORIES, libpam=libpam, files=files)
    except PamError:
        return
    for type_, handlers in found["types"].items():
        assert bool(handlers) == (found["from"][type_] is not None)
        for handler in handlers:
            assert handler["type"] == type_
            assert len(handler["actions"]) == 32
            assert (handler["reason"] is not None) or handler["kind"] != "must_fail"
            assert handler["line"] <= files[handler["file"]].count("\n") + 1


# --- what the caller says ---


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"service": 3}, "service: 3 is not a text"),
        ({"service": None}, "service: None is not a text"),
        ({"confdirs": 3}, "confdirs: 3 is not an absolute path or a list of them"),
        ({"confdirs": "etc"}, "confdirs: 'etc' is not an absolute path or a list of them"),
        ({"confdirs": ["/etc/pam.d", 3]}, r"confdirs: \['/etc/pam.d', 3\] is not an absolute path or a list of them"),
        ({"libpam": "1.7.0"}, "libpam: '1.7.0' is not a dictionary such as"),
        ({"libpam": {"version": 1.7}}, "libpam: version: 1.7 is not a text such as 1.5.2"),
        ({"libpam": {"version": "new"}}, "libpam: version: 'new' is not a text such as 1.5.2"),
        ({"libpam": {"debian": "no"}}, "libpam: debian: 'no' is not true or false"),
        ({"libpam": {"verison": "1.7.0"}}, "libpam: verison: no such key; allowed are version, debian, confdirs, "),
        ({"libpam": {"confdirs": {}}}, "libpam: confdirs: {} is not an absolute path or a list of them"),
        ({"files": ["/etc/pam.d/x"]}, r"files: \['/etc/pam.d/x'\] is not a dictionary of absolute paths"),
        ({"files": {"x": ""}}, "files: 'x' is not an absolute path"),
        ({"files": {3: ""}}, "files: 3 is not an absolute path"),
        ({"files": {"/x": 3}}, "files: /x: 3 is not a text, null or a link such as"),
        ({"files": {"/x": {"lnik": "y"}}}, "files: /x: {'lnik': 'y'} is not a text, null or a link such as"),
    ],
)
def test_a_bad_argument_is_named(arguments, message, monkeypatch):
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: HERE)
    with pytest.raises(PamUsageError, match=f"^{message}"):
        _pam_expand.expand(**{"service": "x", "confdirs": [ETC], "libpam": OLD, "files": {}, **arguments})
    if "service" not in arguments and "confdirs" not in arguments:
        with pytest.raises(PamUsageError, match=f"^{message}"):
            _pam_expand.read("/dev/null", **arguments)


def test_a_path_that_is_none_is_named():
    with pytest.raises(PamUsageError, match=r"^path: 3 is not a text such as /etc/pam\.d/sshd"):
        _pam_expand.read(3)


THERE = {"version": "1.7.0", "debian": False, "confdirs": VENDOR, "module_dirs": ["/elsewhere/security"]}


@pytest.mark.parametrize(
    "arguments, confdirs, libpam",
    [
        ({}, [ETC], HERE),
        ({"libpam": {}}, [ETC], HERE),
        ({"libpam": {"version": "1.7.0"}}, [ETC], {"version": "1.7.0", "debian": True}),
        ({"libpam": {"debian": False}}, [ETC], {"version": "1.5.2", "debian": False}),
        ({"libpam": THERE}, [VENDOR], {**THERE, "confdirs": [VENDOR]}),
        ({"libpam": THERE, "confdirs": ETC}, [ETC], {**THERE, "confdirs": [VENDOR]}),
        ({"libpam": OLD, "confdirs": (VENDOR, ETC)}, [VENDOR, ETC], OLD),
    ],
)
def test_what_is_not_said_is_this_nodes(arguments, confdirs, libpam, monkeypatch):
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: HERE)
    files = {f"{directory}/x": f"auth required {directory}/m.so\n" for directory in DIRECTORIES}
    found = _pam_expand.expand("x", files=files, **arguments)
    assert (found["confdirs"], found["libpam"]) == (confdirs, libpam)
    assert found["types"]["auth"][0]["module"] == f"{confdirs[0]}/m.so"


def test_another_nodes_libpam_needs_none_here(monkeypatch):
    monkeypatch.delattr(_pam_libpam, "node_libpam")
    assert _pam_expand.expand("x", libpam=THERE, files={f"{VENDOR}/x": ""})["confdirs"] == [VENDOR]
    assert _pam_expand.expand("x", [ETC], OLD, files={f"{ETC}/x": ""})["libpam"] == OLD
