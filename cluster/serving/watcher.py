"""Watch `current.json` and the change log, and make a snapshot of each new state of both: what a replica answers from."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from cluster.serving.encoders import OverlayVectors, ReleaseEncoders, TextEncoder
from cluster.serving.execute import Ranker, Snapshot
from semrec.changes.state import OverlayState
from semrec.online.release import OnlineRelease
from semrec.release.reader import Release
from semrec.runs.live import Live, require_live
from semrec.workspace.log import LogPositions
from semrec.workspace.storage import Storage

__all__ = ["Opener", "ReleaseWatcher"]

_log = logging.getLogger(__name__)
_RETRY_S: Final = 30.0  # between looks at a release that was refused: somebody may have mended it
_WARM_S: Final = 60.0  # a model hub that does not answer must not hold up all that needs no words
_IN_FLIGHT_S: Final = 30.0  # what an old release needs is kept for requests that began under it


#: Opens a release and its run for ranking: the release, and what ranks over it.
Opener = Callable[[Storage, str, str], tuple[OnlineRelease, Ranker]]


class ReleaseWatcher:
    """Keeps `now`, the snapshot of the live release and the overlay; None until a release could be opened.

    A new release is opened beside the old one, hashed and probed, and its text encoder loaded meanwhile; then it is put in
    the old one's place by one assignment. One that fails any of it is refused: `refused` has its id and the reason, the old
    one stays. Without its encoder it is served, but for searches. Two threads may call `check_live` and `refresh`.
    `count_event` is told of "release_switched" and "release_refused".
    """

    def __init__(
        self,
        storage: Storage,
        open_release: Opener,
        make_encoder: Callable[[Release], TextEncoder],
        count_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._storage, self._open, self._count_event = storage, open_release, count_event
        self._encoders = ReleaseEncoders(make_encoder)
        self._vectors = OverlayVectors(self._encoders)
        self._publishing, self._checking = threading.Lock(), threading.Lock()
        self._served: tuple[OnlineRelease, Ranker, LogPositions] | None = None
        self._pointer: tuple[str, str] | None = None
        self._refused_s, self._forget_s = 0.0, float("inf")
        self.state: OverlayState | None = None
        self.refused: dict[str, str] = {}
        self.now: Snapshot | None = None
        self.published_at_s = 0.0  # when what is served went live, in Unix time

    def check_live(self) -> bool:
        """Switches to the pair that is live, if it is another; True when it did. Never raises: what fails is logged."""
        with self._checking:
            try:
                self._forget_old()
                if self._served and self._vectors.is_due(self._served[0].release):
                    self.refresh()
                return self._check_live()
            except Exception:
                _log.exception("what is live cannot be followed; what is served stays")
                return False

    def refresh(self) -> None:
        """Makes a snapshot of the overlay as it is now. On return, requests that begin are answered from it."""
        with self._publishing:
            if self._served is not None and self.state is not None:
                self.now = self._snapshot(self.state, *self._served)

    def encoder(self, release: Release) -> TextEncoder:
        """The encoder of a release. Raises EncoderError when its vectors come from none."""
        return self._encoders.of(release)

    def _check_live(self) -> bool:
        try:
            live = require_live(self._storage)
        except Exception as error:
            if self._pointer is None:
                self._refuse("current.json", error)
            else:
                _log.warning("current.json cannot be read, release %s stays: %s", self._pointer[0], error)
            return False
        waiting = time.monotonic() < self._refused_s + _RETRY_S
        if f"{live.release}/{live.run}" in self.refused and waiting:
            return False
        if (live.release, live.run) == self._pointer:
            self._begin_overlay_after(live)
            return False
        if not self._switch_to(live):
            return False
        self.published_at_s = live.published_at_s
        return True

    def _begin_overlay_after(self, live: Live) -> None:
        """Follows a pair that was published again: an import of the same content has replaced older changes."""
        if self._served is None or self.state is None or live.published_at_s == self.published_at_s:
            return
        served, rank, _ = self._served
        applied = _applied_of(live, served)
        self.state.load_since(applied)
        with self._publishing:
            self.now = self._snapshot(self.state, served, rank, applied)
            self._served = (served, rank, applied)
        self.published_at_s = live.published_at_s
        self._forget_s = time.monotonic() + _IN_FLIGHT_S

    def _switch_to(self, live: Live) -> bool:
        started_s, release_id, run_id = time.monotonic(), live.release, live.run
        try:
            warming = self._warm_encoder(Release(self._storage, release_id))
            served, rank = self._open(self._storage, release_id, run_id)
            applied = _applied_of(live, served)
            served.check()
            served.probe(rank=rank)
            if self.state is None:
                self.state = OverlayState(self._storage, applied)
            self.state.load_since(applied)
            warming.join(_WARM_S)
            # Texts of another encoder are embedded here, before the overlay's changes have to wait for the lock.
            self._vectors.complete(served.release, self.state.view(applied))
            with self._publishing:
                self.now = self._snapshot(self.state, served, rank, applied)
                self._served = (served, rank, applied)
        except Exception as error:
            self._refuse(f"{release_id}/{run_id}", error)
            return False
        self._pointer, self.refused = (release_id, run_id), {}
        self._forget_s = time.monotonic() + _IN_FLIGHT_S
        self._count_event("release_switched")
        _log.info("release %s, run %s is served (%.1f s)", release_id, run_id, time.monotonic() - started_s)
        return True

    def _warm_encoder(self, release: Release) -> threading.Thread:
        def warm() -> None:
            try:
                self.encoder(release).warm()
            except Exception as error:  # also of a model's library: the release is served without searches
                _log.info("no search in release %s: %s", release.release_id, error)

        thread = threading.Thread(target=warm, name="encoder-warming", daemon=True)
        thread.start()
        return thread

    def _refuse(self, name: str, error: Exception) -> None:
        self._refused_s = time.monotonic()
        if name not in self.refused:
            self._count_event("release_refused")
            _log.error("%s is refused: %s: %s", name, type(error).__name__, error)
        self.refused = {name: f"{type(error).__name__}: {error}"[:500]}

    def _forget_old(self) -> None:
        if time.monotonic() > self._forget_s and self._served and self.state:
            self._forget_s = float("inf")
            self.state.drop_through(self._served[2])
            self._vectors.forget_encoders(self._served[0].release)
            self.refresh()

    def _snapshot(self, state: OverlayState, served: OnlineRelease, rank: Ranker, applied: LogPositions) -> Snapshot:
        view = self._vectors.complete(served.release, state.view(applied))
        return Snapshot(served, view, state.recent, applied, rank)


def _applied_of(live: Live, served: OnlineRelease) -> LogPositions:
    """What the pair held when it was published; its release's manifest may have been written again since."""
    return LogPositions.of(served.release.manifest.applied if live.applied is None else live.applied)
