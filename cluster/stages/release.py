"""Builds a release: the item matrix in one call, the user parts over the executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import PartsReport, ProgressSink, do_parts
from cluster.stages.train import train_factors
from semrec.contracts import part_name
from semrec.errors import InputError, MissingArtefactError
from semrec.progress import Progress
from semrec.release.build import UserPartWorker, finish_release
from semrec.release.clauses import eligibility_warnings
from semrec.release.coarse_format import choose_format, describe_choice
from semrec.release.matrix import build_matrix
from semrec.release.plan import plan_release, plan_user_parts
from semrec.release.reader import Release
from semrec.runs.plan import reuse_parts
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import EmbeddingManifest, ModelSpec, ReleaseManifest
from semrec.workspace.storage import Storage

__all__ = ["ReleaseResult", "build_release", "find_beside", "find_embedding"]


@dataclass(frozen=True)
class ReleaseResult:
    """The release's id and manifest, and the parts that this submission did."""

    release_id: str
    manifest: ReleaseManifest
    parts: PartsReport


def build_release(
    workspace: Workspace,
    settings: ReleaseSettings,
    *,
    embedding: str | None,
    compute: Compute,
    progress: Progress,
    models: Sequence[ModelSpec] = (),
    beside: Mapping[str, str] | None = None,
    **training: int,
) -> ReleaseResult:
    """Builds the release of the present inputs, or finds that it is there. `embedding` None means the only one.

    `models` stand side by side in it; none: the content model. `beside` is as `plan_release` has it; `training` are options
    of `train_factors`.
    """
    storage = workspace.storage
    job = plan_release(workspace, embedding or find_embedding(storage), settings, models=models, beside=beside)
    ledger = Ledger(storage, job.folder)
    with Lease(storage, job.folder):
        train_factors(workspace, job, compute=compute, progress=progress, **training)
        plan = plan_user_parts(job, compute.run(build_matrix, workspace, job))
        devices = compute.devices(kind="cpu")  # no GPU is rented for what uses none
        spec = WorkerSpec(UserPartWorker, {"workspace": workspace, "job": job, "plan": plan}, num_cpus=devices.cpus)
        sink = ProgressSink(progress, "events", lambda record: plan.parts[record.part].num_rows)
        report = do_parts(
            "release",
            ledger,
            plan,
            spec,
            compute,
            sink,
            num_groups=devices.count,
            reuse=lambda pending: reuse_parts(
                ledger, plan, pending, _other_releases(storage, job.release_id), lambda p: _user_path(job.folder, p)
            ),
        )
        manifest = finish_release(
            workspace, job, plan, lambda release: compute.run(choose_format, release, num_threads=devices.cpus)
        )
    for warning in eligibility_warnings(manifest):
        progress.note(warning)
    for component in Release(storage, job.release_id, manifest).components.components:
        if found := component.model.found():
            progress.note(found)
    if manifest.coarse and manifest.coarse.measured:
        progress.note(describe_choice(manifest.coarse))
    return ReleaseResult(job.release_id, manifest, report)


def find_beside(storage: Storage, kinds: Sequence[str], *, needed: Sequence[str] | None = None) -> dict[str, str]:
    """Returns the name of the finished embedding of each of some kinds of encoders.

    Raises InputError where there are several, MissingArtefactError where there is none of a kind that is `needed`, as all
    are without it.
    """
    remedy = "Use `semrec run`, which takes the one that it makes, or remove the folders of the others."
    made_by = {
        name: EmbeddingManifest.read(storage, name).encoder.get("kind") for name in EmbeddingManifest.names(storage)
    }
    named = {kind: [name for name, own in made_by.items() if own == kind] for kind in kinds}
    return {
        kind: _only(names, f"embedding of {kind}s", remedy)
        for kind, names in named.items()
        if names or needed is None or kind in needed
    }


def find_embedding(storage: Storage, beside: Sequence[str] = ()) -> str:
    """Returns the name of the only finished embedding but those `beside` it. Raises where there is none, or several."""
    return _only(
        [name for name in EmbeddingManifest.names(storage) if name not in beside],
        "embedding",
        "Name one with --embedding.",
    )


def _only(names: list[str], what: str, choice: str) -> str:
    if not names:
        raise MissingArtefactError(f"no {what}", expected="one", remedy="Run `semrec embed`.")
    if len(names) > 1:
        raise InputError(f"embeddings {', '.join(names)}", expected="a choice", remedy=choice)
    return names[0]


def _other_releases(storage: Storage, release_id: str) -> list[Ledger]:
    names = [name for name in storage.list_folders("releases") if name != release_id]
    return [Ledger(storage, f"releases/{n}") for n in names if ReleaseManifest.exists(storage, n)]


def _user_path(folder: str, part: int) -> str:
    return f"{folder}/users/{part_name(part)}.parquet"
