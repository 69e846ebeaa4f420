"""A private network for each site: the outside, with a bridge, and one namespace for every node.

The outside speaks from two addresses: one of the administrators' network and one of another. All names are the
namespaces' own, so every run uses the same addresses and none is seen by another.
"""

import subprocess
from collections.abc import Sequence

from harness.shell import run

ADMIN_ORIGIN = "192.0.2.1"
OTHER_ORIGIN = "198.51.100.1"
OTHER_NETWORK = "198.51.100.0/24"
PREFIX = 24
# What ssh is to agree on first, for its sessions' keys. The post-quantum exchange that it prefers takes an eighth of a
# second of a processor at each login, and no test is about it.
KEX = "^curve25519-sha256"


def node_address(index: int) -> str:
    return f"192.0.2.{10 + index}"


def namespace(site: str, host: str) -> str:
    return f"slurm-pam-{site}-{host}"


def raise_site(site: str) -> None:
    """The outside: a bridge that bears both origins."""
    outside = namespace(site, "outside")
    run(["ip", "netns", "add", outside])
    _ip(outside, "link set lo up")
    _ip(outside, "link add bridge type bridge")
    for origin in (ADMIN_ORIGIN, OTHER_ORIGIN):
        _ip(outside, f"addr add {origin}/{PREFIX} dev bridge")
    _ip(outside, "link set bridge up")


def plug_in(site: str, host: str, index: int) -> None:
    """A node's namespace, plugged into the bridge. Whoever is in it gives the interface its address."""
    inside, outside = namespace(site, host), namespace(site, "outside")
    run(["ip", "netns", "add", inside])
    _ip(outside, f"link add {port(index)} type veth peer name eth0 netns {inside}")
    _ip(outside, f"link set {port(index)} master bridge up")
    _ip(inside, "link set lo up")
    _ip(inside, "link set eth0 up")


def plug_in_tap(site: str, index: int) -> None:
    """The bridge's end of a cable whose other end is a program's: it opens this port in the outside."""
    outside = namespace(site, "outside")
    _ip(outside, f"tuntap add {port(index)} mode tap")
    _ip(outside, f"link set {port(index)} master bridge up")


def port(index: int) -> str:
    """Where a node is plugged into the bridge."""
    return f"port{index}"


def raise_node(site: str, host: str, index: int) -> None:
    """A node's namespace, plugged into the bridge, with routes to both origins."""
    plug_in(site, host, index)
    inside = namespace(site, host)
    _ip(inside, f"addr add {node_address(index)}/{PREFIX} dev eth0")
    _ip(inside, f"route add {OTHER_NETWORK} via {ADMIN_ORIGIN}")


def lower(site: str, host: str) -> None:
    """Remove a namespace and every link in it."""
    run(["ip", "netns", "del", namespace(site, host)], check=False)


def path(site: str, host: str) -> str:
    return f"/run/netns/{namespace(site, host)}"


def _ip(inside: str, words: str) -> None:
    run(["ip", "-netns", inside, *words.split()])


CONNECTING = """\
import socket, time
kept = []
for _ in range({number}):
    connection = socket.create_connection(("{here}", 22), source_address=("{origin}", 0))
    {then}
print(flush=True)
time.sleep({seconds})
"""


def connecting(
    inside: Sequence[str], here: str, origin: str, then: str, number: int = 30, seconds: int = 0
) -> subprocess.Popen:
    """A program that opens connections to an sshd and says nothing; it has, when this returns."""
    program = CONNECTING.format(number=number, here=here, origin=origin, then=then, seconds=seconds)
    started = subprocess.Popen([*inside, "python3", "-c", program], stdout=subprocess.PIPE, text=True)
    started.stdout.readline()
    return started
