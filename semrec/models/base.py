"""The interface of a model: what maps items and interactions to vectors whose inner product is a score.

A model is fitted once on the data of a release (`VectorModel.fit`). Its item vectors become columns of the release's item
matrix; what else it needs to turn events into a user's vector is `settings` and `arrays`, stored in the release's folder
and read back by `VectorModel.load`. So batch scoring, folding in new events online and explanations all call the same
model with the same bytes.

Axes: U users, I items of a release, N items of one call, E events, L events or items that a vector is made of, K items
explained, D dimensions of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import numpy as np

from semrec.registry import Registry, import_class
from semrec.scoring.halves import join_halves, split_halves
from semrec.settings import DEFAULT_HALF_LIFE_DAYS

__all__ = [
    "MODELS",
    "BlendSample",
    "Events",
    "ItemVectors",
    "Repeats",
    "TrainingData",
    "UserVectors",
    "VectorModel",
    "WeightedHistory",
    "model_class",
    "reads_modality",
]

Repeats = Literal["sum", "latest"]  # which of several events of a user with an item count
#: Name of a model, as settings and manifests have it -> module and class. Imported on first use: some load torch.
MODELS: Final[Registry] = {
    "content": ("semrec.models.content", "ContentModel"),
    "content_ridge": ("semrec.models.content_ridge", "ContentRidgeModel"),
    "document_ridge": ("semrec.models.beside", "DocumentRidgeModel"),
    "graph": ("semrec.models.graph", "GraphModel"),
    "hubness": ("semrec.models.hubness", "HubnessModel"),
    "ials": ("semrec.models.ials", "IalsModel"),
    "image_ridge": ("semrec.models.beside", "ImageRidgeModel"),
    "nsvd": ("semrec.models.nsvd", "NsvdModel"),
    "popularity": ("semrec.models.popularity", "PopularityModel"),
    "primitives_ridge": ("semrec.models.beside", "PrimitivesRidgeModel"),
}


def model_class(kind: str) -> type[VectorModel]:
    """Imports the model of a name. Raises InputError when there is no such model."""
    loaded: type[VectorModel] = import_class(MODELS, kind, "model")
    return loaded


def reads_modality(modality: str, kinds: Iterable[str]) -> bool:
    """Whether one of some models is fitted on a modality; names of no model count for nothing."""
    return any(model_class(kind).modality == modality for kind in kinds if kind in MODELS)


@dataclass(frozen=True)
class Events:
    """Interactions of some users, ordered by (user, timestamp, item_id): parallel arrays of length E.

    `user` int64 index of the user, ascending; `row` int64 row of the item; `value` float32; `timestamp` int64, s UTC.
    """

    user: np.ndarray
    row: np.ndarray
    value: np.ndarray
    timestamp: np.ndarray

    def keep(self, mask: np.ndarray) -> Events:
        """The events where `mask`, bool [E], is true."""
        return Events(self.user[mask], self.row[mask], self.value[mask], self.timestamp[mask])

    def latest(self) -> Events:
        """Of several events of one user with one item only the last, in the order of the arrays."""
        order = np.lexsort((np.arange(len(self.user)), self.row, self.user))
        user, row = self.user[order], self.row[order]
        last = np.ones(len(order), bool)
        last[:-1] = (user[1:] != user[:-1]) | (row[1:] != row[:-1])
        mask = np.zeros(len(order), bool)
        mask[order[last]] = True
        return self.keep(mask)

    def counted(self, repeats: Repeats, neutral_value: float) -> Events:
        """The events that say what a user likes: "latest" ones alone, or with "sum" all, less what was given back.

        With "sum" a value r below 0 is a return. An event says s = max(|r| - neutral_value, 0) with the sign of r, so a
        return takes away what the same value gave. Where a user and an item have both, the values above neutral become
        neutral_value + s * max(sum of all s, 0) / (sum of the s above 0), and the returns go; where nothing is left, the
        returns alone stay. A neutral value below 0 is one of ratings, of which none is a return.
        """
        if repeats == "latest":
            return self.latest()
        if neutral_value < 0 or not (self.value < 0).any():
            return self
        said = np.sign(self.value) * np.maximum(np.abs(self.value.astype(np.float64)) - neutral_value, 0)
        _, pair = np.unique(self.user * (1 + self.row.max()) + self.row, return_inverse=True)
        given = np.bincount(pair, np.maximum(said, 0))[pair]
        left = np.maximum(np.bincount(pair, said)[pair], 0)
        is_return = self.value < 0
        has_both = (given > 0) & (np.bincount(pair, is_return)[pair] > 0)
        share = np.divide(left, given, out=np.ones(len(said)), where=has_both)
        value = np.where(has_both & (said > 0), neutral_value + said * share, self.value).astype(np.float32)
        gone = has_both & np.where(left > 0, is_return, ~is_return)
        return Events(self.user, self.row, value, self.timestamp).keep(~gone)


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """A model's vectors of N items, in the two 16-bit halves that a release stores (`scoring.halves.split_halves`).

    `high_ND` uint16 and `low_ND` int16, memory-mapped where they lie. `matrix_rows_N` int64 says which row of the release
    each item is, -1 for one that the release does not have (an item added online, words of a search); None means that item
    n is row n. Stored vectors are the model's times 2 ** `exponent`: a power of two, so that dividing gives the same bits.
    """

    high_ND: np.ndarray
    low_ND: np.ndarray
    matrix_rows_N: np.ndarray | None = None
    exponent: int = 0

    @classmethod
    def from_vectors(cls, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray | None = None) -> ItemVectors:
        """The halves of float32 vectors [N, D]."""
        return cls(*split_halves(vectors_ND), matrix_rows_N)

    @classmethod
    def concatenate(cls, blocks: Sequence[ItemVectors]) -> ItemVectors:
        """The items of several blocks that all say `matrix_rows_N` and have one exponent, one after the other."""
        high_ND, low_ND = (
            np.concatenate(halves) for halves in zip(*((b.high_ND, b.low_ND) for b in blocks), strict=True)
        )
        rows_N = np.concatenate([block.matrix_rows_N for block in blocks if block.matrix_rows_N is not None])
        return cls(high_ND, low_ND, rows_N, blocks[0].exponent)

    @property
    def num_items(self) -> int:
        return int(self.high_ND.shape[0])

    @property
    def dimension(self) -> int:
        return int(self.high_ND.shape[1])

    def vectors(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The model's vectors of some of the N items, a fresh array: float32 [len(rows), D]."""
        stored_ND = join_halves(self.high_ND[rows], self.low_ND[rows])
        return np.ldexp(stored_ND, -self.exponent) if self.exponent else stored_ND

    def matrix_rows(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of the release some of the N items are, -1 where it does not have them: int64 [len(rows)]."""
        return rows if self.matrix_rows_N is None else self.matrix_rows_N[rows]


class UserVectors(NamedTuple):
    """Vectors of U users: float32 [U, D], and whether each user has one, bool [U]. Without one the row is zeros."""

    vectors_UD: np.ndarray
    has_vector_U: np.ndarray


@dataclass(frozen=True, eq=False)
class WeightedHistory:
    """How one user's vector is made: vector = (sum_l weights_L[l] * vectors_LD[l]) / divisor, but for rounding.

    `vector` float32 [D], None where the history gives none. `rows_L` int64: which of the call's N items term l is;
    `weights_L` float64, negative for what is disliked; `vectors_LD` float32, what each term contributes: the item's own
    vector, or for a model with a solve in it the solved vector, (Y'CY + R)^-1 y_l of Hu, Koren, Volinsky 2008, section 5.
    A model whose user vector does not come from events (popularity) has a vector and no terms.
    """

    vector: np.ndarray | None
    rows_L: np.ndarray
    weights_L: np.ndarray
    vectors_LD: np.ndarray
    divisor: float = 1.0

    @classmethod
    def without_terms(cls, vector: np.ndarray | None, dimension: int) -> WeightedHistory:
        """A vector that no event explains, or none."""
        return cls(vector, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, dimension), np.float32))

    def contributions(self, items_KD: np.ndarray) -> np.ndarray:
        """What term l adds to the score of item k: float64 [K, L]. Rows sum to the score, but for rounding."""
        dots_KL = items_KD.astype(np.float64) @ self.vectors_LD.astype(np.float64).T
        return dots_KL * (self.weights_L / self.divisor)


@dataclass(frozen=True, eq=False)
class BlendSample:
    """The blend of the models that were fitted before, for some users: scores are the inner products.

    `item_blocks` gives the item vectors in blocks of rows, float32 [R, D], in order; `users_UD` float32, none of zeros.
    """

    item_blocks: Callable[[], Iterator[np.ndarray]]
    users_UD: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the models of one release are fitted on.

    `content`: modality -> float32 [I, D], the encoder's vectors in the order of the item matrix, may be memory-mapped, and
    those of relations (`models.graph`) where a model asks for them;
    `popularity_I` float32, distinct users of each item; `read_events` gives the events of one part after the other, users
    counted from 0 in each, rows those of the item matrix; events up to `neutral_value` say nothing in favour of an item,
    and after `half_life_days` an event counts half. `trained`: kind of model -> reads what its training gave, where that was
    done before by many workers. `blend` is for a model that `is_fitted_last`.
    """

    num_items: int
    content: Mapping[str, np.ndarray]
    popularity_I: np.ndarray
    read_events: Callable[[], Iterator[Events]]
    neutral_value: float = 0.0
    half_life_days: float = DEFAULT_HALF_LIFE_DAYS
    trained: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    blend: BlendSample | None = None


class VectorModel(ABC):
    """A fitted model. Adding one is a file with a subclass, and a line in `MODELS`.

    Results are a function of the arguments alone: neither other users of the call nor the processor change a byte of a
    user's vector. No method alters the model, and threads may share it. Where the events of a user say nothing to the
    model (none, or none above the neutral value), the user has no vector; that is no error.
    """

    kind: ClassVar[str]
    #: Whether a user's vector comes from the user's events. A user in whom no such model sees anything gets popularity.
    is_personal: ClassVar[bool] = True
    #: Whether the inner product of two items' vectors says how alike they are, as cosines do; learned factors are longer for
    #: popular items. Others have no say in what is similar to an item or to words, where any does.
    compares_items: ClassVar[bool] = True
    #: Whether an item's vector depends on nothing but its content, so that a change of the content changes it.
    is_content_only: ClassVar[bool] = False
    #: The modality whose content it reads, of `TrainingData.content`.
    modality: ClassVar[str] = "text"
    #: Whether it is fitted on the blend of the other models (`TrainingData.blend`) and corrects it: it stands behind them.
    is_fitted_last: ClassVar[bool] = False
    #: Settings and their defaults.
    defaults: ClassVar[Mapping[str, Any]] = {}
    #: Settings to search on held-out likes: of each mapping all combinations, one mapping after the other, each beside the best
    #: values of those before. What depends on each other stands in one.
    search_grid: ClassVar[Sequence[Mapping[str, tuple[Any, ...]]]] = ()
    #: Weight beside other models where too few users tell a better one. None: a user's scores do not have unit variance over
    #: the items (`unit_scores`), so that no weight would mean the same for two users, and the model stands alone.
    default_weight: ClassVar[float | None] = None
    #: What remains of its weight where others alone would be better.
    least_weight: ClassVar[float] = 0.0

    def __init__(self, settings: Mapping[str, Any], dimension: int) -> None:
        """`settings`: everything, as JSON, that the model's results depend on beside `arrays`."""
        self.settings, self.dimension = dict(settings), dimension

    @classmethod
    @abstractmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """Fits the model: itself, and the item vectors, float32 [I, D], finite (may be memory-mapped).

        Raises InputError for settings that it does not know or data that it cannot learn from.
        """

    @classmethod
    def load(cls, settings: Mapping[str, Any], dimension: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """The model that had these `settings` and `arrays`, as a release stores them. A model with arrays overrides it."""
        return cls(settings, dimension)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored with the release beside the item vectors: name -> array, for instance a Gram matrix."""
        return {}

    def found(self) -> str | None:
        """What the fit found that its user should know, in a line; None: nothing."""
        return None

    @abstractmethod
    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """Vectors of users 0 to `num_users` - 1 from their events, whose rows are places in `items`.

        This is the only formula of a user's vector: a run stores what it gives, and `fold_in` gives the same bytes.
        """

    @abstractmethod
    def fold_in(self, events: Events, items: ItemVectors) -> WeightedHistory:
        """One user (0) after events that the model need not have seen: byte for byte the vector of `user_vectors`."""

    @abstractmethod
    def fold_in_weights(self, weights_N: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """Somebody without events, who likes item n by `weights_N[n]`, float64, negative for a dislike."""

    @abstractmethod
    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Vectors of items without interactions from their content, modality -> float32 [N, D of the encoder].

        float32 [N, D]; zeros for a model that knows nothing of content.
        """

    def contributions(self, history: WeightedHistory, items_KD: np.ndarray) -> np.ndarray:
        """What each term of a user's history adds to the score of each item: float64 [K, L]."""
        return history.contributions(items_KD)
