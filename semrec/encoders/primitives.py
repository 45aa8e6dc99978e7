"""Embeds texts by the semantic primitives that their words are about: nine numbers, each with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from semrec.encoders.base import Encoder
from semrec.encoders.devices import (
    DeviceKind,
    device_kind_of,
    device_name,
    resolve_device,
    resolve_device_of_kind,
)
from semrec.encoders.lexicon import PRIMITIVES, Lexicon, read_lexicon
from semrec.encoders.primitive_counts import count_primitives, signatures
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import check_weights
from semrec.encoders.vectors import empty_texts
from semrec.workspace.digests import fingerprint

__all__ = ["PrimitivesEncoder", "PrimitivesIdentity"]


@dataclass(frozen=True)
class PrimitivesIdentity:
    """All that a text's vector depends on: the lexicon."""

    kind: ClassVar[str] = "primitives"
    model: str
    weights_sha256: str  # of the lexicon
    device_kind: DeviceKind
    dimension_names: tuple[str, ...] = PRIMITIVES

    @property
    def dimension(self) -> int:
        return len(self.dimension_names)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        """The embedding's folder name: the lexicon's and 8 digits of the fingerprint."""
        return f"{self.model}-{self.fingerprint[:8]}"

    def to_json(self) -> dict[str, Any]:
        named = {"dimension": self.dimension, "dimension_names": list(self.dimension_names)}
        return {"kind": self.kind, **asdict(self), **named}


class PrimitivesEncoder(Encoder):
    """The lexicon on a device. Raises EncoderError when it is not that of the identity, DeviceError without the device.

    A text with c_p words about primitive p of C about any has the vector sqrt((c_p + 1/9) / (C + 1)): the square roots of a
    distribution, so its length is 1 and the product of two is Bhattacharyya's coefficient (Bull. Calcutta Math. Soc. 35,
    1943). A text that is about none is about all alike. Vectors are the same bytes on every device.
    """

    kind: ClassVar[str] = "primitives"
    modality: ClassVar[str] = "text"

    def __init__(
        self, identity: PrimitivesIdentity, lexicon: Lexicon, *, device: str = "auto", num_threads: int | None = None
    ) -> None:
        check_weights(identity.model, lexicon.sha256, identity.weights_sha256)
        self.identity, self._lexicon, self._num_threads = identity, lexicon, num_threads or 1
        self.device = resolve_device_of_kind(device, identity.device_kind, identity.name)

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> PrimitivesIdentity:
        lexicon, kind = read_lexicon(), device_kind or device_kind_of(resolve_device(settings.device))
        return PrimitivesIdentity(f"primitives-{lexicon.version}", lexicon.sha256, kind)

    @classmethod
    def load(
        cls, identity: PrimitivesIdentity, settings: EmbedSettings, *, num_threads: int | None = None
    ) -> PrimitivesEncoder:
        return cls(identity, read_lexicon(), device=settings.device, num_threads=num_threads)

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    @property
    def device_name(self) -> str:
        return device_name(self.device)

    def metadata(self, content: str, *, num_thumbnails: int = 0) -> dict[str, Any]:
        """How many words are about each primitive, where any is, and the signature of these numbers.

        The signature is in decimal digits, since a number of JSON may lose the last of them.
        """
        counts_1P = self._counts([content])
        count_of = {name: count for name, count in zip(PRIMITIVES, counts_1P[0].tolist(), strict=True) if count}
        return {"primitives": count_of, "signature": str(signatures(counts_1P)[0])}

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds texts; see `Encoder.embed`. The only reason is "empty text"."""
        counts_NP = self._counts(contents).astype(np.float64)
        share_of_all = 1 / len(PRIMITIVES)
        vectors_NP = np.sqrt((counts_NP + share_of_all) / (counts_NP.sum(axis=1, keepdims=True) + 1))
        rejected = empty_texts(contents)
        vectors_NP[list(rejected)] = 0
        return vectors_NP.astype(np.float32), list(rejected.items())

    def _counts(self, contents: Sequence[str]) -> np.ndarray:
        return count_primitives(contents, self._lexicon, device=self.device, num_threads=self._num_threads)
