"""What was planned is kept, what is committed is found again, and what is damaged counts as not done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from semrec.contracts import CONTRACT_VERSION, SCHEMA_VERSION
from semrec.errors import CorruptArtefactError, IncompleteRunError, MissingArtefactError, PlanChangedError, SchemaError
from semrec.workspace.digests import content_digest, fingerprint
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart, sum_counts
from semrec.workspace.manifests import PlanManifest, RunManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import write_table

FOLDER = "runs/r"
PLAN = Plan("scoring", {"k": 20, "release": "abc"}, tuple(PlannedPart(p, f"print-{p}", 3) for p in range(4)))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(Storage(str(tmp_path / "w")), FOLDER)
    found.open(PLAN)
    return found


def made(ledger: Ledger, part: int, *, rows: int = 3, print_of: str | None = None) -> PartRecord:
    """Writes the part's file and gives its record, not committed."""
    table = pa.table({"user_id": [f"{part}-{row}" for row in range(rows)]})
    file = write_table(ledger.storage, f"{FOLDER}/parts/part-{part:05d}", table, digest_in_name=False)
    return PartRecord(part, print_of or f"print-{part}", file, {"users": rows}, {"host": "h"})


def commit_all(ledger: Ledger) -> list[PartRecord]:
    records = [made(ledger, part) for part in range(4)]
    assert [ledger.commit(record) for record in records] == [True] * 4
    return records


def record_path(ledger: Ledger, part: int) -> Path:
    return Path(ledger.storage.full_path(f"{FOLDER}/ledger/part-{part:05d}.json"))


def test_the_run_id_is_the_fingerprint_of_the_plan() -> None:
    expected = {
        "contract": CONTRACT_VERSION,
        "plan_kind": "scoring",
        "settings": {"k": 20, "release": "abc"},
        "parts": [[0, "print-0", 3], [1, "print-1", 3], [2, "print-2", 3], [3, "print-3", 3]],
    }
    assert PLAN.run_id == fingerprint(expected)[:16]
    assert Plan.of(PlanManifest.model_validate(expected)) == PLAN
    assert Plan("scoring", PLAN.settings, PLAN.parts[:3]).run_id != PLAN.run_id


def test_the_same_plan_opens_again(ledger: Ledger) -> None:
    ledger.open(Plan("scoring", {"release": "abc", "k": 20}, PLAN.parts))
    assert ledger.plan() == PLAN


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (Plan("scoring", {"k": 10, "release": "abc"}, PLAN.parts), "k was 20, is 10"),
        (Plan("scoring", {"k": 20, "release": "xyz"}, PLAN.parts), "release was 'abc', is 'xyz'"),
        (Plan("scoring", {"k": 20}, PLAN.parts), "release was 'abc', is None"),
        (Plan("embedding", PLAN.settings, PLAN.parts), "plan_kind was scoring, is embedding"),
        (Plan("scoring", PLAN.settings, PLAN.parts[:2]), "the inputs of parts 2, 3 changed"),
        (
            Plan("scoring", PLAN.settings, (PlannedPart(0, "other", 3), *PLAN.parts[1:])),
            "the inputs of parts 0 changed",
        ),
        (
            Plan("scoring", {"k": 1, "release": "x"}, PLAN.parts[1:]),
            "k was 20, is 1; release was 'abc', is 'x'; the inputs of parts 0 changed",
        ),
    ],
)
def test_a_changed_plan_is_refused_by_name(ledger: Ledger, changed: Plan, message: str) -> None:
    with pytest.raises(PlanChangedError) as caught:
        ledger.open(changed)
    assert caught.value.got == f"{FOLDER} was planned otherwise: {message}"
    assert ledger.plan() == PLAN


def test_many_changed_parts_are_counted(tmp_path: Path) -> None:
    parts = tuple(PlannedPart(part, "a", 1) for part in range(12))
    ledger = Ledger(Storage(str(tmp_path)), FOLDER)
    ledger.open(Plan("scoring", {}, parts))
    with pytest.raises(PlanChangedError, match="the inputs of parts 0, 1, 2, 3, 4, 5, 6, 7 and 4 more changed"):
        ledger.open(Plan("scoring", {}, tuple(PlannedPart(part, "b", 1) for part in range(12))))


def test_a_changed_contract_is_refused_by_name(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.workspace.ledger.CONTRACT_VERSION", 12)
    path = f"{FOLDER}/plan.json"
    ledger.storage.write_json(path, {**ledger.storage.read_json(path), "contract": 11})
    with pytest.raises(PlanChangedError, match="contract was 11, is 12"):
        ledger.open(PLAN)


def test_a_run_that_was_not_begun_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=r"no runs/r/plan\.json"):
        Ledger(Storage(str(tmp_path)), FOLDER).plan()


def test_a_plan_of_a_newer_schema_is_refused(ledger: Ledger) -> None:
    body = ledger.storage.read_json(f"{FOLDER}/plan.json")
    newer = SCHEMA_VERSION + 1
    ledger.storage.write_json(f"{FOLDER}/plan.json", {**body, "schema": newer})
    with pytest.raises(SchemaError, match=rf"plan\.json has schema {newer}"):
        ledger.plan()


def test_a_commit_is_found_again(ledger: Ledger) -> None:
    records = commit_all(ledger)
    assert ledger.records() == dict(enumerate(records))
    assert ledger.pending(PLAN) == ([], dict(enumerate(records)))


def test_the_second_commit_of_the_same_bytes_changes_nothing(ledger: Ledger) -> None:
    record = made(ledger, 1)
    assert ledger.commit(record) is True
    before = record_path(ledger, 1).read_bytes()
    other_host = PartRecord(1, record.fingerprint, record.table, record.counts, {"host": "another"})
    assert ledger.commit(other_host) is False
    assert record_path(ledger, 1).read_bytes() == before


def test_of_many_commits_exactly_one_is_first(ledger: Ledger) -> None:
    record = made(ledger, 2)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda _: ledger.commit(record), range(32)))
    assert sum(won) == 1


def test_a_commit_of_other_bytes_replaces_the_record(ledger: Ledger) -> None:
    ledger.commit(made(ledger, 1))
    repaired = made(ledger, 1, rows=2)
    assert ledger.commit(repaired) is False
    assert ledger.records() == {1: repaired}


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(b"\x00\xff" + path.read_bytes()[2:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def stripped(path: Path) -> None:
    path.write_text('{"part": 1, "fingerprint": "print-1"}')


def listed(path: Path) -> None:
    path.write_text("[1]")


@pytest.mark.parametrize("damage", [emptied, garbled, cut, stripped, listed, Path.unlink])
def test_a_record_that_cannot_be_read_counts_as_absent(ledger: Ledger, damage: Callable[[Path], None]) -> None:
    records = commit_all(ledger)
    damage(record_path(ledger, 1))
    todo, standing = ledger.pending(PLAN)
    assert (todo, sorted(standing)) == ([1], [0, 2, 3])
    assert ledger.commit(records[1]) is (damage is Path.unlink)
    assert ledger.pending(PLAN)[0] == []


@pytest.mark.parametrize("damage", [cut, emptied, Path.unlink])
def test_a_part_whose_file_is_gone_or_cut_is_pending(ledger: Ledger, damage: Callable[[Path], None]) -> None:
    commit_all(ledger)
    damage(Path(ledger.storage.full_path(f"{FOLDER}/parts/part-00002.parquet")))
    assert ledger.pending(PLAN)[0] == [2]
    ledger.commit(made(ledger, 2))
    assert ledger.pending(PLAN)[0] == []


def test_a_part_made_from_other_inputs_is_pending(ledger: Ledger) -> None:
    commit_all(ledger)
    ledger.commit(made(ledger, 3, print_of="of another plan"))
    assert ledger.pending(PLAN)[0] == [3]


def test_an_unfinished_run_has_no_manifest_and_names_what_is_missing(ledger: Ledger) -> None:
    for part in (0, 2):
        ledger.commit(made(ledger, part))
    with pytest.raises(IncompleteRunError, match=r"2 of 4 parts of runs/r are not committed \(1, 3\)"):
        ledger.finish(PLAN, RunManifest, {})
    assert not ledger.storage.exists(f"{FOLDER}/manifest.json")


def test_a_finished_run_states_its_parts_in_order(ledger: Ledger) -> None:
    for part in (3, 1, 0, 2):
        ledger.commit(made(ledger, part))
    finished = ledger.finish(PLAN, RunManifest, {"run": "r", "as_of": None, **PLAN.settings})
    manifest = RunManifest.read(ledger.storage, "r")
    assert manifest == finished
    digests = [content_digest(pa.table({"user_id": [f"{part}-{row}" for row in range(3)]})) for part in range(4)]
    assert [part.part for part in manifest.parts] == [0, 1, 2, 3]
    assert [part.content_digest for part in manifest.parts] == digests
    assert manifest.content_digest == fingerprint(digests)
    assert (manifest.num_rows, manifest.counts) == (12, {"users": 12})
    assert (manifest.plan, manifest.release) == (PLAN.run_id, "abc")


def test_a_damaged_plan_is_named(ledger: Ledger) -> None:
    cut(Path(ledger.storage.full_path(f"{FOLDER}/plan.json")))
    with pytest.raises(CorruptArtefactError, match=r"runs/r/plan\.json"):
        ledger.open(PLAN)


def test_counts_add_up_by_name() -> None:
    assert sum_counts([{"a": 1}, {}, {"a": 2, "b": 5}]) == {"a": 3, "b": 5}
