"""Plans a run: the parts to be scored, and the parts of earlier runs that hold the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from semrec.contracts import CONTRACT_VERSION
from semrec.errors import CorruptArtefactError, SchemaError
from semrec.release.reader import Release
from semrec.scoring.approximate import OVER_FETCH, check_approximate
from semrec.settings import ScoreSettings
from semrec.workspace.digests import fingerprint
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart
from semrec.workspace.manifest import newest_finished
from semrec.workspace.manifests import ReleaseManifest
from semrec.workspace.records import ApproximateRule, Record
from semrec.workspace.storage import Storage

__all__ = [
    "RunInputs",
    "approximate_rule",
    "find_runs",
    "newest_run",
    "plan_run",
    "reuse_parts",
    "run_folder",
    "run_inputs",
]


class RunInputs(Record):
    """The inputs of a run: the settings of its plan. `as_of` is the release's, in seconds since 1970 UTC."""

    release: str
    k: int
    as_of: int | None
    approximate: ApproximateRule | None = None  # None: exact


def run_folder(run_id: str) -> str:
    """Returns the folder of a run in its workspace."""
    return f"runs/{run_id}"


def run_inputs(plan: Plan) -> RunInputs:
    """Reads what a run was planned from. Raises CorruptArtefactError for a plan of something else."""
    return RunInputs.from_json(plan.settings, name=f"the plan of run {plan.run_id}", remedy="Run `semrec score`.")


def plan_run(release: Release, settings: ScoreSettings) -> Plan:
    """Plans the scoring of all users of `release`.

    A part's fingerprint covers its users' inputs, the item matrix, K and the contract; the popularity only where a user of
    the part needs it, and the rule of approximate lists where they are. What as_of leaves out is gone from those inputs. So a
    part whose users did not change keeps its fingerprint in the next release. Raises InputError for approximate lists of a
    release whose coarse format has none.
    """
    manifest, rule = release.manifest, approximate_rule(release.manifest, settings)
    shared = [CONTRACT_VERSION, manifest.matrix.fingerprint, settings.k, *([rule.to_json()] if rule else [])]
    parts = []
    for users in manifest.users:
        popularity = manifest.matrix.popularity.sha256 if users.popularity else None
        inputs_fingerprint = fingerprint([*shared, users.content_digest, popularity])
        parts.append(PlannedPart(users.part, inputs_fingerprint, users.num_rows))
    inputs = RunInputs(release=release.release_id, k=settings.k, as_of=manifest.as_of)
    if rule:  # what exact runs have no use for is not in their fingerprint
        inputs = inputs.model_copy(update={"approximate": rule})
    return Plan("scoring", inputs.to_json(), tuple(parts))


def approximate_rule(manifest: ReleaseManifest, settings: ScoreSettings) -> ApproximateRule | None:
    """Returns how lists of a release are approximate under these settings, None for exact ones. Raises as `plan_run` does."""
    if not settings.approximate:
        return None
    coarse = manifest.settings.coarse_format or "auto"
    check_approximate(coarse)
    return ApproximateRule(coarse=coarse, over_fetch=OVER_FETCH)


def find_runs(storage: Storage) -> list[str]:
    """Lists the ids of all runs in the workspace, finished or not."""
    return [name for name in storage.list_folders("runs") if storage.exists(f"runs/{name}/plan.json")]


def newest_run(storage: Storage) -> str:
    """Returns the id of the run that was finished last. Raises MissingArtefactError when there is none."""
    return newest_finished(storage, "runs", remedy="Run `semrec score`.")


def reuse_parts(
    ledger: Ledger, plan: Plan, pending: list[int], others: list[Ledger], target: Callable[[int], str]
) -> list[PartRecord]:
    """Copies parts of `others` with a planned fingerprint to `target(part)` and commits them; returns their records.

    A source whose file is gone or has another size is left alone, and the part stays pending.
    """
    missing = {part: plan.parts[part].fingerprint for part in pending}
    reused: list[PartRecord] = []
    for other in others:
        try:
            theirs = other.plan()
        except (CorruptArtefactError, SchemaError):
            continue  # another run's trouble must not stop this one
        matching = {p.part for p in theirs.parts if missing.get(p.part) == p.fingerprint}
        committed = other.pending(theirs)[1] if matching else {}
        for part in sorted(matching & committed.keys()):
            del missing[part]
            reused.append(_reuse(ledger, committed[part], target(part), other.folder))
    return reused


def _reuse(ledger: Ledger, record: PartRecord, path: str, source: str) -> PartRecord:
    """Copies a part of the run in `source` to `path` and commits it."""
    ledger.storage.copy(record.table.file, path)
    table = record.table.model_copy(update={"file": path})
    reused = replace(record, table=table, made_by={**record.made_by, "reused_from": source})
    ledger.commit(reused)
    return reused
