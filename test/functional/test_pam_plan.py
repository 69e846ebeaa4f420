"""What is planned for a set of PAM files: no line comes to name a file that is not there, and the policy holds, in PAM
directories of all kinds."""

import os

import pytest
from harness.source import Modules, load
from salt.exceptions import CommandExecutionError

import _pam_libpam

MARKER = "# Managed by Salt"
SSHD = "#%PAM-1.0\nauth include common-auth\naccount include common-account\nsession include common-session\n"
STACK = "account required pam_unix.so\n"
UPSTREAM = {"version": "1.3.0", "debian": False}
DEBIAN = {"version": "1.5.2", "debian": True}
REFUSED = "PAM files would name files that are not there. Nothing was changed."
GOES = (
    "which would go. Take that line out, let it name another file, or move the file that it is in elsewhere if no "
    "service uses it. If other settings had it written, take it back with those"
)
NOT_THERE = (
    "which is not there. Put that file in place, or see to it that one is named that is there: in the settings, or "
    "where this line comes from"
)


class Node:
    """PAM's directories below one of the test's."""

    def __init__(self, top, libpam, monkeypatch):
        self.etc, self.lib, self.site = top / "etc/pam.d", top / "usr/lib/pam.d", top / "site"
        for directory in (self.etc, self.lib, self.site):
            directory.mkdir(parents=True)
        for name in ("auth", "account", "session"):
            (self.etc / f"common-{name}").write_text(f"{name} required pam_unix.so\n")
        (self.etc / "sshd").write_text(SSHD)
        here = {**libpam, "confdirs": [str(self.etc), str(self.lib)], "module_dirs": ["/lib/security"]}
        monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: here)
        modules = Modules("file_transaction", "pam_stack")
        # Nobody logs in meanwhile.
        monkeypatch.setattr(modules.files["file_transaction"], "_GRACE", 0)
        self.salt, self.pam_stack = modules.salt, modules["pam_stack"]
        self.top = top

    def files(self, source="common-account", service="sshd"):
        """What closes a service, by a stack that has the node's own in it."""
        own = {"from": source, "to": "own-account", "type": "account"}
        return [
            {"path": f"{self.etc}/own-account-pc", "contents": f"account substack {source}\n"},
            {"path": f"{self.etc}/own-account", "link": "own-account-pc"},
            {"path": f"{self.etc}/{service}", "changes": [{"retarget": own}]},
        ]

    def state(self, name, files, test=False, **given):
        state = load("_states/pam_stack.py", __salt__=self.salt, __opts__={"test": test})
        return getattr(state, name)("stacks", files, **given)

    def tree(self):
        return {
            str(path.relative_to(self.top)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in sorted(self.top.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    def put(self, texts):
        """Files, by their place below the node's top; {link: target} and {} for a directory as well."""
        for name, what in texts.items():
            path = self.top / name
            if isinstance(what, str):
                path.write_text(what.replace("TOP", str(self.top)))
            elif what:
                path.unlink(missing_ok=True)
                path.symlink_to(what["link"])
            else:
                path.mkdir()

    def refuses(self, name, files, test, *lines):
        """A failed state that names these lines, and nothing has changed."""
        before = self.tree()
        ret = self.state(name, files, test)
        assert ret == {
            "name": "stacks",
            "result": False,
            "changes": {},
            "comment": "\n".join([REFUSED, *(f"- {line.replace('TOP', str(self.top))}" for line in lines)]),
        }
        assert self.tree() == before

    def does(self, name, files, test):
        """What it is asked to; returned are the names of the files that it changes, or would."""
        before = self.tree()
        ret = self.state(name, files, test)
        assert ret["result"] is (None if test else True), ret["comment"]
        assert (self.tree() == before) is test
        return [os.path.basename(path) for path in ret["changes"]]


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, UPSTREAM, monkeypatch)


@pytest.fixture
def debian(tmp_path, monkeypatch):
    return Node(tmp_path, DEBIAN, monkeypatch)


ALL = ["own-account-pc", "own-account", "sshd"]


def test_plan_and_plan_back(node):
    """In the order in which files are written, what stays as it is among them; nothing changes by itself."""
    before = node.tree()
    own, link, sshd = (f"{node.etc}/{name}" for name in ALL)
    text, closed = f"{MARKER}\naccount substack common-account\n", SSHD.replace("common-account", "own-account")
    assert node.pam_stack.plan(node.files()) == [
        {"path": own, "before": None, "after": text},
        {"path": link, "before": None, "after": {"link": "own-account-pc"}},
        {"path": sshd, "before": SSHD, "after": closed},
    ]
    assert node.tree() == before
    node.does("managed", node.files(), test=False)
    assert node.pam_stack.plan(node.files()) == [
        {"path": own, "before": text, "after": text},
        {"path": link, "before": {"link": "own-account-pc"}, "after": {"link": "own-account-pc"}},
        {"path": sshd, "before": closed, "after": closed},
    ]
    assert node.pam_stack.plan_back(node.files()) == [
        {"path": sshd, "before": closed, "after": SSHD},
        {"path": link, "before": {"link": "own-account-pc"}, "after": None},
        {"path": own, "before": text, "after": None},
    ]
    node.does("absent", node.files(), test=False)
    assert node.tree() == before


# What is named has to be there


def test_taken_back_with_other_settings_to_a_stack_that_is_not_there(node, test_mode):
    """The setting that named the node's own stack is gone, and the default is no file of this node."""
    (node.etc / "common-account").rename(node.etc / "site-account")
    node.put({"etc/pam.d/sshd": SSHD.replace("common-account", "site-account")})
    node.does("managed", node.files("site-account"), test=False)
    line = f"TOP/etc/pam.d/sshd:3 (account include common-account) would name common-account, {NOT_THERE}"
    node.refuses("absent", node.files("common-account"), test_mode, line)
    assert node.does("absent", node.files("site-account"), test_mode) == ALL[::-1]


def test_taken_back_for_another_service_than_was_closed(node, test_mode):
    node.put({"etc/pam.d/login": SSHD})
    node.does("managed", node.files(), test=False)
    line = f"TOP/etc/pam.d/sshd:3 (account include own-account) names own-account, {GOES}"
    node.refuses("absent", node.files(service="login"), test_mode, line)
    assert node.does("absent", node.files(), test_mode) == ALL[::-1]


NAMING = {
    "include": ({"etc/pam.d/cron": "account  include\town-account # of the site\n"},
                "TOP/etc/pam.d/cron:1 (account include own-account # of the site) names own-account"),
    "substack": ({"etc/pam.d/cron": "#\n-account substack own-account\n"},
                 "TOP/etc/pam.d/cron:2 (-account substack own-account) names own-account"),
    "the other name": ({"etc/pam.d/cron": "account include own-account-pc\n"},
                       "TOP/etc/pam.d/cron:1 (account include own-account-pc) names own-account-pc"),
    "absolute": ({"etc/pam.d/cron": "account include TOP/etc/pam.d/own-account\n"},
                 "TOP/etc/pam.d/cron:1 (account include TOP/etc/pam.d/own-account) names TOP/etc/pam.d/own-account"),
    "by a link": ({"etc/pam.d/cron": "account include site\n", "etc/pam.d/site": {"link": "own-account-pc"}},
                  "TOP/etc/pam.d/cron:1 (account include site) names site"),
    "the vendor's": ({"usr/lib/pam.d/cron": "account include own-account\n"},
                     "TOP/usr/lib/pam.d/cron:1 (account include own-account) names own-account"),
    "a service that is a link": ({"etc/pam.d/cron": {"link": "../../site/cron"},
                                  "site/cron": "account include own-account\n"},
                                 "TOP/etc/pam.d/cron:1 (account include own-account) names own-account"),
    "from elsewhere": ({"etc/pam.d/cron": "account include TOP/site/cron\n",
                        "site/cron": "account include own-account\n"},
                       "TOP/site/cron:1 (account include own-account) names own-account"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMING)
def test_what_somebody_elses_service_names_is_not_taken_away(node, test_mode, case):
    texts, line = NAMING[case]
    node.does("managed", node.files(), test=False)
    node.put(texts)
    node.refuses("absent", node.files(), test_mode, f"{line}, {GOES}")


def test_all_lines_are_told(debian, test_mode):
    debian.put({"etc/pam.d/sshd": SSHD.replace("account include", "@include")})
    debian.does("managed", debian.files(), test=False)
    debian.put({"etc/pam.d/cron": "@include own-account\nsession include own-account\n"})
    debian.refuses(
        "absent",
        debian.files(),
        test_mode,
        f"TOP/etc/pam.d/cron:1 (@include own-account) names own-account, {GOES}",
        f"TOP/etc/pam.d/cron:2 (session include own-account) names own-account, {GOES}",
    )


@pytest.mark.parametrize(
    "name", ["sshd.rpmsave", "sshd.rpmsave.old", "sshd.dpkg-old", "sshd~", "sshd.BAK", ".sshd.salt-old", ".sshd.swp"]
)
def test_what_is_no_service_keeps_nothing(node, test_mode, name):
    """Such as a package manager leaves, or a killed run of ours."""
    node.does("managed", node.files(), test=False)
    node.put({f"etc/pam.d/{name}": "account include own-account\n"})
    assert node.does("absent", node.files(), test_mode) == ALL[::-1]


def test_but_what_a_service_includes_counts_whatever_it_is_called(node, test_mode):
    node.does("managed", node.files(), test=False)
    node.put({"etc/pam.d/site.old": "account include own-account\n", "etc/pam.d/cron": "account include site.old\n"})
    line = f"TOP/etc/pam.d/site.old:1 (account include own-account) names own-account, {GOES}"
    node.refuses("absent", node.files(), test_mode, line)


# A file, what it becomes, and the line that would name what is not there.
CHANGES = [{"retarget": {"from": "common-account", "to": "gone"}}]
NEW = {
    "contents": ({"contents": "account substack gone\n"}, "own:2 (account substack gone)"),
    "source": ({"source": "site", "changes": [{"insert": "account include gone", "at": "last"}]},
               "own:3 (account include gone)"),
    "edited": ({"path": "sshd", "changes": CHANGES}, "sshd:3 (account include gone)"),
    "vendor": ({"path": "cron", "changes": CHANGES}, "cron:4 (account include gone)"),
    "block": ({"path": "sshd", "block": "account include gone\n"}, "sshd:2 (account include gone)"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEW)
def test_nothing_is_written_that_names_what_is_not_there(node, test_mode, case):
    spec, line = NEW[case]
    node.put({"etc/pam.d/site": "account required pam_x.so\n", "usr/lib/pam.d/cron": SSHD})
    files = [{**spec, "path": f"{node.etc}/{spec.get('path', 'own')}"}]
    node.refuses("managed", files, test_mode, f"TOP/etc/pam.d/{line} would name gone, {NOT_THERE}")
    node.put({"etc/pam.d/gone": {}})  # libpam reads a directory as an empty file
    node.does("managed", files, test_mode)


def test_what_named_nothing_before_is_no_matter(node, test_mode):
    """In another file, or in the edited one and the vendor's that a copy is made of, as long as that line stays."""
    node.put({"etc/pam.d/cron": "account include gone\n", "etc/pam.d/sshd": f"{SSHD}password include gone\n"})
    assert node.does("managed", node.files(), test_mode) == ALL


def test_nor_on_the_way_back(node, test_mode):
    node.put({"etc/pam.d/cron": "account include gone\n", "etc/pam.d/sshd": f"{SSHD}password include gone\n"})
    node.does("managed", node.files(), test=False)
    assert node.does("absent", node.files(), test_mode) == ALL[::-1]


def test_a_copy_may_name_what_the_vendors_file_names(node, test_mode):
    (node.etc / "sshd").unlink()
    node.put({"usr/lib/pam.d/sshd": f"{SSHD}password include gone\n"})
    assert node.does("managed", node.files(), test_mode) == ALL


def test_a_copy_stays_where_the_vendors_file_names_what_is_not_there(node, test_mode):
    (node.etc / "sshd").unlink()
    node.put({"usr/lib/pam.d/sshd": SSHD})
    node.does("managed", node.files(), test=False)
    (node.etc / "common-account").unlink()
    line = f"TOP/usr/lib/pam.d/sshd:3 (account include common-account) would name common-account, {NOT_THERE}"
    node.refuses("absent", node.files(), test_mode, line)


UPDATED, BY_HAND = f"{SSHD}session optional pam_motd.so\n", "session optional pam_mail.so\n"
# What becomes of a copy of the vendor's file: what happens to the two after an apply, what the copy is to be after the
# next one, and what is in /etc once it is taken back.
COPIES = {
    "nothing": ({}, SSHD, None),
    "an update": ({"usr/lib/pam.d/sshd": UPDATED}, UPDATED, None),
    "an update moves it": ({"usr/lib/pam.d/sshd": None, "usr/etc/pam.d/sshd": UPDATED}, UPDATED, None),
    "a line by hand": ({"etc/pam.d/sshd": BY_HAND}, SSHD + BY_HAND, SSHD + BY_HAND),
    "a line by hand, and an update": (
        {"etc/pam.d/sshd": BY_HAND, "usr/lib/pam.d/sshd": UPDATED},
        SSHD + BY_HAND,
        SSHD + BY_HAND,
    ),
    "it goes": ({"usr/lib/pam.d/sshd": None}, SSHD, SSHD),
}


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_follows_the_vendors_file_until_somebody_edits_it(tmp_path, monkeypatch, case):
    happens, next_time, taken_back = COPIES[case]
    node = Node(tmp_path, UPSTREAM, monkeypatch)
    _pam_libpam.node_libpam()["confdirs"].append(f"{tmp_path}/usr/etc/pam.d")
    (tmp_path / "usr/etc/pam.d").mkdir(parents=True)
    copy = node.etc / "sshd"
    copy.rename(node.lib / "sshd")
    node.does("managed", node.files(), test=False)
    for name, text in happens.items():
        path = tmp_path / name
        if text is None:
            path.unlink()
        else:
            path.write_text(path.read_text() + text if path == copy else text)
    ret = node.state("managed", node.files())
    assert ret["result"] is True, ret
    head, _, body = copy.read_text().partition("\n")
    assert head.startswith("# Copied by Salt from ")
    assert body == next_time.replace("account include common-account", "account include own-account")
    assert node.state("managed", node.files())["changes"] == {}
    assert node.does("absent", node.files(), test=False) == ALL[::-1]
    assert (copy.read_text() if copy.exists() else None) == taken_back


def test_only_debian_looks_in_one_directory_alone(tmp_path, monkeypatch, test_mode):
    """As pam_stack.expand does."""
    for libpam, opens in ((UPSTREAM, True), (DEBIAN, False)):
        node = Node(tmp_path / libpam["version"], libpam, monkeypatch)
        (node.etc / "common-account").rename(node.lib / "site-account")
        node.put({"etc/pam.d/sshd": SSHD.replace("common-account", "nothing")})
        files = [{"path": f"{node.etc}/sshd", "changes": [{"retarget": {"from": "nothing", "to": "site-account"}}]}]
        line = f"TOP/etc/pam.d/sshd:3 (account include site-account) would name site-account, {NOT_THERE}"
        if opens:
            assert node.does("managed", files, test_mode) == ["sshd"]
        else:
            node.refuses("managed", files, test_mode, line)
        laid_over = {f"{node.etc}/sshd": SSHD.replace("common-account", "site-account")}
        (handler,) = node.pam_stack.expand("sshd", files=laid_over)["types"]["account"]
        assert handler["reason"] == (None if opens else "site-account cannot be opened")


# What the policy says


def scenario(expect, **given):
    return {"name": expect, "service": "sshd", "call": "acct_mgmt", "given": given or {"pam_unix.so": "any"}} | {
        "expect": expect
    }


def test_what_holds_before_and_after_holds_in_between(node, test_mode):
    """Written the wrong way round, sshd names what is not there for a moment."""
    before = node.tree()
    policy = [scenario("permit", **{"pam_unix.so": "success"})]
    own, link, sshd = node.files()
    ret = node.state("managed", [sshd, own, link], test_mode, policy=policy)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(
        f"Between writing {node.etc}/sshd and {node.etc}/own-account-pc, this would not hold. Nothing was written.\n"
        "- permit: acct_mgmt of sshd must permit, but answers perm_denied."
    )
    assert node.tree() == before
    assert node.state("managed", [own, link, sshd], test_mode, policy=policy)["result"] is (None if test_mode else True)


def test_what_comes_to_hold_is_not_asked_for_in_between(node, test_mode):
    """That nobody is let in does not hold before, nor while sshd still names the node's own stack."""
    files = node.files()
    files[0]["contents"] = "account required pam_deny.so\n"
    ret = node.state("managed", files, test_mode, policy=[scenario("deny")])
    assert ret["result"] is (None if test_mode else True), ret["comment"]


def test_a_policy_that_fits_a_rule_twice_is_a_failed_state(node, test_mode):
    files = node.files()
    files[0]["contents"] = "account required pam_access.so nodefgroup noaudit\n"
    given = {"pam_access.so noaudit": "success", "pam_access.so nodefgroup": "perm_denied"}
    before = node.tree()
    ret = node.state("managed", files, test_mode, policy=[scenario("permit", **given)])
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == (
        "policy: scenario 'permit': given: 'pam_access.so noaudit' and 'pam_access.so nodefgroup' fit "
        f"{node.etc}/own-account:2 equally; give more of its arguments. Nothing was changed. "
        "Correct what this state is given"
    )
    assert node.tree() == before


def test_a_policy_that_does_not_hold_is_no_plan(node):
    with pytest.raises(CommandExecutionError) as refusal:
        node.pam_stack.plan(node.files(), [scenario("deny")])
    assert str(refusal.value).startswith(
        "The new PAM files would not do what they should. Nothing was written.\n- deny: acct_mgmt of sshd must deny"
    )


# Some come as others go


def test_one_service_is_opened_again_as_another_is_closed(node):
    (node.etc / "cron").write_text(SSHD)
    node.state("managed", node.files())
    before = node.tree()
    own = {"from": "common-account", "to": "cron-account", "type": "account"}
    gate = {"path": f"{node.etc}/cron-account", "contents": "account substack common-account\n"}
    service = {"path": f"{node.etc}/cron", "changes": [{"retarget": own}]}
    assert node.state("managed", [gate, service])["result"]
    assert "cron-account" in (node.etc / "cron").read_text()
    # The service goes first, so that nothing names a file that is not there.
    both = [{**service, "absent": True}, {**gate, "absent": True}, *node.files()]
    ret = node.state("managed", both)
    assert list(ret["changes"]) == [service["path"], gate["path"]]
    assert node.tree() == before
    assert node.state("managed", both)["changes"] == {}


def test_what_is_to_go_and_is_somebody_elses_stays(node):
    (node.etc / "own-account").write_text(STACK)
    gone = [{"path": f"{node.etc}/own-account", "contents": STACK, "absent": True}]
    ret = node.state("managed", [*gone, {"path": f"{node.etc}/not-there", "changes": [], "absent": True}])
    assert (ret["result"], ret["changes"]) == (True, {})
    assert (node.etc / "own-account").read_text() == STACK
