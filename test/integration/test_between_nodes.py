"""Logins between the nodes of a job, as MPI starts its ranks over ssh: each lands in the job that it comes from."""

import itertools
import os

import pytest
from harness.formula import DENIED, applied, settings, sync
from harness.node import Node

LAYOUT = "sle15-directory"  # which has a KDC
SSHD = {"options": {"HostbasedAuthentication": True, "IgnoreRhosts": False, "GSSAPIAuthentication": True}}
CLIENT = "Host *\n  HostbasedAuthentication yes\n  EnableSSHKeysign yes\n"
METHODS = ("hostbased", "publickey", "gssapi-with-mic")
REALM = """\
[libdefaults]
  default_realm = SITE.TEST
  dns_canonicalize_hostname = false
  rdns = false
[realms]
  SITE.TEST = {
    kdc = one
  }
"""
# The node one has the KDC; alice and bob have a ticket on each node.
KDC = """
kdb5_util create -s -r SITE.TEST -P master
for who in alice bob; do kadmin.local -q "addprinc -pw $who $who"; done
for host in one two; do
    kadmin.local -q "addprinc -randkey host/$host"
    kadmin.local -q "ktadd -k /root/$host host/$host"
done
systemctl start krb5-kdc
"""
TICKET = "for who in alice bob; do echo $who | setpriv --reuid=$who --regid=$who --init-groups kinit $who; done"


def _trust(node: Node) -> None:
    """The nodes of a site know and trust each other, and people have their key on each."""
    names = node.site.addresses
    key = (node.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    known = "".join(f"{name},{address} {key}" for name, address in names.items())
    node.write("/etc/ssh/ssh_known_hosts", known)
    node.write("/etc/ssh/shosts.equiv", "".join(f"{word}\n" for pair in names.items() for word in pair))
    node.write("/etc/ssh/ssh_config.d/trust.conf", CLIENT)
    node.write("/etc/krb5.conf", REALM)
    node.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    key = (node.site.directory / "key").read_text()
    for user in ("alice", "bob"):
        node.write(f"/home/{user}/.ssh/id_ed25519", key)
        home = (node.root / f"home/{user}").stat()
        os.chown(node.root / f"home/{user}/.ssh/id_ed25519", home.st_uid, home.st_gid)
        (node.root / f"home/{user}/.ssh/id_ed25519").chmod(0o600)


@pytest.fixture(scope="module")
def nodes(site):
    """Two closed nodes, and two jobs of alice's across both."""
    made = site(("one", "two"))
    both = [Node.start(made, name, LAYOUT, prepare=_trust) for name in made.hosts]
    both[0].run(["sh", "-ec", KDC], check=True)
    (both[1].root / "etc/krb5.keytab").write_bytes((both[0].root / "root/two").read_bytes())
    (both[0].root / "etc/krb5.keytab").write_bytes((both[0].root / "root/one").read_bytes())
    for node in both:
        (node.root / "etc/krb5.keytab").chmod(0o600)
        node.run(["sh", "-ec", TICKET], check=True)
        settings(node, sshd=SSHD)
        sync(node)
        applied(node)
    submit = ["sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep infinity"]
    jobs = [both[0].run(submit, user="alice", check=True, cwd="/").stdout.strip() for _ in range(2)]
    running = ["squeue", "--noheader", "--states=R", "--format=%i"]
    both[0].until(lambda: set(both[0].run(running).stdout.split()) == set(jobs), "both jobs running")
    return both, jobs


def _login(method: str) -> list[str]:
    options = ("BatchMode=yes", "GSSAPIAuthentication=yes", f"PreferredAuthentications={method}")
    return ["ssh", *(word for option in options for word in ("-o", option))]


@pytest.mark.parametrize(("job", "method", "way"), list(itertools.product((0, 1), METHODS, ((0, 1), (1, 0)))))
def test_it_lands_in_the_job_it_comes_from(nodes, job, method, way):
    both, jobs = nodes
    here, there = (both[number] for number in way)
    inside = ["srun", f"--jobid={jobs[job]}", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={here.name}"]
    done = here.run([*inside, *_login(method), there.name, "cat /proc/self/cgroup"], user="alice", cwd="/")
    assert f"/job_{jobs[job]}/" in done.stdout, done


@pytest.mark.parametrize("method", METHODS)
def test_whoever_has_no_job_gets_no_further(nodes, method):
    both, _ = nodes
    done = both[0].run([*_login(method), "two", "true"], user="bob", cwd="/")
    assert not done.ok and DENIED in done.stderr, done
