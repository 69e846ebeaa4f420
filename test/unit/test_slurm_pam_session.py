"""Sessions keep the modules that they need."""

import subprocess

import pytest
from looks import given

import _child
import _pam_libpam
import _slurm_pam_record
from _slurm_pam_session import kept, left_by_su, removed, shutdown


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


@pytest.mark.parametrize(
    ("version", "logind", "masked", "kept_from", "found"),
    [
        ("systemd 257 (257.13-1~deb13u1)", "mask", False, 256, "slurm_pam:logind is 'mask', and this is systemd 257"),
        ("systemd 257 (257.13-1~deb13u1)", "mask", True, 256, "slurm_pam:logind is 'mask', and this is systemd 257"),
        ("systemd 249 (249.17+suse.1)", "mask", False, 240, "slurm_pam:logind is 'mask', and this is systemd 249"),
        ("systemd 258~rc1", "keep", True, 240, "systemd-logind is masked here, by an earlier apply or by hand"),
        ("systemd 240", "mask", False, 240, "slurm_pam:logind is 'mask', and this is systemd 240"),
        ("systemd 239 (239-82.el8)", "mask", True, 240, None),
        ("systemd 252 (252.39-1~deb12u2)", "mask", False, 256, None),
        ("systemd 257", "keep", False, 240, None),
        # Whoever asks for it starts it.
        ("systemd 257", "stop", False, 240, None),
        ("", "mask", False, 240, "systemd did not say which release it is"),
        ("systemd unknown", "mask", False, 240, "systemd did not say which release it is"),
    ],
)
def test_a_shutdown_that_would_not_wait_is_told(monkeypatch, version, logind, masked, kept_from, found):
    monkeypatch.setattr(_slurm_pam_record, "is_masked", lambda: masked)
    monkeypatch.setattr(_child, "ask", lambda *words: subprocess.CompletedProcess(words, 0, version, ""))
    told = list(shutdown(*given(logind=logind, logind_kept_from=kept_from)))
    assert len(told) == bool(found)
    for finding in told:
        assert finding.found.startswith(found) and finding.kind == "warnings"
        assert "`shutdown -r +60` reboots at once" in finding.why and "slurm_pam:logind: keep" in finding.do
        assert ("systemctl unmask --now systemd-logind" in finding.do) is (logind == "keep")


SU = {"su": "session include common-session\n", "su-l": "session include common-session\n", "sudo": ""}
# As on Debian
SU_L_IS_SU = {**SU, "su-l": "session include su\n"}
SYSTEMD = "-session optional pam_systemd.so\n"


@pytest.mark.parametrize(
    ("common", "programs", "logind", "doors", "told"),
    [
        (SYSTEMD, ("su", "sudo"), "keep", {}, "su, su-l"),
        (SYSTEMD, ("su", "sudo"), "keep", {"su": "close"}, "su-l"),
        (SYSTEMD, ("su", "sudo"), "keep", {"su": "leave", "su-l": "close"}, None),
        (SYSTEMD, ("sudo",), "keep", {}, None),
        (SYSTEMD, ("su",), "mask", {}, None),
        (SYSTEMD, ("su",), "stop", {}, None),
        ("session required pam_unix.so\n", ("su", "sudo"), "keep", {}, None),
        ("# " + SYSTEMD + "auth optional pam_systemd.so\n", ("su",), "keep", {}, None),
    ],
)
@pytest.mark.parametrize("files", [SU, SU_L_IS_SU])
def test_what_takes_people_out_of_their_job_is_told(
    tmp_path, monkeypatch, files, common, programs, logind, doors, told
):
    libpam = {"version": "1.5.2", "debian": False, "confdirs": [str(tmp_path)], "module_dirs": []}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    monkeypatch.setattr(_child, "which", lambda program: f"/usr/bin/{program}" if program in programs else None)
    for name, text in {**files, "common-session": common, "other": "session required pam_deny.so\n"}.items():
        (tmp_path / name).write_text(text)
    told = told if files is SU or "su" not in doors else None
    settings, wanted = given(logind=logind)
    found = list(left_by_su({**settings, "doors": doors}, wanted))
    assert [(finding.kind, finding.found) for finding in found] == [
        ("warnings", f"The session rules of {told} have pam_systemd.so, and logind is kept")
    ] * bool(told)
