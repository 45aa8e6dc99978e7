"""What a release must not lack before a run of it goes live: users, events and eligibility that the live one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semrec.errors import EligibilityLostError, EmptyResultError
from semrec.release.clauses import lost_eligibility

__all__ = ["Allowed", "check_release"]


@dataclass(frozen=True)
class Allowed:
    """What may go live because somebody said so, for one call."""

    #: --allow-empty: no users, or no events where the live release has some.
    empty: bool = False
    #: --allow-lost-eligibility: a clause less than the live release, or one that no item or no user states.
    lost_eligibility: bool = False


def check_release(after: Mapping[str, Any], before: Mapping[str, Any] | None, allowed: Allowed) -> None:
    """Holds a release's manifest against that of the live release, None where nothing is live.

    Raises EmptyResultError naming what became empty, EligibilityLostError naming the clauses that were lost.
    """
    if not allowed.empty:
        _check_not_empty(after, before)
    lost = lost_eligibility(before, after) if before else []
    if lost and not allowed.lost_eligibility:
        raise EligibilityLostError(
            f"release {after['release']} lost eligibility that the live one has: {'; '.join(lost)}",
            expected="every clause of the live release, stated by items and users",
            remedy="Import the attribute again, or name the clause with --eligibility; if it is meant, "
            "say --allow-lost-eligibility.",
        )


def _check_not_empty(after: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    empty = []
    if not after["num_users"]:
        empty.append("users" + (f" (the live release has {before['num_users']:,})" if before else ""))
    if before and before["counts"].get("events") and not after["counts"].get("events"):
        empty.append(f"events (the live release has {before['counts']['events']:,})")
    if empty:
        raise EmptyResultError(
            f"release {after['release']} has no {' and no '.join(empty)}",
            expected="users, and events where there were some",
            remedy="Look at the last imports of interactions and users; if it is meant, say --allow-empty.",
        )
