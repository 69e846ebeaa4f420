# Brings about: a minion that never synced has the formula's modules. Nothing, and no cost, where they are there.
{%- if "slurm_pam.preflight" not in salt %}
{#-   A grain is what the minion says, and salt-ssh renders this on the master: nothing of it but numbers goes on. #}
{%-   set python, needed = grains.pythonversion[:2] | map("int") | list, [3, 10] %}
{%-   if opts.test or python < needed %}

# Without the modules the other states can only fail, and a run with test=True syncs nothing.
exclude:
{%-     for part in [
          "ready", "places", "packages", "access", "slurm", "selinux", "sshd", "pam", "logind", "strays", "watch", "clean"
        ] %}
  - sls: slurm_pam.{{ part }}
{%-     endfor %}
{%-   endif %}
{%-   if python < needed %}

slurm_pam-modules-python-too-old:
  test.fail_without_changes:
    - name: {{ (
        "Salt runs on Python " ~ python | join(".") ~ " on this minion, and the formula's modules need "
        ~ needed | join(".") ~ " or later. Nothing was changed. Use a Salt that brings a Python of its own, which works "
        "with any master: the Salt Bundle (venv-salt-minion) on SUSE, or upstream's packages (onedir) elsewhere"
      ) | json }}
{%-   elif opts.test %}

slurm_pam-modules-missing:
  test.fail_without_changes:
    - name: >-
        This minion does not have the formula's modules yet, and test=True does not sync them. Nothing was looked at.
        Run this again as: state.apply slurm_pam sync_mods=all test=True. Where that was done already, the master has no
        _modules and _states of the formula, or has not seen them yet: it looks every 20 seconds
{%-   else %}

slurm_pam-modules-synced:
  saltutil.sync_all:
    - reload_modules: True
    - order: first

slurm_pam-modules-there:
  test.fail_without_changes:
    - name: >-
        The master has no _modules and _states of the formula, or has not seen them yet: it looks every 20 seconds.
        Nothing was changed. Put them beside the states, and apply again
    - unless:
      - fun: sys.list_functions
        args: [slurm_pam.preflight]
    - require:
      - saltutil: slurm_pam-modules-synced
    - failhard: True
    - order: 1
{%-   endif %}
{%- endif %}
