"""Checked requests about contents that callers bring: what they send, and the contents that it stands for."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field, model_validator

from cluster.serving.contents import Content
from cluster.serving.requests.fields import CheckedBody, FileData, Text
from cluster.serving.requests.lists import ListBody
from semrec.online.process import ReceivedFile

__all__ = ["ContentIn", "ProcessBody"]

_MAX_THUMBNAILS: Final = 8
_MAX_CONTENTS: Final = 16  # of one request: each may be fetched, and takes a model tens of milliseconds


class ContentIn(CheckedBody):
    """A text, a file as base64 with its name, or the URI of a file: exactly one of the three."""

    text: Text | None = None
    data: FileData | None = None
    name: Annotated[str, Field(max_length=1_024)] = ""
    uri: Annotated[str, Field(min_length=1, max_length=8_192)] | None = None
    thumbnails: Annotated[int, Field(ge=0, le=_MAX_THUMBNAILS)] = Field(
        0, description="Of so many first pages of a PDF the metadata has JPEGs in base64."
    )

    @model_validator(mode="after")
    def _one(self) -> ContentIn:
        if sum(value is not None for value in (self.text, self.data, self.uri)) != 1:
            raise ValueError("give exactly one of text, data, uri")
        return self

    def content(self) -> Content:
        """The content."""
        return Content(self.text, ReceivedFile(self.data, self.name) if self.data else None, self.uri, self.thumbnails)


class ProcessBody(ListBody):
    """Contents whose vectors and nearest items are wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"contents": [{"text": "a lonely robot"}, {"uri": "https://example.org/poster.jpg"}], "k": 3}
        }
    )

    contents: Annotated[list[ContentIn], Field(min_length=1, max_length=_MAX_CONTENTS, fail_fast=True)]
