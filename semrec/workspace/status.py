"""What a workspace holds and how far each run is."""

from __future__ import annotations

from dataclasses import dataclass

from semrec.runs import find_runs, read_live, read_verification, run_folder
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import read_manifest
from semrec.workspace.storage import Storage

__all__ = ["RunStatus", "Status", "read_status"]


@dataclass(frozen=True)
class RunStatus:
    """One run. `state` is unfinished, finished, verified, bad parts or live."""

    run: str
    release: str
    k: int
    num_parts: int
    num_committed: int
    num_users: int
    state: str


@dataclass(frozen=True)
class Status:
    """A workspace at a glance."""

    uri: str
    num_buckets: int
    inputs: list[str]
    runs: list[RunStatus]
    live: str | None


_INPUTS = (
    ("catalogue", "num_items", "items"),
    ("users", "num_users", "users listed"),
    ("interactions", "num_rows", "events"),
)


def read_status(workspace: Workspace) -> Status:
    """Reads manifests and ledgers, no data."""
    storage = workspace.storage
    live = read_live(storage)
    runs = [_run_status(storage, run, live.run if live else None) for run in find_runs(storage)]
    shown = f"release {live.release}, run {live.run}" if live else None
    return Status(workspace.uri, workspace.num_buckets, _inputs(storage), runs, shown)


def _inputs(storage: Storage) -> list[str]:
    lines = []
    for kind, count, unit in _INPUTS:
        path = f"{kind}/manifest.json"
        if storage.exists(path):
            lines.append(f"{kind}: {read_manifest(storage, path, kind, remedy='Import it again.')[count]:,} {unit}")
        else:
            lines.append(f"{kind}: none")
    for kind, folder in (("embedding", "embeddings"), ("release", "releases")):
        for name in storage.list_folders(folder):
            state = "finished" if storage.exists(f"{folder}/{name}/manifest.json") else "unfinished"
            lines.append(f"{kind} {name}: {state}")
    return lines


def _run_status(storage: Storage, run: str, live: str | None) -> RunStatus:
    ledger = Ledger(storage, run_folder(run))
    plan = ledger.plan()
    pending, _ = ledger.pending(plan)
    state = "finished" if storage.exists(f"{run_folder(run)}/manifest.json") else "unfinished"
    verification = read_verification(storage, run)
    if verification:
        state = "verified" if verification.ok else "bad parts"
    if run == live:
        state = "live" if state == "verified" else f"live, {state}"
    users = sum(part.num_rows for part in plan.parts)
    done = len(plan.parts) - len(pending)
    return RunStatus(run, plan.settings["release"], plan.settings["k"], len(plan.parts), done, users, state)
