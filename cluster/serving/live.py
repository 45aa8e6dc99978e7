"""What a replica answers from: it follows `current.json` and the overlay, and makes a snapshot of each state of both."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from cluster.serving.snapshots import Ranker, Snapshot
from semrec.embedding.settings import DEFAULT_MODEL
from semrec.errors import EncoderError, MissingArtefactError, SemrecError
from semrec.release.reader import Release
from semrec.runs import read_live
from semrec.serving.overlay import OverlayView
from semrec.serving.search import OnlineEncoder
from semrec.serving.segments import Folded
from semrec.serving.served import ServedRelease
from semrec.serving.state import OverlayState
from semrec.storage import Storage

__all__ = ["LiveRelease", "Opener", "TextEncoder", "encoder_of", "online_encoder"]

_log = logging.getLogger(__name__)
_RETRY_S: Final = 30.0  # between looks at a release that was refused: somebody may have mended it
_WARM_S: Final = 60.0  # a model hub that does not answer must not hold up all that needs no words
_IN_FLIGHT_S: Final = 30.0  # what an old release needs is kept for requests that began under it


class TextEncoder(Protocol):
    """Texts to vectors, float32 [D]; raises InputError for a text that has none."""

    def vector(self, text: str) -> np.ndarray:
        """The vector of one text."""

    def warm(self) -> None:
        """Does now what the first text would wait for. Raises EncoderError when there is no encoder to be had."""


#: Opens a release and its run for ranking: the release, and what ranks over it.
Opener = Callable[[Storage, str, str], tuple[ServedRelease, Ranker]]


class LiveRelease:
    """Keeps `now`, the snapshot of the live release and the overlay; None until a release could be opened.

    A new release is opened beside the old one, hashed and probed, and its text encoder loaded meanwhile; then it is put in
    the old one's place by one assignment. One that fails any of it is refused: `refused` has its id and the reason, the old
    one stays. Without its encoder it is served, but for searches. Two threads may call `look` and `refresh`.
    `counted` hears of "release_switched" and "release_refused".
    """

    def __init__(
        self,
        storage: Storage,
        open_release: Opener,
        make_encoder: Callable[[Release], TextEncoder],
        counted: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._storage, self._open, self._make_encoder, self._counted = storage, open_release, make_encoder, counted
        self._publishing, self._looking = threading.Lock(), threading.Lock()
        self._encoders: dict[str, TextEncoder] = {}
        self._translated: dict[tuple[str, int], np.ndarray] = {}
        self._served: tuple[ServedRelease, Ranker, Folded] | None = None
        self._pointer: tuple[str, str] | None = None
        self._refused_s, self._forget_s = 0.0, float("inf")
        self.state: OverlayState | None = None
        self.refused: dict[str, str] = {}
        self.now: Snapshot | None = None
        self.published_at_s = 0.0  # when what is served went live, in Unix time

    def look(self) -> bool:
        """Looks whether another pair is live, and takes it over; True when it did. Never raises."""
        with self._looking:
            self._forget_old()
            try:
                live = read_live(self._storage)
                if live is None:
                    raise MissingArtefactError(
                        "nothing is live", expected="a published run", remedy="Run `semrec run`."
                    )
            except Exception as error:
                if self._pointer is None:
                    self._refuse("current.json", error)
                else:
                    _log.warning("current.json cannot be read, release %s stays: %s", self._pointer[0], error)
                return False
            pointer = (live.release, live.run)
            waiting = time.monotonic() < self._refused_s + _RETRY_S
            if pointer == self._pointer or (f"{pointer[0]}/{pointer[1]}" in self.refused and waiting):
                return False
            if not self._take(*pointer):
                return False
            self.published_at_s = live.published_at_s
            return True

    def refresh(self) -> None:
        """Makes a snapshot of the overlay as it is now. On return, requests that begin are answered from it."""
        with self._publishing:
            if self._served is None or self.state is None:
                return
            served, rank, folded = self._served
            view = self._in_its_vectors(served, self.state.view(folded))
            self.now = Snapshot(served, view, self.state.recent, folded, rank)

    def encoder(self, release: Release) -> TextEncoder:
        """The encoder of a release. Raises EncoderError when its vectors come from none."""
        name = encoder_of(release)
        found = self._encoders.get(name)
        if found is None:
            found = self._encoders[name] = self._make_encoder(release)
        return found

    def _take(self, release_id: str, run_id: str) -> bool:
        started_s = time.monotonic()
        try:
            warming = self._warm_encoder(Release(self._storage, release_id))
            served, rank = self._open(self._storage, release_id, run_id)
            folded = Folded.of_release(served.release.manifest)
            served.check()
            served.probe(rank=rank)
            if self.state is None:
                self.state = OverlayState(self._storage, folded)
            self.state.reach(folded)
            warming.join(_WARM_S)
        except Exception as error:
            self._refuse(f"{release_id}/{run_id}", error)
            return False
        with self._publishing:
            self._served = (served, rank, folded)
        self.refresh()
        self._pointer, self.refused = (release_id, run_id), {}
        self._forget_s = time.monotonic() + _IN_FLIGHT_S
        self._counted("release_switched")
        _log.info("release %s, run %s is served (%.1f s)", release_id, run_id, time.monotonic() - started_s)
        return True

    def _warm_encoder(self, release: Release) -> threading.Thread:
        def warm() -> None:
            try:
                self.encoder(release).warm()
            except SemrecError as error:
                _log.info("no search in release %s: %s", release.release_id, error)

        thread = threading.Thread(target=warm, name="encoder-warming", daemon=True)
        thread.start()
        return thread

    def _refuse(self, name: str, error: Exception) -> None:
        self._refused_s = time.monotonic()
        if name not in self.refused:
            self._counted("release_refused")
            _log.error("%s is refused: %s: %s", name, type(error).__name__, error)
        self.refused = {name: f"{type(error).__name__}: {error}"[:500]}

    def _forget_old(self) -> None:
        if time.monotonic() > self._forget_s and self._served and self.state:
            self._forget_s = float("inf")
            self.state.forget(self._served[2])
            self.refresh()

    def _in_its_vectors(self, served: ServedRelease, view: OverlayView) -> OverlayView:
        """The view with every live item's vector made by the release's encoder; others are made once, here."""
        name = encoder_of(served.release)
        foreign = view.foreign(name)
        if not foreign:
            return view
        try:
            encoder = self.encoder(served.release)
        except EncoderError as error:
            _log.warning("%d changed items have vectors of another encoder: %s", len(foreign), error)
            return view
        for change in foreign:
            key = (name, change.sequence)
            if key not in self._translated:
                self._translated[key] = encoder.vector(change.text)
        vectors = {change.item_id: self._translated[name, change.sequence] for change in foreign}
        return view.with_vectors(vectors, name)


def encoder_of(release: Release) -> str:
    """The name of the embedding that a release's vectors come from."""
    return str(release.manifest["settings"].get("embedding_name", DEFAULT_MODEL))


def online_encoder(release: Release) -> OnlineEncoder:
    """The release's own encoder, loaded when it is first used."""
    return OnlineEncoder(release.manifest["encoder"])
