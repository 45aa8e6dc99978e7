"""Draws the map of a release away from the driver."""

from __future__ import annotations

from cluster.compute import Compute
from semrec.progress import Progress
from semrec.reports.map import draw_map
from semrec.runs.status import live_or_newest
from semrec.workspace.folder import Workspace

__all__ = ["draw_release_map"]


def draw_release_map(workspace: Workspace, release_id: str | None, *, compute: Compute, progress: Progress) -> str:
    """Draws the map of a release unless it is there (None: of the live one, else of the newest); returns the release's id."""
    storage = workspace.storage
    if release_id is None:
        release_id = live_or_newest(storage)
    progress.start("map", 0, "items")
    num_threads = compute.devices(kind="cpu").cpus
    is_new = compute.run(draw_map, storage, release_id, num_threads=num_threads)
    progress.finish("drawn" if is_new else "drawn before")
    return release_id
