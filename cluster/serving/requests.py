"""Checked requests: pydantic models of what callers send over HTTP and gRPC, and the typed queries they stand for.

Every list ends at its first wrong element, and every list and text has a longest: pydantic makes an object of every error, so
what a wrong request costs is a matter of how many it may find.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.serving.errors import InvalidRequestError, MalformedRequestError
from cluster.serving.queries import (
    AnonymousQuery,
    ListOptions,
    Query,
    QueryBatch,
    SearchQuery,
    SimilarQuery,
    UserQuery,
)
from cluster.serving.settings import MAX_LIST
from semrec.limits import MAX_ID_CHARS, MAX_K
from semrec.online.anonymous import Weighted as WeightedItem
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.hybrid import SearchMode

__all__ = [
    "BatchBody",
    "BatchQuery",
    "CheckedBody",
    "EventIn",
    "EventsBody",
    "FiltersBody",
    "ItemBody",
    "ListBody",
    "ListParameters",
    "NumberRange",
    "PathParameters",
    "RecommendBody",
    "RelatedParameters",
    "SearchBody",
    "SimilarParameters",
    "SparqlBody",
    "UserParameters",
    "Weighted",
    "check_id",
    "invalid_request",
]

_MAX_ATTRIBUTES: Final = 256
_MAX_RELATED: Final = 100
_MAX_PATHS: Final = 10  # each takes as many searches as the path before has steps
_MAX_ROWS: Final = 10_000  # of an answer to SPARQL
_MAX_ERRORS: Final = 20  # that an answer shows
_MAX_PLACE: Final = 200  # characters of where an error is: a member's name may be megabytes long
_ATTRIBUTES: Final = ("platform", "genre", "maturity")  # that have a parameter of their own

Element = TypeVar("Element")
Listed = Annotated[list[Element], Field(max_length=MAX_LIST, fail_fast=True)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=MAX_K, description="Items wanted; the server may allow fewer.")]
Diversity = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="0: by score alone; towards 1 the less alike (MMR).")
]
Condition = Annotated[str, Field(max_length=2048, pattern=r"^[^:]+:")]
Values = Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=256, fail_fast=True)]


class ListParameters(BaseModel):
    """Filters, length and order of a list, each a parameter by itself: in a query string, or a message of gRPC.

    A name that is not listed is refused, so that a misspelt filter never passes unnoticed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: Count = 10
    platform: Values = Field([], description="Only items with one of these platforms; give it several times.")
    genre: Values = Field([], description="Only items with one of these genres.")
    maturity: Values = Field([], description="Only items with one of these maturity ratings.")
    year_min: Number | None = Field(None, description="First year.")
    year_max: Number | None = Field(None, description="Last year.")
    exclude: Listed[Id] = Field([], description="Items to leave out; unknown ids are ignored.")
    where: Annotated[list[Condition], Field(max_length=256, fail_fast=True)] = Field(
        [], description="`attribute:value` of any attribute."
    )
    diversity: Diversity = 0.0
    overlay: Literal["on", "off"] = Field("on", description="off: as released, without later changes and events.")

    @cached_property
    def options(self) -> ListOptions:
        """What is asked, as the core takes it; made once, as short query strings are parsed once."""
        any_of = {name: frozenset(getattr(self, name)) for name in _ATTRIBUTES if getattr(self, name)}
        for condition in self.where:
            name, _, value = condition.partition(":")
            any_of[name] = any_of.get(name, frozenset()) | {value}
        years = (self.year_min, self.year_max)
        ranges = {} if years == (None, None) else {"year": years}
        filters = Filters(any_of, ranges, tuple(self.exclude)) if any_of or ranges or self.exclude else NO_FILTERS
        return ListOptions(self.k, filters, self.diversity, self.overlay == "on")


class SimilarParameters(ListParameters):
    """Options of the items similar to one."""

    def query(self, item_id: str) -> SimilarQuery:
        """The query for the items most like `item_id`."""
        return SimilarQuery(item_id, self.options)


class _GraphParameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    predicate: Annotated[list[Name], Field(max_length=256, fail_fast=True)] = Field(
        [], description="Follow these relations alone, in both directions; give it several times. None: all."
    )


class RelatedParameters(_GraphParameters):
    """Options of the items related to one."""

    k: Annotated[int, Field(ge=1, le=_MAX_RELATED, description="Items wanted.")] = 10


class PathParameters(_GraphParameters):
    """Options of the paths between two items or entities."""

    start: Id = Field(description="An item or entity; the value of an attribute is `attribute=value`.")
    end: Id = Field(description="Another, or the same.")
    k: Annotated[int, Field(ge=1, le=_MAX_PATHS, description="Paths wanted.")] = 1


class SparqlBody(BaseModel):
    """A query of the relations."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"example": {"query": "SELECT ?who { <toy-story-1995> <directed_by> ?who }"}},
    )

    query: Annotated[str, Field(min_length=1, max_length=100_000)] = Field(
        description="SPARQL 1.1: SELECT, ASK, CONSTRUCT or DESCRIBE. A relative IRI is a name, as <toy-story-1995>."
    )
    max_rows: Annotated[int, Field(ge=1, le=_MAX_ROWS, description="Rows wanted at most.")] = 1_000


class UserParameters(ListParameters):
    """Options of a user's recommendations."""

    source: Literal["live", "batch"] = Field(
        "live", description="batch: the published list, without items deleted or not eligible since (overlay=off: all)."
    )
    explain: bool = Field(False, description="Say what each score is made of.")
    why: Id | None = Field(None, description="An item: why is it not shown, or at which place?")

    def query(self, user_id: str) -> UserQuery:
        """The query for recommendations to `user_id`."""
        return UserQuery(user_id, self.options, self.source, self.explain, self.why)


class CheckedBody(BaseModel):
    """A JSON body: types are not converted, unknown members are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NumberRange(CheckedBody):
    """An inclusive range of an attribute whose values are numbers."""

    min: Number | None = None
    max: Number | None = None


class FiltersBody(BaseModel):
    """Attribute -> one of these values, or a range of numbers; `exclude` lists items to leave out."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        frozen=True,
        json_schema_extra={"example": {"platform": ["Lumina"], "year": {"min": 1990, "max": 2000}, "exclude": ["a"]}},
    )
    __pydantic_extra__: dict[str, Values | NumberRange]

    exclude: Listed[Id] = []

    @model_validator(mode="after")
    def _few_short_names(self) -> FiltersBody:
        names = self.__pydantic_extra__ or {}
        if len(names) > _MAX_ATTRIBUTES or any(len(name) > _MAX_ATTRIBUTES for name in names):
            raise ValueError(f"filter by at most {_MAX_ATTRIBUTES} attributes, of at most 256 characters each")
        return self

    @property
    def filters(self) -> Filters:
        """What is asked of items, as the core takes it."""
        conditions = self.__pydantic_extra__ or {}
        if not conditions and not self.exclude:
            return NO_FILTERS
        ranges = {name: (r.min, r.max) for name, r in conditions.items() if isinstance(r, NumberRange)}
        any_of = {name: frozenset(values) for name, values in conditions.items() if not isinstance(values, NumberRange)}
        return Filters(any_of, ranges, tuple(self.exclude))


class Weighted(CheckedBody):
    """An item and how much it counts."""

    item_id: Id
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


Liked = Listed[Annotated[Weighted | Id, Field(union_mode="left_to_right")]]


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

    liked: Liked = []
    disliked: Liked = []
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
    """Words to search by what they mean and as they stand."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "a lonely robot", "k": 5}})

    text: Text
    diversity: Diversity = 0.0
    mode: SearchMode | None = Field(
        None, description="dense: by meaning; words: by titles and texts (BM25); hybrid: by both, where both are there."
    )

    def query(self) -> SearchQuery:
        """The query for this text."""
        return SearchQuery(self.text, self.list_options(self.diversity), self.mode)


class BatchQuery(CheckedBody):
    """One query of a batch: exactly one of a user, an item, or liked items with or without text."""

    user_id: Id | None = None
    item_id: Id | None = None
    liked: Liked | None = None
    disliked: Liked = []

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


class ItemBody(CheckedBody):
    """An item as it shall be; it replaces what was there under its id."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "title": "The Tin Gardener (2026)",
                "text": "A rusty robot tends the last garden on an empty earth.",
                "attributes": {"genre": ["Animation"], "platform": ["Lumina"], "year": ["2026"]},
            }
        }
    )

    title: Annotated[str, Field(max_length=2_000)] = ""
    text: Annotated[str, Field(max_length=100_000)] = ""
    attributes: dict[Name, Values] = Field({}, max_length=_MAX_ATTRIBUTES)


class EventIn(CheckedBody):
    """One interaction. Without a timestamp (seconds since 1970 UTC) it happened now."""

    user_id: Id
    item_id: Id
    value: Number = 1.0
    timestamp: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None


class EventsBody(CheckedBody):
    """Interactions."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"events": [{"user_id": "viewer-0000001", "item_id": "toy-story-1995", "value": 5.0}]}
        }
    )

    events: Listed[EventIn] = Field(min_length=1)


def check_id(text: str) -> str:
    """Returns an id as it may be asked for, stored ones from before the rule of imports included.

    Raises InvalidRequestError for an empty or too long one.
    """
    if not 1 <= len(text) <= MAX_ID_CHARS:
        raise InvalidRequestError(
            f"an id of {len(text):,} characters", expected=f"1 to {MAX_ID_CHARS:,}", remedy="Check the id."
        )
    return text


def invalid_request(error: ValidationError, part: str) -> InvalidRequestError | MalformedRequestError:
    """The error of a request whose `part`, such as "the body", pydantic has refused: it names the first 20 places."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if any(detail["type"] == "json_invalid" for detail in details):
        return MalformedRequestError(f"{part} is not JSON", expected="a JSON object in UTF-8", remedy="Mend it.")
    errors = [{"at": _place(detail["loc"]), "message": detail["msg"]} for detail in details[:_MAX_ERRORS]]
    where = f"{errors[0]['at']}: " if errors[0]["at"] else ""
    return InvalidRequestError(
        f"{part}: {where}{errors[0]['message']}",
        expected="see /openapi.json",
        remedy="Correct what `errors` names.",
        errors=errors,
    )


def _place(names: Sequence[str | int]) -> str:
    """`liked.3.weight`, as long as it may be."""
    return ".".join(str(name)[:_MAX_PLACE] for name in names)[:_MAX_PLACE]


def _weighted(items: Sequence[Weighted | str]) -> list[WeightedItem]:
    return [WeightedItem(item) if isinstance(item, str) else WeightedItem(item.item_id, item.weight) for item in items]
