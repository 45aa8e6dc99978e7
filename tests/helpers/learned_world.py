"""A small generated world whose right answer is known: users and items in planted groups, and content that tells the group."""

from __future__ import annotations

import numpy as np

from semrec.models.base import Events, TrainingData

__all__ = ["NUM_GROUPS", "NUM_ITEMS", "NUM_USERS", "embeddings", "group_of_items", "planted_events", "training_data"]

NUM_USERS, NUM_ITEMS, NUM_GROUPS, LIKES = 90, 60, 3, 8


def group_of_items() -> np.ndarray:
    """Item i belongs to group i mod 3; the last six items nobody has an event with."""
    return np.arange(NUM_ITEMS) % NUM_GROUPS


def planted_events(seed: int = 0) -> Events:
    """User u likes items of group u mod 3, the earlier ones more often, and dislikes two of another group."""
    draws = np.random.default_rng(seed)
    rows = []
    for user in range(NUM_USERS):
        own = np.flatnonzero(group_of_items()[: NUM_ITEMS - 6] == user % NUM_GROUPS)
        other = np.flatnonzero(group_of_items()[: NUM_ITEMS - 6] == (user + 1) % NUM_GROUPS)
        chance = 1.0 / (1 + np.arange(len(own)))
        liked = draws.choice(own, LIKES, replace=False, p=chance / chance.sum())
        disliked = draws.choice(other, 2, replace=False)
        rows += [(user, row, 5.0, n) for n, row in enumerate(liked)] + [(user, row, 1.0, 20) for row in disliked]
    user, row, value, time_s = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((row, time_s, user))
    return Events(
        user[order].astype(np.int64), row[order].astype(np.int64), value[order].astype(np.float32), time_s[order]
    )


def embeddings(dimension: int = 12, seed: int = 1) -> np.ndarray:
    """Unit embeddings with a large common part, the group's direction, and noise, as sentence encoders give them."""
    draws = np.random.default_rng(seed)
    groups = draws.standard_normal((NUM_GROUPS, dimension))
    vectors = 3.0 + groups[group_of_items()] + 0.3 * draws.standard_normal((NUM_ITEMS, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def training_data(
    events: Events, num_items: int = NUM_ITEMS, *, content: np.ndarray | None = None, modality: str = "text"
) -> TrainingData:
    """The events in two parts, users counted from 0 in each, as a release reads them."""
    first = events.user < NUM_USERS // 2
    parts = [events.keep(first), events.keep(~first)]
    parts[1] = Events(parts[1].user - NUM_USERS // 2, parts[1].row, parts[1].value, parts[1].timestamp)
    pairs = np.unique(events.user * num_items + events.row)
    popularity_I = np.bincount(pairs % num_items, minlength=num_items).astype(np.float32)
    return TrainingData(
        num_items, {} if content is None else {modality: content}, popularity_I, lambda: iter(parts), 2.5
    )
