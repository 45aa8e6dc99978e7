"""Writes the user parts of a release, then its manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import ATTRIBUTES_TYPE, CONTRACT_VERSION, USERS_SCHEMA, part_name
from semrec.data.event_files import read_interactions
from semrec.errors import CorruptArtefactError
from semrec.graph.inference import including_subclasses
from semrec.models.base import Events
from semrec.release.arrays import StoredRows, read_ids
from semrec.release.attributes import attribute_dicts
from semrec.release.clauses import stating_count
from semrec.release.matrix import layout_of, pack_words
from semrec.release.plan import ReleaseJob
from semrec.release.reader import Release
from semrec.release.sources import PERSONAL, POPULARITY
from semrec.release.training import indexed_events, read_components
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, build_info, sum_counts
from semrec.workspace.manifests import (
    AppliedSequences,
    CoarseChoice,
    MatrixManifest,
    ReleaseManifest,
    UserPartFile,
)
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = ["UserPartWorker", "finish_release"]


class UserPartWorker:
    """Writes the user parts of a release: vector, seen rows, eligibility and source of every user of a bucket.

    The items are read where they lie: a part takes the time and memory of its own users and of the items they know.
    """

    def __init__(self, workspace: Workspace, job: ReleaseJob, plan: Plan) -> None:
        self._storage, self._job, self._plan = workspace.storage, job, plan
        matrix = MatrixManifest.read(self._storage, job.release_id)
        self._stored, self._item_ids = StoredRows(self._storage, matrix), read_ids(self._storage, matrix)
        self._components = read_components(self._storage, matrix, job.inputs)
        self._layout, self._subclasses = layout_of(matrix), matrix.subclasses
        self._ledger = Ledger(self._storage, job.folder)

    def run_part(self, part: int) -> PartRecord:
        """Writes and commits one part."""
        table, counts = self._part_table(part)
        stem = f"{self._job.folder}/users/{part_name(part)}"
        file = write_table(self._storage, stem, table, digest_in_name=False)
        planned = self._plan.parts[part]
        record = PartRecord(part, planned.fingerprint, file, counts, build_info())
        self._ledger.commit(record)
        return record

    def _part_table(self, part: int) -> tuple[pa.Table, dict[str, int]]:
        interactions, attributes = self._read(part)
        user_ids = pa.concat_arrays(
            [attributes.column(0).combine_chunks(), interactions.column("user_id").combine_chunks()]
        )
        user_ids = user_ids.unique().take(pc.sort_indices(user_ids.unique()))
        events, num_unknown = indexed_events(interactions, user_ids, self._item_ids)
        # Only the vectors of items that these users know are read: a part takes no memory for the others.
        known_rows, places_E = np.unique(events.row, return_inverse=True)
        among_known = replace(events, row=places_E.reshape(-1))
        vectors_UD, has_vector_U = self._components.user_vectors(
            among_known, self._stored.items(known_rows), len(user_ids)
        )
        stated = self._stated(user_ids, attributes)
        columns = [
            user_ids,
            _vector_column(vectors_UD, has_vector_U),
            _seen_column(events, len(user_ids)),
            pack_words(self._layout.user_words(stated)),
            pa.array([list(values.items()) or None for values in stated], ATTRIBUTES_TYPE),
            pa.array(np.where(has_vector_U, PERSONAL, POPULARITY)),
        ]
        table = pa.table(columns, names=["user_id", "vector", "seen_rows", "words", "stated", "source"])
        counts = {
            "users": len(user_ids),
            PERSONAL: int(has_vector_U.sum()),
            POPULARITY: int((~has_vector_U).sum()),
            "events": len(events.user),
            "events_of_unknown_items": num_unknown,
            **{stating_count(name): sum(name in values for values in stated) for name in self._job.inputs.eligibility},
        }
        return table, counts

    def _read(self, part: int) -> tuple[pa.Table, pa.Table]:
        job = self._job
        file = job.interactions.parts[part] if job.interactions else None
        attributes = read_table(self._storage, job.users.parts[part]) if job.users else USERS_SCHEMA.empty_table()
        return read_interactions(self._storage, file, job.inputs.as_of), attributes

    def _stated(self, user_ids: pa.Array, attributes: pa.Table) -> list[dict[str, list[str]]]:
        """Returns what each user states of eligibility's attributes, known to an item or not, with all subclasses."""
        stated: list[dict[str, list[str]]] = [{} for _ in range(len(user_ids))]
        names = self._job.inputs.eligibility
        if names and "attributes" in attributes.column_names:
            users = pc.index_in(attributes.column("user_id"), value_set=user_ids).to_pylist()
            for user, attrs in zip(users, attribute_dicts(attributes.column("attributes")), strict=True):
                stated[user] = {
                    name: including_subclasses(attrs[name], self._subclasses.get(name, {}))
                    for name in names
                    if attrs.get(name)
                }
        return stated


def finish_release(
    workspace: Workspace, job: ReleaseJob, plan: Plan, choose_format: Callable[[Release], CoarseChoice]
) -> ReleaseManifest:
    """Writes the release's manifest, last. Raises IncompleteRunError while parts are missing.

    `choose_format` is asked once in the life of a release: what its manifest records stands.
    """
    storage, release_id = workspace.storage, job.release_id
    matrix = MatrixManifest.read(storage, release_id).matrix
    records = Ledger(storage, job.folder).finished_records(plan)
    counts = sum_counts(record.counts for record in records)
    interactions = job.interactions.parts if job.interactions else ()
    manifest = ReleaseManifest(
        release=release_id,
        contract=CONTRACT_VERSION,
        settings=job.inputs,
        as_of=job.inputs.as_of,
        newest_timestamp=job.interactions.newest_timestamp if job.interactions else None,
        encoder=job.embedding.encoder,
        **({"beside_encoders": {m: own.encoder for m, own in job.beside.items()}} if job.beside else {}),
        counts=counts,
        num_users=counts.get("users", 0),
        matrix=matrix,
        sources=(PERSONAL, POPULARITY),
        interactions=tuple(part.files for part in interactions),
        users=tuple(UserPartFile.of(r.part, r.table, popularity=r.counts[POPULARITY]) for r in records),
        **_applied_entry(job),
    )
    coarse = _recorded_coarse(storage, release_id) or choose_format(Release(storage, release_id, manifest))
    manifest = manifest.model_copy(update={"coarse": coarse})
    manifest.write(storage, release_id)
    return manifest


def _applied_entry(job: ReleaseJob) -> dict[str, AppliedSequences]:
    """Returns the last changes made online that the release holds; no entry in a workspace that never had any."""
    sources = {"items": job.catalogue, "events": job.interactions, "relations": job.relations}
    applied = {name: source.applied_sequence if source else 0 for name, source in sources.items()}
    if not applied["relations"]:
        del applied["relations"]
    return {"applied": AppliedSequences(**applied)} if any(applied.values()) else {}


def _recorded_coarse(storage: Storage, release_id: str) -> CoarseChoice | None:
    try:
        recorded = ReleaseManifest.read_if_there(storage, release_id)
    except CorruptArtefactError:
        return None  # the manifest is about to be written again
    return recorded.coarse if recorded else None


def _vector_column(vectors_UD: np.ndarray, has_vector_U: np.ndarray) -> pa.Array:
    # Null and not zeros: a user without a vector is ranked by popularity, one of zeros would tie all items.
    flat = pa.array(vectors_UD.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors_UD.shape[1], mask=pa.array(~has_vector_U))


def _seen_column(events: Events, num_users: int) -> pa.Array:
    """Returns the distinct rows each user interacted with, ascending: list<int32>."""
    pairs = (
        np.unique(np.stack([events.user, events.row], axis=1), axis=0) if len(events.user) else np.zeros((0, 2), int)
    )
    offsets = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=num_users))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(pairs[:, 1], pa.int32()))
