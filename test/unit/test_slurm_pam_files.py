"""A file that a setting names is what it is said to be as a whole, or it is not taken."""

import os

import pytest
from looks import given

import _pam_libpam
import _slurm_pam_preflight
import _slurm_pam_wanted
from _slurm_pam_files import files

PASSWD = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n"
SHADOW = "root:$6$secret$hash:19000:0:99999:7:::\nalice:!:19000:0:99999:7:::\n"
SSHD = "# site\n\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nMatch User alice\n    X11Forwarding no\n"
SLURM = "# site\nClusterName=x\nNodeName=n[1-4] CPUs=2 \\\n  State=UNKNOWN\nInclude nodes.conf\n"
ACCESS = "# by hand\n\n+:root:ALL\n+ : (wheel) bob : 192.0.2.0/24 2001:db8::/32 EXCEPT 192.0.2.7\n- : ALL : ALL\n"
PAM = "#%PAM-1.0\naccount include common-account\nsession include common-session\n-session optional x.so a\\\n b\n"
ENVIRONMENT = "PATH=/bin\n"
FSTAB = "UUID=6 / ext4 defaults 0 1\n"
HOSTS = "127.0.0.1 localhost\n"
OURS = f"{_slurm_pam_wanted.MARKER} (begin)\n+:root:ALL\n-:ALL:ALL\n{_slurm_pam_wanted.MARKER} (end)\n"

SETTINGS = {
    "access:file": lambda path: {"access": {"file": path}},
    "sshd:config": lambda path: {"sshd": {"config": path}},
    "sshd:drop_in": lambda path: {"sshd": {"drop_in": path}},
    "slurm:conf": lambda path: {"slurm": {"conf": path}},
}
# What each setting takes, of these. Which words are options of sshd's, sshd itself is asked, in another look.
_SSHD = {"sshd:config", "sshd:drop_in"}
TEXTS = {
    "nothing": ("", set(SETTINGS)),
    "passwd": (PASSWD, set()),
    "shadow": (SHADOW, set()),
    "hosts": (HOSTS, set()),
    "sshd": (SSHD, _SSHD),
    "slurm": (SLURM, {"slurm:conf", *_SSHD}),
    "access": (ACCESS, {"access:file"}),
    "ours": (OURS, {"access:file"}),
    "ours in passwd": (OURS + PASSWD, set()),
    "pam": (PAM, set()),
    "a comment and a word": ("# x\nword\n", set()),
    "binary": ("\x7fELF\x00\x01\n", set()),
    "not UTF-8": ("\udcff\n", set()),
    "two fields": ("+:root\n", set()),
    "no words": ("+ : : ALL\n", set()),
    "no sign": ("root : root : ALL\n", _SSHD),
}


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    """PAM files that are right; the first directory."""
    libpam = {"version": "1.5.2", "debian": False, "confdirs": [f"{tmp_path}/pam.d"], "module_dirs": []}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    monkeypatch.setattr(_slurm_pam_wanted, "RECORD", f"{tmp_path}/record")
    (tmp_path / "pam.d").mkdir()
    for name in ("sshd", "common-account", "common-session"):
        (tmp_path / "pam.d" / name).write_text(PAM)
    return tmp_path


def look(path, setting, **more):
    absent = {
        "access": {"file": f"{path.parent}/none"},
        "sshd": {"drop_in": f"{path.parent}/no-drop-in"},
    }
    for section, values in {**SETTINGS[setting](str(path)), **more}.items():
        absent[section] = {**absent.get(section, {}), **values}
    return list(files(*given(**absent)))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("text", "takes"), TEXTS.values(), ids=TEXTS)
def test_a_file_is_read_as_a_whole(node, setting, text, takes):
    path = node / "file"
    path.write_text(text, "utf-8", "surrogateescape")
    path.chmod(0o644)
    found = look(path, setting)
    assert [finding.kind for finding in found] == ([] if setting in takes else ["problems"])
    for finding in found:
        assert finding.found.startswith(f"slurm_pam:{setting}: {path} is not ")
        assert finding.found.endswith(" does not belong in such a file")
        assert all(char.isprintable() for char in finding.text())


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_not_there_is_taken(node, setting):
    assert look(node / "file", setting) == []


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_nothing_of_a_secret_is_told(node, setting, mode):
    (node / "secret").write_text("# x\n" + SHADOW)
    (node / "secret").chmod(mode)
    (node / "file").symlink_to("secret")
    (finding,) = look(node / "file", setting)
    assert "line 2 does not belong in such a file" in finding.found and "secret$" not in finding.text()
    (node / "secret").chmod(0o644)
    (finding,) = look(node / "file", setting)
    assert "line 2 (root:$6$secret$" in finding.found


def test_the_line_is_the_first_that_is_none(node):
    (node / "file").write_text(ACCESS + "nonsense " * 40)
    (finding,) = look(node / "file", "access:file")
    assert "line 6 (nonsense nonsense" in finding.found and len(finding.found) < 300


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_no_file_is_not_waited_for(node, setting):
    os.mkfifo(node / "fifo")
    (finding,) = look(node / "fifo", setting)
    assert "is neither a file nor a link" in finding.found
    with open(node / "large", "wb") as large:
        large.truncate(10**12)
    (finding,) = look(node / "large", setting)
    assert f"{node}/large is larger than 4194304 bytes" in finding.found


@pytest.mark.parametrize("name", ["sshd", "common-account", "common-session"])
@pytest.mark.parametrize("text", [PASSWD, SHADOW, SSHD, FSTAB, ENVIRONMENT])
def test_pam_files_are_pam_files(node, name, text):
    (node / "pam.d" / name).write_text(text)
    (finding,) = look(node / "file", "access:file")
    assert f"{node}/pam.d/{name} is not a PAM file (pam.d(5)): line " in finding.found


@pytest.mark.parametrize("more", [{"sshd": {"manage": False}}, {"slurm": {"manage": "keep"}}])
def test_what_is_not_written_may_be_anything(node, more):
    (node / "passwd").write_text(PASSWD)
    ((section, values),) = more.items()
    place = "conf" if section == "slurm" else "config"
    assert look(node / "file", "access:file", **{section: {**values, place: f"{node}/passwd"}}) == []


def test_one_file_for_two_things(node):
    (node / "link").symlink_to("drop_in")
    (finding,) = look(node / "link", "access:file", sshd={"drop_in": f"{node}/drop_in"})
    assert finding.found == f"slurm_pam:sshd:drop_in is {node}/drop_in, and so is slurm_pam:access:file"
    (finding,) = look(node / "record", "access:file")
    assert finding.found == f"slurm_pam:access:file is {node}/record, and so is the record of what was applied"
    # The node's two stacks may be one file, as on EL.
    assert look(node / "file", "access:file", pam={"account_source": "sshd", "session_source": "sshd"}) == []


def test_nobody_reads_on_in_what_is_something_else(node, monkeypatch):
    asked = []
    looks = (files, lambda *given: asked.append(given) or [])
    monkeypatch.setattr(_slurm_pam_preflight, "LOOKS", looks)
    (node / "file").write_text(SHADOW)
    sections = {"access": {"file": f"{node}/file"}, "sshd": {"drop_in": f"{node}/no"}}
    assert len(_slurm_pam_preflight.findings(*given(**sections))["problems"]) == 1
    assert asked == []
    (node / "file").write_text(ACCESS)
    assert _slurm_pam_preflight.findings(*given(**sections))["problems"] == []
    assert len(asked) == 1
