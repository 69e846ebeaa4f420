# Brings about: a minion that never synced has the formula's modules. Nothing, and no cost, where they are there.
{%- if "slurm_pam.preflight" not in salt %}
{%-   if opts.test %}

# A run with test=True syncs nothing, and without the modules the other states can only fail.
exclude:
{%-     for part in ["ready", "confirm", "packages", "access", "slurm", "sshd", "pam", "logind", "clean"] %}
  - sls: slurm_pam.{{ part }}
{%-     endfor %}

slurm_pam-modules-missing:
  test.fail_without_changes:
    - name: >-
        This minion does not have the formula's modules yet, and test=True does not sync them. Nothing was looked at.
        Run this again as: state.apply slurm_pam sync_mods=all test=True
{%-   else %}

slurm_pam-modules-synced:
  saltutil.sync_all:
    - reload_modules: True
    - order: first
{%-   endif %}
{%- endif %}
