"""What made the vectors of a release: its encoders and models, as a service describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semrec.encoders.base import Encoder, encoder_class
from semrec.encoders.settings import embed_settings
from semrec.errors import EncoderError
from semrec.release.reader import Release

__all__ = ["describe_encoders", "describe_models", "load_recorded_encoder", "recorded_encoders", "whole_identity"]


def describe_encoders(release: Release) -> list[dict[str, Any]]:
    """The encoders of a release, that of `encoder.kind` first: kind, model, modality, dimension, device, limits.

    `device` is the make of the device that the vectors are made for. Vectors that no encoder of `semrec.encoders` made have
    none of them here.
    """
    return [_described(identity) for identity in recorded_encoders(release).values()]


def recorded_encoders(release: Release) -> dict[str, dict[str, Any]]:
    """The identities of a release's encoders by the modality that its models know their vectors by.

    The vectors of `encoder.kind` are `text` to them, whatever it reads.
    """
    manifest = release.manifest
    recorded = {"text": manifest.encoder, **manifest.beside_encoders}
    whole = {name: whole_identity(identity) for name, identity in recorded.items()}
    return {name: identity for name, identity in whole.items() if "dimension" in identity}


def whole_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder's identity with what it has by another, as that of documents by one of texts, in one mapping."""
    return {"kind": "text", **identity.get("text", {}), **identity}


def load_recorded_encoder(identity: Mapping[str, Any], *, model: str | None = None) -> Encoder:
    """Loads the encoder of a whole identity that a release recorded, for this machine's device and what callers bring.

    `model` says where to find one that is a local folder. Raises EncoderError where a file of it has another SHA-256.
    """
    encoder = encoder_class(identity["kind"])
    named = {"model": model} if model else {}
    settings = embed_settings({"kind": identity["kind"], **encoder.settings_of(identity), **named})
    planned = encoder.plan(settings)
    here = whole_identity(planned.to_json())
    digests = {name: digest for name, digest in identity.items() if name.endswith("_sha256")}
    other = [name for name, digest in digests.items() if here.get(name) != digest]
    if other:
        raise EncoderError(
            f"the model {identity['model']!r} here has other {' and '.join(map(_of_digest, other))} than the release's",
            expected=", ".join(f"{_of_digest(name)} of SHA-256 {digests[name]}" for name in other),
            remedy="Install the model that the catalogue was embedded with.",
        )
    return encoder.load(encoder.for_callers(planned), settings)


def describe_models(release: Release) -> list[dict[str, Any]]:
    """The models of a release in their order: kind, dimension, and the modality of one that goes by content alone."""
    return [
        {
            "kind": component.name,
            "modality": component.model.modality if component.model.is_content_only else None,
            "dimension": component.model.dimension,
        }
        for component in release.components.components
    ]


def _of_digest(name: str) -> str:
    return name.removesuffix("_sha256")


def _described(identity: dict[str, Any]) -> dict[str, Any]:
    encoder = encoder_class(identity["kind"])
    about = {"modality": encoder.modality, "device": identity["device_kind"], "limits": encoder.limits(identity)}
    return {name: identity[name] for name in ("kind", "model", "dimension")} | about
