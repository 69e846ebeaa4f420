"""The ways onto a node: the PAM services that programs ask before they let somebody in, and what reaches them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

# How a door is reached.
NETWORK = "network"  # from elsewhere
CONSOLE = "console"  # at the machine, its management controller or its hypervisor
LATER = "later"  # by what somebody left on the node: nobody has to come
INSIDE = "inside"  # by who is on the node already


@dataclass(frozen=True)
class Door:
    """A PAM service, and what asks it."""

    service: str
    what: str  # in a word
    reach: str
    shell: bool = True  # whether whoever it lets in can run programs; others get files, say
    units: tuple[str, ...] = ()  # those that run it or listen for it; patterns as of systemctl
    programs: tuple[str, ...] = ()  # those that ask it or start what does, by name; by path if they are in no PATH
    setuid: bool = False  # anybody starts it, so it is on where it is
    asks_password: bool = True  # whether the service's auth stack comes before its account stack
    otherwise: str = ""  # the service that is asked where this one has no file
    stays: str = ""  # why it is not closed by its account rules, if it is not
    adopts: bool = True  # whether what it starts can be moved into a job

    @property
    def elsewhere(self) -> bool:
        return self.reach == NETWORK


def _named(services: str, door: Door) -> Iterator[Door]:
    """Doors that differ by their service alone."""
    return (replace(door, service=service) for service in services.split())


def _libexec(*names: str) -> tuple[str, ...]:
    """Programs of no PATH, wherever systems have them."""
    return tuple(f"{top}/{name}" for name in names for top in ("/usr/lib", "/usr/libexec"))


_NOBODY_COMES_IN = "nobody comes in by it"
_UNLOCKS = "it unlocks a session that is there, and nobody comes in by it"
_GREETER = "it shows the form to log in, as an account of the system's; nobody comes in by it"

_DISPLAY_MANAGERS = {
    "gdm-password gdm-fingerprint gdm-smartcard gdm-autologin gdm": Door(
        "",
        "graphical login, GNOME",
        CONSOLE,
        units=("gdm.service", "gdm3.service"),
        programs=("gdm", "gdm3", "gdm-session-worker"),
    ),
    "sddm sddm-autologin": Door(
        "", "graphical login, KDE", CONSOLE, units=("sddm.service",), programs=("sddm", "sddm-helper")
    ),
    "lightdm lightdm-autologin": Door(
        "", "graphical login, LightDM", CONSOLE, units=("lightdm.service",), programs=("lightdm",)
    ),
    "xdm xdm-np": Door("", "graphical login, xdm", CONSOLE, units=("xdm.service",), programs=("xdm",)),
    "lxdm": Door("", "graphical login, LXDM", CONSOLE, units=("lxdm.service",), programs=("lxdm",)),
    "slim": Door("", "graphical login, SLiM", CONSOLE, units=("slim.service",), programs=("slim",)),
    "greetd": Door("", "login, greetd", CONSOLE, units=("greetd.service",), programs=("greetd",)),
}

_GREETERS = {
    "gdm-launch-environment": ("gdm.service", "gdm3.service"),
    "sddm-greeter": ("sddm.service",),
    "lightdm-greeter": ("lightdm.service",),
    "greetd-greeter": ("greetd.service",),
}

_CRON = Door(
    "", "crontabs", LATER, units=("cron.service", "crond.service"), programs=("cron", "crond"), asks_password=False
)

_ON_THE_NODE = (
    Door("su", "su", INSIDE, programs=("su",), setuid=True),
    Door("su-l", "su with a login shell", INSIDE, programs=("su",), setuid=True),
    Door("sudo", "sudo", INSIDE, programs=("sudo",), setuid=True),
    Door("sudo-i", "sudo with a login shell", INSIDE, programs=("sudo",), setuid=True),
    Door("doas", "doas", INSIDE, programs=("doas",), setuid=True),
    Door("polkit-1", "polkit: pkexec, systemd's questions", INSIDE, units=("polkit.service",), programs=("pkexec",)),
    Door("systemd-run0", "run0", INSIDE, programs=("run0",), asks_password=False),
    *_named(
        "runuser runuser-l",
        Door(
            "",
            "runuser",
            INSIDE,
            programs=("runuser",),
            asks_password=False,
            stays="only root runs it, and it asks no account rules",
        ),
    ),
)

_NO_WAY_IN = {
    "screen vlock xscreensaver xlock i3lock swaylock kde kscreensaver kcheckpass cinnamon-screensaver "
    "mate-screensaver xfce4-screensaver physlock": ("unlocks a session", _UNLOCKS),
    "passwd chfn chsh chpasswd newusers chage useradd userdel usermod groupadd groupdel groupmod groupmems shadow "
    "user_add user_del": ("changes accounts", _NOBODY_COMES_IN),
    "ppp": ("a network line", _NOBODY_COMES_IN),
    "other": ("services without a file of their own", "it is not a service; close the one that falls back to it"),
}

_DOORS = (
    Door(
        "sshd", "SSH", NETWORK, units=("sshd.service", "ssh.service", "sshd.socket", "ssh.socket"), programs=("sshd",)
    ),
    Door(
        "cockpit",
        "Cockpit",
        NETWORK,
        units=("cockpit.socket", "cockpit.service"),
        programs=(
            "cockpit-ws",
            *_libexec(
                "cockpit/cockpit-ws",
                "cockpit/cockpit-tls",
                "cockpit-ws",
                "cockpit-tls",
                "cockpit/cockpit-session",
                "cockpit-session",
            ),
        ),
    ),
    Door(
        "login",
        "console, serial line",
        CONSOLE,
        units=(
            "getty@*.service",
            "serial-getty@*.service",
            "console-getty.service",
            "container-getty@*.service",
            "container-shell@*.service",
            "autovt@*.service",
        ),
        programs=("login", "agetty", "mgetty", "mingetty"),
    ),
    Door(
        "remote",
        "telnet",
        NETWORK,
        units=("telnet.socket", "telnet@*.service"),
        programs=("in.telnetd", "telnetd"),
        otherwise="login",
    ),
    *(
        Door(name, "r-commands", NETWORK, units=(f"{name}.socket", f"{name}@*.service"), programs=(f"in.{name}d",))
        for name in ("rsh", "rlogin", "rexec")
    ),
    Door(
        "rstudio",
        "RStudio Server",
        NETWORK,
        units=("rstudio-server.service",),
        programs=("rserver", "/usr/lib/rstudio-server/bin/rserver"),
    ),
    Door(
        "jupyterhub", "JupyterHub", NETWORK, units=("jupyterhub.service",), programs=("jupyterhub",), otherwise="login"
    ),
    Door(
        "xrdp-sesman",
        "remote desktop, xrdp",
        NETWORK,
        units=("xrdp.service", "xrdp-sesman.service"),
        programs=("xrdp", "xrdp-sesman"),
    ),
    Door(
        "tigervnc",
        "remote desktop, TigerVNC",
        NETWORK,
        units=("vncserver@*.service",),
        programs=("vncsession", *_libexec("vncsession")),
    ),
    Door(
        "vnc",
        "remote desktop, VNC",
        NETWORK,
        units=("xvnc.socket", "xvnc@*.service"),
        programs=("Xvnc", "Xtigervnc", "x0vncserver"),
    ),
    Door("dcv", "remote desktop, DCV", NETWORK, units=("dcvserver.service",), programs=("dcvserver",)),
    Door("nx", "remote desktop, NoMachine", NETWORK, units=("nxserver.service",), programs=("nxserver.bin", "nxd")),
    Door(
        "thinlinc",
        "remote desktop, ThinLinc",
        NETWORK,
        units=("vsmagent.service", "vsmserver.service"),
        programs=("/opt/thinlinc/sbin/vsmagent",),
    ),
    Door(
        "slurm",
        "Slurm's jobs, with UsePAM=1",
        INSIDE,
        units=("slurmd.service",),
        programs=("slurmd", "slurmstepd"),
        asks_password=False,
        stays="jobs start through it",
    ),
    Door("cups", "printing", NETWORK, shell=False, units=("cups.service", "cups.socket"), programs=("cupsd",)),
    Door("shellinabox", "a terminal in a browser", NETWORK, units=("shellinabox.service",), programs=("shellinaboxd",)),
    Door("webmin", "Webmin", NETWORK, units=("webmin.service",)),
    Door("usermin", "Usermin", NETWORK, units=("usermin.service",)),
    Door(
        "vmtoolsd",
        "VMware's guest operations",
        CONSOLE,
        units=("vmtoolsd.service", "open-vm-tools.service", "vgauthd.service", "vgauth.service"),
        programs=("vmtoolsd", "VGAuthService"),
    ),
    Door("pcsd", "Pacemaker's web page", NETWORK, shell=False, units=("pcsd.service",), programs=("pcsd",)),
    Door("samba", "files, Samba", NETWORK, shell=False, units=("smb.service", "smbd.service"), programs=("smbd",)),
    Door("vsftpd", "files, FTP", NETWORK, shell=False, units=("vsftpd.service", "vsftpd.socket"), programs=("vsftpd",)),
    Door(
        "proftpd",
        "files, FTP",
        NETWORK,
        shell=False,
        units=("proftpd.service", "proftpd.socket"),
        programs=("proftpd",),
    ),
    Door("pure-ftpd", "files, FTP", NETWORK, shell=False, units=("pure-ftpd.service",), programs=("pure-ftpd",)),
    *(door for services, of in _DISPLAY_MANAGERS.items() for door in _named(services, of)),
    *(
        Door(service, "the form of a graphical login", CONSOLE, units=units, asks_password=False, stays=_GREETER)
        for service, units in _GREETERS.items()
    ),
    *_named("cron crond", _CRON),
    Door("fcron", "crontabs, fcron", LATER, units=("fcron.service",), programs=("fcron",), asks_password=False),
    Door("atd", "at and batch", LATER, units=("atd.service",), programs=("atd",), asks_password=False),
    Door(
        "systemd-user",
        "a user's own units, with linger from boot on",
        LATER,
        units=("user@*.service",),
        asks_password=False,
        adopts=False,  # a systemd manager needs the cgroup that it was given
    ),
    *_ON_THE_NODE,
    *(
        Door(service, what, INSIDE, shell=False, stays=why)
        for services, (what, why) in _NO_WAY_IN.items()
        for service in services.split()
    ),
)

# Each PAM service that is known, by its name.
KNOWN: dict[str, Door] = {door.service: door for door in _DOORS}
