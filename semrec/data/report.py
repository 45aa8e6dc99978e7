"""Reports an import: rows read and rejected, and what the workspace holds afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semrec.data.rejects import ReadStats
from semrec.data.staging import ImportManifest, Staged
from semrec.workspace.manifests import (
    CatalogueManifest,
    InteractionsManifest,
    OntologyManifest,
    RelationsManifest,
    UsersManifest,
)

__all__ = ["ImportReport", "report_of"]


@dataclass(frozen=True)
class ImportReport:
    """The result of one import. The six totals are those of the workspace afterwards, None for what it did not touch.

    num_items: items of the catalogue; num_users: users with at least one interaction; num_interactions: stored events;
    num_listed_users: rows of the users table; num_relations: stored relations; num_axioms: stored triples of the ontology.
    num_read: rows met in the sources by kind ("items", "users", "interactions", "relations", "ontology", "tags"), blank
    lines and headers aside; rejected: of those, the rejected ones by kind and reason; num_repeats: events that repeat a
    stored one or an event id, and relations that came before; num_online_replaced: changes and events made online before the
    import that it replaced before any run had taken them in.
    notes: how the source was read. examples: the first rejected rows, for people. manifests and quarantine: where to look.
    """

    num_items: int | None
    num_users: int | None
    num_interactions: int | None
    num_listed_users: int | None
    num_read: Mapping[str, int]
    rejected: Mapping[str, Mapping[str, int]]
    num_repeats: int
    manifests: tuple[str, ...]
    quarantine: tuple[str, ...]
    num_online_replaced: int = 0
    notes: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    is_dry_run: bool = False
    num_relations: int | None = None
    num_axioms: int | None = None

    @property
    def num_rejected(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.rejected.values())

    def __str__(self) -> str:
        totals = (
            (self.num_items, "items"),
            (self.num_interactions, "interactions"),
            (self.num_users, "users with interactions"),
            (self.num_listed_users, "users listed"),
            (self.num_relations, "relations"),
            (self.num_axioms, "triples of the ontology"),
        )
        lines = [", ".join(f"{count:,} {what}" for count, what in totals if count is not None)]
        lines += [f"{kind}: {count:,} rows read{self._rejected(kind)}" for kind, count in self.num_read.items()]
        if self.num_repeats:
            lines.append(f"{self.num_repeats:,} repeats of stored rows or event ids dropped")
        if self.num_online_replaced:
            lines.append(
                f"{self.num_online_replaced:,} changes and events made online before this import replaced by it"
            )
        lines += self.notes
        lines += [f"rejected rows: {path}" for path in self.quarantine]
        lines += [f"  {example}" for example in self.examples]
        if self.is_dry_run:
            num_good = sum(self.num_read.values()) - self.num_rejected
            lines.append(f"dry run: {num_good:,} rows would be imported; duplicate ids are found by the import alone")
        return "\n".join(lines)

    def _rejected(self, kind: str) -> str:
        reasons = self.rejected.get(kind)
        return ", rejected " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items()) if reasons else ""


def report_of(staged: Sequence[Staged], stats_of_kind: Sequence[ReadStats]) -> ImportReport:
    """Makes the report of what was staged (and by now published) from the rows of `stats_of_kind`."""

    def total(kind: type[ImportManifest], count: str) -> int | None:
        return next((getattr(table.manifest, count) for table in staged if type(table.manifest) is kind), None)

    rejecting = [stats for stats in stats_of_kind if stats.rejected]
    return ImportReport(
        num_items=total(CatalogueManifest, "num_items"),
        num_users=total(InteractionsManifest, "num_users"),
        num_interactions=total(InteractionsManifest, "num_rows"),
        num_listed_users=total(UsersManifest, "num_users"),
        num_relations=total(RelationsManifest, "num_rows"),
        num_axioms=total(OntologyManifest, "num_rows"),
        num_read={stats.kind: stats.num_read for stats in stats_of_kind},
        rejected={stats.kind: stats.rejected for stats in rejecting},
        num_repeats=sum(table.num_repeats for table in staged),
        manifests=tuple(table.path for table in staged),
        quarantine=tuple(stats.quarantine_path for stats in rejecting),
        num_online_replaced=sum(table.num_online_replaced for table in staged),
        notes=tuple(note for stats in stats_of_kind for note in stats.notes),
        examples=tuple(example for stats in stats_of_kind for example in stats.examples),
    )
