"""What the state files are rendered to, beside what the manifest says of the same settings."""

import pathlib

import pytest
import salt.loader

from _slurm_pam_wanted import wanted

ROOT = pathlib.Path(__file__).parents[2]
GROUPS = {
    "hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"], "gid": 4711},
    "bare": {"origins": ["ALL"]},
    "ldap": {"origins": ["ALL"], "local": False},
    "taken-out": None,
}


@pytest.fixture(scope="module")
def render(opts, tmp_path_factory):
    """The states of a state file, with a pillar."""
    files = tmp_path_factory.mktemp("file_roots")
    (files / "slurm_pam").symlink_to(ROOT / "slurm_pam")
    modules = salt.loader.minion_mods({**opts, "file_roots": {"base": [str(files)]}})

    def render(sls, pillar):
        states = modules.state.show_low_sls(sls, pillar=pillar)
        assert all(isinstance(state, dict) for state in states), states
        return states

    return render


@pytest.mark.parametrize("sls, function, clean", [("access", "present", False), ("clean", "absent", True)])
def test_the_groups_are_the_manifests(render, sls, function, clean):
    states = render(f"slurm_pam.{sls}", {"slurm_pam": {"access": {"groups": GROUPS}, "clean": {"groups": clean}}})
    settings = next(state["settings"] for state in states if "settings" in state)
    groups = {state["name"]: state for state in states if (state["state"], state["fun"]) == ("group", function)}
    told = wanted(settings)["groups"]
    assert groups.keys() == told.keys() == {"hpc_admin_g", "bare"}
    if function == "present":
        assert {name: {"members": group["addusers"], "gid": group["gid"]} for name, group in groups.items()} == told
        assert all(group["system"] is True for group in groups.values())


def test_what_is_said_once_for_all_states_is_shown_with_each(modules):
    shown = modules.sys.state_doc("slurm_pam.sshd_managed")
    assert set(shown) == {"slurm_pam", "slurm_pam.sshd_managed"}
    assert "settings" in shown["slurm_pam"] and "slurm_pam.sshd_managed:" in shown["slurm_pam"]
