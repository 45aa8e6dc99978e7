"""The path from inputs to a published run in one process, on worlds small enough to be known by heart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.compute import InProcess
from cluster.stages.release import ReleaseResult, build_release
from cluster.stages.score import ScoreResult, score_users
from semrec.bench.generated import write_catalogue
from semrec.contracts import bucket_of
from semrec.data import UserRow, import_interactions, import_users
from semrec.progress import NoProgress
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import TableFile

ITEM_IDS = [f"item-{n}" for n in range(8)]
NUM_BUCKETS = 4
Event = tuple[str, str, float, int]  # user, item, value, seconds


def directions(num_items: int = 8) -> np.ndarray:
    """Items along an arc of the unit circle, so that neighbours in number are neighbours in score. Neither RNG nor sine."""
    slope = np.arange(num_items) / 8.0
    return np.stack([(1 - slope**2) / (1 + slope**2), 2 * slope / (1 + slope**2)], axis=1).astype(np.float32)


def users_of(bucket: int, count: int, num_buckets: int = NUM_BUCKETS) -> list[str]:
    """The first `count` of user-0, user-1, ... that fall into `bucket`."""
    names = (f"user-{n}" for n in range(10_000))
    return [name for name in names if bucket_of(name, num_buckets) == bucket][:count]


def history() -> list[Event]:
    """Two users in each bucket; each saw two neighbouring items, at times of their own."""
    users = [user for bucket in range(NUM_BUCKETS) for user in users_of(bucket, 2)]
    first = [(user, f"item-{n % 7}", 1.0, 1_000_000 + n) for n, user in enumerate(users)]
    return first + [(user, f"item-{n % 7 + 1}", 2.0, 2_000_000 + 50 * n) for n, user in enumerate(users)]


def events_table(events: list[Event]) -> pa.Table:
    users, items, values, seconds = (list(column) for column in zip(*events, strict=True)) if events else ([],) * 4
    kinds = (pa.string(), pa.string(), pa.float32(), pa.int64())
    columns = [pa.array(c, kind) for c, kind in zip((users, items, values, seconds), kinds, strict=True)]
    return pa.table(columns, names=["user_id", "item_id", "value", "timestamp"])


def make_world(
    uri: object, events: list[Event] | None = None, *, silent_users: list[str] | None = None, **options: Any
) -> Workspace:
    """Eight items, the events (None: `history`), and users who are only listed."""
    workspace = Workspace.create(str(uri), num_buckets=NUM_BUCKETS)
    write_catalogue(workspace, ITEM_IDS, directions())
    import_interactions(workspace, [events_table(history() if events is None else events)], **options)
    if silent_users:
        import_users(workspace, [UserRow(user) for user in silent_users])
    return workspace


def release(workspace: Workspace, **settings: Any) -> ReleaseResult:
    """Builds the release of the present inputs."""
    return build_release(
        workspace, ReleaseSettings(**settings), embedding=None, compute=InProcess(), progress=NoProgress()
    )


def score(workspace: Workspace, k: int = 3, **options: Any) -> ScoreResult:
    """Scores the newest release with the CPU engine."""
    return score_users(
        workspace, ScoreSettings(k=k), **{"engine": "cpu", "compute": InProcess(), "progress": NoProgress(), **options}
    )


def part_digests(parts: Sequence[TableFile]) -> list[str]:
    return [part.content_digest for part in parts]
