"""PAM modules are loaded as this machine's own libpam would load them."""

import pytest

import _pam_libpam
from _slurm_pam_modules import unusable


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A directory in which libpam looks ahead of its own."""
    directories = [str(tmp_path), *_pam_libpam.libpam()["module_dirs"]]
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: {"module_dirs": directories})
    return tmp_path


def test_modules_that_load(beside):
    assert unusable({"modules": ["pam_access.so", "pam_succeed_if.so", "pam_unix.so"]}) == []


def test_a_module_that_does_not_load(beside):
    (beside / "pam_access.so").write_bytes(b"no library")
    (text,) = unusable({"modules": ["pam_access.so", "pam_unix.so"]})
    assert text.startswith(f"{beside}/pam_access.so does not load: ")
    assert "Every login would fail. Install what is missing" in text
