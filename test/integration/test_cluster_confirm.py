"""An apply that nobody confirms is taken back by the node itself; one that changes nothing, or is confirmed, is not."""

import time

from harness.formula import EXAMPLE, applied, apply, changed, etc, failed, settings

STATE = "/var/lib/slurm_pam/confirm"


def armed(node):
    return node.run(["systemctl", "is-active", "--quiet", "slurm_pam-take-back.timer"]).ok


def taken_back(node):
    return node.run(["test", "-e", f"{STATE}/taken-back"]).ok


def logind(node):
    return node.run(["systemctl", "is-active", "systemd-logind"]).stdout.strip()


def test_without_the_setting_nothing_is_armed(fresh_node):
    settings(fresh_node, confirm=0)
    applied(fresh_node)
    assert not armed(fresh_node)
    assert not fresh_node.run(["test", "-e", "/var/lib/slurm_pam"]).ok


def test_a_first_apply_is_taken_back_whole(fresh_node):
    """The minion has never synced, and the file that was odd before is as odd afterwards."""
    node = fresh_node
    settings(node, confirm=15)
    node.run(["chmod", "640", "/etc/pam.d/sshd"], check=True)
    before = etc(node)
    results = applied(node)
    assert "slurm_pam.confirm" in results["slurm_pam-confirm-awaited"]["comment"]
    assert armed(node) and logind(node) == "inactive"
    assert not node.ssh("alice").ok
    assert etc(node) != before
    node.until(lambda: taken_back(node), "take-back", 60)
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
    assert not node.run(["test", "-e", "/var/lib/slurm_pam"]).ok
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
    node.write("/usr/local/sbin/sshd", '#!/bin/sh\nsleep 2; exec /usr/sbin/sshd "$@"\n')
    node.run(["chmod", "755", "/usr/local/sbin/sshd"], check=True)
    results = apply(node)
    node.run(["rm", "/usr/local/sbin/sshd"], check=True)
    assert "Set slurm_pam:confirm to more seconds" in results["slurm_pam-confirm-awaited"]["comment"]
    assert etc(node) == before


def test_what_cannot_be_taken_back_is_not_begun(node):
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    node.write("/usr/local/bin/systemd-run", "#!/bin/sh\necho no bus >&2; exit 1\n")
    node.run(["chmod", "755", "/usr/local/bin/systemd-run"], check=True)
    (comment,) = failed(apply(node)).values()
    node.run(["rm", "/usr/local/bin/systemd-run"], check=True)
    assert "Nothing was changed" in comment and "no bus" in comment
    assert etc(node) == before
    assert not node.run(["test", "-e", "/var/lib/slurm_pam"]).ok
    settings(node, confirm=300)


def test_a_timer_that_is_gone_is_told(node):
    """As after a reboot: the next apply says what to do, and both ways are still open."""
    settings(node, confirm=300, sshd={"options": {"X11Forwarding": False}})
    before = etc(node)
    applied(node)
    node.run(["systemctl", "stop", "slurm_pam-take-back.timer"], check=True)
    node.write(f"{STATE}/until", "1\n")
    told = applied(node)["slurm_pam-confirm-armed"]["comment"]
    assert "its timer is gone" in told and "slurm_pam_confirm.take_back" in told
    node.salt("slurm_pam_confirm.take_back")
    assert etc(node) == before
    settings(node, confirm=300)


def test_clean_ends_the_waiting(node):
    settings(node, confirm=10, sshd={"options": {"X11Forwarding": False}})
    applied(node)
    assert armed(node)
    applied(node, "slurm_pam.clean")
    opened = etc(node)
    assert not armed(node)
    time.sleep(12)
    assert etc(node) == opened
    assert node.ssh("alice").ok
