"""What a user without a job does to sshd keeps nobody else out; and what would lead past Slurm is seen and said."""

import re
import shlex
import subprocess
import time

import pytest
from harness import network
from harness.formula import DENIED, applied, apply, failed, settings
from harness.paths import REPO
from harness.shell import run

PAGE = (REPO / "doc/troubleshooting.md").read_text()
# Its OpenSSH has penalties and PAMServiceName.
pytestmark = pytest.mark.parametrize("layout", ["debian13"], indirect=True)

HERE6, ORIGIN6, NEAR6 = "2001:db8::10", "2001:db8::1", "2001:db8::2"
ACCESS = {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24", "2001:db8::/64"], "members": ["admin"]}}}
DROP_IN = "/etc/ssh/sshd_config.d/10-site.conf"


@pytest.fixture(scope="module")
def closed(node):
    """A closed node, reached by IPv6 as well, on which alice has a job."""
    links = [(node.name, HERE6, "eth0"), ("outside", ORIGIN6, "bridge"), ("outside", NEAR6, "bridge")]
    for host, address, link in links:
        inside = network.namespace(node.site.name, host)
        run(["ip", "-netns", inside, "addr", "add", f"{address}/64", "dev", link, "nodad"])
    settings(node, access=ACCESS)
    applied(node)
    job = node.job("alice")
    yield node
    node.cancel(job)


def login(node, user, origin, key=None):
    """Log in, by IPv6 if the origin is one, and with another key than the user's if it is named."""
    command, environment = node.ssh_command(user, "id -un", origin=origin)
    words = [*command[:-2], "-o", f"HostKeyAlias={node.address}", *command[-2:]]
    if key:
        words = [f"IdentityFile={key}" if word.startswith("IdentityFile=") else word for word in words]
    if ":" in origin:
        words[-2] = f"{user}@{HERE6}"
    return run(words, check=False, timeout=180, env=environment)


def connecting(node, origin, then, **how):
    """A program outside that opens connections."""
    inside = ["nsenter", f"--net={network.path(node.site.name, 'outside')}"]
    return network.connecting(inside, HERE6 if ":" in origin else node.address, origin, then, **how)


@pytest.mark.parametrize("origin, near", [(network.ADMIN_ORIGIN, network.OTHER_ORIGIN), (ORIGIN6, NEAR6)])
def test_whatever_a_user_without_a_job_does_others_get_in(closed, tmp_path, origin, near):
    node = closed
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "wrong"])
    for _ in range(6):
        assert DENIED in login(node, "bob", origin).stderr
        assert "Permission denied (publickey)" in login(node, "bob", origin, tmp_path / "wrong").stderr
        assert login(node, "nobody_here", origin).rc == 255
    connecting(node, origin, "connection.recv(9); connection.close()").wait()
    # sshd greets each: none of them waits in its queue, where an administrator would wait behind it.
    holder = connecting(node, origin, "connection.recv(9); kept.append(connection)", number=150, seconds=600)
    command, environment = node.ssh_command("bob", "true", origin=network.ADMIN_ORIGIN)
    loop = ["timeout", "600", "sh", "-c", f"while :; do {shlex.join(map(str, command))}; done"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    loops = [subprocess.Popen(loop, env=environment, start_new_session=True, **silent) for _ in range(12)]
    try:
        others = [(user, each) for user in ("root", "admin", "alice") for each in (origin, near)]
        got_in = {(user, each): login(node, user, each).stdout for user, each in others}
    finally:
        for started in (*loops, holder):
            started.terminate()
            started.wait()
    # An administrator's origins are his, and none of them is the other network.
    turned_away = {("admin", network.OTHER_ORIGIN)}
    assert got_in == {(user, each): "" if (user, each) in turned_away else f"{user}\n" for user, each in others}


@pytest.mark.parametrize("sshd", [{"manage": False}, {"options": {"PerSourcePenalties": None, "MaxStartups": None}}])
def test_ready_says_what_is_left_to_one_user(closed, sshd):
    """Where sshd is not managed, or the options are overridden."""
    node = closed
    node.run(["mv", "/etc/ssh/sshd_config.d/00-slurm_pam.conf", "/root/"], check=True)
    try:
        settings(node, access=ACCESS, sshd=sshd)
        warned = " ".join(node.salt("slurm_pam.preflight")["warnings"])
        assert "sshd's PerSourcePenalties is crash:90" in warned and "sshd's MaxStartups is 10:30:100" in warned
        told = node.salt("slurm_pam.explain", "alice", network.ADMIN_ORIGIN)
        assert told["permitted"] and "sshd drops every login from there, whoever it is" in told["why"]
    finally:
        node.run(["mv", "/root/00-slurm_pam.conf", "/etc/ssh/sshd_config.d/"], check=True)
        settings(node, access=ACCESS)
    told = node.salt("slurm_pam.preflight")
    assert told["problems"] == [] and "sshd" not in " ".join(told["warnings"])
    assert "PerSourcePenalties" not in node.salt("slurm_pam.explain", "alice", network.ADMIN_ORIGIN)["why"]


def test_a_pam_service_below_a_match_line(closed):
    """Seen by all who are to see it, and refused."""
    node = closed
    assert all(proof["holds"] for proof in node.salt("slurm_pam.prove"))
    stack = [f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")]
    node.write("/etc/pam.d/open", "".join(stack))
    node.write(DROP_IN, "Match User bob\n PAMServiceName open\n")
    node.reload_sshd()
    try:
        assert login(node, "bob", network.ADMIN_ORIGIN).ok
        where = f"PAMServiceName is open for Match User bob ({DROP_IN}:1)"
        assert where in failed(apply(node))["slurm_pam-ready"]
        assert where in str(node.salt("slurm_pam.audit")["findings"])
        (broken,) = [proof for proof in node.salt("slurm_pam.prove") if not proof["holds"]]
        assert where in broken["counterexample"]["why"]
        told = node.salt("slurm_pam.explain", "bob", network.ADMIN_ORIGIN)
        assert told["permitted"] and told["decided_by"]["file"] == "/etc/pam.d/open"
        assert not node.salt("slurm_pam.explain", "carol", network.ADMIN_ORIGIN)["permitted"]
    finally:
        node.run(["rm", DROP_IN, "/etc/pam.d/open"], check=True)
        node.reload_sshd()
    assert not login(node, "bob", network.ADMIN_ORIGIN).ok


def test_a_line_of_the_site_that_switches_penalties_on_again(closed):
    node = closed
    node.write(DROP_IN, "PerSourcePenalties authfail:20\n")
    begun = time.time()
    try:
        node.reload_sshd()
        tries = [login(node, "bob", network.OTHER_ORIGIN).stderr for _ in range(6)]
        # In the words of doc/troubleshooting.md.
        words = re.findall(r'"([^"]+)"', re.search(r"^### (.*Not allowed at this time.*)$", PAGE, re.MULTILINE)[1])
        assert any(word in tries[-1] for word in words), tries
        assert "penalty: failed authentication" in node.journal(begun)
        results = apply(node)
        told = " ".join([*failed(results).values(), *node.salt("slurm_pam.preflight")["warnings"]])
        assert "PerSourcePenalties is crash:90" in told and f"{DROP_IN}:1 sets it" in told
    finally:
        node.run(["rm", DROP_IN], check=True)
    applied(node)
