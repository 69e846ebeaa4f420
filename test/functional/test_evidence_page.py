"""The page about a cluster in a real browser, and its files with the real ssh-keygen."""

import itertools
import json
import shutil
import subprocess

import pytest
from harness.browser import chromium
from harness.evidence import ADOPTING, CLOSED, DRIFTED, OPEN, says
from harness.runners import Answer, runner
from unit.test_evidence import MARKUP, spoil_texts

evidence, pages, files = runner._evidence, runner._evidence_page, runner._evidence_files
LAPTOP, PHONE = 1280, 390
# Each text that is seen, with its colours as the browser has them, behind it those of whatever is behind.
CONTRASTS = """
(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const owner = walk.currentNode.parentElement, style = getComputedStyle(owner);
    if (!walk.currentNode.data.trim() || owner.closest("title, desc, .skip")) continue;
    const inside = owner.closest("svg");
    const fore = rgb(inside ? style.fill : style.color);
    let place = owner, back = inside ? rgb(getComputedStyle(document.querySelector(".rule")).fill) : null;
    while (!back) {
      const colour = rgb(getComputedStyle(place).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) back = colour;
      place = place.parentElement || (back = back || [255, 255, 255], null);
    }
    const [a, b] = [light(fore), light(back)].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), owner.className.baseVal ?? owner.className, walk.currentNode.data.slice(0, 40)]);
  }
  return found;
})()
"""


def document(facts, made=1_790_100_000):
    answers = {name: said if said is None else Answer(True, said) for name, said in facts.items()}
    return evidence.document("cn* or gpu*", made, answers, {})


CLUSTER = {
    **{f"cn{number:04}": says(since=1_790_000_000 + number) for number in range(1, 513)},
    **{f"gpu{number}": ADOPTING for number in range(1, 9)},
    **{f"odd{number * number}": OPEN for number in range(200)},
    "cn0600": DRIFTED,
    "cn0601": None,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not shutil.which("chromium"):
        pytest.skip("no chromium")
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "evidence.html"
    path.write_text(pages.written(document(CLUSTER), document(dict.fromkeys(CLUSTER, CLOSED))))
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_it_can_be_read(browser, page, width, dark):
    """Nothing is wider than the screen but what scrolls by itself; each text has the contrast of WCAG AA."""
    browser.open(page, width, dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('.frame').length") >= 7
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 100
    assert [each for each in contrasts if each[0] < 4.5] == []
    back = browser.run("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")


def test_nothing_is_asked_of_the_network_and_nothing_is_wrong(browser, page):
    browser.open(page, LAPTOP)
    asked = [each["params"] for each in browser.seen if each.get("method") == "Network.requestWillBeSent"]
    assert [each["request"]["url"] for each in asked] == [page.as_uri()]
    assert not [each for each in browser.seen if each.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]


def test_a_screen_reader_finds_its_way(browser, page):
    """By the browser's own tree of what it tells one: one first heading, no level left out, names for all."""
    browser.open(page, LAPTOP)
    nodes = [node for node in browser.ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    told = [(node["role"]["value"], node.get("name", {}).get("value", ""), node) for node in nodes]
    levels = [
        next(each["value"]["value"] for each in node["properties"] if each["name"] == "level")
        for role, _, node in told
        if role == "heading"
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    roles = [role for role, _, _ in told]
    assert roles.count("main") == 1 and roles.count("navigation") == 1
    assert roles.count("table") >= 7 and roles.count("columnheader") > 20 and roles.count("rowheader") > 20
    named = {"heading", "table", "link", "image", "region", "columnheader", "rowheader", "navigation"}
    assert [role for role, name, _ in told if role in named and not name.strip()] == []
    assert browser.run("document.documentElement.lang") == "en" and browser.run("document.title")


def test_a_keyboard_is_enough(browser, page):
    """First the way past the navigation; what scrolls can be reached, and scrolls."""
    browser.open(page, PHONE)
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "To the content"
    left = browser.run("document.activeElement.getBoundingClientRect().left")
    assert left >= 0
    reached = set()
    for _ in range(40):
        browser.press("Tab")
        reached.add(browser.run("document.activeElement.getAttribute('aria-label') || document.activeElement.tagName"))
    frames = set(browser.run("[...document.querySelectorAll('.frame')].map(each => each.getAttribute('aria-label'))"))
    assert frames <= reached
    outline = browser.run("getComputedStyle(document.querySelector('.frame')).outlineStyle")
    browser.run("document.querySelector('.frame').focus({focusVisible: true})")
    assert outline == "none"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_prints(browser, page):
    """Dark or not: black on white, nothing is cut off by a frame, the navigation stays out."""
    browser.open(page, LAPTOP, dark=True, media="print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.run("getComputedStyle(document.querySelector('.frame')).overflowX") == "visible"
    printed = browser.ask("Page.printToPDF", printBackground=False)["data"]
    assert len(printed) > 20_000


def test_nothing_that_a_node_says_becomes_markup_or_runs(browser, tmp_path):
    path = tmp_path / "hostile.html"
    said = spoil_texts(json.loads(json.dumps(DRIFTED | {"warnings": ["x"]})))
    made = document({"cn1": said})
    path.write_text(pages.written({**made, "target": MARKUP, "unknown": {MARKUP: MARKUP}}, document({"cn1": CLOSED})))
    browser.open(path, LAPTOP)
    markup = "script, img, b, iframe, link, base, form, [onerror], [onload]"
    assert browser.run(f"document.querySelectorAll('{markup}').length") == 0
    assert "<script>alert(1)</script>" in browser.run("document.body.innerText")
    assert not [each for each in browser.seen if each.get("method") == "Page.javascriptDialogOpening"]


def test_the_browser_would_have_run_it_but_for_the_page(browser, tmp_path):
    """What the test above sees is not blind: in a page like ours, but for the escaping, the image is there; the policy
    keeps its script from running."""
    path = tmp_path / "raw.html"
    text = pages.written(document({"cn1": CLOSED}))
    path.write_text(text.replace("</main>", "<img src=x onerror='document.title = 1'></main>"))
    browser.open(path, LAPTOP)
    assert browser.run("document.querySelectorAll('img').length") == 1
    assert browser.run("document.title") != "1"
    assert [each for each in browser.seen if each.get("method") == "Log.entryAdded"]


# Signatures


@pytest.fixture
def signed(tmp_path):
    """A file, the key that has signed it, and another key."""
    for name in ("key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    path = tmp_path / "evidence.html"
    files.write(str(path), pages.written(document({"cn1": CLOSED})))
    assert files.sign(str(path), str(tmp_path / "key")) == f"{path}.sig"
    runner.__context__ = {}
    return path


def checked(path, key="key.pub"):
    return runner.evidence_signed(str(path), str(path.parent / key))


def test_what_was_signed_is_found_again(signed):
    assert checked(signed)["result"] is True
    assert 'Good "slurm_pam-evidence" signature' in checked(signed)["summary"]
    files.sign(str(signed), str(signed.parent / "key"))  # once more, over the one that is there
    assert checked(signed)["result"] is True


@pytest.mark.parametrize("place", [0, 1, 500, -2, -1])
def test_a_changed_byte_is_found(signed, place):
    text = bytearray(signed.read_bytes())
    text[place] ^= 1
    signed.write_bytes(text)
    told = checked(signed)
    assert told["result"] is False and "is not what was signed with this key" in told["summary"]


def test_it_is_this_key_s_signature_of_this_file_for_this_purpose(signed):
    assert checked(signed, "other.pub")["result"] is False
    assert checked(signed, "nothing.pub")["result"] is False
    assert checked(signed, "key")["result"] is False  # the private one
    other = signed.with_name("other.html")
    other.write_text(f"{signed.read_text()} ")
    shutil.copy(f"{signed}.sig", f"{other}.sig")
    assert checked(other)["result"] is False
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", signed.parent / "key", "-n", "file", signed]
    signed.with_name("evidence.html.sig").unlink()
    assert checked(signed)["result"] is False
    subprocess.run(words, check=True, capture_output=True)
    assert checked(signed)["result"] is False


def test_a_key_that_cannot_sign_is_told_and_asks_nobody(signed):
    locked = signed.parent / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    for key in (locked, signed.parent / "nothing"):
        with pytest.raises(ValueError, match="ssh-keygen: "):
            files.sign(str(signed), str(key))
