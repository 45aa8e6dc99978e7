"""nSVD is the truncated SVD of numpy, and keeps the contract of learned models."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.learned_contract import LearnedModelContract
from semrec.errors import InputError
from semrec.models.nsvd import NsvdModel, orthonormal, spectral_gains, truncated_svd
from semrec.models.sparse import SparseRows


class TestNsvd(LearnedModelContract):
    model = NsvdModel
    settings = {"dimension": 8}  # noqa: RUF012


def sparse_of(dense: np.ndarray) -> SparseRows:
    rows, columns = np.nonzero(dense)
    return SparseRows.from_pairs(rows, columns, dense[rows, columns], *dense.shape)


def low_rank(rank: int = 5) -> np.ndarray:
    draws = np.random.default_rng(3)
    left, right = draws.standard_normal((80, rank)), draws.standard_normal((rank, 50))
    return ((left * np.arange(rank, 0, -1)) @ right * (draws.random((80, 50)) < 0.6)).astype(np.float32)


def test_singular_values_and_vectors_are_those_of_numpy() -> None:
    dense = low_rank()
    singular_D, vectors_CD = truncated_svd(sparse_of(dense), 6, num_passes=8)
    _, expected_D, expected_DC = np.linalg.svd(dense.astype(np.float64))
    assert singular_D == pytest.approx(expected_D[:6], rel=1e-5)
    cosines_D = np.abs((vectors_CD * expected_DC[:6].T).sum(axis=0))
    assert cosines_D == pytest.approx(np.ones(6), abs=1e-4)


def test_any_division_into_ranges_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = truncated_svd(sparse_of(low_rank()), 6)
    monkeypatch.setattr("semrec.models.sparse._ENTRIES_PER_RANGE", 100)
    divided = truncated_svd(sparse_of(low_rank()), 6, num_threads=2)
    assert [array.tobytes() for array in whole] == [array.tobytes() for array in divided]


def test_there_are_no_more_dimensions_than_directions() -> None:
    dense = np.outer(np.arange(1, 9), [1, 0, 2, 0, 3]).astype(np.float32)
    singular_D, vectors_CD = truncated_svd(sparse_of(dense), 4)
    assert len(singular_D) == 1
    assert np.abs(vectors_CD[:, 0]) == pytest.approx(np.array([1, 0, 2, 0, 3]) / np.sqrt(14), abs=1e-6)


def test_nearly_dependent_columns_become_orthonormal() -> None:
    draws = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32)
    draws[:, 5] = draws[:, 0] + 1e-4 * draws[:, 1]
    basis = orthonormal(draws).astype(np.float64)
    assert basis.T @ basis == pytest.approx(np.eye(6), abs=1e-5)


def test_filters() -> None:
    singular_D = np.array([2.0, 1.0])
    assert spectral_gains(singular_D, "ideal", 0.1).tolist() == [1, 1]
    assert spectral_gains(singular_D, "linear", 0.1).tolist() == [1, 0.5]
    assert spectral_gains(singular_D, "smooth", 0.25).tolist() == [0.8, 0.5]
    with pytest.raises(InputError, match="spectral filter 'high'"):
        spectral_gains(singular_D, "high", 0.1)
