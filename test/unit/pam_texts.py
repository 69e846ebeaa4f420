"""The libpams and the texts that the PAM library is tested with."""

from hypothesis import strategies as st

OLD = {"version": "1.5.2", "debian": False}
NEW = {"version": "1.7.0", "debian": False}
DEBIAN_OLD = {"version": "1.5.2", "debian": True}
DEBIAN_NEW = {"version": "1.7.0", "debian": True}
LIBPAMS = st.sampled_from([OLD, NEW, DEBIAN_OLD, DEBIAN_NEW])

# Pieces that meet in real and in hostile files.
PIECES = (
    [
        "auth",
        "account ",
        "-session",
        "Password\t",
        "required",
        "sufficient ",
        "include",
        "substack ",
        "@include ",
        "other",
    ]
    + [
        "[success=1 default=ignore]",
        "[success=ok",
        "]",
        "[",
        "\\]",
        "default=bad",
        "pam_unix.so",
        "pam_x.so ",
        "a=b",
        "?",
    ]
    + [
        "\\\n",
        "\\ \t\n",
        "\\",
        "\n",
        "\n",
        "\r\n",
        " ",
        " ",
        "\t",
        "#",
        "# c",
        "\0",
        "\v",
        "\f",
        "\ufeff",
        "é",
        "\udcff",
    ]
    + ["\u017f", "\u212a", "\x85", "\ud800", "x" * 500, "common-auth", "/nowhere/etc/pam.d/x", ".so"]
    + ["success=99999999999"]
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(st.characters(), max_size=80)
