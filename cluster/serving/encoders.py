"""Load the text encoders of the releases in use, and embed items that were changed under another encoder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from semrec.changes.overlay import ItemChange, OverlayView
from semrec.errors import InputError
from semrec.online.lru import Lru
from semrec.online.search import OnlineEncoder
from semrec.release.reader import Release

__all__ = ["OverlayVectors", "ReleaseEncoders", "TextEncoder", "encoder_of", "online_encoder"]

_log = logging.getLogger(__name__)
_KEPT_ENCODERS: Final = 2  # of the live release and of the one before, whose last requests are still on their way
_RETRY_S: Final = 30.0  # a model hub that did not answer may do so later


class TextEncoder(Protocol):
    """Texts to vectors, float32 [D]; raises InputError for a text that has none."""

    def vector(self, text: str) -> np.ndarray:
        """The vector of one text."""

    def warm(self) -> None:
        """Does now what the first text would wait for. Raises EncoderError when there is no encoder to be had."""


class ReleaseEncoders:
    """Makes the encoder of a release when it is first asked for; the last two are kept. Threads may share it."""

    def __init__(self, make_encoder: Callable[[Release], TextEncoder]) -> None:
        self._make_encoder = make_encoder
        self._encoders: Lru[str, TextEncoder] = Lru(_KEPT_ENCODERS, lambda _: 1)

    def of(self, release: Release) -> TextEncoder:
        """The encoder of a release. Raises EncoderError when its vectors come from none."""
        return self._encoders.get(encoder_of(release), lambda: self._make_encoder(release))


class OverlayVectors:
    """Gives a view's items the vectors of a release's encoder, where they have those of another.

    Each text is embedded once for each encoder; what no view needs any more is forgotten. An item whose text the encoder
    refuses is left without a vector, and so out of every answer, as it would be out of a release built now. Where the
    encoder itself fails, its items are tried again after half a minute (`is_due`). No method raises for either.
    """

    def __init__(self, encoders: ReleaseEncoders) -> None:
        self._encoders = encoders
        self._lock = threading.Lock()
        self._vector_of: dict[tuple[str, int], np.ndarray | None] = {}  # by encoder and sequence; None: refused
        self._retry_at_s: dict[str, float] = {}  # of the encoders that failed

    def is_due(self, release: Release) -> bool:
        """Whether the release's encoder failed and should be tried again, by making a view again."""
        return time.monotonic() > self._retry_at_s.get(encoder_of(release), float("inf"))

    def complete(self, release: Release, view: OverlayView) -> OverlayView:
        """`view` with the vectors of the release's encoder, float32 [D] each."""
        name = encoder_of(release)
        foreign = view.foreign(name, release.embedding_dimension)
        if not foreign:
            return view
        missing = [change for change in foreign if (name, change.sequence) not in self._vector_of]
        if missing and time.monotonic() > self._retry_at_s.get(name, 0):
            self._embed(release, name, missing)
        with self._lock:
            vectors = {change.item_id: self._vector_of.get((name, change.sequence)) for change in foreign}
            self._forget_others(name, {change.sequence for change in foreign})
        return view.with_vectors(vectors, name)

    def forget_encoders(self, release: Release) -> None:
        """Drops the vectors that other encoders than the release's made."""
        name = encoder_of(release)
        with self._lock:
            self._vector_of = {key: vector for key, vector in self._vector_of.items() if key[0] == name}
            self._retry_at_s = {key: retry_s for key, retry_s in self._retry_at_s.items() if key == name}

    def _embed(self, release: Release, name: str, changes: list[ItemChange]) -> None:
        self._retry_at_s.pop(name, None)
        for num_done, change in enumerate(changes):
            try:
                vector = _checked(self._encoders.of(release).vector(change.text), release.embedding_dimension)
            except InputError as error:
                _log.warning("item %r is in no answer of release %s: %s", change.item_id, release.release_id, error)
                vector = None
            except Exception as error:  # of a model hub, a device, a library: another try may fare better
                self._retry_at_s[name] = time.monotonic() + _RETRY_S
                num_left = len(changes) - num_done
                _log.warning("%d changed items are in no answer of %s yet: %s", num_left, release.release_id, error)
                return
            with self._lock:
                self._vector_of[name, change.sequence] = vector

    def _forget_others(self, name: str, sequences: set[int]) -> None:
        keys = [key for key in self._vector_of if key[0] == name and key[1] not in sequences]
        for key in keys:
            del self._vector_of[key]


def encoder_of(release: Release) -> str:
    """The name of the embedding that a release's vectors come from."""
    return release.manifest.settings.embedding_name


def online_encoder(release: Release) -> OnlineEncoder:
    """The release's own encoder, loaded when it is first used."""
    return OnlineEncoder.of_release(release)


def _checked(vector: np.ndarray, dimension: int) -> np.ndarray:
    if vector.shape != (dimension,) or vector.dtype != np.float32 or not np.isfinite(vector).all():
        raise InputError(
            f"a vector of shape {vector.shape} and {vector.dtype}",
            expected=f"finite float32 [{dimension}]",
            remedy="Build the release again with `semrec embed` and `semrec release`.",
        )
    return vector
