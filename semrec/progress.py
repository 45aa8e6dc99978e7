"""What stages tell about their progress, and to whom."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NoProgress", "Progress"]


class Progress(Protocol):
    """A listener: a terminal shows bars, a job log plain lines, a test nothing."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """A stage with `total` units of work begins."""

    def advance(self, count: int) -> None:
        """`count` more units of the present stage are done."""

    def note(self, text: str) -> None:
        """A decision or event worth a line."""

    def finish(self, summary: str) -> None:
        """The present stage is done."""


class NoProgress:
    """Listens to nothing."""

    def start(self, stage: str, total: int, unit: str) -> None: ...

    def advance(self, count: int) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self, summary: str) -> None: ...
