"""Train iALS: half-steps by blocks of rows, their sums in a fixed order, and the loss that both half-steps minimise.

A block of rows is solved alone, and what a half-step needs of the whole other side are its factors and the sum of its blocks'
Grams. So blocks may be solved by threads here or by workers elsewhere (`semrec.release.factors`), with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from semrec.compiled import compiled
from semrec.errors import TrainingError
from semrec.models.half_step import FixedSide, eigenbasis, fixed_side, rotated_side, solve_rows
from semrec.models.sparse import ROWS_PER_BLOCK, SparseRows, block_edges, gram_of_rows

__all__ = ["BlockSums", "initial_factors", "solve_block", "stops_after", "train_ials", "training_loss"]

_INITIAL_STD: Final = 0.1
_ROWS_PER_SEED: Final = 1 << 16  # rows that one seed draws


@dataclass(frozen=True, eq=False)
class BlockSums:
    """What is summed over the rows of a half-step: their Gram, float64 [D, D], the sum over likes of (1 - score) ** 2, and
    the regularisation."""

    gram_DD: np.ndarray
    observed_loss: float
    penalty: float

    @classmethod
    def total(cls, blocks: Iterable[BlockSums]) -> BlockSums:
        """The sum in the order of the blocks."""
        first, *others = blocks
        gram_DD, observed_loss, penalty = first.gram_DD.copy(), first.observed_loss, first.penalty
        for sums in others:
            gram_DD += sums.gram_DD
            observed_loss += sums.observed_loss
            penalty += sums.penalty
        return cls(gram_DD, observed_loss, penalty)


def train_ials(
    liked: SparseRows,
    settings: Mapping[str, Any],
    *,
    start_ID: np.ndarray | None = None,
    on_epoch: Callable[[int, float, FixedSide], bool] | None = None,
    num_threads: int = 1,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> FixedSide:
    """Alternates between users and items; returns the item side, in the eigenbasis of its Gram.

    `liked` users x items; `settings` those of `IalsModel`. `start_ID` float32: factors to begin with (a warm start), of as
    many dimensions. `on_epoch` is told (epoch from 1, loss, item side) and stops the training by returning True. Raises
    TrainingError when the loss rises or is not finite.
    """
    by_item = liked.transposed()
    items = fixed_side(initial_factors(liked.num_columns, settings) if start_ID is None else start_ID)
    loss_before = np.inf
    for epoch in range(1, settings["num_epochs"] + 1):
        users, user_sums = _half_step(liked, items, settings, num_threads, rows_per_block)
        items, item_sums = _half_step(by_item, users, settings, num_threads, rows_per_block)
        loss = training_loss(users.eigenvalues_D, user_sums, item_sums, settings)
        is_last = stops_after(epoch, loss, loss_before, settings)
        if (on_epoch is not None and on_epoch(epoch, loss, items)) or is_last:
            break
        loss_before = loss
    return items


def solve_block(rows: SparseRows, fixed: FixedSide, settings: Mapping[str, Any]) -> tuple[np.ndarray, BlockSums]:
    """The factors of a block of rows, float32 [R, D], and their sums."""
    factors_RD = solve_rows(rows, fixed, settings)
    weighted_count_R = rows.lengths + settings["unobserved_weight"] * fixed.num_learned
    ridge_R = settings["regularization"] * weighted_count_R ** settings["frequency_exponent"]
    penalty = float((ridge_R * np.einsum("rd,rd->r", factors_RD, factors_RD, dtype=np.float64)).sum())
    observed_loss = _observed_loss(rows.offsets, rows.columns, factors_RD, fixed.factors_CD)
    return factors_RD, BlockSums(gram_of_rows(factors_RD), observed_loss, penalty)


def training_loss(
    user_eigenvalues_D: np.ndarray, user_sums: BlockSums, item_sums: BlockSums, settings: Mapping[str, Any]
) -> float:
    """The loss after an epoch, see `half_step`, with the regularisation of both sides.

    `user_eigenvalues_D` of the users that the items were solved against: in their eigenbasis the users' Gram is diagonal, and
    so the sum of all squared scores is that of the products of the Grams' diagonals.
    """
    unobserved = float((item_sums.gram_DD.diagonal() * user_eigenvalues_D).sum())
    weighted = settings["unobserved_weight"] * unobserved
    return item_sums.observed_loss + weighted + user_sums.penalty + item_sums.penalty


def stops_after(epoch: int, loss: float, loss_before: float, settings: Mapping[str, Any]) -> bool:
    """Whether an epoch lowered the loss by less than the share `min_improvement`, or was the last.

    Raises TrainingError when the loss rose or is not finite.
    """
    # Exact half-steps never raise the loss; float32 factors leave it a little room.
    if not loss <= loss_before * (1 + 1e-5):
        raise TrainingError(
            f"iALS loss {loss:.6g} after epoch {epoch}, {loss_before:.6g} before",
            expected="a finite loss that falls",
            remedy="Raise regularization, or lower dimension: the system may be singular.",
        )
    return epoch == settings["num_epochs"] or loss > loss_before * (1 - settings["min_improvement"])


def initial_factors(num_rows: int, settings: Mapping[str, Any]) -> np.ndarray:
    """Normal float32 factors whose inner products have a standard deviation of 0.01: [num_rows, D]."""
    shape, std = (min(_ROWS_PER_SEED, num_rows), settings["dimension"]), _INITIAL_STD / settings["dimension"] ** 0.25
    blocks = [
        np.random.default_rng([settings["seed"], start]).standard_normal(shape, np.float32)[: num_rows - start]
        for start in range(0, num_rows, _ROWS_PER_SEED)
    ]
    return np.concatenate(blocks) * np.float32(std)


def _half_step(
    matrix: SparseRows, fixed: FixedSide, settings: Mapping[str, Any], num_threads: int, rows_per_block: int
) -> tuple[FixedSide, BlockSums]:
    edges = block_edges(matrix.num_rows, rows_per_block)
    with ThreadPoolExecutor(num_threads) as pool:
        solved = list(pool.map(lambda edge: solve_block(matrix.between(*edge), fixed, settings), edges))
    sums = BlockSums.total(sums for _, sums in solved)
    return rotated_side((factors_RD for factors_RD, _ in solved), *eigenbasis(sums.gram_DD)), sums


@compiled
def _observed_loss(offsets, columns, rows_RD, fixed_CD):  # type: ignore[no-untyped-def]
    """The sum over liked pairs of (1 - score) ** 2, in float64."""
    total = 0.0
    for r in range(len(offsets) - 1):
        for n in range(offsets[r], offsets[r + 1]):
            score = 0.0
            for d in range(rows_RD.shape[1]):
                score += np.float64(rows_RD[r, d]) * np.float64(fixed_CD[columns[n], d])
            total += (1.0 - score) ** 2
    return total
