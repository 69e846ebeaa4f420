"""Who is on a node outside every job: told, ended after a grace, and none of those ended who are to stay."""

import contextlib

import pytest
from harness import debs
from harness.formula import applied, apply, settings, sync
from harness.node import Node
from harness.session import session

MACHINES = [("sle15", "container"), ("debian13", "uml")]  # cgroup v1, cgroup v2
GRACE = 25
END = {"action": "end", "grace": GRACE}
# Each has a number of its own, by which it is found.
SSH, LEFT, TERMINAL, MANAGED, FORKED, STUBBORN, CRON, AT = range(7001, 7009)
IN_JOB, ADMINS, ROOTS, SYSTEMS, NOBODYS, SERVICES, FROM_ROOT = range(7011, 7018)
ENDED = {SSH, LEFT, TERMINAL, MANAGED, FORKED, STUBBORN}
LATER = {CRON, AT}  # where they are installed
SPARED = {ADMINS, ROOTS, SYSTEMS, NOBODYS, SERVICES, FROM_ROOT}


@pytest.fixture(scope="module", params=MACHINES, ids=lambda param: param[0])
def node(machine, request):
    layout, kind = request.param
    with Node.boot(layout, machine=kind) as booted:
        settings(booted, strays=END)
        sync(booted)
        if kind == "container":
            debs.install(booted, "at", "cron")
        yield booted


def running(node):
    """The numbers of those that run."""
    seen = node.run(["pgrep", "-a", "sleep"]).stdout.splitlines()
    return {int(line.split()[-1]) for line in seen if line.split()[-1].isdigit()}


def sleeps(number):
    return f"setsid -f sleep {number} >/dev/null 2>&1 </dev/null"


def leave_for_later(node):
    """What bob has cron and atd start, where the node has them."""
    if node.reboots:
        return set()
    node.write("/etc/cron.d/bob", f"@reboot bob sleep {CRON}\n")
    node.run(["systemctl", "start", "cron", "atd"], check=True)
    node.run(["at", "now"], user="bob", input=f"sleep {AT}\n", check=True)
    node.until(lambda: running(node) >= LATER, "what cron and atd start")
    return LATER


def test_who_is_ended_and_who_stays(node):
    """One that ignores SIGTERM is killed; bob keeps his job, and what his session in it has started."""
    managed = f"XDG_RUNTIME_DIR=/run/user/{node.uid('bob')} systemd-run --user sleep {MANAGED}"
    with contextlib.ExitStack() as stack:
        alice, admin, root = (stack.enter_context(session(node, user)) for user in ("alice", "admin", "root"))
        alice.ask(f"sleep {SSH} >/dev/null 2>&1 </dev/null &")
        alice.ask(sleeps(LEFT))
        alice.ask(f"(trap '' TERM; exec sleep {STUBBORN}) >/dev/null 2>&1 </dev/null &")
        alice.ask(f"script -qfc 'sleep {TERMINAL}' /home/alice/seen >/dev/null 2>&1 </dev/null &")
        admin.ask(sleeps(ADMINS))
        root.ask(sleeps(ROOTS))
        root.ask(f"setpriv --reuid=alice --regid=alice --clear-groups {sleeps(FROM_ROOT)}")
        node.run(["sh", "-c", f"setpriv --reuid=daemon --clear-groups {sleeps(SYSTEMS)}"], check=True)
        node.run(["sh", "-c", f"setpriv --reuid=nobody --clear-groups {sleeps(NOBODYS)}"], check=True)
        node.run(["systemd-run", "--uid=alice", "--unit=gateway", "sleep", str(SERVICES)], check=True)
        with session(node, "bob") as gone:
            gone.ask(sleeps(FORKED))
        node.run(["loginctl", "enable-linger", "bob"], check=True)
        node.until(lambda: node.run(["sh", "-c", managed], user="bob").ok, "a unit of bob's manager")
        ended = {*ENDED, *leave_for_later(node)}
        job = node.job("bob")
        told = node.salt("slurm_pam.strays")
        ways = {(each["user"], each["came"], bool(each["spared"])) for each in told}
        assert ways == {
            ("alice", "ssh", False),
            ("alice", "left behind by a session", False),
            ("alice", "left behind by a session", True),
            ("alice", "systemd --user", False),
            ("alice", "gateway.service", True),
            ("bob", "left behind by a session", False),
            ("bob", "systemd --user", False),
            *(("bob", way, False) for way in ("cron", "at") if ended > ENDED),
        }, told
        assert all(each["outlives"] == [job] * (each["user"] == "bob") for each in told)
        foreseen = apply(node, test=True)
        warnings = foreseen["slurm_pam-ready"]["warnings"]
        assert any("alice (" in text and f"{GRACE} seconds later" in text for text in warnings), warnings
        changes = applied(node)["slurm_pam-strays-ended"]["changes"]
        assert changes == foreseen["slurm_pam-strays-ended"]["changes"]
        assert set(changes) == {"processes of alice", "processes of bob"}
        assert running(node) >= (ended | SPARED) - {MANAGED}
        with session(node, "bob") as adopted:
            adopted.ask(sleeps(IN_JOB))
            # While they wait, there is nothing to do.
            assert applied(node)["slurm_pam-strays-ended"]["changes"] == {}
            node.until(lambda: not running(node) & ended, "the end of all of them", 120)
            assert alice.ended()
            assert running(node) >= SPARED | {IN_JOB}
            assert adopted.ask("echo still here") == "still here\n"
            assert admin.ask("echo still here") == root.ask("echo still here") == "still here\n"
            unit = ["systemctl", "is-failed", "slurm_pam-strays.service"]
            node.until(lambda: node.run(unit).stdout == "inactive\n", "the unit gone")
        assert "processes outside of any job" in node.run(["cat", "/home/alice/seen"]).stdout
        left = node.salt("slurm_pam.strays")
        assert all(each["spared"] for each in left), left
        node.cancel(job)
