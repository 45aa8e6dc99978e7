"""Plans and completes an embedding run: the parts of the catalogue, the encoder, and earlier runs whose vectors still serve."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from semrec.encoders.base import EncoderIdentity, encoder_class
from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError, SchemaError, TooManyRejectedError
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart, sum_counts
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest, EmbeddingRunManifest
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE
from semrec.workspace.records import PartFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile

__all__ = [
    "HASH_COLUMN",
    "EmbeddingJob",
    "KnownRun",
    "embedding_folder",
    "embedding_schema",
    "finish_embedding",
    "plan_embedding",
    "run_folder",
]

HASH_COLUMN = "text_hash"  # of an embedding's parts: the hash of the content, named when text was the only modality


@dataclass(frozen=True)
class KnownRun:
    """An earlier run of the same embedding; its committed parts may hold vectors that are wanted again."""

    run_id: str
    num_parts: int


@dataclass(frozen=True)
class EmbeddingJob:
    """One planned run. Small and picklable: O(parts), nothing per item."""

    identity: EncoderIdentity
    plan: Plan
    sources: tuple[TableFile, ...]  # catalogue part p at index p
    known: tuple[KnownRun, ...]
    catalogue_fingerprint: str

    @property
    def folder(self) -> str:
        return embedding_folder(self.identity)

    @property
    def run_folder(self) -> str:
        return run_folder(self.folder, self.plan.run_id)

    @property
    def has_texts(self) -> bool:
        """Whether the parts have what each content says."""
        return encoder_class(self.identity.kind).text_version > 0

    @property
    def num_parts(self) -> int:
        return len(self.sources)

    @property
    def num_items(self) -> int:
        return sum(source.num_rows for source in self.sources)


def embedding_folder(identity: EncoderIdentity) -> str:
    """Returns the embedding's folder in a workspace."""
    return f"embeddings/{identity.name}"


def run_folder(folder: str, run_id: str) -> str:
    """Returns the folder of one run of the embedding in `folder`."""
    return f"{folder}/runs/{run_id}"


def embedding_schema(dimension: int, *, has_texts: bool = False) -> pa.Schema:
    """Rows ascend in item_id (UTF-8 bytes); vector is float32 of length 1; text is what the content says."""
    texts = [pa.field("text", pa.large_string(), nullable=False)] if has_texts else []
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field(HASH_COLUMN, pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
            *texts,
        ]
    )


def plan_embedding(workspace: Workspace, identity: EncoderIdentity) -> EmbeddingJob:
    """Plans the embedding of the catalogue that now stands in the workspace. Writes nothing.

    Where a complete run had content that could not be read, the plan is of a run after it, which tries that content again and
    takes over all else. Raises MissingArtefactError when there is no catalogue, CorruptArtefactError when its manifest
    contradicts itself.
    """
    catalogue = CatalogueManifest.read(workspace.storage, remedy="Run `semrec import`.")
    sources = _sources(catalogue)
    # Beside the identity, which is that of vectors alone: a release's encoder stays the same, whatever is kept of texts.
    version = encoder_class(identity.kind).text_version
    texts = {"texts": version} if version else {}
    parts = tuple(
        PlannedPart(
            part, fingerprint({"encoder": identity.fingerprint, "content": s.content_digest, **texts}), s.num_rows
        )
        for part, s in enumerate(sources)
    )
    settings = {"encoder": identity.to_json(), "num_parts": len(sources), **texts}
    plan, folder = Plan("embedding", settings, parts), embedding_folder(identity)
    while _has_unread(workspace.storage, folder, plan):
        plan = Plan("embedding", {**settings, "after": plan.run_id}, parts)
    known = _known_runs(workspace.storage, folder, plan.run_id, version)
    return EmbeddingJob(identity, plan, sources, known, catalogue.fingerprint)


def finish_embedding(
    workspace: Workspace, job: EmbeddingJob, *, max_rejected: float = DEFAULT_MAX_SHARE
) -> EmbeddingManifest:
    """Completes the run and makes it the embedding's current one; returns the embedding's manifest.

    Raises IncompleteRunError naming missing parts, TooManyRejectedError when more than the share `max_rejected` of the items
    have no vector, and InputError when none has content of the encoder's modality. Each leaves the previous manifest as it
    was and the run open, so that its vectors still serve.
    """
    storage = workspace.storage
    ledger = Ledger(storage, job.run_folder)
    missing, records = ledger.pending(job.plan)
    counts = sum_counts(record.counts for record in records.values())
    if not missing:
        _check_content(job, counts)
        _check_rejected(job, counts, max_rejected)
    run = ledger.finish(job.plan, EmbeddingRunManifest, {"catalogue": job.catalogue_fingerprint})
    manifest = _manifest(job, records, counts, run.num_rows)
    # Last, in one write: a reader has either the old set of parts or the new one.
    manifest.write(storage, job.identity.name)
    return manifest


def _manifest(
    job: EmbeddingJob, records: dict[int, PartRecord], counts: dict[str, int], num_items: int
) -> EmbeddingManifest:
    tables = [records[part].table for part in range(job.num_parts)]
    content = [table.content_digest for table in tables]
    return EmbeddingManifest(
        name=job.identity.name,
        encoder=job.identity.to_json(),
        run=job.plan.run_id,
        catalogue=job.catalogue_fingerprint,
        num_items=num_items,
        num_rejected=counts.get("rejected", 0),
        num_parts=job.num_parts,
        dimension=job.identity.dimension,
        **({"has_texts": True} if job.has_texts else {}),
        parts=tuple(PartFile.of(part, table) for part, table in enumerate(tables)),
        fingerprint=fingerprint({"encoder": job.identity.fingerprint, "parts": content}),
    )


def _sources(catalogue: CatalogueManifest) -> tuple[TableFile, ...]:
    parts = sorted(catalogue.parts, key=lambda part: part.part)
    numbers = [part.part for part in parts]
    if numbers != list(range(catalogue.num_parts)):
        raise CorruptArtefactError(
            f"{catalogue.PATH} lists parts {numbers[:8]} of {catalogue.num_parts}",
            expected="each part once, from 0",
            remedy="Run `semrec import` again.",
        )
    return tuple(part.table for part in parts)


def _has_unread(storage: Storage, folder: str, plan: Plan) -> bool:
    """Whether all parts of a run are committed and some content of theirs could not be read."""
    finished = EmbeddingRunManifest.read_if_there(storage, folder.removeprefix("embeddings/"), plan.run_id)
    if finished:
        return finished.counts.get("unread", 0) > 0
    # Not begun, under way, or refused because it rejected too much.
    missing, records = Ledger(storage, run_folder(folder, plan.run_id)).pending(plan)
    return not missing and sum_counts(record.counts for record in records.values()).get("unread", 0) > 0


def _known_runs(storage: Storage, folder: str, own_run: str, text_version: int) -> tuple[KnownRun, ...]:
    """The current run, then the runs that never finished: a completed run that is not current had its vectors taken over.

    Runs that kept other texts, or none where some are wanted, are left out.
    """
    manifest = EmbeddingManifest.read_if_there(storage, folder.removeprefix("embeddings/"))
    current = manifest.run if manifest else None
    others = [run for run in storage.list_folders(f"{folder}/runs") if run not in (current, own_run)]
    open_runs = [run for run in others if not storage.exists(f"{run_folder(folder, run)}/manifest.json")]
    wanted = [current, *open_runs] if current not in (None, own_run) else open_runs
    known = (_known_run(storage, folder, str(run), text_version) for run in wanted)
    return tuple(run for run in known if run is not None)


def _known_run(storage: Storage, folder: str, run_id: str, text_version: int) -> KnownRun | None:
    """The run with its number of parts; None when it kept texts of another version, or its plan cannot be read: its vectors are
    then made again.
    """
    try:
        settings = Ledger(storage, run_folder(folder, run_id)).plan().settings
        if settings.get("texts", 0) != text_version:
            return None
        return KnownRun(run_id, int(settings["num_parts"]))
    except (CorruptArtefactError, MissingArtefactError, SchemaError, KeyError):
        return None


def _check_content(job: EmbeddingJob, counts: dict[str, int]) -> None:
    modality = encoder_class(job.identity.kind).modality
    if job.num_items and not sum(counts.get(name, 0) for name in ("embedded", "reused", "rejected")):
        raise InputError(
            f"none of {job.num_items:,} items has content {modality!r}",
            expected="one at least",
            remedy=f"Import it, as in `semrec import csv ... --content {modality}=COLUMN`, or choose another --encoder.",
        )


def _check_rejected(job: EmbeddingJob, counts: dict[str, int], max_rejected: float) -> None:
    num_rejected = counts.get("rejected", 0)
    if num_rejected > max_rejected * job.num_items:
        raise TooManyRejectedError(
            f"{num_rejected:,} of {job.num_items:,} items have no vector",
            expected=f"at most {max_rejected:.2%}",
            remedy=f"See quarantine/embed/{job.plan.run_id}-*.parquet; mend what was rejected, or raise --max-rejected.",
        )
