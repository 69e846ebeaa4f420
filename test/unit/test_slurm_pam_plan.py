"""What the PAM files and the access file say under which settings."""

import copy
import pathlib

import pytest
import yaml
from harness.source import Modules

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text())
ADMINS = {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24", "198.51.100.7"]}}}
SALT = Modules("slurm_pam_plan", "slurm_pam_settings", "pam_stack")
PLAN = SALT["slurm_pam_plan"]
LIBPAM = {"version": "1.5.2", "debian": False}
ACCESS = "pam_access.so nodefgroup accessfile=/etc/security/slurm-access.conf"
ADOPT = "pam_slurm_adopt.so action_adopt_failure=deny action_generic_failure=deny"
NOT_ROOT = "account requisite pam_succeed_if.so quiet uid != 0"


def settings(**sections):
    merged = copy.deepcopy(DEFAULTS)
    merged["access"].update(ADMINS)
    for section, values in sections.items():
        if isinstance(values, dict):
            merged[section].update(values)
        else:
            merged[section] = values
    return merged


def account(**sections):
    """The lines of slurm-common-account."""
    return PLAN.stacks(settings(**sections))["files"][0]["contents"].splitlines()


def test_slurm_comes_ahead_of_the_nodes_own_rules():
    assert account() == [
        f"account [success=1 default=ignore] {ACCESS}",
        f"account required {ADOPT}",
        "account substack common-account",
    ]


def test_root_from_some_places_only():
    assert account(access={"root": ["192.0.2.1"]}) == [
        f"account [success=2 default=ignore] {ACCESS}",
        NOT_ROOT,
        f"account required {ADOPT}",
        "account substack common-account",
    ]


def test_adopting_turns_nobody_away_not_even_root():
    lines = account(mode="adopt", access={"root": ["192.0.2.1"]})
    assert lines[1] == "account optional pam_slurm_adopt.so action_no_jobs=ignore"
    assert NOT_ROOT not in lines


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"log_level": "debug5", "service": "sshd"}, "log_level=debug5"),
        ({"join_container": False}, "join_container=false"),
        ({"action_adopt_failure": None, "action_generic_failure": "ignore"}, ""),
    ],
)
def test_options_that_say_what_the_module_does_anyway_are_not_written(options, words):
    given = {"action_adopt_failure": None, "action_generic_failure": None, **options}
    assert account(pam_slurm_adopt=given)[1] == f"account required pam_slurm_adopt.so {words}".rstrip()


def test_the_older_module_takes_flags():
    lines = account(module="pam_slurm", pam_slurm={"no_warn": True, "debug": True, "rsh_kludge": False})
    assert lines[1] == "account required pam_slurm.so debug no_warn"


def copied(text, **sections):
    """What becomes of a common-account that is copied."""
    file = PLAN.stacks(settings(pam={"account_base": "copy"}, **sections))["files"][0]
    assert file["source"] == "common-account"
    return SALT["pam_stack"].edit(text, file["changes"], libpam=LIBPAM).splitlines()


def test_a_copy_keeps_the_sites_own_rules_with_the_same_modules():
    site = ["account required pam_access.so", "account sufficient pam_succeed_if.so uid < 1000 quiet"]
    lines = copied("\n".join([*site, ""]), access={"root": ["192.0.2.1"]})
    assert lines == [*site, f"account sufficient {ACCESS}", NOT_ROOT, f"account required {ADOPT}"]


def test_a_copy_has_slurms_module_once():
    lines = copied("account required pam_slurm_adopt.so\naccount required pam_unix.so\n")
    assert lines == ["account required pam_unix.so", f"account sufficient {ACCESS}", f"account required {ADOPT}"]


def test_the_access_file_is_complete_ordered_and_ends_in_the_denial():
    access = {
        "root": ["192.0.2.1"],
        "groups": {"wheel": {"origins": ["ALL"]}, "gone": None, "adm": {"origins": ["192.0.2.0/24"]}},
        "users": {"operator": {"origins": [".example.org"]}},
    }
    assert PLAN.access_rules(access).splitlines() == [
        "+ : root : 192.0.2.1",
        "+ : (adm) : 192.0.2.0/24",
        "+ : (wheel) : ALL",
        "+ : operator : .example.org",
        "- : ALL : ALL",
    ]


def test_suse_has_a_link_for_each_file():
    files = PLAN.stacks(settings(pam={"suffix": "-pc"}))["files"]
    assert [(file["path"], file.get("link")) for file in files] == [
        ("/etc/pam.d/slurm-common-account-pc", None),
        ("/etc/pam.d/slurm-common-account", "slurm-common-account-pc"),
        ("/etc/pam.d/slurm-common-session-pc", None),
        ("/etc/pam.d/slurm-common-session", "slurm-common-session-pc"),
        ("/etc/pam.d/sshd", None),
    ]


def test_the_policy_asks_for_each_kind_of_login_and_for_a_session():
    names = [scenario["name"] for scenario in PLAN.policy(settings(access={"root": ["192.0.2.1"]}))]
    assert names == [
        "root and administrators get in from their origins with Slurm broken",
        "a user with a job gets in",
        "a user without a job is turned away",
        "root is turned away from other origins",
        "a session opens",
        "no session reaches pam_systemd.so",
    ]
    assert "nobody is turned away" in [scenario["name"] for scenario in PLAN.policy(settings(mode="adopt"))]
