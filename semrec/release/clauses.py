"""Counts who states each attribute of a release's eligibility clauses, and compares with another release."""

from __future__ import annotations

from dataclasses import dataclass

from semrec.workspace.manifests import ReleaseManifest

__all__ = ["ClauseCounts", "clause_counts", "eligibility_warnings", "lost_clauses", "stating_count"]


@dataclass(frozen=True)
class ClauseCounts:
    """One clause of a release: the distinct values its items state, and the users who state any.

    `num_users` is None for a release of contract 1, which did not count them.
    """

    attribute: str
    num_values: int
    num_users: int | None


def stating_count(attribute: str) -> str:
    """Returns the name under which a release counts the users who state values of `attribute`."""
    return f"users_stating:{attribute}"


def clause_counts(manifest: ReleaseManifest) -> dict[str, ClauseCounts]:
    """Returns the clauses that a release was asked for, by attribute, in order. Contract 1 left out those without values."""
    num_values = {clause.attribute: len(clause.values) for clause in manifest.matrix.layout}
    return {
        name: ClauseCounts(name, num_values.get(name, 0), manifest.counts.get(stating_count(name)))
        for name in manifest.settings.eligibility
    }


def eligibility_warnings(manifest: ReleaseManifest) -> list[str]:
    """Returns a sentence for each attribute that users state and no item does: those users get nothing."""
    return [
        f"eligibility: {clause.num_users:,} users state values of {clause.attribute!r} and no item does: they get nothing"
        for clause in clause_counts(manifest).values()
        if clause.num_users and not clause.num_values
    ]


def lost_clauses(before: ReleaseManifest | None, after: ReleaseManifest) -> dict[str, str]:
    """Finds the clauses that limit less in release `after` than in `before`, or that no item fills: name -> what is wrong.

    Both are release manifests; `before` is None where nothing is live. A clause that nobody states any value of is no loss:
    it asks nothing of anybody.
    """
    old_clauses, new_clauses = clause_counts(before) if before else {}, clause_counts(after)
    lost = {}
    for name, old in old_clauses.items():
        new = new_clauses.get(name)
        if new is None:
            if old.num_values or old.num_users:
                lost[name] = f"it does not go by {name!r} any more"
        elif old.num_values and not new.num_values:
            lost[name] = f"no item states {name!r} any more"
        elif old.num_users and new.num_users == 0:
            lost[name] = f"no user states {name!r} any more, of {old.num_users:,} who did"
    for name, new in new_clauses.items():
        if name not in lost and new.num_users and not new.num_values:
            lost[name] = f"{new.num_users:,} users state {name!r} and no item does, so they get nothing"
    return lost
