"""A module of a known name that is not libpam's own: what it answers is not known, as the real libpam shows."""

import os
import shutil
import subprocess

import pytest
from libpam import differential

import _pam_libpam
import _pam_prove

# Whatever it is called, it lets everybody in.
SOURCE = """
int pam_sm_acct_mgmt(void *handle, int flags, int count, const char **args) { return 0; }
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Directories with a pam_deny.so in them that permits, and ways to libpam's own directory."""
    compiler = shutil.which("gcc")
    lacking = differential.lacking(differential.COMMAND) or (None if compiler else "there is no gcc")
    if lacking:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"libpam cannot be asked: {lacking}")
    top = tmp_path_factory.mktemp("modules")
    for parent in (top, *top.parents[:-1]):
        parent.chmod(parent.stat().st_mode | 0o055) if os.stat(parent).st_uid == os.geteuid() else None
    site = top / "site"
    site.mkdir()
    (site / "pam.c").write_text(SOURCE)
    command = [compiler, "-shared", "-fPIC", "-o", site / "pam_deny.so", site / "pam.c"]
    subprocess.run(command, check=True)
    own = next(d for d in _pam_libpam.libpam()["module_dirs"] if os.path.exists(f"{d}/pam_deny.so"))
    (top / "to-own").symlink_to(own)
    (top / "to-site").symlink_to(site)
    up = os.path.relpath("/", os.path.realpath(own))
    return {"top": top, "site": site, "own": own, "real": os.path.realpath(own), "up": up}


# A way to a module, and whether it is libpam's own.
WAYS = {
    "a bare name": ("pam_deny.so", True),
    "libpam's directory": ("{own}/pam_deny.so", True),
    "libpam's directory, as it really is": ("{real}/pam_deny.so", True),
    "a link to libpam's directory": ("{top}/to-own/pam_deny.so", True),
    "another directory": ("{site}/pam_deny.so", False),
    "a link to another directory": ("{top}/to-site/pam_deny.so", False),
    "out of libpam's directory": ("{own}/{up}{site}/pam_deny.so", False),
    "out of libpam's directory, without its path": ("{up}{site}/pam_deny.so", False),
}


@pytest.mark.parametrize(("module", "own"), WAYS.values(), ids=WAYS)
def test_what_a_module_of_a_known_name_answers(places, module, own):
    module = module.format(**places)
    text = f"account required {module}\n"
    case = {"files": {"/etc/pam.d/svc": text, "/etc/pam.d/other": ""}, "service": "svc", "calls": ["acct_mgmt"]}
    ((real,),) = differential.real([case])
    assert real == ("auth_err" if own else "success")
    files = differential.overlay(case)
    scenario = {"name": "closed", "service": "svc", "call": "acct_mgmt", "expect": "deny"}
    for given in ({}, {"pam_deny.so": "perm_denied"}):
        (proof,) = _pam_prove.prove([{**scenario, "given": given}], confdirs=differential.CONFDIRS, files=files)
        assert proof["holds"] is own
        assert proof["unmatched"] == ([] if own else [*given])
    # By its own path, as it stands there, what it answers may be said.
    given = {module: "perm_denied"}
    (proof,) = _pam_prove.prove([{**scenario, "given": given}], confdirs=differential.CONFDIRS, files=files)
    assert proof["holds"] is True
