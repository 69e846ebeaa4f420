"""What slurm_pam.doors says of a node is what people get: Cockpit, the console, cron, at, and what is not known."""

import base64
import json
import re
import time

import pytest
from harness import debs
from harness.formula import applied, settings
from harness.salt_tree import HOME
from harness.shell import run

ADMINS = {"groups": {"hpc_admin_g": {"origins": ["ALL"], "members": ["admin"]}}}
PAM = ("cockpit", "cron", "atd", "login", "door", "kiosk")

# Its own program under a name of its own, as a fork has it: up to OpenSSH 9.7 that is the PAM service.
SECOND = """\
[Service]
ExecStartPre=/bin/cp /usr/sbin/sshd /usr/local/sbin/door
ExecStart=/usr/local/sbin/door -D -p 2222
[Install]
WantedBy=multi-user.target
"""
KIOSK = """\
[Service]
Type=oneshot
RemainAfterExit=yes
User=%i
PAMName=kiosk
ExecStart=/bin/sh -c 'id -un >/var/tmp/kiosk-%i'
"""
# Log in as people do at a console, and say what the session says of itself.
LOGIN = """\
import os, pty, re, select, sys, time
user, password = sys.argv[1], sys.stdin.readline().strip()
child, terminal = pty.fork()
if child == 0:
    os.execv("/bin/login", ["login", user])
seen, said, until = b"", False, time.monotonic() + 20
while time.monotonic() < until:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            break
    if b"assword:" in seen and not said:
        os.write(terminal, password.encode() + b"\\n")
        said, seen = True, b""
    elif said and seen.rstrip().endswith((b"$", b"#")):
        os.write(terminal, b"echo in-as-$(id -un); exit\\n")
        seen = b""
print(b"in-as-" + user.encode() in seen)
os.close(terminal)
"""
# What Cockpit's own page asks.
COCKPIT = """\
import ssl, sys, urllib.error, urllib.request
trusting = ssl._create_unverified_context()
request = urllib.request.Request("https://127.0.0.1:9090/cockpit/login")
request.add_header("Authorization", "Basic " + sys.stdin.readline().strip())
try:
    print(urllib.request.urlopen(request, context=trusting, timeout=60).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


class Doors:
    """A node with doors, what is said of them, and what one gets there."""

    def __init__(self, node):
        self.node = node
        self.password = (node.site.directory / "password").read_text()

    def said(self):
        told = self.node.salt("slurm_pam.doors")
        return {row["service"]: row for row in told["doors"]}, told["findings"]

    def _python(self, program, *words, said):
        return self.node.run([f"{HOME}/bin/python3", "-c", program, *words], input=f"{said}\n").stdout.strip()

    def cockpit(self, user):
        told = base64.b64encode(f"{user}:{self.password}".encode()).decode()
        return self._python(COCKPIT, said=told) == "200"

    def login(self, user):
        return self._python(LOGIN, user, said=self.password) == "True"

    def door(self, user):
        words, environment = self.node.ssh_command(user, "id -un")
        port = ["-p", "2222", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        at = words.index("ssh") + 1
        return run([*words[:at], *port, *words[at:]], check=False, env=environment, timeout=60).stdout == f"{user}\n"

    def sshd(self, user):
        return self.node.ssh(user).ok

    def kiosk(self, user):
        return self._ran(f"kiosk-{user}", ["systemctl", "restart", f"kiosk@{user}"], user)

    def atd(self, user):
        line = f"echo 'id -un >/var/tmp/at-{user}' | at now"
        return self._ran(f"at-{user}", ["setpriv", f"--reuid={user}", "--init-groups", "sh", "-c", line], user)

    def _ran(self, name, words, user):
        self.node.run(["rm", "-f", f"/var/tmp/{name}"], check=True)
        self.node.run(words, cwd="/")
        return self._wrote(name, user, 6)

    def _wrote(self, name, user, patience):
        until = time.monotonic() + patience
        while not (seen := self.node.run(["cat", f"/var/tmp/{name}"]).stdout) and time.monotonic() < until:
            time.sleep(0.2)
        return seen == f"{user}\n"

    def cron(self, *users):
        """Who of them has a crontab carried out: both at once, since cron looks once a minute."""
        for user in users:
            self.node.run(["rm", "-f", f"/var/tmp/cron-{user}"], check=True)
            self.node.run(["crontab", "-u", user, "-"], input=f"* * * * * id -un >/var/tmp/cron-{user}\n", check=True)
        ran = self._wrote(f"cron-{users[0]}", users[0], 75)
        return {user: ran if user == users[0] else self._wrote(f"cron-{user}", user, 2) for user in users}


@pytest.fixture(scope="module")
def doors(node):
    debs.install(node, "at", "cockpit-bridge", "cockpit-ws", "cron")
    node.write("/etc/systemd/system/second.service", SECOND)
    node.write("/etc/systemd/system/kiosk@.service", KIOSK)
    for service in ("door", "kiosk"):
        node.write(f"/etc/pam.d/{service}", node.read("/etc/pam.d/sshd" if service == "door" else "/etc/pam.d/cron"))
    node.run(["systemctl", "daemon-reload"], check=True)
    settings(node, access=ADMINS)
    return Doors(node)


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_what_is_said_is_what_one_gets(doors):
    node = doors.node

    # Off.
    before, findings = doors.said()
    assert not findings
    assert {name: before[name]["on"] for name in ("cockpit", "cron", "atd")} == {"cockpit": [], "cron": [], "atd": []}
    assert "/usr/sbin/cron" in before["cron"]["there"] and "kiosk" not in before and "door" not in before

    # On: an apply closes sshd and tells of the others.
    node.run(["systemctl", "enable", "--now", "cockpit.socket", "cron", "atd"], check=True)
    node.run(["systemctl", "start", "getty@tty1.service"])
    states = applied(node)
    (warned,) = [state["warnings"] for state in states.values() if state.get("warnings")]
    assert all(f"PAM service {name} (" in " ".join(warned) for name in ("cockpit", "cron", "atd")), warned
    node.run(["systemctl", "enable", "--now", "second"], check=True)
    node.run(["systemctl", "start", "kiosk@bob"], check=True)
    said, findings = doors.said()
    assert not findings
    assert said["cockpit"]["listening"] == ["[::]:9090"] and said["door"]["reach"] == "network"
    assert [said[name]["what"] for name in ("kiosk", "door")] == ["not known", "SSH"]
    assert all(said[name]["on"] for name in ("cockpit", "cron", "atd", "door", "kiosk", "sshd"))
    assert re.search("slurm-common-account:[0-9]+ .*pam_slurm_adopt.so", said["sshd"]["stranger"]["why"])
    compare(doors, said, {"sshd": False, **dict.fromkeys(PAM, True)})

    # Closed, by hand: the same gate, told to act for every service.
    account = node.read("/etc/pam.d/slurm-common-account")
    node.write("/etc/pam.d/gate-account", account.replace("pam_slurm_adopt.so", "pam_slurm_adopt.so service=*"))
    for service in PAM:
        text = node.read(f"/etc/pam.d/{service}").replace("slurm-common-account", "common-account")
        node.write(f"/etc/pam.d/{service}", re.sub(r"(?m)^@include\s+common-account", "@include gate-account", text))
    said, _ = doors.said()
    assert all("gate-account" in said[name]["stranger"]["decided_by"]["file"] for name in PAM)
    compare(doors, said, {"sshd": False, **dict.fromkeys(PAM, False)})


def compare(doors, said, stranger):
    """What is said of a user without a job and of an administrator, what is expected, and what they get."""
    told = {name: (said[name]["stranger"]["in"], said[name]["administrator"]["in"]) for name in stranger}
    cron = doors.cron("admin", "bob")
    tried = {name: getattr(doors, name) for name in stranger if name != "cron"}
    got = {name: (gets_in("bob"), gets_in("admin")) for name, gets_in in tried.items()}
    got["cron"] = cron["bob"], cron["admin"]
    assert got == told == {name: (wanted, True) for name, wanted in stranger.items()}, json.dumps(said, indent=1)
