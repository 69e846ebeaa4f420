"""What modules answer when they are asked one by one is what logins come to, with each release's libpam and sshd."""

import ctypes
import json
import os
import platform
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import full, host, releases
from harness.paths import REPO
from harness.release_machine import Machine
from harness.shell import run

import _child
import _pam_ask
import _pam_libpam

PYTHON = "/usr/bin/python3"
pytestmark = [
    pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}"),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON} to ask with"),
]

NEAR, FAR, SIX = "192.0.2.1", "198.51.100.1", "2001:db8::1"
FILES = {
    "/etc/security/access.conf": f"+ : root : {NEAR}\n+ : alice (bob) : {NEAR} 2001:db8::/64\n- : ALL : ALL\n",
    "/etc/security/other.conf": f"- : alice : {FAR}\n+ : ALL : ALL\n",
    "/etc/security/tty.conf": "+ : ALL : ssh\n- : ALL : ALL\n",
    "/etc/security/time.conf": "sshd;ssh;alice;!Al0000-2400\nlogin;*;bob;!Al0000-2400\n",
    "/etc/users": "alice\nroot\n",
    "/etc/hosts.list": f"{NEAR}\n",
    "/etc/services.list": "sshd\n",
    "/etc/open.list": "alice\n",
    "/etc/shells": "/bin/bash\n",
    "/etc/securetty": "tty1\n",
    "/etc/login.defs": "UID_MIN 1002\nSYS_UID_MAX 1001\n",
}
# alice's account has expired, and so has bob's password; admin's is to be changed.
SHADOW = "root:*:19000::::::\nadmin:*:0:0:99999:7:::\nalice:*:19000:::::1:\nbob:*:1000:0:1:7:::\n"
RULES = [
    *("pam_access.so", "pam_access.so nodefgroup", "pam_access.so accessfile=/etc/security/other.conf"),
    *("pam_access.so accessfile=/etc/security/tty.conf", "pam_access.so accessfile=/etc/absent.conf"),
    *("pam_succeed_if.so user ingroup bob", "pam_succeed_if.so quiet uid != 0", "pam_succeed_if.so uid < 1002"),
    *(f"pam_succeed_if.so rhost = {NEAR}", "pam_succeed_if.so service in sshd:login", "pam_succeed_if.so tty = ssh"),
    *("pam_succeed_if.so user", "pam_succeed_if.so use_uid uid = 0"),
    *(f"pam_listfile.so item=user sense={sense} file=/etc/users onerr=fail" for sense in ("allow", "deny")),
    "pam_listfile.so item=rhost sense=allow file=/etc/hosts.list onerr=fail",
    *(f"pam_listfile.so item={what} sense=deny file=/etc/services.list onerr=fail" for what in ("service", "tty")),
    *(f"pam_listfile.so item=user sense=allow file=/etc/absent onerr={how}" for how in ("fail", "succeed")),
    "pam_listfile.so item=user sense=allow file=/etc/open.list onerr=fail",
    "pam_listfile.so item=group sense=allow file=/etc/users onerr=fail",
    *("pam_time.so", "pam_unix.so", "pam_unix.so no_pass_expiry", "pam_localuser.so", "pam_shells.so"),
    *("pam_usertype.so issystem", "pam_wheel.so", "pam_wheel.so group=bob", "pam_wheel.so deny group=bob"),
    *("pam_nologin.so", "pam_nologin.so successok", "pam_nologin.so file=/etc/users", "pam_rootok.so"),
    *("pam_securetty.so", "pam_permit.so", "pam_deny.so", "pam_debug.so acct=ignore", "pam_debug.so acct=acct_expired"),
    *("/usr/lib/absent/pam_access.so", "pam_succeed_if.so [user] = [alice]"),
]


def rule_of(text):
    module, *args = _words(text)
    return module, tuple(args)


def handler(rule):
    """As of a module of libpam's own."""
    module, args = rule
    return {"module": module, "name": os.path.basename(module), "args": args}


def _words(text):
    return [word.strip("[]") for word in text.split()]


@pytest.fixture(scope="module", params=full.RELEASES)
def machine(request, tmp_path_factory):
    options = [] if request.param in ("bullseye", "bookworm") else ["-o", "PerSourcePenalties=no"]
    options += ["-o", "MaxStartups=200"]
    scratch = tmp_path_factory.mktemp("machine")
    with Machine(request.param, scratch) as machine, machine.sshd("UsePAM yes\n", *options):
        for place, text in FILES.items():
            machine.write(place, text)
        machine.write("/etc/shadow", SHADOW, 0o640)
        (machine.root / "etc/open.list").chmod(0o666)
        machine.python = _give_python(machine)
        yield machine


def _give_python(machine):
    """This machine's Python in the other: with its own libraries where that one's are newer, else with ours."""
    home = Path(run([PYTHON, "-c", "import os; print(os.__file__)"]).stdout.strip()).parent
    heavy = ("test", "idlelib", "lib2to3", "tkinter", "ensurepip", "config-*", "__pycache__", "*-packages")
    shutil.copytree(home, machine.root / f"py/lib/{home.name}", ignore=shutil.ignore_patterns(*heavy))
    shutil.copy(PYTHON, machine.root / "py/python")
    shutil.copy(REPO / "_modules/_pam_asker.py", machine.root / "py")
    needed = [PYTHON, *(home / "lib-dynload").glob("_ctypes.*"), *(home / "lib-dynload").glob("resource.*")]
    for library in set(re.findall(r"(/\S+) \(", run(["ldd", *needed]).stdout)):
        shutil.copy(library, machine.root / "py/lib")
        # Older modules ask for parts of libc that are one with it now.
        for part in Path(library).parent.glob("lib*.so.[0-9]") if "libc.so" in library else ():
            if part.name.split(".")[0] in ("libdl", "libpthread", "librt", "libutil"):
                shutil.copy(part, machine.root / "py/lib")
    theirs = [str(path) for path in Path("/usr/lib").glob("*-linux-gnu")]
    theirs += [path.removeprefix("/usr") for path in theirs]
    ours = ["/py/lib"]
    first = [*ours, *theirs] if machine.suite in ("bullseye", "bookworm") else [*theirs, *ours]
    loader = next((machine.root / "py/lib").glob("ld-linux*")).name
    place = f"/py/lib/{loader}" if first[0] == "/py/lib" else f"/lib64/{loader}"
    return ["env", "PYTHONHOME=/py", place, "--library-path", ":".join(first), "/py/python", "-S"]


@pytest.fixture
def inside(machine, monkeypatch):
    """Questions go to that machine."""
    real = _child.ask

    def ask(*words, **how):
        return real(*machine.command([*machine.python, "/py/_pam_asker.py"]), **how)

    monkeypatch.setattr(_child, "ask", ask)
    return machine


def asked(user, origin, mounting=False):
    told = _pam_ask.answers([handler(rule_of(text)) for text in RULES], "sshd", user, origin, mounting)
    return {text: told[rule_of(text)] for text in RULES}


HERE = [(user, NEAR) for user in releases.USERS]
LOGINS = [*HERE, ("root", FAR), ("alice", FAR), ("alice", SIX), ("bob", SIX)]


def test_a_login_comes_to_what_the_module_says(inside):
    told = {login: asked(*login) for login in LOGINS}
    wrong = []
    with ThreadPoolExecutor(len(LOGINS)) as pool:
        for text in RULES:
            logins = LOGINS if "access" in text or "rhost" in text else HERE
            account = f"account required {text}\naccount required pam_permit.so"
            inside.write("/etc/pam.d/sshd", releases.OPEN.replace("account required pam_permit.so", account))
            got_in = pool.map(lambda login: inside.ssh(login[0], origin=login[1]).ok, logins)
            for login, ok in zip(logins, got_in, strict=True):
                said = told[login][text]
                if ok is not (said.code in ("success", "ignore")):
                    wrong.append((text, login, said, ok))
    assert not wrong
    codes = {said.code for said_by in told.values() for said in said_by.values()}
    assert {"success", "ignore", "perm_denied", "auth_err", "acct_expired", "new_authtok_reqd"} <= codes
    # Each rule that judges by the login says yes and no.
    judging = [text for text in RULES if len({told[login][text].code for login in LOGINS}) > 1]
    assert len(judging) >= 12, judging


def test_libpam_1_3_has_the_same_answers(inside):
    """Its way: /etc/pam.d laid over in a mount namespace. It is forced here, since no release has so old a libpam."""
    for login in LOGINS[:3]:
        assert asked(*login, mounting=True) == asked(*login)


def test_nothing_is_left(inside):
    before = {path: (inside.root / path).read_bytes() for path in ("etc/shadow", "etc/pam.d/sshd")}
    asked("bob", NEAR), asked("bob", NEAR, mounting=True)
    assert {path: (inside.root / path).read_bytes() for path in before} == before
    assert not list((inside.root / "run").glob("pam_asker*"))


# Modules that do not answer, on this machine


def patched(tmp_path, code):
    """pam_permit.so with other instructions in it."""
    places = map(Path, _pam_libpam.node_libpam()["module_dirs"])
    real = next(place / "pam_permit.so" for place in places if (place / "pam_permit.so").exists())
    ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
    address = ctypes.cast(ctypes.CDLL(str(real)).pam_sm_acct_mgmt, ctypes.c_void_p).value
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end, offset = (int(number, 16) for number in re.match(r"(\w+)-(\w+) \S+ (\w+)", line).groups())
        if start <= address < end:
            break
    text = bytearray(real.read_bytes())
    place = address - start + offset
    text[place : place + len(code)] = code
    (tmp_path / "pam_permit.so").write_bytes(text)
    return str(tmp_path / "pam_permit.so"), ()


MISBEHAVING = {
    "crashes": ("0f0b", "it ended the process that asked it, by signal 4"),
    "hangs": ("ebfe", "no answer within 1 seconds"),
    "exits": ("31ffb8e70000000f05", "it ended the process that asked it, with status 0"),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are of x86_64")
@pytest.mark.parametrize("mounting", [False, True])
@pytest.mark.parametrize("how", MISBEHAVING)
def test_a_module_that_does_not_answer_is_no_answer_and_others_are_asked(tmp_path, monkeypatch, how, mounting):
    monkeypatch.setattr(_pam_ask, "_LIMIT", 1)
    code, why = MISBEHAVING[how]
    bad, good = patched(tmp_path, bytes.fromhex(code)), ("pam_deny.so", ())
    told = _pam_ask.answers([handler(bad), handler(good)], "sshd", "nobody", NEAR, mounting)
    assert told == {bad: _pam_ask.Said(None, why), good: _pam_ask.Said("auth_err")}
    assert not [name for name in os.listdir("/run") if name.startswith("pam_asker")]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are of x86_64")
def test_a_module_whose_answer_is_none(tmp_path):
    """libpam takes 99 for a refusal."""
    bad = patched(tmp_path, bytes.fromhex("b863000000c3"))
    assert _pam_ask.answers([handler(bad)], "sshd", "nobody", NEAR)[bad].code not in ("success", "ignore")


def test_nothing_is_told_to_the_audit_trail(tmp_path):
    """A login that nobody tried would be a false record."""
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    who = {"service": "sshd", "user": "nobody", "rhost": NEAR}
    request = {"rules": ["pam_deny.so"], **who, "limit": 9, "mounting": False}
    log = tmp_path / "log"
    words = ["strace", "-f", "-e", "trace=socket,connect,sendto", "-o", log, PYTHON, "-I", "-S"]
    said = run([*words, REPO / "_modules/_pam_asker.py"], input=json.dumps(request))
    assert said.stdout == '{"code": 7}\n'
    calls = log.read_text()
    assert re.search(r"NETLINK_AUDIT\) = -1 EPROTONOSUPPORT", calls), calls
    assert "/dev/log" not in calls and "sendto" not in calls
