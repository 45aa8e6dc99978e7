"""Fits the models of a release, stores them with it, and reads them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.event_files import read_interactions
from semrec.models.base import BlendSample, Events, ItemVectors, TrainingData, VectorModel, model_class
from semrec.models.components import Component, Components
from semrec.models.sparse import ROWS_PER_BLOCK
from semrec.release.arrays import read_array, write_array
from semrec.sorted_ids import SortedIds
from semrec.workspace.digests import fingerprint
from semrec.workspace.manifests import InteractionsManifest, ItemMatrix, ModelRecord, ModelSpec, ReleaseInputs
from semrec.workspace.records import EventFiles
from semrec.workspace.storage import Storage

__all__ = [
    "DEFAULT_MODELS",
    "fit_models",
    "indexed_events",
    "part_events",
    "read_components",
    "write_models",
]

#: The models of a release that names none.
DEFAULT_MODELS = (ModelSpec(kind="content"),)

_SAMPLED_USERS: Final = 20_000  # enough for the mean and covariance of their vectors


def indexed_events(interactions: pa.Table, user_ids: pa.Array, item_ids: SortedIds) -> tuple[Events, int]:
    """Returns interactions by place of the user in `user_ids` and of the item in `item_ids`, and how many have another item."""
    rows = item_ids.rows_of(interactions.column("item_id"))
    is_known = rows >= 0
    users = pc.index_in(interactions.column("user_id"), value_set=user_ids).to_numpy()
    events = Events(
        users[is_known].astype(np.int64),
        rows[is_known],
        interactions.column("value").to_numpy()[is_known],
        interactions.column("timestamp").to_numpy()[is_known],
    )
    return events, int((~is_known).sum())


def part_events(storage: Storage, inputs: ReleaseInputs, part: EventFiles, item_ids: SortedIds) -> Events:
    """Reads the events of one user bucket that a release learns from, users counted from 0."""
    table = read_interactions(storage, part, inputs.as_of)
    events, _ = indexed_events(table, table.column("user_id").unique(), item_ids)
    return events.counted(inputs.repeats, inputs.neutral_value)


def fit_models(
    storage: Storage,
    inputs: ReleaseInputs,
    interactions: InteractionsManifest | None,
    item_ids: SortedIds,
    content: Mapping[str, np.ndarray],
    popularity_I: np.ndarray,
    trained: Mapping[str, Callable[[], Any]] | None = None,
) -> tuple[Components, list[np.ndarray]]:
    """Fits the models that `inputs` names on the release's data: side by side, and the item vectors of each, [I, D of it].

    `content` and `trained` are as `TrainingData` has them, in the order of `item_ids`.
    Raises InputError for models that cannot stand in one release or cannot learn from this data.
    """

    def read_events() -> Iterator[Events]:
        for part in interactions.parts if interactions else ():
            yield part_events(storage, inputs, part, item_ids)

    data = TrainingData(
        num_items=len(item_ids),
        content=content,
        popularity_I=popularity_I,
        read_events=read_events,
        neutral_value=inputs.neutral_value,
        half_life_days=inputs.half_life_days,
        trained=trained or {},
    )
    specs = inputs.models or DEFAULT_MODELS
    models, vectors = list[VectorModel](), list[np.ndarray]()

    def side_by_side() -> Components:
        return Components.side_by_side(models, specs[: len(models)], inputs.repeats, inputs.neutral_value)

    for spec in specs:
        kind = model_class(spec.kind)
        if kind.is_fitted_last and models:
            data = replace(data, blend=_sample_blend(side_by_side(), tuple(vectors), read_events()))
        model, vectors_ID = kind.fit(data, spec.settings)
        models.append(model)
        vectors.append(vectors_ID)
    return side_by_side(), vectors


def _sample_blend(components: Components, vectors: Sequence[np.ndarray], parts: Iterator[Events]) -> BlendSample:
    """Reads a sample for the blend: the users of the first parts, whose buckets go by a hash, and all items, as a release's
    components have them.
    """
    users, num_users = list[np.ndarray](), 0
    for events in parts:
        rows, places = np.unique(events.row, return_inverse=True)
        # Only what the part's users met: their vectors are made of nothing else.
        items = ItemVectors.from_vectors(components.stored_items([vectors_ID[rows] for vectors_ID in vectors]), rows)
        own = Events(events.user, places, events.value, events.timestamp)
        vectors_UD, has_vector_U = components.user_vectors(own, items, int(events.user.max(initial=-1)) + 1)
        users.append(vectors_UD[has_vector_U])
        num_users += len(users[-1])
        if num_users >= _SAMPLED_USERS:
            break

    def item_blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(vectors[0]), ROWS_PER_BLOCK):
            yield components.stored_items([vectors_ID[start : start + ROWS_PER_BLOCK] for vectors_ID in vectors])

    return BlendSample(item_blocks, np.concatenate([np.zeros((0, components.dimension), np.float32), *users]))


def write_models(storage: Storage, folder: str, components: Components) -> tuple[ModelRecord, ...]:
    """Stores what the models have beside their item vectors as `models/<kind>/<name>.npy` in a release's folder."""
    return tuple(_write_model(storage, folder, component) for component in components.components)


def read_components(storage: Storage, matrix: ItemMatrix, inputs: ReleaseInputs) -> Components:
    """Returns the models that gave a stored item matrix its vectors; the content model for a matrix older than the others.

    Raises InputError for a model that this version does not know, CorruptArtefactError for arrays that are not those
    recorded.
    """
    if not matrix.models:
        rule = {"half_life_days": inputs.half_life_days, "neutral_value": inputs.neutral_value}
        content: VectorModel = model_class("content").load(rule, matrix.dimension, {})
        return Components.side_by_side([content], DEFAULT_MODELS, inputs.repeats, inputs.neutral_value)
    models = [
        model_class(record.kind).load(
            record.settings, record.dimension, {name: read_array(storage, file) for name, file in record.arrays.items()}
        )
        for record in matrix.models
    ]
    return Components.side_by_side(models, matrix.models, inputs.repeats, inputs.neutral_value)


def _write_model(storage: Storage, folder: str, component: Component) -> ModelRecord:
    model = component.model
    arrays = {
        name: write_array(storage, f"{folder}/models/{model.kind}/{name}.npy", array)
        for name, array in sorted(model.arrays().items())
    }
    digests = {name: file.sha256 for name, file in arrays.items()}
    return ModelRecord(
        kind=model.kind,
        settings=model.settings,
        exponent=component.exponent,
        weights=component.weights,
        dimension=model.dimension,
        arrays=arrays,
        fingerprint=fingerprint([model.kind, model.settings, digests]),
    )
