"""Bodies of requests for lists: their filters, and whom or what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from cluster.serving.queries import (
    AnonymousQuery,
    ListOptions,
    Query,
    QueryBatch,
    SearchQuery,
    SimilarQuery,
    UserQuery,
)
from cluster.serving.requests.fields import (
    MAX_ALL,
    MAX_ATTRIBUTES,
    CheckedBody,
    Count,
    Diversity,
    FileData,
    Id,
    Listed,
    Number,
    Text,
    Value,
    Values,
)
from semrec.online.anonymous import Weighted as WeightedItem
from semrec.online.filters import NO_FILTERS, Filters, each_alone
from semrec.online.hybrid import SearchMode

__all__ = [
    "AllOf",
    "BatchBody",
    "BatchQuery",
    "FiltersBody",
    "ListBody",
    "NumberRange",
    "RecommendBody",
    "SearchBody",
    "Weighted",
]


class NumberRange(CheckedBody):
    """An inclusive range of an attribute whose values are numbers."""

    min: Number | None = None
    max: Number | None = None


class AllOf(CheckedBody):
    """Values of an attribute, every one of which an item must have."""

    all: Annotated[list[Value], Field(min_length=1, max_length=MAX_ALL, fail_fast=True)]


def _kind_of(asked: object) -> str:
    """What a filter by an attribute is, so that an error names what is wrong with that and not with all others."""
    if isinstance(asked, dict):
        return "all" if "all" in asked else "range"
    return "values"


_Condition = Annotated[
    Annotated[Values, Tag("values")] | Annotated[NumberRange, Tag("range")] | Annotated[AllOf, Tag("all")],
    Discriminator(_kind_of),
]


class FiltersBody(BaseModel):
    """Attribute -> one of these values, all of them, or a range of numbers; `exclude` lists items to leave out."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        frozen=True,
        json_schema_extra={
            "example": {
                "platform": ["Lumina"],
                "genre": {"all": ["Drama", "War"]},
                "year": {"min": 1990, "max": 2000},
                "exclude": ["a"],
            }
        },
    )
    __pydantic_extra__: dict[str, _Condition]

    exclude: Listed[Id] = []

    @model_validator(mode="after")
    def _few_short_names(self) -> FiltersBody:
        names = self.__pydantic_extra__ or {}
        if len(names) > MAX_ATTRIBUTES or any(len(name) > MAX_ATTRIBUTES for name in names):
            raise ValueError(f"filter by at most {MAX_ATTRIBUTES} attributes, of at most 256 characters each")
        return self

    @property
    def filters(self) -> Filters:
        """What is asked of items, as the core takes it."""
        conditions = self.__pydantic_extra__ or {}
        if not conditions and not self.exclude:
            return NO_FILTERS
        ranges = {name: (r.min, r.max) for name, r in conditions.items() if isinstance(r, NumberRange)}
        all_of = each_alone({name: asked.all for name, asked in conditions.items() if isinstance(asked, AllOf)})
        any_of = {name: frozenset(values) for name, values in conditions.items() if isinstance(values, list)}
        return Filters(any_of, ranges, tuple(self.exclude), all_of)


class Weighted(CheckedBody):
    """An item and how much it counts."""

    item_id: Id
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


_Liked = Listed[Annotated[Weighted | Id, Field(union_mode="left_to_right")]]


class ListBody(CheckedBody):
    """What the bodies of all queries have."""

    k: Count = 10
    filters: FiltersBody = FiltersBody()
    overlay: Literal["on", "off"] = "on"

    def list_options(self, diversity: float = 0.0) -> ListOptions:
        """What is asked, as the core takes it."""
        return ListOptions(self.k, self.filters.filters, diversity, self.overlay == "on")


class RecommendBody(ListBody):
    """An anonymous visitor: what they like and dislike, or words, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "liked": [{"item_id": "toy-story-1995", "weight": 2.0}, "wall-e-2008"],
                "disliked": ["scream-1996"],
                "k": 5,
                "filters": {"platform": ["Lumina"], "year": {"min": 1990}},
                "diversity": 0.2,
            }
        }
    )

    liked: _Liked = Field([])
    disliked: _Liked = Field([])
    text: Text | None = None
    diversity: Diversity = 0.0
    explain: bool = False

    @model_validator(mode="after")
    def _something(self) -> RecommendBody:
        if not self.liked and not self.disliked and self.text is None:
            raise ValueError("give liked or disliked items, or a text")
        return self

    def query(self) -> AnonymousQuery:
        """The query for these likes and this text."""
        liked, disliked = _weighted(self.liked), _weighted(self.disliked)
        return AnonymousQuery(liked, disliked, self.text, self.list_options(self.diversity), self.explain)


class SearchBody(ListBody):
    """Words to search by what they mean and as they stand, an image for items that look like it, or both."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "a lonely robot", "k": 5}})

    text: Text | None = None
    image: FileData | None = Field(
        None, description="The bytes of a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF in base64."
    )
    diversity: Diversity = 0.0
    mode: SearchMode | None = Field(
        None,
        description="dense: by meaning, and by how an image looks; words: by titles, texts and documents (BM25); hybrid: "
        "by both, where both are there.",
    )

    @model_validator(mode="after")
    def _what_the_mode_goes_by(self) -> SearchBody:
        if self.text is None and self.image is None:
            raise ValueError("give a text, an image, or both")
        if self.text is None and self.mode in ("words", "hybrid"):
            raise ValueError(f"mode {self.mode} goes by a text: give one, or ask with mode dense")
        if self.image is not None and self.mode == "words":
            raise ValueError("mode words does not go by an image: leave it out, or the mode")
        return self

    def query(self) -> SearchQuery:
        """The query for this text and this image."""
        return SearchQuery(self.text, self.list_options(self.diversity), self.mode, self.image)


class BatchQuery(CheckedBody):
    """One query of a batch: exactly one of a user, an item, or liked items with or without text."""

    user_id: Id | None = None
    item_id: Id | None = None
    liked: _Liked | None = None
    disliked: _Liked = Field([])

    @model_validator(mode="after")
    def _one(self) -> BatchQuery:
        if sum(value is not None for value in (self.user_id, self.item_id, self.liked)) != 1:
            raise ValueError("give exactly one of user_id, item_id, liked")
        return self

    def query(self, options: ListOptions) -> Query:
        """The query, with the options of its batch."""
        if self.user_id is not None:
            return UserQuery(self.user_id, options)
        if self.item_id is not None:
            return SimilarQuery(self.item_id, options)
        return AnonymousQuery(_weighted(self.liked or []), _weighted(self.disliked), options=options)


class BatchBody(ListBody):
    """Many queries, one length and one set of filters."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "queries": [{"user_id": "viewer-0000001"}, {"item_id": "toy-story-1995"}, {"liked": ["wall-e-2008"]}],
                "k": 3,
            }
        }
    )

    queries: Listed[BatchQuery] = Field(min_length=1)

    def query(self) -> QueryBatch:
        """The queries, each with the options of the batch."""
        options = self.list_options()
        return QueryBatch([query.query(options) for query in self.queries], options)


def _weighted(items: Sequence[Weighted | str]) -> list[WeightedItem]:
    return [WeightedItem(item) if isinstance(item, str) else WeightedItem(item.item_id, item.weight) for item in items]
