"""Sessions keep the modules that they need."""

import pytest
from looks import given

import _pam_libpam
from _slurm_pam_session import kept, removed


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("pam_unix.so", "problems"),
        ("/usr/lib64/security/pam_unix.so", "problems"),
        ("pam_selinux.so", "problems"),
        ("pam_loginuid.so", "problems"),
        ("pam_limits.so", "problems"),
        ("pam_namespace.so", "problems"),
        ("pam_keyinit.so", "warnings"),
        ("pam_sss.so", "warnings"),
        ("pam_systemd.so", None),
        ("pam_cgfs.so", None),
        ("pam_lastlog.so", None),
        ("pam_unix.so.so", None),
    ],
)
def test_a_module_that_a_session_needs_is_named(module, kind):
    found = list(removed(*given(pam={"session_remove": ["pam_systemd.so", module]})))
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert finding.found == f"slurm_pam:pam:session_remove names {module}, which a session needs"
        assert finding.why.startswith("Without it, ") and finding.do


@pytest.mark.parametrize(
    ("text", "keep", "told"),
    [
        ("session required pam_unix.so\n-session optional pam_systemd.so\n", ["pam_systemd.so"], False),
        ("session required pam_unix.so\n", ["pam_systemd.so"], True),
        ("# session optional pam_systemd.so\nauth optional pam_systemd.so\n", ["pam_systemd.so"], True),
        ("session required pam_unix.so\n", [], False),
        (None, ["pam_systemd.so"], False),
    ],
)
def test_a_module_that_nobody_has_is_nothing_to_keep(tmp_path, monkeypatch, text, keep, told):
    path = tmp_path / "common-session"
    monkeypatch.setattr(_pam_libpam, "locate", lambda name: str(path) if text else None)
    path.write_text(text or "")
    found = list(kept(*given(pam={"session_keep": keep})))
    assert [(finding.kind, finding.found) for finding in found] == [
        ("warnings", f"{path} has no pam_systemd.so that administrators could keep (slurm_pam:pam:session_keep)")
    ] * told
