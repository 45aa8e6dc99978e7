"""Vectors that round or sum badly, for the tests of coarse formats."""

from __future__ import annotations

import numpy as np

DIMENSIONS = (1, 2, 7, 8, 33, 100, 384, 1024, 4096)
KINDS = (
    "plain", "spread norms", "halfway between bfloat16", "one sign, worst rounding", "one large coordinate", "cancelling",
    "denormal", "tiny", "huge", "zeros", "powers of ten",
)  # fmt: skip


def hard_vectors(kind: str, num_rows: int, dimension: int, seed: int) -> np.ndarray:
    """float32 [num_rows, dimension] of one of `KINDS`."""
    rng = np.random.default_rng(seed)
    plain = rng.standard_normal((num_rows, dimension))
    if kind == "spread norms":
        plain *= np.exp(rng.normal(0, 4, (num_rows, 1)))
    elif kind == "halfway between bfloat16":
        plain = (1 + (2 * rng.integers(0, 64, plain.shape) + 1) * 2.0**-8) * rng.choice([-1, 1], plain.shape)
    elif kind == "one sign, worst rounding":
        plain = np.full(plain.shape, 1 + 2.0**-8 - 2.0**-20)
    elif kind == "one large coordinate":
        plain[:, 0] = 1e4 * rng.choice([-1, 1], num_rows)
    elif kind == "cancelling":
        plain = np.where(np.arange(dimension) % 2, 1e3, -1e3) + plain
    elif kind == "denormal":
        plain *= 1e-40
    elif kind == "tiny":
        plain *= 1e-21
    elif kind == "huge":
        plain *= 1e17
    elif kind == "zeros":
        plain[rng.random(num_rows) < 0.5] = 0
    elif kind == "powers of ten":
        plain *= 10.0 ** rng.integers(-18, 18, plain.shape)
    return np.ascontiguousarray(plain, dtype=np.float32)
