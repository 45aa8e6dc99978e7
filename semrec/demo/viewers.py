"""Simulates viewers of seven named tastes: deterministic for a seed, in memory-bounded batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.data import UserRow
from semrec.demo.catalogue import films

__all__ = ["TASTES", "Taste", "viewer_interactions", "viewer_rows"]

_BATCH_VIEWERS: Final = 1_000
_NEWEST_S: Final = 1_750_000_000  # the simulated present, June 2025
_WATCHING_S: Final = 2 * 365 * 86_400
_NEW_EVERY: Final = 40  # every 40th viewer has just joined and watched nothing


@dataclass(frozen=True)
class Taste:
    """An archetype: the weights of genres, the years, and the services its viewers tend to pay for."""

    name: str
    genres: dict[str, float]
    years: tuple[int, int]
    platforms: tuple[str, ...]


TASTES: Final = (
    Taste("family-night", {"Animation": 4, "Family": 3, "War": -3, "Horror": -4}, (1985, 2024), ("Popcorn TV", "Lumina")),
    Taste("star-voyager", {"Sci-Fi": 5, "Adventure": 1, "Horror": -2, "Romance": -2}, (1968, 2024), ("Lumina", "Marquee")),
    Taste("midnight-horror", {"Horror": 5, "Mystery": 1, "Family": -3, "Crime": -2}, (1960, 2024), ("Night Owl", "Marquee")),
    Taste("crime-desk", {"Crime": 5, "Thriller": 1, "Animation": -3, "Horror": -3}, (1940, 2024), ("Night Owl", "Marquee")),
    Taste("hopeless-romantic", {"Romance": 5, "Comedy": 1, "War": -2, "Horror": -3}, (1950, 2024), ("Harbor+", "Lumina")),
    Taste("history-buff", {"History": 4, "War": 4, "Biography": 2, "Animation": -3}, (1940, 2024), ("Atlas", "Marquee")),
    Taste("quest-seeker", {"Fantasy": 4, "Adventure": 3, "Horror": -3, "Sci-Fi": -2}, (1935, 2024), ("Lumina", "Popcorn TV")),
)  # fmt: skip


def viewer_rows(num_viewers: int) -> Iterator[UserRow]:
    """Yields one row per viewer: the taste's name and the services that the viewer pays for."""
    for viewer in range(num_viewers):
        taste = TASTES[viewer % len(TASTES)]
        yield UserRow(_viewer_id(viewer), {"platform": list(taste.platforms), "taste": [taste.name]})


def viewer_interactions(num_viewers: int, seed: int, num_copies: int = 1) -> Iterator[pa.Table]:
    """Yields ratings from 1 to 5 of the viewers, in batches: columns user_id, item_id, value, timestamp.

    A viewer draws 12 to 40 films without replacement, film i with probability proportional to exp(affinity_i) (the Gumbel
    top-k trick, Kool et al. 2019, section 2.2), and rates by affinity plus noise. Batch b depends on (seed, b) alone.
    """
    records = films() * num_copies
    item_ids = np.array([_copy_id(f["item_id"], n // len(films()) + 1) for n, f in enumerate(records)], dtype=object)
    affinity_TI = np.stack([_affinity(taste, records) for taste in TASTES])
    for start in range(0, num_viewers, _BATCH_VIEWERS):
        rng = np.random.default_rng([seed, start])
        viewers = np.arange(start, min(start + _BATCH_VIEWERS, num_viewers))
        yield _batch(viewers, affinity_TI, item_ids, rng)


def _batch(viewers: np.ndarray, affinity_TI: np.ndarray, item_ids: np.ndarray, rng: np.random.Generator) -> pa.Table:
    affinity = affinity_TI[viewers % len(TASTES)]
    drawn = np.argsort(-(affinity + rng.gumbel(size=affinity.shape)), axis=1)
    counts = rng.integers(12, 41, len(viewers))
    counts[viewers % _NEW_EVERY == _NEW_EVERY - 1] = 0
    is_watched = np.arange(drawn.shape[1]) < np.minimum(counts, drawn.shape[1])[:, None]
    row, rank = np.nonzero(is_watched)
    item = drawn[row, rank]
    value = np.clip(np.round(3.0 + 0.6 * affinity[row, item] + rng.normal(0, 0.7, len(row))), 1, 5)
    timestamp = _NEWEST_S - rng.integers(0, _WATCHING_S, len(row))
    users = np.array([_viewer_id(int(viewer)) for viewer in viewers], dtype=object)
    columns: dict[str, Any] = {
        "user_id": pa.array(users[row], pa.string()),
        "item_id": pa.array(item_ids[item], pa.string()),
        "value": pa.array(value, pa.float32()),
        "timestamp": pa.array(timestamp, pa.int64()),
    }
    return pa.table(columns)


def _affinity(taste: Taste, records: tuple[dict[str, Any], ...]) -> np.ndarray:
    """Returns how much each film attracts a viewer of the taste: float64 [I]."""
    first, last = taste.years
    drawn = [max((taste.genres.get(g, -0.5) for g in film["genres"]), default=0.0) for film in records]
    repelled = [min((taste.genres.get(g, 0.0) for g in film["genres"]), default=0.0) for film in records]
    in_years = [0.0 if first <= film["year"] <= last else -3.0 for film in records]
    on_service = [0.5 if set(film["platforms"]) & set(taste.platforms) else -0.5 for film in records]
    return np.array(drawn) + np.array(repelled) + np.array(in_years) + np.array(on_service)


def _viewer_id(viewer: int) -> str:
    return f"viewer-{viewer:07d}"


def _copy_id(item_id: str, copy: int) -> str:
    return item_id if copy == 1 else f"{item_id}-edition-{copy}"
