"""
The PAM library under random input: nothing crashes, nothing hangs, no byte is lost, and what a stack decides
is among what it can decide.

The test takes a short run. A long one, with another seed, is ``python test/libpam/test_pam_fuzz.py SEED INPUTS``.
"""

import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import harness.source  # noqa: F401  the library's directory on the path
from unit.pam_texts import DEBIAN_NEW, DEBIAN_OLD, NEW, OLD, PIECES

import _pam_dispatch
import _pam_edit
import _pam_expand
import _pam_grammar
import _pam_prove
from _pam_errors import PamError, PamUsageError

CODES, CALLS = _pam_grammar.RETURN_CODES, tuple(_pam_dispatch.CALLS)
ETC = "/nowhere/pam.d"
LIBPAMS = (OLD, NEW, DEBIAN_OLD, DEBIAN_NEW)
LINES = (
    "auth required pam_unix.so\n",
    "account\t[success=1 default=ignore]\tpam_x.so a=b c\n",
    "session  optional  pam_x.so \\\n  a=b\n",
    "auth include common-auth\n",
    "auth substack common-auth\n",
    "@include common-auth\n",
    "# auth required pam_x.so\n",
)
NEW_LINES = ("auth required new.so", "account [success=1 default=ignore] new.so a=b [c d]", "-session optional new.so")
SELECTORS = (
    {"module": "pam_unix.so"},
    {"module": "pam_x.so"},
    {"type": "auth", "control": "required"},
    {"target": "common-auth"},
    {"type": "session", "args": ["a=b"]},
)


def text_of(chance):
    """A file: lines as they should be, broken by pieces of any kind."""
    parts = []
    for _ in range(chance.randrange(12)):
        parts.append(chance.choice(LINES if chance.random() < 0.4 else PIECES))
        if chance.random() < 0.05:
            parts.append(chr(chance.choice((chance.randrange(0x80), chance.randrange(0x11000)))))
    return "".join(parts)


def change_of(chance):
    selector, line = chance.choice(SELECTORS), chance.choice(NEW_LINES)
    return chance.choice(
        (
            {"insert": line, "before": selector},
            {"insert": line, "after": selector},
            {"insert": line, "at": chance.choice(("first", "last"))},
            {"replace": selector, "with": line},
            {"set_control": selector, "to": chance.choice(("sufficient", "[default=die]", "include", "substack"))},
            {"set_args": selector, "to": ["x", "a b", "y=z"]},
            {"add_args": selector, "args": ["a=d", "e"]},
            {"remove_args": selector, "args": ["a", "c"]},
            {"remove": selector, "missing": "ok"},
            {"comment_out": selector, "missing": "ok"},
            {"uncomment": selector},
            {"retarget": {"from": "common-auth", "to": "x y"}, "missing": "ok"},
        )
    )


def one_input(chance):
    """One input through parse, edit, expand, decide and outcomes; whether the edit was made."""
    text, libpam, change = text_of(chance), chance.choice(LIBPAMS), change_of(chance)
    conf = chance.random() < 0.1
    entries = _pam_grammar.parse(text, libpam, conf)
    assert "".join([entry["text"] for entry in entries]) == text
    assert all(entry["text"] for entry in entries)
    try:
        once = _pam_edit.edit(text, [change], libpam)
    except (PamError, PamUsageError):
        once = None
    else:
        assert _pam_edit.edit(once, [change], libpam) == once, (text, change, libpam)
    included, deeper = once or text[::-1], text_of(chance)
    if chance.random() < 0.98:  # else files that include themselves take nearly all of the time
        included, deeper = included.replace("common-auth", "deeper"), deeper.replace("common-auth", "none")
    files = {f"{ETC}/x": text, f"{ETC}/common-auth": included, f"{ETC}/deeper": deeper, "/etc/pam.d/x": text}
    reading = {"confdirs": [ETC], "libpam": libpam, "files": files}
    try:
        found = _pam_expand.expand("x", **reading)
    except PamError as error:
        assert "/pam.d/" in str(error), error
    else:
        assert set(found["types"]) == set(_pam_grammar.TYPES)
        decide(chance, reading)
    return once is not None


def decide(chance, reading):
    """Calls whose modules answer at random, each to each call the same: the first is one of its outcomes."""
    told = {}

    def answer(rule, call):
        known = chance.choice(CODES if chance.random() < 0.2 else ("success", "ignore", "auth_err", "new_authtok_reqd"))
        return told.setdefault(rule["module"], {}).setdefault(call, known)

    calls = [chance.choice(CALLS) for _ in range(chance.randint(1, 4))]
    made = _pam_prove.decide("x", calls[0], answer, **reading)
    # A key of several words, or one that also names a path, would say something of other rules.
    plain = all("/" not in module and module.split() == [module] for module in told)
    possible = _pam_prove.outcomes("x", calls[0], told if plain else {}, **reading)
    assert made[0]["code"] in possible, (made, possible)
    made = _pam_prove.decide("x", calls, answer, **reading)
    assert made[0]["call"] == "start" or [step["call"] for step in made] == calls
    assert all(step["code"] in CODES for step in made)


def fuzz(seed, inputs):
    """How many of so many inputs were edited; a failure names the input's own seed."""
    made = 0
    for number in range(inputs):
        own = f"{seed}/{number}"
        try:
            made += one_input(random.Random(own))
        except BaseException:
            print(f"input {own}", file=sys.stderr)
            raise
        if (number + 1) % 100_000 == 0:
            print(f"{number + 1} inputs", flush=True)
    return made


def test_a_short_run():
    assert fuzz("short", 2000) > 500


if __name__ == "__main__":
    sys.tracebacklimit = 5
    started = time.monotonic()
    seed, inputs = sys.argv[1], int(sys.argv[2])
    made = fuzz(seed, inputs)
    print(f"seed {seed}: {inputs} inputs, {made} edited, {time.monotonic() - started:.0f} s, nothing wrong")
