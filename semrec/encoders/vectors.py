"""What encoders do with what a model gave: rows of length 1, and the reason of each that has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["empty_texts", "finish_vectors", "normalise_rows"]


def empty_texts(texts: Sequence[str]) -> dict[int, str]:
    """The texts without a letter or sign, each with the reason for which it is rejected."""
    return {row: "empty text" for row, text in enumerate(texts) if not text or text.isspace()}


def finish_vectors(raw_ND: np.ndarray, rejected: dict[int, str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Scales rows to length 1, and rejects those that are zero or not finite unless `rejected` has a reason already.

    Returns what `Encoder.embed` does: (vectors_ND, rejected), float32 and ascending; a rejected row is zero.
    """
    vectors_ND, norms_N = normalise_rows(raw_ND)
    for index in np.flatnonzero(~(np.isfinite(norms_N) & (norms_N > 0))).tolist():
        rejected.setdefault(index, "zero vector" if norms_N[index] == 0 else "non-finite vector")
    vectors_ND[list(rejected)] = 0
    return vectors_ND, sorted(rejected.items())


def normalise_rows(raw_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales rows to length 1: returns (vectors_ND, norms_N), float32 and float64 the lengths of the rows of `raw_ND`.

    The sum runs in a fixed order of single additions in float64, so a row's result does not depend on the number of rows
    or the machine's vector width. A row whose length is zero or not finite comes back as zeros.
    """
    squares_ND = raw_ND.astype(np.float64) ** 2
    while squares_ND.shape[1] > 1:
        half = (squares_ND.shape[1] + 1) // 2
        squares_ND[:, : squares_ND.shape[1] - half] += squares_ND[:, half:]
        squares_ND = squares_ND[:, :half]
    norms_N = np.sqrt(squares_ND[:, 0])
    usable_N = np.isfinite(norms_N) & (norms_N > 0)
    divisors_N = np.where(usable_N, norms_N, 1.0)
    vectors_ND = np.where(usable_N[:, None], raw_ND, np.float32(0)) / divisors_N[:, None]
    return vectors_ND.astype(np.float32), norms_N
