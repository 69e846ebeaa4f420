"""What a look is given: the formula's settings without nulls, and the manifest of what they want."""

import copy
import pathlib

import yaml

from _slurm_pam_settings import without_nulls
from _slurm_pam_wanted import wanted

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = {**yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text()), "logind": "mask"}


def settings(**sections):
    merged = copy.deepcopy(DEFAULTS)
    for section, values in sections.items():
        if isinstance(values, dict):
            merged[section].update(values)
        else:
            merged[section] = values
    return without_nulls(merged)


def given(**sections):
    merged = settings(**sections)
    return merged, wanted(merged)
