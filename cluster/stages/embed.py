"""Embeds the catalogue on a cluster or in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import PartsReport, ProgressSink, do_parts
from semrec.encoders.base import encoder_class
from semrec.encoders.plan import embedding_folder, plan_embedding
from semrec.encoders.plan import finish_embedding as finish
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.worker import EmbedWorker
from semrec.metrics import Metrics
from semrec.progress import Progress
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.ledger import Ledger, PartRecord
from semrec.workspace.manifests import EmbeddingManifest
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["EmbedResult", "embed_all", "embed_catalogue"]


@dataclass(frozen=True)
class EmbedResult:
    """The embedding's name and manifest, and the parts that this submission did."""

    name: str
    manifest: EmbeddingManifest
    parts: PartsReport


def embed_catalogue(
    workspace: Workspace,
    settings: EmbedSettings,
    *,
    compute: Compute,
    progress: Progress,
    max_rejected: float = DEFAULT_MAX_SHARE,
) -> EmbedResult:
    """Embeds all content that has no committed vector, then makes the embedding current.

    The encoder is that of `settings.kind`. One kind of device for all workers: that of `settings.device`, or for auto what
    the options of `compute` say. Raises InputError for an unknown kind.
    """
    devices = compute.devices(kind=None if settings.device == "auto" else settings.device.partition(":")[0])
    kind = devices.kind
    settings = settings.model_copy(update={"device": settings.device if ":" in settings.device else kind})
    identity = encoder_class(settings.kind).plan(settings, device_kind="cuda" if kind == "cuda" else "cpu")
    with Lease(workspace.storage, embedding_folder(identity)):
        job = plan_embedding(workspace, identity)
        threads = devices.cpus if kind == "cpu" else None
        spec = WorkerSpec(
            EmbedWorker,
            {"workspace": workspace, "job": job, "settings": settings, "num_threads": threads},
            num_cpus=devices.cpus,
            num_gpus=1 if kind == "cuda" else 0,
        )
        ledger = Ledger(workspace.storage, job.run_folder)
        sink = ProgressSink(progress, "items", lambda record: record.counts["items"], _export_part)
        report = do_parts("embed", ledger, job.plan, spec, compute, sink, num_groups=devices.count)
        manifest = finish(workspace, job, max_rejected=max_rejected)
    num_read = manifest.num_items + manifest.num_rejected
    compute.metrics.set("semrec_quarantine_share", manifest.num_rejected / max(num_read, 1), kind="texts")
    return EmbedResult(identity.name, manifest, report)


def embed_all(
    workspace: Workspace,
    settings: EmbedSettings,
    *,
    compute: Compute,
    progress: Progress,
    max_rejected: float = DEFAULT_MAX_SHARE,
) -> dict[str, EmbedResult]:
    """Embeds by the encoder of `settings.kind`, then by each kind beside it: kind -> result. Raises as `embed_catalogue`."""
    options: dict[str, Any] = {"compute": compute, "progress": progress, "max_rejected": max_rejected}
    return {
        kind: embed_catalogue(workspace, settings.model_copy(update={"kind": kind}), **options)
        for kind in (settings.kind, *settings.beside)
    }


def _export_part(record: PartRecord, metrics: Metrics) -> None:
    metrics.add("semrec_texts_embedded_total", record.counts["embedded"])
    metrics.add("semrec_texts_reused_total", record.counts["reused"])
    metrics.add("semrec_quarantined_rows_total", record.counts["rejected"], stage="embed")
