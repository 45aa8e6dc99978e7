"""The content model: items are their embeddings, a user is the recency-decayed mean of what the user liked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData, UserVectors, VectorModel, WeightedHistory

__all__ = ["ContentModel"]

_DAY_S = 86_400.0
_EXP2_TAYLOR = [0.6931471805599453 / n for n in range(1, 15)]  # ln 2 / n: the ratio of a term to the one before


class ContentModel(VectorModel):
    """Weighted, recency-decayed mean of the vectors of what each user interacted with, at unit length.

    Settings: `half_life_days`, after which an event counts half, and `neutral_value`, up to which it does not count.
    For user u with events e = (item i, value r, time t) and t_u the time of u's newest event:

        w_e = max(r - neutral_value, 0) * 2 ** (-(t_u - t) / (86400 * half_life_days))
        m_u = sum_e w_e x_i / sum_e w_e
        v_u = m_u / |m_u|

    Sums run over the events in their order, (timestamp, item_id), one event at a time in float64, and |m_u| over ascending
    d; v_u is rounded to float32 at the end. Every step is an IEEE operation, so every kind of processor gives the same
    bytes. Decay is relative to the user's own newest event, so a user who did nothing new keeps the same vector. A user
    without positive weight, or whose mean is zero, has no vector.
    """

    kind = "content"
    is_content_only = True

    def __init__(self, settings: Mapping[str, Any], dimension: int) -> None:
        super().__init__(settings, dimension)
        if set(settings) != {"half_life_days", "neutral_value"}:
            raise InputError(
                f"settings {', '.join(sorted(settings)) or 'none'} of the content model",
                expected="half_life_days, neutral_value",
                remedy="Name these.",
            )
        self.half_life_days, self.neutral_value = settings["half_life_days"], settings["neutral_value"]

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """Learns nothing: the item vectors are the encoder's."""
        vectors_ID = data.content[cls.modality]
        rule = {"half_life_days": data.half_life_days, "neutral_value": data.neutral_value, **settings}
        return cls(rule, vectors_ID.shape[1]), vectors_ID

    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """See `VectorModel.user_vectors`. The item vectors are read where they lie, one per event."""
        weights_E = self.event_weights(events, num_users)
        sums_UD = np.zeros((num_users, items.dimension))
        _add_events(items.high_ND, items.low_ND, events.user, events.row, weights_E, sums_UD)
        # Scaling by a power of two is exact, and keeps the squares from underflowing. It also cancels the exponent of
        # `items`, as dividing by the length cancels sum_e w_e.
        sums_UD = np.ldexp(sums_UD, -np.frexp(np.abs(sums_UD).max(axis=1, initial=0))[1][:, None])
        norms_U = np.sqrt(_ordered_squares(sums_UD))
        with np.errstate(divide="ignore", invalid="ignore"):
            vectors_UD = (sums_UD / norms_U[:, None]).astype(np.float32)
        has_vector_U = np.isfinite(vectors_UD).all(axis=1)
        vectors_UD[~has_vector_U] = 0
        return UserVectors(vectors_UD, has_vector_U)

    def event_weights(self, events: Events, num_users: int) -> np.ndarray:
        """The w_e of the formula: float64 [E]."""
        newest_U = np.full(num_users, np.iinfo(np.int64).min)
        np.maximum.at(newest_U, events.user, events.timestamp)
        age_days = (newest_U[events.user] - events.timestamp) / _DAY_S
        strength = np.maximum(events.value.astype(np.float64) - self.neutral_value, 0.0)
        return strength * _exp2(-age_days / self.half_life_days)

    def fold_in(self, events: Events, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in`. A term is an item with the sum of its events' weights."""
        vectors_UD, has_vector_U = self.user_vectors(events, items, 1)
        weights_N = np.bincount(events.row, self.event_weights(events, 1), minlength=items.num_items)
        rows_L = np.flatnonzero(weights_N)
        vectors_LD = items.vectors(rows_L)
        divisor = float(np.linalg.norm(weights_N[rows_L] @ vectors_LD.astype(np.float64)))
        vector = vectors_UD[0] if has_vector_U[0] else None
        return WeightedHistory(vector, rows_L, weights_N[rows_L], vectors_LD, divisor or 1.0)

    def fold_in_weights(self, weights_N: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """The direction of what is liked, away from what is disliked: v = s / |s|, s = sum_n w_n x_n, in float64.

        There is no vector when nothing is given or all cancels. Terms follow `items`, and their weights are scaled so that
        the largest is 1.
        """
        largest = np.abs(weights_N).max(initial=0)
        weights_L = weights_N / largest if largest else weights_N  # so that no sum overflows
        vectors_ND = items.vectors()
        total_D = np.zeros(items.dimension)
        for weight, vector in zip(weights_L, vectors_ND.astype(np.float64), strict=True):
            total_D += weight * vector
        length = math.sqrt(math.fsum(total_D * total_D))
        # What is left of terms that cancel is their rounding errors, which point nowhere.
        size = float(np.abs(weights_L) @ np.linalg.norm(vectors_ND.astype(np.float64), axis=1))
        vector = (total_D / length).astype(np.float32) if length > 1e-12 * size else None
        return WeightedHistory(vector, np.arange(items.num_items), weights_L, vectors_ND, length or 1.0)

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """The encoder's vectors: to this model no item is cold."""
        return content[self.modality]


def _exp2(exponents: np.ndarray) -> np.ndarray:
    """2 ** exponents, float64, for exponents <= 0, to about one unit in the last place; exact for whole numbers.

    np.exp2 gives other last bits with AVX-512 than without. This is the Taylor series of e ** (f ln 2) for |f| <= 1/2.
    """
    exponents = np.maximum(exponents, -2000.0)  # 2 ** -1075 is zero already
    whole = np.rint(exponents)
    fraction = exponents - whole
    power = np.ones_like(fraction)
    for coefficient in reversed(_EXP2_TAYLOR):
        power = power * fraction * coefficient + 1.0
    return np.ldexp(power, whole.astype(np.int32))


@compiled
def _ordered_squares(sums_UD):  # type: ignore[no-untyped-def]
    """sum_d x_d ** 2 over ascending d: float64 [U]. No library sum promises its order."""
    total = np.zeros(len(sums_UD))
    for u in range(len(sums_UD)):
        for d in range(sums_UD.shape[1]):
            total[u] += sums_UD[u, d] * sums_UD[u, d]
    return total


@compiled
def _add_events(high_ID, low_ID, user, row, weights, sums_UD):  # type: ignore[no-untyped-def]
    """Adds w_e x_i of each event to its user's sum, in float64, in the order of the events.

    Without fastmath numba neither reorders the sums nor fuses a product with them.
    """
    for e in range(len(row)):
        u, i, weight = user[e], row[e], weights[e]
        for d in range(sums_UD.shape[1]):
            bits = np.uint32((np.uint32(high_ID[i, d]) << np.uint32(16)) + np.uint32(np.int32(low_ID[i, d])))
            sums_UD[u, d] += weight * np.float64(bits.view(np.float32))
