"""Reports what a workspace holds, and the progress of each run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from semrec.errors import IncompleteRunError
from semrec.export.published import PublishedExports
from semrec.release.reader import newest_release
from semrec.runs.live import Live, read_live
from semrec.runs.plan import find_runs, run_folder, run_inputs
from semrec.runs.verify import read_verification
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import (
    CatalogueManifest,
    EmbeddingManifest,
    InteractionsManifest,
    ReleaseManifest,
    RunManifest,
    UsersManifest,
)
from semrec.workspace.recall import read_recall
from semrec.workspace.storage import Storage

__all__ = ["RunStatus", "Status", "describe_live", "live_or_newest", "read_status"]


@dataclass(frozen=True)
class RunStatus:
    """One run. `state` is unfinished, finished, verified, bad parts or live.

    `lists` is exact, or approximate with the recall where that was measured.
    """

    run: str
    release: str
    k: int
    num_parts: int
    num_committed: int
    num_users: int
    state: str
    lists: str


@dataclass(frozen=True)
class Status:
    """A workspace at a glance."""

    uri: str
    num_buckets: int
    inputs: list[str]
    runs: list[RunStatus]
    live: str | None
    exports: list[str]


def live_or_newest(storage: Storage) -> str:
    """Returns the id of the live release, else of the one finished last. Raises MissingArtefactError when there is none."""
    live = read_live(storage)
    return live.release if live else newest_release(storage)


def describe_live(storage: Storage, live: Live) -> str:
    """Names the release and the run that are live, and says how exact the run is where it is approximate."""
    run = RunManifest.read_if_there(storage, live.run)
    approximate = f", {_lists(storage, live.run)}" if run and run.approximate else ""
    return f"release {live.release}, run {live.run}{approximate}"


def read_status(workspace: Workspace) -> Status:
    """Reads manifests and ledgers, no data."""
    storage = workspace.storage
    live = read_live(storage)
    runs = [_run_status(storage, run, live.run if live else None) for run in find_runs(storage)]
    shown = describe_live(storage, live) if live else None
    exports = PublishedExports.read_if_there(storage)
    said = [f"{place} (release {exports.release})" for place in exports.places] if exports else []
    return Status(workspace.uri, workspace.num_buckets, _inputs(storage), runs, shown, said)


def _inputs(storage: Storage) -> list[str]:
    catalogue = CatalogueManifest.read_if_there(storage)
    users = UsersManifest.read_if_there(storage)
    interactions = InteractionsManifest.read_if_there(storage)
    lines = [
        f"catalogue: {catalogue.num_items:,} items" if catalogue else "catalogue: none",
        f"users: {users.num_users:,} users listed" if users else "users: none",
        f"interactions: {interactions.num_rows:,} events" if interactions else "interactions: none",
    ]
    for name in storage.list_folders("embeddings"):
        lines.append(f"embedding {name}: {_state(EmbeddingManifest.exists(storage, name))}")
    for name in storage.list_folders("releases"):
        lines.append(f"release {name}: {_state(ReleaseManifest.exists(storage, name))}")
    return lines


def _state(is_finished: bool) -> str:
    return "finished" if is_finished else "unfinished"


def _run_status(storage: Storage, run: str, live: str | None) -> RunStatus:
    ledger = Ledger(storage, run_folder(run))
    plan = ledger.plan()
    pending, _ = ledger.pending(plan)
    state = _state(RunManifest.exists(storage, run))
    verification = read_verification(storage, run)
    if verification:
        state = "verified" if verification.ok else "bad parts"
    if run == live:
        state = "live" if state == "verified" else f"live, {state}"
    users = sum(part.num_rows for part in plan.parts)
    done = len(plan.parts) - len(pending)
    inputs = run_inputs(plan)
    lists = _lists(storage, run) if inputs.approximate else "exact"
    return RunStatus(run, inputs.release, inputs.k, len(plan.parts), done, users, state, lists)


def _lists(storage: Storage, run: str) -> str:
    """Returns what is known of an approximate run as it stands."""
    manifest = RunManifest.read_if_there(storage, run)
    with suppress(IncompleteRunError):
        if manifest and (recall := read_recall(storage, manifest)):
            return str(recall)
    return "approximate, recall not measured"
