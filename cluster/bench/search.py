"""Makes a release of a retrieval set's documents, and measures search over it."""

from __future__ import annotations

from pathlib import Path

from cluster.compute import InProcess
from cluster.stages.embed import embed_catalogue
from cluster.stages.release import build_release
from semrec.bench.retrieval import SearchBenchRow, bench_search, read_retrieval_set
from semrec.data import ItemRow, import_items
from semrec.encoders.settings import EmbedSettings
from semrec.online.release import OnlineRelease
from semrec.progress import Progress
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.scratch import ScratchFolder

__all__ = ["bench_retrieval_set"]


def bench_retrieval_set(
    folder: str, *, split: str, settings: EmbedSettings, progress: Progress
) -> list[SearchBenchRow]:
    """Imports, embeds and releases the documents of a folder as BEIR has them, and searches for its judged queries.

    Raises InputError for another folder, EncoderError for a model that cannot be had.
    """
    retrieval = read_retrieval_set(Path(folder), split)
    with ScratchFolder("benchmark") as uri:
        workspace, compute = Workspace.create(uri), InProcess()
        documents = retrieval.documents.items()
        import_items(workspace, (ItemRow(i, title, f"{title} {text}".strip()) for i, (title, text) in documents))
        embed_catalogue(workspace, settings, compute=compute, progress=progress)
        released = build_release(workspace, ReleaseSettings(), embedding=None, compute=compute, progress=progress)
        return bench_search(OnlineRelease(workspace.storage, released.release_id), retrieval)
