"""Keeps the map of the release in use; draws it in the background when none is stored."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from semrec.release.reader import Release
from semrec.reports.map import Legend, map_bytes, map_legend, positions

__all__ = ["AtlasKeeper"]

_log = logging.getLogger(__name__)
_NICENESS = 10  # drawing takes tens of seconds of a core: answers go first


@dataclass
class _Atlas:
    release: Release
    drawn: tuple[np.ndarray, Legend] | None = None
    failed: bool = False

    @cached_property
    def legend(self) -> Legend:
        return map_legend(self.release)

    def draw(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # only Linux has niceness for one thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self.drawn = (positions(self.release), self.legend)
        except Exception:  # the page lives without a map, the server all the more
            _log.exception("no map of release %s", self.release.release_id)
            self.failed = True


class AtlasKeeper:
    """The map of one release at a time: the one last asked for. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._atlas: _Atlas | None = None

    def body(self, release: Release, gone: Sequence[int]) -> bytes | None:
        """The answer of /v1/map without the points `gone`; None while it is being drawn.

        Raises RuntimeError when it cannot be drawn.
        """
        atlas = self._of(release)
        if atlas.failed:
            raise RuntimeError(f"no map of release {release.release_id}: see the log")
        return map_bytes(release, *atlas.drawn, gone) if atlas.drawn else None

    def legend(self, release: Release) -> Legend:
        """What the colours of a release's map mean."""
        atlas = self._of(release)
        with self._lock:
            return atlas.legend

    def _of(self, release: Release) -> _Atlas:
        with self._lock:
            if self._atlas is None or self._atlas.release.release_id != release.release_id:
                self._atlas = _Atlas(release)
                threading.Thread(target=self._atlas.draw, name="atlas", daemon=True).start()
            return self._atlas
