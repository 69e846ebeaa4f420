"""pam_stack and pam_verdict as Salt loads them, several files under one name, and as its command line shows them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

ROOT = Path(__file__).parents[2]
SSHD = "auth substack common\naccount required pam_nologin.so\naccount include common\nsession [success=9] pam_x.so\n"
COMMON = (
    "auth required pam_unix.so\naccount [success=1 default=ignore] pam_unix.so\naccount requisite pam_deny.so\n"
    "account required pam_permit.so\n"
)
LIBPAM = {"version": "1.5.2", "debian": False}
RESULTS = {"pam_nologin.so": "success", "pam_unix.so": "acct_expired", "pam_deny.so": "auth_err"}


@pytest.fixture
def reading(tmp_path):
    """Where the functions are to read."""
    directory = tmp_path / "pam.d"
    directory.mkdir()
    (directory / "sshd").write_text(SSHD)
    (directory / "common").write_text(COMMON)
    return {"confdirs": str(directory), "libpam": LIBPAM}


def test_show(modules, reading):
    shown = modules.pam_stack.show("sshd", "account", **reading)
    assert [line.split()[:3] for line in shown.splitlines()] == [
        ["account", "(from", "sshd)"],
        ["1", "required", "pam_nologin.so"],
        ["2", "[success=1", "default=ignore]"],
        ["3", "requisite", "pam_deny.so"],
        ["4", "required", "pam_permit.so"],
    ]


def test_lint(modules, reading):
    (finding,) = modules.pam_stack.lint("sshd", **reading)
    assert (finding["line"], finding["severity"]) == (4, "error")
    assert finding["finding"].startswith("a jump of 9 runs out of lines")


def test_a_refusal_says_where(modules, reading):
    """The exception comes through the loader with what it knows, and lint has the same."""
    files = {f"{reading['confdirs']}/common": "account include common\n"}
    with pytest.raises(CommandExecutionError) as raised:
        modules.pam_stack.expand("sshd", **reading, files=files)
    told = raised.value
    assert (told.kind, told.file, told.line) == ("circle", f"{reading['confdirs']}/common", 1)
    findings = modules.pam_stack.lint("sshd", **reading, files=files)
    assert (told.file, 1, str(told)) in [(each["file"], each["line"], each["finding"]) for each in findings]


@pytest.mark.skipif(not shutil.which("dot"), reason="no graphviz here")
@pytest.mark.parametrize("facility", ["auth", "account", "session"])
def test_graphviz_draws_the_diagram(modules, reading, facility):
    text = modules.pam_stack.diagram("sshd", facility, "dot", **reading)
    drawn = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=True)
    assert drawn.stderr == ""
    pictured = drawn.stdout.replace("&#45;", "-")
    assert "</svg>" in pictured and "sshd" in pictured and "the end" in pictured


def test_diagram(modules, reading):
    for format_, head in (("mermaid", "flowchart TD\n"), ("dot", "digraph stack {\n")):
        text = modules.pam_stack.diagram("sshd", "account", format_, **reading)
        assert text.startswith(head)
        assert "requisite pam_deny.so" in text


def test_decide_and_trace(modules, reading):
    (made,) = modules.pam_verdict.decide("sshd", "acct_mgmt", RESULTS, **reading)
    assert (made["code"], [step["line"] for step in made["trace"]]) == ("auth_err", [2, 2, 3])
    told = modules.pam_verdict.trace("sshd", "acct_mgmt", RESULTS, **reading)
    assert told.startswith("acct_mgmt answers auth_err\n")


def test_outcomes(modules, reading):
    known = {"pam_nologin.so": "success", "pam_unix.so": ["success", "auth_err"], "pam_deny.so": "auth_err"}
    assert modules.pam_verdict.outcomes("sshd", "acct_mgmt", {**known, "pam_permit.so": "success"}, **reading) == [
        "auth_err",
        "success",
    ]


def test_prove(modules, reading):
    scenario = {"name": "expired", "service": "sshd", "call": "acct_mgmt", "given": {"pam_unix.so": "acct_expired"}}
    denied, permitted = modules.pam_verdict.prove(
        [{**scenario, "expect": "deny"}, {**scenario, "name": "not", "expect": "permit"}], **reading
    )
    assert (denied["holds"], permitted["holds"], permitted["counterexample"]["code"]) == (True, False, "auth_err")


# --- on the command line ---


@pytest.fixture(scope="module")
def salt_call(tmp_path_factory, warm):
    """salt-call of this repository's modules: a function of words that returns what is printed."""
    top = tmp_path_factory.mktemp("salt-call")
    settings = {"root_dir": str(top), "file_client": "local", "id": "node", "module_dirs": [str(ROOT / "_modules")]}
    (top / "minion").write_text(json.dumps(settings))

    def call(*words):
        done = warm.call("salt-call", "--local", f"--config-dir={top}", "--log-level=error", *words)
        assert (done.rc, "ERROR" in done.stderr) == (0, False), done.stderr
        return done.stdout

    return call


@pytest.fixture
def answers(modules):
    """That every module of this machine's sshd answers success, as one writes it on a command line."""
    account = modules.pam_stack.expand("sshd")["types"]["account"]
    return json.dumps({handler["module"]: "success" for handler in account if handler["kind"] == "module"})


def test_the_issues_commands(salt_call, answers):
    """On this machine's own sshd, without another word."""
    assert "  1  required" in salt_call("pam_stack.show", "sshd", "account")
    assert "flowchart TD" in salt_call("pam_stack.diagram", "sshd", "account")
    assert salt_call("pam_stack.lint", "sshd").startswith("local:")
    decided = salt_call("pam_verdict.decide", "sshd", "acct_mgmt", f"results={answers}")
    assert "\n- call: acct_mgmt\n  code: success\n  trace:\n  - action: " in decided
    traced = salt_call("pam_verdict.trace", "sshd", "acct_mgmt", f"results={answers}")
    assert "\n    acct_mgmt answers success\n      /etc/pam.d/" in traced
    assert "    - success\n" in salt_call("pam_verdict.outcomes", "sshd", "acct_mgmt")


@pytest.fixture
def words(reading):
    return [f"confdirs={reading['confdirs']}", f"libpam={json.dumps(LIBPAM)}"]


def test_a_decision_can_be_read_and_is_data(salt_call, words):
    command = ["pam_verdict.decide", "sshd", "acct_mgmt", f"results={json.dumps(RESULTS)}", *words]
    assert salt_call(*command).splitlines()[:7] == [
        "local:",
        "- call: acct_mgmt",
        "  code: auth_err",
        "  trace:",
        "  - action: ok",
        "    answer: success",
        "    call: acct_mgmt",
    ]
    (made,) = json.loads(salt_call("--out=json", *command))["local"]
    assert made["trace"][-1]["why"] == "It refuses and ends the stack here."


def test_findings_can_be_read_and_are_data(salt_call, words, reading):
    path = Path(reading["confdirs"], "sshd")
    path.write_text("account required pam_a.so\r\x1b[2J\n")
    assert salt_call("pam_stack.lint", "sshd", *words).splitlines() == [
        "local:",
        f"- file: {path}",
        "  finding: a carriage return is part of a word, as in files written on Windows",
        "  line: 1",
        "  remedy: Take the carriage returns out of the file.",
        "  severity: error",
    ]
    (finding,) = json.loads(salt_call("--out=json", "pam_stack.lint", "sshd", *words))["local"]
    assert list(finding) == ["file", "line", "severity", "finding", "remedy"]
    shown = salt_call("pam_stack.show", "sshd", "account", *words)
    assert r"pam_a.so\r\x1b[2J" in shown
    assert shown.replace("\n", "").isprintable()


def test_a_proof_can_be_read(salt_call, words):
    policy = [{"name": "x", "service": "sshd", "call": "acct_mgmt", "given": {"pam_no.so": "any"}, "expect": "permit"}]
    proven = salt_call("pam_verdict.prove", json.dumps(policy), *words)
    assert proven.splitlines()[1:] == [
        "- counterexample: null",
        "  expect: permit",
        "  holds: true",
        "  name: x",
        "  unmatched:",
        "  - pam_no.so",
    ]
