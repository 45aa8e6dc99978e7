"""Read what an evaluation works on: a workspace's interactions and embedding, or the files of a published split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import ATTRIBUTES_TYPE, INTERACTIONS_SCHEMA
from semrec.data.event_files import read_interactions
from semrec.errors import InputError, SchemaError
from semrec.evaluation.splits import Split, check_no_overlap
from semrec.models.base import Events
from semrec.models.graph import RELATIONS, walk_vectors
from semrec.release.attributes import FlatAttributes, attribute_names
from semrec.release.relations import RelationSources, item_relations, make_graph
from semrec.settings import DEFAULT_HALF_LIFE_DAYS
from semrec.settings_file import read_settings
from semrec.sorted_ids import SortedIds
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest, InteractionsManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts, read_table

__all__ = ["Dataset", "PublishedSplit", "read_dataset", "read_published"]

_COLUMNS: Final = re.compile(r"\t|::|,")
_PAIR: Final = re.compile(r"\(\s*([^,()]+)\s*,\s*([^,()]+)\s*\)")


@dataclass(frozen=True)
class Dataset:
    """Interactions of numbered users and items, with what items are about.

    `item_ids` in ascending order, as the rows of a release; `content` modality -> float32 [I, D], zeros for an item without an
    embedding. An event is liked when its value exceeds `neutral_value`, and counts half after `half_life_days`.
    """

    item_ids: list[str]
    num_users: int
    events: Events
    neutral_value: float
    content: Mapping[str, np.ndarray] = field(default_factory=dict)
    half_life_days: float = DEFAULT_HALF_LIFE_DAYS

    @property
    def num_items(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class PublishedSplit:
    """Train and test as somebody else divided them.

    `candidate_offsets`, `candidate_rows`: of each target the items that it competes with, in CSR; None for the whole
    catalogue.
    """

    dataset: Dataset
    split: Split
    candidate_offsets: np.ndarray | None = None
    candidate_rows: np.ndarray | None = None


def read_dataset(
    workspace: Workspace,
    *,
    embedding: str | None = None,
    beside: Mapping[str, str] | None = None,
    as_of: int | None = None,
    max_users: int | None = None,
    with_relations: bool = False,
) -> Dataset:
    """The present catalogue, interactions and, where there is one, an embedding of a workspace.

    `embedding` names it where there are several; `beside` those of other modalities. Events after `as_of` (s UTC) are left
    out. `max_users` leaves out the user buckets behind the one in which it is reached: a sample, because buckets go by a hash.
    `with_relations`: the content has the vectors that items have by their relations, where there are any. Raises
    MissingArtefactError without a catalogue or interactions, InputError when the embedding cannot be told, SchemaError when it
    is of another catalogue.
    """
    storage = workspace.storage
    catalogue = CatalogueManifest.read(storage)
    interactions = InteractionsManifest.read(storage, remedy="Import interactions.")
    ids = SortedIds.of(read_parts(storage, catalogue.parts, ["item_id"]).sort_by("item_id")["item_id"])
    num_users_before = np.cumsum([0, *(part.num_users for part in interactions.parts[:-1])])
    parts = [
        part
        for part, num_users in zip(interactions.parts, num_users_before, strict=True)
        if max_users is None or num_users < max_users
    ]
    tables = (read_interactions(storage, part, as_of) for part in parts)
    table = pa.concat_tables([INTERACTIONS_SCHEMA.empty_table(), *tables])
    rows = ids.rows_of(table["item_id"])
    table, rows = table.filter(pa.array(rows >= 0)), rows[rows >= 0]
    users = table["user_id"].unique()
    events = Events(
        pc.index_in(table["user_id"], value_set=users).to_numpy().astype(np.int64),
        rows,
        table["value"].to_numpy(),
        table["timestamp"].to_numpy(),
    )
    content = {}
    if name := _embedding_name(storage, embedding, beside or {}):
        content["text"] = _embedded(storage, ids, name, catalogue.fingerprint)
    for modality, other in (beside or {}).items():
        content[modality] = _embedded(storage, ids, other, catalogue.fingerprint)
    if with_relations:
        content |= _relations(storage, catalogue, ids)
    half_life_days = read_settings(storage).release.half_life_days
    return Dataset(ids.array().to_pylist(), len(users), events, interactions.neutral_value, content, half_life_days)


def read_published(train: Path, test: Path, candidates: Path | None = None) -> PublishedSplit:
    """A split from files: all pairs of train are likes, all of test are targets.

    A line is "user item item ..." with spaces (as LightGCN has it), or "user, item and more" with tabs, commas or "::", of
    which the first two count and the fourth, if it is a number, is the time. `candidates` has one line per test pair:
    "(user,item) item item ..." with tabs or spaces (the negatives of NCF). Raises InputError naming file and line that
    cannot be read, pairs that stand in train and in test with their count, and a target without candidates.
    """
    train_pairs, test_pairs = _read_pairs(train), _read_pairs(test)
    negatives = _read_candidates(candidates) if candidates else {}
    users = sorted({user for user, _, _ in (*train_pairs, *test_pairs)})
    items = {item for _, item, _ in (*train_pairs, *test_pairs)} | {item for row in negatives.values() for item in row}
    item_ids = sorted(items, key=str.encode)
    user_of, row_of = ({name: n for n, name in enumerate(names)} for names in (users, item_ids))
    trained, targets = (_events(pairs, user_of, row_of) for pairs in (train_pairs, test_pairs))
    check_no_overlap(trained, targets, len(item_ids))
    pairs = np.unique(np.stack([targets.user, targets.row], axis=1), axis=0)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=len(users)))]).astype(np.int64)
    counts = {
        "users": len(users),
        "tested_users": int((np.diff(offsets) > 0).sum()),
        "targets": len(pairs),
        "train_events": len(trained.user),
        "candidates": len(item_ids),
    }
    split = Split("published", trained, trained, offsets, pairs[:, 1], len(item_ids), None, counts)
    dataset = Dataset(item_ids, len(users), trained, 0.0)
    if candidates is None:
        return PublishedSplit(dataset, split)
    lists = []
    for user, row in pairs.tolist():
        listed = negatives.get((users[user], item_ids[row]))
        if listed is None:
            raise InputError(
                f"no candidates of user {users[user]} and item {item_ids[row]} in {candidates}",
                expected="a line for every pair of test",
                remedy="Give the candidates of this test file.",
            )
        lists.append(np.unique([row_of[item] for item in listed]))
    lengths = [len(some) for some in lists]
    return PublishedSplit(dataset, split, np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(lists))


def _embedding_name(storage: Storage, name: str | None, beside: Mapping[str, str]) -> str | None:
    """The embedding that is named, or the only one but those `beside` it; None in a workspace without any."""
    names = EmbeddingManifest.names(storage)
    others = [known for known in names if known not in beside.values()]
    if name is None and not others:
        return None
    if name not in names and (name or len(others) > 1):
        raise InputError(
            f"embedding {name!r}" if name else f"{len(others)} embeddings",
            expected=" or ".join(sorted(names)) or "an embedded catalogue",
            remedy="Name one of these with --embedding.",
        )
    return name or others[0]


def _embedded(storage: Storage, ids: SortedIds, name: str, catalogue_fingerprint: str) -> np.ndarray:
    """The vectors of the items by an embedding, float32 [I, D]; zeros for an item without one."""
    manifest = EmbeddingManifest.read(storage, name)
    if manifest.catalogue != catalogue_fingerprint:
        raise SchemaError(
            f"{manifest.path(name)} was made from catalogue {manifest.catalogue[:12]}",
            expected=f"the present one, {catalogue_fingerprint[:12]}",
            remedy="Run `semrec embed`: only changed texts are embedded.",
        )
    vectors_ID = np.zeros((len(ids), manifest.dimension), np.float32)
    for part in manifest.parts:
        table = read_table(storage, part, ["item_id", "vector"])
        rows = ids.rows_of(table["item_id"])
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors_ID[rows[rows >= 0]] = flat.reshape(-1, manifest.dimension)[rows >= 0]
    return vectors_ID


def _relations(storage: Storage, catalogue: CatalogueManifest, ids: SortedIds) -> dict[str, np.ndarray]:
    """The vectors that the items have by their relations, as a release makes them; {} in a workspace without relations."""
    sources = RelationSources.of_workspace(storage, read_settings(storage).release.relations_from)
    if not sources:
        return {}
    items = read_parts(storage, catalogue.parts, ["item_id", "attributes"]).sort_by("item_id")
    attributes = items["attributes"].cast(ATTRIBUTES_TYPE)
    graph, _ = make_graph(storage, sources, ids, FlatAttributes(attributes), attribute_names(attributes))
    return {RELATIONS: walk_vectors(item_relations(graph, ids))} if graph.num_relations else {}


def _read_pairs(path: Path) -> list[tuple[str, str, int]]:
    """(user, item, time or 0) of every pair of a file."""
    pairs: list[tuple[str, str, int]] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        fields = [text.strip() for text in _COLUMNS.split(line)]
        if len(fields) > 1:
            time_s = int(fields[3]) if len(fields) > 3 and fields[3].isascii() and fields[3].isdigit() else 0
            pairs.append((_named(fields[0], path, number), _named(fields[1], path, number), time_s))
        else:
            user, *items = line.split()  # a user without items is allowed: LightGCN's files have some
            pairs.extend((user, item, 0) for item in items)
    if not pairs:
        raise InputError(f"no pair in {path}", expected="users and items", remedy="Check that it is the right file.")
    return pairs


def _read_candidates(path: Path) -> dict[tuple[str, str], list[str]]:
    candidates: dict[tuple[str, str], list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        pair = _PAIR.match(line.strip())
        if pair is None:
            raise InputError(
                f"line {number} of {path}",
                expected="(user,item) and the items that it competes with",
                remedy="Give one line for every pair of test.",
            )
        candidates[pair[1], pair[2]] = line.strip()[pair.end() :].split()
    return candidates


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", expected="a text file in UTF-8", remedy="Check the path.") from None


def _named(name: str, path: Path, number: int) -> str:
    if not name:
        raise InputError(
            f"line {number} of {path} has an empty user or item", expected="both", remedy="Correct or drop the line."
        )
    return name


def _events(pairs: list[tuple[str, str, int]], user_of: dict[str, int], row_of: dict[str, int]) -> Events:
    user = np.array([user_of[user] for user, _, _ in pairs], np.int64)
    row = np.array([row_of[item] for _, item, _ in pairs], np.int64)
    time_s = np.array([time_s for _, _, time_s in pairs], np.int64)
    order = np.lexsort((row, time_s, user))
    return Events(user[order], row[order], np.ones(len(pairs), np.float32), time_s[order])
