"""Sessions keep the modules that they need."""

import pytest
from looks import given

from _slurm_pam_session import removed


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
