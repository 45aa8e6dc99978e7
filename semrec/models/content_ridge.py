"""The content model with ridge regression: centred embeddings, and users who are explained by all their likes at once.

Embeddings of one catalogue share a large mean (for sentence encoders most of their length), towards which every user's mean
points, and the few items that lie there are recommended to everybody. So embeddings are centred first. Then a user is

    p = (E'E + l)^-1 E'x       E centred embeddings, x the liked items

the iALS half-step with content as item factors and all pairs weighted alike: directions in which all items differ say less
about a taste than rare ones. Centred embeddings are brought back to unit length, so that their products are cosines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from semrec.errors import InputError
from semrec.models.base import TrainingData
from semrec.models.learned import LearnedModel
from semrec.models.sparse import SparseRows, gram_of_rows, multiply_rows
from semrec.models.unit_scores import score_covariance

__all__ = ["ContentRidgeModel"]


class ContentRidgeModel(LearnedModel):
    """Users by ridge regression over centred embeddings of unit length.

    Settings: `regularization`, relative to the mean eigenvalue of E'E, so that it suits any encoder.
    """

    kind = "content_ridge"
    is_content_only = True
    defaults: ClassVar[Mapping[str, Any]] = {"regularization": 1.0}
    search_grid: ClassVar[Sequence[Mapping[str, tuple[Any, ...]]]] = ({"regularization": (0.3, 1.0, 3.0)},)
    default_weight = 0.25
    # Words, similar items and items that nobody liked are compared by content, also where it adds nothing for who is tested.
    least_weight = 1 / 16

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `VectorModel.fit`. Raises InputError when no item has an embedding."""
        embeddings_ID = cls.embeddings(data)
        model = cls({"neutral_value": data.neutral_value, **settings}, embeddings_ID.shape[1])
        model._arrays["mean_D"] = cls.mean_of(embeddings_ID)
        return model, model.solved(model.cold_items({cls.modality: embeddings_ID}))

    @classmethod
    def embeddings(cls, data: TrainingData) -> np.ndarray:
        """The vectors of the model's modality, float32 [I, D]. Raises InputError when no item has one."""
        embeddings_ID = data.content.get(cls.modality)
        if embeddings_ID is None or not embeddings_ID.any():
            raise InputError(
                f"no item has an embedding of its {cls.modality}",
                expected="one at least",
                remedy="Embed the catalogue first (the settings encoder.kind and encoder.beside).",
            )
        return embeddings_ID

    @staticmethod
    def mean_of(embeddings_ID: np.ndarray) -> np.ndarray:
        """The mean of the items that have an embedding: float32 [D]."""
        has_embedding_I = embeddings_ID.any(axis=1)
        mean_D: np.ndarray = embeddings_ID[has_embedding_I].mean(axis=0, dtype=np.float64)
        return mean_D.astype(np.float32)

    def gram_of(self, centred_ID: np.ndarray) -> np.ndarray:
        """E'E of centred embeddings, float64 [D, D]. Raises InputError where all of them are one and the same."""
        gram_DD: np.ndarray = gram_of_rows(centred_ID)
        if not np.trace(gram_DD):
            raise InputError(
                f"items whose embeddings of {self.modality} are all alike",
                expected="two that differ",
                remedy=f"Leave {self.kind} out, of models.kinds or encoder.beside, until there are more.",
            )
        return gram_DD

    def solved(self, items_ID: np.ndarray) -> np.ndarray:
        """Fills in what users are made by, from the model's item vectors, and returns these."""
        gram_DD, dimension = self.gram_of(items_ID), self.dimension
        ridge = self.settings["regularization"] * np.trace(gram_DD) / dimension
        solved_DD = np.linalg.solve(gram_DD + ridge * np.eye(dimension), np.eye(dimension))
        self._arrays |= {"solve_DD": solved_DD * ridge, "covariance_DD": score_covariance(items_ID)}
        return items_ID

    def raw_users(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.raw_users`."""
        sums_UD = multiply_rows(liked, vectors_ND)
        # The same compiled loop as for sparse rows: a matrix product of a library depends on how many users there are.
        every_column = np.tile(np.arange(self.dimension, dtype=np.int32), liked.num_rows)
        offsets = np.arange(liked.num_rows + 1, dtype=np.int64) * self.dimension
        dense = SparseRows(offsets, every_column, sums_UD.reshape(-1), self.dimension)
        return multiply_rows(dense, self._arrays["solve_DD"])

    def term_vectors(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.term_vectors`."""
        terms_LD: np.ndarray = vectors_ND[liked.columns].astype(np.float64) @ self._arrays["solve_DD"]
        return terms_LD

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Centred embeddings of unit length: to this model no item is cold."""
        return self.centred(content[self.modality]) if self.modality in content else self.without_content(content)

    def without_content(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Zeros, for items of which there is content of other modalities alone: float32 [N, D]."""
        return np.zeros((len(next(iter(content.values()))), self.dimension), np.float32)

    def centred(self, embeddings_ND: np.ndarray) -> np.ndarray:
        """Embeddings less their mean, of unit length: float32 [N, D]. An item without an embedding (zeros) has none."""
        centred_ND = embeddings_ND.astype(np.float64) - self._arrays["mean_D"]
        centred_ND[~embeddings_ND.any(axis=1)] = 0
        lengths_N = np.sqrt((centred_ND * centred_ND).sum(axis=1))
        return (centred_ND / np.where(lengths_N > 0, lengths_N, 1.0)[:, None]).astype(np.float32)
