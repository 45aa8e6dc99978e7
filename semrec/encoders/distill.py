"""Distils a sentence-transformers model to a static one: a vector for each of its tokens, by model2vec."""

from __future__ import annotations

import tempfile
from pathlib import Path

from semrec.encoders.devices import resolve_device
from semrec.encoders.sources import resolve_model
from semrec.errors import EncoderError, InputError

__all__ = ["distill_model"]


def distill_model(model: str, folder: Path, *, dimension: int = 256, device: str = "auto") -> None:
    """Writes the static model of `model` (a name, an id on the hub or a folder) to a new folder, for `StaticEncoder`.

    A token's vector is what the model makes of the token alone, in the `dimension` principal components of these, weighted by
    the token's rank as by Zipf's law (model2vec 0.10, `distill`). The folder appears whole or not at all. Raises InputError
    where it is there already, EncoderError without model2vec or the model, DeviceError without the device.
    """
    if folder.exists():
        raise InputError(f"{folder} is there", expected="a new folder", remedy="Name another, or remove it.")
    try:
        from model2vec.distill import distill
    except ImportError as error:
        raise EncoderError(f"no model2vec: {error}", expected="it", remedy="pip install 'semrec[distill]'") from error
    static = distill(resolve_model(model).path, device=resolve_device(device), pca_dims=dimension)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        written = Path(scratch) / "model"
        static.save_pretrained(written)
        written.rename(folder)
