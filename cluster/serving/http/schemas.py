"""What requests may hold, and what answers look like: checked by pydantic on the way in, documented in OpenAPI.

Every list ends at its first wrong element, and every list and text has a longest: pydantic makes an object of every error, so
what a wrong request costs is a matter of how many it may find.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from semrec.limits import MAX_ID_CHARS, MAX_K

__all__ = [
    "MAX_LIST",
    "Answer",
    "AnswerItem",
    "BatchAnswers",
    "BatchBody",
    "BatchQuery",
    "Changed",
    "EventIn",
    "EventsAccepted",
    "EventsBody",
    "FiltersBody",
    "ItemAnswer",
    "ItemBody",
    "ListQuery",
    "NumberRange",
    "ProblemDocument",
    "Ready",
    "RecommendBody",
    "ReleaseInfo",
    "SearchBody",
    "SimilarQuery",
    "Statistics",
    "UserQuery",
    "Weighted",
]

#: The longest list of ids, queries or events that any server takes; its settings may lower it.
MAX_LIST: Final = 10_000
_MAX_ATTRIBUTES: Final = 256

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


class _Query(BaseModel):
    """A query string. A name that is not listed is refused, so that a misspelt filter never passes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListQuery(_Query):
    """Filters, length and order of a list."""

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


class SimilarQuery(ListQuery):
    """Options of the items similar to one."""


class UserQuery(ListQuery):
    """Options of a user's recommendations."""

    source: Literal["live", "batch"] = Field(
        "live", description="batch: the published list without items deleted since (overlay=off: with them), cut to k."
    )
    explain: bool = Field(False, description="Say what each score is made of.")
    why: Id | None = Field(None, description="An item: why is it not shown, or at which place?")


class _Body(BaseModel):
    """A JSON body: types are not converted, unknown members are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NumberRange(_Body):
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


class Weighted(_Body):
    """An item and how much it counts."""

    item_id: Id
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


Liked = Listed[Annotated[Weighted | Id, Field(union_mode="left_to_right")]]


class _Asked(_Body):
    """What every question has."""

    k: Count = 10
    filters: FiltersBody = FiltersBody()
    overlay: Literal["on", "off"] = "on"


class RecommendBody(_Asked):
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


class SearchBody(_Asked):
    """Words to search by meaning."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "a lonely robot", "k": 5}})

    text: Text
    diversity: Diversity = 0.0


class BatchQuery(_Body):
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


class BatchBody(_Asked):
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


class ItemBody(_Body):
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


class EventIn(_Body):
    """One interaction. Without a timestamp (seconds since 1970 UTC) it happened now."""

    user_id: Id
    item_id: Id
    value: Number = 1.0
    timestamp: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None


class EventsBody(_Body):
    """Interactions."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"events": [{"user_id": "viewer-0000001", "item_id": "toy-story-1995", "value": 5.0}]}
        }
    )

    events: Listed[EventIn] = Field(min_length=1)


class AnswerItem(BaseModel):
    """One item of a list. `score` is a float32 in its shortest form."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]
    score: float


class Answer(BaseModel):
    """A list of items, best first. `release` and `overlay` say from what it was made."""

    source: Literal["personal", "popularity", "batch", "similar", "anonymous", "search"]
    release: str
    overlay: int
    user_id: str | None = Field(None, description="In answers about a user.")
    item_id: str | None = Field(None, description="In answers about an item.")
    short_reason: str | None = Field(description="Why there are fewer than k items, else null.")
    items: list[AnswerItem]
    explain: dict[str, Any] | None = Field(None, description="When it was asked for.")
    why: dict[str, Any] | None = Field(None, description="When it was asked for.")
    num_deleted: int | None = Field(
        None, description="In published lists: their items that were deleted since, and are left out."
    )


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    expected: str | None = None
    remedy: str | None = None
    instance: str | None = None
    errors: list[dict[str, Any]] | None = None


class FailedQuery(BaseModel):
    """A query of a batch that could not be answered."""

    error: ProblemDocument


class BatchAnswers(BaseModel):
    """One answer per query, in their order."""

    answers: list[Answer | FailedQuery]


class ItemAnswer(BaseModel):
    """An item."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]
    release: str
    overlay: int


class Changed(BaseModel):
    """A change of an item, durable and known to the replicas. `sequence` is the overlay's that has it."""

    item_id: str
    sequence: int


class Refused(BaseModel):
    """An event that was not taken: its place in the request, from 0."""

    index: int
    reason: str
    detail: str = ""


class EventsAccepted(BaseModel):
    """Events, durable. `sequence` is that of the last one."""

    accepted: int
    refused: list[Refused]
    sequence: int


class Ready(BaseModel):
    """Whether requests are answered. `refused` names a release that was found corrupt and is not served."""

    status: Literal["ready", "loading"]
    release: str | None
    run: str | None
    overlay: int
    refused: dict[str, str]


class ReleaseInfo(BaseModel):
    """What is served."""

    release: str
    run: str | None
    overlay: int
    num_items: int
    dimension: int
    run_k: int | None
    encoder: str | None
    attributes: dict[str, list[str]] = Field(description="What can be filtered by.")


class Statistics(BaseModel):
    """Counts of this replica since it started."""

    model_config = ConfigDict(extra="allow")

    replica: str
    pid: int
    uptime_s: float
    release: str | None
    overlay: int
