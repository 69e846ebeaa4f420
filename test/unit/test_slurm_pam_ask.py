"""Questions that are answered, and those that cannot be asked."""

import os
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

import _child
import _processes
import _slurm_pam_ask
from _slurm_pam_ask import Unanswered, answer, every_process, every_unit, once


def test_an_answer():
    assert answer("printf", "%s", "a\nb") == "a\nb"
    assert answer("true") == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("sh", "-c", "echo half; echo one >&2; echo two >&2; exit 3"), "two"),
        (("false",), "false: exit status 1"),
        (("sleep", "60"), "sleep 60: no answer within 0.2 seconds"),
        (("/none/such",), "/none/such: /none/such: No such file or directory"),
    ],
)
def test_a_question_that_cannot_be_asked_is_no_empty_answer(words, why):
    with pytest.raises(Unanswered) as error:
        answer(*words, timeout=0.2 if words[0] == "sleep" else 60)
    assert str(error.value).endswith(why)
    assert isinstance(error.value, CommandExecutionError)


@pytest.mark.parametrize(("stderr", "why"), [("", "exit status 9"), ("\n a\n\nb \n", "b"), (" \n", "exit status 9")])
def test_the_reason_is_in_its_last_words(stderr, why):
    assert _child.reason(subprocess.CompletedProcess(["x"], 9, "", stderr)) == why


SHOWN = """\
Id=cron.service
Names=cron.service crond.service
LoadState=loaded
PAMName=

Id=gone.service
Names=gone.service
LoadState=not-found
"""


# As of systemd-run, with a script: systemctl prints it as it is, ahead of the unit's name.
SCRIPT = """\
ExecStart={{ path=/bin/sh ; argv[]=/bin/sh -c a=1

echo $a

 ; ignore_errors=no ; pid=7 }}
Id={0}
Names={0}
LoadState=loaded
"""


def test_a_unit_that_runs_a_script_with_blank_lines(monkeypatch):
    names = ["one.service", "two.service"]
    monkeypatch.setattr(_slurm_pam_ask, "answer", lambda *words: "\n".join(map(SCRIPT.format, names)))
    found = _slurm_pam_ask.units("Id,Names,LoadState,ExecStart")
    assert [(unit["Id"], unit["Names"], unit["LoadState"]) for unit in found] == [([n], [n], ["loaded"]) for n in names]
    assert all(unit["ExecStart"][0].startswith("{ path=/bin/sh ; ") for unit in found)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What systemd was asked, which is every word of it. What is not loaded is enabled, but for what is called off."""
    told = []

    def answer(*words):
        told.append(words)
        names = words[words.index("--") + 1 :]
        if words[2] == "--property=UnitPath":
            return f"UnitPath={tmp_path}/system {tmp_path}/generator.late {tmp_path}/none\n"
        if names == ("*.service", "*.socket"):
            return SHOWN
        state = {name: "disabled" if "off" in name else "enabled" for name in names}
        told_of = "Id={0}\nNames={0}\nLoadState=loaded\nUnitFileState={1}"
        return "\n\n".join(told_of.format(name, state[name]) for name in names)

    monkeypatch.setattr(_slurm_pam_ask, "answer", answer)
    monkeypatch.setattr(_processes, "running", lambda: iter([told.append("processes") or "a process"]))
    link(tmp_path / "system/multi-user.target.wants/one.service", "/lib/one.service")
    return told


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("a.target.wants/two.service", "../two.service", {"two.service"}),
        ("a.target.requires/two.socket", "../two.socket", {"two.socket"}),
        ("a.target.upholds/two.service", "../two.service", {"two.service"}),
        ("a.target.wants/one@x.service", "../one@x.service", {"one@x.service"}),
        # By another name: systemd says that the one which it leads to is enabled.
        ("alias.service", "two.service", {"alias.service", "two.service"}),
        # Loaded, or not a unit of these kinds, or none that starts at boot.
        ("a.target.wants/cron.service", "../cron.service", set()),
        ("a.target.wants/crond.service", "../crond.service", set()),
        ("a.target.wants/two.timer", "../two.timer", set()),
        ("many@.service", "/lib/many@.service", set()),
        ("a.target.wants/many@x.service", "../many@.service", set()),
        ("off.service", "/lib/off.service", set()),
        # No unit could be called so, and to ask for it would be an error.
        ("a.target.wants/a b.service", "../a b.service", set()),
        ("a.target.wants/@a.service", "../@a.service", set()),
        ("a.target.wants/*.service", "../*.service", set()),
    ],
)
def test_every_unit_that_the_next_boot_starts(asked, tmp_path, path, target, found):
    link(tmp_path / "system" / path, target)
    assert {unit["Id"][0] for unit in every_unit()} == {"cron.service", "one.service"} | found


def test_a_link_that_goes_meanwhile(asked, tmp_path, monkeypatch):
    link(tmp_path / "system/two.service", "/lib/two.service")
    readlink = os.readlink

    def goes(path):
        if path.endswith("/two.service"):
            os.unlink(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", goes)
    assert {unit["Id"][0] for unit in every_unit()} == {"cron.service", "one.service"}


def test_what_a_vendor_links_is_not_enabled_by_that(asked, tmp_path, monkeypatch):
    """systemd would load each of them to answer."""
    monkeypatch.setattr(_slurm_pam_ask, "_OF_VENDORS", (f"{tmp_path}/none",))
    link(tmp_path / "none/sysinit.target.wants/two.service", "../two.service")
    assert {unit["Id"][0] for unit in every_unit()} == {"cron.service", "one.service"}
    assert not any("two.service" in words for words in asked)


def test_an_administrators_directory_that_leads_to_where_vendors_have_theirs(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(_slurm_pam_ask, "_OF_VENDORS", (f"{tmp_path}/vendor",))
    link(tmp_path / "vendor/a.target.wants/two.service", "../two.service")
    (tmp_path / "none").symlink_to("vendor")
    assert {unit["Id"][0] for unit in every_unit()} == {"cron.service", "one.service", "two.service"}


def test_every_unit_that_is_generated(asked, tmp_path):
    for directory in ("system", "generator.late"):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / f"of-{directory}.service").write_text("[Service]\n")
    assert [unit["Id"] for unit in every_unit()][1:] == [["of-generator.late.service"], ["one.service"]]


def test_every_unit_that_a_socket_starts(monkeypatch):
    shown = {
        ("--property=UnitPath", "--"): "UnitPath=/none\n",
        ("--", "*.service", "*.socket"): "Id=by.socket\nNames=by.socket\nTriggers=by.service many@1.service\n",
        ("--", "by.service"): "Id=by.service\nNames=by.service\nUnitFileState=static\nTriggeredBy=by.socket\n",
    }
    monkeypatch.setattr(_slurm_pam_ask, "answer", lambda *words: shown.get(words[2:]) or shown[words[3:]])
    assert [unit["Id"] for unit in every_unit()] == [["by.socket"], ["by.service"]]


def test_every_unit_that_a_socket_of_the_next_boot_starts(monkeypatch, tmp_path):
    link(tmp_path / "sockets.target.wants/by.socket", "../by.socket")
    shown = {
        ("--property=UnitPath", "--"): f"UnitPath={tmp_path}\n",
        ("--", "*.service", "*.socket"): SHOWN,
        ("--", "by.socket"): "Id=by.socket\nNames=by.socket\nUnitFileState=enabled\nTriggers=by.service a@1.service\n",
        # The socket is not loaded any more.
        ("--", "by.service"): "Id=by.service\nNames=by.service\nUnitFileState=static\nTriggeredBy=\n",
    }
    monkeypatch.setattr(_slurm_pam_ask, "answer", lambda *words: shown.get(words[2:]) or shown[words[3:]])
    found = {unit["Id"][0]: unit for unit in every_unit()}
    assert found.keys() == {"cron.service", "by.socket", "by.service"}
    assert found["by.service"]["TriggeredBy"] == ["by.socket"]


def test_one_question_less_where_all_are_loaded(asked, tmp_path):
    (tmp_path / "system/multi-user.target.wants/one.service").unlink()
    assert [unit["Id"] for unit in every_unit()] == [["cron.service"]]
    assert len(asked) == 2


def test_what_is_asked_once(asked):
    with once():
        found = [every_unit(), every_unit()]
        with once():
            found.append(every_unit())
            assert every_process() == every_process() == ["a process"]
        assert every_process() == ["a process"]
    assert found[0] and found == found[:1] * 3
    assert (len(asked), asked.count("processes")) == (4, 1)
    # The next time it is another moment.
    every_unit()
    every_process()
    assert (len(asked), asked.count("processes")) == (8, 2)


def test_what_was_not_answered_is_asked_again(asked, monkeypatch):
    def silent(*words):
        raise Unanswered("systemctl: no answer")

    with once():
        with monkeypatch.context() as patch:
            patch.setattr(_slurm_pam_ask, "answer", silent)
            with pytest.raises(Unanswered):
                every_unit()
        assert every_unit()
