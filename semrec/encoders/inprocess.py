"""Embedding in this process: the same plan, worker and finish that the cluster uses, one part after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semrec.encoders.identity import encoder_identity
from semrec.encoders.plan import EmbeddingJob, embedding_folder, finish_embedding, plan_embedding
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.worker import EmbedWorker
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.ledger import Ledger, PartRecord, sum_counts
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["EmbedReport", "embed_in_process", "embed_report"]


@dataclass(frozen=True)
class EmbedReport:
    """What one submission did. `items` and `rejected` count items, `embedded` and `reused` distinct texts."""

    name: str  # of the embedding: its folder under embeddings/
    run_id: str
    fingerprint: str  # of the finished embedding
    items: int
    embedded: int  # by this submission
    reused: int  # known from earlier runs, or committed by an earlier submission of this one
    rejected: int
    halved_calls: int
    num_parts: int
    parts_done: int  # by this submission
    seconds: float


def embed_in_process(
    workspace: Workspace,
    settings: EmbedSettings,
    *,
    on_done: Callable[[PartRecord], None] | None = None,
    max_rejected: float = DEFAULT_MAX_SHARE,
    num_threads: int | None = None,
) -> EmbedReport:
    """Embeds the workspace's catalogue, redoing only what is not committed, and makes the result current.

    `on_done` hears of every part that this call commits. Raises what `plan_embedding`, `EmbedWorker` and `finish_embedding`
    raise, and RunBusyError while another driver works on the same embedding.
    """
    started_s = time.monotonic()
    identity = encoder_identity(settings)
    done: list[PartRecord] = []

    def note(record: PartRecord) -> None:
        done.append(record)
        if on_done is not None:
            on_done(record)

    with Lease(workspace.storage, embedding_folder(identity)):
        job = plan_embedding(workspace, identity)
        ledger = Ledger(workspace.storage, job.run_folder)
        ledger.open(job.plan)
        pending, standing = ledger.pending(job.plan)
        worker = EmbedWorker(workspace, job, settings, num_threads=num_threads)
        for part in pending:
            note(worker.run_part(part))
        manifest = finish_embedding(workspace, job, max_rejected=max_rejected)
    return embed_report(
        job, manifest.fingerprint, standing=standing.values(), done=done, seconds=time.monotonic() - started_s
    )


def embed_report(
    job: EmbeddingJob,
    fingerprint: str,
    *,
    standing: Iterable[PartRecord],
    done: Iterable[PartRecord],
    seconds: float,
) -> EmbedReport:
    """Adds up the parts that stood before this submission and those that it did."""
    done = list(done)
    before, now = sum_counts(r.counts for r in standing), sum_counts(r.counts for r in done)
    return EmbedReport(
        name=job.identity.name,
        run_id=job.plan.run_id,
        fingerprint=fingerprint,
        items=job.num_items,
        embedded=now.get("embedded", 0),
        reused=now.get("reused", 0) + before.get("embedded", 0) + before.get("reused", 0),
        rejected=now.get("rejected", 0) + before.get("rejected", 0),
        halved_calls=now.get("halved_calls", 0),
        num_parts=job.num_parts,
        parts_done=len(done),
        seconds=seconds,
    )
