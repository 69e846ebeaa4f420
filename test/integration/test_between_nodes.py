"""Logins between the nodes of a job, as MPI starts its ranks over ssh: each lands in the job that it comes from."""

import itertools
import os

import pytest
from harness.formula import DENIED, applied, settings
from harness.node import Node

SSHD = {"options": {"HostbasedAuthentication": True, "IgnoreRhosts": False}}
CLIENT = "Host *\n  HostbasedAuthentication yes\n  EnableSSHKeysign yes\n"
METHODS = ("hostbased", "publickey")


def _trust(node: Node) -> None:
    """The nodes of a site know and trust each other, and people have their key on each."""
    names = node.site.addresses
    key = (node.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    known = "".join(f"{name},{address} {key}" for name, address in names.items())
    node.write("/etc/ssh/ssh_known_hosts", known)
    node.write("/etc/ssh/shosts.equiv", "".join(f"{word}\n" for pair in names.items() for word in pair))
    node.write("/etc/ssh/ssh_config.d/trust.conf", CLIENT)
    key = (node.site.directory / "key").read_text()
    for user in ("alice", "bob"):
        node.write(f"/home/{user}/.ssh/id_ed25519", key)
        home = (node.root / f"home/{user}").stat()
        os.chown(node.root / f"home/{user}/.ssh/id_ed25519", home.st_uid, home.st_gid)
        (node.root / f"home/{user}/.ssh/id_ed25519").chmod(0o600)


@pytest.fixture(scope="module")
def nodes(site):
    """Two closed nodes, and two jobs of alice's across both."""
    both = [Node.start(made, name, prepare=_trust) for made in [site(("one", "two"))] for name in ("one", "two")]
    for node in both:
        settings(node, sshd=SSHD)
        node.salt("saltutil.sync_all")
        applied(node)
    submit = ["sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep infinity"]
    jobs = [both[0].run(submit, user="alice", check=True, cwd="/").stdout.strip() for _ in range(2)]
    running = ["squeue", "--noheader", "--states=R", "--format=%i"]
    both[0].until(lambda: set(both[0].run(running).stdout.split()) == set(jobs), "both jobs running")
    return both, jobs


@pytest.mark.parametrize(("job", "method", "way"), list(itertools.product((0, 1), METHODS, ((0, 1), (1, 0)))))
def test_it_lands_in_the_job_it_comes_from(nodes, job, method, way):
    both, jobs = nodes
    here, there = (both[number] for number in way)
    inside = ["srun", f"--jobid={jobs[job]}", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={here.name}"]
    login = ["ssh", "-o", "BatchMode=yes", "-o", f"PreferredAuthentications={method}", there.name]
    done = here.run([*inside, *login, "cat /proc/self/cgroup"], user="alice", cwd="/")
    assert f"/job_{jobs[job]}/" in done.stdout, done


@pytest.mark.parametrize("method", METHODS)
def test_whoever_has_no_job_gets_no_further(nodes, method):
    both, _ = nodes
    login = ["ssh", "-o", "BatchMode=yes", "-o", f"PreferredAuthentications={method}", "two", "true"]
    done = both[0].run(login, user="bob", cwd="/")
    assert not done.ok and DENIED in done.stderr, done
