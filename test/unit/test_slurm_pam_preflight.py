"""The pure parts of the preflight: what values mean, without a node."""

import subprocess
from types import SimpleNamespace

import pytest
from harness.source import load
from salt.exceptions import CommandExecutionError


@pytest.fixture
def preflight():
    return load("_modules/slurm_pam_preflight.py", __salt__={})


@pytest.mark.parametrize(
    ("libslurm", "slurmd", "count"),
    [
        *((36, "20.11.9", 0), (38, "22.05.8", 0), (41, "24.05.2", 0), (42, "24.11.5", 0)),
        *((43, "25.05.3", 0), (44, "25.11.2", 0)),
        *((38, "24.11.5", 1), (42, "22.05.8", 1), (42, "25.05.3", 1), (43, "25.11.0", 1), (99, None, 0)),
    ],
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


SCONTROL, FILE = "scontrol show config", "/etc/slurm/slurm.conf"
ENFORCED = {
    **ENFORCE,
    "slurm": {
        "manage": "enforce",
        "conf": None,
        "settings": {"PrologFlags": ["Contain"], "TaskPlugin": ["task/cgroup"], "ProctrackType": None, "Other": "1"},
        "use_pam": True,
    },
    "packages": {"manage": True, "node": "slurm-node"},
}


def lacking(source, *keys):
    def check(wanted, path, timeout):
        assert wanted == {"PrologFlags": ["Contain"], "TaskPlugin": ["task/cgroup"]}
        return [{"key": key, "wanted": wanted[key], "found": "none", "source": source} for key in keys]

    return check


@pytest.mark.parametrize(
    ("source", "keys", "closed", "kinds"),
    [
        (SCONTROL, ["PrologFlags", "TaskPlugin"], False, ["problems"]),
        (SCONTROL, ["PrologFlags", "TaskPlugin"], True, ["warnings"]),
        (SCONTROL, [], False, []),
        # slurmctld does not answer, and the file is going to be right.
        (FILE, ["PrologFlags", "TaskPlugin"], False, []),
    ],
)
def test_what_is_going_to_be_written_is_not_in_force_yet(preflight, source, keys, closed, kinds):
    stack = STACK if closed else {"types": {"account": []}}
    preflight.__salt__ = {
        "slurm_conf.plan": lambda wanted, path: {},
        "slurm_conf.check": lacking(source, *keys),
        "pam_stack.expand": lambda service: stack,
    }
    preflight._slurmd = lambda: "/usr/sbin/slurmd"
    found = list(preflight._slurm_conf(ENFORCED))
    assert [finding.kind for finding in found] == kinds
    for finding in found:
        assert all(f"{key} is none (scontrol show config)" in finding.found for key in keys)
        assert "slurm_pam:slurm:manage is enforce" in finding.found
        assert "restart slurmctld and every slurmd" in finding.do and "slurm_pam:mode: adopt" in finding.do


@pytest.mark.parametrize("changed", [{"mode": "adopt"}, {"module": "pam_slurm"}])
def test_what_is_not_in_force_does_not_matter_where_nobody_is_turned_away_for_it(preflight, changed):
    preflight.__salt__ = {"slurm_conf.plan": lambda wanted, path: {}}  # and slurmctld is not even asked
    preflight._slurmd = lambda: "/usr/sbin/slurmd"
    assert list(preflight._slurm_conf({**ENFORCED, **changed})) == []


# Users and groups as the node knows them, whatever they come from


USERS = {name: SimpleNamespace(pw_name=name, pw_gid=gid) for name, gid in {"root": 0, "ann": 50, "ben": 50}.items()}
GROUPS = {
    "local": SimpleNamespace(gr_gid=10, gr_mem=["ann"]),
    "ldap": SimpleNamespace(gr_gid=20, gr_mem=["ann"]),
    "unlisted": SimpleNamespace(gr_gid=30, gr_mem=[]),
    "primary": SimpleNamespace(gr_gid=50, gr_mem=[]),
    "crowd": SimpleNamespace(gr_gid=60, gr_mem=[f"user{number}" for number in range(30)]),
}


@pytest.fixture
def directory(preflight):
    """A node that has the group local from /etc/group, and the others from a directory service."""
    users = {**USERS, **{name: SimpleNamespace(pw_name=name, pw_gid=99) for name in GROUPS["crowd"].gr_mem}}
    preflight.pwd = SimpleNamespace(getpwnam=users.__getitem__, getpwall=lambda: list(users.values()))
    preflight.grp = SimpleNamespace(getgrnam=GROUPS.__getitem__)
    preflight._local_groups = lambda: {"local"}
    return preflight


@pytest.mark.parametrize(
    ("name", "group", "kinds"),
    [
        ("ldap", {"members": ["ann", "ben"]}, ["problems"]),
        ("ldap", {"members": ["ann"], "gid": 21}, ["problems"]),
        ("unlisted", {"members": ["ann"]}, ["problems"]),
        # Nothing would be done to it, as long as it is there.
        ("ldap", {"members": ["ann"], "gid": 20}, ["warnings"]),
        ("ldap", {}, ["warnings"]),
        ("local", {"members": ["ben"], "gid": 11}, []),
        ("new", {"members": ["ben"]}, []),
    ],
)
def test_a_local_group_that_is_none(directory, name, group, kinds):
    found = list(directory._not_completed(name, group))
    assert [finding.kind for finding in found] == kinds
    assert all(f"slurm_pam:access:groups:{name}:local is true" in finding.found for finding in found)
    assert all(f"slurm_pam:access:groups:{name}:local: false" in finding.do for finding in found)
    assert all("groupmod and usermod cannot" in finding.why for finding in found if finding.kind == "problems")


@pytest.mark.parametrize(
    ("name", "group", "doubt"),
    [
        ("ldap", {"local": False}, None),
        ("unlisted", {"local": False}, None),
        ("unlisted", {}, "it has no member that this node knows"),
        ("primary", {}, None),
        ("gone", {"local": False}, "this node knows no such group"),
        ("gone", {"members": ["ann"]}, None),
        ("gone", {"members": ["zoe"]}, "it has no member that this node knows"),
    ],
)
def test_whether_anybody_is_behind_a_group(directory, name, group, doubt):
    assert directory._group_doubt(name, group) == doubt


@pytest.mark.parametrize(
    ("groups", "people", "others"),
    [
        ({}, {}, False),
        ({"local": ["192.0.2.1"], "ldap": ["192.0.2.2"]}, {"ann": ["192.0.2.1", "192.0.2.2"]}, False),
        ({"primary": ["ALL"]}, {"ann": ["ALL"], "ben": ["ALL"]}, False),
        ({"unlisted": ["ALL"]}, {}, True),
        ({"gone": ["ALL"]}, {}, False),
        ({"crowd": ["ALL"]}, {f"user{number}": ["ALL"] for number in range(20)}, True),
    ],
)
def test_the_people_who_must_not_be_locked_out(directory, groups, people, others):
    access = {
        "root": ["192.0.2.9"],
        "users": {"zoe": {"origins": ["ALL"]}, "out": None},
        "groups": {"out": None, **{name: {"origins": origins, "local": False} for name, origins in groups.items()}},
    }
    assert directory._people(access) == ({"root": ["192.0.2.9"], **people}, others)


# The PAM files


MARKER = "# ours"
PAM = {"replace": False, "account_base": "substack", "service": "sshd"}
FILES = [
    {"path": "/etc/pam.d/slurm-common-account-pc", "contents": "x\n"},
    {"path": "/etc/pam.d/slurm-common-account", "link": "slurm-common-account-pc"},
    {"path": "/etc/pam.d/sshd", "changes": []},
]


@pytest.fixture
def files(preflight):
    """What stands at each path."""
    there = {}
    preflight.__salt__ = {
        "slurm_pam_plan.stacks": lambda settings: {"files": FILES, "policy": ["some"]},
        "slurm_pam_plan.service_file": lambda: {"path": "/etc/pam.d/slurm", "contents": "x\n"},
        "slurm_pam_plan.marker": lambda: MARKER,
        "file_transaction.read": there.get,
    }
    return there


@pytest.mark.parametrize(
    ("found", "count"),
    [
        ({}, 0),
        ({"/etc/pam.d/sshd": "of the distribution\n"}, 0),
        ({"/etc/pam.d/slurm": f"{MARKER}\nx\n", "/etc/pam.d/slurm-common-account": {"link": "other"}}, 0),
        ({"/etc/pam.d/slurm": "of the package\n"}, 1),
        ({"/etc/pam.d/slurm": {"link": "elsewhere"}}, 1),
        ({"/etc/pam.d/slurm-common-account-pc": "x\n", "/etc/pam.d/slurm-common-account": "x\n"}, 2),
    ],
)
def test_files_of_somebody_else(preflight, files, found, count):
    files.update(found)
    settings = {"pam": PAM, "slurm": {"use_pam": True}}
    told = list(preflight._not_ours(settings))
    assert len(told) == count
    assert all("slurm_pam:pam:replace: true" in finding.do for finding in told)
    assert all(finding.found.split()[0] in found for finding in told)
    assert list(preflight._not_ours({**settings, "pam": {**PAM, "replace": True}})) == []
    without = [finding.found.split()[0] for finding in preflight._not_ours({**settings, "slurm": {"use_pam": False}})]
    assert "/etc/pam.d/slurm" not in without


UNPROVEN = "The new PAM files would not do what they should. Nothing was written.\n- a: b."


@pytest.mark.parametrize("base", ["substack", "copy"])
def test_a_proof_that_fails_is_told_as_it_is(preflight, files, base):
    asked = []

    def plan(files, policy=None, marker=None, replace=None):
        asked.append((files, policy, marker, replace))
        if policy:
            raise CommandExecutionError(UNPROVEN)
        return [{"path": "/x", "before": "", "after": "a"}]

    preflight.__salt__["pam_stack.plan"] = plan
    preflight._stacks = preflight._policy = lambda settings: []
    settings = {"pam": {**PAM, "account_base": base}, "slurm": {"use_pam": False}}
    (finding,) = preflight._pam_files(settings)
    assert asked == [(FILES, None, MARKER, False), (FILES, ["some"], MARKER, False)]
    assert finding.kind == "problems"
    hint = (
        "\nWith slurm_pam:pam:account_base: substack, nothing in the node's own rules can end the stack ahead of ours"
    )
    assert finding.text() == UNPROVEN + (hint if base == "copy" else "")


def test_where_nothing_is_to_be_written_nothing_is_proven_ahead(preflight, files):
    asked = []

    def plan(files, policy=None, **_):
        asked.append(policy)
        return [{"path": "/x", "before": "a", "after": "a"}]

    preflight.__salt__["pam_stack.plan"] = plan
    preflight._stacks = preflight._policy = lambda settings: []
    assert list(preflight._pam_files({"pam": {**PAM, "account_base": "copy"}, "slurm": {"use_pam": False}})) == []
    assert asked == [None]


@pytest.mark.parametrize("look", ["_stacks", "_not_ours", "_policy"])
def test_what_cannot_be_made_is_not_proven(preflight, look):
    finding = preflight.Finding("found", "why", "do")
    for name in ("_stacks", "_not_ours", "_policy", "_proof"):
        setattr(preflight, name, lambda settings, name=name: [finding] if name in (look, "_proof") else [])
    assert list(preflight._pam_files({})) == [finding]


# Programs that hang


def test_a_program_that_hangs_has_said_nothing(preflight):
    done = preflight._run("sleep", "60", timeout=1)
    assert (done.returncode != 0, done.stdout, done.stderr) == (True, "", "no answer within 1 seconds")


def test_a_module_whose_loading_hangs_is_told(preflight):
    preflight._run = lambda *words: subprocess.CompletedProcess(words, 1, "", "no answer within 30 seconds")
    (finding,) = preflight._unusable(["/lib/security/pam_x.so"])
    assert finding.found == "Loading /lib/security/pam_x.so failed: no answer within 30 seconds"


def test_each_finding_says_what_why_and_what_to_do(preflight):
    checks = ("_role", "_modules", "_slurm_conf", "_jobs", "_administrators", "_sshd", "_pam_files")
    for number, name in enumerate(checks):
        kind = "warnings" if number % 2 else "problems"
        finding = preflight.Finding(f"found {name}", "why", "do", kind)
        setattr(preflight, name, lambda settings, finding=finding: [finding])
    told = preflight.findings({"mode": "enforce"})
    assert told["problems"] == [f"found {name}. why. do" for name in checks[::2]]
    assert told["warnings"] == [f"found {name}. why. do" for name in checks[1::2]]
