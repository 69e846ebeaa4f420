"""The watch on a node of a real cluster: what drifts is told, Slurm drains for it, and an apply accepts it again."""

import contextlib
import json

import pytest
from harness import debs
from harness.formula import EXAMPLE, applied, apply, changed, commands, settings, sync
from harness.node import Node
from harness.shell import run
from harness.store import kept

WATCH, DRAIN, ACCEPTED = (f"/var/lib/slurm_pam/{name}" for name in ("watch", "drain", "accepted"))
HEALTH = f"HealthCheckProgram={DRAIN}\nHealthCheckInterval=2\nHealthCheckNodeState=ANY\n"
WELL = "slurm_pam: all that closes this node is as it was accepted\n"
STATE = "slurm_pam-watch-managed"
EXPORTER = "--web.listen-address=127.0.0.1:9199 --collector.disable-defaults --collector.textfile"
FETCH = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9199/metrics').read().decode())"


@pytest.fixture(scope="module")
def node(machine, layout, salt, site):
    def health_check(node):
        node.write("/etc/slurm/slurm.conf", node.read("/etc/slurm/slurm.conf") + HEALTH)

    booted = Node.start(site(["node"]), "node", layout, salt, prepare=health_check)
    settings(booted, watch=True)
    sync(booted)
    return booted


def watch(node, *words):
    done = node.run([WATCH, *words])
    assert done.stderr == ""
    return done.rc, done.stdout


def state(node):
    return node.run(["sinfo", "--noheader", "--format=%T %E"], check=True).stdout.strip()


def test_an_apply_that_held_is_what_it_holds_the_node_against(node):
    foreseen = apply(node, test=True)[STATE]["changes"]
    assert applied(node)[STATE]["changes"] == foreseen
    assert set(foreseen) == {WATCH, DRAIN, ACCEPTED}
    assert watch(node) == (0, WELL)
    assert changed(applied(node)) == []
    modes = node.run(["stat", "-c", "%A %u %N", WATCH, DRAIN, ACCEPTED]).stdout.splitlines()
    assert modes == [f"-rwx------ 0 '{WATCH}'", f"lrwxrwxrwx 0 '{DRAIN}' -> 'watch'", f"-rw------- 0 '{ACCEPTED}'"]
    assert node.run(["ls", "/run/slurm_pam-applying"]).rc
    assert state(node) == "idle none"


def swapped(path, by):
    """A file with another content, and as it was by its copy, which is another inode by then."""
    return f"cp -a {path} /root/kept; {by} {path}", f"mv /root/kept {path}"


MODULE = "$(echo /usr/lib/*-linux-gnu/security/pam_slurm_adopt.so)"
UNIT = "/etc/systemd/system/ssh.service.d"
DRIFT = {
    "the service's PAM file": (*swapped("/etc/pam.d/sshd", "sed -i s/slurm-common-/common-/"), "/etc/pam.d/sshd"),
    "a file that it includes": (*swapped("/etc/pam.d/common-auth-pc", "echo '# x' >>"), "common-auth-pc"),
    "a link elsewhere": (
        "ln -sf common-account /etc/pam.d/slurm-common-account",
        "ln -sf slurm-common-account-pc /etc/pam.d/slurm-common-account",
        "slurm-common-account' has another type, mode, owner or target",
    ),
    "sshd_config": (*swapped("/etc/ssh/sshd_config", "echo UsePAM no >>"), "/etc/ssh/sshd_config"),
    "a new file of sshd's": (
        "echo UsePAM no > /etc/ssh/sshd_config.d/0.conf",
        "rm /etc/ssh/sshd_config.d/0.conf",
        "/etc/ssh/sshd_config.d/0.conf' is there, and was not",
    ),
    "our own file of sshd's": (
        *swapped("/etc/ssh/sshd_config.d/00-slurm_pam.conf", "rm"),
        "00-slurm_pam.conf' is not there any more",
    ),
    "who gets in": (
        *swapped("/etc/security/slurm-access.conf", "sed -i s/^-:ALL:ALL/+:ALL:ALL/"),
        "slurm-access.conf' has other content",
    ),
    "others may write to it": (
        "chmod o+w /etc/security/slurm-access.conf",
        "chmod o-w /etc/security/slurm-access.conf",
        "slurm-access.conf' has another type, mode",
    ),
    "the module": (*swapped(MODULE, "printf x >>"), "pam_slurm_adopt.so' has other content"),
    "logind": (
        "rm /etc/systemd/system/systemd-logind.service",
        "ln -s /dev/null /etc/systemd/system/systemd-logind.service",
        "systemd-logind.service' is not there any more",
    ),
    "sshd's unit": (
        f"mkdir {UNIT}; echo '[Service]' > {UNIT}/x.conf",
        f"rm -r {UNIT}",
        f"{UNIT}/x.conf' is there, and was not",
    ),
    "sshd's options": (*swapped("/etc/default/ssh", "echo SSHD_OPTS=-oUsePAM=no >>"), "/etc/default/ssh"),
}


@contextlib.contextmanager
def unseen_by_slurm(node):
    """While each is tried, slurmd does not look."""
    node.run(["systemctl", "stop", "slurmd"], check=True)
    try:
        yield
    finally:
        node.run(["systemctl", "start", "slurmd"], check=True)
    node.until(lambda: state(node) == "idle none", "an idle node")


def test_what_drifts_is_told(node):
    with unseen_by_slurm(node):
        for case, (change, back, told) in DRIFT.items():
            with commands(node, change, back):
                status, said = watch(node)
                assert status == 1 and told in said, (case, said)
            assert watch(node) == (0, WELL), case


def test_it_looks_at_what_slurms_module_brings(node):
    looked_at = node.read(ACCEPTED)
    libraries = node.run(["sh", "-c", f"ldd {MODULE} | grep -o '/[^ ]*libslurm[^ ]*'"]).stdout.split()
    assert libraries
    for path in libraries:
        assert f"\x1f{node.run(['realpath', path]).stdout.strip()}\x1f" in looked_at


def test_slurm_drains_it_and_nobody_but_an_administrator_takes_it_back(node):
    with commands(node, *swapped("/etc/pam.d/sshd", "sed -i s/slurm-common-/common-/")):
        reason = "slurm_pam: '/etc/pam.d/sshd' has other content"
        node.until(lambda: state(node) == f"drained {reason}", "a drained node")
    assert watch(node) == (0, WELL)
    log = node.run(["grep", "-c", "health_check", "/var/log/slurm/slurmd.log"]).stdout
    node.run(["sleep", "5"])
    assert node.run(["grep", "-c", "health_check", "/var/log/slurm/slurmd.log"]).stdout == log
    assert state(node).startswith("drained slurm_pam: ")
    # A reason that an administrator gave stays.
    node.run(["scontrol", "update", "nodename=node", "state=drain", "reason=mine"], check=True)
    with commands(node, *swapped("/etc/pam.d/sshd", "sed -i s/slurm-common-/common-/")):
        assert node.run([DRAIN]).rc == 1
    assert state(node) == "drained mine"
    assert watch(node, "--undrain") == (0, WELL.replace("\n", ", but it is drained for another reason: mine\n"))
    node.run(["scontrol", "update", "nodename=node", "state=resume"], check=True)
    node.until(lambda: state(node) == "idle none", "an idle node")


def test_an_apply_that_makes_it_good_and_is_confirmed_takes_it_back(node):
    node.run(["sed", "-i", "s/slurm-common-/common-/", "/etc/pam.d/sshd"], check=True)
    node.until(lambda: state(node).startswith("drained slurm_pam: "), "a drained node")
    settings(node, watch=True, confirm=300)
    applied(node)
    assert state(node).startswith("drained slurm_pam: ")
    assert node.salt("slurm_pam.confirm").endswith(" as it was accepted, and Slurm gives it jobs again")
    node.until(lambda: state(node) == "idle none", "an idle node")
    settings(node, watch=True)


def monitoring(layout, name):
    """A program of Prometheus or Nagios, out of its package; it needs nothing else of what comes with it."""

    def build(place):
        place.mkdir()
        packages = debs.debs(layout, "prometheus", "nagios4-core")
        for package, path in (("prometheus", "./usr/bin/promtool"), ("nagios4-core", "./usr/sbin/nagios4")):
            (deb,) = packages.glob(f"{package}_*.deb")
            run(["sh", "-c", f"dpkg-deb --fsys-tarfile {deb} | tar -xC {place} --strip-components=3 {path}"])

    return kept(f"monitoring-{layout}", (), build) / name


def test_prometheus(node):
    metrics = watch(node, "--textfile")[1]
    checked = run([monitoring(node.layout, "promtool"), "check", "metrics"], input=metrics)
    assert (checked.stdout, checked.stderr) == ("", "")
    debs.install(node, "prometheus-node-exporter")
    node.run(["sh", "-ec", f"mkdir /root/metrics; {WATCH} --textfile > /root/metrics/slurm_pam.prom"], check=True)
    exporter = f"prometheus-node-exporter {EXPORTER} --collector.textfile.directory=/root/metrics"
    node.run(["systemd-run", "--unit=exporter", *exporter.split()], check=True)
    node.until(lambda: node.run(["python3", "-c", FETCH]).ok, "node_exporter")
    metrics = node.run(["python3", "-c", FETCH]).stdout.splitlines()
    node.run(["systemctl", "stop", "exporter"])
    assert "node_textfile_scrape_error 0" in metrics
    assert "slurm_pam_watch_healthy 1" in metrics
    assert "slurm_pam_watch_differing_paths 0" in metrics


NAGIOS = """\
log_file=/root/nagios/log
cfg_file=/root/nagios/objects
object_cache_file=/root/nagios/cache
status_file=/root/nagios/status
check_result_path=/root/nagios/results
temp_path=/root/nagios
temp_file=/root/nagios/temporary
lock_file=/root/nagios/lock
query_socket=/root/nagios/socket
check_external_commands=0
nagios_user=root
nagios_group=root
interval_length=1
status_update_interval=1
service_inter_check_delay_method=n
"""
CHECKED = f"""\
define timeperiod {{
    timeperiod_name always
    alias always
    sunday 00:00-24:00
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
}}
define command {{
    command_name watch
    command_line {WATCH} --nagios
}}
define contact {{
    contact_name nobody
    host_notifications_enabled 0
    service_notifications_enabled 0
    host_notification_period always
    service_notification_period always
    host_notification_commands watch
    service_notification_commands watch
}}
define host {{
    host_name node
    address 127.0.0.1
    max_check_attempts 1
    check_period always
}}
define service {{
    host_name node
    service_description slurm_pam
    check_command watch
    check_period always
    check_interval 1
    retry_interval 1
    max_check_attempts 1
}}
"""
ODD = "'/etc/ssh/sshd_config.d/a|b.conf'"
# A change, its way back; and what Nagios makes of it: 0 is OK, 2 critical, 3 unknown.
TOLD = {
    "all is well": (
        *("true", "true"),
        *("0", "SLURM_PAM OK - all that closes this node is as it was accepted", "differing_paths=0"),
    ),
    "one differs": (
        *(f"touch {ODD}", f"rm {ODD}"),
        *("2", "SLURM_PAM CRITICAL - '/etc/ssh/sshd_config.d/a?b.conf' is there, and was not", "differing_paths=1"),
    ),
    "that cannot be told": (
        *(f"mv {ACCEPTED} /root/accepted", f"mv /root/accepted {ACCEPTED}"),
        *("3", f"SLURM_PAM UNKNOWN - {ACCEPTED} cannot be read, which the last apply wrote", "differing_paths=U"),
    ),
}


def service(node):
    """What Nagios has of its one service: the state, what was said of it, and performance data."""
    block = node.read("/root/nagios/status").partition("servicestatus {")[2].partition("}")[0]
    told = dict(line.strip().split("=", 1) for line in block.splitlines() if "=" in line)
    return told.get("has_been_checked") == "1" and [
        told[name] for name in ("current_state", "plugin_output", "performance_data")
    ]


def test_nagios(node):
    node.run(["mkdir", "-p", "/root/nagios/results"], check=True)
    run(["cp", monitoring(node.layout, "nagios4"), node.root / "root/nagios/nagios4"])
    node.write("/root/nagios/nagios.cfg", NAGIOS)
    node.write("/root/nagios/objects", CHECKED)
    with unseen_by_slurm(node):
        node.run(["systemd-run", "--unit=nagios", "/root/nagios/nagios4", "/root/nagios/nagios.cfg"], check=True)
        node.until(lambda: node.run(["ls", "/root/nagios/status"]).ok, "Nagios")
        for change, back, state, line, data in TOLD.values():
            with commands(node, change, back):
                node.until(lambda state=state: (service(node) or " ")[0] == state, f"state {state} in Nagios")
                found = service(node)
                assert (found[0], found[1].partition(":")[0], found[2]) == (state, line, data)
        node.run(["systemctl", "stop", "nagios"], check=True)


# What an apply makes of it


def test_what_an_apply_brings_back_was_accepted_already(node):
    with unseen_by_slurm(node):
        node.run(["sed", "-i", "s/slurm-common-/common-/", "/etc/pam.d/sshd"], check=True)
        foreseen = changed(apply(node, test=True))
        assert "slurm_pam-pam-stacks-managed" in foreseen and STATE not in foreseen
        assert changed(applied(node)) == foreseen
        assert watch(node) == (0, WELL)


def applied_under_watch(node, origin, **sections):
    """What an apply that changes the access file would do and does, and what the watch says all the while."""
    groups = {"hpc_admin_g": {**EXAMPLE["access"]["groups"]["hpc_admin_g"], "origins": [origin]}}
    settings(node, access={**EXAMPLE["access"], "groups": groups}, **sections)
    foreseen = apply(node, test=True)
    loop = f"while [ ! -e /root/enough ]; do [ ! -e {WATCH} ] || {WATCH} >> /root/said; sleep 0.1; done"
    node.run(["rm", "-f", "/root/enough", "/root/said"])
    node.run(["systemd-run", "sh", "-c", loop], check=True)
    node.until(lambda: node.run(["test", "-s", "/root/said"]).ok, "the watch's first word", 30)
    done = applied(node)
    node.run(["touch", "/root/enough"])
    assert changed(done) == changed(foreseen)
    assert done[STATE]["changes"] == foreseen[STATE]["changes"]
    return done, set(node.read("/root/said").splitlines(keepends=True))


def test_an_apply_in_progress_is_no_drift(node):
    done, said = applied_under_watch(node, "203.0.113.0/24", watch=True)
    assert done[STATE]["changes"] == {ACCEPTED: {"old": "this node as it was", "new": "this node as it is now"}}
    assert said == {WELL, "slurm_pam: an apply is changing this node\n"}
    assert state(node) == "idle none"


def test_an_apply_that_takes_it_away_is_no_drift(node):
    # sshd is reloaded, and looked at a second later.
    done, said = applied_under_watch(node, "198.51.100.0/24", watch=False, sshd={"options": {"MaxAuthTries": 5}})
    assert set(done[STATE]["changes"]) == {WATCH, DRAIN, ACCEPTED}
    assert said == {WELL}
    assert state(node) == "idle none"
    settings(node, watch=True)
    applied(node)


def test_two_applies_at_once_that_change_nothing(node):
    """Without concurrent=True, Salt itself turns the second one away."""
    assert changed(applied(node)) == []
    one = "salt-call --local --log-level=quiet --out=json state.apply slurm_pam concurrent=True"
    node.run(["sh", "-c", f"{one} > /root/first & {one} > /root/second; wait"], check=True)
    for each in ("first", "second"):
        results = json.loads(node.read(f"/root/{each}"))["local"]
        assert all(result["result"] and not result["changes"] for result in results.values()), results
    assert watch(node) == (0, WELL)


def test_an_update_is_accepted_by_the_next_apply(node):
    with unseen_by_slurm(node):
        node.run(["sh", "-c", f"printf x >> {MODULE}"], check=True)
        assert watch(node)[0] == 1
        assert changed(applied(node)) == [STATE]
        assert watch(node) == (0, WELL)


def test_clean_leaves_nothing_of_it(node):
    cleaned = applied(node, "slurm_pam.clean")
    assert set(cleaned["slurm_pam-clean-watch-absent"]["changes"]) == {WATCH, DRAIN, ACCEPTED}
    assert node.run(["ls", "/var/lib/slurm_pam"]).stdout == ""
    node.run(["sleep", "3"])
    assert state(node) == "idle none"
