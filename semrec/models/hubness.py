"""Lower items that score high for everybody: a few of them would else stand in the lists of a quarter of all users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from semrec.errors import InputError
from semrec.models.base import TrainingData
from semrec.models.impersonal import ImpersonalModel
from semrec.models.sparse import gram_of_rows

__all__ = ["HubnessModel", "hubness_of"]


class HubnessModel(ImpersonalModel):
    """Items have x_i = -(mean + standard deviation of their scores over users); its weight says how much of that is taken off.

    The scores are those of the blend of all other models, so that the model is fitted behind them. It does what CSLS does
    (Conneau et al. 2018, "Word translation without parallel data", section 2.3), which takes off the mean of an item's
    highest scores; but as a number of each item, so that a score stays one inner product. A new item has the median.
    """

    kind = "hubness"
    is_fitted_last = True
    default_weight: ClassVar[float] = 0.1

    def __init__(self, settings: Mapping[str, Any], dimension: int = 1, median: float = 0.0) -> None:
        super().__init__(settings, dimension)
        self._median = median

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `VectorModel.fit`. Raises InputError where no other model scores items for a user."""
        if data.blend is None or not len(data.blend.users_UD):
            raise InputError(
                "the hubness model without scores to correct",
                expected="another model beside it, with a vector of a user",
                remedy="Name ials before it in models.kinds, say, or import interactions.",
            )
        items_I1 = -np.concatenate([hubness_of(block_RD, data.blend.users_UD) for block_RD in data.blend.item_blocks()])
        return cls(settings, median=float(np.median(items_I1))), items_I1[:, None]

    @classmethod
    def load(cls, settings: Mapping[str, Any], dimension: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """See `VectorModel.load`."""
        return cls(settings, dimension, float(arrays["median"]))

    def arrays(self) -> dict[str, np.ndarray]:
        """See `VectorModel.arrays`."""
        return {"median": np.array(self._median)}

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `VectorModel.cold_items`: nobody can say yet for how many the item will score high."""
        return np.full((len(next(iter(content.values()))), 1), self._median, np.float32)


def hubness_of(items_RD: np.ndarray, users_UD: np.ndarray) -> np.ndarray:
    """The mean plus the standard deviation of items' scores over users: float32 [R].

    From the users' mean m and covariance C alone, as x'm + sqrt(x'Cx): users x items scores would be a run of their own.
    """
    mean_D = users_UD.mean(axis=0, dtype=np.float64)
    covariance_DD = gram_of_rows(users_UD) / len(users_UD) - np.outer(mean_D, mean_D)
    items_RD = items_RD.astype(np.float64)
    variance_R = np.einsum("rd,rd->r", items_RD @ covariance_DD, items_RD)
    return (items_RD @ mean_D + np.sqrt(np.maximum(variance_R, 0.0))).astype(np.float32)
