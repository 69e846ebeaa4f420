# Brings about: the Slurm node package and the one with the PAM modules are installed, in one transaction.
{%- from "slurm_pam/map.jinja" import settings with context %}

include:
  - slurm_pam.confirm
{%- if settings.packages.manage %}

slurm_pam-packages-installed:
  pkg.installed:
    - pkgs: {{ [settings.packages.node, settings.packages.get(settings.module)] | select | list | json }}
    - refresh: False
    - require:
      - slurm_pam: slurm_pam-ready
{%- endif %}
