"""The interface of an encoder: what maps content of one modality to vectors.

An encoder is known by its identity, which is planned without loading it: two vectors are comparable when their identities
are equal. The plan of an embedding, its worker and the search for known vectors ask this interface alone, so an encoder of
another modality is one file with two classes and one line in ENCODERS. `text.py` is the example.

Axes: N contents, D dimensions.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np

from semrec.encoders.devices import DeviceKind
from semrec.encoders.settings import EmbedSettings
from semrec.registry import Registry, import_class

__all__ = ["ENCODERS", "Encoder", "EncoderIdentity", "encoder_class", "folder_name"]

#: Kind of encoder, as identities have it -> module and class. Imported on first use: they load torch.
ENCODERS: Final[Registry] = {
    "text": ("semrec.encoders.text", "TextEncoder"),
    "image": ("semrec.encoders.image", "ImageEncoder"),
    "document": ("semrec.encoders.document", "DocumentEncoder"),
    "primitives": ("semrec.encoders.primitives", "PrimitivesEncoder"),
    "static": ("semrec.encoders.static", "StaticEncoder"),
}


def encoder_class(kind: str) -> type[Encoder]:
    """Imports the encoder of a kind. Raises InputError when there is no such kind."""
    loaded: type[Encoder] = import_class(ENCODERS, kind, "encoder")
    return loaded


def folder_name(model: str, fingerprint: str, *, unnamed: str) -> str:
    """The name of an embedding's folder: the model's short name, or `unnamed`, and 8 digits of the fingerprint."""
    slug = re.sub(r"[^a-z0-9]+", "-", model.rsplit("/", 1)[-1].lower()).strip("-")
    return f"{slug or unnamed}-{fingerprint[:8]}"


class EncoderIdentity(Protocol):
    """All that a vector depends on besides its content, the build and the make of the device. Immutable and picklable.

    Among it are the shapes of all calls that the encoder makes: they are fixed, so a vector does not depend on what it was
    batched with.
    """

    kind: ClassVar[str]  # the encoder's name in ENCODERS

    @property
    def dimension(self) -> int: ...

    @property
    def device_kind(self) -> DeviceKind: ...

    @property
    def fingerprint(self) -> str:
        """The digest of `to_json`. Part of the fingerprint of every part that is embedded."""

    @property
    def name(self) -> str:
        """The name of the embedding's folder, unlike that of any other identity."""

    def to_json(self) -> dict[str, Any]:
        """The identity as manifests record it."""


class Encoder(ABC):
    """A loaded encoder.

    `halved_calls` counts the calls that did not fit into the device's memory, `num_unread` the rejected contents whose bytes
    could not be read, which the next submission tries again.
    """

    kind: ClassVar[str]
    modality: ClassVar[str]  # text, or a modality of the catalogue's content
    #: Above 0 where `embed_and_read` is there; raised when the same content gives another text.
    text_version: ClassVar[int] = 0
    halved_calls: int = 0
    num_unread: int = 0

    @classmethod
    @abstractmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> EncoderIdentity:
        """Computes the identity of the encoder that `settings` name, without loading it.

        `device_kind` is that of the machines which will do the work; None stands for this one. Raises EncoderError,
        DeviceError, and InputError for settings that the encoder cannot keep.
        """

    @classmethod
    @abstractmethod
    def load(cls, identity: Any, settings: EmbedSettings, *, num_threads: int | None = None) -> Self:
        """Loads the encoder that `identity` was planned for, on the device of `settings`.

        `num_threads` are the CPU threads of the whole process; None leaves them. Raises EncoderError when this machine has
        another model, DeviceError when it has no such device.
        """

    @classmethod
    def for_callers(cls, identity: Any) -> Any:
        """The identity by which a service embeds what callers bring: the catalogue's, but for what one content would wait for
        without need, such as calls of many. Vectors are like the catalogue's, and not promised to be the same bytes.
        """
        return identity

    @classmethod
    def limits(cls, identity: Mapping[str, Any]) -> dict[str, int]:
        """What a caller's content may have at most, by name with its unit. `identity` is as manifests record it."""
        return {}

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        """The settings by which `plan` finds the encoder of an identity, as manifests record it, again."""
        raise NotImplementedError

    @property
    @abstractmethod
    def device_name(self) -> str:
        """Describes the device in words, for the record of who made a part."""

    def metadata(self, content: str, *, num_thumbnails: int = 0) -> dict[str, Any]:
        """What people are told of one content beside its vector. Raises ContentError for one that cannot be read.

        `num_thumbnails`: of so many pages at most there are small JPEGs in base64, `thumbnails`, if the content has pages.
        """
        return {}

    @abstractmethod
    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds contents of the encoder's modality: texts, or URIs (`contents.read_content`).

        Returns (vectors_ND, rejected): float32 rows of length 1 in the order of `contents`, and (index, reason) for each
        content that has no vector, ascending; such a row is zero.

        A row depends on its content, the identity and the make of the device alone: neither on the other contents of the
        call nor on their order.
        """

    def embed_and_read(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]], list[str]]:
        """`embed`, and what each content says, for the index of words: bounded texts, any for a rejected content.

        For encoders that read texts for their vectors which nothing else has: they are read once.
        """
        raise NotImplementedError
