"""pam_stack: every text comes back byte for byte, and is read as libpam reads it."""

import importlib.util
import pathlib

from hypothesis import given
from hypothesis import strategies as st

SOURCE = pathlib.Path(__file__).parents[2] / "_modules" / "pam_stack.py"
_SPEC = importlib.util.spec_from_file_location("pam_stack_under_test", SOURCE)
pam_stack = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pam_stack)

OLD = {"version": "1.5.2", "debian": False}
NEW = {"version": "1.7.0", "debian": False}
DEBIAN_OLD = {"version": "1.5.2", "debian": True}
DEBIAN_NEW = {"version": "1.7.0", "debian": True}
LIBPAMS = st.sampled_from([OLD, NEW, DEBIAN_OLD, DEBIAN_NEW])

# Pieces that meet in real and in hostile files.
PIECES = st.sampled_from(
    ["auth", "account ", "-session", "Password\t", "required", "sufficient ", "include", "substack ", "@include ", "other"]
    + ["[success=1 default=ignore]", "[success=ok", "]", "[", "\\]", "default=bad", "pam_unix.so", "pam_x.so ", "a=b", "?"]
    + ["\\\n", "\\ \t\n", "\\", "\n", "\n", "\r\n", " ", " ", "\t", "#", "# c", "\0", "\v", "\f", "\ufeff", "é", "\udcff"]
    + ["ſ", "\u212a", "\x85", "\ud800", "x" * 500, "common-auth", "/etc/pam.d/x", ".so", "success=99999999999"]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join) | st.text(st.characters(), max_size=80)


@given(TEXTS, LIBPAMS, st.booleans())
def test_parse_loses_nothing(text, libpam, conf):
    entries = pam_stack.parse(text, libpam, conf)
    assert pam_stack.render(entries) == text
    line = 1
    for entry in entries:
        assert entry["text"]
        assert entry["line"] == line
        line += entry["text"].count("\n")


@given(TEXTS, LIBPAMS)
def test_the_common_path_reads_as_the_exact_one(text, libpam):
    """Without the fast path every line is read by libpam's own steps, and nothing changes."""
    fast = pam_stack.parse(text, libpam)
    common, pam_stack._COMMON = pam_stack._COMMON, pam_stack.re.compile(r"(?!)")
    try:
        exact = pam_stack.parse(text, libpam)
    finally:
        pam_stack._COMMON = common
    assert fast == exact


def fields(entry):
    return {key: value for key, value in entry.items() if key not in ("text", "line", "silent") and value is not None}
