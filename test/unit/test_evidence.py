"""The page about a cluster: what nodes say is put together, nothing that they say is markup, and it stays small."""

import copy
import json
from collections import Counter
from html import unescape
from html.parser import HTMLParser

import pytest
from harness.evidence import ADOPTING, BROKEN, CLOSED, DRIFTED, KEEPS, OPEN, minions, says
from harness.runners import Answer, runner
from unit.test_rollout_hostile import FORGED, VALUES

evidence, pages = runner._evidence, runner._evidence_page
MARKUP = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>&lt;b&gt;]]>-->"
NOW = 1_790_100_000


def document(facts, others=None):
    answers = {name: said if said is None else Answer(True, said) for name, said in facts.items()}
    return evidence.document("cn* or gpu*", NOW, answers, others or {})


class Page(HTMLParser):
    """What a browser sees of it, as far as markup goes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text, self.rows = Counter(), Counter(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attributes)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


# What a node is


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (CLOSED, "closed"),
        (OPEN, "open"),
        (DRIFTED, "drifted"),
        (ADOPTING, "adopting"),
        (says(mode="audit"), "open"),
        (says(mode="ENFORCE"), "open"),
        (says(promises=[]), "open"),
        (says(promises=[BROKEN], drift=DRIFTED["drift"]), "open"),
        (says(mode="adopt", promises=[BROKEN]), "open"),
        (says(mode="adopt", drift=DRIFTED["drift"]), "drifted"),
        (says(since=None), "closed"),
        (None, "unknown"),
    ],
)
def test_what_a_node_is(said, state):
    assert evidence.states(document({"cn1": said})) == {"cn1": state}


WAYS = [(name,) for name in CLOSED] + [
    ("promises", 0, "holds"),
    ("promises", 0, "name"),
    ("access", 0, "who"),
    ("stack", 0, "level"),
    ("stack", 0, "leads"),
    ("stack", 0, "leads", 0),
    ("stack", 0, "leads", 0, 0),
    ("drift", 0, "found"),
    ("doors", 0, "shell"),
    ("doors", 0, "stranger"),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_answer_that_makes_no_sense_is_unknown_or_text(way):
    """It is never closed by nonsense: what is not a text, number, truth or list at its place makes the node unknown."""
    for value in VALUES:
        inside = said = copy.deepcopy(DRIFTED if way[0] == "drift" else CLOSED)
        for key in way[:-1]:
            inside = inside[key]
        was, inside[way[-1]] = inside[way[-1]], value
        made = document({"cn1": said})
        (state,) = evidence.states(made).values()
        if type(value) is not type(was) and not (way == ("since",) and value in (None, 0)):
            assert state == "unknown", value
        json.dumps(made)
        assert len(pages.written(made)) < 200_000


@pytest.mark.parametrize("well", [True, False])
def test_an_answer_that_is_none_is_unknown(well):
    for value in [*VALUES, {"mode": "enforce"}, [CLOSED]]:
        made = evidence.document("cn*", NOW, {"cn1": Answer(well, value)}, {})
        assert made["nodes"] == {} and made["unknown"]["cn1"].startswith("slurm_pam.evidence: ")


def test_a_node_that_fails_says_why():
    made = evidence.document("cn*", NOW, {"cn1": Answer(False, "ERROR: sshd refuses its configuration")}, {})
    assert made["unknown"] == {"cn1": "slurm_pam.evidence: ERROR: sshd refuses its configuration"}


def test_what_was_left_out_is_told():
    """A page that says who gets in must not end in the middle without a word."""
    rules = [{"may": "yes", "who": f"admin{number}", "origins": "ALL"} for number in range(300)]
    made = document({"cn1": says(access=rules, warnings=["w"] * 200)})
    assert len(made["kinds"][0]["access"]) == len(made["kinds"][0]["warnings"]) == 200
    assert made["kinds"][0]["warnings"][:2] == ["access: the first 200 of 300 are here", "w"]
    assert "access: the first 200 of 300 are here" in pages.written(made)
    assert evidence.checked(json.loads(json.dumps(made))) == made
    assert document({"cn1": says(access=rules[:200])})["kinds"][0]["warnings"] == []


# The page


def test_nothing_that_a_node_says_is_markup():
    plain = pages.written(document({"cn1": says()}))
    said = json.loads(json.dumps(DRIFTED | {"warnings": ["x"]}))
    hostile = spoil_texts(said)
    made = document({"cn1": hostile}, {MARKUP: MARKUP})
    text = pages.written(made, document({"cn1": CLOSED}))
    seen, harmless = Page(text), Page(plain)
    assert not seen.tags.keys() & {"script", "img", "b", "iframe", "object", "link", "base", "form"}
    assert seen.tags.keys() <= harmless.tags.keys() | {"strong", "br"}
    assert not [name for name in seen.attributes if name.startswith("on") or name in ("href", "src", "style")] or set(
        seen.attributes
    ) & {"href", "src", "style"} == {"href"}
    assert MARKUP in "".join(seen.text)
    assert "alert" not in "".join(part for part in text.split("<") if part.startswith(("script", "img", "svg onload")))


def spoil_texts(value):
    """The same with markup in every text, but where a text decides what the node is."""
    if isinstance(value, str):
        return MARKUP if value != "enforce" else value
    if isinstance(value, list):
        return [spoil_texts(each) for each in value]
    return {key: spoil_texts(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("text", ["\x00", "\u202e", "\ud800", "\x1b[2J", FORGED])
def test_a_character_that_is_none_of_text_is_not_there(text):
    made = pages.written(evidence.document(text, NOW, {}, {text: text}))
    assert made.encode()
    assert not set(made) & {"\x00", "\u202e", "\ud800", "\x1b"}


def test_the_page_needs_nothing_and_lets_nothing_come():
    text = pages.written(document({"cn1": says()}))
    assert "default-src 'none'; style-src 'sha256-" in unescape(text)
    assert "http://" not in text and "https://" not in text and "url(" not in pages.STYLE and "@import" not in text
    seen = Page(text)
    assert seen.tags["h1"] == seen.tags["main"] == seen.tags["title"] - seen.tags["svg"] == 1
    assert not seen.attributes.keys() & {"src", "style", "onclick"}


def test_nodes_that_are_alike_are_one_row():
    facts = {f"cn{number:04}": says(since=NOW + number) for number in range(1, 513)}
    facts |= {"cn0600": OPEN, "gpu1": ADOPTING, "gpu2": ADOPTING, "cn0700": None}
    rows = Page(pages.written(document(facts))).rows
    (closed,) = rows_of(rows, "cn[0001-0512]")
    assert closed[1:6] == ["\u2713 closed", "512", "enforce", "1.1.0", "4 of 4"]
    assert rows_of(rows, "gpu[1-2]")[0][1:3] == ["\u25cb adopting", "2"]
    silent = "its minion does not answer, or the master has accepted no key for it"
    assert ["cn0700", "? unknown", "1", "", "", silent, "", ""] in rows
    broken = next(row for row in rows if row[1] == "does not hold")
    assert broken[2].endswith("lets everyone in ahead of Slurm (/etc/pam.d/sshd:6)") and broken[3] == "cn0600"
    assert ["(hpc_admin_g)", "192.0.2.0/24", "gets in", "cn[0001-0512,0600],gpu[1-2]", "515"] in rows
    assert ["everyone", "wherever sshd lets them in from", "gets in: mode adopt", "gpu[1-2]", "2"] in rows


def rows_of(rows, name):
    return [row for row in rows if row[0] == name]


def test_of_ten_thousand_nodes_the_page_stays_under_two_mebibytes():
    """Alike, and each otherwise than all others."""
    one = document({"cn1": CLOSED})
    alike = {**one, "nodes": {f"cn{number:05}": {"kind": 0, "since": NOW + number} for number in range(10_000)}}
    assert len(pages.written(alike).encode()) < 40_000
    kinds = [
        {**one["kinds"][0], "drift": [{"subject": f"s-{number}", "found": "x" * 500}], "warnings": [f"{number}" * 50]}
        for number in range(5000)
    ]
    nodes = {f"cn{number:05}": {"kind": number // 2, "since": NOW} for number in range(0, 10_000, 2)}
    odd = {**one, "kinds": kinds, "nodes": nodes, "unknown": {f"gpu{number}": "" for number in range(5000)}}
    text = pages.written(odd, alike)
    assert len(text.encode()) < 2 * 2**20
    assert "and 4,700 more rows, in the JSON file" in text


def test_the_picture_has_a_box_a_rule_and_an_arrow_a_way():
    text = pages.written(document({"cn1": says()}))
    picture = text[text.index("<svg") : text.index("</svg>")]
    ways = [(index, target) for index, rule in enumerate(CLOSED["stack"]) for target, _ in rule["leads"]]
    assert picture.count('class="rule"') == len(CLOSED["stack"]) and picture.count('class="end"') == 1
    assert picture.count('class="arrow next"') == sum(target == index + 1 for index, target in ways)
    assert picture.count('class="arrow"') == sum(target > index + 1 for index, target in ways)
    assert 'aria-labelledby="stack-1 stack-1-desc"' in picture and 'id="stack-1-desc"' in picture


CRON = {**CLOSED["doors"][0], "name": "crond", "what": "jobs of cron", "reach": "later", "stranger": "gets in"}
TOLD_OF_CRON = " ".join(word for word in CRON.values() if isinstance(word, str))


@pytest.mark.parametrize(
    ("door", "open_"),
    [
        (CRON, "crond"),
        ({**CRON, "stranger": "not known"}, "crond"),
        ({**CRON, "reach": "inside"}, "none"),
        ({**CRON, "shell": False}, "none"),
        ({**CRON, "stranger": "does not"}, "none"),
    ],
)
def test_a_door_that_people_come_in_by_is_named(door, open_):
    made = document({"cn1": says(doors=[*CLOSED["doors"], door], unseen=["units could not be asked"])})
    rows = Page(pages.written(made)).rows
    assert rows_of(rows, "cn1")[0][6] == open_
    told = "pam_slurm_adopt.so refuses (/etc/pam.d/slurm-common-account-pc:3)"
    assert ["crond", "jobs of cron", door["reach"], door["stranger"], "gets in", "close", told, "cn1"] in rows
    assert ["not known", "", "", "", "", "", "units could not be asked", "cn1"] in rows


def test_who_is_outside_of_jobs_is_named():
    strays = [{"user": "alice", "came": "cron", "spared": ""}]
    loose = [{"user": "bob", "problem": "it is not held to the cores of job 4711"}]
    rows = Page(pages.written(document({"cn1": says(strays=strays, loose=loose), "cn2": says(strays=strays)}))).rows
    assert ["alice", "cron", "", "cn[1-2]", "2"] in rows
    assert ["bob", "it is not held to the cores of job 4711", "cn1", "1"] in rows
    text = pages.written(document({"cn1": says()}))
    assert "administrators are outside jobs" in text and "every session of a user with a job is held" in text


# What has changed


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (CLOSED, CLOSED, set()),
        (CLOSED, says(since=NOW), set()),
        (None, CLOSED, {("state", "unknown", "closed")}),
        (CLOSED, None, {("state", "closed", "unknown")}),
        ("absent", CLOSED, {("state", "not there", "closed")}),
        (CLOSED, "absent", {("state", "closed", "not there")}),
        (CLOSED, ADOPTING, {("state", "closed", "adopting"), ("mode", "enforce", "adopt"), ("warnings", "", "*")}),
        (CLOSED, says(version="1.2.0"), {("version", "1.1.0", "1.2.0")}),
        (CLOSED, DRIFTED, {("state", "closed", "drifted"), ("drift", "", "*")}),
        (
            CLOSED,
            OPEN,
            {
                ("state", "closed", "open"),
                ("promises", "a user without a job is turned away: holds", ""),
                ("promises", "", "*"),
            },
        ),
        (CLOSED, says(access=CLOSED["access"][1:]), {("access", "yes root ALL", "")}),
        (CLOSED, says(access=CLOSED["access"][::-1]), {("access", "another order", "")}),
        (
            says(doors=[CRON]),
            says(doors=[{**CRON, "shell": False}]),
            {("doors", f"{TOLD_OF_CRON} runs programs", ""), ("doors", "", TOLD_OF_CRON)},
        ),
        (CLOSED, says(promises=KEEPS[:3]), {("promises", "every login over SSH asks PAM for sshd: holds", "")}),
    ],
)
def test_what_is_otherwise_than_before(before, now, told):
    def named(said):
        return document({} if said == "absent" else {"cn1": said, "cn2": said})

    found = evidence.changes(named(before), named(now))
    assert all(names == ["cn1", "cn2"] for names in found.values())
    wild = {(what, then, "*") if (what, then, "*") in told else (what, then, since) for what, then, since in found}
    assert wild == told


def test_the_page_says_what_has_changed():
    before, now = document({"cn1": CLOSED, "cn2": CLOSED}), document({"cn1": CLOSED, "cn2": DRIFTED})
    rows = Page(pages.written(now, before)).rows
    assert ["state", "closed", "drifted", "cn2", "1"] in rows
    assert "nothing." in pages.written(now, now) and "What has changed" not in pages.written(now)


# A document that was written


def test_a_document_is_read_again_as_it_was_written():
    made = document({"cn1": CLOSED, "cn2": OPEN, "cn3": None, "cn4": says(since=None)})
    assert evidence.checked(json.loads(json.dumps(made))) == made


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"format": 2},
        {"format": 1},
        {**document({"cn1": CLOSED}), "nodes": {"cn1": {"kind": 1, "since": None}}},
        {**document({"cn1": CLOSED}), "nodes": {"cn1": {"kind": -1, "since": None}}},
        {**document({"cn1": CLOSED}), "nodes": {"cn1": {"kind": 0, "since": "now"}}},
        {**document({"cn1": CLOSED}), "kinds": [None]},
        {**document({"cn1": CLOSED}), "made": "today"},
        {**document({"cn1": CLOSED}), "unknown": {"cn2": None}},
    ],
)
def test_what_is_no_document_is_refused(value):
    with pytest.raises(ValueError):
        evidence.checked(value)


# The command


@pytest.fixture
def asked(tmp_path):
    runner.__opts__, runner.__context__ = {"cachedir": str(tmp_path)}, {}

    def ask(facts, **how):
        channel = minions(facts)
        order = runner.Order("cn*", None, 1, {}, 1, [])
        to = str(tmp_path / "evidence")
        return runner._made(order, set(facts), set(facts), channel, to, how.get("earlier"), how.get("key")), channel

    return ask


def test_files_are_written_and_compared_with_those_that_were(asked, tmp_path):
    told, channel = asked({"cn1": CLOSED, "cn2": CLOSED, "cn3": None})
    assert told["result"] is False and told["summary"] == "1 unknown, 2 closed"
    assert [function for function, _ in channel.asked] == ["match.compound", "test.ping", "slurm_pam.evidence"]
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o600, 0o600]
    told, _ = asked({"cn1": CLOSED, "cn2": ADOPTING})
    assert told["result"] is True and runner.__context__["retcode"] == 0
    text = (tmp_path / "evidence.html").read_text()
    assert "What has changed" in text and "not there" in text
    assert json.loads((tmp_path / "evidence.json").read_text())["nodes"].keys() == {"cn1", "cn2"}


def test_where_an_earlier_file_is_none_nothing_is_written(asked, tmp_path):
    (tmp_path / "other.json").write_text("[]")
    told, channel = asked({"cn1": CLOSED}, earlier=str(tmp_path / "other.json"))
    assert told["result"] is False and "other.json: it is not evidence of a cluster" in told["summary"]
    assert channel.asked == [] and [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_where_no_minion_is_meant_the_earlier_evidence_stays(asked, tmp_path):
    asked({"cn1": CLOSED})
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    told, _ = asked({})
    assert (told["result"], told.get("files")) == (False, None)
    assert told["summary"] == "There is no new evidence: no accepted minion matches cn*"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_evidence_that_could_not_be_signed_is_new_all_the_same(asked, tmp_path, monkeypatch):
    def sign(path, key):
        raise ValueError(f"ssh-keygen: no key {key}")

    monkeypatch.setattr(runner._evidence_files, "sign", sign)
    told, _ = asked({"cn1": CLOSED}, key="nowhere")
    assert told["result"] is False
    assert told["summary"] == "The evidence is new, but it is not signed: ssh-keygen: no key nowhere"
    assert told["files"] == [str(tmp_path / "evidence.json"), str(tmp_path / "evidence.html")]


def test_no_link_is_followed(asked, tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "evidence.html").symlink_to(target)
    asked({"cn1": CLOSED})
    assert target.read_text() == "mine" and not (tmp_path / "evidence.html").is_symlink()
