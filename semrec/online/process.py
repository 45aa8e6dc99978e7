"""Content that a caller brings: its modality, what is said of it, its vector by the release's encoders, and what is like it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.encoders.base import Encoder, encoder_class
from semrec.encoders.contents import ContentError
from semrec.errors import EncoderError, InputError
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.answers import RankQuery
from semrec.online.encoders import load_recorded_encoder, recorded_encoders
from semrec.online.filters import Filters
from semrec.online.lru import Lru
from semrec.online.public_web import fetch_public
from semrec.online.release import OnlineRelease
from semrec.release.reader import Release
from semrec.workspace.scratch import ScratchFolder

__all__ = [
    "MODALITIES_OF_FILES",
    "ContentEncoders",
    "Processed",
    "ReceivedFile",
    "content_vector",
    "fetched",
    "modality_of",
    "models_modality",
    "nearest_query",
]

MODALITIES_OF_FILES: Final = ("image", "document")  # which `modality_of` tells apart
#: How files of the formats begin that the encoder of images reads (`semrec.encoders.pixels`); all else is a document.
_IMAGES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*")
#: The same by two pieces, each behind its place: a text, too, may begin with BM.
_IMAGES_AT: Final = (
    (0, b"RIFF", 8, b"WEBP"),
    (4, b"ftyp", 8, b"avif"),
    (4, b"ftyp", 8, b"avis"),
    (0, b"BM", 6, bytes(4)),
)
_KEPT_ENCODERS: Final = 4


@dataclass(frozen=True)
class ReceivedFile:
    """The bytes of a file, and its name, whose ending says the kind of a document where the bytes do not."""

    data: bytes
    name: str = ""


@dataclass(frozen=True, eq=False)
class Processed:
    """What a content is. `vector` float32 [D] of length 1, by the encoder of its modality."""

    modality: str
    metadata: Mapping[str, Any]
    vector: np.ndarray


def modality_of(data: bytes) -> str:
    """Which modality a file is of: image by its first bytes, else document."""
    is_image = data.startswith(_IMAGES) or any(
        data.startswith(first, start) and data.startswith(second, place) for start, first, place, second in _IMAGES_AT
    )
    return "image" if is_image else "document"


def fetched(uri: str, *, max_bytes: int, timeout_s: float) -> ReceivedFile:
    """The file at a URI of the public web. Raises InputError with the reason where it is not had (`fetch_public`)."""
    try:
        data = fetch_public(uri, max_bytes=max_bytes, timeout_s=timeout_s)
    except ContentError as error:
        raise InputError(
            f"the URI {uri[:200]!r}: {error.reason}",
            expected=f"http or https, on the public web, up to {max_bytes:,} bytes",
            remedy="Send the file itself.",
        ) from None
    return ReceivedFile(data, PurePosixPath(urlsplit(uri).path).name)


def nearest_query(
    served: OnlineRelease, overlay: OverlayView, processed: Processed, *, filters: Filters, k: int
) -> RankQuery:
    """The query for the items that are most like a content, by the models of its modality."""
    profile = anonymous_profile(served, overlay, contents=[content_vector(served.release, processed)])
    return anonymous_query(served, profile, filters=filters, k=k)


def content_vector(release: Release, processed: Processed) -> ContentVector:
    """A content as the release's models take it."""
    return ContentVector(processed.modality, processed.vector, models_modality(release, processed.modality))


def models_modality(release: Release, modality: str) -> str:
    """The modality under which a release's models know the vectors of one.

    The vectors of `encoder.kind` are `text` to them, and so is a text, which that encoder embeds whatever others read texts.

    Raises EncoderError where the release has no encoder of it.
    """
    recorded = reversed(recorded_encoders(release).items())  # that of `encoder.kind` before others of its modality
    of_models = {encoder_class(identity["kind"]).modality: name for name, identity in recorded}
    names = {**of_models, "text": "text"}  # who has the vector of a text has an encoder of texts
    if modality not in names:
        raise EncoderError(
            f"release {release.release_id} has no encoder of the modality {modality}",
            expected=" or ".join(sorted(of_models)) or "a release with encoders",
            remedy="Send another content, or embed the catalogue's (the settings encoder.kind and encoder.beside).",
        )
    return names[modality]


class ContentEncoders:
    """Embeds files with the encoders of the releases in use, each loaded when it is first needed.

    Threads may share it; of each modality one file is embedded at a time.
    """

    def __init__(self) -> None:
        self._loaded: Lru[str, Encoder] = Lru(_KEPT_ENCODERS, lambda _: 1)
        self._locks = {modality: threading.Lock() for modality in MODALITIES_OF_FILES}

    def image(self, release: Release, data: bytes) -> ContentVector:
        """An image as the release's models take it. Raises InputError for another file and as `process` does."""
        if modality_of(data) != "image":
            raise InputError(
                f"a file of {len(data):,} bytes that is no image",
                expected="JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF",
                remedy="Send an image.",
            )
        return content_vector(release, self.process(release, ReceivedFile(data)))

    def about_text(self, release: Release, text: str) -> dict[str, Any]:
        """What people are told of a text: its length, and what the release's encoders of texts say of it."""
        about: dict[str, Any] = {"num_characters": len(text)}
        for identity in recorded_encoders(release).values():
            encoder = encoder_class(identity["kind"])
            says_something = encoder.metadata is not Encoder.metadata  # else it need not be loaded
            if encoder.modality == "text" and says_something:
                about |= self._encoder(identity).metadata(text)
        return about

    def process(self, release: Release, file: ReceivedFile, *, num_thumbnails: int = 0) -> Processed:
        """What a file is, with thumbnails of its first pages.

        Raises InputError with the reason for one that gives no vector, EncoderError without an encoder.
        """
        modality = modality_of(file.data)
        name = models_modality(release, modality)
        with self._locks[modality], ScratchFolder("content") as folder:
            path = Path(folder) / f"content{PurePosixPath(file.name).suffix[:16]}"
            path.write_bytes(file.data)
            encoder = self._encoder(recorded_encoders(release)[name])
            try:
                metadata = encoder.metadata(str(path), num_thumbnails=num_thumbnails)
                vectors_ND, rejected = encoder.embed([str(path)])
                if rejected:
                    raise ContentError(rejected[0][1])
            except ContentError as error:
                raise InputError(
                    f"the {modality} gives no vector: {error.reason}",
                    expected=f"a readable {modality} within the limits that /v1/models names",
                    remedy="Send another.",
                ) from None
        return Processed(modality, metadata, vectors_ND[0])

    def _encoder(self, identity: Mapping[str, Any]) -> Encoder:
        return self._loaded.get(str(identity), lambda: load_recorded_encoder(identity))
