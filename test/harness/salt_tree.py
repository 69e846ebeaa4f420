"""Salt for the nodes as upstream's onedir brings it: a tree with a Python of its own, seen there at /opt/salt.

The Python is Debian 12's, taken out of its packages, so the same tree serves every layout.
"""

import shutil
import tempfile
from pathlib import Path

from harness import progress
from harness.host import VENVS
from harness.shell import TIED, run
from harness.store import kept

HOME = "/opt/salt"
SALTS = {"3008": "3008.3", "3006": "3006.28"}
PYTHON_PACKAGES = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")
ENTRY_POINTS = {"salt-call": "salt_call", "salt-minion": "salt_minion"}

WRAPPER = """\
#!{home}/bin/python3.11
import sys

from salt.scripts import {function}

sys.exit({function}())
"""


def salt_tree(salt: str) -> Path:
    """The directory to bind over /opt/salt for this Salt, built if it is not kept from an earlier run."""
    requirements = VENVS[salt][1]

    def build(tree: Path) -> None:
        with progress.step(f"building Salt {SALTS[salt]} for the nodes (a minute or two, kept for the next time)"):
            _unpack_python(tree)
            _install_salt(tree, salt, requirements)

    return kept(f"salt-{salt}", (SALTS[salt], requirements, Path(__file__)), build)


def _unpack_python(tree: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        scratch.chmod(0o755)
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PYTHON_PACKAGES], cwd=scratch)
        for package in scratch.glob("*.deb"):
            run(["dpkg-deb", "--extract", package, scratch / "root"])
        shutil.copytree(scratch / "root" / "usr", tree, symlinks=True)
    # What the package leaves in /etc.
    (tree / "lib/python3.11/sitecustomize.py").unlink(missing_ok=True)
    (tree / "bin/python3").symlink_to("python3.11")


def _install_salt(tree: Path, salt: str, requirements: Path) -> None:
    packages = tree / "lib/python3/dist-packages"
    with tempfile.TemporaryDirectory() as directory:
        # The machine's own Debian Python builds for the Debian Python in the tree.
        run(["/usr/bin/python3", "-m", "venv", directory])
        install = [*TIED, f"{directory}/bin/python", "-m", "pip", "install", "--quiet"]
        run([*install, "--target", packages, "--constraint", requirements, f"salt=={SALTS[salt]}"], timeout=1200)
    for name, function in ENTRY_POINTS.items():
        script = tree / "bin" / name
        script.write_text(WRAPPER.format(home=HOME, function=function))
        script.chmod(0o755)
    # The nodes see the tree read-only, so its byte code is made here.
    run([tree / "bin/python3.11", "-m", "compileall", "-q", "-j", "0", tree / "lib"], check=False)
