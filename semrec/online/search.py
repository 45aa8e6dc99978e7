"""Embeds the words of a search online: the release's encoder, one text per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from semrec.encoders.base import ENCODERS, Encoder, encoder_class
from semrec.encoders.devices import device_kind_of, resolve_device
from semrec.encoders.identity import TextIdentity, caller_shapes, dtype_of_backend
from semrec.encoders.sources import resolve_model
from semrec.errors import EncoderError, InputError
from semrec.online.encoders import load_recorded_encoder
from semrec.online.lru import Lru
from semrec.release.reader import Release
from semrec.settings_file import read_settings
from semrec.torch_threads import single_threads

__all__ = ["OnlineEncoder"]

_KEPT_TEXTS: Final = 4096


class OnlineEncoder:
    """Embeds texts with the encoder that made a release, loaded when it is first needed, or by `warm`.

    `encoder` is the release manifest's. The weights must be those of the release; calls have shapes of their own and run on
    this machine's kind of device, so a vector is like the batch's, but not promised to be the same bytes. `model` says
    where to find a model that is a local folder. All calls run in one thread of this object: on one row a second thread
    costs more than it brings (measured on two busy cores: 11 ms a query with one, 56 ms with two). Raises EncoderError
    when the release's vectors come from no encoder of texts, or when its model cannot be had.
    """

    def __init__(self, encoder: Mapping[str, Any], *, model: str | None = None, device: str = "auto") -> None:
        # An encoder of another kind may have made its vectors by one of texts, as that of documents does.
        self._recorded = dict(encoder.get("text", encoder))
        made_by = _text_identity(self._recorded)
        if made_by is None and not _reads_texts(self._recorded):
            raise EncoderError(
                f"the vectors of this release come from {encoder.get('model')!r}, which reads no texts",
                expected="an embedding of texts, made by `semrec embed`",
                remedy="Search a release of embedded texts: embed them, and name that embedding to `semrec release`.",
            )
        self._made_by, self._model, self._device = made_by, model, device
        self._encoder: Encoder | None = None
        self._kept: Lru[str, np.ndarray] = Lru(_KEPT_TEXTS, lambda _: 1)

    @classmethod
    def of_release(cls, release: Release) -> Self:
        """The encoder of a release; a model that is a local folder is where the workspace's settings say. Raises as above."""
        encoder, model = release.manifest.encoder, read_settings(release.storage).encoder.model
        recorded = encoder.get("text", encoder).get("model")
        is_folder = Path(model).is_dir() and Path(model).resolve().name == recorded
        return cls(encoder, model=model if is_folder else None)

    def warm(self) -> None:
        """Loads the model and makes one call of each shape, so that nobody waits for it later."""
        shapes = caller_shapes(self._made_by.max_tokens) if self._made_by else ((1, 16),)
        for _, length in shapes:
            self._call("word " * (length - 4))

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [len(texts), D] of length 1. Raises InputError for a text that has no vector, with the reason."""
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> np.ndarray:
        """float32 [D] of length 1. Raises InputError for a text that has no vector, with the reason."""
        return self._kept.get(text, lambda: self._embed(text))

    def _embed(self, text: str) -> np.ndarray:
        vectors_ND, rejected = self._call(text)
        if rejected:
            raise InputError(
                f"a text of {len(text)} characters cannot be embedded: {rejected[0][1]}",
                expected="a text with words",
                remedy="Write what you look for.",
            )
        vector: np.ndarray = vectors_ND[0]
        vector.flags.writeable = False  # it is shared by all that ask for the same text
        return vector

    def _call(self, text: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
        return self._thread.submit(lambda: self._loaded().embed([text])).result()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return single_threads(1, "semrec-encoder")

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            if self._made_by:
                self._encoder = self._loaded_transformer(self._made_by)
            else:
                self._encoder = load_recorded_encoder(self._recorded, model=self._model)
        return self._encoder

    def _loaded_transformer(self, made_by: TextIdentity) -> Encoder:
        from semrec.encoders.text import TextEncoder  # imports torch

        kind = device_kind_of(resolve_device(self._device))
        backend = made_by.backend if kind == "cpu" else "torch"
        dtype = dtype_of_backend(backend, "auto", kind)
        identity = replace(made_by, device_kind=kind, dtype=dtype, backend=backend)
        return TextEncoder(
            TextEncoder.for_callers(identity), resolve_model(self._model or made_by.model), device=self._device
        )


def _text_identity(recorded: Mapping[str, Any]) -> TextIdentity | None:
    """The identity of a transformer, which has call shapes of its own online; None for another encoder."""
    try:
        return TextIdentity.from_json(dict(recorded))
    except (KeyError, TypeError):
        return None


def _reads_texts(recorded: Mapping[str, Any]) -> bool:
    return recorded.get("kind") in ENCODERS and encoder_class(recorded["kind"]).modality == "text"
