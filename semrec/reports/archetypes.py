"""Describes a release's users by a few kinds of taste: how many are of each, what they like more than others do, and who.

Users are clustered by the direction of their vectors, so by all models of the release with their weights. An archetype is named
after the attributes that its users' likes have more often than everybody's, by p log(p / q): p is the attribute's share in
their likes, q in all.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.event_files import read_interactions
from semrec.errors import InputError
from semrec.models.sparse import liked_pairs
from semrec.release.attributes import FlatAttributes
from semrec.release.reader import Release
from semrec.release.training import indexed_events
from semrec.workspace.manifest import Manifest
from semrec.workspace.records import Record

__all__ = ["Archetype", "ArchetypesManifest", "find_archetypes"]

_SEED: Final = 0
_MOST_VALUES: Final = 256  # an attribute with more is a name, not a kind
_LEAST_LIFT: Final = 1.1  # of p / q
_NUM_ATTRIBUTES: Final = 3


class Archetype(Record):
    """A kind of taste: `share` of the users that were clustered; `titles` and `attributes` the most distinctive first;
    `user_ids` of those nearest to its centre."""

    name: str
    num_users: int
    share: float
    attributes: tuple[str, ...]
    titles: tuple[str, ...]
    user_ids: tuple[str, ...]


class ArchetypesManifest(Manifest):
    """The archetypes of a release's users as they were last found, the largest first; the service's page shows them."""

    KIND = "archetypes"
    PATH = "releases/{}/archetypes.json"
    REMEDY = "Run `semrec archetypes`."

    archetypes: tuple[Archetype, ...]


def find_archetypes(
    release: Release, count: int = 8, *, num_examples: int = 5, max_users: int = 100_000
) -> list[Archetype]:
    """Clusters the users who have a vector of their own into `count` archetypes, the largest first.

    Of more than `max_users`, whole parts are left out; parts go by a hash. Raises InputError for fewer users than archetypes.
    """
    from sklearn.cluster import KMeans  # a second, which a service that shows what was found need not wait for

    user_ids, vectors_UD, like_user, like_row = _read_users(release, max_users)
    if not 1 <= count <= len(user_ids):
        raise InputError(
            f"{count} archetypes of {len(user_ids):,} users with a vector of their own",
            expected="at least 1, and as many users",
            remedy="Ask for fewer, or import more interactions.",
        )
    directions_UD = vectors_UD / np.linalg.norm(vectors_UD, axis=1, keepdims=True)
    kmeans = KMeans(count, n_init=4, random_state=_SEED).fit(directions_UD)
    kind_U, distances_UC = kmeans.labels_, kmeans.transform(directions_UD)
    likes_CI = np.zeros((count, release.num_items))
    np.add.at(likes_CI, (kind_U[like_user], like_row), 1.0)
    values, of_value_CV = _count_attributes(release, likes_CI)
    titles = release.items.column("title")
    archetypes = []
    for kind in range(count):
        members = np.flatnonzero(kind_U == kind)
        shown = _most_distinctive(of_value_CV, likes_CI, kind, _NUM_ATTRIBUTES)
        rows = _most_distinctive(likes_CI, likes_CI, kind, num_examples)
        nearest = members[np.argsort(distances_UC[members, kind], kind="stable")[:num_examples]]
        attributes = tuple(values[v] for v in shown)
        archetypes.append(
            Archetype(
                name=", ".join(attributes) or "like everybody",
                num_users=len(members),
                share=len(members) / len(user_ids),
                attributes=attributes,
                titles=tuple(titles.take(pa.array(rows)).to_pylist()),
                user_ids=tuple(user_ids.take(pa.array(nearest)).to_pylist()),
            )
        )
    return sorted(archetypes, key=lambda archetype: -archetype.num_users)


def _read_users(release: Release, max_users: int) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads ids and vectors, float32 [U, D], of users with a vector of their own; of each like the user and the item's row."""
    inputs = release.manifest.settings
    ids, vectors, users, rows, num_users = [], [], [], [], 0
    for part, file in enumerate(release.manifest.interactions):
        user_part = release.user_part(part)
        members = user_part.with_vector()
        member_ids = user_part.user_ids.take(pa.array(members))
        table = read_interactions(release.storage, file, inputs.as_of)
        table = table.filter(pc.is_in(table["user_id"], value_set=member_ids))
        events, _ = indexed_events(table, member_ids, release.ids)
        user, row, _ = liked_pairs(events.counted(inputs.repeats, inputs.neutral_value), inputs.neutral_value)
        ids.append(member_ids)
        vectors.append(user_part.queries.vectors_QD[members])
        users.append(user + num_users)
        rows.append(row)
        num_users += len(members)
        if num_users >= max_users:
            break
    nothing = np.zeros(0, np.int64)
    return (
        pa.chunked_array(ids, pa.string()),
        np.concatenate([np.zeros((0, release.dimension), np.float32), *vectors]),
        np.concatenate([nothing, *users]),
        np.concatenate([nothing, *rows]),
    )


def _count_attributes(release: Release, likes_CI: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the values of all attributes that are kinds, and how many likes of each archetype are of items with it: [C, V]"""
    flat, values, counts = FlatAttributes(release.attributes()), list[str](), []
    for name in flat.names:
        of_name = flat.values_of(name)
        if 1 < len(of_name) <= _MOST_VALUES:
            rows, codes = flat.codes_of(name, of_name)
            counts += [np.stack([np.bincount(codes, likes_I[rows], len(of_name)) for likes_I in likes_CI])]
            values += of_name
    return values, np.concatenate([np.zeros((len(likes_CI), 0)), *counts], axis=1)


def _most_distinctive(counts_CN: np.ndarray, likes_CI: np.ndarray, kind: int, count: int) -> np.ndarray:
    """Returns the places in [0, N) with the largest p log(p / q) of an archetype, of those with a p above q."""
    share_N = counts_CN[kind] / max(likes_CI[kind].sum(), 1)
    share_of_all_N = counts_CN.sum(axis=0) / max(likes_CI.sum(), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift_N = share_N / share_of_all_N
        gain_N = np.where(share_N > 0, share_N * np.log(lift_N), 0.0)
    order_N = np.argsort(-gain_N, kind="stable")[:count]
    return order_N[np.nan_to_num(lift_N[order_N]) > _LEAST_LIFT]
