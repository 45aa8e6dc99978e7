"""Compacts the change log: online changes go into catalogue, interactions and relations, and so into the next release.

A manifest's `applied_sequence` is the last sequence that its parts hold or replace, and the same rename switches
both: a process that dies at any moment leaves the old parts with the old number or the new with the new, and compacting
again changes nothing. A release records the numbers of the manifests that it was planned from; its overlay begins after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from semrec.changes.state import event_log, item_log, relation_log
from semrec.data.catalogue import stage_items
from semrec.data.interactions import WeightRule, stage_interactions
from semrec.data.online import log_ends
from semrec.data.rejects import ReadStats
from semrec.data.relations import stage_relations
from semrec.data.staging import Staged, applied_sequence, scratch_folder, stored_manifest
from semrec.errors import RunBusyError
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest, RelationsManifest
from semrec.workspace.storage import Storage

__all__ = ["CompactionReport", "compact_changes"]

_TRIES: Final = 3


@dataclass(frozen=True)
class CompactionReport:
    """The counts of what this call compacted (0 where nothing was new), and the last changes that the workspace now holds."""

    num_items: int  # put, each counted once
    num_deleted: int
    num_events: int  # repeats included
    applied: LogPositions
    num_relations: int = 0  # put or deleted, each counted once

    def __bool__(self) -> bool:
        return bool(self.num_items or self.num_deleted or self.num_events or self.num_relations)

    def __str__(self) -> str:
        relations = f", {self.num_relations:,} relations changed" if self.num_relations else ""
        items, deleted = f"{self.num_items:,} items", f"{self.num_deleted:,} items deleted"
        return f"{items} and {self.num_events:,} events taken in, {deleted}{relations}"


def compact_changes(workspace: Workspace) -> CompactionReport:
    """Takes every acknowledged change into catalogue, interactions and relations that is not in them yet.

    Of the changes of one item or relation the last counts; a deleted item leaves the catalogue, and its events stay, which
    later stages skip. Memory holds the changed items without their vectors, and the changed relations, not the events. Raises
    CorruptArtefactError when a segment is missing or damaged, RunBusyError when imports keep coming in between; nothing of the
    log is then lost.
    """
    # The end of the events is fixed before the items are read: an event may name an item that was put just before it.
    events = event_log(workspace.storage)
    events.open(remembered=1)
    storage = workspace.storage
    put, deleted = _published(storage, CatalogueManifest.PATH, lambda scratch: _stage_items(workspace, scratch))
    (num_events,) = _published(
        storage, InteractionsManifest.PATH, lambda scratch: _stage_events(workspace, events.last_sequence, scratch)
    )
    (num_relations,) = _published(storage, RelationsManifest.PATH, lambda scratch: _stage_relations(workspace, scratch))
    applied = LogPositions(*(log(storage).last_sequence for log in (item_log, event_log, relation_log)))
    return CompactionReport(put, deleted, num_events, applied, num_relations)


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
        f"{path} was replaced {_TRIES} times while changes were being compacted",
        expected="no import at the same time",
        remedy="Wait for the import to end, then run again.",
    )


def _stage_items(workspace: Workspace, scratch: Path) -> tuple[Staged | None, tuple[int, int]]:
    manifest = stored_manifest(workspace.storage, CatalogueManifest)
    until = log_ends(workspace.storage).items
    if until <= applied_sequence(manifest):
        return None, (0, 0)
    # The import of nothing, which takes in what is older than itself.
    stats = ReadStats(workspace.storage, "online-items", max_rejected=1.0)
    staged = stage_items(workspace, (), append=True, until=until, stats=stats, scratch=scratch)
    return staged, (staged.num_put, staged.num_deleted)


def _stage_events(workspace: Workspace, until: int, scratch: Path) -> tuple[Staged | None, tuple[int]]:
    log = event_log(workspace.storage)
    after = log.last_sequence
    if until <= after:
        return None, (0,)
    stats = ReadStats(workspace.storage, "online-events", max_rejected=1.0)
    staged = stage_interactions(
        workspace,
        log.rows(after, until),
        _rule(workspace.storage),
        append=True,
        stats=stats,
        scratch=scratch,
        applied=until,
        each_once=True,
    )
    return staged, (until - after,)


def _stage_relations(workspace: Workspace, scratch: Path) -> tuple[Staged | None, tuple[int]]:
    until = log_ends(workspace.storage).relations
    if until <= applied_sequence(stored_manifest(workspace.storage, RelationsManifest)):
        return None, (0,)
    stats = ReadStats(workspace.storage, "online-relations", max_rejected=1.0)
    staged = stage_relations(workspace, (), append=True, until=until, stats=stats, scratch=scratch)
    return staged, (staged.num_put + staged.num_deleted,)


def _rule(storage: Storage) -> WeightRule:
    """Returns the rule of the stored interactions, or the default where there are none yet."""
    manifest = stored_manifest(storage, InteractionsManifest)
    return WeightRule(manifest.repeats, manifest.neutral_value) if manifest else WeightRule()


def _bytes_of(storage: Storage, path: str) -> bytes | None:
    return storage.read_bytes(path) if storage.exists(path) else None
