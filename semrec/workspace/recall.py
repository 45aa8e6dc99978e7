"""Keeps how exact an approximate run was measured to be, for all who publish, show or answer with its lists."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from semrec.errors import IncompleteRunError
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import RunManifest
from semrec.workspace.storage import Storage

__all__ = ["RecallManifest", "read_recall"]


class RecallManifest(Manifest):
    """The share of the items of exact lists that stand in the approximate ones of the same users, in a sample.

    `num_users` were drawn with `seed` from those whose lists are approximate; 0 where nobody's is, and then the recall is 1.
    `content_digest` is that of the run when it was measured.
    """

    KIND = "recall"
    PATH = "runs/{}/recall.json"
    REMEDY = "Run `semrec verify`."

    run: str
    content_digest: str
    k: int
    recall: float = Field(ge=0, le=1)
    num_users: int
    seed: int

    def summary(self) -> dict[str, Any]:
        """What answers say of it, by name."""
        return {"recall": self.recall, "k": self.k, "num_users": self.num_users}

    def __str__(self) -> str:
        return f"approximate, recall@{self.k} {self.recall:.4f} of {self.num_users:,} users"


def read_recall(storage: Storage, run: RunManifest) -> RecallManifest | None:
    """Reads the recall of a run, None for an exact one.

    Raises IncompleteRunError for an approximate run that was not measured, or changed since.
    """
    if run.approximate is None:
        return None
    recall = RecallManifest.read_if_there(storage, run.run)
    if recall is None or recall.content_digest != run.content_digest:
        raise IncompleteRunError(
            f"the recall of the approximate run {run.run} was not measured" + (" since it changed" if recall else ""),
            expected="a run that `semrec verify` held against exact lists",
            remedy=RecallManifest.REMEDY,
        )
    return recall
