# Takes everything back, in the order that locks no one out: logind runs before sessions ask for it, the PAM files let
# everyone in before sshd is asked again, and what nothing names any more goes last. Groups and packages stay unless the
# settings say otherwise.
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context %}
{%- set slurm, sshd = settings.slurm, settings.sshd %}

include:
  - slurm_pam.modules

slurm_pam-clean-ready:
  slurm_pam.ready:
    - given: {{ given | json }}
    - settings: {{ settings | json }}
    - partitions: {{ partitions | json }}
    - version: 1.0.0
    - taking_back: True
    - failhard: True
{%- if settings.logind != "keep" %}

slurm_pam-clean-logind-unmasked:
  systemd_logind.unmasked:
    - name: systemd-logind
    - require:
      - slurm_pam: slurm_pam-clean-ready
{%- endif %}

slurm_pam-clean-stacks-absent:
  slurm_pam.stacks_absent:
    - settings: {{ settings | json }}
    - require:
      - slurm_pam: slurm_pam-clean-ready
{%- if sshd.manage %}

slurm_pam-clean-sshd-config-absent:
  sshd_config.absent:
    - config: {{ sshd.config | json }}
    - drop_in: {{ sshd.drop_in | json }}
    - tag: slurm_pam
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-sshd-service-reloaded:
  service.running:
    - name: {{ sshd.service | json }}
    - reload: True
    - watch:
      - sshd_config: slurm_pam-clean-sshd-config-absent
{%- endif %}
{%- if slurm.manage == "enforce" %}

slurm_pam-clean-slurm-conf-absent:
  slurm_conf.absent:
    - path: {{ slurm.conf | json }}
    - tag: slurm_pam
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

# Restarted where it runs, and not started where it does not.
slurm_pam-clean-slurm-service-restarted:
  service.running:
    - name: {{ slurm.service | json }}
    - onlyif:
      - fun: service.status
        args: [{{ slurm.service | json }}]
    - watch:
      - slurm_conf: slurm_pam-clean-slurm-conf-absent
{%- elif slurm.use_pam %}

slurm_pam-clean-slurm-conf-checked:
  slurm_conf.checked:
    - path: {{ slurm.conf | json }}
    - settings: {UsePAM: '0'}
    - require:
      - slurm_pam: slurm_pam-clean-ready
{%- endif %}
{%- if slurm.use_pam %}

# While slurmd has UsePAM=1, no job would start without this file.
slurm_pam-clean-slurm-pam-service-absent:
  pam_stack.absent:
    - files:
        - path: /etc/pam.d/slurm
          contents: ''
    - require:
{%-   if slurm.manage == "enforce" %}
      - service: slurm_pam-clean-slurm-service-restarted
{%-   else %}
      - slurm_conf: slurm_pam-clean-slurm-conf-checked
{%-   endif %}
{%- endif %}

slurm_pam-clean-access-file-absent:
  slurm_pam.access_absent:
    - access: {{ settings.access | json }}
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

# An apply that still waits is not to be taken back after this.
slurm_pam-clean-confirm-disarmed:
  slurm_pam_confirm.disarmed:
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent
{%- set groups = settings.access.groups if settings.access.groups is mapping else {} %}
{%- if settings.clean.groups %}
{%-   for name, group in groups.items() if group is mapping and group.get("local", True) %}

slurm_pam-clean-group-absent-{{ name }}:
  group.absent:
    - name: {{ name | json }}
    - require:
      - slurm_pam: slurm_pam-clean-access-file-absent
{%-   endfor %}
{%- endif %}
{%- set package = settings.packages.get(settings.module) %}
{%- if settings.clean.packages and package %}

slurm_pam-clean-package-removed:
  pkg.removed:
    - name: {{ package | json }}
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent
{%- endif %}
