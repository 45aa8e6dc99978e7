"""Parameters of lists: what stands in a query string, or in a message of gRPC."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.serving.queries import ListOptions, SimilarQuery, UserQuery
from cluster.serving.requests.fields import MAX_ALL, Count, Diversity, Id, Listed, Number, Values
from semrec.online.filters import NO_FILTERS, Filters, each_alone, wanted_values

__all__ = ["ListParameters", "SimilarParameters", "UserParameters"]

_ATTRIBUTES: Final = ("platform", "genre", "maturity")  # that have a parameter of their own

_Condition = Annotated[str, Field(max_length=2048, pattern=r"^[^:]+:")]


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
    where: Annotated[list[_Condition], Field(max_length=256, fail_fast=True)] = Field(
        [],
        description="`attribute:value` of any attribute, or of what an encoder reads in texts: `primitives:FEEL:2`. Of "
        "several values of an attribute one is enough.",
    )
    where_all: Annotated[list[_Condition], Field(max_length=MAX_ALL, fail_fast=True)] = Field(
        [], description="`attribute:value`, as `where`; only items with every one of these values."
    )
    diversity: Diversity = 0.0
    overlay: Literal["on", "off"] = Field("on", description="off: as released, without later changes and events.")

    @cached_property
    def options(self) -> ListOptions:
        """What is asked, as the core takes it; made once, as short query strings are parsed once."""
        named = (f"{name}:{value}" for name in _ATTRIBUTES for value in getattr(self, name))
        any_of, all_of = wanted_values([*named, *self.where]), each_alone(wanted_values(self.where_all))
        years = (self.year_min, self.year_max)
        ranges = {} if years == (None, None) else {"year": years}
        filters = Filters(any_of, ranges, tuple(self.exclude), all_of)
        return ListOptions(self.k, filters or NO_FILTERS, self.diversity, self.overlay == "on")


class SimilarParameters(ListParameters):
    """Options of the items similar to one."""

    def query(self, item_id: str) -> SimilarQuery:
        """The query for the items most like `item_id`."""
        return SimilarQuery(item_id, self.options)


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
