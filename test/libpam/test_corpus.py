"""Every PAM file of some sixty Debian packages: parsed, reproduced byte for byte, and expanded as libpam does."""

import io
import os
import random
import re
import shutil
import subprocess
import tarfile

import pytest
from harness.paths import CACHE
from libpam import differential

import _pam_grammar
import _pam_libpam

# Packages of Debian 12 that ship PAM files.
# fmt: off
PACKAGES = [
    "at", "away", "calife", "cinnamon-screensaver", "cockpit-ws", "cron", "cups-daemon", "dovecot-core",
    "freeradius", "ftpd-ssl", "gdm3", "greetd", "i3lock", "inetutils-ftpd", "libpam-elogind",
    "libpam-runtime", "lightdm", "login", "lxdm", "mate-screensaver", "monit", "newrole", "nodm",
    "ocserv", "open-vm-tools", "opendoas", "openssh-server", "partimage-server", "passwd", "perdition", "pleaser",
    "polkitd", "popa3d", "poppassd", "ppp", "proftpd-core", "pure-ftpd-common", "pwauth", "rsh-redone-server",
    "rsh-server", "samba-common", "schroot", "sddm", "slim", "solid-pop3d", "sssd-common", "suckless-tools", "sudo",
    "sudo-ldap", "super", "swaylock", "systemd", "ukui-screensaver", "util-linux", "uucp", "vsftpd", "wdm", "xdm",
    "xrdp", "xscreensaver",
]
# fmt: on
DIRECTORIES = ("etc/pam.d", "usr/lib/pam.d")

# What pam-auth-update makes of its templates on a fresh Debian.
COMMON = {
    "/etc/pam.d/common-auth": "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n"
    "auth\trequisite\t\t\tpam_deny.so\nauth\trequired\t\t\tpam_permit.so\n",
    "/etc/pam.d/common-account": "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n"
    "account\trequisite\t\t\tpam_deny.so\naccount\trequired\t\t\tpam_permit.so\n",
    "/etc/pam.d/common-password": "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n"
    "password\trequisite\t\t\tpam_deny.so\npassword\trequired\t\t\tpam_permit.so\n",
    "/etc/pam.d/common-session": "session\t[default=1]\t\t\tpam_permit.so\nsession\trequisite\t\t\tpam_deny.so\n"
    "session\trequired\t\t\tpam_permit.so\nsession\trequired\tpam_unix.so \nsession\toptional\tpam_systemd.so \n",
}
COMMON["/etc/pam.d/common-session-noninteractive"] = COMMON["/etc/pam.d/common-session"]


def unavailable(reason):
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="module")
def corpus():
    """{package: {path: bytes}}, of packages fetched once and kept."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        unavailable("there is no apt-get and dpkg-deb to fetch Debian's packages with")
    place = CACHE / "corpus"
    place.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not list(place.glob(f"{name}_*.deb"))]
    if missing:
        fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", *missing]
        done = subprocess.run(fetch, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            unavailable(f"Debian 12's packages cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    return {name: pam_files(max(place.glob(f"{name}_*.deb"))) for name in PACKAGES}


def pam_files(package):
    """The PAM files in a package, links followed."""
    tar = subprocess.check_output(["dpkg-deb", "--fsys-tarfile", str(package)])
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {
            "/" + member.name.removeprefix("./"): archive.extractfile(member).read()
            for member in archive.getmembers()
            if os.path.dirname(member.name.removeprefix("./")) in DIRECTORIES and (member.isfile() or member.issym())
        }


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package(corpus, name):
    assert corpus[name]
    for path, data in corpus[name].items():
        entries = _pam_grammar.parse(data.decode(errors="surrogateescape"))
        assert _pam_grammar.render(entries).encode(errors="surrogateescape") == data
        assert [entry for entry in entries if entry["kind"] == "invalid"] == [], path


def told(text, chance):
    """A text in which every module is pam_debug.so and answers at random."""

    def module(_match):
        answers = (f"{event}={chance.choice(CODES)}" for event in differential.EVENTS.values())
        return " ".join(("pam_debug.so", *answers))

    return re.sub(r"\S*pam_[\w-]+\.so", module, text)


CODES = ("success",) * 12 + ("ignore",) * 3 + ("perm_denied", "auth_err", "user_unknown", "new_authtok_reqd", "abort")


def test_libpam_expands_and_decides_the_same(corpus):
    if lacking := differential.lacking():
        unavailable(f"libpam cannot be asked: {lacking}")
    chance, cases = random.Random(12), []
    for files in corpus.values():
        texts = COMMON | {path: data.decode(errors="surrogateescape") for path, data in files.items()}
        for path in files:
            for _ in range(10):
                changed = {name: told(text, chance) for name, text in texts.items()}
                cases.append({"files": changed, "service": os.path.basename(path), "calls": differential.CALLS})
    libpam = _pam_libpam.libpam()
    answers = [(real, differential.model(case, libpam)) for case, real in zip(cases, differential.real(cases))]
    assert len(answers) > 600
    assert [pair for pair in zip(cases, answers) if not differential.same(*pair[1])] == []
    assert len({tuple(ours) for _, ours in answers}) > 50
