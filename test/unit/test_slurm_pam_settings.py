"""Every wrong setting is named by its key, with what was found and what is allowed; right ones pass."""

import re
from pathlib import Path

import pytest
import yaml

import _slurm_pam_settings as checks

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = yaml.safe_load((ROOT / "slurm_pam/defaults.yaml").read_text())
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text())["slurm_pam"]
ADMINS = {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"]}}}


def merged(given):
    def over(base, layer):
        both = dict(base)
        for key, value in layer.items():
            both[key] = over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        return both

    return over(DEFAULTS, given)


def test_the_example_shows_every_setting_with_its_default():
    """Each commented setting, put into force, is what is in force without it."""
    text = (ROOT / "pillar.example").read_text()
    everything = yaml.safe_load(re.sub(r"(?m)^( *)# ( *\w+:(?: .*)?)$", r"\1\2", text))["slurm_pam"]
    assert checks.misfits(everything) == []
    assert set(everything) == set(DEFAULTS)
    for section in ("packages", "slurm", "sshd", "pam", "strays", "clean"):
        assert everything[section] == DEFAULTS[section]
    assert set(everything["access"]) == set(DEFAULTS["access"])
    assert set(everything["pam_slurm_adopt"]) == set(checks.ADOPT_OPTIONS)


def test_the_example_is_right():
    assert checks.problems(EXAMPLE, merged(EXAMPLE)) == []


def test_the_defaults_are_of_the_right_shape():
    assert checks.misfits(DEFAULTS) == []


def test_every_default_is_known_and_every_known_setting_has_a_default():
    # Of the modules' own options, only those that are not left to the module have one.
    options = ("pam_slurm_adopt", "pam_slurm")
    known = {key: set(value) for key, value in checks.SETTINGS.items() if type(value) is dict and key not in options}
    assert {key: set(DEFAULTS[key]) for key in known} == known
    assert set(DEFAULTS) == set(checks.SETTINGS)


@pytest.mark.parametrize(
    ("given", "key", "found", "allowed"),
    [
        ("text", "slurm_pam is", "'text'", "mapping"),
        ({"moed": "audit"}, "slurm_pam:moed", "not a setting", "did you mean mode?"),
        ({"access": {**ADMINS, "roots": ["ALL"]}}, "slurm_pam:access:roots", "not a setting", "did you mean root?"),
        ({"access": 3}, "slurm_pam:access is", "3", "mapping"),
        ({"mode": "enforced"}, "slurm_pam:mode", "'enforced'", "did you mean enforce?"),
        ({"mode": ["audit"]}, "slurm_pam:mode", "['audit']", "audit, adopt, enforce"),
        ({"module": "pam_slurm_adapt"}, "slurm_pam:module", "'pam_slurm_adapt'", "did you mean pam_slurm_adopt?"),
        ({"pam_slurm_adopt": {"action_nojobs": "deny"}}, "action_nojobs", "not a setting", "mean action_no_jobs?"),
        ({"pam_slurm_adopt": {"action_no_jobs": "allow"}}, "action_no_jobs", "'allow'", "ignore, deny"),
        ({"pam_slurm_adopt": {"log_level": "debug6"}}, "log_level", "'debug6'", "did you mean debug"),
        ({"pam_slurm_adopt": {"nodename": "a b"}}, "nodename", "'a b'", "one word"),
        ({"pam_slurm": {"debug": "yes"}}, "slurm_pam:pam_slurm:debug", "'yes'", "true or false"),
        ({"require_slurmd": "no"}, "slurm_pam:require_slurmd", "'no'", "true or false"),
        ({"access": {"root": ["10.0.0.0/33"]}}, "slurm_pam:access:root", "10.0.0.0/33", "a network"),
        ({"access": {"root": ["300.1.2.3"]}}, "slurm_pam:access:root", "300.1.2.3", "a network"),
        ({"access": {"root": []}}, "slurm_pam:access:root", "[]", "at least one"),
        ({"access": {"root": "ALL"}}, "slurm_pam:access:root", "'ALL'", "a list"),
        ({"access": {"groups": {"a  b": {"origins": ["ALL"]}}}}, "groups:a  b", "'a  b'", "user or group name"),
        ({"access": {"groups": {"ALL": {"origins": ["ALL"]}}}}, "groups:ALL", "'ALL'", "user or group name"),
        ({"access": {"groups": {"all": {"origins": ["ALL"]}}}}, "groups:all", "'all'", "keywords of pam_access"),
        ({"access": {"users": {"a:b": {"origins": ["ALL"]}}}}, "users:a:b", "'a:b'", "a user name"),
        ({"access": {"groups": {"100": {"origins": ["ALL"]}}}}, "groups:100", "'100'", "a number is an id"),
        ({"access": {"users": {"0": {"origins": ["ALL"]}}}}, "users:0", "'0'", "a number is an id"),
        ({"access": {"users": {"all": {"origins": ["ALL"]}}}}, "users:all", "'all'", "keywords of pam_access"),
        ({"access": {"users": {"Except": {"origins": ["ALL"]}}}}, "users:Except", "'Except'", "keywords of pam_access"),
        ({"access": {"users": {"a@b": {"origins": ["ALL"]}}}}, "users:a@b", "it reads as user@host", "access:groups"),
        ({"access": {"users": {"a": {"origins": ["all"]}}}}, "users:a:origins", "['all']", "ALL or LOCAL (so written)"),
        ({"access": {"groups": {"x": {"origins": ["ALL"], "members": ["(y)"]}}}}, "x:members", "(y)", "user or group"),
        ({"access": {"groups": {"x": {"origins": ["ALL"], "gid": -1}}}}, "x:gid", "-1", "a number"),
        ({"access": {**ADMINS, "file": "slurm.conf"}}, "slurm_pam:access:file", "'slurm.conf'", "absolute path"),
        ({"access": {**ADMINS, "file": "/etc"}}, "slurm_pam:access:file", "'/etc'", "absolute path"),
        ({"slurm": {"conf": "/etc/a b"}}, "slurm_pam:slurm:conf", "'/etc/a b'", "absolute path"),
        ({"slurm": {"conf": "/etc/a\0b"}}, "slurm_pam:slurm:conf", r"'/etc/a\x00b'", "absolute path"),
        ({"sshd": {"drop_in": "/etc/a\x1fb"}}, "slurm_pam:sshd:drop_in", r"'/etc/a\x1fb'", "absolute path"),
        ({"pam_slurm_adopt": {"nodename": "a\0"}}, "nodename", r"'a\x00'", "one word"),
        ({"pam_slurm_adopt": {"nodename": "a\\"}}, "nodename", r"'a\\'", "no backslash at its end"),
        ({"pam_slurm_adopt": {"service": "\\"}}, "service", r"'\\'", "no backslash at its end"),
        ({"access": {**ADMINS, "file": "/etc/a\\"}}, "access:file", r"'/etc/a\\'", "no backslash at its end"),
        ({"access": {**ADMINS, "file": "/etc/a#b"}}, "access:file", "'/etc/a#b'", "without #"),
        ({"access": {**ADMINS, "file": "/"}}, "access:file", "'/'", "absolute path"),
        ({"slurm": {"settings": {"X": "a\x1bb"}}}, "settings:X", r"'a\x1bb'", "one word"),
        ({"sshd": {"options": {"Banner": "a\nb"}}}, "options:Banner", r"'a\nb'", "a text of one line"),
        ({"sshd": {"options": {"Banner": "/a\0b"}}}, "options:Banner", r"'/a\x00b'", "a text of one line"),
        ({"sshd": {"options": {"Banner": " \t"}}}, "options:Banner", r"' \t'", "a text of one line"),
        ({"slurm": {"manage": "force"}}, "slurm_pam:slurm:manage", "'force'", "did you mean enforce?"),
        ({"sshd": {"options": {"Use PAM": True}}}, "options:Use PAM", "'Use PAM'", "option's name"),
        ({"pam": {"account_base": "include"}}, "slurm_pam:pam:account_base", "'include'", "substack, copy"),
        ({"pam": {"service": "../sshd"}}, "slurm_pam:pam:service", "'../sshd'", "file name"),
        ({"pam": {"session_remove": ["pam_systemd"]}}, "session_remove", "pam_systemd", "PAM module"),
        ({"pam": {"door_sources": ["su"]}}, "slurm_pam:pam:door_sources", "['su']", "a mapping"),
        ({"pam": {"door_sources": {"Su": "x"}}}, "slurm_pam:pam:door_sources:Su", "'Su'", "a file name of lower case"),
        ({"pam": {"door_sources": {"su": "/x"}}}, "slurm_pam:pam:door_sources:su", "'/x'", "a file name in /etc/pam.d"),
        ({"pam": {"session_keep": "pam_systemd.so"}}, "slurm_pam:pam:session_keep", "'pam_systemd.so'", "a list, each"),
        ({"pam": {"session_keep": ["pam_systemd"]}}, "slurm_pam:pam:session_keep", "'pam_systemd'", "a PAM module"),
        ({"pam": {"message": " \n"}}, "slurm_pam:pam:message", "' \\n'", "a text of up to 2000"),
        ({"pam": {"message": ["Get a job"]}}, "slurm_pam:pam:message", "['Get a job']", "a text of up to 2000"),
        ({"pam": {"message": "Get \x1b[31ma job"}}, "slurm_pam:pam:message", "x1b", "no other control characters"),
        ({"pam": {"message": "Get\ta job"}}, "slurm_pam:pam:message", "Get\\ta job", "no other control characters"),
        ({"pam": {"message": "Get\r\na job"}}, "slurm_pam:pam:message", "Get\\r", "no other control characters"),
        ({"pam": {"message": "Get\u202e a job"}}, "slurm_pam:pam:message", "u202e", "no other control characters"),
        ({"pam": {"message": "\u00a0\u3000"}}, "slurm_pam:pam:message", "u3000", "a text of up to 2000"),
        ({"pam": {"message": "x" * 2001}}, "slurm_pam:pam:message", "xxx", "a text of up to 2000"),
        ({"confine": "cores"}, "slurm_pam:confine", "'cores'", "a list"),
        ({"confine": ["core"]}, "slurm_pam:confine", "['core']", "cores, memory, swap, devices"),
        ({"confine": [True]}, "slurm_pam:confine", "[True]", "cores, memory, swap, devices"),
        ({"confine": None}, "slurm_pam:confine", "None", "a list"),
        ({"doors": ["cron"]}, "slurm_pam:doors", "['cron']", "a mapping"),
        ({"doors": {"cron": "closed"}}, "slurm_pam:doors:cron", "'closed'", "did you mean close?"),
        ({"doors": {"cron": True}}, "slurm_pam:doors:cron", "True", "one of close, report, leave"),
        ({"doors": {"cron": "opened"}}, "slurm_pam:doors:cron", "'opened'", "one of close, report, leave"),
        ({"doors": {"../cron": "close"}}, "slurm_pam:doors:../cron", "'../cron'", "a file name of lower case"),
        ({"doors": {"Cron": "close"}}, "slurm_pam:doors:Cron", "'Cron'", "a file name of lower case"),
        ({"logind": "masked"}, "slurm_pam:logind", "'masked'", "did you mean mask?"),
        ({"selinux": "managed"}, "slurm_pam:selinux", "'managed'", "did you mean manage?"),
        ({"selinux": False}, "slurm_pam:selinux", "False", "one of report, manage"),
        ({"selinux": None}, "slurm_pam:selinux", "None", "one of report, manage"),
        ({"strays": "end"}, "slurm_pam:strays is", "'end'", "mapping"),
        ({"strays": {"action": "kill"}}, "slurm_pam:strays:action", "'kill'", "report, end"),
        ({"strays": {"grace": -1}}, "slurm_pam:strays:grace", "-1", "a number"),
        ({"strays": {"grace": True}}, "slurm_pam:strays:grace", "True", "a number"),
        ({"strays": {"grace": "5m"}}, "slurm_pam:strays:grace", "'5m'", "a number"),
        ({"watch": "/usr/sbin/watch"}, "slurm_pam:watch", "'/usr/sbin/watch'", "true or false"),
        ({"partitions": {"gpu": {"settings": {}}}}, "slurm_pam:partitions:gpu:nodes", "missing", "compound target"),
        ({"partitions": {"gpu": {"nodes": "G@("}}}, "slurm_pam:partitions:gpu:nodes", "'G@('", "compound target"),
        ({"partitions": {"gpu": {"nodes": ""}}}, "slurm_pam:partitions:gpu:nodes", "''", "compound target"),
        (
            {"partitions": {"gpu": {"nodes": "*", "settings": {"modus": 1}}}},
            "slurm_pam:partitions:gpu:settings:modus",
            "not a setting",
            "mode",
        ),
    ],
)
def test_a_misfit_is_named_with_what_was_found_and_what_is_allowed(given, key, found, allowed):
    (problem,) = checks.problems(given, {})
    assert key in problem
    assert found in problem
    assert allowed in problem


@pytest.mark.parametrize(
    "text",
    [
        *("Get a job: salloc", "Zwei Zeilen:\nsalloc für 100 %\n", "x" * 2000, None),
        # With the blanks that are written there
        *("Aide\u00a0: squeue\u202f?", "\u30b8\u30e7\u30d6\u3000salloc"),
    ],
)
def test_messages_that_can_be_shown(text):
    assert checks.misfits({"pam": {"message": text}}) == []


@pytest.mark.parametrize(
    "origin",
    [
        *("ALL", "LOCAL", "10.0.0.0/8", "10.0.0.1", "10.0.0.0/255.0.0.0", "fd00::/8", "fd00::1", "node1"),
        ".example.org",
    ],
)
def test_origins_that_pam_access_understands(origin):
    given = {"access": {"users": {"a": {"origins": [origin]}}}}
    assert checks.misfits(given) == []


@pytest.mark.parametrize(
    "origin",
    [
        *("", "10.0.0.0/33", "1.2.3.256", "a b", "-x", "node_1", 10, None, "ALL EXCEPT x"),
        *("EXCEPT", "NONE", "all", "All", "Except", "local", "none"),
    ],
)
def test_origins_that_are_none(origin):
    given = {"access": {"users": {"a": {"origins": [origin]}}}}
    assert len(checks.misfits(given)) == 1


@pytest.mark.parametrize("name", ["allan", "local1", "none.such", "x-all", "except_me"])
def test_a_name_that_only_begins_like_a_keyword_is_a_name(name):
    given = {"access": {"users": {name: {"origins": [f"{name.replace('_', '-')}.example.org"]}}}}
    assert checks.misfits(given) == []


def test_a_group_of_a_directory_may_have_an_at_sign():
    """pam_access looks at (group) before it splits at the @."""
    given = {"access": {"groups": {"hpc@example.org": {"origins": ["ALL"], "members": ["alice@example.org"]}}}}
    assert checks.misfits(given) == []


def test_nobody_but_root_has_to_be_asked_for():
    (problem,) = checks.problems({}, merged({}))
    assert "slurm_pam:access" in problem and "root_only: true" in problem
    assert checks.problems({}, merged({"access": {"root_only": True}})) == []


def test_an_entry_taken_out_with_null_is_no_administrator():
    given = {"access": {"groups": {"hpc_admin_g": None}}}
    assert len(checks.problems(given, merged(given))) == 1


def test_an_administrator_needs_an_origin():
    given = {"access": {"groups": {"hpc_admin_g": {"members": ["admin"]}}}}
    (problem,) = checks.problems(given, merged(given))
    assert problem.startswith("slurm_pam:access:groups:hpc_admin_g:origins is missing")


@pytest.mark.parametrize(
    ("pam", "logind", "told"),
    [
        ({"session_keep": ["pam_systemd.so"]}, "keep", None),
        ({"session_keep": ["pam_cgfs.so"]}, "mask", None),
        ({"session_keep": ["pam_systemd.so"]}, "mask", "allowed with it is slurm_pam:logind: keep"),
        ({"session_keep": ["pam_systemd.so"]}, "stop", "slurm_pam:logind is 'stop'"),
        ({"session_keep": ["pam_x.so"]}, "keep", "every session has it; allowed is pam_systemd.so, pam_cgfs.so"),
        ({"session_keep": ["pam_x.so"], "session_remove": []}, "keep", "allowed is nothing"),
    ],
)
def test_modules_that_are_kept_in_vain(pam, logind, told):
    given = {"access": ADMINS, "pam": pam, "logind": logind}
    found = checks.problems(given, merged(given))
    assert len(found) == bool(told)
    assert all(problem.startswith("slurm_pam:pam:session_keep names ") and told in problem for problem in found)


def test_the_older_module_cannot_adopt():
    given = {"access": ADMINS, "mode": "adopt", "module": "pam_slurm"}
    (problem,) = checks.problems(given, merged(given))
    assert "slurm_pam:mode" in problem and "pam_slurm" in problem


@pytest.mark.parametrize(
    ("given", "key", "allowed"),
    [
        ({"pam": {"service": "login"}}, "slurm_pam:pam_slurm_adopt:service is 'sshd'", "login or *"),
        ({"pam_slurm_adopt": {"service": "cron"}}, "slurm_pam:pam_slurm_adopt:service is 'cron'", "sshd or *"),
        ({"pam_slurm_adopt": {"action_no_jobs": "ignore"}}, "slurm_pam:pam_slurm_adopt:action_no_jobs", "mode: adopt"),
    ],
)
def test_options_with_which_nobody_would_be_turned_away(given, key, allowed):
    given = {"access": ADMINS, **given}
    (problem,) = checks.problems(given, merged(given))
    assert key in problem and allowed in problem
    assert checks.problems({**given, "module": "pam_slurm"}, merged({**given, "module": "pam_slurm"})) == []


@pytest.mark.parametrize("given", [{"pam": {"service": "login"}, "pam_slurm_adopt": {"service": "*"}}, {}])
def test_options_with_which_users_without_a_job_are_turned_away(given):
    given = {"access": ADMINS, **given}
    assert checks.problems(given, merged(given)) == []


@pytest.mark.parametrize(("installed", "count"), [(None, 0), ("20.11.4", 1), ("20.11.5", 0), ("22.05.8", 0)])
def test_an_option_that_the_installed_slurm_does_not_know(installed, count):
    given = {"access": ADMINS, "pam_slurm_adopt": {"join_container": False}}
    found = checks.problems(given, merged(given), installed)
    assert len(found) == count
    assert all("join_container" in problem and "20.11.5" in problem for problem in found)


def test_a_default_is_no_option_that_an_old_slurm_would_have_to_know():
    given = {"access": ADMINS, "pam_slurm_adopt": {"join_container": True}}
    assert checks.problems(given, merged(given), "17.11.10") == []


def test_all_problems_are_told_at_once():
    assert len(checks.problems({"mode": 1, "module": 2, "logind": 3}, {})) == 3


# What null takes out


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"pam_slurm_adopt": {"log_level": None, "service": "*"}}, {"pam_slurm_adopt": {"service": "*"}}),
        ({"access": {"groups": {"a": None}, "users": {"b": None}}}, {"access": {"groups": {}, "users": {}}}),
        ({"slurm": {"settings": {"TaskPlugin": None}}}, {"slurm": {"settings": {}}}),
        ({"sshd": {"options": {"UsePAM": None, "Port": 22}}}, {"sshd": {"options": {"Port": 22}}}),
        ({"partitions": {"gpu": None}}, {"partitions": {}}),
        (
            {"partitions": {"gpu": {"nodes": "*", "settings": {"sshd": {"options": {"UsePAM": None}}}}}},
            {"partitions": {"gpu": {"nodes": "*", "settings": {"sshd": {"options": {}}}}}},
        ),
        # Here it says something itself.
        ({"slurm": {"conf": None}}, {"slurm": {"conf": None}}),
        ({"sshd": {"config": None}}, {"sshd": {"config": None}}),
        ({"packages": {"node": None}}, {"packages": {"node": None}}),
        ({"access": {"groups": {"a": {"gid": None}}}}, {"access": {"groups": {"a": {"gid": None}}}}),
    ],
)
def test_null_takes_an_entry_out_and_is_a_value_elsewhere(given, left):
    assert checks.misfits(given) == []
    assert checks.without_nulls(given) == left


def test_the_defaults_have_nothing_to_take_out():
    assert checks.without_nulls(DEFAULTS) == DEFAULTS


# Where a setting comes from


def test_the_last_layer_that_has_a_setting_gave_it():
    layers = [
        ("defaults.yaml", {"mode": "enforce", "slurm": {"conf": None, "settings": {}}}),
        ("pillar", {"mode": "audit", "slurm": {"settings": {"X": "1"}}}),
        ("partition", {"slurm": "of another shape"}),
    ]
    assert checks.origins({"mode": "audit", "slurm": {"conf": None, "settings": {"X": "1"}}}, layers) == {
        "slurm_pam:mode": {"value": "audit", "from": "pillar"},
        "slurm_pam:slurm:conf": {"value": None, "from": "defaults.yaml"},
        "slurm_pam:slurm:settings:X": {"value": "1", "from": "pillar"},
    }


# Groups with blanks in their names


@pytest.mark.parametrize("name", ["domain admins", "EXAMPLE\\domain admins", "all of us@example.org", "a b c"])
def test_a_directorys_group_may_have_blanks_in_its_name(name):
    given = {"access": {"file": "/etc/security/own.conf", "groups": {name: {"origins": ["ALL"], "local": False}}}}
    assert checks.problems(given, given) == []
    given["access"]["file"] = "/etc/security/access.conf"
    (problem,) = checks.problems(given, given)
    assert problem.startswith("slurm_pam:access:file is /etc/security/access.conf, whose other lines mean nobody")
    given["access"] = {"groups": {name: {"origins": ["ALL"]}}}
    (problem,) = checks.problems(given, given)
    assert problem.startswith(f"slurm_pam:access:groups:{name}:local is true")


@pytest.mark.parametrize("name", ["a  b", " a", "a ", "a,b", "a b,c", "a\tb", "a:b", "(a b)", "ALL"])
def test_no_name_says_more_than_a_name(name):
    given = {"access": {"groups": {name: {"origins": ["ALL"], "local": False}}}}
    (problem,) = checks.problems(given, given)
    assert problem.startswith(f"slurm_pam:access:groups:{name}: ")


def test_what_adopts_nothing_holds_nobody_to_anything():
    (problem,) = checks.problems({}, merged({"access": ADMINS, "module": "pam_slurm", "confine": ["cores"]}))
    assert problem.startswith("slurm_pam:confine is ['cores'], but slurm_pam:module is 'pam_slurm'")
# Doors


@pytest.mark.parametrize(
    ("doors", "told"),
    [
        ({"cron": "close", "login": "leave", "cockpit": "report", "sshd": "close", "sshd-internal": "close"}, []),
        ({"cron": None}, []),
        ({"sshd": "report"}, ["slurm_pam:doors:sshd is 'report'", "allowed is close"]),
        ({"slurm": "close"}, ["slurm_pam:doors:slurm is 'close'", "jobs start through it", "report or leave"]),
        ({"runuser": "close"}, ["slurm_pam:doors:runuser is 'close'", "only root runs it"]),
        ({"other": "close"}, ["slurm_pam:doors:other is 'close'", "it is not a service"]),
        ({"runuser": "leave"}, []),
    ],
)
def test_doors_that_can_be_closed_and_those_that_cannot(doors, told):
    given = {"access": ADMINS, "doors": doors}
    problems = checks.problems(given, merged(given))
    assert len(problems) == (1 if told else 0)
    assert all(words in problems[0] for words in told)


@pytest.mark.parametrize(
    ("origins", "only_root", "count"), [(["LOCAL"], False, 1), (["LOCAL"], True, 0), (["LOCAL", "192.0.2.1"], False, 0)]
)
def test_an_administrator_has_a_way_over_ssh(origins, only_root, count):
    given = {"access": {"users": {"a": {"origins": origins}}, "root_only": only_root}}
    assert len(checks.problems(given, merged(given))) == count


def test_a_name_that_is_too_long_for_a_file_is_left_to_the_look_at_paths():
    assert checks.misfits({"access": {"file": "/etc/" + 300 * "a"}}) == []
