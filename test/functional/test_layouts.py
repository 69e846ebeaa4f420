"""What is on a node already: our stacks close it, or are refused with the line at fault and nothing written."""

import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from harness.source import Modules, load
from libpam.layouts import LAYOUTS

import _pam_libpam
import _slurm_pam_wanted

ROOT = pathlib.Path(__file__).parents[2]
DRIVER = ROOT / "test" / "libpam" / "driver.py"
DEFAULTS = yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text())
DENIED, GRANTED, BROKEN = "perm_denied", "success", "module_unknown"
# Who logs in, and what pam_access and Slurm's module answer.
LOGINS = {
    "an administrator, Slurm broken": (GRANTED, BROKEN),
    "a user with a job": (DENIED, GRANTED),
    "a user without a job": (DENIED, DENIED),
    "a user without a job, Slurm broken": (DENIED, BROKEN),
}
GETS_IN = ("an administrator, Slurm broken", "a user with a job")


SALT, STATES = Modules("file_transaction", "pam_stack", "pam_verdict", "slurm_pam").salt, {}
# No module is there to be loaded.
SALT["slurm_pam.unusable_modules"] = lambda settings: []
STATES["pam_stack.managed"] = load("_states/pam_stack.py", __salt__=SALT, __opts__={"test": False}).managed
STATE = load("_states/slurm_pam.py", __salt__=SALT, __states__=STATES, __opts__={"test": False})


class Node:
    """The PAM directories of a layout below a directory, where from now on the formula's modules look."""

    def __init__(self, top, layout, monkeypatch):
        self.top, self.layout, self.salt = top, layout, SALT
        # The one place that knows where this libpam looks.
        here = {**layout.libpam, "confdirs": [f"{top}{path}" for path in layout.libpam["confdirs"]]}
        monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: here)
        monkeypatch.setattr(_slurm_pam_wanted, "PAM_DIRECTORY", f"{top}/etc/pam.d")
        for directory in layout.libpam["confdirs"]:
            (top / directory[1:]).mkdir(parents=True)
        for path, what in layout.files.items():
            self._put(top / path[1:], what)

    def _put(self, path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            path.write_text(what)
        elif what and "link" in what:
            target = what["link"]
            path.symlink_to(f"{self.top}{target}" if target.startswith("/") else target)
        elif what:
            path.mkdir()

    def apply(self):
        settings = {**DEFAULTS, "pam": {**DEFAULTS["pam"], **self.layout.pam}}
        return STATE.stacks_managed("stacks", settings)

    def tree(self):
        return {
            str(path.relative_to(self.top)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in sorted(self.top.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    def answer(self, rule, access, slurm, localuser):
        """What a rule's module answers to somebody of whom these three are known."""
        if rule["module"] == "pam_access.so" and "nodefgroup" in rule["args"]:
            return access
        known = {"pam_slurm_adopt.so": slurm, "pam_localuser.so": localuser, "pam_deny.so": "auth_err"}
        return known.get(rule["module"], GRANTED)

    def decide(self, *answers):
        (made,) = self.salt["pam_verdict.decide"]("sshd", "acct_mgmt", lambda rule, call: self.answer(rule, *answers))
        return made["code"]

    def case(self, *answers):
        """The same question for the real libpam: pam_debug.so answers in every module's place."""
        files = {}
        for path in (self.top / "etc/pam.d").iterdir():
            entries = self.salt["pam_stack.read"](str(path))
            for entry in entries:
                if entry["kind"] == "rule" and entry["type"] == "account":
                    rule = ["account", entry["control"], "pam_debug.so", f"acct={self.answer(entry, *answers)}\n"]
                    entry["text"] = " ".join(rule)
            files[f"/etc/pam.d/{path.name}"] = "".join(entry["text"] for entry in entries)
        return {"files": files, "service": "sshd", "calls": ["acct_mgmt"]}


@pytest.fixture
def node(tmp_path, request, monkeypatch):
    return Node(tmp_path, LAYOUTS[request.param], monkeypatch)


SAFE = [name for name, layout in LAYOUTS.items() if layout.safe]
REFUSED = [name for name, layout in LAYOUTS.items() if not layout.safe]


@pytest.mark.parametrize("node", REFUSED, indirect=True)
def test_refused_with_the_line_at_fault_and_nothing_written(node):
    before = node.tree()
    ret = node.apply()
    told = ret["comment"].replace(str(node.top), "")
    assert (ret["result"], ret["changes"]) == (False, {}), told
    assert node.tree() == before
    assert node.layout.at is None or re.search(rf"{re.escape(node.layout.at)}(?!\d)", told), told
    for words in node.layout.says:
        assert words in told, told


@pytest.mark.parametrize("node", SAFE, indirect=True)
def test_made_safe(node):
    ret = node.apply()
    assert ret["result"] is True, ret["comment"]
    after = node.tree()
    assert node.apply()["changes"] == {}
    assert node.tree() == after
    for login, localuser in itertools.product(LOGINS, (GRANTED, DENIED)):
        code = node.decide(*LOGINS[login], localuser)
        assert (code == "success") is (login in GETS_IN), (login, code)
    sessions = node.salt["pam_stack.expand"]("sshd")["types"]["session"]
    assert not [rule for rule in sessions if "pam_systemd.so" in (rule["module"] or "")]


def test_the_real_libpam_says_the_same(tmp_path, monkeypatch):
    """Of layouts whose files are all in /etc/pam.d, where each libpam looks."""
    questions = []
    for number, name in enumerate(SAFE):
        layout = LAYOUTS[name]
        if all(path.startswith("/etc/") and what != {"directory": True} for path, what in layout.files.items()):
            top = tmp_path / str(number)
            node = Node(top, layout, monkeypatch)
            assert node.apply()["result"] is True
            for login, localuser in itertools.product(LOGINS, (GRANTED, DENIED)):
                questions.append((name, login, node.case(*LOGINS[login], localuser)))
    cases = "".join(json.dumps(case) + "\n" for _, _, case in questions)
    asked = subprocess.run([sys.executable, DRIVER], input=cases, capture_output=True, text=True, check=False)
    if "unshare" in asked.stderr or "mount" in asked.stderr:
        pytest.skip("needs root or unprivileged user namespaces")
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    assert len(answers) == len(questions) > 200, asked.stderr
    for (name, login, case), answer in zip(questions, answers):
        assert (answer == {"codes": [0]}) is (login in GETS_IN), (name, login, answer, case)
