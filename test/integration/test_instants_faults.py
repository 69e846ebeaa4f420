"""What goes wrong on a node is a failure that says what to do; files stay whole, and the next apply is fine."""

import json
from pathlib import Path

import pytest
from harness.ends import APPLY, CLEAN, Ends
from harness.formula import commands, settings
from harness.injection import Run


@pytest.fixture(scope="module")
def ends(node):
    # With what is mounted inside the node.
    node.root = Path(f"/proc/{node.init}/root")
    return Ends(node)


@pytest.fixture(scope="module")
def run(ends):
    """An apply whose points are known."""
    traced = Run(ends.node, APPLY)
    ends.run(CLEAN)
    return traced


def failures(results):
    """The comments of failed states, none of which has changes; those that only follow from another left out."""
    failed = [result for result in results.values() if result["result"] is False]
    assert failed, results
    assert not any(result["changes"] for result in failed)
    return [result["comment"] for result in failed if "requisite failed" not in result["comment"]]


def refused(ends, *told):
    comments = failures(ends.node.salt("state.apply", APPLY))
    assert any(all(words in comment for words in told) for comment in comments), comments
    ends.look()


# A copy of the directory on a file system of its own, on which so many pages of 4 KiB are free.
SMALL = """
mkdir -p /var/small
mount -t tmpfs -o size=512k,mode=755 small /var/small
cp -a {directory}/. /var/small
dd if=/dev/zero of=/var/small/filler bs=4096 2>/dev/null || true
truncate -s "$(( $(stat -c %s /var/small/filler) - {free} * 4096 ))" /var/small/filler
mount --bind /var/small {directory}
"""
WHOLE = "umount {directory} /var/small; rmdir /var/small"


@pytest.mark.parametrize(
    ("directory", "free"), [("/etc/pam.d", 0), ("/etc/pam.d", 2), ("/etc/security", 0), ("/etc/ssh/sshd_config.d", 0)]
)
def test_a_full_disk(ends, directory, free):
    node = ends.node
    with commands(node, SMALL.format(directory=directory, free=free), WHOLE.format(directory=directory)):
        filler = f"{directory}/filler"
        ends.at[APPLY][filler] = ends.at[CLEAN][filler] = node.snapshot(directory)[filler]
        refused(ends, directory, "No space left on device", "Everything is as it was", "Make room", "apply again")
        node.run(["rm", filler], check=True)
        del ends.at[APPLY][filler], ends.at[CLEAN][filler]
        ends.complete(APPLY)
        ends.complete(CLEAN)


def test_a_read_only_etc(ends):
    with commands(ends.node, "mount --bind /etc /etc; mount -o remount,bind,ro /etc", "umount /etc"):
        refused(ends, "/etc/security", "Read-only file system", "Make its file system writable", "apply again")
    ends.complete(APPLY)
    with commands(ends.node, "mount --bind /etc /etc; mount -o remount,bind,ro /etc", "umount /etc"):
        comments = failures(ends.node.salt("state.apply", CLEAN))
        assert any("/etc/pam.d" in comment and "Read-only file system" in comment for comment in comments), comments
        ends.look()
    ends.complete(CLEAN)


@pytest.mark.parametrize("path", ["/etc/pam.d/sshd", "/etc/ssh/sshd_config.d/00-slurm_pam.conf"])
def test_an_immutable_file(ends, path):
    """Both when it is to be written and when it is to be taken back."""
    if path in ends.at[CLEAN]:
        with commands(ends.node, f"chattr +i {path}", f"chattr -i {path}"):
            refused(ends, path, "Operation not permitted", "Everything is as it was", "lsattr", "apply again")
    ends.complete(APPLY)
    with commands(ends.node, f"chattr +i {path}", f"chattr -i {path}"):
        comments = failures(ends.node.salt("state.apply", CLEAN))
        assert any(path in comment and "lsattr" in comment for comment in comments), comments
        ends.look()
    ends.complete(CLEAN)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("rename", "/etc/ssh/sshd_config.d/00-slurm_pam.conf"),
        ("fsync", "/etc/pam.d/.sshd.salt-new"),
        ("rename", "/etc/pam.d/slurm-common-session"),
    ],
)
def test_a_file_that_somebody_else_changes_meanwhile(ends, run, call, after):
    """When it is read only later, when nothing is in place yet, and when all the files before it are."""
    path, node = "/etc/pam.d/sshd", ends.node
    was = node.read(path)
    with run.held(run.last(call, after)) as held:
        node.write(path, f"{was}# theirs\n")
    results = json.loads(held.answer)["local"]
    if after.startswith("/etc/pam.d"):
        assert failures(results) == [
            f"{path} could not be written: somebody else has changed it since it was read. Everything is as it was. "
            "Apply again"
        ]
        assert node.read(path) == f"{was}# theirs\n"
        ends.run(APPLY)
    else:
        assert all(result["result"] for result in results.values()), results
    assert "# theirs\n" in node.read(path) and "slurm-common-account" in node.read(path)
    node.write(path, node.read(path).removesuffix("# theirs\n"))
    ends.complete(CLEAN)


def test_two_applies_at_once(ends, run):
    node = ends.node
    with run.held(run.last("rename", "/etc/pam.d/slurm-common-session")) as held:
        # Without concurrent=True Salt itself turns the second one away.
        comments = failures(node.salt("state.apply", APPLY, concurrent=True))
        ends.look()
    assert comments == [
        "Another run is changing the files in /etc/pam.d. Nothing was changed. Apply again when it has ended"
    ]
    assert all(result["result"] for result in json.loads(held.answer)["local"].values())
    ends.complete(APPLY)
    ends.complete(CLEAN)


OURS = "# slurm_pam: written by Salt, and again at every apply"
LINKS = {
    "/etc/pam.d/sshd": ("", "others than root can write to /home/bob"),
    "/etc/pam.d/slurm-common-account-pc": (f"{OURS}\naccount required pam_permit.so\n", "Move it away"),
    "/etc/security/slurm-access.conf": ("+ : bob : ALL\n", "others than root can write to /home/bob"),
    "/etc/ssh/sshd_config.d/00-slurm_pam.conf": (
        "# Managed by Salt (slurm_pam): changes here are lost.\nPermitRootLogin yes\n",
        "is a link. Nothing was changed. Remove it",
    ),
    "/etc/slurm/slurm.conf": ("", "others than root can write to /home/bob"),
}


@pytest.mark.parametrize("path", LINKS)
def test_a_link_that_leads_to_a_users_file(ends, path):
    text, told = LINKS[path]
    node = ends.node
    theirs = f"/home/bob/{Path(path).name}"
    enforced = {"slurm": {"manage": "enforce", "settings": {"ReturnToService": "1"}}} if "slurm.conf" in path else {}
    settings(node, **enforced)
    node.write(theirs, text or node.read(path))
    node.run(["sh", "-ec", f"chown bob {theirs}; test ! -e {path} || mv {path} /var/aside; ln -s {theirs} {path}"])
    before = node.read(theirs)
    comments = failures(node.salt("state.apply", APPLY))
    assert any(path in comment and told in comment for comment in comments), comments
    assert node.read(theirs) == before
    assert [node.ssh(user).ok for user in ("root", "admin", "alice")] == [True, True, True]
    node.run(["sh", "-ec", f"rm {path} {theirs}; test ! -e /var/aside || mv /var/aside {path}"], check=True)
    settings(node)
    ends.complete(APPLY)
    ends.complete(CLEAN)
