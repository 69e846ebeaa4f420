# Comes before all that changes anything. Stops the run, with one failed state, where the settings are wrong or this node
# must not be changed. With the setting confirm, has the node take an apply back by itself unless slurm_pam.confirm is
# called in time. In mode audit, reports what the other states would change, and leaves them out.
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context %}
{%- set auditing = salt["pillar.get"]("slurm_pam_auditing", False) %}

include:
  - slurm_pam.modules

# For the states that take all settings as they are: they use these, so that the map is compiled where it is needed only.
slurm_pam-settings:
  test.nop:
    - settings: {{ settings | json }}

slurm_pam-ready:
  slurm_pam.ready:
    - use:
      - test: slurm_pam-settings
    - given: {{ given | json }}
    - partitions: {{ partitions | json }}
    - version: 1.1.0
    - auditing: {{ auditing | json }}
    # One clear failure, instead of one for each state that would have come after it.
    - failhard: True
{%- if settings.watch and settings.mode != "audit" and not opts.test %}

# What an apply changes is no drift until the apply has ended.
slurm_pam-ready-watch-suspended:
  slurm_pam.watch_suspended:
    - require:
      - slurm_pam: slurm_pam-ready
{%- endif %}
{%- if settings.mode == "audit" and not auditing %}

slurm_pam-ready-audited:
  slurm_pam.audited:
    - given: {{ given | json }}
    - require:
      - slurm_pam: slurm_pam-ready

exclude:
{%-   for part in ["places", "packages", "access", "slurm", "selinux", "sshd", "pam", "logind", "strays", "watch"] %}
  - sls: slurm_pam.{{ part }}
{%-   endfor %}
{%- elif settings.confirm and not auditing %}

slurm_pam-confirm-armed:
  slurm_pam_confirm.armed:
    - use:
      - test: slurm_pam-settings
    - seconds: {{ settings.confirm | json }}
    - given: {{ given | json }}
    - require:
      - slurm_pam: slurm_pam-ready
    # What could not be taken back is not begun.
    - failhard: True

slurm_pam-confirm-awaited:
  slurm_pam_confirm.awaited:
    - onchanges:
      - slurm_pam_confirm: slurm_pam-confirm-armed
    - order: last
{%- endif %}
