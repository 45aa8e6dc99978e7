"""Verifies that a finished run is what its ledger says, and that every user stands in it exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semrec.contracts import RECOMMENDATIONS_SCHEMA, buckets_of
from semrec.errors import IncompleteRunError, MissingArtefactError
from semrec.release.reader import Release
from semrec.release.sources import source_named
from semrec.runs.plan import RunInputs, run_folder, run_inputs
from semrec.scoring.approximate import ApproximateEngine, merge_lists
from semrec.scoring.engine import Engine
from semrec.scoring.reference import ReferenceEngine
from semrec.settings import VerifySettings
from semrec.workspace.digests import content_digest, sha256_hex
from semrec.workspace.ledger import Ledger, PartRecord, PlannedPart
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import RunManifest
from semrec.workspace.records import PartFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["Verification", "read_verification", "verify_run"]

_DEFAULTS = VerifySettings()


class Verification(Manifest):
    """The result of `verify`. `bad_parts` are done again by the next `score`."""

    KIND = "verification"
    PATH = "runs/{}/verified.json"
    REMEDY = "Run `semrec verify` again."

    run: str
    content_digest: str
    num_parts: int
    num_users: int
    num_rescored: int
    bad_parts: list[int]
    problems: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_run(storage: Storage, run_id: str, *, num_sampled: int = _DEFAULTS.num_sampled_users) -> Verification:
    """Re-hashes every part, checks users, order and lengths, and rescores `num_sampled` users with the reference engine.

    Approximate lists are held against the reference of their rule.

    Writes `runs/<run>/verified.json`, which `publish` asks for and `score` repairs from. Raises IncompleteRunError for a
    run that is not finished, CorruptArtefactError for a release whose matrix is not the recorded one.
    """
    folder = run_folder(run_id)
    if not RunManifest.exists(storage, run_id):
        raise IncompleteRunError(
            f"run {run_id} has no manifest", expected="a finished run", remedy="Run `semrec score`."
        )
    manifest = RunManifest.read(storage, run_id, remedy="Run `semrec score`.")
    ledger = Ledger(storage, folder)
    plan, records = ledger.plan(), ledger.records()
    inputs = run_inputs(plan)
    release, k = Release(storage, inputs.release), inputs.k
    release.check()
    faults = {p.part: _part_fault(release, records.get(p.part), p.part, k) for p in plan.parts}
    named = {part.part: part for part in manifest.parts}
    stale = [part for part in faults if not faults[part] and PartFile.of(part, records[part].table) != named.get(part)]
    faults |= dict.fromkeys(stale, "the run's manifest names other bytes than its record")  # a repair ended before it
    good = [p for p in plan.parts if not faults[p.part]]
    sampled = _sample(good, num_sampled)
    faults |= {part: fault for part, fault in _sample_faults(release, records, sampled, inputs) if fault}
    problems = {part: fault for part, fault in sorted(faults.items()) if fault}
    verification = Verification(
        run=run_id,
        content_digest=manifest.content_digest,
        num_parts=len(plan.parts),
        num_users=sum(p.num_rows for p in good),
        num_rescored=len(sampled),
        bad_parts=list(problems),
        problems=[f"part {part}: {fault}" for part, fault in problems.items()],
    )
    verification.write(storage, run_id)
    return verification


def read_verification(storage: Storage, run_id: str) -> Verification | None:
    """Reads the last verification of a run, or None."""
    return Verification.read_if_there(storage, run_id)


def _part_fault(release: Release, record: PartRecord | None, part: int, k: int) -> str | None:
    """Returns the fault of a part, or None."""
    if record is None:
        return "it is not committed"
    try:
        data = release.storage.read_bytes(record.table.file)
    except MissingArtefactError:
        return f"{record.table.file} is missing"
    if sha256_hex(data) != record.table.sha256:
        return f"{record.table.file} has {len(data)} bytes and another SHA-256 than recorded"
    table = pq.read_table(pa.BufferReader(data))
    if not table.schema.equals(RECOMMENDATIONS_SCHEMA):
        return f"{record.table.file} has another schema"
    if content_digest(table) != record.table.content_digest:
        return f"{record.table.file} has other rows than recorded"
    return _users_fault(release, table, part) or _lists_fault(table, k)


def _users_fault(release: Release, table: pa.Table, part: int) -> str | None:
    """Returns the fault of a part's users, or None. Parts are disjoint because ids are ascending and each hashes to its part;
    complete because they equal the release's.
    """
    expected = read_table(release.storage, release.manifest.users[part], ["user_id"]).column("user_id")
    users = table.column("user_id")
    if not users.equals(expected):
        return "its users are not those of the release"
    num_parts = len(release.manifest.users)
    if len(users) and (buckets_of(users.combine_chunks(), num_parts) != part).any():
        return "it holds users of another part"
    encoded = [user.encode() for user in users.to_pylist()]
    if any(a >= b for a, b in itertools.pairwise(encoded)):
        return "its users are not ascending and distinct"
    return None


def _lists_fault(table: pa.Table, k: int) -> str | None:
    scores = table.column("scores").combine_chunks()
    items = table.column("item_ids").combine_chunks()
    lengths = scores.value_lengths().to_numpy(zero_copy_only=False)
    if not np.array_equal(lengths, items.value_lengths().to_numpy(zero_copy_only=False)):
        return "a user's items and scores differ in number"
    if (lengths > k).any() or (table.column("short_reason").is_valid().to_numpy() != (lengths < k)).any():
        return f"a list is not K = {k} long and no reason is given"
    flat = scores.flatten().to_numpy(zero_copy_only=False)
    inside = np.ones(max(len(flat) - 1, 0), bool)
    edges = np.cumsum(lengths)[:-1]
    inside[edges[(edges > 0) & (edges < len(flat))] - 1] = False
    if (np.diff(flat) > 0)[inside].any():
        return "a list is not in descending order of score"
    owners = np.repeat(np.arange(len(lengths)), lengths)
    codes = items.flatten().indices.to_numpy(zero_copy_only=False)
    if len(np.unique(owners.astype(np.int64) * (2**31) + codes)) != len(codes):
        return "a list names an item twice"
    return None


def _sample(parts: list[PlannedPart], num_sampled: int) -> list[tuple[int, int]]:
    """Chooses users spread evenly over `parts`, as (part, place in the part): the same ones every time."""
    total = sum(p.num_rows for p in parts)
    # A set, because fewer users than samples give a place twice.
    places = {int(place) for place in np.linspace(0, total - 1, num_sampled)} if total else set()
    chosen, start = [], 0
    for p in parts:
        chosen += [(p.part, place - start) for place in sorted(places) if start <= place < start + p.num_rows]
        start += p.num_rows
    return chosen


def _sample_faults(
    release: Release, records: dict[int, PartRecord], sampled: list[tuple[int, int]], inputs: RunInputs
) -> Iterator[tuple[int, str | None]]:
    if not sampled:
        return
    engines, rule = dict[str, Engine | ApproximateEngine](), inputs.approximate
    for source in release.sources:
        items = source.items(release)
        fetching = rule and source.approximate_engine(items, ReferenceEngine.name, rule)
        engines[source.name] = fetching or ReferenceEngine(items)
    for part, place in sampled:
        yield part, _user_fault(release, records[part], part, place, inputs.k, engines)


def _user_fault(
    release: Release,
    record: PartRecord,
    part: int,
    place: int,
    k: int,
    engines: Mapping[str, Engine | ApproximateEngine],
) -> str | None:
    users = release.user_part(part)
    source = source_named(users.source_of(place))
    answer = engines[source.name].top_k(source.queries(users.queries.take(np.array([place]))), k)
    expected = merge_lists([answer], k)
    row = read_table(release.storage, record.table).slice(place, 1)
    same_items = row.column("item_ids")[0].as_py() == release.ids.take(expected.rows).to_pylist()
    stored = np.array(row.column("scores")[0].as_py(), np.float32)
    if same_items and stored.tobytes() == expected.scores.tobytes():
        return None
    return f"user {users.user_ids[place].as_py()!r} has another list than the reference engine gives"
