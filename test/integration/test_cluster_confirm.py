"""An apply that nobody confirms is taken back by the node itself; one that changes nothing, or is confirmed, is not."""

import time

from harness.formula import EXAMPLE, applied, apply, changed, etc, failed, hurry, settings

STATE = "/var/lib/slurm_pam/confirm"
TAKEN_BACK = f"test -e {STATE}/taken-back"


LOOK = "systemctl list-units --plain --no-legend --state=active 'slurm_pam-take-back*.timer'"


def timers(node):
    """The take-backs that are to come."""
    return [line.split()[0] for line in node.run(["sh", "-c", LOOK]).stdout.splitlines()]


def armed(node):
    return bool(timers(node))


def fake(node, path, script):
    """A program of that name ahead of the node's own."""
    node.write(path, f"#!/bin/sh\n{script}\n")
    node.run(["chmod", "755", path], check=True)


def logind(node):
    return node.run(["systemctl", "is-active", "systemd-logind"]).stdout.strip()


def test_without_the_setting_nothing_is_armed(fresh_node):
    settings(fresh_node, confirm=0)
    applied(fresh_node)
    assert not armed(fresh_node)
    assert not fresh_node.run(["test", "-e", STATE]).ok


def test_a_first_apply_is_taken_back_whole(fresh_node):
    """The minion has never synced, and the file that was odd before is as odd afterwards."""
    node = fresh_node
    settings(node, confirm=600)
    node.run(["chmod", "640", "/etc/pam.d/sshd"], check=True)
    before = etc(node)
    results = applied(node)
    assert "slurm_pam.confirm" in results["slurm_pam-confirm-awaited"]["comment"]
    # Last of all, or what comes after it could come when the time is over.
    assert list(results)[-1] == "slurm_pam-confirm-awaited"
    (timer,) = timers(node)
    assert "OnActiveUSec=10min " in node.run(["systemctl", "show", "--property=TimersMonotonic", timer]).stdout
    assert logind(node) == "inactive"
    assert not node.ssh("alice").ok
    assert etc(node) != before
    hurry(node)
    node.wait(TAKEN_BACK, "take-back", 180)
    assert etc(node) == before
    assert node.ssh("alice").ok
    assert logind(node) == "active"
    assert not node.run(["systemctl", "--failed", "--quiet", "--no-legend"]).stdout
    told = node.run(["salt-call", "--local", "slurm_pam.confirm"])
    assert not told.ok and "was taken back at" in told.stdout + told.stderr


def test_a_dry_run_and_a_node_that_is_as_it_should_be_arm_nothing(node):
    settings(node, confirm=300)
    applied(node)
    assert node.salt("slurm_pam.confirm") == "Confirmed: this node stays as it is"
    assert not armed(node)
    assert not node.run(["test", "-e", STATE]).ok
    assert changed(applied(node)) == []
    assert not armed(node)
    settings(node, confirm=300, logind="stop", sshd={"options": {"X11Forwarding": False}})
    dry = apply(node, test=True)["slurm_pam-confirm-armed"]
    assert dry["result"] is None
    assert dry["changes"] == {"taken back unless confirmed": {"old": "not armed", "new": "in 300 s"}}
    assert not armed(node)
    settings(node, confirm=300)


def test_what_goes_back_is_the_last_confirmed_state(node):
    """Closed before, and closed again; a second apply in between does not make the first one stay."""
    before = etc(node)
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    applied(node)
    once = etc(node)
    settings(node, confirm=300, access={**EXAMPLE["access"], "users": {"alice": {"origins": ["ALL"]}}})
    applied(node)
    assert node.ssh("alice").ok
    assert etc(node) not in (before, once)
    idle = apply(node)
    assert "is taken back at" in idle["slurm_pam-confirm-armed"]["comment"]
    assert armed(node)
    assert node.salt("slurm_pam_confirm.take_back") == "This node is as it was before the last apply"
    assert etc(node) == before
    assert not armed(node)
    assert not node.ssh("alice").ok
    assert node.ssh("admin").ok
    settings(node, confirm=300)


def test_a_state_file_alone_waits_as_well(node):
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    applied(node, "slurm_pam.sshd")
    assert armed(node)
    node.salt("slurm_pam_confirm.take_back")
    assert etc(node) == before
    assert "x11forwarding yes" in node.run(["sshd", "-T"]).stdout.lower()


def test_sshd_file_is_the_first_to_come_back(node):
    settings(node, confirm=300, logind="stop", sshd={"options": {"X11Forwarding": False}})
    applied(node, "slurm_pam.sshd")
    assert node.read(f"{STATE}/paths").splitlines()[0] == "/etc/pam.d/sshd"
    assert node.run(["stat", "--format=%a %U", STATE]).stdout.split() == ["700", "root"]
    node.salt("slurm_pam_confirm.take_back")


def test_an_apply_that_takes_longer_than_it_may_is_taken_back_whole(node):
    settings(node, confirm=2, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    fake(node, "/usr/local/sbin/sshd", 'sleep 2; exec /usr/sbin/sshd "$@"')
    results = apply(node)
    node.run(["rm", "/usr/local/sbin/sshd"], check=True)
    assert "Set slurm_pam:confirm to more seconds" in results["slurm_pam-confirm-awaited"]["comment"]
    assert etc(node) == before


def test_what_cannot_be_taken_back_is_not_begun(node):
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    fake(node, "/usr/local/bin/systemd-run", "echo no bus >&2; exit 1")
    (comment,) = failed(apply(node)).values()
    node.run(["rm", "/usr/local/bin/systemd-run"], check=True)
    assert "Nothing was changed" in comment and "no bus" in comment
    assert etc(node) == before
    assert not node.run(["test", "-e", STATE]).ok
    settings(node, confirm=300)


def test_an_earlier_apply_keeps_its_timer_where_a_new_one_cannot_be_started(node):
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    applied(node)
    once, timer = etc(node), timers(node)
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False, "AllowTcpForwarding": False}})
    fake(node, "/usr/local/bin/systemd-run", "echo no bus >&2; exit 1")
    (comment,) = failed(apply(node)).values()
    node.run(["rm", "/usr/local/bin/systemd-run"], check=True)
    assert "no bus" in comment and "an earlier one is taken back at" in comment
    assert etc(node) == once
    assert timers(node) == timer
    applied(node)
    assert len(timers(node)) == 1 and timers(node) != timer
    node.salt("slurm_pam_confirm.take_back")
    assert etc(node) == before
    assert not armed(node)
    settings(node, confirm=300)


def test_while_it_is_taken_back_it_is_too_late_to_confirm(node):
    """One of its units takes as long as this test does."""
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    wait = "/bin/sh -c 'while [ -e /root/slow ]; do sleep 0.2; done'"
    node.write("/root/slow", "")
    node.write("/etc/systemd/system/slow.service", f"[Service]\nType=oneshot\nExecStart={wait}\n")
    before = etc(node)
    applied(node)
    node.write(f"{STATE}/units", node.read(f"{STATE}/units") + "start slow.service\n")
    node.run(["systemctl", "start", "--no-block", timers(node)[0].replace(".timer", ".service")], check=True)
    node.until(lambda: node.run(["systemctl", "is-active", "slow"]).stdout.strip() == "activating", "take-back")
    told = node.run(["salt-call", "--local", "slurm_pam.confirm"])
    assert not told.ok and "is being taken back just now" in told.stdout + told.stderr
    assert node.salt("slurm_pam_confirm.status")["state"] == "being taken back"
    assert "is being taken back just now" in failed(apply(node))["slurm_pam-confirm-armed"]
    node.run(["rm", "/root/slow"], check=True)
    node.wait(TAKEN_BACK, "take-back", 180)
    assert etc(node) == before
    settings(node, confirm=300)


def test_a_take_back_that_fails_says_what_to_do(node):
    """A directory is where a file was. The timer does not do better, and by then it is too late to confirm."""
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    applied(node)
    (path,) = (path for path in node.read(f"{STATE}/paths").splitlines() if path.endswith("/00-slurm_pam.conf"))
    node.run(["sh", "-c", f"rm {path}; mkdir {path}"], check=True)
    told = node.run(["salt-call", "--local", "slurm_pam_confirm.take_back"])
    assert not told.ok and "Not all could be taken back" in told.stdout + told.stderr
    assert f"run {STATE}/take-back again" in " ".join((told.stdout + told.stderr).split())
    hurry(node)
    node.wait(f"[ -z \"$({LOOK})\" ]", "timer", 180)
    assert node.salt("slurm_pam_confirm.status")["state"] == "taking back failed"
    told = node.run(["salt-call", "--local", "slurm_pam.confirm"])
    assert not told.ok and "Too late" in told.stdout + told.stderr
    # The next boot would take back an apply that nobody has to confirm.
    settings(node, confirm=0, sshd={"options": {"X11Forwarding": False}})
    told = failed(apply(node))
    assert list(told) == ["slurm_pam-ready"] and "salt-call slurm_pam_confirm.forget" in told["slurm_pam-ready"]
    node.run(["rmdir", path], check=True)
    node.run(["sh", f"{STATE}/take-back"], check=True)
    assert etc(node) == before
    settings(node, confirm=300)


def test_a_timer_that_is_gone_is_told(node):
    """Stopped by hand: the next apply says what to do, and both ways are still open."""
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    applied(node)
    node.run(["systemctl", "stop", *timers(node)], check=True)
    told = applied(node)["slurm_pam-confirm-armed"]["comment"]
    assert "its timer is gone" in told and "slurm_pam_confirm.take_back" in told
    node.salt("slurm_pam_confirm.take_back")
    assert etc(node) == before
    settings(node, confirm=300)


def test_clean_ends_the_waiting(node):
    settings(node, confirm=60, sshd={"options": {"X11Forwarding": False}})
    applied(node)
    assert armed(node)
    until = float(node.read(f"{STATE}/until"))
    applied(node, "slurm_pam.clean")
    opened = etc(node)
    assert not armed(node)
    time.sleep(max(0, until + 2 - time.time()))
    assert etc(node) == opened
    assert node.ssh("alice").ok
