"""Says what items and liked things are both about, where an encoder's dimensions have names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.models.components import Component
from semrec.online.encoders import recorded_encoders
from semrec.release.reader import Release

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["common_themes"]

_MOST_THEMES: Final = 3


def common_themes(
    served: OnlineRelease, liked_ids: Sequence[str], items_KD: np.ndarray, overlay: OverlayView
) -> list[tuple[str, ...]]:
    """Names what each of K items and what somebody likes are both about; `items_KD` float32 as the release stores them.

    It is the named dimensions in which the item and the mean of the liked items are above the mean item: three at most, those
    with the largest products. Names of no item among `liked_ids` count for nothing. None where no encoder names dimensions.
    """
    named = _named_components(served.release)
    themes: list[tuple[str, ...]] = [() for _ in items_KD]
    if not named:
        return themes
    liked, known = served.vectors.of_history(liked_ids, overlay)
    if not known:
        return themes
    mean_D = np.maximum(liked.vectors().mean(axis=0, dtype=np.float64), 0)
    for component, names in named:
        products_KD = np.maximum(items_KD[:, component.columns], 0) * mean_D[component.columns]
        for row, order in enumerate(np.argsort(-products_KD, axis=1, kind="stable")[:, :_MOST_THEMES]):
            themes[row] += tuple(names[d] for d in order if products_KD[row, d] > 0)
    return themes


def _named_components(release: Release) -> list[tuple[Component, Sequence[str]]]:
    """The components whose dimensions are those of an encoder, centred, and have its names."""
    names_of = {name: identity.get("dimension_names", ()) for name, identity in recorded_encoders(release).items()}
    named = [(component, names_of.get(component.model.modality, ())) for component in release.components.components]
    # What is learned, or rotated, has other dimensions than the encoder; without a mean, every number is above it.
    return [
        (component, names)
        for component, names in named
        if component.model.is_content_only
        and "mean_D" in component.model.arrays()
        and len(names) == component.model.dimension
    ]
