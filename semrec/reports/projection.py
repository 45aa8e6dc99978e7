"""Two dimensions for many: a picture of the item vectors in which neighbours stay neighbours.

The method is that of UMAP (McInnes, Healy, Melville 2018: sections 3.1 for the weights, 3.2 for the moves) with the kernel
1 / (1 + d^2) of t-SNE and LargeVis, whose gradients need no power function. Neighbours are looked for in the nearest
clusters only: a picture may miss some.

It is ours because the libraries would keep a map of 86,537 items waiting for many minutes: of 20,000 x 384, on a busy core,
scikit-learn's TSNE took 187 s of processor time, umap-learn 50 s, this 5 s, with 0.22, 0.12 and 0.14 of the nearest ten kept.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.compiled import compiled

__all__ = ["project"]

_COMPONENTS: Final = 50  # beyond these, distances between texts are mostly noise
_NEIGHBOURS: Final = 15
_ITEMS_PER_CELL: Final = 300
_CELLS_SEARCHED: Final = 8
_NEGATIVES: Final = 5  # items pushed away for each neighbour drawn near
_SPREAD: Final = 10.0  # half the width of the first picture, in units of the kernel
_FEW_ITEMS: Final = 10_000


def project(vectors_ID: np.ndarray, seed: int) -> np.ndarray:
    """Positions of the items of float32 `vectors_ID`: float32 [I, 2], each axis from 0 to 1, y upwards.

    The same vectors and seed give the same positions on one machine. Directions count, lengths do not.
    About 20 s on one core for 86,537 items of 384 dimensions.
    """
    num_items = len(vectors_ID)
    if num_items <= 3:  # too few for neighbours: dots in a row
        return np.array([((i + 0.5) / num_items, 0.5) for i in range(num_items)], np.float32).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    points_IC = _principal(vectors_ID, min(_COMPONENTS, vectors_ID.shape[1], num_items - 1))
    neighbours_IN, distances_IN = _nearest(points_IC, min(_NEIGHBOURS, num_items - 1), rng)
    places_I2 = _first_picture(points_IC, rng)
    num_rounds = 500 if num_items <= _FEW_ITEMS else 200
    _move(places_I2, neighbours_IN, _weights(distances_IN), num_rounds, np.uint64(rng.integers(1, 2**63)))
    return _fit(places_I2)


def _principal(vectors_ID: np.ndarray, num_components: int) -> np.ndarray:
    """The directions of the vectors along their main axes: float32 [I, C]. Axes are signed so that none may flip."""
    lengths = np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    unit_ID = vectors_ID / np.where(lengths > 0, lengths, 1)
    unit_ID -= unit_ID.mean(axis=0)
    _, axes_DD = np.linalg.eigh(unit_ID.T @ unit_ID)
    axes_DC = axes_DD[:, ::-1][:, :num_components]
    largest = np.abs(axes_DC).argmax(axis=0)
    signs = np.sign(axes_DC[largest, np.arange(axes_DC.shape[1])])
    return np.ascontiguousarray(unit_ID @ (axes_DC * signs), dtype=np.float32)


def _first_picture(points_IC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The two main axes, with a little noise, so that equal vectors can part: float32 [I, 2]."""
    places = np.zeros((len(points_IC), 2), np.float32)
    places[:, : points_IC.shape[1]] = points_IC[:, :2]
    places *= _SPREAD / max(float(np.abs(places).max()), 1e-12)
    return places + rng.normal(0, 1e-3, places.shape).astype(np.float32)


def _nearest(points_IC: np.ndarray, num_neighbours: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each item's nearest others, looked for in the nearest cells: (int64 [I, N], float32 distances [I, N]), ascending."""
    cells, centres = _cells(points_IC, rng)
    members = [np.flatnonzero(cells == c) for c in range(len(centres))]
    near_cells = np.argsort(_squared(centres, centres), axis=1, kind="stable")
    neighbours = np.empty((len(points_IC), num_neighbours), np.int64)
    distances = np.empty((len(points_IC), num_neighbours), np.float32)
    for cell, rows in enumerate(members):
        if not len(rows):
            continue
        found = np.concatenate([members[near] for near in near_cells[cell, :_CELLS_SEARCHED]])
        for further in near_cells[cell, _CELLS_SEARCHED:]:  # small cells all around: go on until there are enough
            if len(found) > num_neighbours:
                break
            found = np.concatenate([found, members[further]])
        squared = _squared(points_IC[rows], points_IC[found])
        squared[rows[:, None] == found] = np.inf
        best = np.argpartition(squared, num_neighbours - 1, axis=1)[:, :num_neighbours]
        order = np.argsort(np.take_along_axis(squared, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        neighbours[rows] = found[best]
        distances[rows] = np.sqrt(np.maximum(np.take_along_axis(squared, best, 1), 0))
    return neighbours, distances


def _cells(points_IC: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clusters by five rounds of Lloyd's algorithm: (cell of each item, centres)."""
    num_cells = max(1, len(points_IC) // _ITEMS_PER_CELL)
    centres = points_IC[np.sort(rng.choice(len(points_IC), num_cells, replace=False))]
    for _ in range(5):
        cells = _closest(points_IC, centres)
        counts = np.bincount(cells, minlength=num_cells)
        sums = np.zeros((num_cells, points_IC.shape[1]))
        np.add.at(sums, cells, points_IC)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
    return _closest(points_IC, centres), centres


def _closest(points_IC: np.ndarray, centres: np.ndarray) -> np.ndarray:
    blocks = range(0, len(points_IC), 8192)
    return np.concatenate([_squared(points_IC[b : b + 8192], centres).argmin(axis=1) for b in blocks])


def _squared(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs: float32 [len(left), len(right)]."""
    return (left**2).sum(axis=1)[:, None] - 2 * (left @ right.T) + (right**2).sum(axis=1)


def _weights(distances_IN: np.ndarray) -> np.ndarray:
    """exp(-(d - d_nearest) / s) with s such that an item's weights add up to log2(N): float32 [I, N], UMAP section 3.1."""
    beyond = distances_IN - distances_IN[:, :1]
    target = np.log2(max(distances_IN.shape[1], 2))
    low, high = np.full(len(beyond), 1e-6), np.full(len(beyond), 1e3)
    for _ in range(40):  # by halving on a logarithmic scale
        middle = np.sqrt(low * high)
        too_much = np.exp(-beyond / middle[:, None]).sum(axis=1) > target
        high, low = np.where(too_much, middle, high), np.where(too_much, low, middle)
    return np.exp(-beyond / high[:, None]).astype(np.float32)


@compiled
def _move(places_I2, neighbours_IN, weights_IN, num_rounds, state):  # type: ignore[no-untyped-def]
    """Draws neighbours together and pushes strangers apart, in place; a neighbour of weight w has w of the rounds.

    The gradients of log(1 / (1 + d^2)) and log(1 - 1 / (1 + d^2)), each step cut to 4 units as UMAP does.
    """
    num_items, num_neighbours = neighbours_IN.shape
    for turn in range(num_rounds):
        rate = np.float32(1) - np.float32(turn) / np.float32(num_rounds)
        for i in range(num_items):
            for n in range(num_neighbours):
                weight = weights_IN[i, n]
                if np.floor((turn + 1) * weight) == np.floor(turn * weight):
                    continue
                j = neighbours_IN[i, n]
                dx, dy = places_I2[i, 0] - places_I2[j, 0], places_I2[i, 1] - places_I2[j, 1]
                pull = rate * np.float32(-2) / (np.float32(1) + dx * dx + dy * dy)
                sx = min(max(pull * dx, np.float32(-4)), np.float32(4))
                sy = min(max(pull * dy, np.float32(-4)), np.float32(4))
                places_I2[i, 0] += sx
                places_I2[i, 1] += sy
                places_I2[j, 0] -= sx
                places_I2[j, 1] -= sy
                for _ in range(_NEGATIVES):
                    state ^= state << np.uint64(13)  # xorshift64: Marsaglia 2003
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    other = np.int64((state >> np.uint64(11)) % np.uint64(num_items))
                    if other == i:
                        continue
                    dx, dy = places_I2[i, 0] - places_I2[other, 0], places_I2[i, 1] - places_I2[other, 1]
                    squared = dx * dx + dy * dy
                    push = rate * np.float32(2) / ((np.float32(0.001) + squared) * (np.float32(1) + squared))
                    places_I2[i, 0] += min(max(push * dx, np.float32(-4)), np.float32(4))
                    places_I2[i, 1] += min(max(push * dy, np.float32(-4)), np.float32(4))


def _fit(places_I2: np.ndarray) -> np.ndarray:
    """The picture in the unit square: along each axis halfway between true distances and equal ones.

    Distant islands would otherwise leave most of the square empty. The order along each axis stays as it is.
    """
    low, high = places_I2.min(axis=0), places_I2.max(axis=0)
    linear = (places_I2 - low) / np.maximum(high - low, 1e-12)
    ranks = places_I2.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / max(len(places_I2) - 1, 1)
    return ((linear + ranks) / 2).astype(np.float32)
