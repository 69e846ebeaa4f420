"""sshd_config's states through Salt's loader, with a real sshd judging configurations in a directory of their own."""

import os
import pathlib
import shutil
import subprocess

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd reads host keys, and the drop-in belongs to root"),
    pytest.mark.skipif(not shutil.which("sshd", path="/usr/sbin"), reason="no sshd here"),
]

OPTIONS = {"UsePAM": True, "PermitRootLogin": "prohibit-password", "ChallengeResponseAuthentication": False}
MAIN = (
    "# site\nHostKey {etc}/key\nPidFile {etc}/pid\nInclude {etc}/d/*.conf\n\n"
    "PermitRootLogin yes # ours\nMatch User x\n  Banner none\n"
)
DROP_IN = (
    "# Managed by Salt (t): changes here are lost.\n"
    "UsePAM yes\nPermitRootLogin prohibit-password\nChallengeResponseAuthentication no\n"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


class Etc:
    """A main file, a directory of drop-ins, and the states' arguments for them."""

    def __init__(self, path, key):
        self.path = path
        self.main = path / "sshd_config"
        self.drop_in = path / "d" / "00-t.conf"
        shutil.copy(key, path / "key")
        (path / "d").mkdir()
        self.write(MAIN)

    def write(self, text):
        self.main.write_text(text.format(etc=self.path))

    def files(self):
        return {p: (p.read_bytes(), p.stat().st_mode) for p in self.path.rglob("*") if p.is_file()}

    @property
    def arguments(self):
        return {"config": str(self.main), "drop_in": str(self.drop_in), "tag": "t"}


@pytest.fixture
def etc(tmp_path, key):
    return Etc(tmp_path, key)


@pytest.fixture
def managed(states, etc):
    return lambda options, **kwargs: states.sshd_config.managed("options", options=options, **etc.arguments, **kwargs)


def added(path, text):
    lines = text.splitlines(True)
    span = "1" if len(lines) == 1 else f"1,{len(lines)}"
    return {"diff": f"--- /dev/null\n+++ {path}\n@@ -0,0 +{span} @@\n" + "".join(f"+{line}" for line in lines)}


def test_a_drop_in_and_back(states, modules, etc, managed, test_mode):
    before = etc.files()
    ret = managed(OPTIONS, test=test_mode)
    assert ret.changes == {str(etc.drop_in): added(etc.drop_in, DROP_IN)}
    if test_mode:
        assert (ret.result, ret.comment) == (None, f"Would write {etc.drop_in}")
        assert etc.files() == before
        return
    assert (ret.result, ret.comment) == (True, f"Wrote {etc.drop_in}. Reload sshd for it to count.")
    assert etc.drop_in.read_text() == DROP_IN
    assert etc.drop_in.stat().st_mode & 0o777 == 0o600
    values = modules.sshd_config.effective(str(etc.main))
    assert (values["usepam"], values["permitrootlogin"]) == (["yes"], ["without-password"])
    again = managed(OPTIONS)
    assert (again.result, again.changes) == (True, {})
    assert again.comment == "sshd has these options already: UsePAM, PermitRootLogin, ChallengeResponseAuthentication"
    would = states.sshd_config.absent("options", **etc.arguments, test=True)
    assert (would.result, list(would.changes)) == (None, [str(etc.drop_in)])
    back = states.sshd_config.absent("options", **etc.arguments)
    assert (back.result, back.changes) == (True, would.changes)
    assert etc.files() == before
    again = states.sshd_config.absent("options", **etc.arguments)
    assert (again.result, again.changes) == (True, {})
    assert again.comment == "sshd's configuration has no edits of t"


def test_keyed_edits_and_back(states, modules, etc, managed, test_mode):
    etc.write(
        "HostKey {etc}/key\nPidFile {etc}/pid\nPermitRootLogin yes # ours\n#UsePAM no\n"
        "Include {etc}/d/*.conf\nMatch all\n Banner none"
    )
    etc.main.chmod(0o604)
    before = etc.files()
    ret = managed({"PermitRootLogin": False, "UsePAM": True}, test=test_mode)
    assert ret.changes == {
        str(etc.main): {
            "diff": f"--- {etc.main}\n+++ {etc.main}\n@@ -1,7 +1,10 @@\n"
            f" HostKey {etc.path}/key\n PidFile {etc.path}/pid\n"
            "-PermitRootLogin yes # ours\n+# t was: PermitRootLogin yes # ours\n+PermitRootLogin no # ours\n"
            f" #UsePAM no\n+# t added: UsePAM\n+UsePAM yes\n Include {etc.path}/d/*.conf\n Match all\n  Banner none\n"
            "\\ No newline at end of file\n"
        }
    }
    if test_mode:
        assert ret.result is None
        assert etc.files() == before
        return
    assert ret.result is True
    assert etc.main.stat().st_mode & 0o777 == 0o604
    assert modules.sshd_config.effective(str(etc.main))["permitrootlogin"] == ["no"]
    assert managed({"PermitRootLogin": False, "UsePAM": True}).changes == {}
    assert states.sshd_config.absent("options", **etc.arguments).result is True
    assert etc.files() == before


def test_a_main_file_without_include_and_with_other_bytes(states, etc, managed):
    etc.main.write_bytes(b"# Universit\xe4t\r\nHostKey %s/key\nPermitRootLogin yes" % bytes(etc.path))
    before = etc.files()
    assert managed(OPTIONS).result is True
    assert not etc.drop_in.exists()
    assert b"\nPermitRootLogin prohibit-password" in etc.main.read_bytes()
    assert states.sshd_config.absent("options", **etc.arguments).result is True
    assert etc.files() == before


def test_the_drop_in_gives_way_to_edits_and_returns(states, etc, managed):
    assert managed({"Banner": "none"}).result is True
    etc.write("Banner /x\n" + MAIN)
    assert list(managed({"Banner": "none"}).changes) == [str(etc.main), str(etc.drop_in)]
    assert not etc.drop_in.exists()
    etc.write(MAIN)
    assert list(managed({"Banner": "none"}).changes) == [str(etc.drop_in)]


@pytest.mark.parametrize(
    "options, says",
    [
        ({"PermitRootLogin": True, "UsePAM": "maybe"}, "sshd refuses UsePAM maybe: "),
        ({"PermitRotLogin": True}, "sshd refuses PermitRotLogin yes: options: line 1: Bad configuration option"),
        ({"AllowGroups": "a\nMatch all"}, "options: AllowGroups: 'a\\nMatch all' is not allowed"),
    ],
)
def test_what_sshd_refuses_is_never_written(etc, managed, options, says, test_mode):
    before = etc.files()
    ret = managed(options, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment.startswith(says)
    assert etc.files() == before


def test_a_configuration_that_is_broken_already(etc, managed, test_mode):
    (etc.path / "d" / "10-site.conf").write_text("Port 22\nNonsense yes\n")
    ret = managed(OPTIONS, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert f"sshd refuses the configuration: {etc.path}/d/10-site.conf: line 2: Bad configuration option" in ret.comment
    assert not etc.drop_in.exists()


def test_an_option_that_would_not_count_names_the_line(etc, managed, test_mode):
    (etc.path / "d" / "10-site.conf").write_text("\nAllowGroups staff\n")
    before = etc.files()
    ret = managed({"AllowGroups": ["hpc"]}, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        "Nothing is written, because it would not count: AllowGroups is hpc staff, not hpc: "
        f"{etc.path}/d/10-site.conf:2 sets it, change that line"
    )
    assert etc.files() == before


def test_a_list_counts_whole(etc, managed, modules):
    assert managed({"AllowGroups": ["hpc", "staff"], "MaxAuthTries": 3}).result is True
    values = modules.sshd_config.effective(str(etc.main))
    assert (values["allowgroups"], values["maxauthtries"]) == (["hpc", "staff"], ["3"])


@pytest.mark.parametrize("wanted", ["without-password", "Prohibit-Password"])
def test_other_spellings_of_a_value_are_equal(etc, managed, modules, wanted):
    etc.write("PermitRootLogin prohibit-password\n" + MAIN)
    assert modules.sshd_config.check({"PermitRootLogin": wanted}, str(etc.main)) == []
    (finding,) = modules.sshd_config.check({"PermitRootLogin": False}, str(etc.main))
    assert finding == {
        "option": "PermitRootLogin",
        "wanted": "no",
        "found": "without-password",
        "by": f"{etc.main}:1",
    }


def test_match_lines_are_held_against_a_connection(etc, modules):
    etc.write("HostKey {etc}/key\nPermitRootLogin no\nMatch User root\n PermitRootLogin yes\n")
    effective = modules.sshd_config.effective
    assert effective(str(etc.main))["permitrootlogin"] == ["no"]
    assert effective(str(etc.main), "user=root,host=h,addr=192.0.2.1")["permitrootlogin"] == ["yes"]


def test_a_copy_means_what_the_real_files_mean(etc, modules):
    """Match in an included file ends with it, an Include may stand inside Match, and files may be included twice."""
    (etc.path / "d" / "10-a.conf").write_text("Match User nobody\n Banner /a\n")
    (etc.path / "d" / "20-b.conf").write_text("")
    (etc.path / "e.conf").write_text("X11Forwarding yes # no newline")
    etc.write(
        "HostKey {etc}/key\nInclude {etc}/d/1*.conf {etc}/d/2*.conf # two\nInclude {etc}/nothing/*\n"
        "Match User root\n Include {etc}/e.conf\nMatch User nobody\nInclude {etc}/e.conf\n PermitRootLogin no\n"
    )
    sshd = shutil.which("sshd", path="/usr/sbin")
    for user in ("root", "nobody", "other"):
        connection = f"user={user},host=h,addr=192.0.2.1"
        run = subprocess.run([sshd, "-T", "-f", etc.main, "-C", connection], capture_output=True, text=True, check=True)
        copied = modules.sshd_config.effective(str(etc.main), connection)
        assert sorted(f"{k} {v}" for k, values in copied.items() for v in values) == sorted(run.stdout.splitlines())


def test_no_host_key_yet(etc, managed):
    """A node whose sshd has never run has none, and that says nothing about the options."""
    etc.write("HostKey {etc}/none\nInclude {etc}/d/*.conf\n")
    assert managed(OPTIONS).result is True


def test_what_counts_after_writing_is_looked_at_again(etc, managed, monkeypatch):
    """Somebody else's drop-in that comes between the check and the write: everything is put back."""
    before = etc.files()
    late = etc.path / "d" / "00-a.conf"
    rename = os.rename

    def rename_and_interfere(*paths):
        rename(*paths)
        late.write_text("UsePAM no\n")

    monkeypatch.setattr(os, "rename", rename_and_interfere)
    ret = managed({"UsePAM": True})
    assert (ret.result, ret.changes) == (False, {})
    wrong = f"UsePAM is no, not yes: {late}:1 sets it, change that line"
    assert ret.comment == f"{wrong}. Everything is as it was"
    late.unlink()
    assert etc.files() == before


def test_a_file_that_cannot_be_written(etc, managed):
    etc.write("PermitRootLogin yes\n" + MAIN)
    before = etc.files()
    subprocess.run(["chattr", "+i", etc.main], check=True)
    try:
        ret = managed({"PermitRootLogin": False})
    finally:
        subprocess.run(["chattr", "-i", etc.main], check=True)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"{etc.main} could not be written: Operation not permitted. Everything is as it was. "
        "See with lsattr whether it is immutable, and apply again"
    )
    assert etc.files() == before


def test_a_linked_main_file_stays_a_link(etc, managed):
    etc.write("PermitRootLogin yes\n" + MAIN)
    real = etc.path / "real"
    etc.main.rename(real)
    etc.main.symlink_to(real)
    assert managed({"PermitRootLogin": False}).result is True
    assert etc.main.is_symlink()
    assert "\nPermitRootLogin no\n" in real.read_text()


@pytest.fixture
def no_sshd(monkeypatch):
    """A node without sshd. Salt and the library look beyond the PATH, so the look-up itself says so."""
    for which in ("salt.utils.path.which", "shutil.which"):
        monkeypatch.setattr(which, lambda name, path=None: None)


def test_sshd_is_missing(managed, no_sshd, test_mode):
    ret = managed(OPTIONS, test=test_mode)
    assert (ret.result, ret.changes) == (None if test_mode else False, {})
    assert ret.comment == ("Waits for sshd to be installed: " if test_mode else "") + "sshd is not installed"


def test_sshd_is_missing_with_its_configuration(etc, managed, no_sshd, test_mode):
    etc.main.unlink()
    ret = managed(OPTIONS, test=test_mode)
    assert (ret.result, ret.changes) == (None if test_mode else False, {})
    assert ret.comment.endswith(f"No sshd_config here: looked for {etc.main}")


def test_taking_back_after_sshd_has_been_removed(states, etc, managed, request):
    assert managed(OPTIONS).result is True
    etc.main.unlink()
    request.getfixturevalue("no_sshd")
    ret = states.sshd_config.absent("options", **etc.arguments)
    assert (ret.result, list(ret.changes)) == (True, [str(etc.drop_in)])
    assert not etc.drop_in.exists()


def test_taking_back_what_sshd_would_then_refuse(states, etc, managed):
    assert managed(OPTIONS).result is True
    etc.write(MAIN + "\nMatch nonsense\n")
    ret = states.sshd_config.absent("options", **etc.arguments)
    assert (ret.result, ret.changes) == (False, {})
    assert "sshd refuses the configuration: " in ret.comment
    assert pathlib.Path(etc.drop_in).read_text() == DROP_IN


def test_a_reload_that_a_killed_run_did_not_come_to(states, etc, managed, test_mode):
    assert managed(OPTIONS).result is True
    (etc.path / "pid").write_text("1\n")
    os.utime(etc.path / "pid", (0, 0))
    pending = {"sshd": {"old": f"has not read {etc.drop_in}, {etc.main}, {etc.path}/d", "new": "to be reloaded"}}
    ret = managed(OPTIONS, test=test_mode)
    assert (ret.result, ret.changes) == (None if test_mode else True, pending)
    assert ret.comment.endswith(". Reload sshd for it to count.")
    (etc.path / "pid").write_text("1\n")
    assert managed(OPTIONS).changes == {}
    assert states.sshd_config.absent("options", **etc.arguments).result is True
    os.utime(etc.path / "pid", (0, 0))
    ret = states.sshd_config.absent("options", **etc.arguments, test=test_mode)
    assert (ret.result, list(ret.changes)) == (None if test_mode else True, ["sshd"])


def test_a_drop_in_that_is_a_link_is_not_written_through(states, etc, managed):
    (etc.path / "theirs").write_text(DROP_IN)
    etc.drop_in.symlink_to(etc.path / "theirs")
    for ret in (managed({"UsePAM": True}), states.sshd_config.absent("options", **etc.arguments)):
        assert (ret.result, ret.changes) == (False, {})
        assert ret.comment == f"{etc.drop_in} is a link. Nothing was changed. Remove it, or put a file in its place"
    assert (etc.path / "theirs").read_text() == DROP_IN


@pytest.mark.parametrize("state", ["managed", "absent"])
def test_a_drop_in_that_others_can_write_is_refused(states, etc, test_mode, state):
    etc.drop_in.write_text(DROP_IN)
    etc.drop_in.chmod(0o666)
    before = etc.files()
    options = {"options": OPTIONS} if state == "managed" else {}
    ret = getattr(states.sshd_config, state)("sshd", **options, **etc.arguments, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert f"others than root can write to {etc.drop_in}" in ret.comment
    assert etc.files() == before


@pytest.mark.parametrize("main", ["HostKey {etc}/key\n", "HostKey {etc}/key\nInclude {etc}/d/*.config\n"])
def test_a_drop_in_that_sshd_does_not_read(etc, managed, test_mode, main):
    """Single lines are edited instead, and that is said."""
    etc.write(main)
    ret = managed({"UsePAM": True}, test=test_mode)
    assert list(ret.changes) == [str(etc.main)]
    assert ret.comment.endswith(f"sshd does not read {etc.drop_in}: nothing includes it.")
    if not test_mode:
        assert managed({"UsePAM": True}).comment == "sshd has these options already: UsePAM"


def test_a_drop_in_that_is_read_too_late_is_no_matter_of_includes(etc, managed):
    etc.write("HostKey {etc}/key\nUsePAM no\nInclude {etc}/d/*.conf\n")
    assert managed({"UsePAM": True}).comment == f"Wrote {etc.main}. Reload sshd for it to count."
