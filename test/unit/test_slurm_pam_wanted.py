"""What the manifest says under which settings, and what an apply of them touches."""

import copy
import itertools
import json
import os
import pathlib
import subprocess

import pytest
import yaml
from harness.source import load

import _child
import _pam_dispatch
import _pam_edit
import _pam_prove
import _slurm_pam_accounts
from _pam_given import answering
from _pam_grammar import RETURN_CODES
from _slurm_pam_wanted import LOGIND_UNITS, touched, wanted

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = {**yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text()), "logind": "mask"}
ADMINS = {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24", "198.51.100.7"]}}}
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


def pam_files(**sections):
    return wanted(settings(**sections))["pam"]["files"]


def account(**sections):
    """The lines of slurm-common-account."""
    return pam_files(**sections)[0]["contents"].splitlines()


# The PAM files


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
    file = pam_files(pam={"account_base": "copy"}, **sections)[0]
    assert file["source"] == "common-account"
    return _pam_edit.edit(text, file["changes"], libpam=LIBPAM).splitlines()


def test_a_copy_keeps_the_sites_own_rules_with_the_same_modules():
    site = ["account required pam_access.so", "account sufficient pam_succeed_if.so uid < 1000 quiet"]
    lines = copied("\n".join([*site, ""]), access={"root": ["192.0.2.1"]})
    assert lines == [*site, f"account sufficient {ACCESS}", NOT_ROOT, f"account required {ADOPT}"]


def test_a_copy_has_slurms_module_once():
    lines = copied("account required pam_slurm_adopt.so\naccount required pam_unix.so\n")
    assert lines == ["account required pam_unix.so", f"account sufficient {ACCESS}", f"account required {ADOPT}"]


# What administrators keep


KEPT = {"session_keep": ["pam_systemd.so"]}
ONLY_ADMINISTRATORS = f"session [success=ignore default=1] {ACCESS}"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (
            [
                "session required pam_unix.so",
                "-session optional pam_systemd.so class=user",
                "session optional pam_x.so",
            ],
            [
                *("session required pam_unix.so", ONLY_ADMINISTRATORS),
                *("-session optional pam_systemd.so class=user", "session optional pam_x.so"),
            ],
        ),
        (
            ["session [default=1] pam_x.so", "session optional pam_cgfs.so", "session optional pam_systemd.so"],
            ["session [default=ignore] pam_x.so", ONLY_ADMINISTRATORS, "session optional pam_systemd.so"],
        ),
        (
            [
                "session [success=1 default=ignore] pam_x.so",
                "session optional pam_systemd.so",
                "session optional pam_y.so",
            ],
            [
                *("session [success=2 default=ignore] pam_x.so", ONLY_ADMINISTRATORS),
                *("session optional pam_systemd.so", "session optional pam_y.so"),
            ],
        ),
        (
            ["session required pam_access.so", "session optional pam_systemd.so"],
            ["session required pam_access.so", ONLY_ADMINISTRATORS, "session optional pam_systemd.so"],
        ),
        (["session required pam_unix.so"], ["session required pam_unix.so"]),
    ],
    ids=["in its place", "a jump to it", "a jump over it", "beside the site's own rule", "where there is none"],
)
def test_administrators_alone_keep_a_module(text, after):
    assert kept_by_administrators(KEPT, text) == after


def kept_by_administrators(pam, text):
    (file,) = (file for file in pam_files(pam=pam) if file["path"].endswith("slurm-common-session"))
    return _pam_edit.edit("".join(f"{line}\n" for line in text), file["changes"], libpam=LIBPAM).splitlines()


@pytest.mark.parametrize(
    "order", [["pam_systemd.so", "pam_cgfs.so"], ["pam_cgfs.so", "pam_x.so", "pam_systemd.so"]], ids=" ".join
)
def test_administrators_alone_keep_each_of_several_modules(tmp_path, order):
    keep = {"session_keep": ["pam_systemd.so", "pam_cgfs.so"]}
    lines = {module: f"session optional {module}" for module in order}
    after = kept_by_administrators(keep, lines.values())
    gates = {module: [ONLY_ADMINISTRATORS] for module in keep["session_keep"]}
    assert after == [text for module, line in lines.items() for text in (*gates.get(module, []), line)]
    assert kept_by_administrators(keep, after) == after
    (tmp_path / "sshd").write_text("".join(f"{line}\n" for line in ["session required pam_unix.so", *after]))
    policy = [one for one in wanted(settings(pam=keep))["pam"]["policy"] if "administrator's reaches" in one["name"]]
    assert [proof["holds"] for proof in _pam_prove.prove(policy, str(tmp_path), LIBPAM)] == [True, True]


@pytest.mark.parametrize(
    ("lines", "holds"),
    [
        ([ONLY_ADMINISTRATORS, "session optional pam_systemd.so"], True),
        ([ONLY_ADMINISTRATORS, "session optional pam_x.so", "session optional pam_systemd.so"], False),
        (
            ["session [success=1 default=ignore] pam_x.so", ONLY_ADMINISTRATORS, "session optional pam_systemd.so"],
            False,
        ),
        ([ONLY_ADMINISTRATORS.replace("=1]", "=ignore]"), "session optional pam_systemd.so"], False),
        ([f"session sufficient {ACCESS}", "session optional pam_systemd.so"], False),
        ([ONLY_ADMINISTRATORS, "session optional pam_systemd.so", "session optional /opt/pam_systemd.so"], False),
    ],
)
def test_the_proof_has_that_nobody_else_comes_to_it(tmp_path, lines, holds):
    (tmp_path / "sshd").write_text("".join(f"{line}\n" for line in ["session required pam_unix.so", *lines]))
    policy = [one for one in wanted(settings(pam=KEPT))["pam"]["policy"] if "pam_systemd" in one["name"]]
    (proof,) = _pam_prove.prove(policy, str(tmp_path), LIBPAM)
    assert proof["name"] == "no session but an administrator's reaches pam_systemd.so"
    assert proof["holds"] is holds


# The other doors


SYSTEMS = "account [success=2 default=ignore] pam_succeed_if.so quiet uid < 1000"
FROM_ELSEWHERE = {"access": {"root": ["192.0.2.1"]}}


def gate(service, doors="close", **sections):
    """The lines of a door's gate, and what changes in the service's own file."""
    files = pam_files(doors={service: doors}, **sections)
    (lines,) = (file["contents"].splitlines() for file in files if file["path"].endswith(f"slurm-door-{service}"))
    (changes,) = (file["changes"] for file in files if file["path"] == f"/etc/pam.d/{service}")
    return lines, [list(change["retarget"].values()) for change in changes]


@pytest.mark.parametrize(
    ("service", "sections", "before", "slurm"),
    [
        ("cockpit", {}, [f"account [success=1 default=ignore] {ACCESS}"], "required {} service=cockpit"),
        (
            "cockpit",
            FROM_ELSEWHERE,
            [f"account [success=2 default=ignore] {ACCESS}", NOT_ROOT],
            "required {} service=cockpit",
        ),
        ("sshd-2", {}, [f"account [success=1 default=ignore] {ACCESS}"], "required {} service=sshd-2"),
        (
            "login",
            FROM_ELSEWHERE,
            [SYSTEMS.replace("< 1000", "= 0"), f"account [success=1 default=ignore] {ACCESS}"],
            "required {} service=login",
        ),
        ("cron", {}, [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"], "required {} service=cron"),
        ("su", {}, [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"], "required {} service=su"),
        ("systemd-user", {}, [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"], "required pam_deny.so"),
        (
            "systemd-user",
            {"mode": "adopt"},
            [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"],
            "optional pam_permit.so slurm_pam",
        ),
        (
            "systemd-user",
            {"module": "pam_slurm"},
            [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"],
            "required pam_slurm.so",
        ),
        (
            "cron",
            {"mode": "adopt"},
            [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"],
            "optional pam_slurm_adopt.so action_no_jobs=ignore service=cron",
        ),
        (
            "cron",
            {"pam": {"message": "Get a job"}},
            [SYSTEMS, f"account [success=1 default=ignore] {ACCESS}"],
            "required {} service=cron",
        ),
    ],
)
def test_the_gate_of_a_door_by_what_reaches_it(service, sections, before, slurm):
    lines, retargeted = gate(service, **sections)
    assert lines == [*before, f"account {slurm.format(ADOPT)}", "account substack common-account"]
    assert retargeted[0] == ["common-account", f"slurm-door-{service}", "account"]
    adopts = service != "systemd-user" or sections.get("module") == "pam_slurm"
    assert retargeted[1:] == ([["common-session", "slurm-common-session", "session"]] if adopts else [])


def test_the_message_is_shown_at_a_console():
    lines, _ = gate("login", pam={"message": "Get a job"})
    assert [line.split("]")[0] for line in lines[:2]] == [
        "account [success=4 default=ignore",
        "account [success=3 default=ignore",
    ]
    assert "account [default=ignore] pam_echo.so file=/etc/security/slurm-message" in lines


@pytest.mark.parametrize(
    ("texts", "least"),
    [
        ({}, 1000),
        ({"login.defs": "UID_MIN\t\t\t 500\n#UID_MIN 600\nSYS_UID_MIN 100\n"}, 500),
        ({"login.defs": "UID_MIN 500\n", "login.defs.d/site.defs": "UID_MIN 2000\n"}, 2000),
        ({"login.defs": "UID_MIN many\n"}, 1000),
        ({"login.defs": "UID_MIN 500\nUID_MIN 700 # why\n"}, 1000),
        ({"login.defs": 'UID_MIN "500"\r\n'}, 500),
        ({"login.defs": "UID_MIN 500\r\n"}, 500),
        ({"login.defs": "UID_MIN 0x1F4"}, 500),
        ({"login.defs": "UID_MIN 0764\n"}, 500),
    ],
)
def test_the_systems_accounts_are_those_of_login_defs(tmp_path, monkeypatch, texts, least):
    (tmp_path / "login.defs.d").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    places = (f"{tmp_path}/login.defs", f"{tmp_path}/login.defs.d/*.defs")
    monkeypatch.setattr(_slurm_pam_accounts, "LOGIN_DEFS", places)
    assert gate("cron")[0][0].endswith(f"uid < {least}")


@pytest.mark.parametrize(
    ("doors", "origins", "written"),
    [
        ({}, ["192.0.2.0/24", "fd00::/8"], "192.0.2.0/24,fd00::/8"),
        ({"cron": "close", "login": "close", "cockpit": "report"}, ["192.0.2.0/24"], "192.0.2.0/24"),
        ({"cockpit": "close"}, ["192.0.2.0/24", "LOCAL"], "192.0.2.0/24,LOCAL,::ffff:192.0.2.0/120"),
        ({"cockpit": "close"}, ["192.0.2.1", "fd00::/8"], "192.0.2.1,fd00::/8,::ffff:192.0.2.1"),
        ({"cockpit": "close"}, ["::ffff:192.0.2.0/120"], "192.0.2.0/24,::ffff:192.0.2.0/120"),
        ({"cockpit": "close"}, ["0.0.0.0/0"], "ALL"),
    ],
)
def test_a_door_that_listens_for_both_families_tells_mapped_addresses(doors, origins, written):
    who = {"groups": {"hpc_admin_g": {"origins": origins}}}
    (file,) = wanted(settings(doors=doors, access=who))["access"]["files"]
    assert f"+:(hpc_admin_g):{written}\n" in file["block"]


def test_the_gates_come_ahead_of_the_services_and_sshds_comes_last():
    paths = [(file["path"], file.get("absent", False)) for file in pam_files(doors={"cron": "close", "su": "opened"})]
    assert paths[2:] == [
        ("/etc/pam.d/su", True),
        ("/etc/pam.d/slurm-door-su", True),
        ("/etc/pam.d/slurm-door-cron", False),
        ("/etc/pam.d/cron", False),
        ("/etc/pam.d/sshd", False),
    ]


SOURCES = {"login": "system-auth", "systemd-user": "system-auth", "su": "system-auth", "su-l": "su"}


@pytest.mark.parametrize(
    ("service", "source", "session"),
    [
        ("cron", "common-account", ["common-session", "slurm-common-session", "session"]),
        ("login", "system-auth", ["system-auth", "slurm-door-login-session", "session"]),
        # A manager of systemd's keeps its own, and what it includes as a whole is closed itself.
        ("systemd-user", "system-auth", None),
        ("su-l", "su", None),
    ],
)
def test_a_door_whose_file_names_another_stack(service, source, session):
    lines, retargeted = gate(service, pam={"door_sources": SOURCES})
    assert lines[-1] == f"account substack {source}"
    assert retargeted == [[source, f"slurm-door-{service}", "account"], *([session] if session else [])]
    own = [file for file in pam_files(doors={service: "close"}, pam={"door_sources": SOURCES}) if "source" in file][1:]
    derived = ["/etc/pam.d/slurm-door-login-session"] if service == "login" else []
    assert [(file["path"], file["source"]) for file in own] == [(path, "system-auth") for path in derived]


@pytest.mark.parametrize("doors", [{}, {"cron": "report", "login": "leave", "sshd": "close"}])
def test_without_a_closed_door_all_is_as_it_was(doors):
    assert wanted(settings(doors=doors)) == wanted(settings())


@pytest.mark.parametrize(
    ("service", "replaced", "violated"),
    [
        ("cron", {}, []),
        ("login", {}, []),
        ("cockpit", {}, []),
        ("systemd-user", {}, []),
        ("cron", {"required pam_slurm_adopt": "optional pam_slurm_adopt"}, ["a user without a job is turned away"]),
        ("cron", {" service=cron": ""}, ["a user without a job is turned away"]),
        ("cron", {"success=2": "success=1"}, ["root and system accounts get in"]),
        (
            "cron",
            {"pam_succeed_if.so quiet uid < 1000": "pam_permit.so"},
            ["a user without a job is turned away"],
        ),
        (
            "cron",
            {"uid < 1000": "uid < 100000"},
            ["a user without a job is turned away"],
        ),
        (
            "login",
            {"[success=1": "[success=2"},
            ["root and administrators get in from their origins with Slurm broken"],
        ),
        ("login", {"uid = 0": "uid != 0"}, ["a user without a job is turned away"]),
        ("systemd-user", {"required pam_deny": "optional pam_deny"}, ["everybody else is turned away"]),
    ],
)
def test_the_proof_knows_each_line_of_a_gate(tmp_path, service, replaced, violated):
    manifest = wanted(settings(doors={service: "close"}))["pam"]
    (text,) = (file["contents"] for file in manifest["files"] if file["path"].endswith(f"slurm-door-{service}"))
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "common-account").write_text("account required pam_unix.so\n")
    (tmp_path / "slurm-door").write_text(text)
    (tmp_path / service).write_text("account include slurm-door\nsession required pam_unix.so\n")
    policy = [scenario for scenario in manifest["policy"] if scenario["service"] == service]
    proofs = _pam_prove.prove(policy, str(tmp_path), LIBPAM)
    found = [proof["name"] for proof in proofs if not proof["holds"]]
    assert len(proofs) > 2 and found == [f"{service}: {name}" for name in violated]


# The message for those whom Slurm turns away


MESSAGE = "Get a job: salloc.\nHelp at 100 % of https://hpc.example.org"
ECHO = "pam_echo.so file=/etc/security/slurm-message"
SHOWING = [
    f"account [success=1 new_authtok_reqd=ok ignore=2 perm_denied=bad default=die] {ADOPT}",
    f"account [default=ignore] {ECHO}",
    "account required pam_permit.so slurm_pam",
]
NODES_OWN = (
    "account [success=1 default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n"
)


def test_slurms_refusal_alone_leads_to_the_message():
    lines = account(pam={"message": MESSAGE})
    assert lines == [f"account [success=3 default=ignore] {ACCESS}", *SHOWING, "account substack common-account"]
    assert wanted(settings(pam={"message": MESSAGE}))["modules"] == [
        *("pam_access.so", "pam_slurm_adopt.so", "pam_echo.so", "pam_permit.so"),
    ]


def test_a_copy_shows_it_as_well_and_keeps_the_nodes_pam_permit():
    file = pam_files(pam={"account_base": "copy", "message": MESSAGE})[0]
    lines = _pam_edit.edit(NODES_OWN, file["changes"], libpam=LIBPAM).splitlines()
    assert lines == [*NODES_OWN.splitlines(), f"account [success=2 default=ignore] {ACCESS}", *SHOWING]


def test_where_nobody_is_turned_away_there_is_nothing_to_show():
    assert account(mode="adopt", pam={"message": MESSAGE}) == account(mode="adopt")


def test_it_is_written_as_pam_echo_reads_it():
    assert wanted(settings())["message"] is None
    assert wanted(settings(pam={"message": f"{MESSAGE}\n\n"}))["message"] == {
        "path": "/etc/security/slurm-message",
        "text": f"{MESSAGE.replace('%', '%%')}\n",
    }


BASES = [{"account_base": "substack"}, {"account_base": "copy"}]


# Debian's, which ends at the first refusal, and SLE's, which goes on.
NODES_OWN_RULES = [NODES_OWN, "account required pam_unix.so try_first_pass\n"]


def laid(directory, nodes_own=NODES_OWN, **sections):
    """A service with these settings' account file, laid below a directory."""
    directory.mkdir()
    file = pam_files(**sections)[0]
    text = file["contents"] if "contents" in file else _pam_edit.edit(nodes_own, file["changes"], libpam=LIBPAM)
    session = "session required pam_unix.so\n"
    for name, lines in {"x": text, "common-account": nodes_own, "sshd": f"account include x\n{session}"}.items():
        (directory / name).write_text(lines)
    return str(directory)


@pytest.mark.parametrize("nodes_own", NODES_OWN_RULES, ids=["Debian", "SLE"])
@pytest.mark.parametrize("base", BASES, ids=lambda base: base["account_base"])
def test_it_changes_no_verdict(tmp_path, base, nodes_own):
    """For whatever answer of Slurm's module, of the message's own, of the administrators' and of the node's rules."""
    access = {"root": ["192.0.2.1"]}
    without = laid(tmp_path / "without", nodes_own, pam=base, access=access)
    message = laid(tmp_path / "with", nodes_own, pam={**base, "message": MESSAGE}, access=access)
    answers = {
        "pam_slurm_adopt.so": [code for code in RETURN_CODES if code != "incomplete"],  # with which no call ends
        "pam_echo.so": ["success", "perm_denied"],
        "pam_unix.so": ["success", "perm_denied", "new_authtok_reqd"],
        ACCESS: ["success", "perm_denied"],
        "pam_succeed_if.so quiet uid != 0": ["success", "perm_denied"],
        "pam_permit.so": ["success"],
        "pam_deny.so": ["perm_denied"],
    }
    programs = [_pam_dispatch.compile("sshd", place, LIBPAM, calls=["acct_mgmt"]) for place in (without, message)]
    shown = set()
    for said in itertools.product(*answers.values()):
        said = dict(zip(answers, said))
        runs = [_pam_dispatch.Handle(program).call("acct_mgmt", answering(said)) for program in programs]
        assert runs[0].code == runs[1].code, said
        if "pam_echo.so" in [step.entry.rule["module"] for step in runs[1].steps]:
            shown.add((said["pam_slurm_adopt.so"], said[ACCESS], said["pam_succeed_if.so quiet uid != 0"]))
    # Slurm's modules never ask for a new password.
    assert shown - {("new_authtok_reqd", "perm_denied", "success")} == {("perm_denied", "perm_denied", "success")}


@pytest.mark.parametrize(
    ("base", "old", "new", "broken"),
    [
        ("substack", "", "", None),
        ("copy", "", "", None),
        ("substack", "[success=1 new", "[success=ok new", "a user with a job"),
        ("copy", "[success=1 new", "[success=ok new", "a user with a job"),
        ("substack", "[success=4 ", "[success=2 ", "an administrator"),
        ("copy", "[success=3 ", "[success=ok ", "an administrator"),
        ("substack", "ignore=2", "ignore=ok", "root from other origins"),
        ("copy", "[success=3 default=ignore]", "sufficient", None),  # as those who are refused are not asked further
    ],
)
def test_the_proof_fails_where_others_would_see_it(tmp_path, base, old, new, broken):
    changed = {"pam": {"account_base": base, "message": MESSAGE}, "access": {"root": ["192.0.2.1"]}}
    place = laid(tmp_path / "pam", **changed)
    account = tmp_path / "pam" / "x"
    assert old in account.read_text()
    # Root from elsewhere is turned away ahead of Slurm, unless that line is broken as well.
    account.write_text(account.read_text().replace(old, new).replace(*ROOT_TOO if "ignore" in old else ("", "")))
    policy = [one for one in wanted(settings(**changed))["pam"]["policy"] if one.get("call") == "acct_mgmt"]
    failing = [one["name"] for one in _pam_prove.prove(policy, place, LIBPAM) if not one["holds"]]
    assert [name for name in failing if "message" in name] == ([f"{broken} is not shown the message"] if broken else [])
    assert broken or not failing


@pytest.mark.parametrize("nodes_own", NODES_OWN_RULES, ids=["Debian", "SLE"])
@pytest.mark.parametrize("base", BASES, ids=lambda base: base["account_base"])
def test_the_proof_holds_on_every_base(tmp_path, base, nodes_own):
    """Where a refusal does not end the node's own rules, an administrator whom they refuse comes to ours as well."""
    changed = {"pam": {**base, "message": MESSAGE}, "access": {"root": ["192.0.2.1"]}}
    place = laid(tmp_path / "pam", nodes_own, **changed)
    policy = [one for one in wanted(settings(**changed))["pam"]["policy"] if one.get("call") == "acct_mgmt"]
    assert [one["name"] for one in _pam_prove.prove(policy, place, LIBPAM) if not one["holds"]] == []


@pytest.mark.parametrize("module", ["pam_slurm_adopt", "pam_slurm"])
@pytest.mark.parametrize("root", ["ALL", "192.0.2.1"])
@pytest.mark.parametrize("broken", [None, "su", "su-l"])
def test_a_door_that_includes_another_shows_it_to_nobody_else(tmp_path, module, root, broken):
    """Slurm's module answers in one gate of two."""
    given = {"doors": {"su": "close", "su-l": "close"}, "pam": {"message": MESSAGE, "door_sources": {"su-l": "su"}}}
    manifest = wanted(settings(module=module, access={"root": [root]}, **given))["pam"]
    texts = {file["path"].rpartition("/")[2]: file["contents"] for file in manifest["files"] if "contents" in file}
    if broken:
        assert "[success=1 new" in texts[f"slurm-door-{broken}"]
        texts[f"slurm-door-{broken}"] = texts[f"slurm-door-{broken}"].replace("[success=1 new", "[success=ok new")
    texts |= {name: f"account include slurm-door-{name}\nsession required pam_unix.so\n" for name in ("su", "su-l")}
    for name, text in {**texts, "common-account": NODES_OWN}.items():
        (tmp_path / name).write_text(text)
    policy = [one for one in manifest["policy"] if one.get("module") == ECHO and one["service"] != "sshd"]
    failing = [one["name"] for one in _pam_prove.prove(policy, str(tmp_path), LIBPAM) if not one["holds"]]
    both = ["su", "su-l"] if broken == "su" and module == "pam_slurm" else [broken]
    assert failing == [f"{name}: a user with a job is not shown the message" for name in both if name]


ROOT_TOO = "requisite pam_succeed_if", "required pam_succeed_if"


def test_suse_has_a_link_for_each_file():
    files = pam_files(pam={"suffix": "-pc"})
    assert [(file["path"], file.get("link")) for file in files] == [
        ("/etc/pam.d/slurm-common-account-pc", None),
        ("/etc/pam.d/slurm-common-account", "slurm-common-account-pc"),
        ("/etc/pam.d/slurm-common-session-pc", None),
        ("/etc/pam.d/slurm-common-session", "slurm-common-session-pc"),
        ("/etc/pam.d/sshd", None),
    ]


def test_the_policy_asks_for_each_kind_of_login_and_for_a_session_and_what_the_site_asks():
    def names(**sections):
        return [scenario["name"] for scenario in wanted(settings(**sections))["pam"]["policy"]]

    assert names(access={"root": ["192.0.2.1"]}, pam={"policy": [{"name": "the site's own"}]}) == [
        "root and administrators get in from their origins with Slurm broken",
        "a user with a job gets in",
        "a user without a job is turned away",
        "root is turned away from other origins",
        "a session opens",
        "no session reaches pam_systemd.so",
        "no session reaches pam_cgfs.so",
        "the site's own",
    ]
    assert "nobody is turned away" in names(mode="adopt")


@pytest.mark.parametrize(
    ("sections", "modules"),
    [
        ({}, ["pam_access.so", "pam_slurm_adopt.so"]),
        ({"module": "pam_slurm"}, ["pam_access.so", "pam_slurm.so"]),
        ({"access": {"root": ["192.0.2.1"]}}, ["pam_access.so", "pam_succeed_if.so", "pam_slurm_adopt.so"]),
    ],
)
def test_the_modules_that_have_to_be_there(sections, modules):
    assert wanted(settings(**sections))["modules"] == modules


def test_the_service_of_slurmstepd():
    assert wanted(settings())["slurmstepd"] is None
    (file,) = wanted(settings(slurm={"use_pam": True}))["slurmstepd"]["files"]
    assert file["path"] == "/etc/pam.d/slurm"


# Other files


def test_the_access_file_is_complete_ordered_and_ends_in_the_denial():
    access = {
        "root": ["192.0.2.1"],
        "groups": {"wheel": {"origins": ["ALL"]}, "gone": None, "adm": {"origins": ["192.0.2.0/24"]}},
        "users": {"operator": {"origins": [".example.org"]}},
    }
    (file,) = wanted(settings(access=access))["access"]["files"]
    assert file["path"] == "/etc/security/slurm-access.conf"
    assert file["block"].splitlines() == [
        "+:root:192.0.2.1",
        "+:(adm):192.0.2.0/24",
        "+:(wheel):ALL",
        "+:operator:.example.org",
        "-:ALL:ALL",
    ]


def test_what_is_taken_out_with_null_is_nowhere_in_it():
    without = wanted(settings())
    groups = {**ADMINS["groups"], "gone": None}
    given = settings(
        access={"groups": groups, "users": {"gone": None}},
        slurm={"settings": {**DEFAULTS["slurm"]["settings"], "Gone": None}},
        sshd={"options": {**DEFAULTS["sshd"]["options"], "Gone": None}},
        pam_slurm_adopt={"nodename": None},
    )
    assert wanted(given) == without


def test_slurm_conf_is_asked_for_usepam_where_slurmstepd_is():
    assert wanted(settings())["slurm_conf"]["settings"] == DEFAULTS["slurm"]["settings"]
    values = wanted(settings(slurm={"use_pam": True}))["slurm_conf"]["settings"]
    assert values == {**DEFAULTS["slurm"]["settings"], "UsePAM": "1"}


def test_sshd_that_is_not_managed():
    assert wanted(settings())["sshd"]["options"] == DEFAULTS["sshd"]["options"]
    assert wanted(settings(sshd={"manage": False}))["sshd"] is None


# What tools change


@pytest.mark.parametrize(
    ("sections", "node", "modules"),
    [
        ({}, "slurm-node", "slurm-pam_slurm"),
        ({"packages": {"pam_slurm": "other"}, "module": "pam_slurm"}, "slurm-node", "other"),
        ({"packages": {"node": None}}, None, "slurm-pam_slurm"),
        ({"packages": {"manage": False}}, None, None),
    ],
)
def test_packages(sections, node, modules):
    assert wanted(settings(**sections))["packages"] == {"node": node, "modules": modules}


def test_groups_are_those_of_this_node_alone():
    who = {"origins": ["ALL"]}
    groups = {"a": {**who, "members": ["x"], "gid": 7}, "b": who, "ldap": {**who, "local": False}, "gone": None}
    assert wanted(settings(access={"groups": groups}))["groups"] == {
        "a": {"members": ["x"], "gid": 7},
        "b": {"members": [], "gid": None},
    }


@pytest.mark.parametrize("sections", [{}, {"slurm": {"use_pam": True}, "access": {"root": ["192.0.2.1"]}}])
def test_it_is_plain_data(sections):
    manifest = wanted(settings(**sections))
    assert json.loads(json.dumps(manifest)) == manifest


# What an apply touches


STACKS = ["/etc/pam.d/sshd", "/etc/pam.d/slurm-common-session", "/etc/pam.d/slurm-common-account"]
ACCESS_FILE, RECORD = "/etc/security/slurm-access.conf", "/var/lib/slurm_pam/places.json"
LOGIND = "/etc/systemd/system/systemd-logind.service"


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Configurations of its own, and a systemd that knows only the units of ``units``."""
    node = Node(tmp_path)
    monkeypatch.setattr(_child, "ask", node.ask)
    # No sshd is there to ask, so that options are taken as they are.
    monkeypatch.setattr(_child, "which", lambda program: None)
    return node


class Node:
    def __init__(self, top):
        self.units = ["systemd-logind.service"]
        self.main, self.drop_in = top / "sshd_config", top / "drop-ins" / "00-slurm_pam.conf"
        self.drop_in.parent.mkdir()
        self.main.write_text(f"Include {self.drop_in.parent}/*.conf\n")
        self.conf, self.included = top / "slurm.conf", top / "cgroup.conf"
        self.conf.write_text(f"ClusterName=c\nInclude {self.included}\n")
        self.included.write_text("TaskPlugin=task/none\n")

    def ask(self, *words):
        assert words[:-1] == ("systemctl", "show", "--property=LoadState")
        state = "loaded" if words[-1] in self.units else "not-found"
        return subprocess.CompletedProcess(words, 0, f"LoadState={state}\n", "")

    def touched(self, **sections):
        sshd = {"config": str(self.main), "drop_in": str(self.drop_in), **sections.pop("sshd", {})}
        slurm = {"conf": str(self.conf), **sections.pop("slurm", {})}
        return touched(settings(sshd=sshd, slurm=slurm, **sections))


def test_the_services_own_file_comes_back_first_and_the_record_last(node):
    assert node.touched() == [*STACKS, ACCESS_FILE, LOGIND, str(node.drop_in), RECORD]


def test_suses_links_come_back_ahead_of_their_files(node):
    names = ["sshd", *(f"slurm-common-{kind}{end}" for kind in ("session", "account") for end in ("", "-pc"))]
    assert node.touched(pam={"suffix": "-pc"})[:5] == [f"/etc/pam.d/{name}" for name in names]


@pytest.mark.parametrize(
    ("sections", "more", "less"),
    [
        ({"logind": "stop"}, [], [LOGIND]),
        ({"logind": "keep"}, [], [LOGIND]),
        ({"sshd": {"manage": False}}, [], ["drop_in"]),
        ({"sshd": {"drop_in": "/nowhere/x.conf"}}, ["main"], ["drop_in"]),
        ({"slurm": {"manage": "keep"}}, [], []),
        ({"slurm": {"manage": "enforce"}}, ["conf", "included"], []),
        ({"slurm": {"use_pam": True}}, ["/etc/pam.d/slurm"], []),
        ({"slurm": {"use_pam": True, "manage": "enforce"}}, ["conf", "included", "/etc/pam.d/slurm"], []),
        ({"access": {"file": "/etc/security/other.conf"}}, ["/etc/security/other.conf"], [ACCESS_FILE]),
        ({"pam": {"service": "other"}}, ["/etc/pam.d/other"], [STACKS[0]]),
        ({"mode": "adopt", "module": "pam_slurm_adopt"}, [], []),
        ({"module": "pam_slurm"}, [], []),
        ({"pam": {"message": "Get a job"}}, ["/etc/security/slurm-message"], []),
        ({"watch": True}, [f"/var/lib/slurm_pam/{name}" for name in ("watch", "drain", "accepted")], []),
    ],
)
def test_what_settings_add_and_leave_out(node, sections, more, less):
    usual = set(node.touched())
    more, less = ({str(getattr(node, name, name)) for name in names} for names in (more, less))
    assert set(node.touched(**sections)) == (usual | more) - less


def test_an_audit_touches_nothing(node):
    assert node.touched(mode="audit") == []


def test_every_mask_that_this_systemd_has_a_unit_for(node):
    node.units.append("systemd-logind-varlink.socket")
    assert [path for path in node.touched() if path.startswith("/etc/systemd")] == [
        LOGIND,
        "/etc/systemd/system/systemd-logind-varlink.socket",
    ]


def test_the_units_are_those_that_the_state_masks():
    assert {*LOGIND_UNITS} == {*load("_states/systemd_logind.py")._UNITS}


def test_where_systemd_does_not_answer_every_mask_may_be_made(node, monkeypatch):
    monkeypatch.setattr(_child, "ask", lambda *words: subprocess.CompletedProcess(words, 1, "", "no answer"))
    assert len([path for path in node.touched() if path.startswith("/etc/systemd")]) == 2


def test_what_is_ours_by_now_is_touched_even_if_nothing_is_to_be_written(node):
    before = node.touched(slurm={"manage": "enforce"})
    node.drop_in.write_text("# Managed by Salt (slurm_pam): changes here are lost.\nUsePAM yes\n")
    assert node.touched(sshd={"options": {"UsePAM": True}}, slurm={"manage": "enforce"}) == before


def test_a_link_is_followed_where_the_file_behind_it_is_edited(node, tmp_path):
    real, link = tmp_path / "real.conf", tmp_path / "link.conf"
    real.write_text("")
    os.symlink(real, link)
    assert str(real) in node.touched(access={"file": str(link)})
    assert str(link) not in node.touched(access={"file": str(link)})


def test_what_cannot_be_told_is_said(node):
    node.included.unlink()
    with pytest.raises(Exception, match=f"cannot read {node.included}"):
        node.touched(slurm={"manage": "enforce"})
