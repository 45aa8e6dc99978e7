"""Generates or reads the workloads of the scoring bench: items, users, what users have seen and may see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from semrec.errors import InputError
from semrec.scoring.types import ItemShard, Queries

if TYPE_CHECKING:  # a release is read by means that a bare GPU machine need not have
    from semrec.release.reader import Release

__all__ = ["DATA", "VARIANTS", "ScoringProblem", "Variant", "generated_problem", "generated_vectors", "release_problem"]

#: Generated catalogues: like text embeddings; like learned factors; like text embeddings with a crowd of equal rows.
DATA: Final = ("clusters", "factors", "duplicates")

#: Nothing excluded; seen items excluded; these and two eligibility clauses. Each includes the one before.
Variant = Literal["plain", "seen", "filters"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

_SUMMED_ITEMS: Final = 10
_SUMMED_USERS: Final = 4_096  # at a time
_SEEN_PER_USER: Final = 100
_SEEN_AT_MOST: Final = 100_000  # by user 0
_NUM_DUPLICATES: Final = 5_000
_NUM_PLATFORMS: Final = 5
_NUM_MATURITY_LEVELS: Final = 5
_CLAUSE_STARTS: Final = (0, 1)


@dataclass(frozen=True)
class ScoringProblem:
    """Items without words, users, and what the variants add.

    `users_UD` float32; seen matrix rows in CSR, ascending, int64; `item_words_IW`, `user_words_UW` uint64, one word for each
    of two clauses.
    """

    data: str
    items: ItemShard
    users_UD: np.ndarray
    seen_offsets: np.ndarray
    seen_rows: np.ndarray
    item_words_IW: np.ndarray
    user_words_UW: np.ndarray

    @property
    def num_users(self) -> int:
        return len(self.users_UD)

    def shard(self, variant: Variant) -> ItemShard:
        """The items, with eligibility words where the variant filters."""
        if variant != "filters":
            return self.items
        return replace(self.items, words_IW=self.item_words_IW, clause_starts=_CLAUSE_STARTS)

    def queries(self, variant: Variant) -> Queries:
        """All users, with what the variant excludes."""
        plain = Queries.unfiltered(self.users_UD)
        if variant == "plain":
            return plain
        words = self.user_words_UW if variant == "filters" else plain.words_QW
        return Queries(self.users_UD, words, self.seen_offsets, self.seen_rows)


def generated_problem(data: str, num_items: int, num_users: int, *, dimension: int = 384) -> ScoringProblem:
    """One of `DATA`; the same arguments give the same problem. Raises InputError for another name."""
    if data not in DATA:
        raise InputError(f"generated data {data!r}", expected=" or ".join(DATA), remedy="Choose one of these.")
    rng = np.random.default_rng(1)
    if data == "factors":  # alternating least squares gives popular items long vectors
        vectors = rng.standard_normal((num_items, dimension), dtype=np.float32)
        vectors *= np.exp(rng.normal(0, 1, (num_items, 1))).astype(np.float32) / np.float32(dimension**0.5)
    else:
        vectors = generated_vectors(num_items, dimension, seed=1)
    users = _summed_users(vectors, num_users)
    if data == "duplicates":  # every second user leans to an item that stands there thousands of times
        copies = rng.permutation(num_items)[: min(_NUM_DUPLICATES, -(-num_items // 4))]
        vectors[copies] = vectors[copies[0]]
        users[::2] = _unit(users[::2] + vectors[copies[0]])
    return _problem(data, ItemShard.from_vectors(vectors), users)


def release_problem(release: Release, num_users: int) -> ScoringProblem:
    """A release's items and its first users with a vector; generated users when there are fewer than `num_users`.

    What they have seen and may see is generated, too, so that it costs the same whatever the release.
    """
    shard = release.shard()
    items = replace(shard, words_IW=np.zeros((shard.num_items, 0), np.uint64), clause_starts=())
    found = []
    for part in range(len(release.manifest.users)):
        users = release.user_part(part)
        found.append(users.queries.vectors_QD[users.of_source("personal")])
        if sum(map(len, found)) >= num_users:
            return _problem("release", items, np.concatenate(found)[:num_users])
    return _problem("release", items, _summed_users(shard.vectors(), num_users))


def generated_vectors(num_rows: int, dimension: int, seed: int, *, num_clusters: int = 500) -> np.ndarray:
    """Unit vectors around cluster centres, as text embeddings lie: float32 [num_rows, dimension]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_clusters, dimension)).astype(np.float32)
    vectors = centres[rng.integers(0, num_clusters, num_rows)]
    vectors += 0.8 * rng.standard_normal((num_rows, dimension), dtype=np.float32)
    return _unit(vectors)


def _summed_users(items_ID: np.ndarray, num_users: int) -> np.ndarray:
    """Each user is the sum of ten random items, at unit length: float32 [num_users, D]."""
    rng = np.random.default_rng(2)
    users = np.empty((num_users, items_ID.shape[1]), np.float32)
    for start in range(0, num_users, _SUMMED_USERS):
        block = users[start : start + _SUMMED_USERS]
        liked = rng.integers(0, len(items_ID), (len(block), _SUMMED_ITEMS))
        block[:] = _unit(items_ID[liked].sum(axis=1))
    return users


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND / np.where(norms > 0, norms, 1)


def _problem(data: str, items: ItemShard, users_UD: np.ndarray) -> ScoringProblem:
    rng = np.random.default_rng(3)
    seen = _seen(rng, len(users_UD), items.num_items)
    words = _item_words(rng, items.num_items), _user_words(rng, len(users_UD))
    return ScoringProblem(data, items, users_UD, *seen, *words)


def _seen(rng: np.random.Generator, num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR of about a hundred popular items per user; user 0 has seen 100,000, or half of all."""
    edges = np.cumsum(1.0 / np.arange(1, num_items + 1) ** 0.8)
    drawn = np.searchsorted(edges, rng.random(num_users * min(_SEEN_PER_USER, num_items)) * edges[-1])
    popular = rng.permutation(num_items)  # popularity has nothing to do with the order of rows
    owner = np.repeat(np.arange(num_users), len(drawn) // num_users)
    many = rng.permutation(num_items)[: min(_SEEN_AT_MOST, num_items // 2)]
    later = owner > 0
    owner = np.concatenate([np.zeros(len(many), np.int64), owner[later]])
    pairs = np.unique(owner * num_items + np.concatenate([many, popular[drawn[later]]]))
    offsets = np.searchsorted(pairs, np.arange(num_users + 1) * num_items)
    return offsets.astype(np.int64), pairs % num_items


def _item_words(rng: np.random.Generator, num_items: int) -> np.ndarray:
    """Word 0: one platform or two. Word 1: the maturity that an item asks for. Bit 0 is for users who ask for nothing."""
    platforms = _bits(rng.integers(1, _NUM_PLATFORMS + 1, (num_items, 2)))
    return np.stack([platforms | np.uint64(1), _bits(_levels(rng, num_items)) | np.uint64(1)], axis=1)


def _user_words(rng: np.random.Generator, num_users: int) -> np.ndarray:
    """Word 0: two or three platforms. Word 1: all levels of maturity up to the user's own."""
    order = rng.random((num_users, _NUM_PLATFORMS)).argsort(axis=1) + 1
    order[:, 2] = np.where(rng.random(num_users) < 0.5, order[:, 2], order[:, 1])
    up_to = (np.uint64(2) << _levels(rng, num_users)[:, 0].astype(np.uint64)) - np.uint64(2)
    return np.stack([_bits(order[:, :3]), up_to], axis=1)


def _levels(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(1, _NUM_MATURITY_LEVELS + 1, (count, 1))


def _bits(values_NV: np.ndarray) -> np.ndarray:
    """Words with these bits set: uint64 [N]."""
    return np.bitwise_or.reduce(np.uint64(1) << values_NV.astype(np.uint64), axis=1)
