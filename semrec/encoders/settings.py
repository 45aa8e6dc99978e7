"""The settings of one embedding: those of the workspace's encoder, and the device chosen for this call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from semrec.errors import DeviceError, InputError
from semrec.settings import EncoderSettings

__all__ = ["EmbedSettings", "embed_settings"]


class EmbedSettings(EncoderSettings):
    """The encoder and where it runs. Build it with `embed_settings`, which raises semrec's own errors."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto (a GPU where torch sees one, else the CPU), cpu, cuda, or cuda:N for GPU number N.",
    )


def embed_settings(values: Mapping[str, Any]) -> EmbedSettings:
    """Checks the settings in `values`; what is not named has its default.

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
