"""A minion that has never had the formula's modules, with each Salt: what the first run does, and a dry one says."""

import json

import pytest
from harness.formula import applied, apply, changed, etc, failed, settings
from harness.salt_tree import SALTS

SYNC = "slurm_pam-modules-synced"
both_salts = pytest.mark.parametrize("salt", SALTS, indirect=True, scope="module")


@pytest.fixture
def newcomer(node):
    """A node whose Salt has none of the formula's modules."""
    node.run(["rm", "-rf", "/var/cache/salt/minion"], check=True)
    settings(node)
    return node


@both_salts
def test_a_dry_run_is_one_state_that_says_how_to_see_more(newcomer):
    before = newcomer.snapshot("/etc")
    results = apply(newcomer, test=True)
    assert list(results) == ["slurm_pam-modules-missing"]
    assert results["slurm_pam-modules-missing"]["result"] is False
    comment = str(results["slurm_pam-modules-missing"])
    assert "state.apply slurm_pam sync_mods=all test=True" in comment
    assert "Traceback" not in comment
    assert newcomer.snapshot("/etc") == before


@both_salts
def test_a_dry_run_that_syncs_shows_every_file_and_changes_none(newcomer):
    before = newcomer.snapshot("/etc")
    results = apply(newcomer, sync_mods="all", test=True)
    assert not failed(results), failed(results)
    assert newcomer.snapshot("/etc") == before
    assert results["slurm_pam-packages-installed"]["result"] is None
    told = {path: what for result in results.values() for path, what in result["changes"].items() if "/" in path}
    assert "+account required pam_slurm_adopt.so" in told["/etc/pam.d/slurm-common-account-pc"]["diff"]
    assert told["/etc/pam.d/slurm-common-account"] == {"old": "not there", "new": "link to slurm-common-account-pc"}
    assert "pam_systemd.so" not in told["/etc/pam.d/slurm-common-session-pc"]["diff"]
    assert "-account     include     common-account\n" in told["/etc/pam.d/sshd"]["diff"]
    assert "+account     include     slurm-common-account\n" in told["/etc/pam.d/sshd"]["diff"]
    assert "+-:ALL:ALL\n" in told["/etc/security/slurm-access.conf"]["diff"]
    assert "+PasswordAuthentication no\n" in told["/etc/ssh/sshd_config.d/00-slurm_pam.conf"]["diff"]
    assert "systemd-logind.service" in results["slurm_pam-logind-managed"]["changes"]
    # The one thing that a dry run cannot look at is the module that is still to be installed.
    assert "Before that, the packages have to bring" in results["slurm_pam-pam-stacks-managed"]["comment"]


@both_salts
def test_a_first_highstate(fresh_node):
    settings(fresh_node)
    fresh_node.write("/srv/formula/top.sls", "base:\n  '*': [slurm_pam]\n")
    results = applied(fresh_node, None)
    # Salt itself syncs before a highstate.
    assert SYNC not in results
    assert "slurm_pam-pam-stacks-managed" in changed(results)


@both_salts
def test_one_apply_is_enough_and_the_next_does_not_sync(fresh_node):
    settings(fresh_node)
    first = applied(fresh_node)
    assert next(iter(first)) == SYNC
    assert not fresh_node.ssh("bob").ok
    second = applied(fresh_node)
    assert SYNC not in second
    assert changed(second) == []


@both_salts
@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry"])
def test_states_without_the_modules_beside_them_are_one_failed_state(newcomer, dry):
    """As on a master that was given half of the formula."""
    newcomer.run(["sh", "-ec", "mkdir -p /srv/half; ln -sfn /srv/formula/slurm_pam /srv/half/slurm_pam"], check=True)
    before = etc(newcomer)
    words = ["salt-call", "--local", "--out=json", "--file-root=/srv/half", "state.apply", "slurm_pam", "sync_mods=all"]
    done = newcomer.run([*words, f"test={dry}"])
    states = json.loads(done.stdout)["local"]
    (failure,) = [state["name"] for state in states.values() if state["result"] is False]
    assert "_modules and _states of the formula" in failure
    assert not any(state["changes"] for state in states.values())
    assert etc(newcomer) == before


@both_salts
@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry"])
@pytest.mark.parametrize("sls", ["slurm_pam", "slurm_pam.clean", "slurm_pam.sshd"])
def test_a_salt_on_an_old_python_is_one_failed_state(newcomer, dry, sls):
    """As SUSE's own salt-minion on SLE 15, where the modules do not load; here the grain alone says so."""
    minion = newcomer.read("/etc/salt/minion")
    asked = minion.replace("grains_cache: True", "grains_cache: False")
    newcomer.write("/etc/salt/minion", f"{asked}grains: {{pythonversion: [3, 6, 15, final, 0]}}\n")
    try:
        before = etc(newcomer)
        results = apply(newcomer, sls, test=dry)
        assert list(results) == ["slurm_pam-modules-python-too-old"]
        ((_, state),) = results.items()
        assert state["result"] is False and not state["changes"]
        for told in ("Python 3.6", "need 3.10", "venv-salt-minion", "onedir"):
            assert told in str(state)
        assert etc(newcomer) == before
    finally:
        newcomer.write("/etc/salt/minion", minion)


PLACES = "slurm_pam-places-recorded"
ACCESS = {PLACES, "slurm_pam-access-group-present-hpc_admin_g", "slurm_pam-access-file-managed"}
SSHD = {PLACES, "slurm_pam-sshd-config-managed", "slurm_pam-sshd-service-reloaded"}
PAM = {"slurm_pam-packages-installed", *ACCESS, *SSHD, "slurm_pam-pam-stacks-managed"}
PARTS = {
    "packages": {"slurm_pam-packages-installed"},
    "access": ACCESS,
    "slurm": {PLACES},
    "sshd": SSHD,
    "pam": PAM,
    "logind": {*PAM, "slurm_pam-logind-managed"},
}


@pytest.mark.parametrize("part", PARTS)
def test_a_state_file_alone_brings_what_it_relies_on_and_no_more(fresh_node, part):
    settings(fresh_node)
    results = applied(fresh_node, f"slurm_pam.{part}")
    assert set(changed(results)) == {SYNC, *PARTS[part]}
