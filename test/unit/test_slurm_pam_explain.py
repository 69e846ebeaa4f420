"""What each module is taken to answer, and what explain adds to it."""

from types import SimpleNamespace

import pytest
from harness.source import load


@pytest.fixture
def explain():
    return load("_modules/slurm_pam_explain.py", __salt__={})


def jobs(*numbers, extern=True):
    return [{"job": number, "user": "alice", "extern": extern} for number in numbers]


DENY = {"action_unknown": "deny"}


@pytest.mark.parametrize(
    ("mine", "options", "answer", "said"),
    [
        ([], {}, "perm_denied", []),
        ([], {"action_no_jobs": "ignore"}, "ignore", []),
        (jobs(7), {}, "success", []),
        (jobs(7), DENY, "success", []),
        (jobs(7, extern=False), {}, "perm_denied", ["Job 7 has no extern step"]),
        (jobs(7, extern=False) + jobs(8), DENY, "success", ["Job 7 has no extern step"]),
        (jobs(7, 8), {}, "success", []),
        (jobs(7, 8), {"action_unknown": "newest"}, "success", []),
        (jobs(7, 8), {"action_unknown": "allow"}, "success", []),
        (jobs(7, 8), DENY, "perm_denied", ["cannot tell"]),
    ],
)
def test_what_pam_slurm_adopt_makes_of_jobs(explain, mine, options, answer, said):
    told, notes = explain._adopted(mine, options)
    assert told == answer
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


def test_what_it_cannot_tell_apart_is_named(explain):
    _, (note,) = explain._adopted(jobs(7, 8), DENY)
    assert "jobs 7, 8" in note and "slurm_pam:pam_slurm_adopt:action_unknown is deny" in note


def resolve(host, port):
    """The addresses that a resolver without a network knows."""
    if not host[0].isdigit() and host != "localhost":
        raise OSError
    return [(None, None, None, None, ("127.0.0.1" if host == "localhost" else host, port))]


ACCESS = """\
# - : bob : ALL
+ : root : 192.0.2.0/24 localhost
+ : (hpc_admin_g) : 192.0.2.0/24
+ : carol : 198.51.100.1 .example.org
+ : dave : all
- : All : ALL
"""


@pytest.mark.parametrize(
    ("user", "groups", "origin", "by_name", "line"),
    [
        ("root", [], "192.0.2.9", False, 1),
        ("root", [], "127.0.0.1", False, 1),
        ("root", [], "203.0.113.1", False, 5),
        ("ann", ["users", "hpc_admin_g"], "192.0.2.1", False, 2),
        ("hpc_admin_g", ["users"], "192.0.2.1", False, 5),
        ("carol", [], "198.51.100.1", False, 3),
        ("carol", [], "Login.Example.org", True, 3),
        # Without UseDNS pam_access is told the address.
        ("carol", [], "login.example.org", False, 5),
        ("dave", [], "203.0.113.1", False, 4),
    ],
)
def test_the_rule_of_the_access_file(explain, tmp_path, user, groups, origin, by_name, line):
    (tmp_path / "access.conf").write_text(ACCESS)
    explain.socket = SimpleNamespace(getaddrinfo=resolve)
    told = explain._access_rule(str(tmp_path / "access.conf"), user, groups, origin, by_name)
    assert told == ACCESS.splitlines()[line]


SSHD = {"usedns": ["no"], "port": ["22"]}


def logged_in(explain, mine, module="pam_slurm_adopt", options="", refusal=None):
    """What login says of alice with these jobs, on a node whose only rule is Slurm's."""
    rule = {"module": f"{module}.so", "args": options.split()}
    asked = []

    def decide(service, calls, answer):
        code = answer(rule, "acct_mgmt")
        cited = {"file": "/etc/pam.d/sshd", "line": 3, "rule": f"account required {module}.so", "answer": code}
        trace = [{**cited, "why": "It counts.", "impression": "positive", "status": code}]
        return [{"code": "success" if code == "success" else "perm_denied", "trace": trace}]

    def effective(config, connection=None):
        asked.append(connection)
        return SSHD

    explain.pwd = SimpleNamespace(getpwnam=lambda name: SimpleNamespace(pw_name=name, pw_uid=1000, pw_gid=1000))
    explain.__salt__ = {
        "pam_verdict.decide": decide,
        "slurm_pam.jobs": lambda: [*mine, {"job": 99, "user": "bob", "extern": True}],
        "slurm_pam_sshd.connection": lambda user, origin, values: f"{user} from {origin}, {values['port']}",
        "slurm_pam_sshd.group_names": lambda user: ["users"],
        "slurm_pam_sshd.refusal": lambda user, groups, values, origin: refusal,
        "sshd_config.effective": effective,
    }
    settings = {"module": module, "sshd": {"config": None}, "pam": {"service": "sshd"}}
    told = explain.login("alice", "192.0.2.1", {**settings, "access": {"file": "/nonexistent"}})
    assert asked == [None, "alice from 192.0.2.1, ['22']"]
    return told


def test_a_job_without_an_extern_step_counts_to_the_older_module_only(explain):
    mine = jobs(7, extern=False) + jobs(8)
    assert logged_in(explain, mine)["jobs"] == [8]
    assert logged_in(explain, mine, "pam_slurm")["jobs"] == [7, 8]
    told = logged_in(explain, jobs(7, extern=False))
    assert (told["permitted"], told["jobs"]) == (False, [])
    assert told["why"].endswith("Job 7 has no extern step, and is none to pam_slurm_adopt.")
    assert logged_in(explain, jobs(7, extern=False), "pam_slurm")["permitted"]


def test_several_jobs_that_slurm_cannot_tell_apart(explain):
    told = logged_in(explain, jobs(7, 8), options="action_unknown=deny")
    assert (told["permitted"], told["jobs"]) == (False, [7, 8])
    assert "cannot tell to which of them the login belongs" in told["why"]
    assert logged_in(explain, jobs(7), options="action_unknown=deny")["permitted"]


def test_sshd_comes_first(explain):
    told = logged_in(explain, jobs(7), refusal="sshd has denyusers alice")
    assert (told["permitted"], told["why"]) == (False, "sshd has denyusers alice")
