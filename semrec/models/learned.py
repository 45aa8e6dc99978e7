"""What the learned models share: likes as rows, exact fold-in of one user, unit score variance, cold items from content."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData, UserVectors, VectorModel, WeightedHistory
from semrec.models.cold import fit_factor_ridge, predict_factors
from semrec.models.sparse import SparseRows, map_ranges
from semrec.models.unit_scores import score_covariance, unit_score_users

__all__ = ["TEXT", "LearnedModel"]

#: The modality from which vectors of cold items are predicted.
TEXT: Final = "text"


class LearnedModel(VectorModel):
    """A model whose user vectors come from the set of liked items: those with a value above `neutral_value`.

    A subclass says how liked items become a user's vector (`raw_users`) and names its settings with their defaults. Every
    user vector is scaled to unit score variance (`unit_scores`), so that weights of a blend mean the same for all models.

    Of several events of one user with one item the last decides. Liked items are taken in ascending rows of the release,
    items that it does not have last: so the order in which a call lists its items changes no byte.
    """

    default_weight = 1.0

    def __init__(
        self, settings: Mapping[str, Any], dimension: int, arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        super().__init__(settings, dimension)
        unknown = set(settings) - {*self.defaults, "neutral_value"}
        if unknown:
            raise InputError(
                f"settings {', '.join(sorted(unknown))} of the {self.kind} model",
                expected=", ".join([*self.defaults, "neutral_value"]),
                remedy="Name these.",
            )
        self.settings = {"neutral_value": 0.0, **self.defaults, **settings}
        self._arrays = dict(arrays or {})

    @classmethod
    def load(cls, settings: Mapping[str, Any], dimension: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """See `VectorModel.load`."""
        return cls(settings, dimension, arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `VectorModel.arrays`: float64 `covariance_DD`, `cold_CD` where there is content, and the model's own."""
        return dict(self._arrays)

    @abstractmethod
    def raw_users(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """User vectors before scaling, float64 or float32 [U, D], from likes whose columns are places in `vectors_ND`.

        `vectors_ND` float32 item vectors; `matrix_rows_N` their rows of the release, -1 for an item that it does not have.
        Each row's bytes must depend on that row alone.
        """

    @abstractmethod
    def term_vectors(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """What each like of the only row adds to the raw vector, in the order of the row: float64 [L, D]."""

    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """See `VectorModel.user_vectors`."""
        latest = events.latest()
        counted = latest.keep(latest.value > self.settings["neutral_value"])
        ones = np.ones(len(counted.user), np.float32)
        liked, vectors_ND, matrix_rows_N, _ = _gathered(counted.user, counted.row, ones, items, num_users)
        return self._scaled(liked, vectors_ND, matrix_rows_N)

    def fold_in(self, events: Events, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in`."""
        latest = events.latest()
        rows = latest.row[latest.value > self.settings["neutral_value"]]
        return self._history(rows, np.ones(len(rows), np.float32), items)

    def fold_in_weights(self, weights_N: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in_weights`. Weights are scaled so that the largest is 1, which is what a like has."""
        largest = np.abs(weights_N).max(initial=0)
        rows = np.flatnonzero(weights_N)
        return self._history(rows, (weights_N[rows] / (largest or 1.0)).astype(np.float32), items)

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `VectorModel.cold_items`: by ridge regression from text, zeros where the model was fitted without content."""
        coefficients_CD = self._arrays.get("cold_CD")
        if coefficients_CD is None or TEXT not in content:
            return np.zeros((len(next(iter(content.values()))), self.dimension), np.float32)
        return predict_factors(content[TEXT], coefficients_CD)

    def finish_fit(self, items_ID: np.ndarray, liked: SparseRows, data: TrainingData) -> np.ndarray:
        """Fills in what every learned model needs after training; returns the item vectors, cold ones predicted.

        `items_ID` float32 learned item vectors. An item that nobody liked has learned nothing; where it has content, its
        vector is predicted from that.
        """
        num_likes_I = liked.column_counts
        content_ID = data.content.get(TEXT)
        if content_ID is not None and len(content_ID):
            has_content_I = content_ID.any(axis=1)
            coefficients_CD = fit_factor_ridge(content_ID, items_ID, np.where(has_content_I, num_likes_I, 0))
            self._arrays["cold_CD"] = coefficients_CD
            is_cold_I = has_content_I & (num_likes_I == 0)
            items_ID = items_ID.copy()
            items_ID[is_cold_I] = predict_factors(content_ID[is_cold_I], coefficients_CD)
        self._arrays["covariance_DD"] = score_covariance(items_ID)
        return items_ID

    def _scaled(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> UserVectors:
        raw_UD = map_ranges(lambda rows: self.raw_users(rows, vectors_ND, matrix_rows_N), liked, self.dimension)
        vectors_UD = unit_score_users(raw_UD, self._arrays["covariance_DD"])
        has_vector_U = np.isfinite(vectors_UD).all(axis=1) & vectors_UD.any(axis=1)
        vectors_UD[~has_vector_U] = 0
        return UserVectors(vectors_UD, has_vector_U)

    def _history(self, rows: np.ndarray, values: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """One user's vector and the terms that it is the sum of, from item places and what each is worth."""
        liked, vectors_ND, matrix_rows_N, places_N = _gathered(np.zeros(len(rows), np.int64), rows, values, items, 1)
        vectors_UD, has_vector_U = self._scaled(liked, vectors_ND, matrix_rows_N)
        if not has_vector_U[0]:
            return WeightedHistory.without_terms(None, self.dimension)
        terms_LD = self.term_vectors(liked, vectors_ND, matrix_rows_N)
        # The raw vector is the sum of the terms; what it was divided by is its length against the scaled one.
        raw_D = (liked.values.astype(np.float64)[:, None] * terms_LD).sum(axis=0)
        divisor = float(np.linalg.norm(raw_D) / np.linalg.norm(vectors_UD[0].astype(np.float64)))
        term_rows_L = places_N[liked.columns]
        weights_L = liked.values.astype(np.float64)
        return WeightedHistory(vectors_UD[0], term_rows_L, weights_L, terms_LD.astype(np.float32), divisor)


def _gathered(
    user: np.ndarray, row: np.ndarray, values: np.ndarray, items: ItemVectors, num_users: int
) -> tuple[SparseRows, np.ndarray, np.ndarray, np.ndarray]:
    """Likes by users over the items that occur in them: (liked, vectors_ND, matrix_rows_N, places_N).

    Only these items' vectors are read. They are ordered by their row of the release, those it does not have behind.
    """
    places_N = np.unique(row)
    matrix_rows_N = items.matrix_rows(places_N)
    order = np.lexsort((places_N, np.where(matrix_rows_N < 0, np.iinfo(np.int64).max, matrix_rows_N)))
    number_of_place = np.argsort(order)
    columns = number_of_place[np.searchsorted(places_N, row)]
    liked = SparseRows.from_pairs(user, columns, values, num_users, len(places_N))
    places_N, matrix_rows_N = places_N[order], matrix_rows_N[order]
    return liked, items.vectors(places_N), matrix_rows_N, places_N
