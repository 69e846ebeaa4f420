# Takes everything back, in the order that locks no one out: logind runs before sessions ask for it, the PAM files let
# everyone in before sshd is asked again, and what nothing names any more goes last. What was applied is taken back, even
# where the settings have changed since. Groups and packages stay unless the settings say otherwise.
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context %}

include:
  - slurm_pam.modules

slurm_pam-clean-settings:
  test.nop:
    - settings: {{ settings | json }}

slurm_pam-clean-ready:
  slurm_pam.ready:
    - use:
      - test: slurm_pam-clean-settings
    - given: {{ given | json }}
    - partitions: {{ partitions | json }}
    - version: 1.1.0
    - taking_back: True
    - failhard: True

# An apply that still waits is not to be taken back in the middle of this.
slurm_pam-clean-confirm-disarmed:
  slurm_pam_confirm.disarmed:
    - require:
      - slurm_pam: slurm_pam-clean-ready
    - failhard: True

# First, so that what is taken back is no drift.
slurm_pam-clean-watch-absent:
  slurm_pam.watch_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-ready

slurm_pam-clean-logind-restored:
  slurm_pam.logind_restored:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-ready

slurm_pam-clean-stacks-absent:
  slurm_pam.stacks_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-ready

slurm_pam-clean-sshd-config-absent:
  slurm_pam.sshd_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-sshd-service-reloaded:
  slurm_pam.sshd_reloaded:
    - use:
      - test: slurm_pam-clean-settings
    - onchanges:
      - slurm_pam: slurm_pam-clean-sshd-config-absent

slurm_pam-clean-slurm-conf-absent:
  slurm_pam.slurm_conf_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-slurm-service-restarted:
  slurm_pam.slurmd_restarted:
    - use:
      - test: slurm_pam-clean-settings
    - onchanges:
      - slurm_pam: slurm_pam-clean-slurm-conf-absent

# While slurmd has UsePAM=1, no job would start without this file.
slurm_pam-clean-slurm-pam-service-absent:
  slurm_pam.service_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-slurm-conf-absent
      - slurm_pam: slurm_pam-clean-slurm-service-restarted

slurm_pam-clean-access-file-absent:
  slurm_pam.access_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-message-absent:
  slurm_pam.message_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-selinux-absent:
  slurm_pam.selinux_absent:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent

slurm_pam-clean-places-forgotten:
  slurm_pam.forgotten:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-logind-restored
      - slurm_pam: slurm_pam-clean-sshd-service-reloaded
      - slurm_pam: slurm_pam-clean-slurm-pam-service-absent
      - slurm_pam: slurm_pam-clean-access-file-absent
      - slurm_pam: slurm_pam-clean-message-absent
      - slurm_pam: slurm_pam-clean-selinux-absent
{%- set groups = settings.access.groups if settings.access.groups is mapping else {} %}
{%- if settings.clean.groups %}
{%-   for name, group in groups.items() if group is mapping and group.get("local", True) %}

{{ ("slurm_pam-clean-group-absent-" ~ name) | json }}:
  group.absent:
    - name: {{ name | json }}
    - require:
      - slurm_pam: slurm_pam-clean-access-file-absent
{%-   endfor %}
{%- endif %}
{%- if settings.clean.packages %}

slurm_pam-clean-package-removed:
  slurm_pam.packages_removed:
    - use:
      - test: slurm_pam-clean-settings
    - require:
      - slurm_pam: slurm_pam-clean-stacks-absent
{%- endif %}
