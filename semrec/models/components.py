"""Components: the models of one release side by side, their vectors concatenated, so that one inner product scores all.

Item i has the vector [2^e1 x_i1, 2^e2 x_i2, ...] and user u [w1 y_u1, w2 y_u2, ...], where x and y are what model c gives,
and so

    score(u, i) = sum_c w_c 2^e_c (y_uc . x_ic)

A model's scale is a power of two and stands on the items: it brings the models to a like size, so that a coarse format
loses as little of each, and it is exact, so that every model reads its own vectors back bit for bit. The weight is any
number and stands on the users, where it may go by how many events a user has; so a new weight changes no item.

Axes: as in `semrec.models.base`; D is the dimension of all components together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, Repeats, UserVectors, VectorModel, WeightedHistory
from semrec.workspace.manifests import ModelSpec

__all__ = ["Component", "ComponentHistory", "Components"]


@dataclass(frozen=True)
class Component:
    """One model in a release: `columns` of the item matrix are its vectors times 2 ** `exponent`.

    `weights` are pairs (number of events, weight), ascending from 0 events: from so many events on a user has that weight.
    Raises InputError for other weights.
    """

    model: VectorModel
    columns: slice
    exponent: int = 0
    weights: tuple[tuple[int, float], ...] = ((0, 1.0),)

    def __post_init__(self) -> None:
        numbers = [number for number, _ in self.weights]
        is_ascending = numbers[:1] == [0] and all(a < b for a, b in pairwise(numbers))
        if not is_ascending or not all(math.isfinite(weight) and weight >= 0 for _, weight in self.weights):
            raise InputError(
                f"weights {self.weights} of the {self.name} model",
                expected="pairs (number of events, weight), ascending from 0 events, of finite weights from 0 on",
                remedy="Correct them, for instance ((0, 1.0),).",
            )

    @property
    def name(self) -> str:
        """What explanations call it: the kind of its model."""
        return self.model.kind

    @property
    def scale(self) -> float:
        """The factor between the model's item vectors and the stored ones."""
        return math.ldexp(1.0, self.exponent)

    def weights_of(self, num_events_U: np.ndarray) -> np.ndarray:
        """The weight of users with so many events: float32 [U]."""
        numbers, weights = zip(*self.weights, strict=True)
        return np.array(weights, np.float32)[np.searchsorted(numbers, num_events_U, side="right") - 1]

    def items_of(self, items: ItemVectors) -> ItemVectors:
        """The model's own vectors among those of all components."""
        high_ND, low_ND = items.high_ND[:, self.columns], items.low_ND[:, self.columns]
        return ItemVectors(high_ND, low_ND, items.matrix_rows_N, self.exponent)

    def stored(self, vectors_ND: np.ndarray) -> np.ndarray:
        """The model's item vectors as they are stored: float32 [N, D of the model]. Raises InputError where that loses bits."""
        if not self.exponent:
            return vectors_ND
        with np.errstate(over="ignore", under="ignore"):
            stored_ND = np.ldexp(vectors_ND, self.exponent)
        if not np.array_equal(np.ldexp(stored_ND, -self.exponent), vectors_ND):
            raise InputError(
                f"vectors of the {self.name} model times 2 ** {self.exponent} leave the range of float32",
                expected="an exponent that brings their size near to 1",
                remedy="Choose an exponent nearer to 0.",
            )
        return stored_ND


@dataclass(frozen=True, eq=False)
class ComponentHistory:
    """How one component's block of a user's vector is made: `weight` times the vector of `history`."""

    component: Component
    history: WeightedHistory
    weight: float

    def contributions(self, items_KD: np.ndarray) -> np.ndarray:
        """What each term adds to the score of items with stored vectors of all components: float64 [K, L]."""
        added_KL = self.component.model.contributions(self.history, self.own_vectors(items_KD))
        return added_KL * (self.weight * self.component.scale)

    def score_parts(self, items_KD: np.ndarray) -> np.ndarray:
        """What the component adds to the score of each item: float64 [K]."""
        if self.history.vector is None:
            return np.zeros(len(items_KD))
        own_KD = self.own_vectors(items_KD).astype(np.float64)
        return own_KD @ self.history.vector.astype(np.float64) * (self.weight * self.component.scale)

    def own_vectors(self, items_KD: np.ndarray) -> np.ndarray:
        """The model's own vectors among the stored ones of all components: float32 [K, D of the model]."""
        return np.ldexp(items_KD[:, self.component.columns], -self.component.exponent)


@dataclass(frozen=True)
class Components:
    """All models of a release. `repeats` and `neutral_value` say which events count, and for what: see `Events.counted`.

    A user has a vector when a model that goes by the user's events gives one with a weight above 0. Raises InputError when
    two models have one name, or none of them goes by events.
    """

    components: tuple[Component, ...]
    repeats: Repeats = "sum"
    neutral_value: float = 0.0
    dimension: int = field(init=False)

    def __post_init__(self) -> None:
        names = [component.name for component in self.components]
        if len(set(names)) < len(names) or not any(component.model.is_personal for component in self.components):
            raise InputError(
                f"models {', '.join(names) or 'none'}",
                expected="models of different names, one at least that goes by a user's events",
                remedy="Name each model once, and content among them.",
            )
        object.__setattr__(self, "dimension", self.components[-1].columns.stop)

    @classmethod
    def side_by_side(
        cls,
        models: Sequence[VectorModel],
        specs: Sequence[ModelSpec],
        repeats: Repeats = "sum",
        neutral_value: float = 0.0,
    ) -> Components:
        """Fitted models in the order of their specs, one after the other in the columns of the item matrix."""
        components, start = [], 0
        for model, spec in zip(models, specs, strict=True):
            columns = slice(start, start + model.dimension)
            components.append(Component(model, columns, spec.exponent, spec.weights))
            start = columns.stop
        return cls(tuple(components), repeats, neutral_value)

    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """Vectors of all components from events whose rows are places in `items`, the stored vectors of all components."""
        counted = events.counted(self.repeats, self.neutral_value)
        num_events_U = np.bincount(counted.user, minlength=num_users)
        vectors_UD, has_vector_U = np.zeros((num_users, self.dimension), np.float32), np.zeros(num_users, bool)
        for component in self.components:
            own_UD, has_own_U = component.model.user_vectors(counted, component.items_of(items), num_users)
            weights_U = component.weights_of(num_events_U)
            vectors_UD[:, component.columns] = own_UD * weights_U[:, None]
            if component.model.is_personal:
                has_vector_U |= has_own_U & (weights_U > 0)
        vectors_UD[~has_vector_U] = 0
        return UserVectors(vectors_UD, has_vector_U)

    def fold_in(self, events: Events, items: ItemVectors) -> tuple[np.ndarray | None, list[ComponentHistory]]:
        """One user's vector, byte for byte that of `user_vectors`, None where there is none, and how it is made."""
        counted = events.counted(self.repeats, self.neutral_value)
        return self._joined(
            [component.model.fold_in(counted, component.items_of(items)) for component in self.components],
            len(counted.user),
        )

    def fold_in_weights(
        self, weights_N: np.ndarray, items: ItemVectors, *, is_search: bool = False
    ) -> tuple[np.ndarray | None, list[ComponentHistory]]:
        """The vector of somebody who likes item n by `weights_N[n]` (negative: dislikes), and how it is made.

        A search asks for what is like some words, so models that do not compare items have no say in it.
        """
        histories = [
            c.model.fold_in_weights(weights_N, c.items_of(items))
            if c in self._comparing or not is_search
            else WeightedHistory.without_terms(None, c.model.dimension)
            for c in self.components
        ]
        return self._joined(histories, len(weights_N))

    def stored_items(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Item vectors of all components as they are stored, from those that each model gives: float32 [N, D]."""
        blocks = [c.stored(own_ND) for c, own_ND in zip(self.components, vectors, strict=True)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Stored vectors of all components for items without interactions, from their content: float32 [N, D]."""
        return self.stored_items([component.model.cold_items(content) for component in self.components])

    def changed_items(self, stored_ND: np.ndarray, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Stored vectors of items that have interactions, after a change of their content: float32 [N, D].

        What was learned from interactions stays; what comes from content alone is that of the new one, where that has the
        modality: a new text does not change a poster.
        """
        changed_ND = stored_ND.copy()
        for component in self.components:
            if component.model.is_content_only and component.model.modality in content:
                changed_ND[:, component.columns] = component.stored(component.model.cold_items(content))
        return changed_ND

    def comparing(self, items_ND: np.ndarray) -> np.ndarray:
        """Stored vectors without the components that do not say how alike two items are, to ask for similar items."""
        comparing_ND = np.zeros_like(items_ND)
        for component in self._comparing:
            comparing_ND[:, component.columns] = items_ND[:, component.columns]
        return comparing_ND

    @property
    def _comparing(self) -> list[Component]:
        """The components that compare items; where none does, those that go by a user's events."""
        comparing = [component for component in self.components if component.model.compares_items]
        return comparing or [component for component in self.components if component.model.is_personal]

    def _joined(
        self, histories: list[WeightedHistory], num_events: int
    ) -> tuple[np.ndarray | None, list[ComponentHistory]]:
        """The blocks of one user as one vector, by the same float32 products as in `user_vectors`."""
        vector_D, has_vector, joined = np.zeros(self.dimension, np.float32), False, []
        for component, history in zip(self.components, histories, strict=True):
            weight = component.weights_of(np.array([num_events]))[0]
            joined.append(ComponentHistory(component, history, float(weight)))
            if history.vector is not None:
                vector_D[component.columns] = history.vector * weight
                has_vector |= component.model.is_personal and bool(weight > 0)
        return (vector_D, joined) if has_vector else (None, joined)
