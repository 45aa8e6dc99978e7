"""What the caller may choose about embedding, checked where it is constructed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semrec.errors import DeviceError, InputError

__all__ = ["DEFAULT_MODEL", "EmbedSettings", "embed_settings"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class EmbedSettings(BaseModel):
    """The encoder and where it runs. Build it with `embed_settings`, which raises semrec's own errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        description="Name of a sentence-transformers model, an id on the model hub (owner/name), or a local folder.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto (a GPU where torch sees one, else the CPU), cpu, cuda, or cuda:N for GPU number N.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Type of weights and activations. auto: bfloat16 on GPUs and on CPUs that multiply it natively, else "
        "float32. Vectors are stored as float32 either way.",
    )
    max_tokens: int = Field(
        default=256,
        ge=8,
        le=8192,
        description="Longest text, in tokens of the model, special ones included; what stands behind is cut off.",
    )


def embed_settings(values: Mapping[str, Any]) -> EmbedSettings:
    """The settings in `values`; what is not named keeps its default.

    Raises DeviceError for an impossible device and InputError for any other impossible or unknown field.
    """
    try:
        return EmbedSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        field = EmbedSettings.model_fields.get(name)
        kind = DeviceError if name == "device" else InputError
        raise kind(
            f"embedding setting {name} = {first['input']!r}: {first['msg']}",
            expected=(field.description or name) if field else f"one of {', '.join(EmbedSettings.model_fields)}",
            remedy=f"Correct {name}, or leave it out to get the default.",
        ) from None
