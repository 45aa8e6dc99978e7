"""What a worker is, and the in-process way to run one. `cluster` runs the same workers inside Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from semrec.workspace.ledger import PartRecord

__all__ = ["PartWorker", "run_serial"]


class PartWorker(Protocol):
    """Does one numbered part: reads its inputs from the workspace, writes its file, then commits its record.

    Calling it twice for a part is harmless: the same inputs give the same bytes at the same name.
    """

    def run_part(self, part: int) -> PartRecord: ...


def run_serial(worker: PartWorker, parts: Iterable[int], on_done: Callable[[PartRecord], None]) -> None:
    """Does `parts` one after the other in this process."""
    for part in parts:
        on_done(worker.run_part(part))
