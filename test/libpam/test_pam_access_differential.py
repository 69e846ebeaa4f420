"""Our reading of an access file held against the real pam_access of each release, over kinds of origins."""

import ipaddress
import itertools
import random

import pytest
from harness import full, host
from harness.release_machine import Machine

import _slurm_pam_access
import _slurm_pam_accounts
from _slurm_pam_settings import _is_origin

pytestmark = pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}")

HOSTS = {
    "localhost": ["127.0.0.1", "::1"],
    "login.example.org": ["192.0.2.1"],
    "both.example.org": ["198.51.100.1", "2001:db8::1"],
}
# What sshd tells PAM: an address or, with UseDNS, a name.
TOLD = [
    *("192.0.2.1", "192.0.2.200", "198.51.100.1", "127.0.0.1", "127.0.0.2", "10.1.2.3"),
    *("2001:db8::1", "2001:db8:0:1::1", "::1", "::ffff:192.0.2.1", "fe80::1", "fe80::1%lo"),
    *("login.example.org", "both.example.org", "Login.Example.Org"),
]
# What may stand in an access file, whoever wrote it.
WORDS = [
    *("ALL", "all", "LOCAL", "NONE", "gone.example.org", "tty1", ":0", "@netgroup"),
    # length 0, 1 and all
    *("0.0.0.0/0", "::/0", "0.0.0.0/0.0.0.0", "::/::", "0.0.0.0/1", "128.0.0.0/1", "::/1", "192.0.2.1/0", "0/0"),
    *("192.0.2.1", "192.0.2.1/32", "192.0.2.1/33", "192.0.2.1/-1", "192.0.2.1/", "/24"),
    *("2001:db8::1", "2001:DB8::1/128"),
    *("192.0.2.0/24", "192.0.2.7/24", "192.0.2.0/255.255.255.0", "192.0.2.0/0.0.0.255", "192.0.2.0/255.0.255.0"),
    *("192.0.2.0/0x18", "192.0.2.0/030", "192.0.2.0/08"),
    *("192.0.2.0/ffff::", "2001:db8::/255.255.255.0", "192.0.2.1/::"),
    *("2001:db8::/64", "2001:db8::5/64", "2001:db8::/ffff:ffff::", "2001:0db8:0000::0001", "2001:db8::/63"),
    *("::ffff:192.0.2.1", "::ffff:192.0.2.0/120", "::ffff:0:0/96", "::192.0.2.1", "010.1.2.3", "10.1.2.3"),
    *("fe80::1", "fe80::/10", "fe80::1%lo", "fe80::1%lo/64", "FE80::1%LO", "fe80::1%nosuch"),
    *("127.0.0.1", "127.0.0.0/8", "127.0.0.1/8", "::1", "::1/128", "::1/64", "localhost"),
    *("192.0.2.", "192.", "192.0.2.1.", "10.1.", "2001:"),
    *(".example.org", ".Example.ORG", ".org", "example.org"),
    *("login.example.org", "LOGIN.example.org", "both.example.org"),
]
# Whole files.
NOBODY = "-:ALL:ALL\n"
FILES = [
    *("", "\n", "+:root:ALL", "-:root:ALL", NOBODY, "# -:ALL:ALL\n", " - : ALL : ALL\n", "-:root:\n", "-:root: \n"),
    *("-::ALL\n", "-ALL:ALL:ALL\n", ":-:root:ALL\n", "-:root::ALL\n", "?:root:ALL\n"),
    *("- : ROOT : ALL \t\r\n", "-\t:\troot\t:\tALL\n", "-:all:all\n"),
    *("-:(root):ALL\n", "-:(ROOT):ALL\n", "-:(also root):ALL\n", "-:(same):ALL\n", "-:(nobody here):ALL\n"),
    *("-:(admin):ALL\n", "-:():ALL\n", "-:alice,root:ALL\n", "-:alice, root\tbob:ALL\n", "-:alice:ALL\n-:bob:ALL\n"),
    "-:ALL EXCEPT root:ALL\n",
    "-:ALL EXCEPT alice:ALL\n",
    "-:ALL:ALL EXCEPT 192.0.2.0/24\n",
    "-:ALL:ALL except 192.0.2.0/24 EXCEPT 192.0.2.1\n",
    "-:ALL:198.51.100.1 EXCEPT 192.0.2.0/24\n",
    "-:EXCEPT root:ALL\n",
    "-:ALL:EXCEPT 192.0.2.1\n",
]
FILES += [
    f"+:root:{'x' * (length - len(end) - 7)},{end}\n{NOBODY}"
    for length in (8189, 8190, 8191, 8192, 8193, 16381, 16382)
    for end in ("192.0.2.1", "192.0.2.1+:root:ALL")
]


class Real:
    """The pam_access of a release, asked for many files and origins at once."""

    def __init__(self, machine):
        self.machine = machine
        machine.write("/etc/hosts", "".join(f"{each} {name}\n" for name, found in HOSTS.items() for each in found))
        with (machine.root / "etc/group").open("a") as groups:
            groups.write("also root:x:0:\nsame:x:2001:\n")
        (module,) = machine.root.glob("lib/*/security/pam_access.so")
        self.reads = _slurm_pam_access.examine(str(module))

    def rules(self, files, told=TOLD):
        """Whether each file lets root in from each origin."""
        script = ["exec 2>&1"]
        for number, text in enumerate(files):
            self.machine.write(f"/tmp/access{number}", text)
            rule = f"account required pam_access.so nodefgroup noaudit accessfile=/tmp/access{number}\n"
            self.machine.write(f"/etc/pam.d/try{number}", rule)
            script += [f"pamtester -I rhost='{place}' try{number} root acct_mgmt" for place in told]
        self.machine.write("/tmp/script", "\n".join(script) + "\n")
        said = self.machine.run(["bash", "/tmp/script"], timeout=300).stdout.splitlines()
        known = {"pamtester: account management done.": True, "pamtester: Permission denied": False}
        answers = iter([known[line] for line in said])
        found = {(text, place): next(answers) for text, place in itertools.product(files, told)}
        assert next(answers, None) is None
        return found


@pytest.fixture(scope="module", params=full.RELEASES)
def real(request, tmp_path_factory):
    with Machine(request.param, tmp_path_factory.mktemp("machine")) as machine:
        yield Real(machine)


@pytest.fixture
def hosts(monkeypatch):
    """The hosts of the machine, for our reading."""

    def addresses(host):
        found = HOSTS.get(host.lower(), ["fe80::1%lo"] if host.lower() == "fe80::1%lo" else [])
        return [ipaddress.ip_address(each) for each in found]

    monkeypatch.setattr(_slurm_pam_accounts, "addresses", addresses)


def ours(text, place, path, reads):
    path.write_text(text, newline="")
    rule = _slurm_pam_access.rule_for(str(path), "root", {"root", "also root"}.__contains__, place, True, None, reads)
    return rule is None or rule.startswith("+")


def differences(real, files, tmp_path, told=TOLD):
    answers = real.rules(files, told)
    assert {True, False} <= set(answers.values())
    return {
        key: f"really {answer}"
        for key, answer in answers.items()
        if ours(*key, tmp_path / "access", real.reads) != answer
    }


def test_origins(real, hosts, tmp_path):
    assert differences(real, [f"+:root:{word}\n{NOBODY}" for word in WORDS], tmp_path) == {}


def test_files(real, hosts, tmp_path):
    assert differences(real, FILES, tmp_path, TOLD[:3]) == {}


def test_networks(real, hosts, tmp_path):
    """Networks of all lengths, beside and around the addresses."""
    chance = random.Random(real.machine.suite)
    places = [place for place in TOLD if place[0].isdigit() and "%" not in place]
    files = []
    for place in places:
        for _ in range(6):
            address = ipaddress.ip_address(place)
            length = chance.randint(0, address.max_prefixlen)
            bit = chance.choice([0, 1 << chance.randrange(address.max_prefixlen)])
            files.append(f"+:root:{type(address)(int(address) ^ bit)}/{length}\n{NOBODY}")
    assert differences(real, files, tmp_path, places) == {}


# What the settings allow, as it is written

GIVEN = [word for word in WORDS if _is_origin(word) and not word.startswith(("gone", "tty"))]
EVERYWHERE = {"ALL", "0.0.0.0/0", "::/0", "0.0.0.0/0.0.0.0", "192.0.2.1/0", "::ffff:0:0/96", "::/::"} & set(GIVEN)


def meant(origin, place):
    """What whoever writes an origin means by it; of a name only that it means what sshd calls it."""
    if origin in EVERYWHERE:
        return True
    try:
        network = ipaddress.ip_network(origin, strict=False)
        address = ipaddress.ip_address(place)
    except ValueError:
        return None
    mapped = network.version == 6 and network.network_address.ipv4_mapped
    if mapped:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    return address in network if address.version == network.version else None


def test_what_the_settings_allow_is_read_as_it_is_meant(real):
    assert len(GIVEN) > 20 and len(EVERYWHERE) > 4
    places = [place for place in TOLD if place[0].isdigit() and not place.startswith("fe80")]
    rules = {origin: "".join(_slurm_pam_access.lines("root", [origin])) + NOBODY for origin in GIVEN}
    answers = real.rules(list(dict.fromkeys(rules.values())), places)
    wrong = {
        (origin, place): answers[text, place]
        for origin, text in rules.items()
        for place in places
        if meant(origin, place) not in (None, answers[text, place])
    }
    assert wrong == {}


@pytest.mark.parametrize("count", [2, 701, 3000])
def test_long_lists(real, count):
    origins = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(count)]
    text = "".join(_slurm_pam_access.lines("root", origins)) + NOBODY
    places = [origins[0].replace("0/24", "9"), origins[-1].replace("0/24", "9"), "192.0.2.1"]
    assert list(real.rules([text], places).values()) == [True, True, False]
