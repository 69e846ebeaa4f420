"""
A set of PAM files as one transaction: all are computed and proven before the first is written.

Files are written in the order given, each by a rename, so the files that a service includes come first and the
service's own file last: at no instant does a service name a file that is not there. ``absent`` takes the same list and
goes the other way round.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

MARKER = "# Managed by Salt"


def managed(
    name: str,
    files: list[dict],
    policy: list[dict] | None = None,
    marker: str = MARKER,
    replace: bool = False,
) -> dict[str, Any]:
    """
    The files are as described, all of them or none. Nothing is written either if a line of any PAM file would come to
    name a file that is not there.

    name
        What the files are for. It is not used; it is a label.
    files
        In the order in which they are written. Each is a mapping with ``path`` and

        - ``contents``: the whole text, below the marker line; or
        - ``source``: a file of the search order (``common-session``) that it is derived from at every run, unless
          nothing but comments has changed there; or
        - ``link``: the target of a symbolic link; or
        - ``block``: lines that come first in a file such as access.conf(5), ahead of all that others wrote there; or
        - none of these: the file itself is edited. If only a vendor directory has it, its copy is.

        and, unless it is a link, ``changes``: edits in the form of :py:func:`pam_stack.edit
        <salt.modules.pam_stack.edit>`. With ``absent: true`` it is taken back instead, as :py:func:`absent` does.
    policy
        Scenarios for :py:func:`pam_verdict.prove <salt.modules.pam_verdict.prove>` that the new files have to meet,
        laid over the rest of the node's PAM configuration. Nothing is written unless all of them hold. A scenario that
        holds before and after holds after each single write as well.
    marker
        The first line of each file with ``contents`` or ``source``. A file without it is somebody else's.
    replace
        Whether such a file of somebody else's is replaced.

    .. code-block:: yaml

        sshd-asks-pam_access:
          pam_stack.managed:
            - files:
                - path: /etc/pam.d/sshd
                  changes:
                    - insert: account required pam_access.so
                      at: last

    .. versionadded:: 1.0.0
    """
    return _brought_about(name, lambda: __salt__["pam_stack.plan"](files, policy, marker, replace))


def absent(name: str, files: list[dict], marker: str = MARKER) -> dict[str, Any]:
    """
    What :py:func:`managed` did to the files is taken back, in the opposite order.

    Files with ``contents`` or ``source`` and links are removed if they are still ours. A file that was edited gets the
    opposite edits; a copy of a vendor's file is removed if nobody else has changed it and there is one to fall back to.
    Nothing is taken back while a line of any PAM file would then name a file that is not there.

    name
        What the files are for. It is not used; it is a label.
    files, marker
        As for ``managed``.

    .. code-block:: yaml

        sshd-as-it-was:
          pam_stack.absent:
            - files:
                - path: /etc/pam.d/sshd
                  changes:
                    - insert: account required pam_access.so
                      at: last

    .. versionadded:: 1.0.0
    """
    return _brought_about(name, lambda: __salt__["pam_stack.plan_back"](files, marker))


def _brought_about(name: str, compute: Callable[[], list[dict]]) -> dict[str, Any]:
    ret: dict[str, Any] = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        ret |= __salt__["file_transaction.bring_about"](compute(), __opts__["test"])
    except CommandExecutionError as error:
        return ret | {"comment": str(error)}
    except SaltInvocationError as error:
        return ret | {"comment": f"{error}. Nothing was changed. Correct what this state is given"}
    if not ret["changes"]:
        return ret | {"comment": "All PAM files are as they should be"}
    verb = "Would change " if __opts__["test"] else "Changed: "
    return ret | {"comment": verb + ", ".join(ret["changes"])}
