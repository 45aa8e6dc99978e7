"""Places item vectors in two dimensions so that neighbours stay neighbours: t-SNE by openTSNE, fitted on a sample.

van der Maaten 2014 and Linderman et al. 2019 (the interpolation that openTSNE takes for many points); items beyond the sample
are placed into the finished picture, as in Policar, Strazar, Zupan 2023.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["project"]

_MAX_FITTED: Final = 20_000  # items that shape the picture; further ones are placed among them
_COMPONENTS: Final = 50  # beyond these, distances between texts are mostly noise
_PERPLEXITY: Final = 30.0
_FEW: Final = 5_000  # items so few that a second thread mostly waits for the first, and keeps a core busy with that


def project(vectors_ID: np.ndarray, seed: int, *, num_threads: int = 1) -> np.ndarray:
    """Places the items of float32 `vectors_ID` in the unit square: float32 [I, 2], y upwards.

    The same vectors and seed give the same positions on one machine. Directions count, lengths do not.
    """
    num_items = len(vectors_ID)
    if num_items <= 3:  # too few for neighbours: dots in a row
        return np.array([((i + 0.5) / num_items, 0.5) for i in range(num_items)], np.float32).reshape(-1, 2)
    points_IC = _principal(vectors_ID, np.random.default_rng(seed))
    step = -(-num_items // _MAX_FITTED)
    positions_I2 = np.empty((num_items, 2), np.float32)
    positions_I2[::step], place_among = _fit(points_IC[::step], seed, num_threads)
    is_left_I = np.arange(num_items) % step > 0
    if is_left_I.any():
        positions_I2[is_left_I] = place_among(points_IC[is_left_I])
    return _fill_square(positions_I2)


def _principal(vectors_ID: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the directions of the vectors along their main axes: float32 [I, C], C from 2 to 50.

    A little noise lets equal vectors part, and gives even a single direction a second axis.
    """
    lengths_I1 = np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    unit_ID = vectors_ID / np.where(lengths_I1 > 0, lengths_I1, 1)
    unit_ID = np.pad(unit_ID, ((0, 0), (0, max(0, 2 - unit_ID.shape[1]))))
    unit_ID += rng.normal(0, 1e-4, unit_ID.shape).astype(np.float32)
    unit_ID -= unit_ID.mean(axis=0)
    _, axes_DD = np.linalg.eigh(unit_ID.T @ unit_ID)  # ascending
    axes_DC = axes_DD[:, ::-1][:, :_COMPONENTS]
    # An axis may come out either way round: its largest entry shall be positive, so that no picture is a mirror image.
    largest_C = np.abs(axes_DC).argmax(axis=0)
    signs_C = np.sign(axes_DC[largest_C, np.arange(axes_DC.shape[1])])
    return np.ascontiguousarray(unit_ID @ (axes_DC * signs_C), dtype=np.float32)


def _fit(points_NC, seed, num_threads):  # type: ignore[no-untyped-def] # openTSNE has no types
    """Returns (positions_N2, function that places further points among them). The first picture is the two main axes."""
    import openTSNE  # loads scikit-learn: seconds, which only a map costs

    if len(points_NC) < _FEW:
        num_threads = 1
    first_N2 = openTSNE.initialization.rescale(points_NC[:, :2].astype(np.float64))
    perplexity = min(_PERPLEXITY, (len(points_NC) - 1) / 3)
    picture = openTSNE.TSNE(perplexity=perplexity, initialization=first_N2, n_jobs=num_threads, random_state=seed).fit(
        points_NC
    )
    return np.asarray(picture, np.float32), lambda further: np.asarray(picture.transform(further), np.float32)


def _fill_square(positions_I2: np.ndarray) -> np.ndarray:
    """Stretches the picture to the unit square: along each axis halfway between true distances and equal ones.

    Distant islands would otherwise leave most of the square empty. The order along each axis stays as it is.
    """
    low, high = positions_I2.min(axis=0), positions_I2.max(axis=0)
    linear_I2 = (positions_I2 - low) / np.maximum(high - low, 1e-12)
    ranks_I2 = positions_I2.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / max(
        len(positions_I2) - 1, 1
    )
    return ((linear_I2 + ranks_I2) / 2).astype(np.float32)
