"""Which libpam a node has, told from binaries of all kinds; this machine's own is a test of the part libpam."""

import os

import pytest

import _pam_libpam
from _pam_errors import PamError


@pytest.mark.parametrize(
    "parts, expected",
    [
        ([b"/etc/pam.d/%s", b"/lib64/security/"], ("1.1.0", False, ["/etc/pam.d"])),
        ([b"/usr/lib/pam.d/%s", b"/etc/pam.d/%s"], ("1.2.0", False, ["/etc/pam.d", "/usr/lib/pam.d"])),
        (
            [b"/usr/etc/pam.d/%s", b"/etc/pam.d/%s", b"/usr/lib/pam.d/%s", b"LIBPAM_1.4"],
            ("1.4.0", False, ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"]),
        ),
        ([b"/etc/pam.d/%s", b"@include", b"maximum level of inclusions reached"], ("1.6.0", True, ["/etc/pam.d"])),
    ],
)
def test_a_libpam_is_known_by_its_binary(tmp_path, monkeypatch, parts, expected):
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64/libpam.so.0").write_bytes(b"\x7fELF\0" + b"".join(part + b"\0" for part in parts))
    monkeypatch.setattr(_pam_libpam, "_TOPS", [str(tmp_path)])
    found = _pam_libpam.libpam()
    assert (found["version"], found["debian"], found["confdirs"]) == expected
    assert found["module_dirs"][-1] == str(tmp_path / "lib64/security")


@pytest.mark.parametrize("machine, name", [("ppc64le", "powerpc64le-linux-gnu"), ("armv7l", "arm-linux-gnueabihf")])
def test_a_libpam_where_debian_has_another_word_for_the_processor(tmp_path, monkeypatch, machine, name):
    directory = tmp_path / "lib" / name
    directory.mkdir(parents=True)
    (directory / "libpam.so.0").write_bytes(b"\x7fELF\0/etc/pam.d/%s\0")
    monkeypatch.setattr(_pam_libpam, "_TOPS", [str(tmp_path)])
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", "6", "#1", machine)))
    assert _pam_libpam.libpam()["module_dirs"] == [f"{directory}/security"]
    (directory / "libpam.so.0").unlink()
    with pytest.raises(PamError, match=rf"there is no libpam.so.0 in {tmp_path}/lib/{machine}-linux-gnu"):
        _pam_libpam.libpam()


@pytest.mark.parametrize(
    "version, old",
    [
        ("1.1.0", True),
        ("1.4.99.1", True),
        ("1.5.2-6+deb12u1", True),
        ("1.5.3", True),
        ("1.6", False),
        ("1.6.0", False),
        ("1.10.1", False),
        ("2.0", False),
    ],
)
def test_which_libpams_are_old(version, old):
    assert _pam_libpam.is_old(version) is old


def test_the_first_file_in_the_search_order(tmp_path, monkeypatch):
    etc, vendor = tmp_path / "etc", tmp_path / "vendor"
    here = {"confdirs": [str(etc), str(vendor)]}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: here)
    assert _pam_libpam.locate("x") is None
    for directory in (vendor, etc):
        directory.mkdir()
        (directory / "x").touch()
        assert _pam_libpam.locate("x") == f"{directory}/x"
    assert _pam_libpam.locate(f"{vendor}/x") == f"{vendor}/x"
    assert _pam_libpam.locate("x", {"confdirs": [str(vendor)]}) == f"{vendor}/x"
