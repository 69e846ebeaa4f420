"""slurm_pam.ready on a real node: each thing that stands against closing it is named, before anything is changed."""

import contextlib

import pytest
from harness.formula import EXAMPLE, settings, sync

ADMINS = EXAMPLE["access"]
MODULE = "/lib64/security/pam_slurm_adopt.so"
CONTROLLER = "slurmctld runs on this node"
# What is so on each of these nodes.
USUAL = (CONTROLLER, "Jobs here are not held to", "The PAM service login (")


@contextlib.contextmanager
def changed(node, files, *services):
    """Files of the node, for a while with another text."""
    before = {path: node.read(path) if (node.root / path[1:]).exists() else None for path in files}
    try:
        for path, text in files.items():
            node.write(path, text)
        node.run(["systemctl", "restart", *services]) if services else None
        yield
    finally:
        for path, text in before.items():
            node.run(["rm", "-f", path]) if text is None else node.write(path, text)
        node.run(["systemctl", "restart", *services]) if services else None


def findings(node, **changes):
    """The problems and warnings of this node, but those that are usual."""
    settings(node, **changes)
    found = node.salt("slurm_pam.preflight")
    assert [told for told in found["warnings"] if told.startswith(CONTROLLER)]
    return found["problems"], [told for told in found["warnings"] if not told.startswith(USUAL)]


def refused(node, *words, **changes):
    """That the one problem of this node has these words and stops an apply that changes nothing."""
    problems, _ = findings(node, **changes)
    assert len(problems) == 1, problems
    assert all(word in problems[0] for word in words), problems
    # What was found, why it matters and what to do.
    assert problems[0].count(". ") >= 2
    return problems[0]


def test_a_good_node_has_no_problem_and_is_warned_of_its_controller(open_node):
    assert findings(open_node) == ([], [])
    results = open_node.salt("state.apply", "slurm_pam.ready", test=True)
    (ready,) = (result for result in results.values() if result["__id__"] == "slurm_pam-ready")
    assert (ready["result"], ready["changes"]) == (True, {})
    assert [told for told in ready["warnings"] if told.startswith(CONTROLLER)]


def test_all_problems_at_once_and_nothing_changed(open_node):
    users = {"access": {"users": {"nobody-here": {"origins": ["ALL"]}}}, "pam": {"account_source": "password-auth"}}
    settings(open_node, **users, slurm={"settings": {"TaskPlugin": ["task/affinity"]}})
    before = open_node.snapshot("/etc")
    results = open_node.salt("state.apply", "slurm_pam")
    assert open_node.snapshot("/etc") == before
    (failed,) = (result for result in results.values() if result["result"] is False)
    assert failed["__id__"] == "slurm_pam-ready"
    for word in ("slurm_pam:access:users:nobody-here", "TaskPlugin is task/cgroup", "does not name password-auth"):
        assert word in failed["comment"], failed


def test_a_module_that_does_not_load(open_node):
    open_node.run(["mv", MODULE, f"{MODULE}.away"], check=True)
    open_node.write(MODULE, "no module\n")
    try:
        refused(open_node, "pam_slurm_adopt.so does not load: ", "file too short")
    finally:
        open_node.run(["mv", f"{MODULE}.away", MODULE], check=True)


def test_a_module_that_a_package_will_bring_is_no_problem(open_node):
    open_node.run(["mv", MODULE, f"{MODULE}.away"], check=True)
    try:
        assert findings(open_node) == ([], [])
        refused(open_node, "pam_slurm_adopt.so is in none of the directories", packages={"manage": False})
    finally:
        open_node.run(["mv", f"{MODULE}.away", MODULE], check=True)


def test_a_module_of_another_release_than_slurmd(open_node):
    with changed(open_node, {"/usr/local/sbin/slurmd": "#!/bin/sh\necho slurm 24.11.5\n"}):
        open_node.run(["chmod", "755", "/usr/local/sbin/slurmd"], check=True)
        refused(open_node, "uses libslurm 38, but slurmd is 24.11.5, whose libslurm is 42")


@pytest.mark.parametrize("slurmctld", ["up", "down"])
def test_jobs_without_an_extern_step(open_node, slurmctld):
    """The job starts while Contain is not set, as it did before somebody set it."""
    before = open_node.read("/etc/slurm/slurm.conf")
    try:
        with changed(open_node, {"/etc/slurm/slurm.conf": before.replace("PrologFlags", "#")}, "slurmctld", "slurmd"):
            job = _job(open_node)
        contained = _job(open_node)
        if slurmctld == "down":
            open_node.run(["systemctl", "stop", "slurmctld"], check=True)
            settings(open_node)
            (problem,) = open_node.salt("slurm_pam.preflight")["problems"]
        else:
            problem = refused(open_node, "PrologFlags=Contain")
        assert f"without an extern step: {job} of alice. " in problem
        assert "mode: adopt" in problem and f"{contained} of" not in problem
        if slurmctld == "up":
            assert findings(open_node, mode="adopt") == ([], [])
    finally:
        open_node.run(["systemctl", "start", "slurmctld"], check=True)
        open_node.run(["scancel", "--user=alice"], check=True)
        open_node.until(lambda: not open_node.run(["squeue", "--noheader"]).stdout, "no job")


def test_a_slurmctld_that_hangs(open_node):
    """The file says what it does not, which is told, and nothing waits for it without end."""
    open_node.run(["systemctl", "kill", "--kill-whom=main", "--signal=STOP", "slurmctld"], check=True)
    try:
        problems, warnings = findings(open_node)
        assert problems == []
        assert [told.partition(" (")[0] for told in warnings] == [
            "slurmctld did not say what it runs with",
            "slurmctld did not say what it knows of this node",
        ]
    finally:
        open_node.run(["systemctl", "kill", "--kill-whom=main", "--signal=CONT", "slurmctld"], check=True)


def test_what_enforce_writes_is_not_in_force_yet(open_node):
    before = open_node.read("/etc/slurm/slurm.conf")
    lacking = before.replace("PrologFlags=Contain", "PrologFlags=Alloc")
    try:
        with changed(open_node, {"/etc/slurm/slurm.conf": lacking}, "slurmctld", "slurmd"):
            _idle(open_node)
            enforce = {"slurm": {"manage": "enforce"}}
            refused(open_node, "PrologFlags is Alloc (scontrol show config)", "restart slurmctld and every", **enforce)
            assert findings(open_node, mode="adopt", **enforce) == ([], [])
            # The file is right now, and what runs still is not.
            open_node.write("/etc/slurm/slurm.conf", before)
            refused(open_node, "slurm_pam:slurm:manage is enforce", "slurm_pam:mode: adopt until then", **enforce)
    finally:
        _idle(open_node)
    assert findings(open_node, **enforce) == ([], [])


def _idle(node):
    node.until(lambda: node.run(["sinfo", "--noheader", "--format=%T"]).stdout.split() in (["idle"], ["mixed"]), "idle")


def _job(node):
    """A job of alice's, once Slurm takes jobs again after its restart."""
    _idle(node)
    return node.job("alice")


ACCESS = {
    "a user that is not there": (
        {"users": {"nobody-here": {"origins": ["ALL"]}}},
        ["No administrator exists", "slurm_pam:access:users:nobody-here: this node knows no such user", "root_only"],
    ),
    "a group without members": (
        {"groups": {"empty_g": {"origins": ["ALL"]}}},
        ["No administrator exists", "slurm_pam:access:groups:empty_g: it has no member that this node knows"],
    ),
    "a group of LDAP that does not answer": (
        {"groups": {"ldap_g": {"origins": ["ALL"], "local": False}}},
        ["No administrator exists", "slurm_pam:access:groups:ldap_g: this node knows no such group", "SSSD"],
    ),
    "a member that is not there": (
        {"groups": {"hpc_admin_g": {"origins": ["ALL"], "members": ["admin", "nobody-here"]}}},
        ["slurm_pam:access:groups:hpc_admin_g:members has nobody-here", "could not be completed"],
    ),
}


@pytest.mark.parametrize("case", ACCESS)
def test_an_administrator_who_does_not_exist(open_node, case):
    access, told = ACCESS[case]
    refused(open_node, *told, access=access)


def test_one_administrator_who_exists_is_enough(open_node):
    access = {"users": {"nobody-here": {"origins": ["ALL"]}, "admin": {"origins": ["ALL"]}}}
    problems, (warning,) = findings(open_node, access=access)
    assert problems == [] and "nobody-here" in warning
    assert findings(open_node, access={"root_only": True}) == ([], [])
    # The group is there, and its only member has it as primary group.
    group = {"origins": ["ALL"], "local": False, "members": ["admin"]}
    assert findings(open_node, access={"groups": {"admin": group}}) == ([], [])


def test_origins_that_are_domains(open_node):
    groups = {"admin": {"origins": [".example.org"], "local": False, "members": ["admin"]}}
    told = ["slurm_pam:access:groups:admin:origins has .example.org", "UseDNS is no", "no administrator could get in"]
    refused(open_node, *told, access={"groups": groups})
    users = {"alice": {"origins": ["192.0.2.1"]}}
    problems, (warning,) = findings(open_node, access={"groups": groups, "users": users})
    assert problems == [] and ".example.org" in warning and "alice" not in warning
    # With the option that is going to be written.
    assert findings(open_node, access={"groups": groups}, sshd={"options": {"UseDNS": True}}) == ([], [])


SSHD = {
    "without PAM": ("UsePAM no", ["sshd's UsePAM is no", "open to everyone"]),
    "no way in": (
        "AuthenticationMethods keyboard-interactive\nKbdInteractiveAuthentication no",
        ["AuthenticationMethods cannot be satisfied by enabled authentication methods", "lets nobody in"],
    ),
}


@pytest.mark.parametrize("case", SSHD)
def test_what_sshd_is_set_to_where_it_is_not_managed(open_node, case):
    lines, told = SSHD[case]
    with changed(open_node, {"/etc/ssh/sshd_config.d/10-site.conf": f"{lines}\n"}):
        refused(open_node, *told, sshd={"manage": False})


def test_our_own_options_count_where_sshd_is_managed(open_node):
    with changed(open_node, {"/etc/ssh/sshd_config.d/10-site.conf": "UsePAM no\n"}):
        assert findings(open_node) == ([], [])
    with changed(open_node, {"/etc/ssh/sshd_config.d/10-site.conf": "AuthenticationMethods keyboard-interactive\n"}):
        refused(open_node, "AuthenticationMethods cannot be satisfied", "lets nobody in")


def test_an_sshd_with_no_method_left(open_node):
    options = {"PubkeyAuthentication": False, "PasswordAuthentication": False}
    refused(open_node, "AuthenticationMethods is any, and none of it works", sshd={"options": options})


def test_keyboard_interactive_is_a_warning(open_node):
    problems, (warning,) = findings(open_node, sshd={"options": {"KbdInteractiveAuthentication": True}})
    assert problems == [] and "stays outside its job" in warning


ROOT_KEY, ADMIN_KEY = "/root/.ssh/authorized_keys", "/home/admin/.ssh/authorized_keys"


@contextlib.contextmanager
def without(node, *paths):
    try:
        for path in paths:
            node.run(["mv", path, f"{path}.away"], check=True)
        yield
    finally:
        for path in paths:
            node.run(["mv", f"{path}.away", path], check=True)


def test_nobody_has_a_key(open_node):
    with without(open_node, ROOT_KEY, ADMIN_KEY):
        told = f"root (no key in {ROOT_KEY}), admin (no key in {ADMIN_KEY})"
        refused(open_node, "Neither root nor any administrator", told, "PasswordAuthentication: true")
        # A password is a way for admin, and none for root.
        problems, (warning,) = findings(open_node, sshd={"options": {"PasswordAuthentication": True}})
        assert problems == [] and f"root (no key in {ROOT_KEY})" in warning and "admin" not in warning
        options = {"PasswordAuthentication": True, "PermitRootLogin": True}
        assert findings(open_node, sshd={"options": options}) == ([], [])
        options = {"AuthorizedKeysFile": "/home/%u/.ssh/authorized_keys.away"}
        problems, warnings = findings(open_node, sshd={"options": options})
        assert problems == [] and any("root (no key in /home/root/" in warning for warning in warnings)


def test_somebody_has_no_key(open_node):
    with without(open_node, ADMIN_KEY):
        problems, (warning,) = findings(open_node)
        assert problems == [] and f"is left to admin (no key in {ADMIN_KEY})" in warning
    problems, warnings = findings(open_node, sshd={"options": {"AllowUsers": "root bob@192.0.2.*"}})
    assert problems == []
    assert any("admin (sshd has allowusers root bob@192.0.2.*)" in warning for warning in warnings)
    assert any("sshd has lists of its own of who may log in: AllowUsers root bob" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("match", "left"),
    [("Match User admin LocalAddress 192.0.2.10", True), ("Match Group users", False)],
)
def test_a_way_in_that_only_a_match_line_leaves(open_node, match, left):
    lines = f"{match}\nPasswordAuthentication yes\n"
    with without(open_node, ADMIN_KEY), changed(open_node, {"/etc/ssh/sshd_config.d/50-site.conf": lines}):
        problems, warnings = findings(open_node)
        assert (problems, len(warnings)) == ([], 0 if left else 1)


def test_a_match_line_that_takes_logins_out_of_their_job(open_node):
    site = "/etc/ssh/sshd_config.d/50-site.conf"
    lines = "Match User bob\nPasswordAuthentication yes\nChallengeResponseAuthentication yes\n"
    with changed(open_node, {site: lines}):
        problems, (warning,) = findings(open_node)
    assert problems == [] and f"Match User bob ({site}:1)" in warning and "stays outside its job" in warning


@pytest.mark.parametrize("layout", ["debian13"], indirect=True)
def test_another_pam_service_name(fresh_node):
    fresh_node.write("/etc/ssh/sshd_config.d/10-site.conf", "PAMServiceName other-sshd\n")
    settings(fresh_node)
    sync(fresh_node)
    problems = fresh_node.salt("slurm_pam.preflight")["problems"]
    assert any("PAMServiceName is other-sshd" in problem for problem in problems), problems


POLICY = [
    {"name": "bob", "service": "sshd", "call": "acct_mgmt", "given": {"pam_nologin.so": "success"}, "expect": "deny"}
]


def test_a_scenario_of_the_site_that_does_not_hold_stops_the_apply(open_node):
    settings(open_node, pam={"policy": POLICY})
    before = open_node.snapshot("/etc")
    results = open_node.salt("state.apply", "slurm_pam")
    assert open_node.snapshot("/etc") == before
    (failed,) = (result for result in results.values() if result["result"] is False)
    assert (failed["__id__"], failed["changes"]) == ("slurm_pam-ready", {})
    assert failed["comment"] == (
        "Nothing was changed.\n"
        "- The new PAM files would not do what they should. Nothing was written.\n"
        "- bob: acct_mgmt of sshd must deny, but answers success. /etc/pam.d/sshd:4 (account requisite pam_nologin.so) "
        "decides: pam_nologin.so answers success there. It grants, and the following modules are asked. "
        "Give that line a control with which its answer counts, such as required."
    )


def test_a_copy_that_leaks_is_refused_before_anything_changes(open_node):
    account = "/etc/pam.d/common-account-pc"
    leaking = f"account sufficient pam_localuser.so\n{open_node.read(account)}"
    with changed(open_node, {account: leaking}):
        problem = refused(open_node, "pam_slurm_adopt.so", "is never asked", pam={"account_base": "copy"})
        assert problem.startswith("The new PAM files would not do what they should.")
        assert problem.splitlines()[-1].startswith("With slurm_pam:pam:account_base: substack, ")
        assert findings(open_node) == ([], [])
    # The module that a package is going to bring is not needed for a proof.
    with without(open_node, MODULE):
        assert findings(open_node, pam={"account_base": "copy"}) == ([], [])


def test_a_pam_file_of_somebody_else(open_node):
    service, account = "/etc/pam.d/slurm", "/etc/pam.d/slurm-common-account-pc"
    use_pam = {"slurm": {"use_pam": True, "manage": "enforce"}}
    with changed(open_node, {service: "auth required pam_localuser.so\n"}):
        refused(open_node, f"{service} is there already", "slurm_pam:pam:replace: true", **use_pam)
        assert findings(open_node) == ([], [])
        assert findings(open_node, pam={"replace": True}, **use_pam) == ([], [])
    with changed(open_node, {account: "account required pam_unix.so\n"}):
        refused(open_node, f"{account} is there already", "slurm_pam:pam:replace: true")
    assert findings(open_node, **use_pam) == ([], [])


WRONG = {
    "no service": ({"name": "x", "call": "acct_mgmt", "expect": "deny"}, "scenario 'x': service: a text is needed"),
    "no such call": ({**POLICY[0], "call": "login"}, "'login' is not a call"),
    "no such code": ({**POLICY[0], "given": {"pam_x.so": "denied"}}, "'denied' is not an answer"),
    "a key too many": ({**POLICY[0], "except": "bob"}, "except: no such key"),
    "a name of ours": ({**POLICY[0], "name": "a user with a job gets in"}, "the formula has a scenario named"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_scenario_that_is_none(open_node, case):
    scenario, told = WRONG[case]
    refused(open_node, "slurm_pam:pam:policy", told, pam={"policy": [scenario]})


def test_a_closed_node_with_such_jobs_is_only_warned(open_node):
    """Last: from here on the node is closed."""
    settings(open_node)
    results = open_node.salt("state.apply", "slurm_pam")
    assert all(result["result"] for result in results.values()), results
    before = open_node.read("/etc/slurm/slurm.conf")
    try:
        with changed(open_node, {"/etc/slurm/slurm.conf": before.replace("PrologFlags", "#")}, "slurmctld", "slurmd"):
            job = _job(open_node)
        problems, (warning,) = findings(open_node)
        assert problems == [] and f"{job} of alice" in warning
    finally:
        open_node.run(["scancel", "--user=alice"], check=True)
