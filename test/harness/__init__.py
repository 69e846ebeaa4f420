"""Real compute nodes for tests: images, networks, Slurm, SSH and Salt, from Debian's packages alone.

Only the standard library, so that it runs before anything is installed.
"""
