"""Pages lead where they say: README's contents are its headings, and every link of a page has a target."""

import re

import pytest
from harness.paths import REPO

PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("doc/*.md")])
README = (REPO / "README.md").read_text()


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_a_target(page):
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_contents_are_the_headings():
    contents = README.partition("## Contents\n")[2].partition("\n## ")[0]
    assert re.findall(r"^- \[(.*?)\]", contents, re.MULTILINE) == [
        heading for heading in re.findall(r"^## (.*)$", README, re.MULTILINE) if heading != "Contents"
    ]
