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
