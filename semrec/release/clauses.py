"""What a release says of its eligibility clauses: who states each attribute, and what was lost since another release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ClauseCounts", "clause_counts", "eligibility_warnings", "lost_eligibility", "stating_count"]


@dataclass(frozen=True)
class ClauseCounts:
    """One clause of a release: the distinct values its items state, and the users who state any.

    `num_users` is None for a release of contract 1, which did not count them.
    """

    attribute: str
    num_values: int
    num_users: int | None


def stating_count(attribute: str) -> str:
    """The name under which a release counts the users who state values of `attribute`."""
    return f"users_stating:{attribute}"


def clause_counts(manifest: Mapping[str, Any]) -> dict[str, ClauseCounts]:
    """The clauses that a release was asked for, by attribute, in their order. Contract 1 left out those without values."""
    num_values = {clause["attribute"]: len(clause["values"]) for clause in manifest["matrix"]["layout"]}
    counts = manifest["counts"]
    names = manifest["settings"]["eligibility"]
    return {name: ClauseCounts(name, num_values.get(name, 0), counts.get(stating_count(name))) for name in names}


def eligibility_warnings(manifest: Mapping[str, Any]) -> list[str]:
    """A sentence for each attribute that users state and no item does: those users get nothing."""
    return [
        f"eligibility: {clause.num_users:,} users state values of {clause.attribute!r} and no item does: they get nothing"
        for clause in clause_counts(manifest).values()
        if clause.num_users and not clause.num_values
    ]


def lost_eligibility(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the eligibility of release `after` lacks that `before` had, a sentence each; both are release manifests.

    A clause that nobody stated any value of is no loss.
    """
    new_clauses, lost = clause_counts(after), []
    for name, old in clause_counts(before).items():
        new = new_clauses.get(name)
        if new is None:
            if old.num_values or old.num_users:
                lost.append(f"it does not go by {name!r} any more")
            continue
        if old.num_values and not new.num_values:
            lost.append(f"no item states {name!r} any more")
        if old.num_users and new.num_users == 0:
            lost.append(f"no user states {name!r} any more, of {old.num_users:,} who did")
    return lost
