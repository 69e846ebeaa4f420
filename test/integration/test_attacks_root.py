"""Attacks on what runs as root on a node, by the user slurm and by a careless hand: each of them fails."""

import json
import textwrap
import time

import pytest
from harness.formula import apply, commands, etc, failed, settings

CONF = "/etc/slurm/slurm.conf"
SSHD = "/etc/ssh/sshd_config.d/00-slurm_pam.conf"
# A line that an apply changes.
ENFORCE = {"manage": "enforce"}
UNITS = "slurm_pam-take-back*"

# Plants at every name that comes to be, and at those that it knows, until there is a file that says that it is enough.
ENOUGH = "/run/enough"
PLANTER = textwrap.dedent(
    """
    import os, sys
    directory, enough = sys.argv[1:]
    os.chdir(directory)
    kinds = [
        lambda name: os.symlink("/etc/shadow", name),
        lambda name: os.mkfifo(name),
        lambda name: os.mkdir(name),
        lambda name: os.symlink("/etc", name),
        lambda name: os.link("slurm.conf", name),
    ]
    turn = planted = 0
    print("begins", flush=True)
    while not os.path.exists(enough):
        names = {".slurm.conf.slurm_pam-back", ".slurm.conf.salt-new", ".slurm.conf.salt-old", *os.listdir(".")}
        for name in names - {"slurm.conf", "cgroup.conf"}:
            turn += 1
            for remove in (os.unlink, os.rmdir):
                try:
                    remove(name)
                except OSError:
                    pass
            try:
                kinds[turn % len(kinds)](name)
                planted += 1
            except OSError:
                pass
    print(planted)
    """
)


@pytest.fixture(scope="module")
def open_node(open_node):
    """The same, with a program that plants."""
    open_node.write("/usr/local/lib/planter.py", PLANTER)
    return open_node


def timers(node):
    return node.run(["systemctl", "list-units", "--all", "--no-legend", UNITS]).stdout.split()


SLURMS = ("chown slurm /etc/slurm", "chown root /etc/slurm")
# What stands in the way of one path or another, and how that ends.
IN_THE_WAY = {
    "slurm.conf in a directory of slurm's": (*SLURMS, {"slurm": ENFORCE}),
    "the access file in a group's directory": ("chmod g+w /etc/security", "chmod g-w /etc/security", {}),
    "the access file is a directory": (
        "mkdir /etc/security/slurm-access.conf",
        "rmdir /etc/security/slurm-access.conf",
        {},
    ),
    "the access file is a FIFO": (
        "mkfifo /etc/security/slurm-access.conf",
        "rm /etc/security/slurm-access.conf",
        {},
    ),
    "the access file is a dangling link": (
        "ln -s /nowhere /etc/security/slurm-access.conf",
        "rm /etc/security/slurm-access.conf",
        {},
    ),
    "the access file's directory is read-only": (
        "mount --bind /etc/security /etc/security && mount -o remount,bind,ro /etc/security",
        "umount /etc/security",
        {},
    ),
    "a PAM file's directory is read-only": (
        "mount --bind /etc/pam.d /etc/pam.d && mount -o remount,bind,ro /etc/pam.d",
        "umount /etc/pam.d",
        {},
    ),
    "a PAM file's directory is a group's": ("chmod g+w /etc/pam.d", "chmod g-w /etc/pam.d", {}),
    "the record's directory is a user's": (
        "mkdir /var/lib/slurm_pam && chown alice /var/lib/slurm_pam",
        "rmdir /var/lib/slurm_pam",
        {},
    ),
    "the directory of masks is everybody's": (
        "chmod o+w /etc/systemd/system",
        "chmod o-w /etc/systemd/system",
        {},
    ),
    "a mask's place is a directory": (
        "mkdir /etc/systemd/system/systemd-logind.service",
        "rmdir /etc/systemd/system/systemd-logind.service",
        {},
    ),
    "sshd's drop-ins in a group's directory": (
        "chmod g+w /etc/ssh/sshd_config.d",
        "chmod g-w /etc/ssh/sshd_config.d",
        {},
    ),
    "sshd's drop-ins in a read-only directory": (
        "mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh",
        "umount /etc/ssh",
        {},
    ),
}


@pytest.mark.parametrize("confirm", [None, 600], ids=["apply", "confirm"])
@pytest.mark.parametrize("case", IN_THE_WAY)
def test_refused_before_anything_is_changed(open_node, case, confirm):
    do, undo, sections = IN_THE_WAY[case]
    lacking = open_node.read(CONF).replace("TaskPlugin=", "#TaskPlugin=") if "slurm" in sections else None
    original = open_node.read(CONF)
    # An adopting node needs nothing of Slurm that runs already.
    settings(open_node, mode="adopt", confirm=confirm, **sections)
    if lacking:
        open_node.write(CONF, lacking)
    with commands(open_node, do, undo):
        before = etc(open_node)
        results = apply(open_node)
        after = etc(open_node)
        waiting = timers(open_node)
    if lacking:
        open_node.write(CONF, original)
    assert list(failed(results)) == ["slurm_pam-ready"], failed(results)
    assert [path for path in before | after if before.get(path) != after.get(path)] == []
    assert waiting == []
    assert not (open_node.root / "var/lib/slurm_pam/confirm").exists()


def test_arm_refuses_by_itself(open_node):
    """Whoever calls it without the preflight."""
    settings(open_node, slurm=ENFORCE, confirm=600)
    original = open_node.read(CONF)
    open_node.write(CONF, original.replace("TaskPlugin=", "#TaskPlugin="))
    try:
        with commands(open_node, *SLURMS):
            merged = json.dumps(open_node.salt("slurm_pam.settings"))
            done = open_node.run(["salt-call", "--local", "slurm_pam_confirm.arm", "600", merged])
        assert "others than root can write to /etc/slurm" in done.stdout + done.stderr, done
        assert timers(open_node) == []
    finally:
        open_node.write(CONF, original)


def test_the_take_back_against_a_user_who_plants(open_node):
    """
    /etc/slurm becomes slurm's after an apply, with somebody planting at every name: what is slurm's is left to slurm,
    and the rest is brought back.
    """
    original = open_node.read(CONF)
    shadow = open_node.snapshot("/etc")["/etc/shadow"]
    open_node.write(CONF, original.replace("TaskPlugin=", "#TaskPlugin="))
    try:
        settings(open_node, mode="adopt", slurm=ENFORCE, confirm=3600)
        results = apply(open_node)
        assert not failed(results), failed(results)
        closed = open_node.read("/etc/pam.d/sshd")
        with commands(open_node, *SLURMS):
            plants = f"su -s /bin/sh slurm -c 'python3 /usr/local/lib/planter.py /etc/slurm {ENOUGH}'"
            open_node.run(["sh", "-c", f"{plants} >/root/planted 2>&1 </dev/null &"])
            open_node.wait("grep -q begins /root/planted", "somebody who plants")
            for _ in range(5):
                done = open_node.run(["/bin/sh", "/var/lib/slurm_pam/confirm/take-back"])
                assert done.rc in (0, 1)
                assert f"{CONF} was left as it is" in done.stderr, done
            open_node.run(["touch", ENOUGH], check=True)
            open_node.wait("grep -q '^[0-9]' /root/planted", "the end of it")
            assert int(open_node.read("/root/planted").split()[-1]) > 100
            assert open_node.snapshot("/etc")["/etc/shadow"] == shadow
            assert open_node.read("/etc/pam.d/sshd") != closed
            assert not (open_node.root / SSHD[1:]).exists()
            open_node.run(["sh", "-c", "rm -rf /etc/slurm/.slurm*"])
        # Once it is root's again, the rest is brought back.
        done = open_node.run(["/bin/sh", "/var/lib/slurm_pam/confirm/take-back"])
        assert done.rc == 0, done
        assert "#TaskPlugin=" in open_node.read(CONF)
    finally:
        open_node.salt("slurm_pam_confirm.forget")
        open_node.write(CONF, original)


def preflight(node):
    """What it says, and how many seconds it takes."""
    begun = time.monotonic()
    found = node.salt("slurm_pam.preflight")
    return [*found["problems"], *found["warnings"]], time.monotonic() - begun


READ = {
    "slurm.conf includes a FIFO": (
        f"mkfifo /etc/slurm/x; cp -a {CONF} /tmp/conf; echo Include x >> {CONF}",
        f"cp -a /tmp/conf {CONF}; rm /etc/slurm/x",
        "it is not a regular file",
    ),
    "slurm.conf includes a device": (
        f"cp -a {CONF} /tmp/conf; echo Include /dev/zero >> {CONF}",
        f"cp -a /tmp/conf {CONF}",
        "it is not a regular file",
    ),
    "sshd's drop-in is a FIFO": (
        "mkfifo /etc/ssh/sshd_config.d/10-x.conf",
        "rm /etc/ssh/sshd_config.d/10-x.conf",
        "it is not a regular file",
    ),
    "sshd's drop-in is a device": (
        "ln -s /dev/zero /etc/ssh/sshd_config.d/10-x.conf",
        "rm /etc/ssh/sshd_config.d/10-x.conf",
        "it is not a regular file",
    ),
    "sshd's drop-in is huge": (
        "truncate -s 1T /etc/ssh/sshd_config.d/10-x.conf || truncate -s 10G /etc/ssh/sshd_config.d/10-x.conf",
        "rm /etc/ssh/sshd_config.d/10-x.conf",
        "it is larger than",
    ),
    "an administrator's keys are a FIFO": (
        "cd ~admin/.ssh && mv authorized_keys kept && mkfifo authorized_keys",
        "cd ~admin/.ssh && mv kept authorized_keys",
        "cannot be read as admin",
    ),
    "an administrator's keys are a link to root's": (
        "cd ~admin/.ssh && mv authorized_keys kept && ln -s /etc/shadow authorized_keys",
        "cd ~admin/.ssh && mv kept authorized_keys",
        "cannot be read as admin",
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_cannot_be_read_is_a_finding(open_node, case):
    do, undo, told = READ[case]
    settings(open_node, slurm=ENFORCE, access={"users": {"admin": {"origins": ["ALL"]}}})
    _, usual = preflight(open_node)
    with commands(open_node, do, undo):
        found, took = preflight(open_node)
    # It must not wait; how long Salt itself takes depends on what else this machine does.
    assert took < 15 + 3 * usual
    assert [text for text in found if told in text], found
