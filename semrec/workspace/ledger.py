"""Keeps the ledger of a run: its plan, and which parts are committed.

A run is a folder: `plan.json` first, one record per committed part in `ledger/`, `manifest.json` last. Scoring, embedding and
the user parts of a release all keep theirs here, so all of them resume in the same way.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeVar

from semrec.contracts import CONTRACT_VERSION, SCHEMA_VERSION, part_name
from semrec.errors import CorruptArtefactError, IncompleteRunError, PlanChangedError
from semrec.machine import resident_bytes
from semrec.workspace.digests import fingerprint
from semrec.workspace.manifest import read_manifest, write_manifest
from semrec.workspace.manifests import FinishedManifest, PlanManifest
from semrec.workspace.records import PartFile, TableFile
from semrec.workspace.storage import Storage, json_bytes

__all__ = ["Ledger", "PartRecord", "Plan", "PlannedPart", "build_info", "sum_counts"]

_F = TypeVar("_F", bound=FinishedManifest)
_READ_THREADS = 16


@dataclass(frozen=True)
class PlannedPart:
    """One unit of work: its number, the fingerprint of all that its bytes depend on, and how many rows it will have."""

    part: int
    fingerprint: str
    num_rows: int


@dataclass(frozen=True)
class Plan:
    """The parts and settings of a run. `settings` holds what all parts share; the id is the fingerprint of everything here."""

    kind: str
    settings: dict[str, Any]
    parts: tuple[PlannedPart, ...]

    @property
    def run_id(self) -> str:
        """16 hexadecimal digits; the same plan gives the same id, so a resubmission finds its own run."""
        body = self.manifest().to_json()
        return fingerprint(body)[:16]

    def manifest(self) -> PlanManifest:
        """Returns the plan as it is stored."""
        parts = tuple((p.part, p.fingerprint, p.num_rows) for p in self.parts)
        return PlanManifest(contract=CONTRACT_VERSION, plan_kind=self.kind, settings=self.settings, parts=parts)

    @classmethod
    def of(cls, stored: PlanManifest) -> Plan:
        """Reads the plan from its manifest."""
        return cls(stored.plan_kind, stored.settings, tuple(PlannedPart(*part) for part in stored.parts))


@dataclass(frozen=True)
class PartRecord:
    """A committed part: its file, its digests, and what was counted while it was made."""

    part: int
    fingerprint: str
    table: TableFile
    counts: dict[str, int] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)  # build and host; recorded, never compared

    def to_json(self) -> dict[str, Any]:
        """Returns the record as it is stored: the keys of `table` stand beside the others."""
        own = {"part": self.part, "fingerprint": self.fingerprint, "counts": self.counts, "made_by": self.made_by}
        return {**own, **self.table.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PartRecord:
        """Reads a stored record. Raises KeyError or ValueError for what is none."""
        table = TableFile.model_validate({name: value[name] for name in TableFile.model_fields})
        return cls(value["part"], value["fingerprint"], table, value["counts"], value["made_by"])


class Ledger:
    """The record of one run, in `folder` of a workspace."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.storage, self.folder = storage, folder

    def __reduce__(self) -> tuple[object, ...]:
        return (Ledger, (self.storage, self.folder))

    def open(self, plan: Plan) -> None:
        """Records the plan, or checks that the one recorded is the same. Raises PlanChangedError naming the difference."""
        path = f"{self.folder}/plan.json"
        planned = plan.manifest()
        body = {**planned.to_json(), "kind": planned.KIND, "schema": SCHEMA_VERSION}
        if self.storage.create_exclusive(path, json_bytes(body)):
            return
        differences = _differences(self._recorded(), planned)
        if differences:
            raise PlanChangedError(
                f"{self.folder} was planned otherwise: {'; '.join(differences[:5])}",
                expected="the plan that the run started with",
                remedy="Submit with the run's settings and inputs, or start a new run.",
            )

    def plan(self) -> Plan:
        """Reads the recorded plan. Raises MissingArtefactError when the run does not exist."""
        return Plan.of(self._recorded())

    def records(self) -> dict[int, PartRecord]:
        """Reads the committed parts. A record that cannot be read counts as absent, so its part is done again."""
        names = [name for name in self.storage.list_sizes(f"{self.folder}/ledger") if name.endswith(".json")]
        with ThreadPoolExecutor(_READ_THREADS) as pool:
            records = pool.map(self._read_record, names)
        return {record.part: record for record in records if record}

    def commit(self, record: PartRecord) -> bool:
        """Creates the part's record; the part's file must already be in place. False when another worker was first.

        A committed record that cannot be read, or names other bytes (a repair under another build), is replaced.
        """
        path = self._record_path(record.part)
        data = json_bytes({"kind": "part", "schema": SCHEMA_VERSION, **record.to_json()})
        if self.storage.create_exclusive(path, data):
            return True
        committed = self._read_record(path.rsplit("/", 1)[1])
        if committed is None or committed.table != record.table or committed.fingerprint != record.fingerprint:
            self.storage.write_bytes(path, data)
        return False

    def pending(self, plan: Plan) -> tuple[list[int], dict[int, PartRecord]]:
        """Returns the parts still to do, and the records of the committed ones.

        A record counts when its fingerprint is the planned one and its file is there with the recorded size; altered bytes
        of equal size are `verify`'s to find.
        """
        records = self.records()
        sizes = _Sizes(self.storage)
        committed = {
            p.part: records[p.part]
            for p in plan.parts
            if p.part in records
            and records[p.part].fingerprint == p.fingerprint
            and sizes.get(records[p.part].table.file) == records[p.part].table.num_bytes
        }
        return [p.part for p in plan.parts if p.part not in committed], committed

    def finished_records(self, plan: Plan) -> list[PartRecord]:
        """Reads the records of all planned parts, in order. Raises IncompleteRunError naming the parts that are missing."""
        missing, records = self.pending(plan)
        if missing:
            raise IncompleteRunError(
                f"{len(missing)} of {len(plan.parts)} parts of {self.folder} are not committed ({_some(missing)})",
                expected="every planned part",
                remedy="Submit the same command again: only these parts are done.",
            )
        return [records[p.part] for p in plan.parts]

    def finish(self, plan: Plan, kind: type[_F], fields: Mapping[str, object]) -> _F:
        """Writes `manifest.json`, the completion marker, last: of `kind`, whose own `fields` are added to those of all.

        Raises IncompleteRunError as `finished_records` does.
        """
        records = self.finished_records(plan)
        manifest = kind.model_validate(
            {
                "plan": plan.run_id,
                "num_rows": sum(r.table.num_rows for r in records),
                "content_digest": fingerprint([r.table.content_digest for r in records]),
                "counts": sum_counts(r.counts for r in records),
                "parts": tuple(PartFile.of(r.part, r.table) for r in records),
                **fields,
            }
        )
        write_manifest(self.storage, f"{self.folder}/manifest.json", manifest)
        return manifest

    def _recorded(self) -> PlanManifest:
        return read_manifest(self.storage, f"{self.folder}/plan.json", PlanManifest, remedy="Start the run.")

    def _record_path(self, part: int) -> str:
        return f"{self.folder}/ledger/{part_name(part)}.json"

    def _read_record(self, name: str) -> PartRecord | None:
        try:
            return PartRecord.from_json(self.storage.read_json(f"{self.folder}/ledger/{name}"))
        except (CorruptArtefactError, KeyError, TypeError, ValueError):
            return None


class _Sizes:
    """File sizes with one listing per folder, so that a resume costs O(parts) and not a request per file."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._folders = storage, dict[str, dict[str, int]]()

    def get(self, path: str) -> int | None:
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._storage.list_sizes(folder)
        return self._folders[folder].get(name)


def sum_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Adds up dictionaries of counts by name."""
    total: dict[str, int] = {}
    for part_counts in counts:
        for name, value in part_counts.items():
            total[name] = total.get(name, 0) + value
    return total


def build_info() -> dict[str, Any]:
    """Returns the build and process that made a part: recorded beside the digest, never part of a fingerprint."""
    versions = {name: version(name) for name in ("numpy", "pyarrow", "torch")}
    host = {"host": platform.node(), "machine": platform.machine(), "python": platform.python_version()}
    return {**host, **versions, "peak_memory_bytes": resident_bytes()["peak_resident_bytes"]}


def _differences(old: PlanManifest, new: PlanManifest) -> list[str]:
    """Lists the differences between two plans, a phrase each."""
    versions = (("contract", old.contract, new.contract), ("plan_kind", old.plan_kind, new.plan_kind))
    differences = [f"{name} was {before}, is {after}" for name, before, after in versions if before != after]
    for name in sorted(old.settings.keys() | new.settings.keys()):
        before, after = old.settings.get(name), new.settings.get(name)
        if before != after:
            differences.append(f"{name} was {before!r}, is {after!r}")
    before_parts, after_parts = ({part[0]: part for part in plan.parts} for plan in (old, new))
    changed = sorted(p for p in before_parts.keys() | after_parts.keys() if before_parts.get(p) != after_parts.get(p))
    return [*differences, f"the inputs of parts {_some(changed)} changed"] if changed else differences


def _some(parts: list[int]) -> str:
    shown = ", ".join(map(str, parts[:8]))
    return f"{shown} and {len(parts) - 8} more" if len(parts) > 8 else shown
