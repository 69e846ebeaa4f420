"""Text for people: no character of it commands a terminal."""

import pytest

import _text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pam_unix.so try_first_pass", "pam_unix.so try_first_pass"),
        ("Universität 🔒", "Universität 🔒"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\x9b1m\u202ecod", r"\x9b1m\u202ecod"),
        ("\udce4", r"\udce4"),
    ],
)
def test_printable(text, shown):
    assert _text.printable(text) == shown


@pytest.mark.parametrize(
    ("count", "end"), [(0, ""), (1, "x0"), (20, "x18, x19"), (21, "x18, x19 and 1 more"), (900, "x19 and 880 more")]
)
def test_many_names(count, end):
    shown = _text.some([f"x{number}" for number in range(count)])
    assert shown.endswith(end) and shown.count("x") == min(count, 20)
