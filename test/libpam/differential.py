#!/usr/bin/env python3
"""Random PAM configurations, asked of pam_verdict and of the real libpam (driver.py); both must answer the same.

differential.py --seed 1 --count 1000000            this machine's libpam
differential.py --seed 1 --count 1000 --root DIR    the libpam of another system's root directory
differential.py --seed 1 --count 1000 --conf        this machine's libpam, where there is a pam.conf and no pam.d
"""

import argparse
import collections
import functools
import itertools
import json
import os
import pathlib
import platform
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import harness.source  # noqa: F401  the library's directory on the path

import _pam_libpam
import _pam_prove
from _pam_errors import PamError
from _pam_grammar import RETURN_CODES

DRIVER = pathlib.Path(__file__).parent / "driver.py"
# What it takes to run the driver elsewhere.
PROGRAM = (DRIVER, DRIVER.parents[2] / "_modules" / "_pam_asker.py")
CONFDIRS = ["/etc/pam.d", "/usr/lib/pam.d"]
CALLS = ["authenticate", "setcred", "acct_mgmt", "open_session", "close_session", "chauthtok"]
COMMAND = (sys.executable, str(DRIVER))
# The driver where there is neither /etc/pam.d nor /usr/lib/pam.d, so that libpam reads /etc/pam.conf: an empty /etc,
# and a /usr/lib less one directory, which a device 0/0 hides in an overlay. Both are the command's alone. Needs root.
CONF, NOWHERE = "/etc/pam.conf", "/etc/nowhere.d"
CONF_COMMAND = (
    *("unshare", "--mount", "sh", "-ec"),
    "mount -t tmpfs none /mnt; cp /etc/ld.so.cache /mnt; mkdir /mnt/upper /mnt/work; mknod /mnt/upper/pam.d c 0 0;"
    " mount -t overlay none -o lowerdir=/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work /usr/lib;"
    ' mount -t tmpfs -o mode=777 none /etc; cp /mnt/ld.so.cache /etc; exec "$0" "$@"',
    *COMMAND,
)
BATCH = 2000



# --- random configurations --------------------------------------------------------------------------------------------

SERVICE = "svc"
INCLUDED = ("inc-a", "inc-b", "inc-c")
NAMES = (SERVICE, "other", *INCLUDED)
EVENTS = dict(zip(CALLS, ("auth", "cred", "acct", "open_session", "close_session", "chauthtok")))
EVENTS["prechauthtok"] = "prechauthtok"

ACTIONS = ("ignore", "ok", "done", "bad", "die", "reset")
ODD_MODULES = ("pam_none.so", "pam_debug", "none/pam_debug.so", "pam_debug.so.so", "x.", "..so")
NAMELESS = ("?", ".so", "dir/", "[]", "[?]", "?.so")
ODD_TYPES = ("sesion", "-", "auth:", "@include", "@Include", "[]", "\ufeffauth", "\udcffauth", "aut", "-@include")
ODD_BYTES = ("\r", "\v", "\f", "\0", "\ufeff", "\udcff", "é", "[", "]", "\\]", "\\", "#", "=", "'", '"', "a" * 300)


class Generator:
    """One configuration after another, from a seed."""

    def __init__(self, seed, roots=CONFDIRS):
        self.random = random.Random(seed)
        self.roots = roots

    def often(self, share):
        return self.random.random() < share

    def pick(self, *choices):
        return self.random.choice(choices)

    def code(self):
        drawn = self.random.random()
        if drawn < 0.45:
            return "success"
        if drawn < 0.80:
            return self.pick("ignore", "perm_denied", "auth_err", "new_authtok_reqd", "user_unknown")
        return self.random.choice(RETURN_CODES if drawn < 0.9 else RETURN_CODES[:-1])

    def case_of(self, word):
        return self.random.choice((word.upper(), word.title(), word.swapcase())) if self.often(0.05) else word

    def control(self):
        if self.often(0.55):
            return self.case_of(self.pick("required", "requisite", "sufficient", "optional"))
        pairs = []
        for _ in range(self.random.choice((0, 1, 2, 2, 3, 3, 4, 6))):
            value = "default" if self.often(0.3) else self.code()
            action = str(self.random.choice((1, 1, 2, 2, 3, 4, 7))) if self.often(0.25) else self.random.choice(ACTIONS)
            pairs.append(f"{value}={action}")
        if self.often(0.04):
            odd = ("success=0", "success=okay", "Success=ok", "success = ok", "success=", "=ok", "foo=ok", "success ok")
            huge = ("ignore=4294967297", "ignore=4294967295", "ignore=2147483648", "ignore=99999999999", "ignore=01")
            odd += ("success=-1", "default=+1", "]", "\\]")
            pairs.insert(self.random.randint(0, len(pairs)), self.pick(*odd, *huge))
        text = self.pick(" ", " ", " ", "", "  ", "\t").join(pairs)
        if self.often(0.03):
            return text.replace(" ", "") or "[]"
        return f"[{text}" if self.often(0.005) else f"[{text}]"

    def arguments(self, kind):
        calls = {
            "auth": ("authenticate", "setcred"),
            "account": ("acct_mgmt",),
            "session": ("open_session", "close_session"),
            "password": ("prechauthtok", "chauthtok"),
        }
        words = [f"{EVENTS[call]}={self.code()}" for call in calls.get(kind, CALLS) if self.often(0.75)]
        if self.often(0.05):
            words.insert(0, self.pick("x", "[a b]", "[a\\]b]", "auth=nothing", "[acct=ignore]", "acct=success\r"))
        return words

    def included(self, rank):
        """A file further down, so that only the one loop below is possible."""
        names = INCLUDED[rank:]
        if not names or self.often(0.03):
            return self.pick("nothing", "/etc", "/nothing/there")
        name = self.random.choice(names)
        return f"{self.roots[0] if self.often(0.9) else self.roots[-1]}/{name}" if self.often(0.2) else name

    def rule(self, rank):
        kind = self.pick("auth", "account", "session", "password")
        blank = self.pick(" ", " ", " ", "\t", "   ", " \t ")
        if self.often(0.2):
            how = self.random.random()
            # A first line that includes nothing at all leaves libpam with memory it never set.
            if how < (0.2 if rank == 0 else 0.05):
                return blank.join((self.case_of("@include"), self.included(rank)))
            words = [kind, self.case_of("include" if how < 0.5 else "substack"), self.included(rank)]
            return blank.join(words + ["more"] * self.often(0.05))
        kind_word = self.case_of(kind)
        if self.often(0.06):
            kind_word = f"-{kind_word}"
        elif self.often(0.02):
            kind_word = f"[{kind_word}]"
        elif self.often(0.01):
            kind_word = self.random.choice(ODD_TYPES)
        module = "pam_debug.so"
        if self.often(0.03):
            # In an included file a nameless module leaves the old libpam with memory it never set.
            module = self.random.choice(NAMELESS if rank == 0 and self.often(0.1) else ODD_MODULES)
        elif self.often(0.02):
            module = "[pam_debug.so]"
        words = [kind_word, self.control(), module, *self.arguments(kind)]
        if self.often(0.015):
            words = words[: self.random.randint(1, 2)]
        if self.often(0.02):
            words[-1] += self.random.choice(ODD_BYTES)
        return (" " if self.often(0.1) else "") + blank.join(words)

    def line(self, rank):
        text = self.rule(rank)
        drawn = self.random.random()
        if drawn < 0.06:
            place = self.random.randint(0, len(text))
            inside = self.pick("\\\n", "\\ \n", "\\\n\n", "\\\n# x\n", "\\\n  \\\n", "\\\n#", "\\\t\n   ")
            text = text[:place] + inside + text[place:]
        elif drawn < 0.09:
            place = self.random.randint(0, len(text))
            text = text[:place] + self.pick("#", "# x", " # x \\") + text[place:]
        elif drawn < 0.11:
            text = self.pick("", "   ", "# nothing", "#", "\t# \\", "\\")
        elif drawn < 0.12:
            # Past the old libpam's buffer, but seldom continued there: it hangs where such a line fills it to the byte.
            more = self.pick("", " auth=perm_denied") if self.often(0.98) else self.pick("\\\n", " \\\n acct=ignore")
            text += " " + "x" * self.random.randint(900, 1100) + more
        elif drawn < 0.14:
            place = self.random.randint(0, len(text))
            text = text[:place] + self.random.choice(ODD_BYTES) + text[place:]
        return text + ("\r\n" if self.often(0.005) else "\n")

    def file(self, rank):
        count = self.random.choice((0, 1, 2, 3, 4, 5, 6, 8, 12)) if rank else self.random.choice((2, 4, 6, 8, 10, 14))
        text = "".join(self.line(rank) for _ in range(count))
        return text[:-1] if self.often(0.05) else text

    def case(self):
        files = {}
        for rank, name in enumerate((SERVICE, *INCLUDED)):
            if self.often(0.99):
                root = self.random.choice(self.roots) if self.often(0.05) else self.roots[0]
                files[f"{root}/{name}"] = self.file(rank)
        if self.often(0.5):
            files[f"{self.roots[0]}/other"] = self.file(1)
        if len(self.roots) > 1 and self.often(0.1):
            files[f"{self.roots[1]}/{self.random.choice(NAMES)}"] = self.file(1 if self.often(0.5) else 3)
        if files and self.often(0.02):
            path = self.random.choice(sorted(files))
            loop = f"{self.pick('auth', 'account', 'session', 'password')} substack {path}\n"
            files[path] = loop + files[path] if self.often(0.5) else files[path] + loop
        calls = CALLS if self.often(0.8) else [self.random.choice(CALLS) for _ in range(self.random.randint(1, 8))]
        service = SERVICE if self.often(0.98) else self.pick("SVC", "/x/Svc", "other", "svc/inc-a")
        return {"files": files, "service": service, "calls": list(calls)}


class ConfGenerator(Generator):
    """The same with a pam.conf. Each case has all files, since those of the one before are still there."""

    def __init__(self, seed):
        super().__init__(seed, ["/etc"])

    def case(self):
        case = super().case()
        services = (SERVICE, SERVICE, SERVICE, "other", "other", "Svc", "svc2", "[svc]", "#svc")
        lines = (f"{self.pick(*services)}{self.pick(' ', ' ', chr(9))}{self.line(0)}" for _ in range(12))
        included = {f"/etc/{name}": case["files"].get(f"/etc/{name}", "") for name in INCLUDED}
        return {**case, "files": {**included, CONF: "".join(lines)}}


# --- both answers -----------------------------------------------------------------------------------------------------


def pam_debug(rule, call):
    """What pam_debug.so answers, told by its arguments."""
    if rule["module"] != "pam_debug.so":
        return "module_unknown"
    event = EVENTS[call] + "="
    for word in rule["args"]:
        if word.startswith(event):
            code = word[len(event) :]
            return code if code in RETURN_CODES else "success"
    return "success"


def real(cases, command=COMMAND):
    """libpam's answers, as lists of codes; ["start"] where pam_start failed or libpam did not survive it."""
    asked = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        yield [RETURN_CODES[code] for code in answer["codes"]] if "codes" in answer else [f"no start: {answer}"]


@functools.cache
def _hidden():
    """None of this machine's own files."""
    names = {name for root in CONFDIRS if os.path.isdir(root) for name in os.listdir(root)}
    return {f"{root}/{name}": None for root in CONFDIRS for name in names}


def overlay(case):
    """A case's files, and none of this machine's own."""
    return _hidden() | case["files"]


def model(case, libpam):
    """pam_verdict's answers in the same form."""
    confdirs = [NOWHERE] if CONF in case["files"] else CONFDIRS
    try:
        made = _pam_prove.decide(
            case["service"], case["calls"], pam_debug, confdirs=confdirs, libpam=libpam, files=overlay(case)
        )
    except PamError as error:
        return [f"refused as {getattr(error, 'kind', 'a fault')}: {error}"]
    return [f"no start: {made[0]['trace'][0]['why']}"] if made[0]["call"] == "start" else [m["code"] for m in made]


def kind_of(answer):
    return answer[0].partition(":")[0] if ":" in answer[0] else "answered"


def undefined(ours):
    """libpam goes on with memory it never set, so whatever it answers is chance; pam_stack says so and gives up."""
    return "memory it never set" in ours[0]


def endless(libpams, ours):
    """libpam crashes or hangs on files that include each other without end; pam_stack says where, and gives up."""
    return "died" in libpams[0] and kind_of(ours) in ("refused as circle", "refused as long") and "/" in ours[0]


def same(libpams, ours):
    alike = libpams == ours or kind_of(libpams) == kind_of(ours) != "answered"
    return alike or undefined(ours) or endless(libpams, ours)


def compare(seed, count, libpam=None, command=COMMAND, found=print):
    """Ask both about `count` configurations: (how libpam answered, how many disagreements); found(...) is told each."""
    generator = ConfGenerator(seed) if command is CONF_COMMAND else Generator(seed, roots_of(command))
    tally, different = collections.Counter(), 0
    for start in range(0, count, BATCH):
        cases = [generator.case() for _ in range(min(BATCH, count - start))]
        for case, libpams in itertools.zip_longest(cases, real(cases, command)):
            ours = model(case, libpam)
            tally["undefined" if undefined(ours) else kind_of(libpams)] += 1
            tally["calls"] += len(libpams)
            if not same(libpams, ours):
                # Some cases corrupt libpam's memory and so the answers after them: alone, it is sure.
                (libpams,) = real([case], command)
                if not same(libpams, ours):
                    different += 1
                    found(json.dumps(case), "\n  libpam", libpams, "\n  ours  ", ours, flush=True)
    return tally, different


def lacking(command=COMMAND):
    """Why this machine's libpam cannot be asked, or None."""
    tried = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return tried.stderr.strip().rpartition("\n")[2]
    if not any(os.path.exists(f"{directory}/pam_debug.so") for directory in _pam_libpam.libpam()["module_dirs"]):
        return "pam_debug.so, a module of Linux-PAM, is not installed"
    return None


def roots_of(command):
    return [root for root in json.loads(subprocess.check_output([*command, "--roots"])) if root in CONFDIRS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--root", type=pathlib.Path, help="another system's root directory, with python3 in it")
    parser.add_argument("--conf", action="store_true", help="with a pam.conf, as where there is no pam.d; needs root")
    parser.add_argument("--libpam", type=json.loads, help='such as {"version": "1.7.0", "debian": true}')
    options = parser.parse_args()
    command = CONF_COMMAND if options.conf else COMMAND
    if options.root:
        for file in PROGRAM:
            shutil.copy(file, options.root / "tmp")
        # The driver's own mount namespace needs a mount at its /.
        enter = f'mount --bind "$0" "$0" && exec chroot "$0" python3 /tmp/{DRIVER.name} "$@"'
        command = ["unshare", "--mount", "sh", "-c", enter, str(options.root)]
    libpam = options.libpam or _pam_libpam.libpam()
    began = time.monotonic()
    tally, different = compare(options.seed, options.count, libpam, command)
    seconds = time.monotonic() - began
    system = f"libpam {libpam['version']}{', Debian' if libpam['debian'] else ''}"
    print(f"{system}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"seed {options.seed}: {options.count} configurations in {seconds:.0f} s, {dict(tally)}")
    print(f"{different} disagreements")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
