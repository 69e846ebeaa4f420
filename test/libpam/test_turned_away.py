"""The node's own account rules that turn away users with a job, asked of this machine's own modules."""

import pytest

import _child
import _pam_ask
import _pam_libpam
import _slurm_pam_jobs
from _slurm_pam_turned_away import turned_away

GATE = (
    "account [success=1 default=ignore] pam_access.so accessfile={top}/ours.conf\n"
    "account required pam_slurm_adopt.so\n"
)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What the look tells of an account stack; the owners of jobs are daemon and games, or nobody is one."""
    libpam = {**_pam_libpam.node_libpam(), "confdirs": [str(tmp_path)], "debian": False}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)

    def told(rules, owners=("daemon", "games"), **files):
        jobs = [{"job": number, "user": user, "extern": True} for number, user in enumerate((*owners, "root", None))]
        monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: jobs if owners else [])
        for name, text in {"ours": "- : ALL : ALL\n", **files}.items():
            (tmp_path / f"{name}.conf").write_text(text)
        gate = GATE.format(top=tmp_path)
        (tmp_path / "slurm-common-account").write_text(gate + "account substack common-account\n")
        (tmp_path / "common-account").write_text(rules.format(top=tmp_path))
        (tmp_path / "sshd").write_text("account include slurm-common-account\n")
        ours = {"path": f"{tmp_path}/slurm-common-account", "contents": ""}
        found = list(turned_away({"pam": {"service": "sshd"}}, {"pam": {"files": [ours]}}))
        assert all(finding.kind == "warnings" and finding.why and finding.do for finding in found)
        return [finding.found.replace(f"{tmp_path}/", "") for finding in found]

    return told


DEBIAN = (
    "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n"
    "account requisite pam_deny.so\naccount required pam_permit.so\n"
)
ACCESS = "account required pam_access.so accessfile={top}/site.conf\n"
LISTED = "account required pam_listfile.so item=user "
BOTH = "daemon, games, with a job on this node"


@pytest.mark.parametrize(
    ("rules", "site", "whom"),
    [
        (ACCESS, "+ : admin : ALL\n- : ALL : ALL\n", BOTH),
        (ACCESS, "+ : daemon : ALL\n- : ALL : ALL\n", "games, with a job on this node"),
        (ACCESS, "+ : (daemon) games : ALL\n- : ALL : ALL\n", None),
        (ACCESS, "+ : ALL : 127.0.0.0/8\n- : ALL : ALL\n", None),
        (ACCESS, "- : ALL : 192.0.2.0/24\n", None),
        (ACCESS, "", None),
        ("account required pam_succeed_if.so quiet uid > 100000\n", "", BOTH),
        ("account sufficient pam_succeed_if.so quiet uid < 1000\naccount required pam_deny.so\n", "", None),
        (LISTED + "sense=allow file={top}/site.conf\n", "games\n", "daemon, with a job on this node"),
        (LISTED + "sense=deny file={top}/site.conf\n", "root\n", None),
        ("account required pam_wheel.so group=games\n", "", BOTH),
        ("account sufficient pam_localuser.so\n" + ACCESS, "- : ALL : ALL\n", None),
        ("account optional pam_access.so accessfile={top}/site.conf\n", "- : ALL : ALL\n", None),
    ],
)
def test_owners_of_jobs(told, rules, site, whom):
    found = told(rules + DEBIAN, site=site)
    if whom is None:
        assert found == []
    else:
        (text,) = found
        assert text.startswith(f"common-account:1 ({rules.partition('{')[0].strip()}")
        assert text.endswith(f" turns away {whom}")


@pytest.mark.parametrize(("site", "count"), [("- : ALL : ALL\n", 1), ("+ : ALL : ALL\n", 0), ("- : games : ALL\n", 0)])
def test_without_jobs_one_is_asked_for_whom_nobody_names(told, site, count):
    found = told(ACCESS + DEBIAN, owners=(), site=site)
    assert len(found) == count
    assert all("turns away nobody, whom it does not name" in text for text in found)


def test_no_child_where_no_rule_judges(told, monkeypatch):
    def ask(*words, **how):
        raise AssertionError(words)

    monkeypatch.setattr(_child, "ask", ask)
    assert told(DEBIAN) == []
    assert told("account required pam_deny.so\n" + DEBIAN) == []  # the proof tells


def test_a_rule_that_does_not_answer_is_a_finding(told, monkeypatch):
    said = _pam_ask.Said(None, "no answer within 5 seconds")
    monkeypatch.setattr(_pam_ask, "_asked", lambda rules, *_: [said] * len(rules))
    (found,) = told(ACCESS + DEBIAN, site="")
    assert found == "pam_access.so could not be asked whom it lets in: no answer within 5 seconds"


def test_an_account_that_has_expired_is_its_users_own_matter(told, monkeypatch):
    real = _pam_ask._asked

    def asked(rules, *who):
        told = real(rules, *who)
        return [_pam_ask.Said("acct_expired") if "pam_unix" in rule else said for rule, said in zip(rules, told)]

    monkeypatch.setattr(_pam_ask, "_asked", asked)
    assert told(ACCESS + DEBIAN.replace("[success=1 new_authtok_reqd=done default=ignore]", "required"), site="") == []
