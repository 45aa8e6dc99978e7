"""Requests about relations."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from cluster.serving.requests.fields import CheckedBody, Id, Names

__all__ = ["PathParameters", "RelatedParameters", "SparqlBody"]

_MAX_RELATED: Final = 100
_MAX_PATHS: Final = 10  # each takes as many searches as the path before has steps
_MAX_ROWS: Final = 10_000  # of an answer to SPARQL


class _GraphParameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    predicate: Names = Field(
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


class SparqlBody(CheckedBody):
    """A query of the relations."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"query": "SELECT ?who { <toy-story-1995> <directed_by> ?who }"}}
    )

    query: Annotated[str, Field(min_length=1, max_length=100_000)] = Field(
        description="SPARQL 1.1: SELECT, ASK, CONSTRUCT or DESCRIBE. A relative IRI is a name, as <toy-story-1995>."
    )
    max_rows: Annotated[int, Field(ge=1, le=_MAX_ROWS, description="Rows wanted at most.")] = 1_000
