"""Ways onto a node besides SSH, each tried as people use it: who gets in, and in which cgroup what they start is."""

from __future__ import annotations

import base64
import time

from harness import debs, network, second_sshd
from harness.node import Node
from harness.salt_tree import HOME
from harness.shell import run

PACKAGES = ("at", "cockpit-bridge", "cockpit-ws", "cron")
LINGERING = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/self/cgroup >/var/tmp/systemd-user-%u'
[Install]
WantedBy=default.target
"""
# Log in as people do at a console, and ask where the shell is.
_LOGIN = """\
import os, pty, select, sys, time
user, password = sys.argv[1], sys.stdin.readline().strip()
child, terminal = pty.fork()
if child == 0:
    os.execv("/bin/login", ["login", user])
seen, said, until = b"", 0, time.monotonic() + 30
while time.monotonic() < until:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            break
    if said == 0 and b"assword:" in seen:
        os.write(terminal, password.encode() + b"\\n")
        said, seen = 1, b""
    elif said == 1 and seen.rstrip().endswith((b"$", b"#")):
        os.write(terminal, b"cat /proc/self/cgroup >/var/tmp/login-" + user.encode() + b"; exit\\n")
        said = 2
os.close(terminal)
"""
# What Cockpit's own page asks.
_COCKPIT = """\
import ssl, sys, urllib.error, urllib.request
trusting = ssl._create_unverified_context()
request = urllib.request.Request(f"https://{sys.argv[1]}:9090/cockpit/login")
request.add_header("Authorization", "Basic " + sys.stdin.readline().strip())
try:
    print(urllib.request.urlopen(request, context=trusting, timeout=60).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


class Doors:
    """
    A node with them. A way in gives the cgroups of what was run there, as /proc has them; None if nobody got in.

    Ways in: cockpit, login, second (an sshd with a PAM service of that name), su (from a session over SSH), cron, atd,
    and systemd-user (by a lingering unit).
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.password = (node.site.directory / "password").read_text()

    @classmethod
    def opened(cls, node: Node) -> Doors:
        """With all of them there and on."""
        debs.install(node, *PACKAGES)
        second_sshd.lay(node, node.read("/etc/pam.d/sshd"))
        node.write("/etc/systemd/user/linger.service", LINGERING)
        node.run(["systemctl", "daemon-reload"], check=True)
        node.run(["systemctl", "--global", "enable", "linger.service"], check=True)
        node.run(["systemctl", "enable", "--now", "cockpit.socket", "cron", "atd"], check=True)
        # Cockpit makes its certificate when it starts.
        node.run(["systemctl", "start", "cockpit", "second"], check=True)
        return cls(node)

    # -- one way in each ---------------------------------------------------------------------------------------------

    def cockpit(self, user: str, origin: str = network.ADMIN_ORIGIN) -> str | None:
        basic = base64.b64encode(f"{user}:{self.password}".encode()).decode()
        if origin == "127.0.0.1":
            there = self.node.run([f"{HOME}/bin/python3", "-c", _COCKPIT, origin], input=f"{basic}\n")
        else:
            outside = ["nsenter", f"--net={network.path(self.node.site.name, 'outside')}"]
            words = [*outside, "python3", "-c", _COCKPIT, self.node.address]
            there = run(words, check=False, input=f"{basic}\n", timeout=90)
        if there.stdout.strip() != "200":
            return None
        bridge = self.node.run(["pgrep", "--newest", "--euid", user, "cockpit-bridge"], check=True).stdout.strip()
        return self.node.run(["cat", f"/proc/{bridge}/cgroup"], check=True).stdout

    def login(self, user: str) -> str | None:
        self._forget("login", user)
        self.node.run([f"{HOME}/bin/python3", "-c", _LOGIN, user], input=f"{self.password}\n", timeout=90)
        return self._wrote("login", user, 0)

    def second(self, user: str) -> str | None:
        done = second_sshd.ssh(self.node, user, "cat /proc/self/cgroup")
        return done.stdout if done.ok else None

    def su(self, user: str, from_: str) -> str | None:
        """From a session over SSH, with the other's password."""
        done = self.node.ssh(from_, f"echo {self.password} | su {user} -c 'cat /proc/self/cgroup'")
        return done.stdout if done.ok else None

    def atd(self, user: str) -> str | None:
        self._forget("atd", user)
        line = f"echo 'cat /proc/self/cgroup >/var/tmp/atd-{user}' | at now"
        self.node.run(["setpriv", f"--reuid={user}", "--init-groups", "sh", "-c", line], cwd="/", check=True)
        return self._wrote("atd", user, 10)

    def systemd_user(self, user: str) -> str | None:
        """By the manager that linger keeps, started anew: a session may have started it before. It is stopped again."""
        self._forget("systemd-user", user)
        self.node.run(["loginctl", "enable-linger", user], check=True)
        self.node.run(["systemctl", "restart", f"user@{self.node.uid(user)}"])
        try:
            return self._wrote("systemd-user", user, 12)
        finally:
            self.node.run(["loginctl", "disable-linger", user], check=True)
            self.node.run(["systemctl", "stop", f"user@{self.node.uid(user)}"])

    # -- cron looks once a minute, so all are waited for at once -----------------------------------------------------

    def crontabs(self, *users: str) -> None:
        for user in users:
            self._forget("cron", user)
            line = f"* * * * * cat /proc/self/cgroup >/var/tmp/cron-{user}\n"
            self.node.run(["crontab", "-u", user, "-"], input=line, check=True)

    def carried_out(self, *users: str, sure: str = "root") -> dict[str, str | None]:
        """What came of each crontab since it was made; ``sure`` is one of them that is carried out in any case."""
        found = {sure: self._wrote("cron", sure, 130)}
        found |= {user: self._wrote("cron", user, 8) for user in users if user != sure}
        for user in users:
            self.node.run(["crontab", "-u", user, "-r"], check=True)
        return found

    # -- what they leave ---------------------------------------------------------------------------------------------

    def _forget(self, way: str, user: str) -> None:
        self.node.run(["rm", "-f", f"/var/tmp/{way}-{user}"], check=True)

    def _wrote(self, way: str, user: str, patience: float) -> str | None:
        until = time.monotonic() + patience
        while not (seen := self.node.run(["cat", f"/var/tmp/{way}-{user}"]).stdout) and time.monotonic() < until:
            time.sleep(0.2)
        return seen or None
