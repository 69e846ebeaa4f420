"""SELinux's own compiler takes the policy module, and makes of it what it says."""

import re

import pytest
from harness.shell import run

from _slurm_pam_selinux import NAME, Need, module

# The least that is a policy.
BASE = """\
(handleunknown deny)
(mls true)
(policycap open_perms)
(class process (transition))
(class dir (getattr open read search))
(class file (getattr open read))
(class sock_file (write))
(class unix_stream_socket (connectto))
(classorder (process dir file sock_file unix_stream_socket))
(sid kernel)
(sidorder (kernel))
(sensitivity s0)
(sensitivityorder (s0))
(category c0)
(categoryorder (c0))
(sensitivitycategory s0 (c0))
(level low (s0))
(user system_u)
(userlevel system_u low)
(userrange system_u (low low))
(role system_r)
(userrole system_u system_r)
(type kernel_t)
(roletype system_r kernel_t)
(sidcontext kernel (system_u system_r kernel_t (low low)))
(allow kernel_t kernel_t (process (transition)))
(type sshd_t)
(type var_lib_t)
(type initrc_t)
"""


def allowed(directory, text):
    """The rules of sshd's in a policy with this module."""
    (directory / "base.cil").write_text(BASE)
    (directory / f"{NAME}.cil").write_text(text)
    run(["secilc", "-c", "31", "-o", "policy", "-f", "files", "base.cil", f"{NAME}.cil"], cwd=directory)
    run(["checkpolicy", "-M", "-b", "policy", "-C", "-o", "decompiled"], cwd=directory)
    return set(re.findall(r"^\(allow sshd_t (.*)\)$", (directory / "decompiled").read_text(), re.MULTILINE))


def need(target, kind, *permissions, source="sshd_t"):
    return Need(f"system_u:system_r:{source}:s0-s0:c0.c1023", f"system_u:object_r:{target}:s0", kind, permissions)


SOCKET, DAEMON = need("var_lib_t", "sock_file", "write"), need("initrc_t", "unix_stream_socket", "connectto")
SOCKET_RULE, DAEMON_RULE = "var_lib_t (sock_file (write))", "initrc_t (unix_stream_socket (connectto))"


@pytest.mark.parametrize(
    ("needs", "rules"),
    [
        ([SOCKET, DAEMON], {SOCKET_RULE, DAEMON_RULE}),
        # Of the same types, in other contexts.
        ([SOCKET, SOCKET._replace(target="unconfined_u:object_r:var_lib_t:s0")], {SOCKET_RULE}),
        ([need("var_lib_t", "dir", "getattr", "open", "read")], {"var_lib_t (dir (getattr open read))"}),
        ([need("sshd_t", "unix_stream_socket", "connectto")], {"self (unix_stream_socket (connectto))"}),
        # A policy that has lost one of the types can still be built.
        ([SOCKET, need("slurmd_t", "unix_stream_socket", "connectto")], set()),
    ],
)
def test_the_compiler_makes_of_it_what_it_says(tmp_path, needs, rules):
    assert allowed(tmp_path, module(needs)) == rules
