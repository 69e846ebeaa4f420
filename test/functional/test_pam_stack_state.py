"""A set of PAM files as one transaction: exact results, and every file whole whatever goes wrong."""

import os
import stat

import pytest

MARKER = "# Managed by Salt"
SSHD = "#%PAM-1.0\n@include common-auth\n@include  common-account # site\n@include common-session\n"
SESSION = "# site\nsession\trequired\tpam_limits.so\nsession optional pam_systemd.so\nsession required pam_unix.so\n"


@pytest.fixture
def pam_d(tmp_path):
    directory = tmp_path / "pam.d"
    directory.mkdir()
    (directory / "sshd").write_text(SSHD)
    (directory / "sshd").chmod(0o604)
    (directory / "common-session").write_text(SESSION)
    return directory


@pytest.fixture
def files(pam_d):
    return [
        {"path": f"{pam_d}/own-account-pc", "contents": "account required pam_unix.so\n"},
        {"path": f"{pam_d}/own-account", "link": "own-account-pc"},
        {
            "path": f"{pam_d}/own-session",
            "source": f"{pam_d}/common-session",
            "changes": [{"remove": {"type": "session", "module": "pam_systemd.so"}, "missing": "ok"}],
        },
        {
            "path": f"{pam_d}/sshd",
            "changes": [
                {"retarget": {"from": "common-account", "to": "own-account"}},
                {"retarget": {"from": "common-session", "to": "own-session"}},
            ],
        },
    ]


def tree(directory):
    return {
        path.name: os.readlink(path) if path.is_symlink() else (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in sorted(directory.iterdir())
    }


@pytest.fixture
def unchanged(pam_d):
    """Whatever happens in the test, the directory is as it was."""
    before = tree(pam_d)
    yield
    assert tree(pam_d) == before


def test_managed_writes_all_and_only_once(states, pam_d, files, test_mode):
    before = tree(pam_d)
    paths = ", ".join(spec["path"] for spec in files)
    ret = states.pam_stack.managed("stacks", files=files, test=test_mode)
    assert ret.result is (None if test_mode else True)
    assert ret.comment == (f"Would change {paths}" if test_mode else f"Changed: {paths}")
    assert ret.changes == {
        f"{pam_d}/own-account-pc": {
            "diff": f"--- /dev/null\n+++ {pam_d}/own-account-pc\n@@ -0,0 +1,2 @@\n"
            f"+{MARKER}\n+account required pam_unix.so\n"
        },
        f"{pam_d}/own-account": {"old": "not there", "new": "link to own-account-pc"},
        f"{pam_d}/own-session": {
            "diff": f"--- /dev/null\n+++ {pam_d}/own-session\n@@ -0,0 +1,4 @@\n+{MARKER}\n+# site\n"
            "+session\trequired\tpam_limits.so\n+session required pam_unix.so\n"
        },
        f"{pam_d}/sshd": {
            "diff": f"--- {pam_d}/sshd\n+++ {pam_d}/sshd\n@@ -1,4 +1,4 @@\n #%PAM-1.0\n @include common-auth\n"
            "-@include  common-account # site\n-@include common-session\n"
            "+@include  own-account # site\n+@include own-session\n"
        },
    }
    if test_mode:
        assert tree(pam_d) == before
        return
    after = tree(pam_d)
    assert after["sshd"] == (
        SSHD.replace("common-account", "own-account").replace("common-session", "own-session").encode(),
        0o604,
    )
    assert after["own-account"] == "own-account-pc"
    ret = states.pam_stack.managed("stacks", files=files)
    assert (ret.result, ret.changes, ret.comment) == (True, {}, "All PAM files are as they should be")
    assert tree(pam_d) == after


def test_absent_gives_every_byte_back(states, pam_d, files, test_mode):
    before = tree(pam_d)
    assert states.pam_stack.managed("stacks", files=files).result is True
    after = tree(pam_d)
    ret = states.pam_stack.absent("stacks", files=files, test=test_mode)
    assert ret.result is (None if test_mode else True)
    assert list(ret.changes) == [spec["path"] for spec in reversed(files)]
    assert tree(pam_d) == (after if test_mode else before)
    if not test_mode:
        ret = states.pam_stack.absent("stacks", files=files)
        assert (ret.result, ret.changes) == (True, {})


def test_a_derived_file_follows_its_source(states, pam_d, files):
    states.pam_stack.managed("stacks", files=files)
    (pam_d / "common-session").write_text(SESSION + "session optional pam_sss.so\n")
    ret = states.pam_stack.managed("stacks", files=files)
    assert list(ret.changes) == [f"{pam_d}/own-session"]
    assert (pam_d / "own-session").read_text().endswith("pam_unix.so\nsession optional pam_sss.so\n")


def test_a_file_of_somebody_elses_is_not_overwritten(states, pam_d, files, test_mode):
    (pam_d / "own-account-pc").write_text("account required pam_permit.so\n")
    before = tree(pam_d)
    ret = states.pam_stack.managed("stacks", files=files, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment.startswith(f"{pam_d}/own-account-pc is there already and was not written by this state.")
    assert tree(pam_d) == before
    assert states.pam_stack.managed("stacks", files=files, replace=True).result is True


def theirs(path):
    return (
        f"{path} is there already and was not written by this state. Nothing was changed. "
        "Move it away, or allow it to be replaced (replace: true)"
    )


@pytest.mark.parametrize("target", ["somewhere", "common-session", "nowhere", "."])
def test_a_link_of_somebody_elses_is_not_replaced(states, pam_d, files, test_mode, target):
    """Whatever it leads to, be it nothing."""
    (pam_d / "somewhere").write_text(f"# theirs\n{MARKER}\n")
    (pam_d / "own-account").symlink_to(target)
    before = tree(pam_d)
    ret = states.pam_stack.managed("stacks", files=files, test=test_mode)
    assert (ret.result, ret.changes, ret.comment) == (False, {}, theirs(f"{pam_d}/own-account"))
    assert tree(pam_d) == before
    ret = states.pam_stack.managed("stacks", files=files, replace=True, test=test_mode)
    assert ret.changes[f"{pam_d}/own-account"] == {"old": f"link to {target}", "new": "link to own-account-pc"}
    assert tree(pam_d)["own-account"] == (target if test_mode else "own-account-pc")


def test_a_link_of_ours_to_another_file_of_ours_is_replaced(states, pam_d, files, test_mode):
    (pam_d / "own-account-before").write_text(f"{MARKER}\naccount required pam_unix.so\n")
    (pam_d / "own-account").symlink_to("own-account-before")
    ret = states.pam_stack.managed("stacks", files=files, test=test_mode)
    assert ret.result is (None if test_mode else True)
    assert ret.changes[f"{pam_d}/own-account"] == {
        "old": "link to own-account-before",
        "new": "link to own-account-pc",
    }
    assert tree(pam_d)["own-account"] == ("own-account-before" if test_mode else "own-account-pc")


LISTED, RETARGET = "changes are a list of mappings, not", "retarget takes from, to and perhaps type, not"
# The changes to sshd's file, and what is said of them by managed and by absent.
MISUNDERSTOOD = [
    ({"insert": "x"}, f"SSHD: {LISTED} {{'insert': 'x'}}", None),
    (["insert"], f"SSHD: {LISTED} ['insert']", None),
    ([{"retarget": "x"}], f"SSHD: {RETARGET} 'x'", "{'retarget': 'x'} is no edit that could be undone"),
    (
        [{"retarget": {"to": "x"}}],
        f"SSHD: {RETARGET} {{'to': 'x'}}",
        "{'retarget': {'to': 'x'}} is no edit that could be undone",
    ),
]


@pytest.mark.parametrize(("changes", "said", "said_back"), MISUNDERSTOOD)
def test_changes_that_are_not_understood_are_a_failed_state(
    states, pam_d, unchanged, test_mode, changes, said, said_back
):
    sshd = f"{pam_d}/sshd"
    files = [{"path": sshd, "changes": changes}]
    for state, told in ((states.pam_stack.managed, said), (states.pam_stack.absent, said_back or said)):
        ret = state("stacks", files=files, test=test_mode)
        assert (ret.result, ret.changes) == (False, {})
        assert ret.comment == f"{told.replace('SSHD', sshd)}. Nothing was changed. Correct what this state is given"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("sshd", "files are a list, not 'sshd'"),
        (["sshd"], "a file is a mapping with a path, not 'sshd'"),
        ([{"contents": ""}], "a file is a mapping with a path, not {'contents': ''}"),
    ],
)
def test_files_that_are_not_understood_are_a_failed_state(states, test_mode, files, said):
    for state in (states.pam_stack.managed, states.pam_stack.absent):
        ret = state("stacks", files=files, test=test_mode)
        assert (ret.result, ret.changes) == (False, {})
        assert ret.comment == f"{said}. Nothing was changed. Correct what this state is given"


def test_a_policy_that_is_not_understood_is_a_failed_state(states, files, unchanged, test_mode):
    policy = [{"name": "x", "service": "sshd", "call": "acct_mgmt", "given": {}, "expect": "allow"}]
    ret = states.pam_stack.managed("stacks", files=files, policy=policy, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        "policy: scenario 'x': expect: 'allow' is not one of permit, deny, unreached. Nothing was changed. "
        "Correct what this state is given"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which only root can")
@pytest.mark.parametrize("loosen", [lambda path: path.chmod(0o666), lambda path: os.chown(path, 1234, 0)])
@pytest.mark.parametrize(
    ("file", "spec"),
    [
        ("access.conf", {"block": "- : ALL : ALL\n"}),
        ("sshd", {"changes": [{"retarget": {"from": "common-account", "to": "own-account"}}]}),
        ("own-account-pc", {"contents": "account required pam_unix.so\n"}),
        ("own-session", {"source": "common-session"}),
    ],
)
def test_a_file_that_others_can_write_is_refused(states, pam_d, test_mode, file, spec, loosen):
    """What replaced it would be theirs as well."""
    path = pam_d / file
    if not path.exists():
        path.write_text(f"{MARKER}\n")
    loosen(path)
    before = tree(pam_d)
    ret = states.pam_stack.managed("stacks", files=[{"path": str(path), **spec}], test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"{path} is not safe: others than root can write to {path}. Nothing was changed. Look at what is there, then "
        f"let it be root's alone: chown -h root {path}; chmod go-w {path}"
    )
    assert tree(pam_d) == before


def test_an_edit_that_finds_nothing_writes_nothing(states, pam_d, files, unchanged):
    files[-1]["changes"][0]["retarget"]["from"] = "password-auth"
    ret = states.pam_stack.managed("stacks", files=files)
    assert (ret.result, ret.changes) == (False, {})
    assert f"{pam_d}/sshd" in ret.comment and "password-auth" in ret.comment


@pytest.mark.skipif(os.geteuid() != 0, reason="what is not root's is refused")
def test_a_link_that_root_made_is_followed_and_stays(states, pam_d, files, tmp_path):
    (tmp_path / "elsewhere").write_text(SSHD)
    (pam_d / "sshd").unlink()
    (pam_d / "sshd").symlink_to(tmp_path / "elsewhere")
    ret = states.pam_stack.managed("stacks", files=files)
    assert ret.result is True
    assert (pam_d / "sshd").is_symlink()
    assert "own-account" in (tmp_path / "elsewhere").read_text()


def test_a_link_into_a_directory_of_others_is_refused(states, pam_d, files, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "theirs/sshd").write_text(SSHD)
    (pam_d / "sshd").unlink()
    (pam_d / "sshd").symlink_to(tmp_path / "theirs/sshd")
    ret = states.pam_stack.managed("stacks", files=files)
    assert (ret.result, ret.changes) == (False, {})
    assert "others than root can write" in ret.comment
    assert (tmp_path / "theirs/sshd").read_text() == SSHD


def test_a_dangling_link_is_refused(states, pam_d, files):
    (pam_d / "sshd").unlink()
    (pam_d / "sshd").symlink_to("nowhere")
    ret = states.pam_stack.managed("stacks", files=files)
    assert (ret.result, ret.changes) == (False, {})
    assert "which is not there" in ret.comment


def test_a_directory_in_the_way_is_refused(states, pam_d, files):
    (pam_d / "own-account-pc").mkdir()
    ret = states.pam_stack.managed("stacks", files=files)
    assert (ret.result, ret.changes) == (False, {})
    assert "neither a file nor a link" in ret.comment


def test_two_at_once_are_one_after_the_other(states, modules, pam_d, files, monkeypatch):
    rename, others = os.rename, []

    def rename_and_apply(old, new):
        rename(old, new)
        before = tree(pam_d)
        others.append(states.pam_stack.managed("stacks", files=files))
        assert tree(pam_d) == before

    monkeypatch.setattr(os, "rename", rename_and_apply)
    modules.file_transaction.commit([{"path": f"{pam_d}/other", "before": None, "after": ""}])
    (ret,) = others
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"Another run is changing the files in {pam_d}. Nothing was changed. Apply again when it has ended"
    )


def test_what_a_killed_run_left_behind_is_replaced(states, pam_d, files):
    (pam_d / ".sshd.salt-new").write_text("half")
    os.link(pam_d / "sshd", pam_d / ".sshd.salt-old")
    assert states.pam_stack.managed("stacks", files=files).result is True
    assert not [name for name in tree(pam_d) if name.startswith(".")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable")
def test_what_was_written_is_put_back_where_the_last_file_cannot_be(states, pam_d, files, modules):
    before = tree(pam_d)
    modules.cmd.run_all(f"chattr +i {pam_d}/sshd", python_shell=False)
    try:
        ret = states.pam_stack.managed("stacks", files=files)
        assert tree(pam_d) == before
    finally:
        modules.cmd.run_all(f"chattr -i {pam_d}/sshd", python_shell=False)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"{pam_d}/sshd could not be written: Operation not permitted. Everything is as it was. "
        "See with lsattr whether it is immutable, and apply again"
    )


def test_there_is_no_way_back_from_every_edit(states, pam_d, unchanged):
    files = [{"path": f"{pam_d}/sshd", "changes": [{"remove": {"type": "session", "module": "pam_x.so"}}]}]
    ret = states.pam_stack.absent("stacks", files=files)
    assert (ret.result, ret.changes) == (False, {})
    assert "no way back" in ret.comment


def test_a_block_comes_first_and_goes_without_a_trace(states, pam_d, test_mode):
    files = [{"path": f"{pam_d}/access.conf", "block": "+ : root : ALL\n- : ALL : ALL\n"}]
    (pam_d / "access.conf").write_text("# site\n+ : (wheel) : ALL\n")
    before = tree(pam_d)
    ret = states.pam_stack.managed("access", files=files, test=test_mode)
    assert ret.result is (None if test_mode else True)
    assert ret.changes[f"{pam_d}/access.conf"]["diff"].endswith(
        f"@@ -1,2 +1,6 @@\n+{MARKER} (begin)\n++ : root : ALL\n+- : ALL : ALL\n+{MARKER} (end)\n"
        " # site\n + : (wheel) : ALL\n"
    )
    if test_mode:
        assert tree(pam_d) == before
        return
    files[0]["block"] = "- : ALL : ALL\n"
    assert states.pam_stack.managed("access", files=files).result is True
    assert (pam_d / "access.conf").read_text().startswith(f"{MARKER} (begin)\n- : ALL : ALL\n{MARKER} (end)\n# site\n")
    assert states.pam_stack.managed("access", files=files).changes == {}
    assert states.pam_stack.absent("access", files=files).result is True
    assert tree(pam_d) == before


def test_a_file_that_was_made_for_a_block_is_removed_with_it(states, pam_d):
    before = tree(pam_d)
    files = [{"path": f"{pam_d}/access.conf", "block": "- : ALL : ALL\n"}]
    assert states.pam_stack.managed("access", files=files).result is True
    assert states.pam_stack.absent("access", files=files).result is True
    assert tree(pam_d) == before
    assert states.pam_stack.absent("access", files=files).changes == {}
