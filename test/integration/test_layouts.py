"""What is on a node already, with real modules and a real sshd: closed all the same, or refused and left as it was."""

import time

import pytest
from harness.formula import apply, settings
from harness.paths import REPO
from libpam.layouts import LAYOUTS, SLE15, in_account

PAM_D = "/etc/pam.d"
# As pam_sss answers where a password in LDAP has expired.
EXPIRED = SLE15.but(
    "an expired password", in_account("[default=bad success=ok user_unknown=ignore] pam_debug.so acct=new_authtok_reqd")
)
SAFE = [
    "sle15",
    "sle15 sssd",
    "sle15, pam_permit in common-account",
    "sle15, other permits",
    "sle15, a stray sshd",
    "sle15, pam_systemd by its path",
    "sle15, jump over pam_systemd",
    "sle15, common-session twice",
    "sle15, continued line",
]
REFUSED = [
    "sle15, pam_localuser in sshd",
    "sle15, pam_access of their own",
    "sle15, jump over ours",
    "sle15, pam_slurm left behind",
    "sle15, pam_systemd included by common-session",
    "sle15 sssd, copied",
]


@pytest.fixture(scope="module")
def prepared(node):
    """A node with all of the formula but its PAM files, and a job of alice's."""
    settings(node)
    later = [{"sls": f"slurm_pam.{part}"} for part in ("pam", "logind", "strays")]
    node.salt("state.apply", "slurm_pam", exclude=later)
    node.run(["cp", "-a", PAM_D, "/root/pam.d"], check=True)
    node.job("alice")
    return node


@pytest.fixture
def lay(prepared):
    """A function that lays a layout over the node's PAM files and says what the apply then makes of it."""

    def apply_over(layout):
        for path, what in layout.files.items():
            prepared.run(["rm", "-f", path], check=True)
            if isinstance(what, str):
                prepared.write(path, what)
            elif what:
                prepared.run(["ln", "-s", what["link"], path], check=True)
        settings(prepared, pam=layout.pam)
        before = prepared.snapshot(PAM_D)
        results = apply(prepared, "slurm_pam.pam")
        # What is refused is refused before anything else is looked at.
        ret = results.get("slurm_pam-pam-stacks-managed", results["slurm_pam-ready"])
        return ret, before == prepared.snapshot(PAM_D)

    yield apply_over
    restore = f"rm -rf {PAM_D}/* /usr/lib/pam.d/sshd && cp -a /root/pam.d/. {PAM_D}/"
    prepared.run(["sh", "-c", restore], check=True)


@pytest.mark.parametrize("name", SAFE)
def test_made_safe(prepared, lay, name):
    ret, _ = lay(LAYOUTS[name])
    assert ret["result"] is True, ret
    assert prepared.ssh("admin").ok
    assert not prepared.ssh("bob").ok
    session = prepared.ssh("alice", "cat /proc/self/cgroup")
    assert session.ok and "/step_extern" in session.stdout


@pytest.mark.parametrize("name", REFUSED)
def test_refused(lay, name):
    ret, unchanged = lay(LAYOUTS[name])
    assert (ret["result"], ret["changes"], unchanged) == (False, {}, True)
    assert all(words in ret["comment"] for words in (LAYOUTS[name].at, *LAYOUTS[name].says)), ret["comment"]


def test_the_readme_shows_a_counterexample_as_it_appears(lay):
    ret, _ = lay(LAYOUTS["sle15 sssd, copied"])
    words = (REPO / "README.md").read_text().split()
    comment = ret["comment"].split()
    assert any(words[at : at + len(comment)] == comment for at in range(len(words))), ret["comment"]


def test_an_expired_password_opens_no_session_without_a_job(prepared, lay):
    ret, _ = lay(EXPIRED)
    assert ret["result"] is True, ret
    begun = time.time()
    assert "you have no active jobs on this node" in prepared.ssh("bob").stderr
    journal = prepared.journal(begun)
    assert "denied for user `bob'" in journal and "session opened for user bob" not in journal
