"""User vectors from interactions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.types import ItemShard

__all__ = ["Events", "event_weights", "user_vectors"]

_DAY_S = 86_400.0
_EXP2_TAYLOR = [0.6931471805599453 / n for n in range(1, 15)]  # ln 2 / n: the ratio of a term to the one before


@dataclass(frozen=True)
class Events:
    """Interactions of some users, ordered by (user, timestamp, item_id): parallel arrays of length E.

    `user` int64 index of the user, ascending; `row` int64 row in the item matrix; `value` float32; `timestamp` int64, s UTC.
    """

    user: np.ndarray
    row: np.ndarray
    value: np.ndarray
    timestamp: np.ndarray

    def keep(self, mask: np.ndarray) -> Events:
        return Events(self.user[mask], self.row[mask], self.value[mask], self.timestamp[mask])

    def latest(self) -> Events:
        """Of several events of one user with one item only the last, in the order of the arrays."""
        order = np.lexsort((np.arange(len(self.user)), self.row, self.user))
        user, row = self.user[order], self.row[order]
        last = np.ones(len(order), bool)
        last[:-1] = (user[1:] != user[:-1]) | (row[1:] != row[:-1])
        mask = np.zeros(len(order), bool)
        mask[order[last]] = True
        return self.keep(mask)


def user_vectors(
    events: Events, items: ItemShard, num_users: int, *, neutral_value: float, half_life_days: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted, recency-decayed mean of the vectors of what each user interacted with, at unit length.

    `items` is the whole item matrix: row r of an event is its row r. It is read where it lies, one vector per event.
    For user u with events e = (item i, value r, time t) and t_u the time of u's newest event:

        w_e = max(r - neutral_value, 0) * 2 ** (-(t_u - t) / (86400 * half_life_days))
        m_u = sum_e w_e x_i / sum_e w_e
        v_u = m_u / |m_u|

    Sums run over the events in their order, (timestamp, item_id), one event at a time in float64, and |m_u| over ascending
    d; v_u is rounded to float32 at the end. Every step is an IEEE operation, so every kind of processor gives the same
    bytes. Decay is relative to the user's own newest event, so a user who did nothing new keeps the same vector.
    Returns (vectors float32 [num_users, D], has_vector bool [num_users]); a user without positive weight, or whose mean is
    zero, has no vector (a row of zeros).
    """
    weights = event_weights(events, num_users, neutral_value=neutral_value, half_life_days=half_life_days)
    sums = np.zeros((num_users, items.dimension))
    _add_events(items.high_ID, items.low_ID, events.user, events.row, weights, sums)
    sums = np.ldexp(sums, -np.frexp(np.abs(sums).max(axis=1, initial=0))[1][:, None])  # exact; squares cannot underflow
    norms = np.sqrt(_ordered_squares(sums))  # dividing by sum_e w_e cancels against the length
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors = (sums / norms[:, None]).astype(np.float32)
    has_vector = np.isfinite(vectors).all(axis=1)
    vectors[~has_vector] = 0
    return vectors, has_vector


def event_weights(events: Events, num_users: int, *, neutral_value: float, half_life_days: float) -> np.ndarray:
    """The w_e of `user_vectors`: float64, one per event."""
    newest = np.full(num_users, np.iinfo(np.int64).min)
    np.maximum.at(newest, events.user, events.timestamp)
    age_days = (newest[events.user] - events.timestamp) / _DAY_S
    strength = np.maximum(events.value.astype(np.float64) - neutral_value, 0.0)
    return strength * _exp2(-age_days / half_life_days)


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
