"""Directories whose daemon does not run, asked through their real libraries: SSSD's and nslcd's."""

import subprocess
import sys

import pytest
from harness import host
from harness.paths import REPO
from harness.shell import run
from harness.store import kept

pytestmark = pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}")

PACKAGES = ("libnss-ldapd", "libnss-sss")
# A mount namespace of its own, with this nsswitch.conf and no daemon of a directory.
ALONE = """\
set -e
mount --make-rprivate /
mount --bind "$1" /etc/nsswitch.conf
for directory in /run/nslcd /var/lib/sss; do if [ -d $directory ]; then mount -t tmpfs none $directory; fi; done
exec "$2" -c "$3"
"""
ASK = """
import sys
sys.path.insert(0, {modules!r})
import _slurm_pam_accounts as accounts
for ask in (accounts.user, accounts.group):
    try:
        print(ask({name!r}) and ask({name!r})[0])
    except Exception as error:
        print(error)
"""


@pytest.fixture(scope="module")
def libraries():
    def build(place):
        place.mkdir()
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], cwd=place)
        for package in place.glob("*.deb"):
            run(["dpkg-deb", "--extract", package, place])

    (library,) = {path.parent for path in kept("nss", (PACKAGES,), build).rglob("libnss_*.so.2")}
    return library


@pytest.mark.parametrize(
    "services, silent",
    [
        ("files", None),
        ("files systemd", None),
        ("files nothing-of-that-name", None),
        ("files sss", "sss"),
        ("files ldap", "ldap"),
        # Behind another one the C library does not tell.
        ("sss files systemd", "sss"),
        ("sss [NOTFOUND=return] ldap files", "ldap, sss"),
    ],
)
@pytest.mark.parametrize("name", ["root", "zoe"])
def test_a_name_that_a_silent_directory_may_know(libraries, tmp_path, services, silent, name):
    (tmp_path / "nsswitch.conf").write_text(f"passwd: {services}\ngroup: {services}\n")
    program = ASK.format(modules=str(REPO / "_modules"), name=name)
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ALONE, "sh", tmp_path / "nsswitch.conf", sys.executable, program],
        env={"LD_LIBRARY_PATH": str(libraries), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if name == "root":
        assert said == ["root", "root"]
    elif silent:
        assert said == [f"{silent} (nsswitch.conf) does not answer for the {what} zoe" for what in ("user", "group")]
    else:
        assert said == ["None", "None"]
