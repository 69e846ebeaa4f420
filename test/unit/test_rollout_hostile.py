"""What a node says is data: whatever it is, it stays one printable line of that node, and no other node feels it."""

import contextlib
import datetime
import json
import random
import re
import stat
import sys
import time
from types import SimpleNamespace

import pytest
from harness.runners import (
    BLOCKED,
    HALF,
    HOLDS,
    NODES,
    NOTHING,
    OPEN,
    USUAL,
    WAITING,
    WRONG,
    Answer,
    Minions,
    Rollouts,
    apply,
    became,
    runner,
    said,
    state,
    waves,
)

LONGEST = 5100  # characters of a line on the terminal: a reason, and what stands ahead of it
FORGED = "no disk\n12:00:00   cn1                  done\r\x1b[2K\x1b[1A12:00:00   cn3                  taken back  oh"
DEEP = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.fixture
def rollout(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["_rollout"].log, "exception", lambda message: None)
    monkeypatch.setattr(runner.records, "_SYNCHRONOUS", "OFF")
    return Rollouts(tmp_path)


# A text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no disk", "no disk"),
        ("Größe: 5 µm", "Größe: 5 µm"),
        ("", ""),
        ("one\ntwo\r\n\tthree\n\n", "one two three"),
        ("a\u2028b\u2029c\x85d\x0be", "a b c d e"),
        (" " * 500 + "12:00:00   cn1   done", "12:00:00 cn1 done"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202etxet", r"\u202etxet"),
        ("\u200b\ufeff\u00ad", r"\u200b\ufeff\xad"),
        ("\ud800\udfff", r"\ud800\udfff"),
        ("\x00\x7f\x08", r"\x00\x7f\x08"),
    ],
)
def test_a_text_is_one_printable_line(text, shown):
    assert said.line(text) == shown


@pytest.mark.parametrize("part", ["x", "\x1b", "\n", "\ud800", " x"])
def test_a_text_is_bounded(part):
    text, start = part * 20_000_000, time.process_time()
    shown = said.line(text)
    assert len(shown) < 2100 and shown.isprintable()
    assert shown.endswith(f" ... ({len(text)} characters)")
    assert time.process_time() - start < 1


# A name

UNUSABLE = [
    "",
    "a b",
    "cn1 or *",
    "or",
    "and",
    "not",
    "-oProxyCommand=touch /tmp/x",
    "-cn1",
    ".cn1",
    "*",
    "cn?",
    "cn[1-3]",
    "E@cn.*",
    "L@cn1,cn2",
    "cn1,cn2",
    "(",
    "cn1\n",
    "\ncn1",
    "cn1\n\ncn2",
    "\x1b[2Jcn1",
    "cn1;id",
    "$(id)",
    "`id`",
    "cn1'",
    'cn1"',
    "{node}",
    "{{ 1 }}",
    "cn\xe4",
    "cn\u0131",
    "cn\ud800",
    "a/../b",
    "x" * 254,
]


@pytest.mark.parametrize("name", ["cn1", "gpu-1.example.org", "CN_1", "1", "_x", "x" * 253, "android", "nor"])
def test_a_name_of_a_node(name):
    assert said.unusable(name) == "" and said.shown(name) == name


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_name_that_is_none_is_refused_with_a_word_and_looks_like_no_other(name):
    assert "this cannot be the name of a node" in said.unusable(name)
    shown = said.shown(name)
    assert shown.isprintable() and len(shown) < 150 and said.unusable(shown)


def test_no_two_names_that_are_none_look_alike():
    assert len({said.shown(name) for name in UNUSABLE}) == len(UNUSABLE)


@pytest.mark.parametrize("name", UNUSABLE[1:])
def test_a_minion_with_such_a_name_is_refused_and_nobody_is_changed(rollout, name, capsys):
    """It is in the master's cache, or only says itself that it matches."""
    for minions in (Minions([*NODES, name]), Minions(**{name: {}})):
        report = rollout(minions)
        assert became(report) == {**dict.fromkeys(NODES, "waiting"), said.shown(name): "refused"}
        assert "cannot be the name of a node" in report["nodes"][said.shown(name)]["reason"]
        assert "before this run changed anything" in report["summary"]
        for function, whom in minions.asked:
            assert whom == "cn*" if isinstance(whom, str) else name not in whom, (function, whom)
        assert_is_shown_well(rollout, report, capsys)


def test_names_go_to_salt_in_lists_alone(rollout):
    minions = Minions(["cn1", "cn2", "gpu1"], dead1={"match.compound": None, "test.ping": None, "matches": False})
    minions.named.append("dead1")
    rollout(minions, nodes="cn* or gpu*", partitions={"gpu": "gpu*"})
    assert {whom for _, whom in minions.asked if isinstance(whom, str)} == {"cn* or gpu*"}


# What is shown


def assert_is_shown_well(rollout, report, capsys):
    """On the terminal, in the answer, in the record and on the event bus: a printable line of its own node, bounded."""
    lines = capsys.readouterr().err.splitlines()
    for line in lines:
        assert line.isprintable() and len(line) < LONGEST and re.match(r"\d\d:\d\d:\d\d ", line), line[:200]
    told = [line[9:] for line in lines if line[9:11] == "  " and "does not match" not in line]
    assert told == [f"  {tag[18:]:20} {node['state']:12} {node['reason']}".rstrip() for tag, node in rollout.fired]
    assert all(tag[:18] == "slurm_pam/rollout/" and len(tag.split()) == 1 for tag, _ in rollout.fired)
    rollout.fired.clear()
    assert report["summary"].isprintable() and len(report["summary"]) < LONGEST
    recorded = rollout.recorded()
    for nodes in (report["nodes"], recorded):
        for name, node in nodes.items():
            assert name.isprintable() and len(name) < 260
            assert node["reason"].isprintable() and len(node["reason"]) < LONGEST and "  " not in node["reason"]
    assert recorded == report["nodes"]


# An answer that makes no sense. ``__str__`` of some of these fails, or takes for ever

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    10**5000,
    float("nan"),
    "",
    " \n",
    FORGED,
    "\ud800",
    b"\xff",
    "x" * 3_000_000,
    datetime.datetime(2000, 1, 1),
    [],
    [None],
    [FORGED, 1],
    ["x" * 100_000] * 100,
    {},
    {None: None, 1: [2]},
    DEEP,
]
FINDINGS = [[value] for value in VALUES] + [
    [{"result": False, "subject": value, "found": value}] for value in VALUES
] + [[WRONG] * 100_000, [{"result": value} for value in VALUES]]
STATES = [state(number, False, comment, name) for number in VALUES for comment in VALUES[:12] for name in VALUES[9:12]]
ANSWERS = [
    *VALUES,
    *({"holds": holds, "findings": found, "summary": holds} for holds in VALUES[:3] for found in VALUES + FINDINGS),
    *({"problems": problems} for problems in [*VALUES, [FORGED] * 100_000, VALUES]),
    *({"state": value, "at": value} for value in VALUES),
    *({"state": known, "at": value} for known in ("waiting", "taken back") for value in VALUES),
    *({"holds": True, "findings": [], "open": value} for value in VALUES),
    *({"holds": True, "findings": [], "open": {"doors": value, "strays": [value]}} for value in VALUES),
    *({"a": value} for value in VALUES),
    {str(number): each for number, each in enumerate(STATES)},
    *({"a": {"__id__": value, "__run_num__": value, "result": value, "comment": value}} for value in VALUES),
    *({"a": {"__id__": value, "__run_num__": value, "result": False, "comment": value}} for value in VALUES),
]
MEANINGS = (
    said.error,
    said.blocked,
    said.unfit,
    said.not_applied,
    said.not_verified,
    said.not_well,
    said.unclear,
    said.summary,
)


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.__name__)
def test_of_every_answer_something_can_be_said(meaning):
    for value in ANSWERS:
        for well in (True, False):
            told = meaning(Answer(well, value))
            assert isinstance(told, str) and told.isprintable() and len(told) < 2200, repr(told)[:300]


def test_of_what_is_left_open_names_alone_are_kept():
    for value in ANSWERS:
        for kind, names in said.left_open(Answer(True, value)).items():
            assert kind in said.OPEN and len(names) <= 50
            assert all(isinstance(name, str) and name.isprintable() and len(name) < 130 for name in names)
    told = {"open": {"doors": ["a\nb", 1, "\x1b[2J"], "strays": ["x"] * 90, "odd": ["y"], "doubtful": "cron"}}
    found = said.left_open(Answer(True, told))
    assert found == {"doors": ["a b", "\\x1b[2J"], "strays": ["x"] * 50}


ODD = [None, "", " ", [], {}, 0, True, [None], {"holds": "yes"}, {"findings": []}, {"a": None}, {"a": {"result": True}}]


@pytest.mark.parametrize("value", [*ODD, {"holds": True, "findings": [1]}, DEEP, b"x"])
def test_an_answer_that_makes_no_sense_is_never_well(value):
    answer = Answer(True, value)
    for meaning in (said.blocked, said.unfit, said.not_applied, said.not_verified, said.unclear):
        assert meaning(answer).strip(), meaning
    assert not said.holds(answer) and not said.armed(answer) and not said.unconfirmed(answer)
    assert not said.taken_back(answer, NOTHING)


def test_of_an_apply_the_first_state_that_failed_is_told():
    later, first, odd = state(2, False, "later"), state(1, False, "first"), state("0", False, "odd")
    assert said.not_applied(apply(True, later, first, odd)) == "state-1: first"
    assert said.not_applied(Answer(False, ["No such SLS", "at all"])) == "No such SLS at all"
    assert said.not_applied(apply(True)) == ""
    assert "slurm_pam:mode is audit" in said.not_applied(Answer(True, {"c": state(0, True)}))


def test_what_would_be_changed_stands_in_no_ones_way():
    assert said.blocked(OPEN) == ""
    assert said.blocked(BLOCKED) == "s: f"
    assert said.blocked(Answer(False, "'x' is not available.")) == "its audit: 'x' is not available."
    assert said.not_verified(OPEN) == "after the apply: s: f"
    assert said.not_verified(HOLDS) == ""


def test_of_many_findings_the_first_are_told():
    answer = Answer(False, {"holds": False, "findings": [WRONG] * 25})
    assert said.blocked(answer) == "; ".join(["s: f"] * 10) + "; and 15 more"


SECRET = "root:$6$secret:19000:0:99999:7:::"


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.__name__)
def test_nothing_is_shown_of_a_diff_or_of_an_answer_without_sense(meaning):
    diff = {"diff": f"-{SECRET}"}
    for value in (
        {"a": {**state(1, False), "changes": diff}},
        {"a": {**state(1, True), "changes": diff}, "b": {"changes": diff}},
        {"holds": False, "findings": [{**WRONG, "changes": diff}]},
        {"holds": 1, "findings": [{**WRONG, "changes": diff}], "text": SECRET},
        {"problems": [diff], "text": SECRET},
        {"state": diff, "at": SECRET},
        [diff, SECRET],
    ):
        assert "secret" not in meaning(Answer(False, value))


# A rollout with one node that answers nonsense

FUNCTIONS = sorted(USUAL.keys() - {"test.ping"})
TURNS = {
    "match.compound": 1,
    "saltutil.sync_all": 1,
    "slurm_pam.audit": 2,
    "slurm_pam_confirm.status": 3,
    "slurm_pam.preflight": 1,
    "state.running": 1,
    "state.apply": 1,
    "slurm_pam.confirm": 1,
    "slurm_pam_confirm.take_back": 1,
}


def assert_others_are_well(report, minions, hostile):
    """They are closed, or nothing happened to them: a canary that says it is not meant is as if it were not there."""
    others = {name: state for name, state in became(report).items() if name != hostile}
    assert set(others.values()) in ({"done"}, {"waiting"}, set()), report
    back = [whom for function, whom in minions.asked if function == "slurm_pam_confirm.take_back"]
    assert not any(name in whom for whom in back for name in NODES if name != hostile)
    if set(others.values()) != {"done"}:
        applied = [name for function, whom in minions.asked if function == "state.apply" for name in whom]
        assert set(applied) <= {hostile}


@pytest.mark.parametrize(("function", "turn"), [(name, turn) for name in FUNCTIONS for turn in range(TURNS[name])])
def test_one_node_s_nonsense_is_that_node_s_alone(rollout, function, turn, capsys):
    """Up to that turn it answers as it should; its apply fails then, so that it comes to taking back as well."""
    for value in [*VALUES, {"a": {"__id__": FORGED, "__run_num__": "x", "result": False, "comment": FORGED}}]:
        good = USUAL[function] if isinstance(USUAL[function], list) else [USUAL[function]] * 3
        answers = {"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING], "state.apply": HALF} if turn else {}
        minions = Minions(cn2={**answers, function: [*good[:turn], Answer(False, value)]})
        report = rollout(minions, batch=3, canary="cn1")
        assert_others_are_well(report, minions, "cn2")
        assert_is_shown_well(rollout, report, capsys)
        runner.forget()


@pytest.mark.parametrize("hanging", ["state.apply", "slurm_pam.audit", "slurm_pam.confirm"])
def test_a_node_that_hangs_leaves_the_others_time_for_their_logins(rollout, monkeypatch, hanging):
    """In each part of its turn: nothing of their time is used up."""
    left = []

    def failing(nodes, probes, seconds):
        left.append(seconds)
        return {} if seconds > 0 else dict.fromkeys(nodes, "was not tried")

    monkeypatch.setitem(runner.__salt__, "slurm_pam_logins.failing", failing)
    # Its audit before its turn is answered at once.
    turn = {hanging: None} if hanging != "slurm_pam.audit" else {hanging: [OPEN, None]}
    minions = Minions(cn2={"slurm_pam_confirm.status": [NOTHING, NOTHING, WAITING], **turn})
    minions.alive = {"cn2"}
    report = rollout(minions, batch=3, confirm=300, probes=[{"command": "true"}])
    assert len(left) == 2 + (hanging == "slurm_pam.confirm") and min(left) >= 0.89 * 300
    assert became(report) == {"cn1": "done", "cn2": "taken back", "cn3": "done"}, report
    assert f"no answer to {hanging} within" in report["nodes"]["cn2"]["reason"]


# What is remembered


def test_the_record_is_the_masters_alone(rollout):
    rollout(Minions())
    with contextlib.closing(runner.Record(str(rollout.directory))) as record:
        record.wish("pause")  # so that there is a journal beside it
        files = [path for path in rollout.directory.iterdir() if path.name.startswith("rollout.db")]
        assert len(files) == 3 and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(rollout.file.parent.stat().st_mode) == 0o700


def test_a_lock_that_is_a_link_empties_no_file(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "rollout.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), runner.records.alone(str(tmp_path)):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_an_earlier_release_wrote_down_is_shown_well(rollout, capsys):
    rollout(Minions([]))
    old = {"state": "failed", "reason": FORGED * 10_000}
    (rollout.directory / "rollout.json").write_text(json.dumps({"cn1": old, "cn1\n": old, "a\x1bb": old}))
    nodes = runner.report()["nodes"]
    assert sorted(nodes) == ["'a\\x1bb'", "'cn1\\n'", "cn1"]
    assert all(node["reason"].isprintable() and len(node["reason"]) < LONGEST for node in nodes.values())


# How Salt is asked


class Bus:
    """A client whose event bus brings these events, each of another second."""

    auto_reconnect = True

    def __init__(self, *events, minions=("cn1", "cn2")):
        self.events, self.minions, self.published, self.closed = list(events), list(minions), [], 0
        self.event = self

    def run_job(self, target, function, words, tgt_type, timeout, kwarg, listen):
        self.published.append((target, tgt_type, function, tuple(words), kwarg))
        print("No minions matched the target.")
        return {"jid": str(len(self.published)), "minions": self.minions} if self.minions else {}

    def get_event(self, tag, full, auto_reconnect, wait=0, no_block=False):
        assert full and bool(wait) is not no_block
        if no_block:
            return None
        Clock.now += 1
        event = self.events.pop(0) if self.events else None
        return event(len(self.published)) if callable(event) else event

    def connect_pub(self, timeout):
        self.closed -= 1

    def close_pub(self):
        self.closed += 1


class Clock:
    now = 0.0


@pytest.fixture
def minions(monkeypatch, capsys):
    """A function: a bus -> the minions at it, as a rollout has them."""
    Clock.now = 0.0
    module, buses = sys.modules["_minions"], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: Clock.now))

    def make(bus):
        buses.append(bus)
        return module.Minions(bus, lambda nodes, seconds: {})

    yield make
    assert capsys.readouterr().out == ""
    assert all(bus.closed == 0 for bus in buses)


@pytest.fixture
def ask(minions):
    def asked(bus, names, seconds, function, *words, **keywords):
        def turn():
            return (yield waves.Question(function, words, keywords, seconds)).answer

        answers = {}
        with contextlib.closing(minions(bus)) as channel:
            wave = waves.Waves(channel, 500, lambda: None)
            wave.take({name: turn() for name in names}, answers.__setitem__)
        return {name: answer for name, answer in answers.items() if answer}

    return asked


def event(name, job="1", **data):
    return {"tag": f"salt/job/{job}/ret/{name}", "data": {"id": name, "return": "fine", **data}}


def test_minions_are_asked_and_their_answers_heard(ask):
    bus = Bus(event("cn1", retcode=1), event("cn2"), event("cn2", **{"return": "again"}))
    answers = ask(bus, ["cn1", "cn2"], 100, "state.apply", "slurm_pam", pillar={})
    assert answers == {"cn1": Answer(False, "fine"), "cn2": Answer(True, "fine")}
    assert bus.published == [(["cn1", "cn2"], "list", "state.apply", ("slurm_pam",), {"pillar": {}})]
    assert Clock.now == 2


def strangers(channel, *words):
    return sys.modules["_meant"].answering(channel, "cn*", *words)


def test_a_target_is_a_compound_one_and_who_is_awaited_can_be_said(minions):
    bus = Bus(event("cn2"), event("cn9"), event("cn1"), minions=["cn1", "cn2", "dead1"])
    with contextlib.closing(minions(bus)) as channel:
        assert strangers(channel, {"cn1"}, {"cn1", "cn2"}) == {"cn1", "cn2"}
    assert bus.published == [("cn*", "compound", "test.ping", (), {})]
    assert Clock.now == 3


def test_where_nobody_is_awaited_it_ends_soon(minions):
    with contextlib.closing(minions(Bus(*[event("cn1")] * 50))) as channel:
        assert strangers(channel, set(), {"cn1"}) == {"cn1"}
    assert Clock.now < 25


def test_a_master_of_masters_hears_everyone(minions):
    with contextlib.closing(minions(Bus(event("cn1"), event("below1")))) as channel:
        assert strangers(channel, set(), None) == {"cn1", "below1"}


def test_nobody_is_asked_where_there_is_nobody(ask):
    assert ask(Bus(), [], 10, "test.ping") == {}
    assert ask(Bus(minions=[]), ["cn1"], 10, "test.ping") == {}
    assert Clock.now == 0


def test_a_minion_without_a_sign_of_life_is_given_up(ask):
    bus = Bus(event("cn1"))
    assert ask(bus, ["cn1", "cn2"], 1000, "state.apply").keys() == {"cn1"}
    assert bus.published[1:] == [(["cn2"], "list", "saltutil.find_job", ("1",), {})]
    assert 40 <= Clock.now < 45


def test_one_that_hangs_is_not_waited_for_without_end(ask):
    """It gives signs of life for ever; beside it, a third one that gives none is given up."""

    def alive(published):
        return event("cn2", str(published)) if published > 1 else None

    bus = Bus(event("cn1"), *[alive] * 1000)
    assert ask(bus, ["cn1", "cn2", "cn3"], 300, "state.apply").keys() == {"cn1"}
    assert 300 <= Clock.now < 303
    looks = [whom for whom, _, function, _, _ in bus.published if function == "saltutil.find_job"]
    assert looks[0] == ["cn2", "cn3"] and looks[1:] == [["cn2"]] * 13


def test_no_event_is_taken_for_a_login(minions):
    """A login is what the master itself has seen: a node could otherwise say that people are turned away there."""
    forged = [event("cn1", job=job, **{"return": ""}) for job in (waves.LOGIN, waves.LOGIN.strip("/"))]
    replies = []

    def turn():
        replies.append((yield waves.Login(10)).answer)

    with contextlib.closing(minions(Bus(*forged))) as channel:
        channel._failing = lambda nodes, seconds: {"cn1": "alice was let in"}
        waves.Waves(channel, 500, lambda: None).take({"cn1": turn()}, lambda name, became: None)
    assert replies == [Answer(False, "alice was let in")]


def test_a_login_that_cannot_be_made_is_its_node_s_problem_alone(minions):
    """As where the master may have no more threads."""

    def failing(nodes, seconds):
        if nodes == ["cn1"]:
            raise RuntimeError("can't start new thread")
        return {}

    def turn():
        return (yield waves.Login(10)).answer

    replies = {}
    with contextlib.closing(minions(Bus())) as channel:
        channel._failing = failing
        waves.Waves(channel, 500, lambda: None).take({name: turn() for name in ("cn1", "cn2")}, replies.__setitem__)
    told = "the login could not be made: RuntimeError: can't start new thread"
    assert replies == {"cn1": Answer(False, told), "cn2": Answer(True, "")}


class Busy(Bus):
    """All that it brings is there already."""

    def get_event(self, tag, full, auto_reconnect, wait=0, no_block=False):
        Clock.now += 0 if self.events else 1
        return self.events.pop(0) if self.events else None


def test_on_a_busy_bus_no_answer_is_lost(minions):
    """Thousands of events wait, and any of them may be an answer."""
    bus = Busy(*(event(f"cn{number}", job=f"{number % 7}") for number in range(5000)))
    heard = []
    with contextlib.closing(minions(bus)) as channel:
        while bus.events:
            heard += [name for _, name, _ in channel.heard(1)]
    assert heard == [f"cn{number}" for number in range(5000)]


HOSTILE = [
    {"tag": "salt/job/1/ret/cn2", "data": {}},
    {"tag": "salt/job/1/ret/cn2", "data": {"id": "cn2"}},
    {"tag": "salt/job/1/ret/cn2", "data": {"id": ["cn2"], "return": 1}},
    {"tag": "salt/job/1/ret/cn2", "data": {"id": {}, "return": 1, "resource_id": {}}},
    {"tag": "salt/job/1/ret/x", "data": {"id": "x\n\x1b[2J", "return": 1}},
    {"tag": "salt/job/1/ret/cn9", "data": {"id": "cn9", "return": 1}},
    {"tag": "salt/job/1", "data": {"minions": 5, "missing": None, "error": {}}},
    {"tag": "salt/job/1/new", "data": {"minions": ["cn7", []]}},
    {"tag": "salt/job/\n/ret/\n", "data": {"id": "cn2", "return": 1}},
    {"tag": "salt/job/None/ret/cn2", "data": {"id": "cn2", "return": 1}},
    {"tag": "salt/job//ret/cn2", "data": {"id": "cn2", "return": 1}},
    {"tag": "salt/job/2/ret/cn2", "data": {"id": "cn2", "return": None, "retcode": "x"}},
    {"tag": "salt/job/2/ret/cn2", "data": {"id": "cn2", "return": "return", "retcode": {}}},
]


@pytest.mark.parametrize("order", range(5))
def test_events_that_make_no_sense_end_nothing(ask, order):
    """Salt's own way of waiting raises a TypeError at several of these, and one that comes without end is for ever."""
    events = [*HOSTILE, event("cn1")] * 2
    random.Random(order).shuffle(events)
    answers = ask(Bus(*events), ["cn1", "cn2"], 100, "state.apply")
    assert answers == {"cn1": Answer(True, "fine")}
    Clock.now = 0
    assert ask(Bus(*HOSTILE * 1000), ["cn1", "cn2"], 100, "state.apply") == {}
    assert Clock.now < 105


@pytest.mark.parametrize("retcode", [0, None, False, 1, "x", [], [1], {}, {"a": 1}, float("nan")])
def test_a_retcode_of_any_kind_is_well_or_not(ask, retcode):
    (answer,) = ask(Bus(event("cn1", retcode=retcode), minions=["cn1"]), ["cn1"], 9, "test.ping").values()
    assert answer.well is not bool(retcode)
