"""What one user can use up of sshd, so that others are kept out: root, administrators and users with a job."""

from __future__ import annotations

from collections.abc import Iterator

from _slurm_pam_finding import Finding
from _slurm_pam_login import Values, is_among, value

# What of PerSourcePenalties is no reason to penalise an address (sshd_config(5)).
_NO_REASON = ("max", "min", "max-sources4", "max-sources6", "overflow", "overflow6")
# Of its exemptions, those that leave nobody, with no ``!`` among them.
_EVERYWHERE = ({"*"}, {"0.0.0.0/0", "::/0"})
# Logins at a time that are not through yet. A loop in a shell makes ten, a program that needs no root a thousand.
_FEW = 500


def crowding(values: Values) -> Iterator[Finding]:
    """
    What sshd does to everybody for what one user does.

    values
        Those that hold without a connection; what is asked for here stands under no Match line.
    """
    if left := reasons(values):
        yield Finding(
            f"sshd's PerSourcePenalties is {' '.join(left)}",
            "A user without a job who goes on trying, on purpose or by a script, makes sshd drop every login from "
            "their address for minutes, those of root, administrators and users with a job included",
            "Set PerSourcePenalties no (slurm_pam:sshd:options:PerSourcePenalties: false)",
            "warnings",
        )
    startups, for_one = value(values, "maxstartups"), value(values, "persourcemaxstartups", "none")
    if startups and int(startups.partition(":")[0]) < _FEW:
        yield Finding(
            f"sshd's MaxStartups is {startups}",
            "A user without a job who logs in a few times at once makes sshd drop logins of others, and all of them "
            "while the connections stay open",
            "Set it higher (slurm_pam:sshd:options:MaxStartups: 1000:30:2000)",
            "warnings",
        )
    if for_one.isdigit() and int(for_one) < _FEW:
        yield Finding(
            f"sshd's PerSourceMaxStartups is {for_one}",
            "A user without a job who leaves that many connections open makes sshd drop every login from their address",
            "Set PerSourceMaxStartups none (slurm_pam:sshd:options:PerSourceMaxStartups: none)",
            "warnings",
        )


def reasons(values: Values, origin: str | None = None) -> list[str]:
    """
    For what sshd turns away a whole address for a while, as it says it: ``authfail:5``.

    values
        Those that hold without a connection, or for any.
    origin
        Only for this address or host; by default for any address that there may be.
    """
    listed = value(values, "persourcepenaltyexemptlist")
    exempt = set(listed.split(","))
    everywhere = "!" not in listed and any(map(exempt.issuperset, _EVERYWHERE))
    if everywhere or (origin and is_among(origin, listed)):
        return []
    return [word for word in value(values, "persourcepenalties").split() if _is_reason(word)]


def _is_reason(word: str) -> bool:
    name, colon, seconds = word.partition(":")
    return bool(colon) and name not in _NO_REASON and float(seconds) > 0
