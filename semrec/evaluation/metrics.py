"""Compute ranking metrics from exact ranks, and what recommendation lists look like beyond accuracy.

Definitions (K = length of the list, n = a user's targets, rank 1 = best):

    recall@K  targets within K / n                         hr@K    1 if any target lies within K
    ndcg@K    sum over targets within K of 1 / log2(1 + rank), divided by that of min(n, K) targets on the first places
    map@K     sum over targets within K of (targets up to its rank / rank), divided by n
    mrr@K     1 / rank of the best target, 0 beyond K

They are those of trec_eval and ranx for relevance 0 or 1 (Jarvelin and Kekalainen 2002 for nDCG), so the mean over users
compares with published tables that rank the whole catalogue.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.scoring.types import TopK

__all__ = ["ACCURACY_METRICS", "item_cohorts", "list_metrics", "user_cohorts", "user_metrics"]

ACCURACY_METRICS: Final = ("recall", "ndcg", "hr", "map", "mrr")
#: The most popular items that together have this share of the interactions are the head.
_HEAD_SHARE: Final = 0.5


def user_metrics(
    offsets: np.ndarray,
    ranks: np.ndarray,
    ks: tuple[int, ...] = (10, 20, 100),
    names: tuple[str, ...] = ACCURACY_METRICS,
) -> dict[str, np.ndarray]:
    """Accuracy of each user: {"ndcg@10": float64 [U], ...}; NaN for a user without targets.

    User u's targets have the ranks `ranks[offsets[u] : offsets[u + 1]]`, int64, best = 1.
    """
    lengths_U = np.diff(offsets)
    owner = np.repeat(np.arange(len(lengths_U)), lengths_U)
    order = np.lexsort((ranks, owner))
    ranks, place = ranks[order], np.arange(len(ranks)) - np.repeat(offsets[:-1], lengths_U) + 1
    best_U = np.full(len(lengths_U), np.iinfo(np.int64).max)
    np.minimum.at(best_U, owner, ranks)
    metrics: dict[str, np.ndarray] = {}
    for k in ks:
        is_hit = ranks <= k
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(1 + np.arange(1, k + 1)))])

        def total(gain: np.ndarray, is_hit: np.ndarray = is_hit) -> np.ndarray:
            return np.bincount(owner[is_hit], gain[is_hit], minlength=len(lengths_U))

        with np.errstate(invalid="ignore", divide="ignore"):
            values = {
                "recall": total(np.ones(len(ranks))) / lengths_U,
                "ndcg": total(1 / np.log2(1 + ranks)) / ideal[np.minimum(lengths_U, k)],
                "hr": (best_U <= k).astype(np.float64),
                "map": total(place / ranks) / lengths_U,
                "mrr": np.where(best_U <= k, 1 / best_U, 0.0),
            }
        for name in names:
            metrics[f"{name}@{k}"] = np.where(lengths_U > 0, values[name], np.nan)
    return metrics


def list_metrics(
    lists: TopK, k: int, popularity_I: np.ndarray, num_users: int, content_ID: np.ndarray | None = None
) -> dict[str, float]:
    """What the first K of all lists look like together.

    `popularity_I` float32: how many of `num_users` users interacted with each item; `content_ID`: item vectors for the
    diversity. With u(i) = the number of lists that hold item i:

        coverage@K            items in any list / all items
        gini@K                Gini coefficient of u over all items: 0 = all alike, towards 1 = few items have all places
        novelty@K             mean over places of -log2 of the share of users that know the item, unknown ones as one user
        diversity@K           mean over lists of the mean cosine distance between two of their items
        top_item_reach@K      the largest u(i) / number of lists: the share of users that the most frequent item reaches
        top10_items_reach@K   share of the lists that hold one of the ten most frequent items
    """
    lengths = np.minimum(lists.lengths, k)
    owner = np.repeat(np.arange(lists.num_queries), lengths)
    rows = lists.rows[np.repeat(lists.offsets[:-1], lengths) + _places(lengths)]
    num_items, num_lists = len(popularity_I), max(1, lists.num_queries)
    lists_of_I = np.bincount(rows, minlength=num_items)
    frequent = np.argsort(-lists_of_I, kind="stable")[:10]
    reached = np.unique(owner[np.isin(rows, frequent)])
    ascending = np.sort(lists_of_I).astype(np.float64)
    total = max(1.0, ascending.sum())
    known_share = np.maximum(popularity_I[rows], 1) / max(1, num_users)
    metrics = {
        f"coverage@{k}": float((lists_of_I > 0).mean()),
        f"gini@{k}": float(((2 * np.arange(1, num_items + 1) - num_items - 1) * ascending).sum() / (num_items * total)),
        f"novelty@{k}": float(-np.log2(known_share).mean()) if len(rows) else 0.0,
        f"top_item_reach@{k}": float(lists_of_I.max(initial=0) / num_lists),
        f"top10_items_reach@{k}": len(reached) / num_lists,
    }
    if content_ID is not None:
        metrics[f"diversity@{k}"] = _diversity(lengths, rows, content_ID)
    return metrics


def user_cohorts(num_events_U: np.ndarray) -> dict[str, np.ndarray]:
    """Users by what they did before: {"new", "light", "heavy"} -> bool [U].

    New users have no event; the others are light up to the median of their numbers of events, else heavy.
    """
    is_new = num_events_U == 0
    median = np.median(num_events_U[~is_new]) if (~is_new).any() else 0
    is_light = ~is_new & (num_events_U <= median)
    return {"new": is_new, "light": is_light, "heavy": ~is_new & ~is_light}


def item_cohorts(popularity_I: np.ndarray) -> dict[str, np.ndarray]:
    """Items by popularity: {"head", "tail", "cold"} -> bool [I].

    Cold items have no interaction. The head are the most popular items that together have half of all interactions.
    """
    order = np.argsort(-popularity_I, kind="stable")
    before = np.cumsum(popularity_I[order], dtype=np.float64) - popularity_I[order]
    is_head = np.zeros(len(popularity_I), bool)
    is_head[order[before < _HEAD_SHARE * popularity_I.sum(dtype=np.float64)]] = True
    is_cold = popularity_I == 0
    is_head &= ~is_cold
    return {"head": is_head, "tail": ~is_head & ~is_cold, "cold": is_cold}


def _places(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... within each list: int64 [sum of lengths]."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _diversity(lengths: np.ndarray, rows: np.ndarray, content_ID: np.ndarray) -> float:
    """Mean over lists of at least two items of 1 - the mean cosine between two of them."""
    # The squared length of a sum of unit vectors is the sum of all cosines, those with themselves included.
    starts = np.cumsum(lengths) - lengths
    distances = []
    for start, length in zip(starts, lengths, strict=True):
        if length < 2:
            continue
        vectors = content_ID[rows[start : start + length]].astype(np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(norms > 0, norms, 1)
        cosines = ((unit.sum(axis=0) ** 2).sum() - length) / (length * (length - 1))
        distances.append(1 - cosines)
    return float(np.mean(distances)) if distances else 0.0
