"""What is said of this machine's own libpam."""

import os
import platform

import _pam_libpam


def test_this_nodes_libpam():
    found = _pam_libpam.libpam()
    assert found["confdirs"][0] == "/etc/pam.d"
    assert all(os.path.isabs(directory) for directory in found["module_dirs"])
    assert any(os.path.isfile(f"{directory}/pam_unix.so") for directory in found["module_dirs"])
    release = platform.freedesktop_os_release()
    if release["ID"] == "debian":
        expected = {"11": "1.4.0", "12": "1.5.0", "13": "1.6.0"}[release["VERSION_ID"]]
        assert (found["version"], found["debian"]) == (expected, True)
    found["confdirs"].clear()
    assert _pam_libpam.libpam()["confdirs"]
