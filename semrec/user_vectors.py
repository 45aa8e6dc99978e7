"""User vectors from interactions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Events", "count_events", "user_vectors"]

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
    events: Events, item_vectors_ID: np.ndarray, num_users: int, *, neutral_value: float, half_life_days: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted, recency-decayed mean of the vectors of what each user interacted with, at unit length.

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
    weights = _weights(events, num_users, neutral_value, half_life_days)
    sums = _ordered_sums(events, weights, item_vectors_ID, num_users)
    sums = np.ldexp(sums, -np.frexp(np.abs(sums).max(axis=1, initial=0))[1][:, None])  # exact; squares cannot underflow
    norms = np.sqrt(_ordered_squares(sums))  # dividing by sum_e w_e cancels against the length
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors = (sums / norms[:, None]).astype(np.float32)
    has_vector = np.isfinite(vectors).all(axis=1)
    vectors[~has_vector] = 0
    return vectors, has_vector


def count_events(events: Events, num_users: int) -> np.ndarray:
    """Events per user: int64 [num_users]."""
    return np.bincount(events.user, minlength=num_users)


def _weights(events: Events, num_users: int, neutral_value: float, half_life_days: float) -> np.ndarray:
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


def _ordered_squares(sums_UD: np.ndarray) -> np.ndarray:
    """sum_d x_d ** 2 over ascending d: float64 [U]. No library sum promises its order."""
    total = np.zeros(len(sums_UD))
    for column in np.ascontiguousarray(sums_UD.T):
        total += column * column
    return total


def _ordered_sums(events: Events, weights: np.ndarray, item_vectors_ID: np.ndarray, num_users: int) -> np.ndarray:
    """sum_e w_e x_i in float64, each user's events strictly one after the other: float64 [num_users, D].

    Step n adds every user's n-th event at once, users with most events first, so that the active ones are a prefix.
    """
    counts = count_events(events, num_users)
    order = np.argsort(-counts, kind="stable")
    starts = (np.cumsum(counts) - counts)[order]
    active = np.searchsorted(-counts[order], -np.arange(counts.max(initial=0)), side="left")
    sums = np.zeros((num_users, item_vectors_ID.shape[1]))
    for step, num_active in enumerate(active):
        event = starts[:num_active] + step
        sums[:num_active] += weights[event, None] * item_vectors_ID[events.row[event]].astype(np.float64)
    in_place = np.empty_like(sums)
    in_place[order] = sums
    return in_place
