"""Random configurations, asked of pam_verdict and of this machine's real libpam."""

import os

import pytest
from libpam import differential

import _pam_grammar
import _pam_libpam
import _pam_prove
from _pam_errors import PamError

SEEDS = range(4)
EACH = 5000


def asked(command):
    """This machine's libpam, or why there is nothing to ask."""
    if lacking := differential.lacking(command):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"libpam cannot be asked: {lacking}")
    return _pam_libpam.libpam()


@pytest.fixture(scope="module")
def libpam():
    return asked(differential.COMMAND)


@pytest.fixture(scope="module")
def conf_libpam():
    """The same where it reads /etc/pam.conf."""
    return asked(differential.CONF_COMMAND)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configurations(libpam, seed):
    disagreements = []
    tally, count = differential.compare(seed, EACH, libpam, found=lambda *told, **_: disagreements.append(told))
    assert count == 0, disagreements[:3]
    assert tally["answered"] > EACH / 2


def test_random_configurations_with_a_pam_conf(conf_libpam):
    disagreements = []
    tally, count = differential.compare(
        0, 2000, conf_libpam, differential.CONF_COMMAND, found=lambda *told, **_: disagreements.append(told)
    )
    assert count == 0, disagreements[:3]
    assert tally["answered"] > 1000


def files(svc, **others):
    texts = {"svc": svc, **{name.replace("_", "-"): text for name, text in others.items()}}
    return {f"/etc/pam.d/{name}": text for name, text in texts.items()}


YES, NO = "pam_debug.so", "pam_debug.so acct=perm_denied"

# Each was once answered differently, or is easily got wrong.
CASES = {
    "@include where a control is": files(f"account @include {YES}\naccount required {YES}\n"),
    "@include where a control is, after a continuation": files(f"account\\\n@include inc-c\naccount required {YES}\n"),
    "@include of nothing after other lines": files(
        "account include inc-a\n", inc_a=f"account required {YES}\n@include nothing\naccount required {NO}\n"
    ),
    "-@INCLUDE in capitals": files("-@INCLUDE inc-a\n", inc_a=f"account required {YES}\n"),
    "an included file that ends in a continuation": files(
        "account include inc-a\n", inc_a=f"account required {YES}\naccount required {NO} \\\n"
    ),
    "jump to just past the last line": files(
        f"account required {YES}\naccount [success=1] {YES}\naccount required {NO}\n"
    ),
    "jump one too far": files(f"account required {YES}\naccount [success=2] {YES}\naccount required {NO}\n"),
    "jump so large that it wraps to an action": files(f"account [success=4294967295] {YES}\naccount required {YES}\n"),
    "jump over an unreadable substack": files(
        f"account [success=2] {YES}\naccount substack nothing\naccount required {YES}\n"
    ),
    "jump over a substack": files(
        f"account [success=1] {YES}\naccount substack inc-a\naccount required {YES}\n",
        inc_a=f"account required {NO}\n" * 3,
    ),
    "reset in a substack": files(
        f"account required {YES}\naccount substack inc-a\n",
        inc_a=f"account required {NO}\naccount [success=reset] {YES}\n",
    ),
    "reset in a nested substack": files(
        f"account required {YES}\naccount substack inc-a\n",
        inc_a=f"account required {NO}\naccount substack inc-b\naccount [success=reset] {YES}\n",
        inc_b=f"account [success=reset] {YES}\naccount required {YES}\n",
    ),
    "done after a refusal": files(f"account required {NO}\naccount sufficient {YES}\naccount required {YES}\n"),
    "ignore as an answer": files("account [ignore=ok] pam_debug.so acct=ignore\n"),
    "an empty substack is a handler": files("account substack inc-a\n", inc_a="", other=f"account required {YES}\n"),
    "other": files(f"auth required {YES}\n", other=f"account required {YES}\n"),
    "a suspended call and another one": files(f"account required {YES}\nauth required pam_debug.so auth=incomplete\n"),
    "a frozen call that ignores": files("auth [success=ok default=bad] pam_debug.so cred=ignore\n"),
    "a frozen jump": files(f"auth [success=1 default=bad] {YES}\nauth required {NO}\n"),
    "a self-substack": files(f"account required {YES}\naccount substack /etc/pam.d/svc\n"),
    "a directory as include": files(f"account include /etc\naccount required {YES}\n"),
    "a nameless module in the service's own file": files("account required ?\n"),
    "include without a file": files("account include\n"),
    "a line past the old buffer": files(f"account required {YES} {'x' * 1100} acct=perm_denied\n"),
    # The old libpam dies of these, and we say where the circle is.
    "files that include each other": files("account include inc-a\n", inc_a="account include svc\n"),
    "files that include each other across directories": {
        **files("account include inc-a\n", inc_a="account include /usr/lib/pam.d/inc-b\n"),
        "/usr/lib/pam.d/inc-b": f"account required {YES}\naccount include inc-a\n",
    },
    "files that include each other many times over": files(
        "account substack inc-a\n" * 3, inc_a="account substack svc\n" * 3
    ),
    "a file that includes itself in a substack": files(
        "account include inc-a\n", inc_a="account substack /etc/pam.d/svc\naccount include inc-a\n"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_named(libpam, name):
    case = {"files": CASES[name], "service": "svc", "calls": [*differential.CALLS, "authenticate"]}
    (libpams,) = differential.real([case])
    assert differential.same(libpams, differential.model(case, libpam))


DIED = ["no start: {'died': 11}"]


def test_what_counts_as_the_same():
    case = {"files": {**CASES["files that include each other"]}, "service": "svc", "calls": ["acct_mgmt"]}
    ours = differential.model(case, OLD)
    assert "/etc/pam.d/svc:1 includes inc-a 65 levels deep" in ours[0]
    assert differential.same(DIED, ours)
    # An answer of libpam's is one to be given, and a file that cannot be read is no circle.
    assert not differential.same(["success"], ours)
    assert not differential.same(["no start: {'start': 26}"], ours)
    case["files"]["/etc/pam.d/inc-a"] = {"link": "/dev/null"}
    assert not differential.same(DIED, differential.model(case, OLD))


CONF_CASES = {
    "its lines are the service's": (f"svc account required {YES}\nother account required {NO}\n", "success"),
    "other's are the fallback of each type": (f"svc auth required {YES}\nOther account required {YES}\n", "success"),
    "a service in brackets and capitals": (f"[SVC] account required {NO}\n", "perm_denied"),
    "another service's lines": (f"svc2 account required {NO}\nsvc account required {YES}\n", "success"),
    "a bad line of another service": (f"svc2 foo\nsvc account required {YES}\n", "success"),
    "a nameless module of another service": (f"svc2 account required ?\nsvc account required {YES}\n", "success"),
    "a service alone": (f"svc\nsvc account required {YES}\n", "success"),
    "a continued service": (f"sv\\\nc account required {YES}\nother account required {NO}\n", "perm_denied"),
    "an included file has no services": (f"svc account include /etc/inc-a\nsvc account required {NO}\n", "success"),
    "a relative include": (f"svc account include inc-a\nsvc account sufficient {YES}\n", "perm_denied"),
    "@include is for Debian's services too": ("svc @include /etc/inc-a\n", "success"),
    "no line of the service or other": (f"svc2 account required {YES}\n", "perm_denied"),
}


@pytest.mark.parametrize("name", CONF_CASES)
def test_named_with_a_pam_conf(conf_libpam, name):
    conf, code = CONF_CASES[name]
    case = {"files": {differential.CONF: conf, "/etc/inc-a": f"account sufficient {YES}\n"}, "service": "svc"}
    case["calls"] = ["acct_mgmt", "open_session", "authenticate"]
    (libpams,) = differential.real([case], differential.CONF_COMMAND)
    assert libpams == differential.model(case, conf_libpam)
    assert libpams[0] == code


# libpam before 1.6.0 goes on with memory it never set, so there is no right answer and none is given.
UNDEFINED = {
    "a nameless module in an included file": files("account include inc-a\n", inc_a="account required ?\n"),
    "a nameless substack in an included file": files("account include inc-a\n", inc_a="account substack /\n"),
    "an @include of nothing as an included file's first line": files(
        "account include inc-a\n", inc_a="@include nothing\n"
    ),
}
OLD, NEW = {"version": "1.5.2", "debian": True}, {"version": "1.7.0", "debian": True}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_is_undefined_is_said_to_be(name):
    case = {"files": UNDEFINED[name], "service": "svc", "calls": ["acct_mgmt"]}
    assert differential.undefined(differential.model(case, OLD))


def test_a_half_made_handler_is_there_in_open_session_and_not_in_close_session():
    # As libpam 1.7.0 answers.
    text = "session [success=2 default=bad] pam_debug.so\nsession required []\n"
    case = {"files": files("session optional pam_debug.so\nsession include inc-a\n", inc_a=text), "service": "svc"}
    case["calls"] = ["open_session", "close_session"]
    assert differential.model(case, NEW) == ["success", "perm_denied"]


@pytest.mark.parametrize("expect", ["permit", "deny"])
def test_libpam_confirms_counterexamples(libpam, expect):
    """A stack whose modules answer as the counterexample says does what it says."""
    generator, confirmed = differential.Generator(7), 0
    while confirmed < 60:
        case = generator.case()
        given = {"name": "x", "service": "svc", "call": "acct_mgmt", "expect": expect}
        try:
            (proof,) = _pam_prove.prove([given], differential.CONFDIRS, libpam, differential.overlay(case))
        except PamError:
            continue
        example = proof["counterexample"]
        if not example or not example["answers"]:
            continue
        told = {(answer["file"], answer["line"]): answer["answer"] for answer in example["answers"]}
        if len(told) < len(example["answers"]):
            continue  # one line that is included twice can only be told one answer
        changed = {path: retold(path, text, told, libpam) for path, text in case["files"].items()}
        (answer,) = differential.real([{"files": changed, "service": "svc", "calls": ["acct_mgmt"]}])
        assert answer == [example["code"]], (case, example)
        confirmed += 1


def retold(path, text, told, libpam):
    """A file in which the rules' modules answer as told."""
    lines = []
    for entry in _pam_grammar.parse(text, libpam):
        code = told.get((path, entry["line"]))
        if code is None or entry["kind"] != "rule":
            lines.append(entry["text"])
        else:
            control = entry["control"].replace("\n", " ").replace("\\", "")
            lines.append(f"{entry['type']} {control} pam_debug.so acct={code}\n")
    return "".join(lines)
