"""Reads the results of a release's trainings by parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from semrec.release.factors import FactorsCheckpoint, last_checkpoint
from semrec.release.ials_blocks import read_ials
from semrec.release.nsvd_blocks import read_nsvd
from semrec.workspace.storage import Storage

__all__ = ["read_trained"]

_READERS: Final[Mapping[str, Callable[[Storage, FactorsCheckpoint], Any]]] = {"ials": read_ials, "nsvd": read_nsvd}


def read_trained(storage: Storage, release_id: str) -> dict[str, Callable[[], Any]]:
    """Returns readers of the trained factors by model, as `TrainingData.trained` has them; none where not trained by parts."""
    checkpoints = {kind: last_checkpoint(storage, release_id, kind) for kind in _READERS}
    return {
        kind: partial(_READERS[kind], storage, checkpoint)
        for kind, checkpoint in checkpoints.items()
        if checkpoint is not None and checkpoint.is_last
    }
