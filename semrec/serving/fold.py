"""Folding: what was changed online goes into the catalogue and the interactions, and so into the next release.

A manifest's `folded` is the last sequence that its parts hold, and the same rename switches both: a process that dies at
any moment leaves the old parts with the old number or the new with the new, and folding again changes nothing. A release
records the numbers of the manifests that it was planned from; its overlay begins after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from semrec.errors import RunBusyError
from semrec.importing.catalogue import CATALOGUE_MANIFEST, stage_items
from semrec.importing.intake import Intake
from semrec.importing.interactions import INTERACTIONS_MANIFEST, WeightRule, stage_interactions
from semrec.importing.rows import ItemRow, item_tables
from semrec.importing.staging import Staged, scratch_folder, stored_parts
from semrec.serving.segments import Folded, Segment
from semrec.serving.state import event_log, item_log
from semrec.storage import Storage
from semrec.workspace import Workspace

__all__ = ["FoldReport", "fold_changes"]

_TRIES: Final = 3


@dataclass(frozen=True)
class FoldReport:
    """What was folded in by this call (0 where nothing was new), and what catalogue and interactions now hold."""

    num_items: int  # put, each counted once
    num_deleted: int
    num_events: int  # exact repeats included
    folded: Folded

    def __bool__(self) -> bool:
        return bool(self.num_items or self.num_deleted or self.num_events)

    def __str__(self) -> str:
        return f"{self.num_items:,} items and {self.num_events:,} events taken in, {self.num_deleted:,} items deleted"


def fold_changes(workspace: Workspace) -> FoldReport:
    """Takes every acknowledged item change and event into catalogue and interactions that is not in them yet.

    Of the changes of one item the last counts; a deleted item leaves the catalogue, and its events stay, which later
    stages skip. Memory holds the changed items without their vectors, not the events. Raises CorruptArtefactError when a
    segment is missing or damaged, RunBusyError when imports keep coming in between; nothing of the log is then lost.
    """
    # The end of the events is fixed before the items are read: an event may name an item that was put just before it.
    events = event_log(workspace.storage)
    events.open(remembered=1)
    storage = workspace.storage
    put, deleted = _published(storage, CATALOGUE_MANIFEST, lambda scratch: _stage_items(workspace, scratch))
    (num_events,) = _published(
        storage, INTERACTIONS_MANIFEST, lambda scratch: _stage_events(workspace, events.head, scratch)
    )
    return FoldReport(put, deleted, num_events, Folded(item_log(storage).head, event_log(storage).head))


def _published(
    storage: Storage, path: str, stage: Callable[[Path], tuple[Staged | None, tuple[int, ...]]]
) -> tuple[int, ...]:
    """Stages and publishes, and begins again when the manifest at `path` became another meanwhile."""
    for _ in range(_TRIES):
        before = _bytes_of(storage, path)
        with scratch_folder() as scratch:
            staged, counts = stage(scratch)
        if staged is None:
            return counts
        if _bytes_of(storage, path) == before:  # an import that was published in between would be lost
            staged.publish(storage)
            return counts
    raise RunBusyError(
        f"{path} was replaced {_TRIES} times while changes were being folded in",
        expected="no import at the same time",
        remedy="Wait for the import to end, then run again.",
    )


def _stage_items(workspace: Workspace, scratch: Path) -> tuple[Staged | None, tuple[int, int]]:
    log = item_log(workspace.storage)
    after = reached = log.head
    latest: dict[str, dict[str, Any]] = {}
    for segment in log.read(after):
        reached = segment.last
        latest |= {row["item_id"]: row for row in _rows(segment, after)}
    if reached == after:
        return None, (0, 0)
    put = [
        ItemRow(row["item_id"], row["title"], row["text"], dict(row["attributes"] or ()), "(online)")
        for row in latest.values()
        if not row["deleted"]
    ]
    # Whatever is refused here was acknowledged once: it is set aside and told, and may not stop every later release.
    intake = Intake(workspace.storage, "online-items", max_rejected=1.0)
    intake.count(len(put))
    staged = stage_items(
        workspace,
        item_tables(put, intake=intake),
        append=True,
        intake=intake,
        scratch=scratch,
        without=pa.array(list(latest), pa.string()),
        folded=reached,
    )
    return staged, (len(put), len(latest) - len(put))


def _rows(segment: Segment, after: int) -> list[dict[str, Any]]:
    """The changes of a segment after sequence `after`, without their vectors."""
    columns = ["item_id", "deleted", "title", "text", "attributes"]
    rows: list[dict[str, Any]] = segment.table.select(columns).slice(max(0, after + 1 - segment.first)).to_pylist()
    return rows


def _stage_events(workspace: Workspace, until: int, scratch: Path) -> tuple[Staged | None, tuple[int]]:
    log = event_log(workspace.storage)
    after = log.head
    if until <= after:
        return None, (0,)
    tables = (s.table.slice(max(0, after + 1 - s.first)) for s in log.read(after) if s.first <= until)
    intake = Intake(workspace.storage, "online-events", max_rejected=1.0)
    staged = stage_interactions(
        workspace, tables, _rule(workspace.storage), append=True, intake=intake, scratch=scratch, folded=until
    )
    return staged, (until - after,)


def _rule(storage: Storage) -> WeightRule:
    """The rule of the stored interactions, or the default where there are none yet."""
    manifest, _ = stored_parts(storage, INTERACTIONS_MANIFEST, "interactions")
    return WeightRule(manifest["repeats"], manifest["neutral_value"]) if manifest else WeightRule()


def _bytes_of(storage: Storage, path: str) -> bytes | None:
    return storage.read_bytes(path) if storage.exists(path) else None
