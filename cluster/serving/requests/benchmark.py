"""The body of a request for a benchmark."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from cluster.serving.requests.fields import CheckedBody

__all__ = ["BenchmarkBody"]


class BenchmarkBody(CheckedBody):
    """How much is measured."""

    model_config = ConfigDict(json_schema_extra={"example": {"texts": 256, "files": 20}})

    texts: Annotated[int, Field(ge=1, le=10_000)] = 256
    files: Annotated[int, Field(ge=2, le=200, description="Half PDFs, half posters.")] = 20
