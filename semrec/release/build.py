"""Building a release: the plan, the user parts, the manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import ATTRIBUTES_TYPE, CONTRACT_VERSION, part_name
from semrec.errors import CorruptArtefactError, SchemaError
from semrec.models.base import Events, ItemVectors
from semrec.models.components import Components, ModelSpec
from semrec.models.content import ContentModel
from semrec.release.arrays import read_rows
from semrec.release.clauses import stating_count
from semrec.release.matrix import attribute_dicts, pack_words
from semrec.release.reader import Release
from semrec.scoring.eligibility import Layout
from semrec.settings import ReleaseSettings
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart, build_info, sum_counts
from semrec.workspace.manifests import read_manifest, write_manifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_table, write_table

__all__ = ["ReleaseJob", "UserPartWorker", "finish_release", "plan_release"]


@dataclass(frozen=True)
class ReleaseJob:
    """Everything that the workers of one release need to know; small, and the same on every host."""

    plan: Plan
    catalogue: dict[str, Any] = field(repr=False)
    embedding: dict[str, Any] = field(repr=False)
    interactions: dict[str, Any] | None = field(repr=False)
    users: dict[str, Any] | None = field(repr=False)

    @property
    def release_id(self) -> str:
        return self.plan.run_id

    @property
    def folder(self) -> str:
        return f"releases/{self.release_id}"

    @property
    def settings(self) -> dict[str, Any]:
        return self.plan.settings


def plan_release(workspace: Workspace, embedding_name: str, settings: ReleaseSettings) -> ReleaseJob:
    """Fixes the inputs of a release; its id is their fingerprint.

    Raises MissingArtefactError when a stage before was not done, SchemaError when the embedding is of another catalogue.
    """
    storage = workspace.storage
    catalogue = read_manifest(storage, "catalogue/manifest.json", "catalogue", remedy="Import a catalogue.")
    path = f"embeddings/{embedding_name}/manifest.json"
    embedding = read_manifest(storage, path, "embedding", remedy="Run `semrec embed`.")
    if embedding["catalogue"] != catalogue["fingerprint"]:
        raise SchemaError(
            f"{path} was made from catalogue {embedding['catalogue'][:12]}",
            expected=f"the present one, {catalogue['fingerprint'][:12]}",
            remedy="Run `semrec embed`: only changed texts are embedded.",
        )
    interactions = _optional(storage, "interactions/manifest.json", "interactions")
    users = _optional(storage, "users/manifest.json", "users")
    as_of = settings.as_of if settings.as_of is not None else (interactions or {}).get("newest_timestamp")
    shared = {
        "as_of": as_of,
        "catalogue": catalogue["fingerprint"],
        "embedding": embedding["fingerprint"],
        "embedding_name": embedding_name,
        "half_life_days": settings.half_life_days,
        "eligibility": list(settings.eligibility),
        "neutral_value": interactions["neutral_value"] if interactions else 0.0,
        "repeats": interactions["repeats"] if interactions else "sum",
    }
    timeless = {name: value for name, value in shared.items() if name != "as_of"}
    parts = []
    for part in range(workspace.num_buckets):
        inputs = [source["parts"][part]["content_digest"] if source else None for source in (interactions, users)]
        own = fingerprint([CONTRACT_VERSION, timeless, _cut(interactions, part, as_of), *inputs])
        parts.append(PlannedPart(part, own, interactions["parts"][part]["num_rows"] if interactions else 0))
    plan = Plan("release", shared, tuple(parts))
    return ReleaseJob(plan, catalogue, embedding, interactions, users)


class UserPartWorker:
    """Writes the user parts of a release: vector, seen rows, eligibility and source of every user of a bucket."""

    def __init__(self, workspace: Workspace, job: ReleaseJob) -> None:
        self._storage, self._job = workspace.storage, job
        remedy = "Build the item matrix first."
        self._matrix = read_manifest(self._storage, f"{job.folder}/matrix.json", "matrix", remedy=remedy)
        num_items = self._matrix["num_items"]
        high_ID, low_ID, _ = read_rows(self._storage, self._matrix, 0, num_items)
        self._vectors = ItemVectors(high_ID, low_ID)
        content = ContentModel(
            {n: job.settings[n] for n in ("half_life_days", "neutral_value")}, self._matrix["dimension"]
        )
        spec = ModelSpec(kind="content")
        self._components = Components.side_by_side([content], [spec], job.settings["repeats"])
        items = read_table(self._storage, TableFile.from_json(self._matrix["items"]), ["item_id"])
        self._item_ids = items.column("item_id").combine_chunks()
        self._layout = Layout.from_json(self._matrix["layout"])
        self._ledger = Ledger(self._storage, job.folder)

    def run_part(self, part: int) -> PartRecord:
        """Writes and commits one part."""
        table, counts = self._part_table(part)
        stem = f"{self._job.folder}/users/{part_name(part)}"
        file = write_table(self._storage, stem, table, digest_in_name=False)
        planned = self._job.plan.parts[part]
        record = PartRecord(part, planned.fingerprint, file, counts, build_info())
        self._ledger.commit(record)
        return record

    def _part_table(self, part: int) -> tuple[pa.Table, dict[str, int]]:
        interactions, attributes = self._read(part)
        user_ids = pa.concat_arrays(
            [attributes.column(0).combine_chunks(), interactions.column("user_id").combine_chunks()]
        )
        user_ids = user_ids.unique().take(pc.sort_indices(user_ids.unique()))
        events, num_unknown = self._events(interactions, user_ids)
        vectors, personal = self._components.user_vectors(events, self._vectors, len(user_ids))
        stated = self._stated(user_ids, attributes)
        columns = [
            user_ids,
            _vector_column(vectors, personal),
            _seen_column(events, len(user_ids)),
            pack_words(self._layout.user_words(stated)),
            pa.array([list(values.items()) or None for values in stated], ATTRIBUTES_TYPE),
            pa.array(np.where(personal, "personal", "popularity")),
        ]
        table = pa.table(columns, names=["user_id", "vector", "seen_rows", "words", "stated", "source"])
        counts = {
            "users": len(user_ids),
            "personal": int(personal.sum()),
            "popularity": int((~personal).sum()),
            "events": len(events.user),
            "events_of_unknown_items": num_unknown,
            **{
                stating_count(name): sum(name in values for values in stated)
                for name in self._job.settings["eligibility"]
            },
        }
        return table, counts

    def _read(self, part: int) -> tuple[pa.Table, pa.Table]:
        job, empty = self._job, {"user_id": pa.array([], pa.string())}
        if job.interactions:
            interactions = read_table(self._storage, TableFile.from_json(job.interactions["parts"][part]))
            if self._job.settings["as_of"] is not None:
                interactions = interactions.filter(pc.less_equal(interactions["timestamp"], job.settings["as_of"]))
        else:
            kinds = {"item_id": pa.string(), "value": pa.float32(), "timestamp": pa.int64()}
            interactions = pa.table(empty | {name: pa.array([], kind) for name, kind in kinds.items()})
        if job.users:
            return interactions, read_table(self._storage, TableFile.from_json(job.users["parts"][part]))
        return interactions, pa.table(empty)

    def _events(self, interactions: pa.Table, user_ids: pa.Array) -> tuple[Events, int]:
        rows = pc.index_in(interactions.column("item_id"), value_set=self._item_ids)
        known = rows.is_valid().to_numpy()
        users = pc.index_in(interactions.column("user_id"), value_set=user_ids).to_numpy()
        events = Events(
            users[known].astype(np.int64),
            rows.drop_null().to_numpy().astype(np.int64),
            interactions.column("value").to_numpy()[known],
            interactions.column("timestamp").to_numpy()[known],
        )
        return events, int((~known).sum())

    def _stated(self, user_ids: pa.Array, attributes: pa.Table) -> list[dict[str, list[str]]]:
        """What each user states of the attributes that eligibility goes by, known to an item or not."""
        stated: list[dict[str, list[str]]] = [{} for _ in range(len(user_ids))]
        names = self._job.settings["eligibility"]
        if names and "attributes" in attributes.column_names:
            users = pc.index_in(attributes.column("user_id"), value_set=user_ids).to_pylist()
            for user, attrs in zip(users, attribute_dicts(attributes.column("attributes")), strict=True):
                stated[user] = {name: attrs[name] for name in names if attrs.get(name)}
        return stated


def finish_release(
    workspace: Workspace, job: ReleaseJob, choose_format: Callable[[Release], dict[str, Any]]
) -> dict[str, Any]:
    """Writes the release's manifest, last. Raises IncompleteRunError while parts are missing.

    `choose_format` is asked once in the life of a release: what its manifest records stands.
    """
    storage, path = workspace.storage, f"{job.folder}/manifest.json"
    matrix = read_manifest(storage, f"{job.folder}/matrix.json", "matrix", remedy="Build the item matrix first.")
    records = Ledger(storage, job.folder).finished_records(job.plan)
    totals = sum_counts(record.counts for record in records)
    body = {
        "release": job.release_id,
        "contract": CONTRACT_VERSION,
        "settings": job.settings,
        "as_of": job.settings["as_of"],
        "newest_timestamp": (job.interactions or {}).get("newest_timestamp"),
        "encoder": job.embedding["encoder"],
        "counts": totals,
        "num_users": totals.get("users", 0),
        "matrix": {name: value for name, value in matrix.items() if name not in ("kind", "schema")},
        "interactions": [TableFile.from_json(part).to_json() for part in (job.interactions or {}).get("parts", [])],
        "users": [{"part": r.part, "popularity": r.counts["popularity"], **r.table.to_json()} for r in records],
    }
    body |= _folded_entry(job)
    body["coarse"] = _recorded_coarse(storage, path) or choose_format(Release(storage, job.release_id, body))
    write_manifest(storage, path, "release", body)
    return body


def _folded_entry(job: ReleaseJob) -> dict[str, Any]:
    """The last item change and event made online that the release holds; no entry in a workspace that never had any."""
    items, events = (int((source or {}).get("folded", 0)) for source in (job.catalogue, job.interactions))
    return {"folded": {"items": items, "events": events}} if items or events else {}


def _recorded_coarse(storage: Storage, path: str) -> dict[str, Any] | None:
    try:
        return (_optional(storage, path, "release") or {}).get("coarse")
    except CorruptArtefactError:
        return None  # the manifest is about to be written again


def _cut(interactions: dict[str, Any] | None, part: int, as_of: int | None) -> int | None:
    """`as_of` where it leaves out events of the part, else None: a later one alone does not change the part."""
    newest = interactions["parts"][part]["newest_timestamp"] if interactions else None
    return as_of if newest is not None and as_of is not None and newest > as_of else None


def _optional(storage: Storage, path: str, kind: str) -> dict[str, Any] | None:
    return read_manifest(storage, path, kind, remedy="") if storage.exists(path) else None


def _vector_column(vectors: np.ndarray, personal: np.ndarray) -> pa.Array:
    flat = pa.array(vectors.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(~personal))


def _seen_column(events: Events, num_users: int) -> pa.Array:
    """The distinct rows each user interacted with, ascending: list<int32>."""
    pairs = (
        np.unique(np.stack([events.user, events.row], axis=1), axis=0) if len(events.user) else np.zeros((0, 2), int)
    )
    offsets = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=num_users))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(pairs[:, 1], pa.int32()))
