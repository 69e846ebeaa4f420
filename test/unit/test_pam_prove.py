"""pam_verdict: libpam's dispatch, every reachable outcome, proofs and their counterexamples."""

import pytest
from harness.paths import REPO
from hypothesis import given, settings
from hypothesis import strategies as st

import _pam_dispatch
import _pam_expand
import _pam_libpam
import _pam_prove
from _pam_errors import PamError, PamUsageError
from _pam_grammar import RETURN_CODES, TYPES

CONFDIRS = ["/nowhere/pam.d"]
UPSTREAM, DEBIAN = {"version": "1.5.2", "debian": False}, {"version": "1.5.2", "debian": True}


def overlay(**texts):
    """Files by name; the service is svc."""
    return {f"{CONFDIRS[0]}/{name.replace('_', '-')}": text for name, text in texts.items()}


def decide(text, results, calls="acct_mgmt", libpam=UPSTREAM, **others):
    files = overlay(svc=text, **others)
    return _pam_prove.decide("svc", calls, results, confdirs=CONFDIRS, libpam=libpam, files=files)


def codes(*args, **kwargs):
    return [made["code"] for made in decide(*args, **kwargs)]


def account(*lines):
    return "".join(f"account {line}\n" for line in lines)


def test_what_is_always_answered_are_codes_that_a_call_can_give():
    text = "".join(f"{type_} required {module}\n" for type_ in TYPES for module in ("pam_permit.so", "pam_deny.so"))
    found = _pam_expand.expand("svc", CONFDIRS, UPSTREAM, overlay(svc=text))["types"]
    for type_, handlers in found.items():
        passes = [p for call in _pam_dispatch.CALLS.values() if call.facility == type_ for p in call.passes]
        for handler in handlers:
            assert set(handler["always"].values()) <= set(RETURN_CODES)
            assert list(handler["always"]) == passes


def test_libpams_codes():
    assert len(set(RETURN_CODES)) == 32


# --- decide ------------------------------------------------------------------------------------------------------

ANSWERS = {
    "pam_yes.so": "success",
    "pam_no.so": "perm_denied",
    "pam_err.so": "auth_err",
    "pam_new.so": "new_authtok_reqd",
    "pam_skip.so": "ignore",
    "pam_wait.so": "incomplete",
}


@pytest.mark.parametrize(
    "lines, code",
    [
        ([], "perm_denied"),
        (["required pam_yes.so"], "success"),
        (["required pam_skip.so", "optional pam_err.so"], "perm_denied"),
        (["required pam_err.so", "required pam_no.so"], "auth_err"),
        (["requisite pam_err.so", "required pam_missing.so"], "auth_err"),
        (["sufficient pam_yes.so", "required pam_missing.so"], "success"),
        (["required pam_err.so", "sufficient pam_yes.so", "required pam_no.so"], "auth_err"),
        (["required pam_new.so", "required pam_yes.so"], "new_authtok_reqd"),
        (["required pam_yes.so", "required pam_new.so"], "new_authtok_reqd"),
        (["[ignore=ok] pam_skip.so"], "ignore"),
        (["[ignore=bad] pam_skip.so"], "perm_denied"),
        (["[success=bad] pam_yes.so"], "perm_denied"),
        (["[success=2] pam_yes.so", "required pam_no.so", "required pam_no.so", "required pam_yes.so"], "success"),
        (["required pam_yes.so", "[success=1] pam_yes.so", "required pam_no.so"], "success"),
        (["required pam_yes.so", "[success=2] pam_yes.so", "required pam_no.so"], "perm_denied"),
        (["required pam_err.so", "[success=reset] pam_yes.so", "required pam_yes.so"], "success"),
        (["required pam_wait.so", "required pam_no.so"], "incomplete"),
        (
            ["required pam_err.so", "sufficient pam_yes.so", "[success=reset] pam_yes.so", "required pam_new.so"],
            "new_authtok_reqd",
        ),
        (["required"], "perm_denied"),
        (["sufficient pam_yes.so", "required nothing-follows.so"], "success"),
    ],
)
def test_one_stack(lines, code):
    assert codes(account(*lines), ANSWERS) == [code]


@pytest.mark.parametrize(
    "how, after, code",
    [("include", "required pam_no.so", "success"), ("substack", "required pam_no.so", "perm_denied")],
)
def test_an_early_end_leaves_an_include_and_stays_in_a_substack(how, after, code):
    assert codes(account(f"{how} inner", after), ANSWERS, inner=account("sufficient pam_yes.so")) == [code]


def test_reset_in_a_substack_goes_back_to_where_it_began():
    inner = account("required pam_err.so", "[success=reset] pam_yes.so")
    assert codes(account("required pam_yes.so", "substack inner"), ANSWERS, inner=inner) == ["success"]
    assert codes(account("required pam_no.so", "substack inner"), ANSWERS, inner=inner) == ["perm_denied"]


def test_a_jump_counts_a_substack_as_one():
    lines = ["[success=1] pam_yes.so", "substack inner", "required pam_yes.so"]
    assert codes(account(*lines), ANSWERS, inner=account("required pam_no.so", "required pam_no.so")) == ["success"]


def test_other_answers_for_a_facility_without_handlers():
    other = "auth required pam_no.so\naccount required pam_yes.so\n"
    text = "auth required pam_yes.so\n"
    assert codes(text, ANSWERS, calls="authenticate,acct_mgmt,open_session", other=other) == [
        "success",
        "success",
        "perm_denied",
    ]


def test_setcred_takes_the_way_authenticate_took():
    text = "auth [success=done default=bad] pam_a.so\nauth required pam_b.so\n"
    results = {
        "pam_a.so": {"authenticate": "success", "setcred": "cred_err"},
        "pam_b.so": {"authenticate": "success", "setcred": "cred_expired"},
    }
    made = decide(text, results, calls=["authenticate", "setcred"])
    assert [step["code"] for step in made] == ["success", "cred_err"]
    assert [step["line"] for step in made[1]["trace"]] == [1]
    assert "earlier call" in made[1]["trace"][0]["why"]
    assert codes(text, results, calls="setcred") == ["cred_err"]
    assert codes("auth [success=ok] pam_a.so", {"pam_a.so": {"setcred": "ignore", "authenticate": "success"}},
                 calls="authenticate,setcred") == ["success", "perm_denied"]  # fmt: skip


@pytest.mark.parametrize("libpam, code", [(UPSTREAM, "success"), (DEBIAN, "perm_denied")])
def test_a_jump_in_a_frozen_call_counts_upstream_and_not_in_debian(libpam, code):
    text = "session [success=1 default=bad] pam_yes.so\nsession required pam_no.so\n"
    assert codes(text, ANSWERS, calls="open_session,close_session", libpam=libpam) == ["perm_denied", code]


def test_chauthtok_asks_twice_and_stops_after_a_refusal():
    text = "password required pam_a.so\n"
    refused = decide(text, {"pam_a.so": {"prechauthtok": "try_again", "chauthtok": "success"}}, calls="chauthtok")
    assert refused[0]["code"] == "try_again"
    assert [step["call"] for step in refused[0]["trace"]] == ["prechauthtok"]
    both = decide(text, {"pam_a.so": "success"}, calls="chauthtok")
    assert [step["call"] for step in both[0]["trace"]] == ["prechauthtok", "chauthtok"]


def test_a_suspended_call_goes_on_where_it_waited():
    answers = iter(["success", "incomplete", "success"])
    text = account("required pam_a.so", "required pam_b.so") + "auth required pam_a.so\n"
    asked = []

    def answer(rule, call):
        asked.append((rule["module"], call))
        return next(answers)

    made = decide(text, answer, calls=["acct_mgmt", "authenticate", "acct_mgmt"])
    assert [step["code"] for step in made] == ["incomplete", "abort", "success"]
    assert [module for module, _ in asked] == ["pam_a.so", "pam_b.so", "pam_b.so"]


def test_chauthtok_suspended_in_the_update_goes_on_there():
    answers = iter(["success", "incomplete", "success"])
    asked = []

    def answer(_rule, call):
        asked.append(call)
        return next(answers)

    assert codes("password required pam_a.so\n", answer, calls="chauthtok,chauthtok") == ["incomplete", "success"]
    assert asked == ["prechauthtok", "chauthtok", "chauthtok"]


def test_a_service_that_cannot_start_is_one_step():
    (made,) = decide("auth required .so\n", {})
    assert (made["call"], made["code"]) == ("start", "abort")
    assert made["trace"][0]["line"] == 1
    assert "names no module" in made["trace"][0]["why"]
    (made,) = _pam_prove.decide("svc", "acct_mgmt", {}, confdirs=CONFDIRS, libpam=UPSTREAM, files={})
    assert made["call"] == "start"


def test_a_step_tells_what_happened():
    (made,) = decide(account("sufficient pam_skip.so", "[success=2] pam_yes.so quiet"), ANSWERS)
    first, last = made["trace"]
    assert first == {
        "call": "acct_mgmt",
        "file": f"{CONFDIRS[0]}/svc",
        "line": 1,
        "rule": "account sufficient pam_skip.so",
        "answer": "ignore",
        "action": "ignore",
        "impression": "undefined",
        "status": "perm_denied",
        "why": "ignore is ignored by this line.",
    }
    assert last["rule"] == "account [success=2] pam_yes.so quiet"
    assert (last["action"], last["impression"], last["status"]) == ("jump 2", "negative", "perm_denied")


def test_trace_is_the_same_as_text():
    text = _pam_prove.trace("svc", "acct_mgmt,open_session", ANSWERS, CONFDIRS, UPSTREAM, overlay(
        svc=account("sufficient pam_err.so", "required pam_yes.so")
    ))  # fmt: skip
    assert text.splitlines() == [
        "acct_mgmt answers success",
        "  /nowhere/pam.d/svc:1  account sufficient pam_err.so",
        "      auth_err -> ignore: auth_err is ignored by this line.",
        "  /nowhere/pam.d/svc:2  account required pam_yes.so",
        "      success -> ok: It grants, and the following modules are asked.",
        "open_session answers perm_denied",
        "  No module was asked.",
    ]


def test_no_command_of_a_file_reaches_the_terminal():
    text = _pam_prove.trace("svc", "acct_mgmt", ANSWERS, CONFDIRS, UPSTREAM, overlay(
        svc=account("sufficient pam_err.so \x1b[2J\r\udc9b", "include gone\x1b")
    ))  # fmt: skip
    assert "pam_err.so \\x1b[2J\\r\\udc9b" in text
    assert text.replace("\n", "").isprintable()


# --- what the caller says ----------------------------------------------------------------------------------------


def test_the_key_with_most_words_names_a_rule():
    text = account("required /lib/security/pam_a.so x=1 y", "required pam_a.so")
    results = {"pam_a.so": "success", "pam_a.so x=1": "auth_err", "/lib/security/pam_a.so x=1": "maxtries"}
    assert [step["answer"] for step in decide(text, results)[0]["trace"]] == ["maxtries", "success"]


def test_keys_that_fit_equally_are_an_error():
    with pytest.raises(PamUsageError, match=r"'pam_a.so x' and 'pam_a.so y' fit .*svc:1 equally"):
        decide(account("required pam_a.so x y"), {"pam_a.so x": "success", "pam_a.so y": "success"})


@pytest.mark.parametrize(
    "calls, results, message",
    [
        ("acct_mgmt", {}, r"no answer to acct_mgmt for pam_a.so \(/nowhere/pam.d/svc:1\)"),
        ("acct_mgmt", {"pam_a.so": {"setcred": "success"}}, "no answer to acct_mgmt for pam_a.so"),
        ("acct_mgmt", {"pam_a.so": "PAM_SUCCESS"}, "results: pam_a.so: 'PAM_SUCCESS' is not an answer"),
        ("acct_mgmt", {"pam_a.so": {"account": "success"}}, "results: pam_a.so: 'account' is not a call"),
        ("acct_mgmt", {"pam_a.so": ["success", "ignore"]}, "results: pam_a.so: one answer is needed"),
        ("acct_mgmt", {" ": "success"}, "names no module"),
        ("acct_mgmt", "success", "results: 'success' is not a dictionary"),
        ("acct_mgmt", lambda rule, call: "yes", "results: /nowhere/pam.d/svc:1: .* is not an answer"),
        ("account", {}, "calls: 'account' is not a call"),
        ([], {}, "calls"),
        (None, {}, "calls"),
    ],
)
def test_bad_input_is_named(calls, results, message):
    with pytest.raises(PamUsageError, match=message):
        decide(account("required pam_a.so"), results, calls=calls)


# --- random stacks -----------------------------------------------------------------------------------------------

FEW = ("success", "ignore", "auth_err", "new_authtok_reqd")
CONTROLS = st.sampled_from(
    ("required", "requisite", "sufficient", "optional", "[default=reset]", "[success=reset default=ignore]")
    + ("[success=1 default=bad]", "[auth_err=2 success=ok default=die]", "[ignore=1 auth_err=3 default=done]")
    + ("[success=done default=reset]", "[success=bad ignore=ok default=1]")
)
RULES = CONTROLS | st.lists(CONTROLS | st.lists(CONTROLS, max_size=2), min_size=1, max_size=3)  # a list is a substack


@st.composite
def stacks(draw, kind="account", size=5):
    """Overlay files with `size` rules at most, pam_0.so and so on, in substacks up to two deep."""
    texts, number = {}, iter(range(size))

    def put(name, rules):
        lines = []
        for rule in rules:
            if isinstance(rule, list):
                inner = f"sub{len(texts) + len(lines)}-{name}"
                lines.append(f"{kind} substack {inner}\n")
                put(inner, rule)
            elif (module := next(number, None)) is not None:
                lines.append(f"{kind} {rule} pam_{module}.so\n")
        texts[name] = "".join(lines)

    put("svc", draw(st.lists(RULES, min_size=1, max_size=size)))
    return overlay(**texts)


class Asked(Exception):
    pass


def every_answer(files, call, choices, seen=lambda steps: None):
    """All codes, by trying every assignment: no state is ever merged."""
    program = _pam_dispatch.compile("svc", CONFDIRS, UPSTREAM, files, [call])
    found, waiting = set(), [{}]
    while waiting:
        answers = waiting.pop()
        number = [0]

        def answer(_entry, _call, answers=answers, number=number):
            number[0] += 1
            if number[0] not in answers:
                raise Asked
            return answers[number[0]]

        try:
            made = _pam_dispatch.Handle(program).call(call, answer)
        except Asked:
            waiting += [{**answers, number[0]: code} for code in choices]
        else:
            found.add(made.code)
            seen(made.steps)
    return found


@settings(max_examples=150)
@given(st.data(), st.sampled_from([("account", "acct_mgmt"), ("session", "close_session")]))
def test_outcomes_are_what_trying_everything_finds(data, what):
    kind, call = what
    files = data.draw(stacks(kind, 5))
    choices = data.draw(st.lists(st.sampled_from((*FEW, "incomplete")), min_size=1, max_size=3, unique=True))
    modules = {f"pam_{number}.so": choices for number in range(5)}
    found = _pam_prove.outcomes("svc", call, modules, confdirs=CONFDIRS, libpam=UPSTREAM, files=files)
    assert found == sorted(every_answer(files, call, choices))


@settings(max_examples=40)
@given(stacks("password", 3))
def test_outcomes_of_both_passes(files):
    modules = {f"pam_{number}.so": ["success", "auth_err"] for number in range(3)}
    found = _pam_prove.outcomes("svc", "chauthtok", modules, confdirs=CONFDIRS, libpam=UPSTREAM, files=files)
    assert found == sorted(every_answer(files, "chauthtok", ["success", "auth_err"]))


@settings(max_examples=60)
@given(stacks(size=4), st.sampled_from(("permit", "deny")))
def test_a_counterexample_breaks_the_promise_and_no_counterexample_means_none(files, expect):
    modules = {f"pam_{number}.so": list(FEW) for number in range(4)}
    scenario = {"name": "x", "service": "svc", "call": "acct_mgmt", "given": modules, "expect": expect}
    (proof,) = _pam_prove.prove([scenario], confdirs=CONFDIRS, libpam=UPSTREAM, files=files)
    possible = every_answer(files, "acct_mgmt", FEW)
    breaks = {"permit": possible - {"success"}, "deny": possible & {"success", "new_authtok_reqd"}}[expect]
    assert proof["holds"] == (not breaks)
    if breaks:
        assert again(proof["counterexample"], files) == proof["counterexample"]["code"] in breaks


def again(counterexample, files):
    """What decide says when the modules answer, one by one, as in a counterexample."""
    answers = iter(counterexample["answers"])

    def answer(rule, call):
        told = next(answers)
        assert (told["file"], told["line"], told["call"]) == (rule["file"], rule["line"], call)
        return told["answer"]

    (made,) = _pam_prove.decide(
        "svc", counterexample["call"], answer, confdirs=CONFDIRS, libpam=UPSTREAM, files=files
    )  # fmt: skip
    return made["code"]


@settings(max_examples=60)
@given(stacks(size=4), st.integers(0, 3))
def test_unreached_is_what_trying_everything_finds(files, number):
    module = f"pam_{number}.so"
    modules = {f"pam_{number}.so": list(FEW) for number in range(4)}
    scenario = {"name": "x", "service": "svc", "call": "acct_mgmt", "expect": "unreached", "module": module}
    (proof,) = _pam_prove.prove([{**scenario, "given": modules}], confdirs=CONFDIRS, libpam=UPSTREAM, files=files)
    reached = set()
    every_answer(files, "acct_mgmt", FEW, lambda steps: reached.update(step.entry.rule["module"] for step in steps))
    assert proof["holds"] == (module not in reached)


PIECES = st.sampled_from(
    ["account", "auth", "session", "password", " ", "\t", "\n", "\\\n", "#", "[", "]", "=", "success=1", "default=ok"]
    + ["required", "sufficient", "include svc", "substack svc", "@include sub1", "pam_a.so", "pam_b.so x", "\0", "\r"]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@settings(max_examples=400)
@given(TEXTS | st.text(max_size=200), TEXTS, st.sampled_from([UPSTREAM, DEBIAN, {"version": "1.7.0", "debian": True}]))
def test_any_text_is_decided(svc, sub1, libpam):
    try:
        made = _pam_prove.decide(
            "svc", list(_pam_dispatch.CALLS), lambda rule, call: "ignore", CONFDIRS, libpam, overlay(svc=svc, sub1=sub1)
        )  # fmt: skip
    except PamError as error:
        assert any(name in str(error) for name in ("svc", "sub1"))
    else:
        assert all(step["code"] in RETURN_CODES for step in made)


def test_outcomes_after_a_substack_that_resets():
    inner = account("required pam_b.so", "[success=reset default=ignore] pam_c.so")
    for first in ("success", "auth_err", "new_authtok_reqd"):
        known = {"pam_a.so": first, "pam_b.so": "user_unknown", "pam_c.so": "success"}
        assert outcomes(account("required pam_a.so", "substack inner"), known, inner=inner) == [first]


def test_outcomes_where_done_comes_too_late():
    lines = ["required pam_a.so", "sufficient pam_b.so", "[success=reset] pam_b.so", "required pam_c.so"]
    assert outcomes(account(*lines), {"pam_a.so": "auth_err", "pam_b.so": "success", "pam_c.so": "maxtries"}) == [
        "maxtries"
    ]


def test_200_rules_with_unknown_answers():
    controls = ("required", "sufficient", "[success=ok ignore=2 perm_denied=reset default=bad]", "optional")
    files = overlay(svc=account(*(f"{controls[n % 4]} pam_{n}.so" for n in range(200))))
    found = _pam_prove.outcomes("svc", "acct_mgmt", {}, confdirs=CONFDIRS, libpam=UPSTREAM, files=files)
    assert set(RETURN_CODES) - set(found) <= {"ignore"}


class Counted(dict):
    """A handler that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, key):
        Counted.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("jump", [2, 900])
def test_jumps_are_linked_without_walking_them(jump, monkeypatch):
    expand = _pam_expand.expand

    def counted(*args, **kwargs):
        found = expand(*args, **kwargs)
        return {**found, "types": {type_: list(map(Counted, stack)) for type_, stack in found["types"].items()}}

    monkeypatch.setattr(_pam_expand, "expand", counted)
    Counted.looks = 0
    _pam_dispatch.compile(
        "svc", CONFDIRS, UPSTREAM, overlay(svc=account(f"[success={jump}] pam_a.so") * 1000), ["acct_mgmt"]
    )
    assert Counted.looks < 20_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda **reading: _pam_prove.decide("svc", "acct_mgmt", {}, **reading),
        lambda **reading: _pam_prove.outcomes("svc", "acct_mgmt", {}, **reading),
        lambda **reading: _pam_prove.prove([{**GOOD}], **reading),
    ],
    ids=["decide", "outcomes", "prove"],
)
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"libpam": "1.7.0"}, "^libpam: '1.7.0' is not a dictionary"),
        ({"libpam": {"version": "1.7.0", "Debian": True}}, "^libpam: Debian: no such key"),
        ({"confdirs": "etc/pam.d"}, "^confdirs: 'etc/pam.d' is not an absolute path"),
        ({"files": []}, r"^files: \[\] is not a dictionary"),
    ],
)
def test_a_bad_argument_is_named(ask, arguments, message):
    with pytest.raises(PamUsageError, match=message):
        ask(**{"confdirs": CONFDIRS, "libpam": UPSTREAM, "files": {}, **arguments})


def test_a_libpam_of_which_only_the_version_is_said(monkeypatch):
    node = {"version": "1.5.2", "debian": True, "confdirs": CONFDIRS, "module_dirs": []}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: node)
    files = overlay(
        svc="@include base\n", base="session [success=1 default=bad] pam_yes.so\nsession required pam_no.so\n"
    )
    made = _pam_prove.decide("svc", "open_session,close_session", ANSWERS, libpam={"version": "1.7.0"}, files=files)
    assert [step["code"] for step in made] == ["perm_denied", "perm_denied"]


def test_an_include_bomb_is_an_error():
    files = overlay(svc=account(*["include a"] * 40), a=account(*["include b"] * 40), b=account(*["include c"] * 40))
    files |= overlay(c=account(*["required pam_a.so"] * 40))
    with pytest.raises(PamError, match="svc"):
        _pam_prove.outcomes("svc", "acct_mgmt", {}, confdirs=CONFDIRS, libpam=UPSTREAM, files=files)


# --- outcomes and proofs -----------------------------------------------------------------------------------------


def outcomes(text, known, call="acct_mgmt", **others):
    return _pam_prove.outcomes("svc", call, known, CONFDIRS, UPSTREAM, overlay(svc=text, **others))


def test_outcomes_of_what_is_known():
    text = account("required pam_a.so", "sufficient pam_b.so")
    assert outcomes(text, {"pam_a.so": "success", "pam_b.so": "auth_err"}) == ["success"]
    assert outcomes(text, {"pam_a.so": ["success", "auth_err"], "pam_b.so": "any"}) == [
        "auth_err", "incomplete", "new_authtok_reqd", "success"
    ]  # fmt: skip
    assert "success" not in outcomes(text, {"pam_a.so": ["auth_err", "new_authtok_reqd"]})
    assert outcomes(account("sufficient pam_a.so"), {"pam_a.so": "failure"}) == ["incomplete", "perm_denied"]
    assert set(outcomes(text, {})) == set(RETURN_CODES) - {"ignore"}
    assert outcomes("auth required .so", {}) == ["abort"]


BASE = account("required pam_unix.so")
MINE = account("substack base", "sufficient pam_access.so accessfile=/x", "required pam_gate.so")
NOBODY = {"name": "nobody", "given": {"pam_access.so": "failure", "pam_gate.so": "perm_denied"}, "expect": "deny"}
ADMIN = {"name": "admin", "given": {"pam_access.so": "success", "pam_gate.so": "failure"}, "expect": "permit"}
USER = {"name": "user", "given": {"pam_access.so": "perm_denied"}, "expect": "permit"}


def prove(scenarios, svc=MINE, base=BASE, **others):
    policy = [{"service": "svc", "call": "acct_mgmt", **scenario} for scenario in scenarios]
    return _pam_prove.prove(policy, CONFDIRS, UPSTREAM, overlay(svc=svc, base=base, **others))


def test_a_sound_stack_keeps_the_policy():
    assert prove([NOBODY, ADMIN, USER]) == [
        {"name": "nobody", "holds": True, "expect": "deny", "counterexample": None, "unmatched": []},
        {"name": "admin", "holds": True, "expect": "permit", "counterexample": None, "unmatched": []},
        {"name": "user", "holds": True, "expect": "permit", "counterexample": None, "unmatched": []},
    ]


def unmatched(given, svc=MINE, call="acct_mgmt", expect="permit", **others):
    (proof,) = prove([{"name": "x", "given": given, "call": call, "expect": expect}], svc, **others)
    return proof["holds"], proof["unmatched"]


def test_a_mistyped_key_is_told():
    assert unmatched({"pam_access.so": "perm_denied", "pam_gate.so": "failure"}) == (False, [])
    assert unmatched({"pam_access.so": "perm_denied", "pam_gtae.so": "failure"}) == (True, ["pam_gtae.so"])
    # In MINE pam_access has accessfile=/x; the answer under the longer key is the one that is used.
    given = {"pam_access.so": "success", "pam_access.so accessfile=/y": "failure", "pam_unix.so": "success"}
    assert unmatched(given) == (True, ["pam_access.so accessfile=/y"])
    given = {"pam_access.so": "failure", "pam_access.so accessfile=/x": "success"}
    assert unmatched(given) == (True, ["pam_access.so"])


def test_unmatched_is_told_of_all_calls_that_were_asked_for():
    svc = MINE + "session required pam_limits.so\n"
    given = {"pam_gate.so": "success", "pam_limits.so": "success", "pam_none.so": "success"}
    assert unmatched(given, svc, ["acct_mgmt", "open_session"]) == (True, ["pam_none.so"])
    assert unmatched(given, svc, ["acct_mgmt"]) == (True, ["pam_limits.so", "pam_none.so"])
    assert unmatched(given, svc, ["open_session"]) == (True, ["pam_gate.so", "pam_none.so"])
    # A line that libpam cannot use asks no module, and a service that does not start has no line.
    assert unmatched({"pam_a.so": "any"}, "foo required pam_a.so\n", "authenticate", "deny") == (True, ["pam_a.so"])
    assert unmatched({"pam_a.so": "any"}, "account required .so\n", expect="deny") == (True, ["pam_a.so"])


SVC, BASE_FILE = f"{CONFDIRS[0]}/svc", f"{CONFDIRS[0]}/base"
INCLUDED = MINE.replace("substack base", "include base")


@pytest.mark.parametrize(
    "svc, base, place",
    [
        (INCLUDED, account("sufficient pam_localuser.so") + BASE, (BASE_FILE, 1)),
        (INCLUDED, account("[success=ok new_authtok_reqd=done default=bad] pam_unix.so"), (BASE_FILE, 1)),
        (INCLUDED, BASE + account("[success=2 default=ignore] pam_home.so"), (BASE_FILE, 2)),
        (account("sufficient pam_permit.so") + MINE, BASE, (SVC, 1)),
        (account("[success=3 default=ignore] pam_x.so") + MINE + account("required pam_y.so"), BASE, (SVC, 1)),
        (MINE.replace("required pam_gate", "optional pam_gate"), BASE, (SVC, 3)),
        (MINE.replace("required pam_gate", "[default=ignore] pam_gate"), BASE, (SVC, 3)),
        (MINE + account("[success=reset] pam_x.so", "required pam_y.so"), BASE, (SVC, 4)),
        (account("substack base"), BASE, (BASE_FILE, 1)),
    ],
    ids=["localuser", "new_authtok", "jump out of include", "permit", "jump", "optional", "ignored", "reset", "gone"],
)
def test_a_leak_is_found_with_its_line(svc, base, place):
    (proof,) = prove([NOBODY], svc, base)
    assert not proof["holds"]
    example = proof["counterexample"]
    assert (example["decided_by"]["file"], example["decided_by"]["line"]) == place
    assert example["code"] in ("success", "new_authtok_reqd")
    assert again(example, overlay(svc=svc, base=base)) == example["code"]
    assert f"{place[0]}:{place[1]}" in example["why"]


def test_a_counterexample_tells_its_story():
    svc = INCLUDED
    base = account("required pam_nologin.so", "sufficient pam_localuser.so") + BASE
    (proof,) = prove([NOBODY], svc, base)
    assert proof["counterexample"] == {
        "call": "acct_mgmt",
        "answers": [
            {"call": "acct_mgmt", "file": BASE_FILE, "line": 1, "rule": "account required pam_nologin.so",
             "answer": "success"},
            {"call": "acct_mgmt", "file": BASE_FILE, "line": 2, "rule": "account sufficient pam_localuser.so",
             "answer": "success"},
        ],
        "decided_by": {"file": BASE_FILE, "line": 2, "rule": "account sufficient pam_localuser.so"},
        "code": "success",
        "why": (
            f"acct_mgmt of svc must deny, but answers success. {BASE_FILE}:2 (account sufficient pam_localuser.so)"
            " decides: pam_localuser.so answers success there. It ends the stack here."
            f" pam_access.so ({SVC}:2) is never asked. pam_gate.so ({SVC}:3) is never asked."
            " Take that line out, or give it a control that does not end the stack, such as required."
        ),
    }  # fmt: skip


def test_a_lockout_is_found_with_its_line():
    svc = MINE.replace("sufficient pam_access", "required pam_access")
    (proof,) = prove([ADMIN], svc)
    assert proof["counterexample"]["decided_by"]["line"] == 3
    (proof,) = prove([ADMIN], base=account("required pam_deny.so"))
    assert proof["counterexample"]["decided_by"]["rule"] == "account required pam_deny.so"
    (proof,) = prove([ADMIN], svc=account("include gone"))
    assert "libpam cannot use this line" in proof["counterexample"]["why"]
    (proof,) = prove([ADMIN], svc="", base="")
    assert proof["counterexample"]["decided_by"] is None
    (proof,) = prove([ADMIN], svc="account required .so\n")
    assert proof["counterexample"]["code"] == "abort"
    assert proof["counterexample"]["decided_by"]["line"] == 1


# --- the line that decides ---------------------------------------------------------------------------------------

WAY = "[success=1 default=ignore] pam_way.so"
OVER = "[success=1 default=ignore] pam_yes.so"


def decided(lines, answers, gates=("pam_gate.so",), let_in=False, calls="acct_mgmt", **others):
    """The number of the line that decides the last of these calls."""
    results = {**ANSWERS, **answers}
    runs = _pam_prove.runs("svc", calls, results, CONFDIRS, UPSTREAM, overlay(svc=lines, **others))
    step = _pam_prove.decider(runs[-1], lambda rule: rule["module"] in gates, let_in)
    return step and step.entry.rule["line"]


BOTH = ("pam_way.so", "pam_gate.so")
JOBLESS = {"pam_way.so": "perm_denied", "pam_gate.so": "perm_denied"}
ADMIN_IN = {"pam_way.so": "success", "pam_gate.so": "perm_denied"}
USER_IN = {"pam_way.so": "perm_denied", "pam_gate.so": "success"}


@pytest.mark.parametrize(
    "lines, answers, line",
    [
        (["required pam_yes.so", WAY, "required pam_gate.so", "required pam_yes.so"], USER_IN, 3),
        (["required pam_yes.so", WAY, "required pam_gate.so", "required pam_yes.so"], ADMIN_IN, 2),
        (["sufficient pam_way.so", "required pam_gate.so"], ADMIN_IN, 1),
        (["required pam_yes.so", "sufficient pam_gate.so", "required pam_way.so"], USER_IN, 2),
        (["required pam_yes.so", "sufficient pam_gate.so", "required pam_way.so"], ADMIN_IN, 3),
        # past all of them
        (["sufficient pam_yes.so", WAY, "required pam_gate.so"], JOBLESS, 1),
        (["[success=2 default=ignore] pam_yes.so", WAY, "required pam_gate.so", "required pam_yes.so"], JOBLESS, 1),
        # what the last gate whose refusal counts has not seen, not what the other has
        ([OVER, "required pam_gate.so", WAY, "required pam_yes.so", "required pam_yes.so"], JOBLESS, 1),
        ([OVER, WAY, "optional pam_gate.so", "required pam_yes.so"], JOBLESS, 3),
        ([OVER, WAY, "required pam_gate.so", "required pam_yes.so"], USER_IN, 3),
        # none counts
        ([WAY, "optional pam_gate.so", "required pam_yes.so"], JOBLESS, 2),
        ([WAY, "optional pam_gate.so", "required pam_yes.so"], USER_IN, 2),
        ([WAY, "optional pam_gate.so", "required pam_yes.so"], ADMIN_IN, 1),
        # lifted again
        ([WAY, "required pam_gate.so", "[success=reset] pam_yes.so", "required pam_yes.so"], JOBLESS, 3),
        (["required pam_no.so", "[success=reset] pam_yes.so", "required pam_gate.so"], USER_IN, 3),
        # no gate: what last changed anything
        (["optional pam_skip.so", "required pam_yes.so", "required pam_yes.so"], {}, 2),
        (["required pam_no.so", "[success=reset] pam_yes.so", "required pam_yes.so"], {}, 3),
    ],
)
def test_who_got_in_did_so_at_the_last_gate(lines, answers, line):
    assert codes(account(*lines), {**ANSWERS, **answers}) == ["success"]
    assert decided(account(*lines), answers, BOTH, let_in=True) == line


@pytest.mark.parametrize(
    "lines, gate, line",
    [
        (["required pam_err.so", "required pam_no.so"], "success", 1),
        (["required pam_no.so", "[success=reset] pam_yes.so", "required pam_no.so"], "success", 3),
        (["required pam_yes.so", "[success=5] pam_yes.so", "required pam_yes.so"], "success", 2),
        # kept from what would have let him in
        ([OVER, "sufficient pam_gate.so", "required pam_no.so"], "success", 1),
        (["requisite pam_no.so", "sufficient pam_gate.so"], "success", 1),
        # the gate would have made no difference, the refusal stood
        (["required pam_err.so", OVER, "sufficient pam_gate.so"], "success", 1),
        (["required pam_err.so", "requisite pam_no.so", "sufficient pam_gate.so"], "success", 1),
        # nobody says anything: up to the last line somebody might have
        (["optional pam_skip.so", "optional pam_err.so"], "success", 2),
        (["sufficient pam_gate.so", "optional pam_skip.so"], "ignore", 2),
    ],
)
def test_who_did_not_get_in_was_refused_or_kept_from_a_gate(lines, gate, line):
    assert codes(account(*lines), {**ANSWERS, "pam_gate.so": gate})[0] in ("perm_denied", "auth_err")
    assert decided(account(*lines), {"pam_gate.so": gate}) == line


def test_a_refusal_that_asks_for_a_new_password():
    lines, answers = account("[success=ok default=bad] pam_new.so", "required pam_gate.so"), {"pam_gate.so": "auth_err"}
    assert codes(lines, {**ANSWERS, **answers}) == ["new_authtok_reqd"]
    assert decided(lines, answers, let_in=True) == decided(lines, answers) == 1
    lines = account(OVER, "required pam_gate.so", "[success=ok default=bad] pam_new.so")
    assert decided(lines, answers, let_in=True) == 1
    # As a grant it is one that got past the gate.
    lines = account("required pam_new.so", "optional pam_gate.so")
    assert (decided(lines, answers, let_in=True), decided(lines, answers)) == (2, 1)


def test_what_suspends_a_call_decides():
    lines = ["required pam_yes.so", OVER, "required pam_gate.so", "optional pam_wait.so", "required pam_no.so"]
    assert codes(account(*lines), {**ANSWERS, "pam_gate.so": "success"}) == ["incomplete"]
    assert decided(account(*lines), {"pam_gate.so": "success"}) == 4


def test_of_two_passes_the_last_one_decides():
    lines = "password required pam_yes.so\npassword required pam_a.so\npassword optional pam_b.so\n"
    first = {"pam_a.so": {"prechauthtok": "auth_err", "chauthtok": "success"}, "pam_b.so": "ignore"}
    assert decided(lines, first, calls="chauthtok") == 2
    second = {"pam_a.so": {"prechauthtok": "success", "chauthtok": "auth_err"}, "pam_b.so": "ignore"}
    assert decided(lines, second, calls="chauthtok") == 2
    nothing = {"pam_yes.so": {"prechauthtok": "success", "chauthtok": "ignore"}, "pam_a.so": "ignore"}
    assert decided(lines, {**nothing, "pam_b.so": "ignore"}, calls="chauthtok") == 3


def test_no_line_decides_where_no_module_is_asked():
    assert decided("auth required pam_yes.so\n", {}) is None
    assert decided("account required .so\n", {}) is None


GATED = account("required pam_first.so", "[success=2 default=ignore] pam_access.so", "optional pam_root.so",
                "required pam_gate.so")  # fmt: skip
OUTSIDER = {"pam_access.so": "failure", "pam_root.so": "perm_denied", "pam_gate.so": "success"}
COUNTS = "Give that line a control with which its answer counts, such as required."


@pytest.mark.parametrize(
    "svc, scenario, line, advice",
    [
        # What is said to permit, or anything at all, is not to blame for a leak.
        (GATED, {"given": OUTSIDER, "expect": "deny"}, 3, COUNTS),
        (
            account("optional pam_gate.so", "required pam_first.so", "required pam_a.so"),
            {"given": {"pam_a.so": "any", "pam_gate.so": "failure"}, "expect": "deny"},
            1,
            COUNTS,
        ),
        # A line that was to refuse has to count, whatever its control does instead.
        *(
            (
                account(f"{control} pam_gate.so", "required pam_first.so", "required pam_a.so"),
                {"given": {"pam_gate.so": "failure"}, "expect": "deny"},
                1,
                COUNTS,
            )
            for control in ("[default=reset]", "[default=1]", "optional", "sufficient")
        ),
        # No control helps where the module suspends the call.
        (
            account("required pam_first.so", "optional pam_a.so"),
            {"given": {"pam_a.so": ["success", "incomplete"]}, "expect": "permit"},
            2,
            "Take that line out; no control keeps a module from suspending the call.",
        ),
        # A refusal that stands already is the answer, whatever is passed over afterwards.
        (
            account("required pam_a.so", "[success=1 default=ignore] pam_first.so", "sufficient pam_gate.so"),
            {"given": {"pam_a.so": "any", "pam_gate.so": "success"}, "expect": "permit"},
            1,
            "Take that line out, or give it a control that does not refuse, such as optional.",
        ),
        # Nobody relies on a grant that may not come.
        (
            account("[success=1 default=ignore] pam_first.so", "required pam_a.so", "required pam_gate.so"),
            {"given": {"pam_a.so": ["success", "auth_err"], "pam_gate.so": "any"}, "expect": "permit"},
            3,
            "Take that line out, or give it a control that does not refuse, such as optional.",
        ),
        (
            "password required pam_a.so\npassword [default=ignore] pam_first.so\n",
            {"given": {"pam_a.so": {"prechauthtok": "success", "chauthtok": "ignore"}}, "expect": "permit",
             "call": "chauthtok"},
            2,
            COUNTS,
        ),
    ],
)  # fmt: skip
def test_a_counterexample_names_the_line_to_change(svc, scenario, line, advice):
    (proof,) = prove([{"name": "x", **scenario}], svc)
    example = proof["counterexample"]
    assert (example["decided_by"]["file"], example["decided_by"]["line"]) == (SVC, line)
    assert f"{SVC}:{line} (" in example["why"] and example["why"].endswith(f" {advice}")


def test_a_service_that_cannot_start_denies():
    (proof,) = prove([NOBODY], svc="account required .so\n")
    assert proof["holds"]


@pytest.mark.parametrize("module", ["pam_a.so", "/lib/security/pam_a.so", "/opt/site/pam_a.so", "/opt/site/pam_a.so x"])
def test_a_module_that_must_not_be_reached_is_one_wherever_it_lies(module):
    files = overlay(svc=f"session required {module}\n")
    scenario = {"name": "s", "service": "svc", "call": "open_session", "expect": "unreached"}
    for unreached, holds in (("pam_a.so", False), ("pam_a.so x", not module.endswith(" x")), ("pam_b.so", True)):
        (proof,) = _pam_prove.prove([{**scenario, "module": unreached}], CONFDIRS, UPSTREAM, files)
        assert proof["holds"] is holds


@pytest.mark.parametrize(
    ("module", "holds"), [("pam_a.so", True), ("/lib/security/pam_a.so", True), ("/opt/site/pam_a.so", False)]
)
def test_what_is_said_of_a_module_is_said_of_libpams_own(module, holds):
    libpam = {**UPSTREAM, "module_dirs": ["/lib/security"]}
    scenario = {"name": "s", "service": "svc", "call": "acct_mgmt", "expect": "deny", "given": {"pam_a.so": "auth_err"}}
    (proof,) = _pam_prove.prove([scenario], CONFDIRS, libpam, overlay(svc=account(f"required {module}")))
    assert proof["holds"] is holds
    assert proof["unmatched"] == ([] if holds else ["pam_a.so"])


def test_unreached():
    scenario = {"name": "s", "service": "svc", "call": "open_session", "expect": "unreached"}
    scenario["module"] = "pam_systemd.so"
    files = overlay(
        svc="session optional pam_a.so\nsession substack deep\n", deep="session include deeper\n",
        deeper="session [success=1] pam_b.so\n-session optional pam_systemd.so kill=1\n",
    )  # fmt: skip
    (proof,) = _pam_prove.prove([scenario], CONFDIRS, UPSTREAM, files)
    assert proof["counterexample"]["decided_by"] == {
        "file": f"{CONFDIRS[0]}/deeper",
        "line": 2,
        "rule": "-session optional pam_systemd.so kill=1",
    }
    assert [told["answer"] for told in proof["counterexample"]["answers"]][:2] == ["success", "perm_denied"]
    (proof,) = _pam_prove.prove([{**scenario, "given": {"pam_b.so": "success"}}], CONFDIRS, UPSTREAM, files)
    assert proof["holds"]
    (proof,) = _pam_prove.prove([{**scenario, "module": "pam_systemd.so kill=0"}], CONFDIRS, UPSTREAM, files)
    assert proof["holds"]


def test_several_calls_are_each_looked_at():
    scenario = {"name": "both", "call": ["acct_mgmt", "open_session"], "expect": "permit"}
    (proof,) = prove([scenario], svc=MINE + "session required pam_deny.so\n")
    assert proof["counterexample"]["call"] == "open_session"


GOOD = {"name": "n", "service": "svc", "call": "acct_mgmt", "expect": "deny"}


@pytest.mark.parametrize(
    "policy, message",
    [
        ({}, "policy: a list"),
        (["x"], "policy: scenario 1 is not a dictionary"),
        ([{**GOOD, "name": ""}], "scenario '': name"),
        ([{**GOOD, "service": 3}], "scenario 'n': service"),
        ([{**GOOD, "call": "account"}], "scenario 'n': call: 'account' is not a call"),
        ([{key: GOOD[key] for key in ("name", "service", "expect")}], "scenario 'n': call: None is not a call"),
        ([{**GOOD, "expect": "allow"}], "scenario 'n': expect: 'allow' is not one of permit, deny, unreached"),
        ([{**GOOD, "expect": "unreached"}], "scenario 'n': module"),
        ([{**GOOD, "module": "pam_x.so"}], "scenario 'n': module: no such key"),
        ([{**GOOD, "given": {"pam_x.so": "no"}}], "scenario 'n': given: pam_x.so: 'no' is not an answer"),
        ([{**GOOD, "given": {"pam_x.so": []}}], "scenario 'n': given: pam_x.so"),
        ([{**GOOD, "given": ["pam_x.so"]}], "scenario 'n': given: .* is not a dictionary"),
        ([{**GOOD, "givn": {}}], "scenario 'n': givn: no such key; allowed are name, service, call, given, expect"),
        ([GOOD, GOOD], "several scenarios named 'n'"),
    ],
)
def test_a_bad_policy_is_an_error_that_names_scenario_and_key(policy, message):
    with pytest.raises(PamUsageError, match=message):
        _pam_prove.prove(policy, CONFDIRS, UPSTREAM, {})


def test_no_word_of_any_one_user_of_it():
    library = sorted((REPO / "_modules").glob("_pam_*.py"))
    assert len(library) > 10
    for path in library:
        assert "slurm" not in path.read_text().lower(), path
