"""What the watch holds a node against, as a text; and which paths keep a node closed."""

import hashlib
import os

import pytest
from harness.source import load  # noqa: F401 (the library's place)
from salt.exceptions import CommandExecutionError

import _slurm_pam_watch
import _slurm_pam_watched
from _slurm_pam_watch import Accepted

FILE, LINK, NONE = "/etc/file", "/etc/link", "/etc/none"


def digest(text):
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def noted(content="a", mode="81a4", owner="0 0", target="file", when="1.5 2.5 77", absent=(NONE,), names=(), **more):
    """A file, a link that leads nowhere, and what is not there, as the program finds them noted."""
    file = f"'{FILE}'\x1f{mode} {owner}\x1f1 {when}"
    link = f"'{LINK}' -> '{target}'\x1fa1ff 0 0\x1f4 1.5 2.5 78"
    fields = {
        "quick": f"{file}\n{link}",
        "noted": f"{digest(content)}  {FILE}\x1f{file}\n\x1f{link}",
        "listing": "\n".join(names),
        "files": f"{FILE}\x1f",
        "others": f"{LINK}\x1f",
        "absent": "".join(f"{path}\x1f" for path in absent),
        "globs": "/etc/d/*.conf\x1f",
        "directories": "/etc/d\x1f",
        "scontrol": "/usr/bin/scontrol",
        "conf": "",
        "node": "",
        "checker": "b2sum",
    }
    return Accepted(**{**fields, **more})


def test_it_is_read_as_it_is_written(monkeypatch):
    written = noted(content="\udcff", names=["/etc/d/a\nb.conf"])
    monkeypatch.setattr(_slurm_pam_watch.file_transaction, "read", lambda path: written.text())
    assert _slurm_pam_watch.accepted() == written


CUT, MORE, OTHER = noted().text()[:-1], noted().text() + "\x1d", noted(checker="true").text()
# Where scontrol and slurm.conf were one, and each line had its sum at its end.
EARLIER = noted().text().replace("scontrol\x1d\x1d", "scontrol \x1d")


@pytest.mark.parametrize("text", [None, "", "{}", CUT, MORE, OTHER, EARLIER, {"link": "/etc/passwd"}])
def test_what_is_not_as_it_was_written_is_nothing(monkeypatch, text):
    monkeypatch.setattr(_slurm_pam_watch.file_transaction, "read", lambda path: text)
    assert _slurm_pam_watch.accepted() is None


@pytest.mark.parametrize("test", [False, True])
def test_what_was_noted_in_an_earlier_form_is_noted_anew(monkeypatch, test):
    monkeypatch.setattr(_slurm_pam_watch.file_transaction, "read", lambda path: EARLIER)
    monkeypatch.setattr(_slurm_pam_watch, "look", lambda settings: noted())
    plan = _slurm_pam_watch.plan({}, test)
    assert plan["anew"] is True
    assert plan["files"][-1]["before"] == EARLIER
    assert plan["files"][-1]["after"] == ("" if test else noted().text())


def test_what_is_known_of_each_path():
    assert noted().of_paths() == {
        FILE: (f"81a4 0 0 '{FILE}'", digest("a")),
        LINK: (f"a1ff 0 0 '{LINK}' -> 'file'", ""),
        NONE: ("", ""),
    }


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ({}, True),
        ({"when": "9.5 9.5 99"}, True),
        ({"content": "b"}, False),
        ({"mode": "8180"}, False),
        ({"owner": "0 7"}, False),
        ({"target": "other"}, False),
        ({"absent": ()}, False),
        ({"absent": (NONE, "/etc/more")}, False),
        ({"names": ["/etc/d/x.conf"]}, False),
        ({"globs": ""}, False),
        ({"scontrol": "/opt/slurm/bin/scontrol"}, False),
        ({"conf": "/opt/slurm/etc/slurm.conf"}, False),
    ],
)
def test_times_alone_do_not_count(now, same):
    assert (noted().facts() == noted(**now).facts()) is same


GONE = {"files": "", "noted": f"\x1f'{LINK}' -> 'file'\x1fa1ff 0 0\x1f4 1.5 2.5 78", "absent": (NONE, FILE)}


@pytest.mark.parametrize(
    ("now", "coming", "anew"),
    [
        # Nothing is to be written.
        ({}, {}, False),
        ({"content": "b"}, {}, True),
        ({"when": "9.5 9.5 99"}, {}, False),
        # What has changed is brought back to what it was.
        ({"content": "b"}, {FILE: "a"}, False),
        (GONE, {FILE: "a"}, False),
        ({"target": "other"}, {LINK: {"link": "file"}}, False),
        ({"absent": ()}, {NONE: None}, False),
        ({"names": ["/etc/d/x.conf"]}, {"/etc/d/x.conf": None}, True),
        # It becomes something else.
        ({}, {FILE: "b"}, True),
        ({}, {FILE: None}, True),
        ({}, {LINK: {"link": "other"}}, True),
        ({}, {LINK: "a file"}, True),
        ({}, {NONE: "a"}, True),
        ({}, {"/etc/new": "a"}, True),
        # Somebody else has changed something besides.
        ({"content": "b"}, {LINK: {"link": "file"}}, True),
        ({"names": ["/etc/d/x.conf"]}, {FILE: "a"}, True),
    ],
)
def test_what_an_apply_will_come_to(monkeypatch, now, coming, anew):
    found = noted(**now)
    monkeypatch.setattr(_slurm_pam_watch, "_coming", lambda settings: coming)
    monkeypatch.setattr(_slurm_pam_watch, "_look", lambda paths, globs, settings: found)
    assert _slurm_pam_watch._will_differ(noted(), found, {}) is anew


@pytest.mark.parametrize("path", ["/etc/a\x1fb", "/etc/a\x1db"])
def test_a_name_that_would_part_others(path):
    with pytest.raises(CommandExecutionError, match="Rename it"):
        _slurm_pam_watch._joined([path])


@pytest.mark.parametrize("name", ["a*", "a?", "[a]", "a\\"])
def test_a_directory_that_is_a_pattern(name):
    with pytest.raises(CommandExecutionError, match="Rename it"):
        _slurm_pam_watch._pattern(f"/etc/{name}/*.conf")


@pytest.mark.parametrize("path", ["/etc/a b", "/etc/a\nb", "/etc/'\"$(x)`x`;*", "/etc/\udcff"])
def test_any_other_name(path):
    assert _slurm_pam_watch._split(_slurm_pam_watch._joined([path, path])) == [path, path]


# What is looked at


@pytest.fixture
def pam(tmp_path, monkeypatch):
    """An administrator's directory and a vendor's."""
    directories = [tmp_path / "etc", tmp_path / "usr"]
    for each in directories:
        each.mkdir()
    known = {"version": "1.6.0", "debian": False, "confdirs": list(map(str, directories)), "module_dirs": []}
    monkeypatch.setattr(_slurm_pam_watched._pam_libpam, "node_libpam", lambda: known)

    def files(**texts):
        for place, text in texts.items():
            (tmp_path / place.replace("__", "/")).write_text(text)
        found = _slurm_pam_watched._pam_files(["sshd", "other"])
        return {os.path.relpath(path, tmp_path) for path in found}

    return files


@pytest.mark.parametrize(
    ("texts", "looked_at"),
    [
        ({}, {"etc/sshd", "usr/sshd", "etc/other", "usr/other"}),
        ({"etc__sshd": "", "etc__other": ""}, {"etc/sshd", "etc/other"}),
        # It has to stay away from where it would count.
        ({"usr__sshd": "", "etc__other": ""}, {"etc/sshd", "usr/sshd", "etc/other"}),
        (
            {"etc__sshd": "auth include a\naccount substack b\n", "etc__other": "", "usr__b": "", "etc__a": ""},
            {"etc/sshd", "etc/other", "etc/a", "etc/b", "usr/b"},
        ),
        # What includes itself.
        ({"etc__sshd": "auth include sshd\n", "etc__other": "auth include sshd"}, {"etc/sshd", "etc/other"}),
    ],
)
def test_what_libpam_reads_and_would_read_instead(pam, texts, looked_at):
    assert pam(**texts) == looked_at


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("{}/d/*.conf", ["{}/d/*.conf"]),
        ("{}/none/*.conf", ["{}/none/*.conf"]),
        ("{}/*/x.conf", ["{}/*", "{}/d/x.conf", "{}/e/x.conf"]),
        ("{}/*/x/*.conf", ["{}/*", "{}/d/x", "{}/e/x", "{}/e/x/*.conf"]),
        ("{}/*/*.conf", ["{}/*", "{}/d/*.conf", "{}/e/*.conf"]),
        ("{}/[de]/?", ["{}/[de]", "{}/d/?", "{}/e/?"]),
    ],
)
def test_patterns_in_parts(tmp_path, pattern, parts):
    for name in ("d", "e/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    found = _slurm_pam_watched._in_parts(pattern.format(tmp_path))
    assert sorted(found) == sorted(part.format(tmp_path) for part in parts)


def test_units_and_the_files_that_they_name(tmp_path, monkeypatch):
    ours, vendors = tmp_path / "etc", tmp_path / "usr"
    for each in (ours / "ssh.service.d", vendors):
        each.mkdir(parents=True)
    (vendors / "ssh.service").write_text("[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/usr/sbin/sshd\n")
    (ours / "ssh.service.d/x.conf").write_text("[Service]\nEnvironmentFile=/etc/more\n EnvironmentFile = -/etc/d/*\n")
    monkeypatch.setattr(_slurm_pam_watched, "_systemd", lambda: [str(ours), str(vendors)])
    monkeypatch.setattr(_slurm_pam_watched, "_sshd_files", lambda settings: ["/etc/ssh/sshd_config"])
    settings = {"sshd": {"service": "ssh"}}
    found = list(_slurm_pam_watched._unit_files(settings))
    assert found[:2] == [f"{ours}/ssh.service", f"{vendors}/ssh.service"]
    assert {"/etc/default/ssh", "/etc/more", f"{ours}/sshd.service", f"{vendors}/sshd.socket"} <= set(found)
    assert "/etc/d/*" in _slurm_pam_watched.globs(settings)


@pytest.mark.parametrize("unit", ["ssh.service", "ssh@.service", "ssh.socket"])
def test_units_and_their_drop_ins(tmp_path, monkeypatch, unit):
    """A socket may start an instance for each connection."""
    (tmp_path / f"{unit}.d").mkdir()
    (tmp_path / f"{unit}.d/x.conf").write_text("[Service]\nEnvironmentFile=-/etc/more\n")
    monkeypatch.setattr(_slurm_pam_watched, "_systemd", lambda: [str(tmp_path)])
    settings = {"sshd": {"service": "ssh"}}
    assert {f"{tmp_path}/{unit}", "/etc/more"} <= set(_slurm_pam_watched._unit_files(settings))
    assert f"{tmp_path}/{unit}.d/*.conf" in _slurm_pam_watched._drop_ins(settings)


def test_links_are_followed_step_by_step(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to(f"{tmp_path}/c")
    assert list(_slurm_pam_watch._steps(f"{tmp_path}/a")) == [f"{tmp_path}/{name}" for name in "abc"]
    (tmp_path / "mask").symlink_to(os.devnull)
    assert list(_slurm_pam_watch._steps(f"{tmp_path}/mask")) == [f"{tmp_path}/mask"]
    (tmp_path / "c").symlink_to("c")
    assert len(list(_slurm_pam_watch._steps(f"{tmp_path}/a"))) < 50
