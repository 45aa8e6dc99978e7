"""The halves give every float32 back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.hard_vectors import hard_vectors
from semrec.scoring.halves import join_halves, split_halves


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_halves_give_every_float32_back(values: list[float]) -> None:
    vectors = np.array([values], np.float32)
    assert join_halves(*split_halves(vectors)).tobytes() == vectors.tobytes()


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, 3.39e38, 1.0039062, 2.0**-126]
)
def test_halves_of_edges(value: float) -> None:
    vectors = np.array([[value]], np.float32)
    high, low = split_halves(vectors)
    assert (high.dtype, low.dtype) == (np.uint16, np.int16)
    assert join_halves(high, low).tobytes() == vectors.tobytes()


def test_the_high_half_is_torchs_bfloat16() -> None:
    vectors = hard_vectors("powers of ten", 100, 64, 1)
    ours = torch.from_numpy(split_halves(vectors)[0]).view(torch.bfloat16).float().numpy()
    theirs = torch.from_numpy(vectors).bfloat16().float().numpy()
    halfway = split_halves(vectors)[1] == -0x8000  # ours go away from zero, torch's to even
    assert (ours == theirs)[~halfway].all()
