# Brings about: the local groups of administrators, created or completed but never emptied, and the access file that says
# who gets in without a job, and from where.
{%- from "slurm_pam/map.jinja" import settings with context %}

include:
  - slurm_pam.places
{%- set groups = settings.access.groups if settings.access.groups is mapping else {} %}
{%- for name, group in groups.items() if group is mapping and group.get("local", True) %}

{{ ("slurm_pam-access-group-present-" ~ name) | json }}:
  group.present:
    - name: {{ name | json }}
    - addusers: {{ group.get("members", []) | json }}
    - gid: {{ group.get("gid") | json }}
    # The next free id of the users' range would be the id of a user's own group, sooner or later.
    - system: true
    - require:
      - slurm_pam: slurm_pam-places-recorded
{%- endfor %}

slurm_pam-access-file-managed:
  slurm_pam.access_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-places-recorded
