"""Units that the next boot starts or a socket does, found without a question for every file."""

import json

import pytest
from harness.salt_tree import HOME

# Each unit, and how it comes to be started.
UNIT = "[Service]\nExecStart=/bin/sleep 3600\n[Install]\n"
UNITS = {
    "/etc/systemd/system/wanted.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/etc/systemd/system/required.service": f"{UNIT}RequiredBy=multi-user.target\n",
    "/etc/systemd/system/renamed.service": f"{UNIT}Alias=another.service\n",
    "/etc/systemd/system/until-boot.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/etc/systemd/system/es\\x2dcaped.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/usr/lib/systemd/system/of-vendor.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/usr/local/lib/systemd/system/of-site.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/etc/systemd/system/later.service": UNIT,
    "/etc/systemd/system/by-socket.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "/etc/systemd/system/by-socket.socket": "[Socket]\nListenStream=/run/x\n[Install]\nWantedBy=sockets.target\n",
    "/etc/systemd/system/at-boot.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "/etc/systemd/system/at-boot.socket": "[Socket]\nListenStream=/run/y\n[Install]\nWantedBy=sockets.target\n",
    "/srv/elsewhere.service": f"{UNIT}WantedBy=multi-user.target\n",
    "/etc/systemd/system/not.service": f"{UNIT}WantedBy=multi-user.target\n",
}
GENERATOR = "/etc/systemd/system-generators/own"
GENERATED = '#!/bin/sh\nprintf "[Service]\\nExecStart=/bin/sleep 3600\\n" >"$1/generated.service"\n'
ENABLE = f"""\
chmod 755 {GENERATOR}
systemctl enable --quiet wanted required renamed 'es\\x2dcaped.service' of-vendor of-site
systemctl enable --quiet /srv/elsewhere.service
systemctl enable --quiet --runtime until-boot
systemctl enable --quiet by-socket.socket at-boot.socket
systemctl daemon-reload
systemctl start by-socket.socket
"""
LATER = """\
mkdir -p /etc/systemd/system/rescue.target.wants
ln -s ../later.service /etc/systemd/system/rescue.target.wants/
"""
FOUND = {"later", "wanted", "required", "renamed", "until-boot", "es\\x2dcaped", "of-vendor", "of-site", "elsewhere"}
FOUND |= {"at-boot", "by-socket", "generated"}
# What systemd itself says of all files, which costs it much.
LIST = "systemctl list-unit-files --no-legend --plain '*.service' '*.socket'"
ASK = """\
import json, sys
sys.path.insert(0, "/srv/formula/_modules")
import _slurm_pam_ask
print(json.dumps([unit["Id"][0] for unit in _slurm_pam_ask.every_unit()]))
"""


@pytest.mark.parametrize("layout", ["sle15", "debian13"], indirect=True, scope="module")
def test_each_way_to_enable_a_unit_is_found(node):
    for path, text in {**UNITS, GENERATOR: GENERATED}.items():
        node.write(path, text)
    node.run(["sh", "-ec", ENABLE], check=True)
    # Nobody tells systemd of this one.
    node.run(["sh", "-ec", LATER], check=True)
    found = json.loads(node.run([f"{HOME}/bin/python3", "-c", ASK], check=True).stdout)
    listed = [line.split()[:2] for line in node.run(["sh", "-c", LIST], check=True).stdout.splitlines()]
    at_boot = {name for name, state in listed if state in ("enabled", "enabled-runtime", "generated")}
    assert set(found) >= {name for name in at_boot if "@." not in name}
    assert {name.removesuffix(".service") for name in found} >= FOUND
    assert "not.service" not in found and len(found) == len(set(found))
