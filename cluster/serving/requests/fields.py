"""The kinds of fields that requests have, each with its bounds."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from cluster.serving.settings import MAX_LIST
from semrec.limits import MAX_ID_CHARS, MAX_K

__all__ = [
    "MAX_ALL",
    "MAX_ATTRIBUTES",
    "CheckedBody",
    "Count",
    "Diversity",
    "FileData",
    "Id",
    "Listed",
    "Name",
    "Names",
    "Number",
    "Text",
    "Value",
    "Values",
]

MAX_ATTRIBUTES: Final = 256
MAX_ALL: Final = 32  # values that an item must have all of: each is a pass over the catalogue


def _from_base64(data: object) -> object:
    """A file's bytes: in JSON they are text in base64, in a message of gRPC they come as they are."""
    if not isinstance(data, str):
        return data
    try:
        return b64decode(data, validate=True)
    except ValueError:
        raise ValueError("not base64 with its padding") from None


Element = TypeVar("Element")
Listed = Annotated[list[Element], Field(max_length=MAX_LIST, fail_fast=True)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Names = Annotated[list[Name], Field(max_length=256, fail_fast=True)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
FileData = Annotated[
    bytes,
    Field(min_length=1),
    BeforeValidator(_from_base64),
    WithJsonSchema({"type": "string", "minLength": 1, "contentEncoding": "base64"}),
]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=MAX_K, description="Items wanted; the server may allow fewer.")]
Diversity = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="0: by score alone; towards 1 the less alike (MMR).")
]
Value = Annotated[str, Field(max_length=1024)]
Values = Annotated[list[Value], Field(max_length=256, fail_fast=True)]


class CheckedBody(BaseModel):
    """A JSON body: types are not converted, unknown members are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
