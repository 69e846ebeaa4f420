"""Whether the PAM files can be made on a node, and would do what they should."""

import pytest
from harness.paths import REPO
from looks import given

import _pam_libpam
import _pam_plan
import _pam_prove
import _slurm_pam_record
import _slurm_pam_wanted
import file_transaction
from _slurm_pam_stacks import doors, foreign, message, policy, proof, service, stacks

FILES = {
    "sshd": "account include common-account\nsession include common-session\n",
    "common-account": "account required pam_unix.so\n",
    "common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
}
MARKER = _slurm_pam_wanted.MARKER


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node's PAM directories, that of the vendor empty; returns the first, in which the files are."""
    confdirs = [tmp_path / "etc", tmp_path / "vendor"]
    libpam = {"version": "1.5.2", "debian": False, "confdirs": list(map(str, confdirs)), "module_dirs": []}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    monkeypatch.setattr(_slurm_pam_wanted, "PAM_DIRECTORY", str(confdirs[0]))
    monkeypatch.setattr(file_transaction, "_LOCKS", f"{confdirs[0]}.locks")
    monkeypatch.setattr(file_transaction, "_GRACE", 0)  # nobody logs in meanwhile
    for directory in confdirs:
        directory.mkdir()
    for name, text in FILES.items():
        (confdirs[0] / name).write_text(text)
    return confdirs[0]


def apply(given):
    pam = given[1]["pam"]
    changes = _pam_plan.plan(pam["files"], marker=pam["marker"], replace=pam["replace"], disk=file_transaction)
    file_transaction.commit(changes)


def test_a_node_that_can_be_closed_and_one_that_is(node):
    asked = given(pam={"suffix": "-pc"})
    assert list(stacks(*asked)) == []
    apply(asked)
    assert list(stacks(*asked)) == []
    assert "slurm-common-account" in (node / "sshd").read_text()


# The service's own file


@pytest.mark.parametrize(
    ("text", "pam", "told"),
    [
        (FILES["sshd"], {}, []),
        (FILES["sshd"].replace("common-", "slurm-common-"), {}, []),
        ("@include common-account\n@include common-session\n", {}, ["what it names is nothing"] * 2),
        (
            "account substack system-auth\nsession include common-session\n",
            {},
            ["for account; what it names is system-"],
        ),
        (
            "account substack system-auth\nsession include x\nsession include y\n",
            {"account_source": "system-auth"},
            ["x, y"],
        ),
        (
            "account include common-session\nsession include common-session\n",
            {},
            ["for account; what it names is common-s"],
        ),
        (
            # To libpam a carriage return and a no-break blank are part of the name.
            "account include common-account\r\nsession include common-session\u00a0\n",
            {},
            [r"what it names is common-account\r", r"what it names is common-session\xa0"],
        ),
        (
            FILES["sshd"],
            {"session_source": "common-sessions"},
            ["common-sessions for session; what it names is common-s"],
        ),
    ],
)
def test_a_service_that_does_not_name_what_is_to_be_changed(node, text, pam, told):
    (node / "sshd").write_text(text)
    found = list(service(*given(pam=pam)))
    assert len(found) == len(told)
    for finding, words in zip(found, told):
        assert finding.found.startswith(f"{node}/sshd does not name ") and words in finding.found
        assert "_source to the name that stands there, or add the line to" in finding.do


def test_debian_reads_more_lines_as_includes(node, monkeypatch):
    monkeypatch.setitem(_pam_libpam.node_libpam(), "debian", True)
    (node / "sshd").write_text("@include common-account\n@include common-session\n")
    assert list(service(*given())) == []


def test_a_service_without_a_file(node):
    (finding,) = service(*given(pam={"service": "ssh"}))
    assert finding.found == f"There is no PAM file ssh in {node}, {node.parent}/vendor"
    (node.parent / "vendor" / "ssh").write_text(FILES["sshd"])
    assert list(service(*given(pam={"service": "ssh"}))) == []


def test_a_service_whose_file_cannot_be_read(node):
    (node / "sshd").write_text("x" * (1024 * 1024 + 1))
    (finding,) = service(*given())
    assert finding.found.startswith(f"{node}/sshd is larger than")


# Files that are to be ours as a whole


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, []),
        ({"slurm": f"{MARKER}\nx\n", "slurm-common-account": {"link": "other"}}, []),
        ({"slurm": "of the package\n"}, ["slurm"]),
        ({"slurm": {"link": "elsewhere"}}, ["slurm"]),
        ({"slurm": {"directory": True}}, ["slurm"]),
        (
            {"slurm-common-account-pc": "x\n", "slurm-common-account": "x\n"},
            ["slurm-common-account-pc", "slurm-common-account"],
        ),
    ],
)
def test_files_of_somebody_else(node, files, told):
    for name, what in files.items():
        if isinstance(what, str):
            (node / name).write_text(what)
        elif "link" in what:
            (node / name).symlink_to(what["link"])
        else:
            (node / name).mkdir()
    found = list(foreign(*given(pam={"suffix": "-pc"}, slurm={"use_pam": True})))
    assert [finding.found.split()[0] for finding in found] == [f"{node}/{name}" for name in told]
    assert all("slurm_pam:pam:replace: true" in finding.do for finding in found)
    assert list(foreign(*given(pam={"suffix": "-pc", "replace": True}, slurm={"use_pam": True}))) == []
    without = [finding.found.split()[0] for finding in foreign(*given(pam={"suffix": "-pc"}))]
    assert without == [f"{node}/{name}" for name in told if name != "slurm"]


@pytest.mark.parametrize(
    ("there", "applied", "pam", "told"),
    [
        (None, None, {}, False),
        ("theirs\n", None, {}, True),
        ("Get a job\n", None, {}, False),
        ("changed\n", "Get one", {}, False),
        ("theirs\n", None, {"replace": True}, False),
        ("theirs\n", None, {"message": None}, False),
    ],
)
def test_a_message_takes_the_place_of_no_file_of_others(tmp_path, monkeypatch, there, applied, pam, told):
    path = tmp_path / "message"
    monkeypatch.setattr(_slurm_pam_wanted, "MESSAGE", str(path))
    monkeypatch.setattr(_slurm_pam_record, "message", lambda: applied)
    if there:
        path.write_text(there)
    found = list(message(*given(pam={"message": "Get a job", **pam})))
    assert [finding.found for finding in found] == [
        f"{path} is there already, and this formula did not write it",
    ] * told


# The site's own scenarios


MINE = {"name": "mine", "service": "sshd", "call": "acct_mgmt", "expect": "permit"}


@pytest.mark.parametrize(
    ("scenarios", "wrong"),
    [
        ([], None),
        ([MINE], None),
        # It does not hold, which is another matter.
        ([{**MINE, "expect": "deny"}], None),
        ([{**MINE, "expect": "allow"}], "policy: scenario 'mine': expect: 'allow' is not one of permit, deny"),
        ([MINE, MINE], "policy: there are several scenarios named 'mine'"),
        ([{**MINE, "name": "a session opens"}], "the formula has a scenario named 'a session opens' itself"),
    ],
)
def test_what_the_site_has_to_say(node, scenarios, wrong):
    found = list(policy(*given(pam={"policy": scenarios})))
    assert [finding.kind for finding in found] == (["problems"] if wrong else [])
    assert all(finding.found.startswith(f"slurm_pam:pam:policy: {wrong}") for finding in found)


# The proof


LOCAL_USERS_GET_IN = "account sufficient pam_localuser.so\naccount required pam_unix.so\n"
HINT = "\nWith slurm_pam:pam:account_base: substack, nothing in the node's own rules can end the stack ahead of ours"


@pytest.mark.parametrize(("base", "holds"), [("substack", True), ("copy", False)])
def test_a_proof_that_fails_is_told_as_it_is(node, base, holds):
    (node / "common-account").write_text(LOCAL_USERS_GET_IN)
    found = list(stacks(*given(pam={"account_base": base})))
    assert [finding.kind for finding in found] == ([] if holds else ["problems"])
    for finding in found:
        assert finding.text().startswith("The new PAM files would not do what they should. Nothing was written.\n- ")
        assert f"{node}/slurm-common-account:2 (account sufficient pam_localuser.so)" in finding.text()
        assert finding.text().endswith(HINT)


def test_the_site_has_a_say_in_the_proof(node):
    (finding,) = stacks(*given(pam={"policy": [{**MINE, "expect": "deny"}]}))
    assert "- mine: acct_mgmt of sshd must deny" in finding.text() and HINT not in finding.text()


@pytest.fixture
def proofs(monkeypatch):
    """How often scenarios are proven."""
    made, prove = [], _pam_prove.prove
    monkeypatch.setattr(_pam_prove, "prove", lambda *args, **how: made.append(args) or prove(*args, **how))
    return made


def test_if_nothing_is_to_be_written_nothing_is_proven_ahead(node, proofs):
    asked = given()
    list(proof(*asked))
    assert proofs
    apply(asked)
    # Nor if what is there does not keep to the site's scenarios: the state tells, which proves once.
    proofs.clear()
    assert list(proof(*given(pam={"policy": [{**MINE, "expect": "deny"}]}))) == []
    assert proofs == []


@pytest.mark.parametrize(
    ("pam", "told"),
    [
        ({"account_source": "none"}, "does not name none for account"),
        ({"policy": [{}]}, "slurm_pam:pam:policy: "),
    ],
)
def test_what_cannot_be_made_is_not_proven(node, proofs, pam, told):
    (finding,) = stacks(*given(pam=pam))
    assert told in finding.found
    assert len(proofs) == 1  # the site's scenarios alone


def test_a_file_that_is_no_file_is_told(node):
    (node / "sshd").unlink()
    (node / "sshd").mkdir()
    (finding,) = proof(*given())
    assert "sshd is neither a file nor a link" in finding.found


# Other doors


CRON = "account include common-account\nsession required pam_unix.so\n"


@pytest.mark.parametrize(
    ("setting", "texts", "told"),
    [
        ({"cron": "close"}, {"cron": CRON}, []),
        ({"cron": "close"}, {"cron": CRON.replace("common-account", "slurm-door-cron")}, []),
        ({"sshd-2": "close"}, {"sshd-2": FILES["sshd"]}, []),
        ({"cron": "close"}, {}, ["slurm_pam:doors:cron is 'close', but there is no PAM file cron in "]),
        ({"cron": "report", "cockpit": "leave"}, {}, []),
        ({"cokpit": "leave"}, {}, ["slurm_pam:doors:cokpit: there is no PAM service cokpit", "did you mean cockpit?"]),
        (
            {"cron": "close"},
            {"cron": "account include system-auth\n"},
            ["/cron does not name common-account for account; what it names is system-auth"],
        ),
        ({"cron": "close"}, {"cron": "account required pam_unix.so\n"}, ["what it names is nothing"]),
    ],
)
def test_doors_that_are_there_and_can_be_closed(node, setting, texts, told):
    for name, text in texts.items():
        (node / name).write_text(text)
    findings = list(doors(*given(doors=setting)))
    assert len(findings) >= (1 if told else 0) and (told or not findings)
    text = " ".join(finding.text() for finding in findings)
    assert all(words in text for words in told)


def test_a_door_is_closed_and_opened_again_to_the_byte(node):
    (node / "cron").write_text(CRON)
    (node.parent / "vendor" / "systemd-user").write_text("account include common-account\n")
    before = {path.name: path.read_bytes() for path in node.iterdir()}
    closed = given(doors={"cron": "close", "systemd-user": "close"})
    assert list(stacks(*closed)) == []
    apply(closed)
    assert (node / "cron").read_text() == CRON.replace("common-account", "slurm-door-cron")
    assert (node / "systemd-user").read_text().startswith("# Copied by Salt from ")
    opened = given(doors={"cron": "opened", "systemd-user": "opened"})
    assert list(stacks(*opened)) == []
    apply(opened)
    assert not list(node.glob("slurm-door-*")) and not (node / "systemd-user").exists()
    assert {name: (node / name).read_bytes() for name in before if name != "sshd"} == {
        name: text for name, text in before.items() if name != "sshd"
    }


# EL's files, in which su lets root past whatever follows, and su-l is su; and SUSE's, in which another line does that.
_EL9 = REPO / "test/harness/layouts/el9/etc/pam.d"
EL = {name: (_EL9 / name).read_text() for name in ("login", "su", "su-l", "systemd-user")}
EL["crond"] = "account required pam_access.so\naccount include system-auth\nsession include system-auth\n"
EL["system-auth"] = "account sufficient pam_localuser.so\nsession optional pam_systemd.so\nsession optional pam_x.so\n"
EL["postlogin"] = "session optional pam_umask.so\n"
EL_SOURCES = {**dict.fromkeys(("crond", "login", "su", "systemd-user"), "system-auth"), "su-l": "su"}
SUSE = {"su": "account sufficient pam_rootok.so\naccount include common-account\nsession include common-session\n"}


@pytest.mark.parametrize(
    ("texts", "sources", "closed", "told"),
    [
        (EL, EL_SOURCES, ["login"], []),
        (EL, EL_SOURCES, ["su"], []),
        (EL, EL_SOURCES, ["crond", "login", "su", "su-l", "systemd-user"], []),
        (EL, EL_SOURCES, ["su-l"], ["/su-l includes su, which is not closed", "slurm_pam:doors:su: close"]),
        (EL, {}, ["login"], ["what it names is system-auth", "slurm_pam:pam:door_sources:login"]),
        (EL, {"login": "postlogin"}, ["login"], ["does not name postlogin for account; what it names is system-auth"]),
        (SUSE, {}, ["su"], []),
        ({"su": SUSE["su"].replace("rootok", "permit")}, {}, ["su"], ["su: a user without a job is turned away"]),
        ({"login": SUSE["su"]}, {}, ["login"], ["login: a user without a job is turned away"]),
    ],
)
def test_doors_that_name_other_stacks_are_closed_beside_them_and_opened_to_the_byte(
    node, texts, sources, closed, told
):
    for name, text in texts.items():
        (node / name).write_text(text)
    before = {path.name: path.read_bytes() for path in node.iterdir()}
    asked = given(doors=dict.fromkeys(closed, "close"), pam={"door_sources": sources})
    text = " ".join(finding.text() for finding in stacks(*asked))
    assert all(words in text for words in told) if told else text == ""
    if told:
        return
    apply(asked)
    assert list(stacks(*asked)) == []
    ours = {*closed, *(path.name for path in node.iterdir() if path.name.startswith("slurm-")), "sshd"}
    assert {path.name: path.read_bytes() for path in node.iterdir() if path.name not in ours}.items() <= before.items()
    opened = given(doors=dict.fromkeys(closed, "opened"), pam={"door_sources": sources})
    assert list(stacks(*opened)) == []
    apply(opened)
    assert not list(node.glob("slurm-door-*"))
    assert {name: (node / name).read_bytes() for name in closed} == {name: before[name] for name in closed}
