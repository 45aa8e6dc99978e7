"""Small pictures of the items of a release, made of the images that their catalogue names by URI."""

from __future__ import annotations

import time
from typing import Final

from semrec.encoders.contents import ContentError, read_content
from semrec.errors import EncoderError, MissingArtefactError
from semrec.online.lru import Lru
from semrec.online.release import OnlineRelease

__all__ = ["Posters"]

_MAX_BYTES: Final = 64 << 20  # of one image, as its encoder has it
_MAX_SIDE: Final = 480  # pixels: a card of the page at twice its size, for fine screens
_KEPT_BYTES: Final = 64 << 20
_FAILED: Final = b""
_RETRY_AFTER_S: Final = 60.0
_SLOW_S: Final = 3.0  # a failure that took longer is its host's, and holds for all that the host has
_MAX_FAILURES: Final = 10_000


class Posters:
    """Makes posters as they are asked for; those of the last uses are kept. Threads may share it."""

    def __init__(self) -> None:
        self._kept: Lru[tuple[str, int], bytes] = Lru(_KEPT_BYTES, lambda poster: len(poster) + 100)
        self._retry_at: dict[str, float] = {}  # URIs and hosts that failed, in monotonic seconds

    def poster(self, served: OnlineRelease, item_id: str) -> bytes:
        """A JPEG of the image that an item of the release has. Raises MissingArtefactError where there is none to be had, and
        EncoderError without Pillow.
        """
        images, row = served.release.images, served.items.row_of.get(item_id)
        poster = _FAILED
        if images is not None and row is not None and (uri := images.of(row)) is not None:
            poster = self._made(served.release_id, row, uri)
        if not poster:
            raise MissingArtefactError(
                f"item {item_id!r} has no image that can be shown",
                expected="an item that was imported with one",
                remedy="Import images: `semrec import ... --content image=COLUMN`.",
            )
        return poster

    def _made(self, release_id: str, row: int, uri: str) -> bytes:
        try:
            return self._kept.get((release_id, row), lambda: self._small(uri))
        except ContentError:  # which another time may bring
            return _FAILED

    def _small(self, uri: str) -> bytes:
        """A poster, or `_FAILED` of what is no image. Raises ContentError for what cannot be read now."""
        host, began = "/".join(uri.split("/", 3)[:3]), time.monotonic()
        if max(self._retry_at.get(failed, 0.0) for failed in (uri, host)) > began:
            raise ContentError("could not be read a moment ago", is_unread=True)
        try:
            return _thumbnail(read_content(uri, max_bytes=_MAX_BYTES))
        except ContentError as error:
            if not error.is_unread:
                return _FAILED  # kept, so that it is not read over and over
            self._note_failure(host if time.monotonic() > began + _SLOW_S else uri)
            raise

    def _note_failure(self, failed: str) -> None:
        """Else each view would have a thread wait for the same host again, and two such hosts all threads."""
        if len(self._retry_at) >= _MAX_FAILURES:
            self._retry_at.clear()
        self._retry_at[failed] = time.monotonic() + _RETRY_AFTER_S


def _thumbnail(data: bytes) -> bytes:
    try:
        from semrec.encoders.pixels import thumbnail_of  # needs Pillow, which only who has images installs
    except ImportError:
        raise EncoderError(
            "no Pillow, which makes pictures small", expected="it", remedy="pip install 'semrec[images]'"
        ) from None
    return thumbnail_of(data, _MAX_SIDE)
