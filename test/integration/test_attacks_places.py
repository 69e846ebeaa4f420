"""Settings that name what they must not, and PAM files that are not what they seem: refused, and /etc as it was."""

import json

import pytest
from harness.formula import EXAMPLE, apply, changed, commands, failed, settings

ADMINS = EXAMPLE["access"]
ENFORCED = {"manage": "enforce"}


def access(path):
    return {"access": {**ADMINS, "file": path}}


NAMED = {
    "an access file that is passwd": (access("/etc/passwd"), "access:file: /etc/passwd is not an access file"),
    "an access file that is sshd's": (access("/etc/ssh/sshd_config"), "/etc/ssh/sshd_config is not an access file"),
    "an access file that is shadow": (access("/etc/shadow"), "access:file: /etc/shadow is not an access file"),
    "an access file that is slurm.conf": (access("/etc/slurm/slurm.conf"), "is not an access file"),
    "an access file that is sshd's drop-in": (access("/etc/ssh/sshd_config.d/00-slurm_pam.conf"), "and so is"),
    "an access file in /tmp": (access("/tmp/access.conf"), "nothing in /tmp stays"),
    "an access file in shared memory": (access("/dev/shm/access.conf"), "nothing in /dev stays"),
    "an access file in /run": (access("/run/slurm-access.conf"), "nothing in /run stays"),
    "an access file in a sticky directory": (access("/srv/sticky/access.conf"), "can make files in /srv/sticky"),
    "a slurm.conf that is shadow": ({"slurm": {"conf": "/etc/shadow"}}, "slurm:conf: /etc/shadow is not a slurm.conf"),
    "a slurm.conf that is shadow, enforced": ({"slurm": {**ENFORCED, "conf": "/etc/shadow"}}, "is not a slurm.conf"),
    "a slurm.conf that is passwd": ({"slurm": {"conf": "/etc/passwd"}}, "line 1 (root:x:0:0:"),
    "an sshd_config that is shadow": ({"sshd": {"config": "/etc/shadow"}}, "is not a configuration of sshd"),
    "a drop-in that is shadow": ({"sshd": {"drop_in": "/etc/shadow"}}, "is not a configuration of sshd"),
    "a drop-in in a sticky directory": ({"sshd": {"drop_in": "/srv/sticky/x.conf"}}, "can make files in /srv/sticky"),
    "sessions without pam_unix": ({"pam": {"session_remove": ["pam_unix.so"]}}, "names pam_unix.so, which a session"),
}


def refused(node, words, **changes):
    """That an apply, and one with test=True, is refused with these words, changes nothing and tells no secret."""
    settings(node, **changes)
    secrets = [line.split(":")[1] for line in node.read("/etc/shadow").splitlines() if line.count(":") > 2]
    secrets = [secret for secret in secrets if len(secret) > 8]
    assert secrets
    before = node.snapshot("/etc")
    for how in ({"test": True}, {}):
        results = apply(node, **how)
        told = failed(results)
        assert any(words in comment for comment in told.values()), told
        assert changed(results) == []
        assert not [secret for secret in secrets if secret in json.dumps(results)]
    assert node.snapshot("/etc") == before


@pytest.mark.parametrize(("given", "words"), NAMED.values(), ids=NAMED)
def test_a_setting_that_names_something_else(open_node, given, words):
    with commands(open_node, "mkdir -p /srv/sticky; chmod 1777 /srv/sticky", "rm -r /srv/sticky"):
        refused(open_node, words, **given)


ACCOUNT = "/etc/pam.d/common-account-pc"
PAM = {
    "a file that everybody writes": (f"chmod 666 {ACCOUNT}", f"chmod 644 {ACCOUNT}", {}, ACCOUNT),
    "a file of a user's": (f"chown alice {ACCOUNT}", f"chown root {ACCOUNT}", {}, ACCOUNT),
    "other": ("chmod 666 /etc/pam.d/other", "chmod 644 /etc/pam.d/other", {}, "/etc/pam.d/other"),
    "a directory on the way": (
        f"install -d -o alice /srv/theirs; cp -p {ACCOUNT} /srv/theirs/x; mv {ACCOUNT} {ACCOUNT}.away; "
        f"ln -s /srv/theirs/x {ACCOUNT}",
        f"mv -f {ACCOUNT}.away {ACCOUNT}; rm -r /srv/theirs",
        {},
        "can write to /srv/theirs",
    ),
    "a file that is shadow": (
        f"cp -p {ACCOUNT} {ACCOUNT}.away; cp -p /etc/shadow {ACCOUNT}",
        f"mv -f {ACCOUNT}.away {ACCOUNT}",
        {},
        "is not a PAM file (pam.d(5)): line 1 does not belong in such a file",
    ),
    "a module of a known name elsewhere": (
        f"cp -p {ACCOUNT} {ACCOUNT}.away; sed -i '1i account sufficient /opt/site/pam_deny.so' {ACCOUNT}",
        f"mv -f {ACCOUNT}.away {ACCOUNT}",
        {"pam": {"account_base": "copy"}},
        "/opt/site/pam_deny.so answers success there",
    ),
}


@pytest.mark.parametrize(("before", "after", "given", "words"), PAM.values(), ids=PAM)
def test_pam_files_that_are_not_what_they_seem(open_node, before, after, given, words):
    with commands(open_node, before, after):
        refused(open_node, words, **given)


def test_a_module_that_others_write(open_node):
    line = "account optional /opt/site/pam_site.so"
    make = f"install -d /opt/site; touch /opt/site/pam_site.so; chmod 666 /opt/site/*; cp -p {ACCOUNT} /root/x"
    with commands(open_node, f"{make}; echo '{line}' >> {ACCOUNT}", f"mv -f /root/x {ACCOUNT}; rm -r /opt/site"):
        refused(open_node, "can write to /opt/site/pam_site.so")


def test_nothing_stands_against_a_node_that_is_in_order(open_node):
    """So what is refused above is refused for what it is."""
    settings(open_node)
    assert open_node.salt("slurm_pam.preflight")["problems"] == []
    settings(open_node, access={**ADMINS, "file": "/etc/security/access.conf"})
    assert open_node.salt("slurm_pam.preflight")["problems"] == []
