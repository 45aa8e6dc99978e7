"""A generated workspace for the serving bench: a catalogue with platforms, users who pay for some, a published run."""

from __future__ import annotations

from typing import Final

import numpy as np

from cluster.compute import Compute
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from cluster.stages.verify import verify
from semrec.bench.generated import EMBEDDING_NAME, generated_events, write_catalogue
from semrec.bench.workloads import generated_vectors
from semrec.data import UserRow, import_interactions, import_users
from semrec.progress import Progress
from semrec.runs.publish import publish
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace

__all__ = ["PLATFORMS", "make_serving_world"]

PLATFORMS: Final = ("Atlas", "Lumina", "Marquee", "Popcorn TV")
_SEEN_PER_USER: Final = 100
_K: Final = 10


def make_serving_world(
    workspace: Workspace, num_items: int, num_users: int, *, dimension: int, compute: Compute, progress: Progress
) -> None:
    """Items with a platform or two, users with a hundred events and two platforms each, their lists of ten, live."""
    rng = np.random.default_rng(7)
    item_ids = [f"item-{n:07d}" for n in range(num_items)]
    drawn = rng.integers(0, len(PLATFORMS), (num_items, 2)).tolist()
    platforms = [{"platform": sorted({PLATFORMS[n] for n in two})} for two in drawn]
    write_catalogue(workspace, item_ids, generated_vectors(num_items, dimension, seed=7), platforms)
    import_interactions(workspace, generated_events(item_ids, num_users, events_per_user=_SEEN_PER_USER, seed=7))
    paid = {"platform": list(PLATFORMS[:2])}
    import_users(workspace, (UserRow(f"user-{n:08d}", paid) for n in range(num_users)))
    build_release(workspace, ReleaseSettings(), embedding=EMBEDDING_NAME, compute=compute, progress=progress)
    run = score_users(workspace, ScoreSettings(k=_K), compute=compute, progress=progress).run_id
    verify(workspace, run, compute=compute, progress=progress)
    publish(workspace.storage, run)
