"""Embeds texts in calls of fixed shapes, so that a vector never depends on what it was batched with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import torch

from semrec.encoders.base import Encoder
from semrec.encoders.devices import DeviceKind, device_name, resolve_device_of_kind
from semrec.encoders.identity import TextIdentity, caller_shapes, text_identity
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import ModelSource, check_weights, resolve_model
from semrec.encoders.text_program import load_program
from semrec.encoders.vectors import empty_texts, finish_vectors

__all__ = ["TextEncoder"]

_TEXTS_PER_TOKENISER_CALL = 1024


class TextEncoder(Encoder):
    """A loaded sentence-transformers model that embeds texts exactly as `identity` says.

    Raises EncoderError when the files in `source` are not those of the identity or cannot be loaded, DeviceError when
    `device` (auto, cpu, cuda, cuda:N) does not exist or is of another kind. `num_threads` sets torch's CPU threads for the
    whole process; None leaves them.
    """

    kind: ClassVar[str] = "text"
    modality: ClassVar[str] = "text"

    def __init__(
        self, identity: TextIdentity, source: ModelSource, *, device: str = "auto", num_threads: int | None = None
    ) -> None:
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.identity = identity
        self.device = resolve_device_of_kind(device, identity.device_kind, identity.name)
        check_weights(source.path, source.weights_sha256, identity.weights_sha256)
        self._program = load_program(identity, source, self.device)
        # Rows really sent for each padded length: those of the identity until the device's memory says otherwise.
        self._rows = {length: rows for rows, length in identity.shapes}
        self._buffers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> TextIdentity:
        return text_identity(settings, device_kind=device_kind)

    @classmethod
    def load(cls, identity: TextIdentity, settings: EmbedSettings, *, num_threads: int | None = None) -> TextEncoder:
        return cls(identity, resolve_model(settings.model), device=settings.device, num_threads=num_threads)

    @classmethod
    def limits(cls, identity: Mapping[str, Any]) -> dict[str, int]:
        return {"max_tokens": int(identity["max_tokens"])}  # what comes after them has no say

    @classmethod
    def for_callers(cls, identity: TextIdentity) -> TextIdentity:
        """See `Encoder.for_callers`: texts are embedded one by one."""
        return replace(identity, shapes=caller_shapes(identity.max_tokens))

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {name: identity[name] for name in ("model", "max_tokens")}

    @property
    def device_name(self) -> str:
        return device_name(self.device)

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds texts; see `Encoder.embed`.

        Reasons: "empty text", "tokenizer failure", "no tokens", "too large for device memory", "non-finite vector",
        "zero vector". Texts longer than max_tokens are cut. Keeps every text's tokens in memory, 4 bytes each.
        """
        rejected: dict[int, str] = {}
        tokens = self._tokenise(contents, rejected)
        raw_ND = np.zeros((len(contents), self.identity.dimension), dtype=np.float32)
        lengths = np.asarray([length for _, length in self.identity.shapes])
        nums = np.asarray([-1 if row is None else len(row) for row in tokens], dtype=np.int64)
        class_N = np.searchsorted(lengths, nums, side="right")  # the shortest shape with more than n tokens
        for number, length in enumerate(lengths.tolist()):
            indices = np.flatnonzero((class_N == number) & (nums >= 0))
            self._embed_class(length, indices, tokens, raw_ND, rejected)
        return finish_vectors(raw_ND, rejected)

    def _tokenise(self, texts: Sequence[str], rejected: dict[int, str]) -> list[np.ndarray | None]:
        """The token ids of each text, cut to max_tokens; None for a text that goes to `rejected` with its reason."""
        tokens: list[np.ndarray | None] = [None] * len(texts)
        empty = empty_texts(texts)
        rejected.update(empty)
        wanted = [index for index in range(len(texts)) if index not in empty]
        for start in range(0, len(wanted), _TEXTS_PER_TOKENISER_CALL):
            batch = wanted[start : start + _TEXTS_PER_TOKENISER_CALL]
            for index, ids in zip(batch, self._ids_of([texts[i] for i in batch]), strict=True):
                if ids is None or len(ids) <= self._program.num_special:
                    rejected[index] = "tokenizer failure" if ids is None else "no tokens"
                else:
                    tokens[index] = np.asarray(ids, dtype=np.int32)
        return tokens

    def _ids_of(self, texts: list[str]) -> list[list[int] | None]:
        """Token ids of each text, None where the tokenizer fails. A failing batch is repeated text by text."""
        try:
            return list(self._program.token_ids(texts))
        except Exception:  # tokenizers raise TypeError, UnicodeError or bare Exception, depending on the kind
            return [None] if len(texts) == 1 else [self._ids_of([text])[0] for text in texts]

    def _embed_class(
        self,
        length: int,
        indices: np.ndarray,
        tokens: list[np.ndarray | None],
        raw_ND: np.ndarray,
        rejected: dict[int, str],
    ) -> None:
        """Fills the rows `indices` of `raw_ND`, whose texts all have the padded length `length`."""
        done = 0
        while done < len(indices):
            chunk = indices[done : done + self._rows[length]]
            try:
                raw_ND[chunk] = self._call(length, [cast(np.ndarray, tokens[i]) for i in chunk])
            except torch.OutOfMemoryError:
                self.halved_calls += 1
                torch.cuda.empty_cache()
                if self._rows[length] > 1:
                    self._rows[length] //= 2
                    continue
                rejected[int(chunk[0])] = "too large for device memory"
            done += len(chunk)

    def _call(self, length: int, rows: list[np.ndarray]) -> np.ndarray:
        """One call of the model at the fixed shape of `length`: float32 [len(rows), D], not yet normalised."""
        num_rows = self._rows[length]
        ids_RT, mask_RT = (buffer[:num_rows] for buffer in self._buffers_of(length))
        ids_RT.fill_(self._program.pad_id)
        mask_RT.zero_()
        # Missing rows are dummies that see one token: with none at all, attention would divide zero by zero.
        mask_RT[:, 0] = 1
        ids, mask = ids_RT.numpy(), mask_RT.numpy()
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return self._forward(ids_RT, mask_RT)[: len(rows)]

    def _forward(self, ids_RT: torch.Tensor, mask_RT: torch.Tensor) -> np.ndarray:
        """The model's sentence embeddings as float32 [R, D], through all of its sentence-transformers modules."""
        with torch.inference_mode():
            return np.asarray(self._program.vectors(ids_RT, mask_RT).float().cpu().numpy())

    def _buffers_of(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        if length not in self._buffers:
            rows = self._rows[length]
            self._buffers[length] = (
                torch.zeros((rows, length), dtype=torch.int64),
                torch.zeros((rows, length), dtype=torch.int64),
            )
        return self._buffers[length]
