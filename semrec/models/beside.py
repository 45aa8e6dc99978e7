"""Content models over the vectors of encoders beside that of the texts, most over the principal components of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np

from semrec.errors import InputError
from semrec.models.base import TrainingData
from semrec.models.cold import predict_factors
from semrec.models.content_ridge import ContentRidgeModel
from semrec.models.sparse import liked_of_data, multiply_rows, row_ranges

__all__ = ["BESIDE_MODELS", "DocumentRidgeModel", "ImageRidgeModel", "PrimitivesRidgeModel", "shared_by_likes"]

#: What the dimensions that are kept have a share of, by the setting `selection`.
_SHARED: Final = {"variance": "the variance", "likes": "what likes of one user have in common"}


class _BesideModel(ContentRidgeModel):
    """`ContentRidgeModel` in fewer dimensions, over the vectors of another encoder than that of the texts.

    Settings: `regularization`; `dimension`, how many principal components of the centred embeddings are kept (all where the
    encoder has fewer); `selection`, which: those with the most "variance", or those in which the "likes" of a user have most
    in common (`shared_by_likes`). They are eigenvectors of E'E, which is summed over blocks of items in order. `explained`,
    float64, is the share that they keep of all variance, or of all that likes have in common. An item without the modality
    has the vector zero, which is where the mean item lies: it neither gains nor loses by what it lacks.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"regularization": 1.0, "dimension": 128, "selection": "variance"}
    search_grid: ClassVar[Sequence[Mapping[str, tuple[Any, ...]]]] = (
        *ContentRidgeModel.search_grid,
        {"selection": ("variance", "likes")},
    )

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `ContentRidgeModel.fit`."""
        embeddings_ID = cls.embeddings(data)
        chosen = {**cls.defaults, **settings}
        wanted = int(chosen["dimension"])
        if chosen["selection"] not in _SHARED:
            raise InputError(
                f"selection {chosen['selection']!r} of the {cls.kind} model",
                expected=" or ".join(_SHARED),
                remedy="Name one.",
            )
        model = cls({"neutral_value": data.neutral_value, **settings}, min(wanted, embeddings_ID.shape[1]))
        model._arrays["mean_D"] = cls.mean_of(embeddings_ID)
        centred_ID = model.centred(embeddings_ID)
        variances_D, axes_DD = (array[..., ::-1] for array in np.linalg.eigh(model.gram_of(centred_ID)))
        uses_D = shared_by_likes(centred_ID, axes_DD, data) if chosen["selection"] == "likes" else variances_D
        kept_F = np.sort(np.argsort(-uses_D, kind="stable")[: model.dimension])
        kept_DF = axes_DD[:, kept_F]
        # An eigenvector has no sign of its own: its largest element is made positive.
        kept_DF = kept_DF * np.sign(kept_DF[np.abs(kept_DF).argmax(axis=0), np.arange(model.dimension)])
        no_constant_1F = np.zeros((1, model.dimension))
        model._arrays["axes_CF"] = np.concatenate([kept_DF, no_constant_1F])
        model._arrays["explained"] = np.array(uses_D[kept_F].sum() / (uses_D.sum() or 1.0))
        return model, model.solved(model.cold_items({cls.modality: embeddings_ID}))

    def found(self) -> str:
        """See `VectorModel.found`."""
        axes_CF, explained = self._arrays["axes_CF"], float(self._arrays["explained"])
        kept = f"{self.dimension} of {len(axes_CF) - 1} dimensions keep {explained:.1%}"
        return f"{self.kind}: {kept} of {_SHARED[self.settings['selection']]}"

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """The principal components of centred embeddings of unit length; zeros for items without the modality."""
        if self.modality not in content:
            return self.without_content(content)
        return predict_factors(self.centred(content[self.modality]), self._arrays["axes_CF"])


def shared_by_likes(centred_ID: np.ndarray, axes_DD: np.ndarray, data: TrainingData) -> np.ndarray:
    """How much the likes of one user have in common along each axis, beyond those of all users: float64 [D], from 0 on.

    The sum over users u of (sum_i x_i)^2 / n_u less the sum of x_i^2 / n_u, where x_i is the place on the axis of one of the
    n_u items that u likes, less the mean like: the covariance of two likes of one user. Summed over blocks of users in order.
    Raises InputError when nobody liked anything.
    """
    liked = liked_of_data(data)
    liked = liked.scaled(1 / np.maximum(liked.lengths, 1), np.ones(liked.num_columns))
    weights_I = np.bincount(liked.columns, liked.values, minlength=liked.num_columns)
    places_ID = (centred_ID @ axes_DD).astype(np.float32)
    places_ID -= (weights_I @ places_ID / weights_I.sum()).astype(np.float32)
    shared_D = -(weights_I @ np.square(places_ID, dtype=np.float64))
    for start, stop in row_ranges(liked):
        liked_of_block = liked.between(start, stop)
        means_UD = multiply_rows(liked_of_block, places_ID).astype(np.float64)
        shared_D += liked_of_block.lengths @ np.square(means_UD)
    return np.maximum(shared_D, 0)


class ImageRidgeModel(_BesideModel):
    """By what images show."""

    kind = "image_ridge"
    modality = "image"


class DocumentRidgeModel(_BesideModel):
    """By what documents say."""

    kind = "document_ridge"
    modality = "document"


class PrimitivesRidgeModel(ContentRidgeModel):
    """By the semantic primitives that texts are about. Its dimensions are the encoder's, which have names."""

    kind = "primitives_ridge"
    modality = "primitives"


#: Kind of encoder, as the setting `encoder.beside` names it -> the model of its vectors.
BESIDE_MODELS: Final[Mapping[str, str]] = {
    model.modality: model.kind for model in (ImageRidgeModel, DocumentRidgeModel, PrimitivesRidgeModel)
}
