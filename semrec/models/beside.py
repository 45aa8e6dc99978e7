"""Content models over the vectors of encoders beside that of the texts, most over the principal components of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np

from semrec.models.base import TrainingData
from semrec.models.cold import predict_factors
from semrec.models.content_ridge import ContentRidgeModel

__all__ = ["BESIDE_MODELS", "DocumentRidgeModel", "ImageRidgeModel", "PrimitivesRidgeModel"]


class _BesideModel(ContentRidgeModel):
    """`ContentRidgeModel` in fewer dimensions, over the vectors of another encoder than that of the texts.

    Settings: `regularization`, and `dimension`, how many principal components of the centred embeddings are kept (all where
    the encoder has fewer). They are the eigenvectors with the largest eigenvalues of E'E, which is summed over blocks of
    items in order. `explained`, float64, is the share of the variance that they keep. An item without the modality has the
    vector zero, which is where the mean item lies: it neither gains nor loses by what it lacks.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"regularization": 1.0, "dimension": 128}

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `ContentRidgeModel.fit`."""
        embeddings_ID = cls.embeddings(data)
        wanted = int({**cls.defaults, **settings}["dimension"])
        model = cls({"neutral_value": data.neutral_value, **settings}, min(wanted, embeddings_ID.shape[1]))
        model._arrays["mean_D"] = cls.mean_of(embeddings_ID)
        variances_D, axes_DD = np.linalg.eigh(model.gram_of(model.centred(embeddings_ID)))  # ascending
        kept_DF = axes_DD[:, ::-1][:, : model.dimension]
        # An eigenvector has no sign of its own: its largest element is made positive.
        kept_DF = kept_DF * np.sign(kept_DF[np.abs(kept_DF).argmax(axis=0), np.arange(model.dimension)])
        no_constant_1F = np.zeros((1, model.dimension))
        model._arrays["axes_CF"] = np.concatenate([kept_DF, no_constant_1F])
        model._arrays["explained"] = np.array(variances_D[::-1][: model.dimension].sum() / variances_D.sum())
        return model, model.solved(model.cold_items({cls.modality: embeddings_ID}))

    def found(self) -> str:
        """See `VectorModel.found`."""
        axes_CF, explained = self._arrays["axes_CF"], float(self._arrays["explained"])
        return f"{self.kind}: {self.dimension} of {len(axes_CF) - 1} dimensions keep {explained:.1%} of the variance"

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """The principal components of centred embeddings of unit length; zeros for items without the modality."""
        if self.modality not in content:
            return self.without_content(content)
        return predict_factors(self.centred(content[self.modality]), self._arrays["axes_CF"])


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
