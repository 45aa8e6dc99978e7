"""Reads what is live: one pointer to a release and its run, which `semrec.runs.publish` flips."""

from __future__ import annotations

from pydantic import Field

from semrec.errors import MissingArtefactError
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import AppliedSequences
from semrec.workspace.records import Record
from semrec.workspace.storage import Storage

__all__ = ["Live", "LivePair", "read_live", "require_live"]


class LivePair(Record):
    """A release and its run, and when they went live, in seconds since 1970 UTC."""

    release: str
    run: str
    published_at_s: float


class Live(Manifest):
    """The live pair. `history` holds the earlier pairs, newest first.

    `applied` is the release's own: the last change made online that it holds or that an import replaced; None in a pointer
    of an older version.
    """

    KIND = "current"
    PATH = "current.json"
    REMEDY = "Publish a run."

    release: str
    run: str
    published_at_s: float
    history: tuple[LivePair, ...]
    applied: AppliedSequences | None = Field(None, alias="folded")


def read_live(storage: Storage) -> Live | None:
    """Reads what is live now, or None before the first publish."""
    return Live.read_if_there(storage)


def require_live(storage: Storage) -> Live:
    """Reads what is live now. Raises MissingArtefactError before the first publish."""
    live = read_live(storage)
    if live is None:
        raise MissingArtefactError("nothing is live", expected="a published run", remedy="Run `semrec run`.")
    return live
