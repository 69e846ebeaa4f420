"""People in a directory: OpenLDAP and SSSD, up, down and stopped. Who gets in, and whether explain knows it."""

import json

import pytest
from harness.formula import applied, settings, sync
from harness.node import Node
from harness.salt_tree import HOME

INSIDE = "192.0.2.1"
BASE = "dc=site,dc=test"
# All of them with the site's key, which the directory alone has.
PEOPLE = {"dora": 7001, "nell": 7002, "gus": 7003, "carl": 7004, "vera": 7005}
ADMINISTRATORS = {"dora": "listed in a group", "nell": "in a group that is in it", "gus": "in one with a blank"}
GROUPS = {
    "ldap_admin": (7101, ("uid=dora,ou=people", "cn=ldap_operators,ou=groups")),
    "ldap_operators": (7102, ("uid=nell,ou=people",)),
    "night watch": (7103, ("uid=gus,ou=people",)),
    "users_of_all": (7104, ("uid=carl,ou=people", "uid=vera,ou=people")),
}
# Salt starts once for all of them.
EXPLAIN = """
import json, sys
import salt.client
from salt.exceptions import CommandExecutionError
caller = salt.client.Caller("/etc/salt/minion")
def explain(user):
    try:
        return caller.cmd("slurm_pam.explain", user, sys.argv[1])
    except CommandExecutionError as error:
        return {"permitted": None, "why": str(error)}
print(json.dumps({user: explain(user) for user in sys.argv[2:]}))
"""
EVERYBODY = ("root", "admin", "alice", "bob", *PEOPLE)
KEYS = "AuthorizedKeysCommand /usr/bin/sss_ssh_authorizedkeys\nAuthorizedKeysCommandUser nobody\n"
ALONE = "Every administrator of this node comes from a directory (sss)"


def _tree(key: str) -> str:
    """The directory, as LDIF."""
    entries = [f"dn: {BASE}\nobjectClass: organization\nobjectClass: dcObject\no: site\ndc: site\n"]
    entries += [f"dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n" for unit in ("people", "groups")]
    for user, number in PEOPLE.items():
        entries.append(
            f"dn: uid={user},ou=people,{BASE}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"
            f"objectClass: extensibleObject\nuid: {user}\ncn: {user}\nsn: {user}\nuidNumber: {number}\n"
            f"gidNumber: 7104\nhomeDirectory: /\nloginShell: /bin/bash\nsshPublicKey: {key}\n"
        )
    for group, (number, members) in GROUPS.items():
        listed = "".join(f"member: {member},{BASE}\n" for member in members)
        entries.append(
            f"dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\nobjectClass: extensibleObject\n"
            f"cn: {group}\ngidNumber: {number}\n{listed}"
        )
    return "\n".join(entries)


@pytest.fixture(scope="module")
def directory(machine):
    """A node with a directory beside it; administrators are in it alone."""
    with Node.boot("sle15-directory") as booted:
        booted.write("/root/tree.ldif", _tree((booted.site.directory / "key.pub").read_text().strip()))
        _do(booted, "mkdir /var/lib/site-directory; slapadd -f /etc/ldap/site/slapd.conf -l /root/tree.ldif")
        _do(booted, "chmod 600 /etc/sssd/sssd.conf; systemctl start site-directory")
        # What SSSD asks before slapd listens, it takes for unknown for a while.
        booted.wait("bash -c ': </dev/tcp/127.0.0.1/389'", "the directory listens")
        _do(booted, "systemctl restart sssd")
        booted.wait("getent group ldap_admin 'night watch'", "SSSD knows the directory's groups")
        of_directory = {"origins": ["192.0.2.0/24"], "local": False}
        settings(booted, access={"groups": {"ldap_admin": of_directory, "night watch": of_directory}})
        sync(booted)
        yield booted


@pytest.fixture(scope="module")
def closed(directory):
    """That node, closed, with a job of carl's and one of alice's, whom the node knows by itself."""
    for keys, keyless in (("", 1), (KEYS, 0)):
        directory.write("/etc/ssh/sshd_config.d/50-keys.conf", keys)
        warnings = directory.salt("slurm_pam.preflight")["warnings"]
        assert sum(warning.startswith(ALONE) for warning in warnings) == 1, warnings
        assert sum("dora (no key in" in warning for warning in warnings) == keyless, warnings
    applied(directory)
    for user in ("alice", "carl"):
        _do(directory, f"cd /; sbatch --uid={user} --output=/dev/null --wrap 'sleep infinity'")
    running = ["squeue", "--noheader", "--states=R", "--format=%u"]
    directory.until(lambda: len(directory.run(running).stdout.split()) == 2, "both jobs running")
    return directory


def _do(node: Node, line: str) -> None:
    node.run(["sh", "-ec", line], check=True)


def _explained(node: Node) -> dict[str, dict]:
    done = node.run([f"{HOME}/bin/python3", "-c", EXPLAIN, INSIDE, *EVERYBODY], check=True)
    return json.loads(done.stdout)


def _get_in(node: Node) -> set[str]:
    return {user for user in EVERYBODY if node.ssh(user).ok}


def _said(node: Node) -> set[str]:
    return {user for user, told in _explained(node).items() if told["permitted"]}


def test_a_session_of_theirs_is_in_the_job(closed):
    assert "/job_" in closed.ssh("carl", "cat /proc/self/cgroup").stdout


START = "systemctl reset-failed sssd; systemctl start sssd"
FORGET = "rm -f /var/lib/sss/db/* /var/lib/sss/mc/*"
IGNORE = "sed -i '/^ldap_schema/a ignore_group_members = true' /etc/sssd/sssd.conf"
WITHOUT = {"root", "alice"}
ALL = {*WITHOUT, "carl", *ADMINISTRATORS}
# What happens to the directory, how it is undone, and who gets in meanwhile.
STATES = {
    "up": (":", ":", ALL),
    "members are not listed": (
        f"{IGNORE}; systemctl stop sssd; {FORGET}; {START}",
        "sed -i /ignore_group_members/d /etc/sssd/sssd.conf; systemctl restart sssd",
        ALL,
    ),
    "down, and in the cache": ("systemctl stop site-directory", "systemctl start site-directory", ALL),
    "down, and not in the cache": (
        f"systemctl stop site-directory sssd; {FORGET}; {START}",
        "systemctl start site-directory; systemctl restart sssd",
        WITHOUT,
    ),
    "SSSD stopped": ("systemctl stop sssd", START, WITHOUT),
    "SSSD stopped, and nothing in memory": (f"systemctl stop sssd; {FORGET}", START, WITHOUT),
}


@pytest.mark.parametrize("state", STATES)
def test_who_gets_in(closed, state):
    before, after, permitted = STATES[state]
    _do(closed, before)
    try:
        assert (_get_in(closed), _said(closed)) == (permitted, permitted)
    finally:
        _do(closed, after)
        closed.until(lambda: closed.run(["id", "dora"]).ok, "the directory back")
