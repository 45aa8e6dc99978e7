"""Say how sure a mean over users is: bootstrap intervals and paired comparisons. Seeded, so the same users give the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semrec.errors import InputError

__all__ = ["Comparison", "bootstrap_intervals", "compare_paired"]


@dataclass(frozen=True)
class Comparison:
    """How much better one model is than another on the same users.

    `difference`: mean over users of theirs; `low`, `high`: its 95 % bootstrap interval; `p_value`: two-sided, of the null
    hypothesis that each user's difference may as well have the other sign.
    """

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def bootstrap_intervals(
    values_UM: np.ndarray, *, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and percentile intervals over users (Efron 1979): (means_M, lows_M, highs_M), float64.

    `values_UM`: one row per user, one column per metric, without NaN. All metrics see the same resamples. Raises InputError
    when there is no user.
    """
    values_UM = np.asarray(values_UM, np.float64)
    if not len(values_UM):
        raise InputError("no tested user", expected="one at least", remedy="Hold out more interactions.")
    means_BM = _resampled_means(values_UM, num_resamples, seed)
    tail = (1 - confidence) / 2
    lows_M, highs_M = np.quantile(means_BM, [tail, 1 - tail], axis=0)
    return values_UM.mean(axis=0), lows_M, highs_M


def compare_paired(
    better_UM: np.ndarray, worse_UM: np.ndarray, *, num_resamples: int = 2000, seed: int = 0
) -> list[Comparison]:
    """Compares two models by M metrics on the same users: one row per user, one column per metric, without NaN.

    The interval is a bootstrap of the users' differences; the p-value a sign-flip permutation test (Fisher's), with the
    observed arrangement counted, so it is never 0. Raises InputError when the users are not as many, or none.
    """
    if better_UM.shape != worse_UM.shape:
        raise InputError(
            f"metrics of shape {better_UM.shape} and of {worse_UM.shape}",
            expected="both models on the same users, by the same metrics",
            remedy="Evaluate both on one split.",
        )
    difference_UM = np.asarray(better_UM, np.float64) - np.asarray(worse_UM, np.float64)
    means_M, lows_M, highs_M = bootstrap_intervals(difference_UM, num_resamples=num_resamples, seed=seed)
    generator = np.random.default_rng(seed + 1)
    observed_M = np.abs(difference_UM.sum(axis=0)) * (1 - 1e-12)  # equal sums in another order count as equal
    num_as_extreme_M = np.zeros(difference_UM.shape[1], np.int64)
    for _ in range(num_resamples):
        signs_U = generator.integers(0, 2, len(difference_UM), np.int8) * 2.0 - 1.0
        num_as_extreme_M += np.abs(signs_U @ difference_UM) >= observed_M
    p_values_M = (1 + num_as_extreme_M) / (1 + num_resamples)
    columns = zip(means_M, lows_M, highs_M, p_values_M, strict=True)
    return [Comparison(*map(float, column)) for column in columns]


def _resampled_means(values_UM: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Means of `num_resamples` draws of U users with replacement: float64 [B, M]."""
    generator, num_users = np.random.default_rng(seed), len(values_UM)
    means_BM = np.empty((num_resamples, values_UM.shape[1]))
    for b in range(num_resamples):
        times_drawn_U = np.bincount(generator.integers(0, num_users, num_users), minlength=num_users)
        means_BM[b] = times_drawn_U @ values_UM / num_users
    return means_BM
