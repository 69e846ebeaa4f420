"""What a node is dressed as: the suite that it is made from, the trees of files over it, and what remains to be done.

A tree ``NAME`` may have beside it what is done with the root once the tree is laid (``NAME.py``), and what that takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.layouts import debian, el9, sle16, suse, ubuntu2404

FILES = Path(__file__).parent


@dataclass(frozen=True)
class Layout:
    suite: str
    trees: tuple[str, ...]
    extra: tuple[str, ...]
    dress: Callable[[Path], None]


SLE15_TOOLS = ("libslurm38", "rpm", "zypper")
# pam_sss and the modules that authselect's profiles name besides.
EL9_TOOLS = ("dnf", "libpam-pwquality", "libpam-sss", "libslurm38", "oddjob-mkhomedir", "rpm")
SLE16_TOOLS = ("libpam-lastlog2", "libpam-wtmpdb", "libslurm42t64", "rpm", "zypper")
# A directory service, and what asks it.
DIRECTORY = ("krb5-admin-server", "krb5-kdc", "krb5-user", "libnss-sss", "libpam-sss", "slapd", "sssd-ldap")
# Debian's policy, as it comes.
SELINUX = ("policycoreutils", "selinux-policy-default", "selinux-utils")

LAYOUTS = {
    "sle15": Layout("bookworm", ("common", "rpms", "suse", "sle15"), SLE15_TOOLS, suse.dress),
    "sle15-directory": Layout(
        "bookworm", ("common", "rpms", "suse", "sle15", "directory"), (*SLE15_TOOLS, *DIRECTORY), suse.dress
    ),
    "sle15sp7": Layout("bookworm", ("common", "rpms", "suse", "sle15", "sle15sp7"), SLE15_TOOLS, suse.dress),
    "sle16": Layout("trixie", ("common", "rpms", "suse", "sle16"), SLE16_TOOLS, sle16.dress),
    "el9": Layout("bookworm", ("common", "rpms", "el9"), EL9_TOOLS, el9.dress),
    "debian12": Layout("bookworm", ("common", "debian"), (), debian.dress),
    "debian13": Layout("trixie", ("common", "debian"), (), debian.dress),
    "debian13-selinux": Layout("trixie", ("common", "debian", "selinux"), SELINUX, debian.dress),
    "ubuntu2404": Layout("trixie", ("common", "debian", "ubuntu2404"), (), ubuntu2404.dress),
}
