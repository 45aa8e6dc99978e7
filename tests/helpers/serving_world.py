"""A small published world of whole-number vectors, so that scores tie often, and what is right about it in plain lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.compute import InProcess
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from semrec.bench.generated import write_catalogue
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.data import ColumnMap, UserRow, import_interactions, import_table, import_users
from semrec.online.answers import RankQuery
from semrec.online.release import OnlineRelease
from semrec.progress import NoProgress
from semrec.runs.gates import Allowed
from semrec.runs.health import measure_health
from semrec.runs.publish import publish
from semrec.runs.verify import verify_run
from semrec.scoring.canonical import canonical_scores
from semrec.settings import ReleaseSettings, ScoreSettings, Settings
from semrec.settings_file import write_settings
from semrec.workspace.folder import Workspace

K = 5
NUM_ITEMS = 70
DIMENSION = 3
GENRES = ("Comedy", "Drama", "Horror", "Noir")
PLATFORMS = ("Atlas", "Lumina", "Marquee")


@dataclass(frozen=True)
class Item:
    """What the reference knows of an item."""

    vector: np.ndarray
    attributes: dict[str, list[str]]
    popularity: float = 0.0


@dataclass(frozen=True)
class World:
    """A published workspace and the items that it was made of, by id."""

    workspace: Workspace
    release_id: str
    run_id: str
    items: dict[str, Item]
    stated: dict[str, list[str]]  # user -> platforms

    def serve(self, **options: int) -> OnlineRelease:
        return OnlineRelease(self.workspace.storage, self.release_id, self.run_id, **options)


def attributes_of(rng: np.random.Generator) -> dict[str, list[str]]:
    """Random attributes: some items have none, several genres, or years that are no numbers."""
    made = {
        "genre": rng.choice(GENRES, rng.integers(0, 3), replace=False).tolist(),
        "platform": rng.choice(PLATFORMS, rng.integers(0, 3), replace=False).tolist(),
        "year": [str(rng.integers(1990, 1999)) if rng.random() < 0.9 else "unknown"],
    }
    return {name: values for name, values in made.items() if values}


def vectors_of(rng: np.random.Generator, count: int) -> np.ndarray:
    """Vectors of small whole numbers, none of them zero."""
    vectors = rng.integers(-2, 3, (count, DIMENSION)).astype(np.float32)
    vectors[~vectors.any(axis=1), 0] = 1
    return vectors


def make_world(uri: object, *, num_users: int = 40, seed: int = 5) -> World:
    """Items "n00" to "n69", users who watched or only joined, some of whom pay for platforms; scored and published."""
    rng = np.random.default_rng(seed)
    ids = [f"n{n:02d}" for n in range(NUM_ITEMS)]
    vectors, attributes = vectors_of(rng, NUM_ITEMS), [attributes_of(rng) for _ in ids]
    workspace = Workspace.create(str(uri), num_buckets=4)
    write_catalogue(workspace, ids, vectors, attributes)
    events = sorted(
        (f"user-{user}", ids[item], float(rng.integers(1, 4)), 1_000_000 + int(rng.integers(0, 10**7)))
        for user in range(num_users)
        for item in rng.choice(NUM_ITEMS, rng.integers(0, 12), replace=False)
    )
    import_interactions(workspace, [event_table(events)])
    stated = {f"user-{user}": rng.choice(PLATFORMS, 2, replace=False).tolist() for user in range(0, num_users, 3)}
    stated |= {"user-21": ["Atlas", "Ghost"], "user-27": ["Ghost"]}  # which no item of the release has
    everyone = [f"user-{user}" for user in range(num_users)]
    import_users(workspace, [UserRow(u, {"platform": stated[u]} if u in stated else {}) for u in everyone])
    seen_by = [{user for user, item, _, _ in events if item == item_id} for item_id in ids]
    items = {i: Item(v, a, float(len(s))) for i, v, a, s in zip(ids, vectors, attributes, seen_by, strict=True)}
    release_id, run_id = publish_world(workspace)
    return World(workspace, release_id, run_id, items, stated)


def publish_world(workspace: Workspace, k: int = K, **settings: Any) -> tuple[str, str]:
    """Builds, scores, verifies and publishes what the workspace holds now: release id and run id.

    `settings` are those of the release, and become the workspace's. Items need not state what users do.
    """
    compute, silent = InProcess(), NoProgress()
    if settings:
        write_settings(workspace.storage, Settings(release=ReleaseSettings(**settings)))
    built = build_release(workspace, ReleaseSettings(**settings), embedding=None, compute=compute, progress=silent)
    scored = score_users(workspace, ScoreSettings(k=k), engine="cpu", compute=compute, progress=silent)
    assert verify_run(workspace.storage, scored.run_id).ok
    assert measure_health(workspace.storage, scored.run_id).num_excluded == 0
    publish(workspace.storage, scored.run_id, Allowed(lost_clauses=frozenset(settings.get("eligibility", ()))))
    return built.release_id, scored.run_id


def import_relations(workspace: Workspace, folder: Path) -> None:
    """Two films of one director, and one film that continues another."""
    file = folder / "relations.csv"
    file.write_text("subject,predicate,object\nn01,directed_by,kaye\nn07,directed_by,kaye\nn07,sequel_of,n03\n")
    columns = ColumnMap(subject="subject", predicate="predicate", object="object")
    import_table(workspace, file, fmt="csv", kind="relations", columns=columns)


def event_table(events: Sequence[tuple[str, str, float, int]]) -> pa.Table:
    columns = list(zip(*events, strict=True)) or [(), (), (), ()]
    kinds = {"user_id": pa.string(), "item_id": pa.string(), "value": pa.float32(), "timestamp": pa.int64()}
    return pa.table([pa.array(c, k) for c, k in zip(columns, kinds.values(), strict=True)], names=list(kinds))


def put(item_id: str, vector: np.ndarray, attributes: Mapping[str, list[str]], sequence: int = 1) -> ItemChange:
    """A change that puts an item there."""
    return ItemChange(sequence, item_id, False, f"title of {item_id}", "", attributes, vector)


def gone(item_id: str, sequence: int = 1) -> ItemChange:
    """A change that deletes an item."""
    return ItemChange(sequence, item_id, True)


def changed_items(items: Mapping[str, Item], view: OverlayView) -> dict[str, Item]:
    """The items as the view has changed them."""
    now = {item_id: item for item_id, item in items.items() if item_id not in view.changes}
    for item_id, change in view.changes.items():
        if not change.deleted:
            popularity = items[item_id].popularity if item_id in items else 0.0
            now[item_id] = Item(change.vector, dict(change.attributes), popularity)
    return now


def reference(
    items: Mapping[str, Item], rank_query: RankQuery, seen: set[str], platforms: Sequence[str]
) -> list[tuple[str, bytes]]:
    """The right answer: (item_id, bytes of the score), one item after the other and then sorted."""
    found = []
    for item_id, item in items.items():
        if item_id in seen or item_id in rank_query.filters.exclude:
            continue
        if platforms and not set(platforms) & set(item.attributes.get("platform", [])):
            continue
        if not all(passes(item.attributes.get(name, []), rank_query, name) for name in item_filters(rank_query)):
            continue
        score = np.float32(item.popularity)
        if rank_query.vector is not None:
            score = canonical_scores(rank_query.vector[None], item.vector[None])[0]
        found.append((item_id, score))
    found.sort(key=lambda one: (-one[1], one[0]))
    return [(item_id, score.tobytes()) for item_id, score in found[: rank_query.k]]


def item_filters(rank_query: RankQuery) -> set[str]:
    return {*rank_query.filters.any_of, *rank_query.filters.ranges}


def passes(values: Sequence[str], rank_query: RankQuery, name: str) -> bool:
    """Whether one of an item's values is asked for."""
    wanted, between = rank_query.filters.any_of.get(name), rank_query.filters.ranges.get(name)
    kept = [value for value in values if wanted is None or value in wanted]
    if between is not None:
        low, high = (-np.inf if between[0] is None else between[0]), (np.inf if between[1] is None else between[1])
        kept = [value for value in kept if value.lstrip("-").isdigit() and low <= int(value) <= high]
    return bool(kept)
