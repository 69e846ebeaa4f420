"""The face pam_stack: what Salt sees of the PAM text library."""

import inspect

import pytest
from harness.source import load
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import get_function_argspec
from unit.pam_texts import OLD

import _pam_grammar

pam_stack = load("_modules/pam_stack.py")
PUBLIC = {"parse", "find", "edit", "read", "libpam", "expand", "show", "diagram", "lint", "plan", "plan_back"}
ETC = "/nowhere/pam.d"


def test_what_is_public():
    """As Salt's loader sees it: functions without an underscore."""
    names = {name for name, _ in inspect.getmembers(pam_stack, inspect.isfunction) if not name.startswith("_")}
    assert names == PUBLIC


def test_signatures_are_the_functions_own():
    """Salt fits a command line to them."""
    found = get_function_argspec(pam_stack.plan)
    assert (found.args, found.defaults) == (
        ["files", "policy", "marker", "replace"],
        (None, "# Managed by Salt", False),
    )
    assert get_function_argspec(pam_stack.find).keywords == "selector"


def test_what_the_library_answers():
    text = "auth required pam_x.so\n"
    assert pam_stack.parse(text, OLD) == _pam_grammar.parse(text, OLD)
    assert pam_stack.edit(text, [{"remove": {"type": "auth"}}], OLD) == ""


def test_what_salt_adds_to_keywords_selects_nothing():
    text = "auth required pam_x.so\naccount required pam_x.so\n"
    (entry,) = pam_stack.find(text, type="account", __pub_user="root", __pub_jid="1")
    assert entry["line"] == 2


def test_what_cannot_be_done_is_an_execution_error():
    with pytest.raises(CommandExecutionError, match=r"^no line matches \{'type': 'auth'\}; the lines are: none$"):
        pam_stack.edit("", [{"remove": {"type": "auth"}}], OLD)


def test_a_bad_argument_is_an_invocation_error():
    with pytest.raises(SaltInvocationError, match=r"^service: 3 is not a text such as sshd$"):
        pam_stack.expand(3)
    with pytest.raises(SaltInvocationError, match=r"^a file is a mapping with a path, not 3$"):
        pam_stack.plan([3])


def test_a_refusal_keeps_what_it_knows():
    with pytest.raises(CommandExecutionError) as raised:
        pam_stack.expand("x", ETC, OLD, {f"{ETC}/x": "#\nauth include x\n"})
    error = raised.value
    assert (error.kind, error.file, error.line, error.reason) == ("circle", f"{ETC}/x", 2, str(error))
