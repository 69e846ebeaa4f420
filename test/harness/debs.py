"""Debian packages for a node that is up: fetched once with what they need, and unpacked by the node's own apt."""

from pathlib import Path

from harness import progress
from harness.image import APT_OPTIONS, image
from harness.layouts import LAYOUTS
from harness.node import Node
from harness.shell import run
from harness.store import kept

_SOURCES = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {} main\n"

# The units that they enable.
_DISABLE = """\
for package in /root/debs/*.deb; do dpkg-deb --contents $package; done |
    sed -n 's,.* \\./lib/systemd/system/\\([^/@]*[.]\\)\\(service\\|socket\\)$,\\1\\2,p' |
    xargs systemctl disable
"""


def debs(layout: str, *packages: str) -> Path:
    """A directory with the packages, and with those that they need and the layout's image does not have."""
    root, suite = image(layout), LAYOUTS[layout].suite

    def build(place: Path) -> None:
        for name in ("lists/partial", "archives/partial"):
            (place / name).mkdir(parents=True)
        (place / "sources.list").write_text(_SOURCES.format(suite))
        options = {
            "Dir::State::lists": place / "lists",
            "Dir::State::status": root / "var/lib/dpkg/status",
            "Dir::Cache": place,
            "Dir::Cache::Archives": place / "archives",
            "Dir::Etc::sourcelist": place / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Sandbox::User": "root",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        own = [line for name in APT_OPTIONS for line in run(["apt-config", "dump", name]).stdout.splitlines()]
        words += [word for line in own for word in ("-o", line.rstrip(";").replace(' "', "=", 1).rstrip('"'))]
        with progress.step(f"fetching {', '.join(packages)} for {suite}"):
            run(["apt-get", "-qq", *words, "update"])
            get = ("--yes", "--no-install-recommends", "--download-only", "install")
            run(["apt-get", "-qq", *words, *get, *packages])
        run(["rm", "-rf", place / "lists", *place.glob("*.bin"), place / "archives/partial", place / "archives/lock"])

    return kept(f"debs-{layout}", (packages, suite, Path(__file__)), build) / "archives"


def install(node: Node, *packages: str) -> None:
    """Install packages in a node; what they bring is neither started nor enabled."""
    place = Path("/root/debs")
    (node.root / place.relative_to("/")).mkdir()
    for package in debs(node.layout, *packages).glob("*.deb"):
        run(["cp", package, node.root / place.relative_to("/")])
    node.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    node.run(["chmod", "755", "/usr/sbin/policy-rc.d"], check=True)
    # It knows in which order, and has to fetch nothing.
    get = "DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends"
    node.run(["sh", "-c", f"{get} install {place}/*.deb"], check=True)
    node.run(["sh", "-c", _DISABLE], check=True)
    node.run(["rm", "-r", str(place), "/usr/sbin/policy-rc.d"], check=True)
