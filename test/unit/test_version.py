"""One version of the formula: what the master has, what the minion has, and what the pages say."""

import re

import pytest
import yaml
from harness.paths import REPO

import _slurm_pam_settings

VERSION = yaml.safe_load((REPO / "FORMULA").read_text())["version"]
# How each file says it.
SAYS = {
    "slurm_pam/ready.sls": r"^    - version: (.*)$",
    "slurm_pam/clean.sls": r"^    - version: (.*)$",
    "doc/cluster.md": r"slurm_pam-([\d.]+)-\d+\.spm",
    "slurm_pam-formula.spec": r"^Version: +(.*)$",
    "pillar.schema.json": r'"title": "Pillar of the Salt formula slurm_pam (.*)"',
}


def key(version):
    return tuple(map(int, version.split(".")))


def test_the_modules_version():
    assert _slurm_pam_settings.VERSION == VERSION


@pytest.mark.parametrize("file", SAYS)
def test_a_files_version(file):
    found = re.findall(SAYS[file], (REPO / file).read_text(), re.MULTILINE)
    assert found
    assert set(found) == {VERSION}


def test_the_changelog_has_this_version():
    assert VERSION in re.findall(r"^## ([\d.]+)$", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_each_section_of_the_changelog_has_its_date():
    text = (REPO / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    dated = re.findall(r"^## (.*)\n\n(\d{4}-\d\d-\d\d)\.", text, re.MULTILINE)
    assert sections and sections == [version for version, _ in dated]
    assert [date for _, date in dated] == sorted((date for _, date in dated), reverse=True)


def test_nothing_was_added_after_the_newest_section_of_the_changelog():
    newest = re.search(r"^## ([\d.]+)", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    for path in REPO.glob("_*/*.py"):
        added = re.findall(r"versionadded:: ([\d.]+)", path.read_text())
        assert not [version for version in added if key(version) > key(newest)], path
