"""What a release must not lack before a run of it goes live: users, events and eligibility that the live one has."""

from __future__ import annotations

from dataclasses import dataclass

from semrec.errors import EligibilityLostError, EmptyResultError
from semrec.release.clauses import lost_clauses
from semrec.workspace.manifests import ReleaseManifest

__all__ = ["Allowed", "check_release"]


@dataclass(frozen=True)
class Allowed:
    """What may go live because somebody said so, for one call."""

    #: --allow-empty: no users, or no events where the live release has some.
    empty: bool = False
    #: --allow-lost-clause: attributes that eligibility need not go by any more, or that no item or no user need state.
    lost_clauses: frozenset[str] = frozenset()
    #: Settings that neither the workspace nor the live release has (`agreed_settings`). For benches; no command allows it.
    other_settings: bool = False


def check_release(after: ReleaseManifest, before: ReleaseManifest | None, allowed: Allowed) -> None:
    """Holds a release's manifest against that of the live release, None where nothing is live.

    Raises EmptyResultError naming what became empty, EligibilityLostError naming the clauses that were lost.
    """
    if not allowed.empty:
        _check_not_empty(after, before)
    lost = {name: fault for name, fault in lost_clauses(before, after).items() if name not in allowed.lost_clauses}
    if lost:
        told = " ".join(f"--allow-lost-clause {name}" for name in lost)
        raise EligibilityLostError(
            f"release {after.release} limits less than it should: {'; '.join(lost.values())}",
            expected="every clause of the live release, and items that state what users do",
            remedy="Import the attribute again, or put it back into release.eligibility (`semrec config show`); if it is "
            f"meant, say {told}.",
        )


def _check_not_empty(after: ReleaseManifest, before: ReleaseManifest | None) -> None:
    empty = []
    if not after.num_users:
        empty.append("users" + (f" (the live release has {before.num_users:,})" if before else ""))
    if before and before.counts.get("events") and not after.counts.get("events"):
        empty.append(f"events (the live release has {before.counts['events']:,})")
    if empty:
        raise EmptyResultError(
            f"release {after.release} has no {' and no '.join(empty)}",
            expected="users, and events where there were some",
            remedy="Look at the last imports of interactions and users; if it is meant, say --allow-empty.",
        )
