"""The access file and the rule that names it, as pam_access of each release reads them at a login."""

import copy
import pathlib
import re

import pytest
import yaml
from harness import full, host, releases
from harness.release_machine import Machine

import _slurm_pam_access
from _slurm_pam_settings import problems, without_nulls
from _slurm_pam_wanted import has_blanks, wanted

pytestmark = pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}")

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text())
FILE = "/etc/security/slurm-access.conf"
MEMBERS = {"root": ["root"], "admin": ["admin", "my admins"], "alice": ["alice"], "bob": ["bob", "admin"]}
ORIGINS = ("192.0.2.1", "198.51.100.1", "2001:db8::2")
READS = _slurm_pam_access.Release()
NETWORKS = ["192.0.2.0/24", "2001:db8::/64"]


def settings(groups, users=None, root=("ALL",)):
    given = copy.deepcopy(DEFAULTS)
    groups = {name: {"origins": origins, "local": False} for name, origins in groups.items()}
    users = {name: {"origins": origins} for name, origins in (users or {}).items()}
    given["access"].update(groups=groups, users=users, root=list(root))
    return without_nulls(given)


CASES = {
    "a blank": settings({"my admins": NETWORKS}),
    "a blank, and others": settings({"my admins": ["198.51.100.1"], "admin": NETWORKS}, {"alice": ["198.51.100.1"]}),
    "no blank": settings({"admin": NETWORKS}, {"alice": ["198.51.100.1", "2001:db8::2"]}),
    "root from some": settings({"my admins": ["ALL"]}, root=["198.51.100.1", "192.0.2.0/28"]),
    "root from everywhere": settings({"admin": ["192.0.2.0/24"]}, root=["0.0.0.0/0"]),
    "from everywhere": settings({"my admins": ["::/0", "0.0.0.0/0"]}, {"alice": ["::ffff:192.0.2.0/120"]}),
    "at the machine": settings({"admin": ["LOCAL", "192.0.2.0/28"]}, {"alice": ["LOCAL"]}),
    "a long list": settings({"admin": [*(f"10.{n >> 8}.{n & 255}.0/24" for n in range(701)), "192.0.2.1"]}),
    "a blank that nobody has": settings({"my admin": ["ALL"], "admins": ["ALL"]}),
}


@pytest.fixture(scope="module", params=full.RELEASES)
def machine(request, tmp_path_factory):
    # Refusals are no reason to refuse whoever comes next.
    options = [] if request.param in ("bullseye", "bookworm") else ["-o", "PerSourcePenalties=no"]
    scratch = tmp_path_factory.mktemp("machine")
    with Machine(request.param, scratch) as machine, machine.sshd("UsePAM yes\n", *options):
        yield machine


def rule(given):
    """The rule that lets administrators past Slurm; here it alone decides."""
    account = next(file["contents"] for file in wanted(given)["pam"]["files"] if "contents" in file)
    words = re.search(r"pam_access\.so.*", account).group()
    return releases.OPEN.replace("account required pam_permit.so", f"account required {words}")


def block(given):
    return wanted(given)["access"]["files"][0]["block"]


def foreseen(given, file):
    """What our own reading of the file says."""
    file.write_text(block(given))
    separator = "," if has_blanks(given["access"]) else None
    told = {}
    for user in releases.USERS:
        for origin in ORIGINS:
            is_in = MEMBERS[user].__contains__
            found = _slurm_pam_access.rule_for(str(file), user, is_in, origin, False, separator, READS)
            told[user, origin] = found.startswith("+")
    return told


def logins(machine, text, stack):
    machine.write(FILE, text)
    machine.write("/etc/pam.d/sshd", stack)
    return {(user, origin): machine.ssh(user, origin=origin).ok for user in releases.USERS for origin in ORIGINS}


@pytest.mark.parametrize("given", CASES.values(), ids=CASES)
def test_administrators_and_nobody_else(machine, tmp_path, given):
    assert problems(given, given) == []
    expected = foreseen(given, tmp_path / "access.conf")
    assert logins(machine, block(given), rule(given)) == expected
    assert not all(expected.values())


@pytest.mark.parametrize("before, after", [("no blank", "a blank"), ("a blank, and others", "no blank")])
def test_file_and_rule_are_written_one_after_the_other(machine, tmp_path, before, after):
    """With either of them written, nobody gets in who is not to, before or after."""
    before, after = CASES[before], CASES[after]
    may = [foreseen(given, tmp_path / "access.conf") for given in (before, after)]
    for text, given in ((block(after), before), (block(before), after)):
        between = logins(machine, text, rule(given))
        assert all(may[0][login] or may[1][login] for login, got_in in between.items() if got_in)
