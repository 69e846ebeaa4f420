"""What has to stay, and what the proof relies on, stands where root alone can change it."""

import os

import pytest
from looks import given

import _pam_libpam
import _slurm_pam_places
from _slurm_pam_places import named, relied_on

SETTINGS = {
    "access:file": lambda path: {"access": {"file": path}},
    "sshd:config": lambda path: {"sshd": {"config": path}},
    "sshd:drop_in": lambda path: {"sshd": {"drop_in": path}},
    "slurm:conf": lambda path: {"slurm": {"conf": path, "manage": "enforce"}},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("path", "top"),
    [
        ("/tmp/access.conf", "/tmp"),
        ("/var/tmp/x/access.conf", "/var/tmp"),
        ("/dev/shm/access.conf", "/dev"),
        ("/run/access.conf", "/run"),
        ("/var/run/access.conf", "/var/run"),
        ("/proc/1/x", "/proc"),
        ("/etc/../tmp/access.conf", "/tmp"),
        ("//tmp//access.conf", "/tmp"),
        ("/tmpfiles/access.conf", None),
        ("/etc/security/own.conf", None),
        ("/etc/run/own.conf", None),
        ("//etc/security/own.conf", None),
    ],
)
def test_where_nothing_stays(setting, path, top):
    found = list(named(*given(**SETTINGS[setting](path))))
    assert [finding.found for finding in found] == (
        [f"slurm_pam:{setting} is {path}, and nothing in {top} stays"] if top else []
    )


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A directory for which /tmp is not in the way."""
    way = _slurm_pam_places._directories
    monkeypatch.setattr(_slurm_pam_places, "_PASSING", ())
    monkeypatch.setattr(
        _slurm_pam_places, "_directories", lambda path: [d for d in way(path) if str(tmp_path) in f"{d}/"]
    )
    for name in ("a", "a/b", "other"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("a")
    return tmp_path


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("mode", [0o1777, 0o775])
@pytest.mark.parametrize(
    ("path", "open_", "told"),
    [
        ("a/b/file", "a/b", True),
        ("a/b/file", "a", True),
        ("a/b/none/yet/file", "a/b", True),
        ("link/b/file", "link", True),
        ("a/b/file", "other", False),
    ],
)
def test_where_others_can_make_files(top, setting, path, open_, told, mode):
    (top / open_).chmod(mode)
    found = list(named(*given(**SETTINGS[setting](f"{top}/{path}"))))
    wanted = f"slurm_pam:{setting} is {top}/{path}, and others than root can make files in {top}/{open_}"
    assert [finding.found for finding in found] == ([wanted] if told else [])


def test_a_link_to_where_others_can_make_files(top):
    (top / "other").chmod(0o1777)
    (top / "a/file").symlink_to(top / "other/file")
    assert len(list(named(*given(access={"file": f"{top}/a/file"})))) == 1


@pytest.mark.parametrize("more", [{"sshd": {"manage": False, "config": "/tmp/x"}}, {"slurm": {"conf": "/tmp/x"}}])
def test_what_is_not_written_may_be_anywhere(more):
    assert list(named(*given(**more))) == []


# What the proof relies on


FILES = {
    "sshd": "account include common-account\nsession include common-session\nauth include far\n",
    "common-account": "account required pam_unix.so\naccount include deeper\n",
    "common-session": "session required pam_unix.so\n",
    "deeper": "account required {site}/pam_site.so\n",
    "far": "auth required pam_unix.so\n",
    "other": "auth required pam_deny.so\n",
    "cron": "account required pam_unix.so\n",
}
# What can be written, and whether that is told.
RELIED_ON = {
    **dict.fromkeys((f"pam.d/{name}" for name in FILES if name != "cron"), True),
    "pam.d/cron": False,
    "pam.d": True,
    "site": True,
    "site/pam_site.so": True,
    "own": True,
    "own/pam_unix.so": True,
    "own/pam_other.so": False,
}


@pytest.fixture
def node(tmp_path, monkeypatch):
    for directory in ("pam.d", "site", "own"):
        (tmp_path / directory).mkdir(mode=0o755)
    for name, text in FILES.items():
        (tmp_path / "pam.d" / name).write_text(text.format(site=tmp_path / "site"))
    for name in ("site/pam_site.so", "own/pam_unix.so", "own/pam_deny.so", "own/pam_other.so"):
        (tmp_path / name).touch(0o644)
    directories = {"confdirs": [f"{tmp_path}/pam.d"], "module_dirs": [f"{tmp_path}/own"]}
    libpam = {"version": "1.5.2", "debian": False, **directories}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    return tmp_path


def test_nothing_to_find(node):
    assert list(relied_on(*given())) == []


@pytest.mark.parametrize("mode", [0o664, 0o646])
@pytest.mark.parametrize(("loose", "told"), RELIED_ON.items())
def test_what_others_can_write(node, loose, told, mode):
    mode |= 0o111 if (node / loose).is_dir() else 0
    (node / loose).chmod(mode)
    found = list(relied_on(*given()))
    assert bool(found) is told
    for finding in found:
        assert f"others than root can write to {node}/{loose}. Nothing was changed" in finding.text()
        assert finding.kind == "problems"


@pytest.mark.parametrize("directory", ["pam.d", "site", "own"])
def test_a_sticky_directory_is_no_place_for_them_either(node, directory):
    (node / directory).chmod(0o1777)
    found = list(relied_on(*given()))
    assert found and all(f"others than root can make files in {node}/{directory}" in each.text() for each in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root can")
@pytest.mark.parametrize("loose", [name for name, told in RELIED_ON.items() if told])
def test_what_is_somebody_elses(node, loose):
    os.chown(node / loose, 1234, -1)
    assert any(f"can write to {node}/{loose}." in finding.text() for finding in relied_on(*given()))


def test_a_file_that_the_stacks_are_to_be_made_of(node):
    (node / "pam.d/system-auth").write_text("account required pam_unix.so\n")
    (node / "pam.d/system-auth").chmod(0o666)
    assert list(relied_on(*given())) == []
    for name in ("account_source", "session_source"):
        assert len(list(relied_on(*given(pam={name: "system-auth"})))) == 1


@pytest.mark.parametrize(("word", "told"), [("close", True), ("report", False), ("leave", False)])
def test_what_a_closed_door_comes_to(node, word, told):
    (node / "pam.d/cockpit").write_text("account include system-auth\n")
    (node / "pam.d/system-auth").write_text("account required pam_unix.so\n")
    (node / "pam.d/system-auth").chmod(0o666)
    found = [finding.text() for finding in relied_on(*given(doors={"cockpit": word}))]
    assert len(found) == told
    assert all(f"others than root can write to {node}/pam.d/system-auth" in text for text in found)


def test_a_link_by_which_others_come_in(node):
    (node / "theirs").mkdir(mode=0o777)
    (node / "theirs").chmod(0o777)
    (node / "theirs/common-account").write_text("account required pam_unix.so\n")
    (node / "pam.d/common-account").unlink()
    (node / "pam.d/common-account").symlink_to(node / "theirs/common-account")
    (finding,) = relied_on(*given())
    assert f"others than root can write to {node}/theirs" in finding.text()
