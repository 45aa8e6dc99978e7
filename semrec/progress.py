"""Defines the interface by which stages report their progress."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NoProgress", "Progress"]


class Progress(Protocol):
    """A listener: a terminal shows bars, a job log plain lines, a test nothing."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begins a stage with `total` units of work."""

    def advance(self, count: int) -> None:
        """Counts `count` more units of the present stage as done."""

    def note(self, text: str) -> None:
        """Shows a decision or event in a line."""

    def finish(self, summary: str) -> None:
        """Ends the present stage."""


class NoProgress:
    """Ignores all progress."""

    def start(self, stage: str, total: int, unit: str) -> None: ...

    def advance(self, count: int) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self, summary: str) -> None: ...
