#!/usr/bin/env python3
"""
How fast pam_stack and pam_verdict are, beside augeas and Ansible's pamd where these do the same work, in one run.

    .venv/bin/python test/bench/pam.py

prints a table and writes it to test/bench/report-pam.md. augeas is Debian's libaugeas0 with augeas-lenses, called
without a binding in between; pamd is community.general's, from PyPI's ``ansible`` in a virtual environment of its own
(made the first time, in .venv-bench). What is not there is left out and said so.

    .venv/bin/python test/bench/pam.py --beside DIRECTORY

measures another checkout of this repository instead of these two, and writes nothing.

Texts in memory are parsed and edited as for a libpam that was asked for once, before, as augeas has read its lenses by
then; else ours looks at the library's file for every text with an @include. Reading a file does ask for it each time.

A measurement is a row of ``measurements``: what is done, then for each subject a function that does it. More of them
can be added there, and more subjects in ``SUBJECTS``.
"""

import argparse
import ctypes
import ctypes.util
import functools
import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from harness.source import Modules

import _pam_dispatch

ROOT = pathlib.Path(__file__).parents[2]
VENV = ROOT / ".venv-bench"
REPORT = ROOT / "test/bench/report-pam.md"
ROUNDS = 15
ROUND = 0.05  # seconds of each subject in a round

# A service file of 31 lines, plain enough for every subject to read.
SERVICE = """\
#%PAM-1.0
# The PAM configuration of a login service, as a distribution ships it.

auth       required     pam_sepermit.so
auth       [success=ok new_authtok_reqd=ok ignore=ignore user_unknown=bad default=die] pam_securetty.so
auth       requisite    pam_nologin.so
auth       substack     password-auth
auth       optional     pam_group.so

# Accounts
account    required     pam_access.so accessfile=/etc/security/access.conf
account    required     pam_nologin.so
account    include      password-auth

password   requisite    pam_pwquality.so try_first_pass local_users_only retry=3
password   include      password-auth

# Sessions: pam_selinux close is the first of them
session    required     pam_selinux.so close
session    required     pam_loginuid.so
session    [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so open env_params
session    optional     pam_keyinit.so force revoke
session    optional     pam_motd.so motd=/run/motd.dynamic
session    optional     pam_motd.so noupdate
session    optional     pam_mail.so standard noenv
session    required     pam_limits.so
session    required     pam_env.so readenv=1
session    required     pam_env.so readenv=1 user_readenv=0 envfile=/etc/default/locale
-session   optional     pam_systemd.so
session    include      password-auth
session    include      postlogin
"""
assert SERVICE.count("\n") == 31

# sshd's account stack on Debian 12, and one of 200 rules.
CONFDIR = "/bench/pam.d"
STACKS = {
    f"{CONFDIR}/sshd": "account    required     pam_nologin.so\n@include common-account\n",
    f"{CONFDIR}/common-account": "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n"
    "account\trequisite\t\t\tpam_deny.so\naccount\trequired\t\t\tpam_permit.so\n",
    f"{CONFDIR}/long": "account required pam_a.so\naccount sufficient pam_b.so\naccount optional pam_c.so\n"
    "account [success=ok new_authtok_reqd=2 perm_denied=reset auth_err=1 default=bad] pam_d.so\n" * 50,
}

# What the formula plans on a node whose stacks are named as SUSE's and Debian's are.
ACCESS = "pam_access.so nodefgroup accessfile=/etc/security/slurm-access.conf"
PLANNED = [
    {
        "path": "/etc/pam.d/bench-common-account",
        "contents": f"account [success=1 default=ignore] {ACCESS}\naccount required pam_slurm_adopt.so\n"
        "account substack common-account\n",
    },
    {
        "path": "/etc/pam.d/bench-common-session",
        "source": "common-session",
        "changes": [{"remove": {"type": "session", "module": "pam_systemd.so"}, "missing": "ok", "jumps": "shorten"}],
    },
    {
        "path": "/etc/pam.d/sshd",
        "changes": [
            {"retarget": {"from": f"common-{type_}", "to": f"bench-common-{type_}", "type": type_}, "missing": "ok"}
            for type_ in ("account", "session")
        ],
    },
]
CASES = {
    "an administrator": ("success", "any", "permit"),
    "a user with a job": ("perm_denied", "success", "permit"),
    "a user without a job": ("perm_denied", "perm_denied", "deny"),
}
POLICY = [
    {"name": name, "service": "sshd", "call": "acct_mgmt", "expect": expect}
    | {"given": {ACCESS: access, "pam_slurm_adopt.so": slurm}}
    for name, (access, slurm, expect) in CASES.items()
]


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ours:
    """pam_stack"""

    CHANGES = (
        {
            "insert": "account sufficient pam_x.so accessfile=/x",
            "before": {"type": "account", "module": "pam_nologin.so", "control": "required"},
        },
    )

    NAMES = ("file_transaction", "pam_stack", "pam_verdict")

    def __init__(self):
        self._take(Modules(*self.NAMES))

    def _take(self, modules):
        self.pam_stack, self.pam_verdict = modules["pam_stack"], modules["pam_verdict"]
        self.libpam = self.pam_stack.libpam()
        self.version = f"this repository, on Python {platform.python_version()}"

    def parse(self, text):
        return self.pam_stack.parse(text, self.libpam)

    def read(self, path):
        return self.pam_stack.read(path)

    def edit(self, text):
        return self.pam_stack.edit(text, list(self.CHANGES), self.libpam)

    def plan(self):
        return self.pam_stack.plan(PLANNED, POLICY)


class Beside(Ours):
    """another checkout"""

    def __init__(self, directory):
        """Its modules in this process: what both have by one name is imported anew, and ours then put back."""
        ours, path = {name: sys.modules.pop(name) for name in _own()}, sys.path[:]
        sys.path[:0] = [f"{directory}/test", f"{directory}/_modules"]
        try:
            self._take(importlib.import_module("harness.source").Modules(*self.NAMES))
        finally:
            for name in _own(directory):
                del sys.modules[name]
            sys.modules.update(ours)
            sys.path[:] = path
        self.version = str(directory)


def _own(directory=ROOT):
    """The names of the modules that were imported from a checkout."""
    places = (f"{directory}/test/harness/", f"{directory}/_modules/")
    return [name for name, module in sys.modules.items() if (getattr(module, "__file__", "") or "").startswith(places)]


class Augeas:
    """augeas, Pam.lns"""

    def __init__(self):
        self.library = ctypes.CDLL(ctypes.util.find_library("augeas") or "libaugeas.so.0")
        self.library.aug_init.restype = ctypes.c_void_p
        no_load, no_module_autoload = 1 << 5, 1 << 6
        self.handle = ctypes.c_void_p(self.library.aug_init(b"/", None, no_load | no_module_autoload))
        self._call("aug_transform", b"Pam.lns", b"/etc/pam.d/*", 0)
        self._call("aug_transform", b"Pam.lns", b"/tmp/*/service", 0)
        self.version = self._get(b"/augeas/version")

    def _call(self, function, *arguments):
        if getattr(self.library, function)(self.handle, *arguments) < 0:
            raise RuntimeError(f"{function}{arguments} failed")

    def _get(self, path):
        value = ctypes.c_char_p()
        self._call("aug_get", path, ctypes.byref(value))
        return value.value.decode()

    def parse(self, text):
        self._call("aug_set", b"/in", text.encode())
        self._call("aug_text_store", b"Pam.lns", b"/in", b"/out")

    def read(self, path):
        for tree in (b"/files", b"/augeas/files"):  # else a file that has not changed is not read again
            self._call("aug_rm", tree)
        self._call("aug_load_file", path.encode())

    def edit(self, text):
        self.parse(text)
        self._call("aug_insert", b"/out/*[type='account'][module='pam_nologin.so']", b"01", 1)
        for name, value in (
            ("type", "account"),
            ("control", "sufficient"),
            ("module", "pam_x.so"),
            ("argument", "accessfile=/x"),
        ):
            self._call("aug_set", f"/out/01/{name}".encode(), value.encode())
        self._call("aug_text_retrieve", b"Pam.lns", b"/in", b"/out", b"/edited")
        return self._get(b"/edited")


class Pamd:
    """Ansible's community.general.pamd"""

    MODULE = "ansible_collections/community/general/plugins/modules/pamd.py"

    def __init__(self):
        found = sorted(VENV.glob("ansible-*.whl"))
        if not found:
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
            (VENV / ".gitignore").write_text("*\n")
            pip = [VENV / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", "ansible-core"], check=True)
            subprocess.run([*pip, "download", "--no-deps", "--dest", VENV, "ansible"], check=True)
            found = sorted(VENV.glob("ansible-*.whl"))
        wheel = found[-1]
        with zipfile.ZipFile(wheel) as archive:
            path = archive.extract(self.MODULE, VENV)
        sys.path += map(str, VENV.glob("lib/python*/site-packages"))
        self.pamd = load(path, "pamd")
        core = importlib.metadata.version("ansible-core")
        self.version = f"of ansible {wheel.name.split('-')[1]}, on ansible-core {core}"

    def parse(self, text):
        return self.pamd.PamdService(text)

    def read(self, path):
        with open(path) as file:
            return self.pamd.PamdService(file.read())

    def edit(self, text):
        service = self.pamd.PamdService(text)
        service.insert_before(
            "account", "required", "pam_nologin.so", "account", "sufficient", "pam_x.so", "accessfile=/x"
        )
        return str(service)


SUBJECTS = (Ours, Augeas, Pamd)

# What the names of measurements begin with, and how many times as fast as a subject ours is to be in them.
TARGETS = (("parse", Augeas, 10), ("parse", Pamd, 1), ("one edit", Augeas, 1), ("one edit", Pamd, 1.5))


def measurements(subjects, directory):
    """What is measured: (name, {subject: function}). The directory is one to write to."""
    service = pathlib.Path(directory, "service")
    service.write_text(SERVICE)
    paths = [str(path) for path in sorted(pathlib.Path("/etc/pam.d").iterdir()) if path.is_file()]
    thirty = list(itertools.islice(itertools.cycle(paths), 30))
    texts = [pathlib.Path(path).read_text() for path in thirty]
    lines = sum(text.count("\n") for text in texts)

    def of_each(function):
        return {name: functools.partial(function, subject) for name, subject in subjects.items()}

    return [
        ("parse a text of 31 lines", of_each(lambda subject: subject.parse(SERVICE))),
        (f"parse 30 texts of /etc/pam.d, {lines} lines", of_each(lambda subject: [subject.parse(t) for t in texts])),
        ("read a file of 31 lines", of_each(lambda subject: subject.read(str(service)))),
        (f"read 30 files of /etc/pam.d, {lines} lines", of_each(lambda subject: [subject.read(p) for p in thirty])),
        ("one edit, a line before another", of_each(lambda subject: subject.edit(SERVICE))),
        *verdicts({name: subject for name, subject in subjects.items() if isinstance(subject, Ours)}),
    ]


def verdicts(subjects):
    """What only ours does, and another checkout of it."""
    stacks = {"confdirs": [CONFDIR], "libpam": {"version": "1.5.2", "debian": True}, "files": STACKS}
    answers = {"pam_nologin.so": "success", "pam_unix.so": "success", "pam_permit.so": "success"}
    compiled = _pam_dispatch.compile("sshd", **stacks)

    def of_each(function):
        return {name: functools.partial(function, subject) for name, subject in subjects.items()}

    def decide(subject):
        return subject.pam_verdict.decide("sshd", "acct_mgmt", answers, **stacks)

    def outcomes(subject, service):
        return subject.pam_verdict.outcomes(service, "acct_mgmt", {}, **stacks)

    found = [
        ("expand and decide sshd's account stack", of_each(decide)),
        (
            "decide it once it is compiled",
            {"Ours": lambda: _pam_dispatch.Handle(compiled).call("acct_mgmt", lambda *_: "success")},
        ),
        ("outcomes of it, all answers unknown", of_each(lambda subject: outcomes(subject, "sshd"))),
        ("outcomes of 200 rules, all answers unknown", of_each(lambda subject: outcomes(subject, "long"))),
    ]
    # They are planned for this machine, as far as its stacks are so named.
    if all(os.path.exists(f"/etc/pam.d/{name}") for name in ("common-account", "common-session", "sshd")):
        found.append(("plan three files, with a policy of three scenarios", of_each(lambda subject: subject.plan())))
    return found


def seconds(functions):
    """The time of one call of each function: the fastest of many rounds, in which they take turns."""
    calls = {}
    for name, function in functions.items():
        started = time.process_time()
        function()
        calls[name] = max(1, int(ROUND / (time.process_time() - started)))
    fastest = dict.fromkeys(functions, float("inf"))
    ratios = {name: [] for name in functions}
    for _ in range(ROUNDS):
        took = {}
        for name, function in functions.items():
            started = time.process_time()
            for _ in range(calls[name]):
                function()
            took[name] = (time.process_time() - started) / calls[name]
            fastest[name] = min(fastest[name], took[name])
        for name in functions:
            ratios[name].append(took[name] / took["Ours"])
    return fastest, {name: statistics.median(values) for name, values in ratios.items()}


def target_lines(measured):
    """Which targets are reached, by the ratios in the table."""
    for beginning, subject, target in TARGETS:
        rows = [ratios for what, _, _, ratios in measured if what.startswith(beginning)]
        found = [ratios[subject.__name__] for ratios in rows if subject.__name__ in ratios]
        if found:
            told = "reached" if min(found) >= target else "missed"
            times = " and ".join(f"{ratio:.1f}" for ratio in found)
            wanted = "as fast as" if target == 1 else f"{target} times as fast as"
            yield f"- Target: {beginning} {wanted} {subject.__doc__}: {told}, {times} times"


def report(subjects, missing):
    names = list(subjects)
    lines = [
        "# How fast pam_stack and pam_verdict are",
        "",
        "Milliseconds of processor time for one call, the fastest of many rounds in which the subjects take turns; in",
        "brackets how many times as long as ours, the median of the rounds.",
        "",
        "| | " + " | ".join((subject.__doc__ or name) for name, subject in subjects.items()) + " |",
        "|---|" + "---|" * len(names),
    ]
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        measured = [(what, functions, *seconds(functions)) for what, functions in measurements(subjects, directory)]
    for what, functions, fastest, ratios in measured:
        cells = [
            f"{fastest[name] * 1e3:.3f}" + ("" if name == "Ours" else f" ({ratios[name]:.1f})")
            if name in functions
            else "-"
            for name in names
        ]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines += ["", *target_lines(measured)]
    lines += [f"- {subject.__doc__}: {subject.version}" for subject in subjects.values()]
    lines += [f"- {why}" for why in missing]
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name")), "unknown")
    lines += [
        f"- Machine: {model}, {os.cpu_count()} processors, {platform.freedesktop_os_release()['PRETTY_NAME']}",
        f"- Load average at the end of the run: {os.getloadavg()[0]:.1f}; on a busy machine caches are colder",
        "- Command: `.venv/bin/python test/bench/pam.py`",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", metavar="DIRECTORY", type=pathlib.Path, help="another checkout of this repository")
    if directory := parser.parse_args().beside:
        print(report({"Ours": Ours(), "Beside": Beside(directory.resolve())}, []))
        return
    subjects, missing = {}, []
    for subject in SUBJECTS:
        try:
            subjects[subject.__name__] = subject()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            missing.append(f"{subject.__doc__}: not measured, {error}")
    text = report(subjects, missing)
    print(text)
    REPORT.write_text(text)


if __name__ == "__main__":
    main()
