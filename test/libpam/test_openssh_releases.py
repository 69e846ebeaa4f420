"""What counts in each release of OpenSSH, by the real sshd of each: options, Match lines, lists and penalties."""

import pathlib
import subprocess

import pytest
import yaml
from harness import host, network, releases
from harness.release_machine import Machine
from salt.exceptions import CommandExecutionError

import _slurm_pam_crowding
import _slurm_pam_login
import sshd_config
from _slurm_pam_connections import proof, services
from _slurm_pam_settings import without_nulls

pytestmark = pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}")

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text())
OPTIONS = without_nulls(DEFAULTS)["sshd"]["options"]


@pytest.fixture(scope="session", params=releases.RELEASES)
def suite(request):
    return request.param


@pytest.fixture
def asked(suite, monkeypatch):
    """Whatever asks sshd asks that of this release."""
    monkeypatch.setenv("PATH", releases.path(suite))
    return suite


class Etc:
    """A configuration of its own, with a directory of drop-ins."""

    def __init__(self, top):
        self.top, self.main, self.drop_in = top, str(top / "sshd_config"), str(top / "d" / "00-t.conf")
        (top / "d").mkdir()

    def write(self, text, name="sshd_config"):
        (self.top / name).write_text(text.replace("{etc}", str(self.top)))

    def apply(self, options):
        """Write what the plan says, and return what would still not count."""
        for path, text in sshd_config.plan(options, self.main, self.drop_in, "t").items():
            pathlib.Path(path).unlink() if text is None else pathlib.Path(path).write_text(text)
        return sshd_config.check(options, self.main)

    def values(self):
        return sshd_config.effective(self.main)

    def connections(self):
        return sshd_config.connections(self.main)


@pytest.fixture
def etc(tmp_path):
    return Etc(tmp_path)


@pytest.fixture
def machine(suite, tmp_path):
    with Machine(suite, tmp_path) as machine:
        yield machine


def test_each_is_the_release_that_it_says(asked):
    said = subprocess.run(["sshd", "-V"], capture_output=True, text=True, check=False)
    assert f"OpenSSH_{releases.RELEASES[asked]}" in said.stderr


# The formula's own options


MAINS = {
    "empty": "",
    "the newer name": "KbdInteractiveAuthentication yes\n",
    "the older name": "ChallengeResponseAuthentication yes\n",
    "the older name off": "ChallengeResponseAuthentication no\n",
    "both": "KbdInteractiveAuthentication yes\nChallengeResponseAuthentication no\n",
    "both the other way": "ChallengeResponseAuthentication yes\nKbdInteractiveAuthentication no\n",
    "drop-ins": "Include {etc}/d/*.conf\nKbdInteractiveAuthentication yes\nChallengeResponseAuthentication yes\n",
    "drop-ins too late": "ChallengeResponseAuthentication yes\nInclude {etc}/d/*.conf\n",
    "drop-ins and penalties before": "PerSourceNetBlockSize 24:64\nMaxStartups 5\nInclude {etc}/d/*.conf\n",
}


@pytest.mark.parametrize("main", MAINS.values(), ids=MAINS)
def test_the_defaults_count(asked, etc, main):
    if asked == "bullseye":
        main = main.replace("PerSourceNetBlockSize 24:64\n", "")
    etc.write(main)
    before = {path: path.read_bytes() for path in etc.top.rglob("*") if path.is_file()}
    assert etc.apply(OPTIONS) == []
    values = etc.values()
    assert {name: values[name] for name in ("usepam", "kbdinteractiveauthentication", "maxstartups")} == {
        "usepam": ["yes"],
        "kbdinteractiveauthentication": ["no"],
        "maxstartups": ["1000:30:2000"],
    }
    assert values.get("challengeresponseauthentication", ["no"]) == ["no"]
    assert values.get("persourcepenalties", ["no"]) == ["no"]
    assert list(_slurm_pam_crowding.crowding(values)) == []
    # Once more is nothing more, and back is what it was.
    assert sshd_config.plan(OPTIONS, etc.main, etc.drop_in, "t") == {}
    etc.apply({})
    assert {path: path.read_bytes() for path in etc.top.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        ("KbdInteractiveAuthentication",),
        ("ChallengeResponseAuthentication",),
        ("KbdInteractiveAuthentication", "ChallengeResponseAuthentication"),
    ],
)
def test_either_name_of_keyboard_interactive(asked, etc, names, value):
    wanted = "yes" if value else "no"
    for main in MAINS.values():
        etc.write(main if asked != "bullseye" else main.replace("PerSourceNetBlockSize 24:64\n", ""))
        assert etc.apply(dict.fromkeys(names, value)) == []
        assert etc.values()["kbdinteractiveauthentication"] == [wanted]
        etc.apply({})


def test_what_is_offered_to_a_login(machine):
    """8.6 and older let people in by keyboard-interactive unless both options say no."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", releases.path(machine.suite))
        etc = Etc(machine.scratch)
        etc.write("UsePAM yes\n")
        etc.apply({**OPTIONS, "PasswordAuthentication": False})
    with machine.sshd((machine.scratch / "sshd_config").read_text()):
        refused = machine.ssh("alice", options={"PubkeyAuthentication": "no"})
        assert "Permission denied (publickey)." in refused.stderr
        assert machine.ssh("alice").ok


def test_an_option_that_only_a_newer_sshd_has(asked, etc):
    etc.write("")
    options = {"PerSourcePenalties": "authfail:1"}
    if "persourcepenalties" in etc.values():
        assert etc.apply(options) == []
    else:
        with pytest.raises(Exception, match=r"Bad configuration option: PerSourcePenalties|unsupported option"):
            etc.apply(options)
    # A misspelling of what is to be off is no option of a newer sshd.
    with pytest.raises(Exception, match="Bad configuration option: PerSourcePenaltys"):
        etc.apply({"PerSourcePenaltys": False})


# Match lines


MATCHES = ["User *", "User bob", "User root,!x", "Group *", "Host *", "Address 0.0.0.0/0,::/0", "LocalAddress *"]
MATCHES += ["LocalPort 22", "LocalPort 65535", "User * Address *", "RDomain *"]


@pytest.mark.parametrize("match", MATCHES)
def test_each_kind_of_connection(asked, etc, match):
    etc.write(f"Banner /a\nMatch {match}\n Banner /b\nMatch all\n X11Forwarding yes\n")
    assert etc.values()["banner"] == ["/a"]
    told = [(kind["match"], kind["line"], kind["values"]["banner"]) for kind in etc.connections()]
    assert told == [(None, None, ["/a"]), (f"Match {match}", 2, ["/b"])]
    assert {tuple(kind["values"]["x11forwarding"]) for kind in etc.connections()} == {("yes",)}
    # Whatever of a connection is left unsaid.
    for connection in ("user=zoe", "addr=198.51.100.7", "user=zoe,host=h,addr=198.51.100.7", "lport=2222"):
        assert sshd_config.effective(etc.main, connection)["x11forwarding"] == ["yes"]


@pytest.mark.parametrize("line", ["Match Colour red", "Match User", "Match LocalPort x", "Match User a all", "Match"])
def test_a_match_line_that_sshd_refuses(asked, etc, line):
    """It is refused although it counts for nobody who is asked about: at its next start, sshd would not come up."""
    etc.write(f"UsePAM yes\n{line}\n Banner none\n")
    for ask in (etc.values, etc.connections, lambda: etc.apply(OPTIONS)):
        with pytest.raises(CommandExecutionError, match=f"refuses the configuration: {etc.main}|{etc.main} line"):
            ask()


def test_match_lines_within_includes(asked, etc):
    """What is included under a Match line counts under it, and its own Match lines under both."""
    etc.write("Include {etc}/d/*.conf\nBanner /main\nMatch User a\n Include {etc}/under\n Banner /a\n")
    etc.write("Banner /drop\nMatch User b\n Banner /b\n", "d/10.conf")
    etc.write("X11Forwarding yes\nMatch Address 192.0.2.0/24\n MaxAuthTries 3\n", "under")
    told = {
        kind["match"]: [kind["values"][name][0] for name in ("banner", "x11forwarding", "maxauthtries")]
        for kind in etc.connections()
    }
    assert told == {
        None: ["/drop", "no", "6"],
        "Match User b": ["/b", "no", "6"],
        "Match User a": ["/a", "yes", "6"],
        "Match Address 192.0.2.0/24": ["/a", "yes", "3"],
    }
    assert sshd_config.effective(etc.main, "user=a,addr=192.0.2.7")["maxauthtries"] == ["3"]


SERVICES = {
    "nothing": ("", []),
    "for everybody": ("PAMServiceName other\n", ["other"]),
    "below Match": ("Match User alice\n PAMServiceName other\n", ["other for Match User alice"]),
    "by a group that nobody is in": ("Match Group nix\n PAMServiceName other\n", ["other for Match Group nix"]),
    "below the second": (
        "Match User bob\n Banner none\nMatch Address 192.0.2.0/24\n PAMServiceName other\n",
        ["other for Match Address 192.0.2.0/24"],
    ),
    "by what no user is": ("Match User !*\n PAMServiceName other\n", ["other for Match User !*"]),
    "the same below Match": ("Match User bob\n PAMServiceName sshd\n", []),
    "in a drop-in": ("Include {etc}/d/*.conf\n", ["other for Match LocalPort 2222"]),
    "for all at the end": ("Match all\n PAMServiceName other\n", ["other"]),
    "ours for some only": (
        "PAMServiceName a\nMatch User bob\n PAMServiceName sshd\n",
        ["a"],
    ),
}


@pytest.mark.parametrize(("text", "told"), SERVICES.values(), ids=SERVICES)
def test_pam_services_that_sshd_asks(asked, etc, text, told):
    etc.write("Match LocalPort 2222\n PAMServiceName other\n", "d/10.conf")
    etc.write(f"UsePAM yes\n{text}")
    if "PAMServiceName" in text and asked in ("bullseye", "bookworm"):
        with pytest.raises(Exception, match="PAMServiceName"):
            etc.connections()
        # What sshd does not say is no proof.
        assert proof(etc.main, "sshd")["holds"] is False
        return
    if text.startswith("Include") and asked in ("bullseye", "bookworm"):
        etc.write("", "d/10.conf")
        told = []
    found = [finding.found for finding in services(etc.connections(), "sshd")]
    assert len(found) == len(told)
    assert all(f"PAMServiceName is {each}" in line for each, line in zip(told, found, strict=True))
    assert proof(etc.main, "sshd")["holds"] is not bool(told)


def test_a_service_below_match_lets_in_whom_sshds_own_refuses(machine):
    machine.write("/etc/pam.d/sshd", releases.OPEN.replace("account required pam_permit", "account required pam_deny"))
    machine.write("/etc/pam.d/open", releases.OPEN)
    config = "UsePAM yes\nMatch User alice\n PAMServiceName open\n"
    if machine.suite in ("bullseye", "bookworm"):
        config = "UsePAM yes\n"
    with machine.sshd(config):
        assert not machine.ssh("bob").ok
        assert machine.ssh("alice").ok is ("PAMServiceName" in config)


def test_a_directory_and_a_masked_file_are_empty_to_sshd(asked, etc):
    (etc.top / "d/20-old.conf").mkdir()
    (etc.top / "d/30-masked.conf").symlink_to("/dev/null")
    etc.write("Banner /drop\n", "d/40.conf")
    etc.write("Include {etc}/d/*\nInclude {etc}/d\n")
    said = subprocess.run(["sshd", "-t", "-f", etc.main], capture_output=True, text=True, check=False)
    assert "20-old" not in said.stderr and "30-masked" not in said.stderr
    assert etc.values()["banner"] == ["/drop"]
    assert etc.apply({"Banner": "/x"}) == []


# Lists of users


ACCOUNT = "user@realm"
LISTS = [
    "AllowUsers *@192.0.2.1",
    "AllowUsers ali*@192.0.2.0/24",
    "AllowUsers user@realm",
    "AllowUsers user@realm@192.0.2.1",
    "AllowUsers user@realm@*",
    "AllowUsers *@realm@192.0.2.1 alice",
    "AllowUsers user@*",
    "DenyUsers user@realm@192.0.2.1",
    "DenyUsers *@realm@192.0.2.0/24",
    "DenyUsers alice@!192.0.2.1,*",
    "DenyUsers user@realm",
    "AllowGroups user@realm bob",
    "DenyGroups *@realm",
]


def test_lists_as_logins_see_them(machine):
    entries = {"passwd": "x:1003:1004::/home/bob:/bin/bash", "group": "x:1004:", "shadow": "*:19000::::::"}
    for name, line in entries.items():
        place = machine.root / "etc" / name
        place.write_text(place.read_text() + f"{ACCOUNT}:{line}\n")
    for line in LISTS:
        with machine.sshd(f"UsePAM yes\n{line}\n") as log:
            got_in = {user: machine.ssh(user).ok for user in ("alice", "bob", ACCOUNT)}
            values = {}
            for printed in machine.run(["/usr/sbin/sshd", "-T"]).stdout.splitlines():
                keyword, _, text = printed.partition(" ")
                values.setdefault(keyword.lower(), []).append(text)
            foreseen = {user: not _slurm_pam_login.refusal(user, [user], values, "192.0.2.1") for user in got_in}
            assert (line, foreseen) == (line, got_in), log.read_text()


@pytest.mark.parametrize(("group", "let_in"), [("domain users", True), ("wheel", True), ("users", False)])
def test_a_group_with_a_blank_in_its_name(asked, etc, group, let_in):
    etc.write('AllowGroups "domain users" wheel\n')
    assert (_slurm_pam_login.refusal("alice", [group], etc.values(), "192.0.2.1") is None) is let_in


# What one user can use up


def connecting(machine, origin, then, **how):
    """A program outside that opens connections."""
    inside = ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]
    here = machine.HERE6 if ":" in origin else machine.HERE
    return network.connecting(inside, here, origin, then, **{"seconds": 1, **how})


def hammer(machine, origin):
    """All that somebody without a job does from an address: logins that PAM refuses, wrong keys, and silence."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", machine.scratch / "wrong"], check=True)
    for _ in range(6):
        assert not machine.ssh("alice", origin=origin).ok
        assert not machine.ssh("alice", origin=origin, options={"IdentityFile": machine.scratch / "wrong"}).ok
    assert not machine.ssh("nobody_here", origin=origin).ok
    assert connecting(machine, origin, "connection.recv(9); connection.close()").wait() == 0


REFUSING = releases.OPEN.replace(
    "account required pam_permit.so", "account required pam_succeed_if.so quiet user notin alice:nobody_here"
)
ORIGINS = ["192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_whatever_a_user_without_a_job_does_others_get_in(machine, origin):
    """With the formula's options, from the same address and its network."""
    machine.write("/etc/pam.d/sshd", REFUSING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", releases.path(machine.suite))
        etc = Etc(machine.scratch)
        etc.write("PerSourceNetBlockSize 24:64\n" if machine.suite != "bullseye" else "")
        assert etc.apply(OPTIONS) == []
    with machine.sshd((machine.scratch / "sshd_config").read_text()) as log:
        hammer(machine, origin)
        # sshd greets each: none of them waits in its queue, where an administrator would wait behind it.
        holder = connecting(machine, origin, "connection.recv(9); kept.append(connection)", number=150, seconds=600)
        try:
            near = "2001:db8::2" if ":" in origin else "192.0.2.2"
            logins = [(user, each) for user in ("root", "admin", "bob") for each in (origin, near)]
            got_in = {(user, each): machine.ssh(user, origin=each).ok for user, each in logins}
        finally:
            holder.kill()
            holder.wait()
        assert all(got_in.values()), (got_in, log.read_text()[-2000:])


def test_without_the_options_he_locks_them_out(suite, machine):
    """What the options are for, on the releases that have penalties."""
    if suite in ("bullseye", "bookworm"):
        assert "persourcepenalties" not in machine.run(["/usr/sbin/sshd", "-T"]).stdout.lower()
        return
    machine.write("/etc/pam.d/sshd", REFUSING)
    with machine.sshd("UsePAM yes\n"):
        hammer(machine, "192.0.2.1")
        assert not any(machine.ssh(user).ok for user in ("root", "admin", "bob"))
        assert machine.ssh("root", origin="192.0.2.2").ok


PENALTIES = {
    "": True,
    "PerSourcePenalties no\n": False,
    "PerSourcePenalties authfail:0\n": True,
    "PerSourcePenalties no\nPerSourcePenalties authfail:3\n": True,
    "PerSourcePenalties crash:0 authfail:0 noauth:0 grace-exceeded:0\n": True,
    "PerSourcePenalties crash:0 authfail:0 noauth:0 grace-exceeded:0 refuseconnection:0\n": True,
    "PerSourcePenaltyExemptList 192.0.2.0/24\n": True,
    "PerSourcePenaltyExemptList 0.0.0.0/0,::/0\n": False,
    "PerSourcePenaltyExemptList *\n": False,
    "PerSourcePenaltyExemptList *,!192.0.2.1\n": True,
}


@pytest.mark.parametrize("text", PENALTIES)
def test_penalties_that_are_left(asked, etc, text):
    etc.write("")
    if "persourcepenalties" not in etc.values():
        assert _slurm_pam_crowding.reasons(etc.values()) == []
        return
    etc.write(text)
    # refuseconnection came with 9.9 and invaliduser with 10.3; both are reasons by default.
    known = "refuseconnection:0" in text and asked == "trixie"
    assert bool(_slurm_pam_crowding.reasons(etc.values())) is (PENALTIES[text] and not known)


def test_a_line_that_switches_penalties_on_again_is_found(asked, etc):
    """Of this keyword the first line does not win."""
    etc.write("Include {etc}/d/*.conf\n")
    if "persourcepenalties" not in etc.values():
        return
    etc.write("Include {etc}/d/*.conf\nPerSourcePenalties authfail:3\n")
    files = sshd_config.plan(OPTIONS, etc.main, etc.drop_in, "t")
    (finding,) = sshd_config.check(OPTIONS, etc.main, files)
    assert (finding["option"], finding["by"]) == ("PerSourcePenalties", f"{etc.main}:2")


# Drop-ins that sshd does not read


@pytest.mark.parametrize(
    ("main", "reads"),
    [
        ("Include {etc}/d/*.conf\n", True),
        ("Port 22\nInclude {etc}/x/* {etc}/d/0*.conf\n", True),
        ("", False),
        ("Include {etc}/d/*.config\n", False),
        ("Include {etc}/*/x.conf\n", False),
        ("Match User a\nInclude {etc}/d/*.conf\n", False),
    ],
)
def test_whether_a_drop_in_is_read(etc, main, reads):
    etc.write(main)
    assert sshd_config.reads(etc.drop_in, etc.main) is reads
