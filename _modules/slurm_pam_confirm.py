"""
Confirm an apply, or have the node take it back by itself.

Before an apply changes anything, the files that it may write are copied to ``/var/lib/slurm_pam/confirm``, beside a
small program that brings them back, and a transient systemd timer is started that runs it; if the node is rebooted or
loses power meanwhile, it goes back as soon as it is up again. None of this needs Salt, its master or its cache.
Confirming ends the waiting and removes the copies.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import os

import _library

_library.renew(os.path.dirname(__file__))

from collections.abc import Mapping
from typing import Any

import _slurm_pam_take_back


def arm(seconds: int, settings: Mapping[str, Any]) -> float:
    """
    From now on this node goes back to what it is now, unless :py:func:`disarm` is called in time.

    seconds
        How long to wait.
    settings
        The merged settings of the formula.

    Returns when it will be taken back, in seconds since 1970. Where an earlier apply still waits, what was before that
    one is kept, and the time starts anew; where that cannot be, the earlier one waits on as it did.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.arm 300 '{...}'

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_take_back.arm(seconds, settings)


def pending() -> float | None:
    """
    When the last apply will be taken back, in seconds since 1970; nothing where none waits to be confirmed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.pending

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_take_back.pending()


def taken_back() -> float | None:
    """
    When the last apply was taken back, in seconds since 1970; nothing where it was not.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.taken_back

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_take_back.taken_back()


def status() -> dict[str, Any]:
    """
    How it stands with the last apply: ``{"state": "waiting", "at": 1767225600.0}``, in seconds since 1970.

    state
        ``waiting`` to be confirmed, or else taken back then; ``without a timer``: it waits, but will not be taken back
        by itself before the next boot; ``being taken back`` just now; ``taking back failed``, so that not all is as it
        was; ``taken back`` then; or ``nothing`` of all this.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.status

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_take_back.status()


def disarm() -> None:
    """
    The node stays as it is: the timer is stopped and the copies are removed.

    Raises CommandExecutionError where it is too late for that.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.disarm

    .. versionadded:: 1.0.0
    """
    _slurm_pam_take_back.disarm()


def forget() -> None:
    """
    Nothing is left of the last apply's copies, whether it still waits or was taken back.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.forget

    .. versionadded:: 1.0.0
    """
    _slurm_pam_take_back.forget()


def take_back() -> str:
    """
    Take the last apply back now, and not when its time is over.

    Raises CommandExecutionError where there is nothing to take back, or where not all of it could be.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.take_back

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_take_back.take_back()
