"""Who there is on this machine, as its own name services tell."""

import harness.source  # noqa: F401  the library's directory on the path

import _slurm_pam_accounts


def test_this_machines_own():
    """root and its group are everywhere, and are asked of the real name services."""
    assert _slurm_pam_accounts.is_user("root") and _slurm_pam_accounts.group("root").gr_gid == 0
    assert "root" in _slurm_pam_accounts.local_groups()
    assert "root" in _slurm_pam_accounts.groups_of("root")
    assert not _slurm_pam_accounts.is_user("no-such-user")


def test_who_is_in_a_group():
    assert _slurm_pam_accounts.is_in("root", "root")
    assert not _slurm_pam_accounts.is_in("root", "no-such-group")
