"""The pure parts of the preflight: what values mean, without a node."""

import pytest
from harness.source import load


@pytest.fixture
def preflight():
    return load("_modules/slurm_pam_preflight.py", __salt__={})


SSHD = {"usepam": "yes", "pubkeyauthentication": "yes", "passwordauthentication": "no"}
SSHD |= {"kbdinteractiveauthentication": "no", "authenticationmethods": "any"}


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ({"usepam": "no"}, "problems", "UsePAM is no"),
        ({"pamservicename": "ssh-compute"}, "problems", "PAMServiceName is ssh-compute"),
        ({"pubkeyauthentication": "no"}, "problems", "AuthenticationMethods is any, of which no way"),
        ({"authenticationmethods": "keyboard-interactive"}, "problems", "of which no way is left"),
        ({"authenticationmethods": "password publickey,keyboard-interactive:pam"}, "problems", "no way is left"),
        ({"kbdinteractiveauthentication": "yes"}, "warnings", "lets people in by keyboard-interactive"),
        (
            {"kbdinteractiveauthentication": "yes", "authenticationmethods": "publickey,keyboard-interactive"},
            "warnings",
            "lets everybody in by keyboard-interactive",
        ),
    ],
)
def test_values_of_sshd_that_stand_against_it(preflight, values, kind, found):
    (finding,) = preflight._sshd_values({**SSHD, **values}, "sshd")
    assert (finding.kind, found in finding.found) == (kind, True), finding


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pamservicename": "sshd"},
        {"authenticationmethods": "publickey"},
        {"authenticationmethods": "publickey keyboard-interactive"},
        {"authenticationmethods": "gssapi-with-mic", "gssapiauthentication": "yes"},
    ],
)
def test_values_of_sshd_that_are_fine(preflight, values):
    assert list(preflight._sshd_values({**SSHD, **values}, "sshd")) == []


def test_an_sshd_without_pam(preflight):
    values = {name: value for name, value in SSHD.items() if name != "usepam"}
    (finding,) = preflight._sshd_values(values, "sshd")
    assert "not known to this sshd" in finding.found


@pytest.mark.parametrize(
    ("libslurm", "slurmd", "count"),
    [(38, "22.05.8", 0), (36, "20.11.9", 0), (38, "24.11.5", 1), (42, "22.05.8", 1), (99, None, 0)],
)
def test_the_library_of_each_release(preflight, libslurm, slurmd, count):
    preflight.slurm_version = lambda: slurmd
    assert len(list(preflight._of_another_release("/lib/security/x.so", libslurm))) == count


JOBS = [{"job": 7, "user": "alice", "extern": False}, {"job": 8, "user": None, "extern": False}]
JOBS += [{"job": 9, "user": "bob", "extern": True}]
STACK = {"types": {"account": [{"module": "/lib/security/pam_slurm_adopt.so"}, {"module": None}]}}
ENFORCE = {"mode": "enforce", "module": "pam_slurm_adopt", "pam": {"service": "sshd"}}


@pytest.mark.parametrize(("stack", "kind"), [({"types": {"account": []}}, "problems"), (STACK, "warnings")])
def test_jobs_without_an_extern_step(preflight, stack, kind):
    preflight.__salt__ = {"slurm_pam.jobs": lambda: JOBS, "pam_stack.expand": lambda service: stack}
    (finding,) = preflight._jobs(ENFORCE)
    assert finding.kind == kind
    assert finding.found.endswith("without an extern step: 7 of alice, 8 of an unknown user")
    for settings in ({"mode": "adopt"}, {"module": "pam_slurm"}):
        assert list(preflight._jobs({**ENFORCE, **settings})) == []


SLURM = {
    "slurm": {"manage": "check", "conf": None, "settings": {"PrologFlags": ["Contain"], "X": None}, "use_pam": True},
    "packages": {"manage": True, "node": "slurm-node"},
}


def test_slurm_conf_lacks_something(preflight):
    asked = []

    def check(wanted, path, timeout):
        asked.append(wanted)
        return [{"key": "PrologFlags", "wanted": ["Contain"], "found": None, "source": "/etc/slurm/slurm.conf"}]

    preflight.__salt__ = {"slurm_conf.check": check}
    preflight._slurmd = lambda: "/usr/sbin/slurmd"
    (finding,) = preflight._slurm_conf(SLURM)
    assert asked == [{"PrologFlags": ["Contain"], "UsePAM": "1"}]
    assert finding.found == "PrologFlags is not set (/etc/slurm/slurm.conf), and has to contain Contain"
    # Slurm is still to come with a package, or nobody wants to know.
    preflight._slurmd = lambda: None
    assert list(preflight._slurm_conf(SLURM)) == []
    assert list(preflight._slurm_conf({**SLURM, "slurm": {**SLURM["slurm"], "manage": "keep"}})) == []


def test_administrators_that_may_not_exist(preflight):
    access = {
        "root_only": False,
        "users": {"root": {}, "no-such-user": {}, "taken-out": None},
        "groups": {"no-such-group": {"local": False}, "new": {"members": ["root"]}, "empty": {}, "taken-out": None},
    }
    assert dict(preflight._administrator_doubts(access)) == {
        "users:root": None,
        "users:no-such-user": "this node knows no such user",
        "groups:no-such-group": "this node knows no such group",
        "groups:new": None,
        "groups:empty": "it has no member that this node knows",
    }


def test_each_finding_says_what_why_and_what_to_do(preflight):
    checks = ("_role", "_modules", "_slurm_conf", "_jobs", "_administrators", "_sshd", "_stacks", "_policy")
    for number, name in enumerate(checks):
        kind = "warnings" if number % 2 else "problems"
        finding = preflight.Finding(f"found {name}", "why", "do", kind)
        setattr(preflight, name, lambda settings, finding=finding: [finding])
    told = preflight.findings({"mode": "enforce"})
    assert told["problems"] == [f"found {name}. why. do" for name in checks[::2]]
    assert told["warnings"] == [f"found {name}. why. do" for name in checks[1::2]]
