"""Embedding runs: only what changed, never lost, never a damaged source, never a half-made manifest."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.compute import InProcess
from cluster.stages.embed import EmbedResult, embed_catalogue
from semrec.contracts import bucket_of, text_hash
from semrec.encoders import worker as worker_module
from semrec.encoders.identity import text_identity
from semrec.encoders.plan import finish_embedding, plan_embedding
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.text import TextEncoder
from semrec.encoders.worker import EmbedWorker
from semrec.errors import CorruptArtefactError, IncompleteRunError, MissingArtefactError, TooManyRejectedError
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, sum_counts
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest
from semrec.workspace.tables import read_table

pytestmark = pytest.mark.usefixtures("model_installed")

SETTINGS = EmbedSettings(device="cpu")
_SUBJECTS = (
    "A fisherman",
    "Two sisters",
    "The last conductor",
    "A retired spy",
    "The village doctor",
    "A chess prodigy",
)
_DEEDS = ("finds a letter", "loses the map", "waits for the train", "learns to swim")
ITEMS = {f"item-{s}{d}": f"{_SUBJECTS[s]} {_DEEDS[d]}." for s in range(6) for d in range(4)}
ITEMS["twin"] = ITEMS["item-00"]


@dataclass(frozen=True)
class Report:
    """What one submission did: `items` and `rejected` count items, `embedded` and `reused` distinct texts."""

    name: str
    run_id: str
    fingerprint: str
    items: int
    embedded: int
    reused: int  # known from earlier runs, or committed by an earlier submission of this one
    rejected: int
    num_parts: int
    parts_done: int


def _embed(workspace: Workspace, **options) -> Report:
    result: EmbedResult = embed_catalogue(
        workspace, SETTINGS, compute=InProcess("cpu"), progress=NoProgress(), **options
    )
    run_id = result.manifest.run
    ledger = Ledger(workspace.storage, f"embeddings/{result.name}/runs/{run_id}")
    counts = sum_counts(record.counts for record in ledger.records().values())
    embedded = result.parts.computed_counts.get("embedded", 0)
    return Report(
        name=result.name,
        run_id=run_id,
        fingerprint=result.manifest.fingerprint,
        items=counts.get("items", 0),
        embedded=embedded,
        reused=counts.get("embedded", 0) + counts.get("reused", 0) - embedded,
        rejected=counts.get("rejected", 0),
        num_parts=result.parts.planned,
        parts_done=result.parts.computed,
    )


def _manifest(workspace: Workspace, name: str) -> EmbeddingManifest:
    return EmbeddingManifest.read(workspace.storage, name)


def _vectors(workspace: Workspace, name: str) -> dict[str, list[float]]:
    vectors: dict[str, list[float]] = {}
    for part in _manifest(workspace, name).parts:
        table = read_table(workspace.storage, part)
        ids = table["item_id"].to_pylist()
        assert ids == sorted(ids, key=str.encode)
        vectors.update(zip(ids, table["vector"].to_pylist(), strict=True))
    return vectors


def _part_of(text: str, num_parts: int = 4) -> int:
    return bucket_of(text_hash(text), num_parts)


@pytest.fixture(autouse=True)
def loaded_once(encoder, monkeypatch):
    """Workers get the one encoder of the session, which is what they would load: it spares a second each."""

    def shared(identity, settings, *, num_threads):
        assert (identity, settings.device) == (encoder.identity, "cpu")
        return encoder

    monkeypatch.setattr(TextEncoder, "load", shared)


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test when anything loads the model."""

    def refuse(*args, **kwargs):
        raise AssertionError("the model was loaded")

    return lambda: monkeypatch.setattr(TextEncoder, "load", refuse)


def test_every_item_gets_its_text_s_vector_and_duplicates_are_embedded_once(workspace, write_catalogue, encoder):
    write_catalogue(ITEMS)
    report = _embed(workspace)
    assert (report.items, report.embedded, report.reused, report.rejected) == (25, 24, 0, 0)
    assert (report.num_parts, report.parts_done) == (4, 4)
    records = Ledger(workspace.storage, f"embeddings/{report.name}/runs/{report.run_id}").records()
    assert sorted(records) == [0, 1, 2, 3]
    assert records[0].made_by["device"].startswith("cpu")
    assert {record.counts["halved_calls"] for record in records.values()} == {0}

    vectors = _vectors(workspace, report.name)
    expected_ND, _ = encoder.embed([ITEMS[item] for item in vectors])
    assert vectors.keys() == ITEMS.keys()
    assert list(vectors.values()) == expected_ND.tolist()
    manifest = _manifest(workspace, report.name)
    assert (manifest.num_items, manifest.num_rejected, manifest.dimension) == (25, 0, 384)
    assert manifest.encoder == encoder.identity.to_json()
    assert manifest.fingerprint == report.fingerprint
    catalogue = CatalogueManifest.read(workspace.storage)
    assert manifest.catalogue == catalogue.fingerprint


def test_nothing_changed_nothing_done(workspace, write_catalogue, no_model):
    write_catalogue(ITEMS)
    first = _embed(workspace)
    no_model()
    again = _embed(workspace)
    assert (again.embedded, again.reused, again.parts_done) == (0, 24, 0)
    assert (again.fingerprint, again.run_id) == (first.fingerprint, first.run_id)


def test_one_changed_text_is_embedded_alone_and_equals_a_full_run(workspace, write_catalogue, tmp_path):
    write_catalogue(ITEMS)
    _embed(workspace)
    changed = {**ITEMS, "item-11": "An orchestra gets lost in the fog."}
    write_catalogue(changed)
    report = _embed(workspace)
    assert (report.embedded, report.reused, report.parts_done) == (1, 23, 4)

    fresh = Workspace.create(str(tmp_path / "fresh"))
    write_catalogue(changed, to=fresh)
    assert _embed(fresh).fingerprint == report.fingerprint


def test_unchanged_parts_are_taken_over_without_writing(workspace, write_catalogue, monkeypatch):
    write_catalogue(ITEMS)
    first = _manifest(workspace, _embed(workspace).name)
    written = []
    write = worker_module.write_table
    monkeypatch.setattr(worker_module, "write_table", lambda *args: written.append(args[1]) or write(*args))
    new = "A comet passes and nobody looks up."
    write_catalogue({**ITEMS, "new": new})
    report = _embed(workspace)
    assert written == [f"embeddings/{report.name}/part-0000{_part_of(new)}"]
    assert (report.embedded, report.reused) == (1, 24)
    same = [old == now for old, now in zip(first.parts, _manifest(workspace, report.name).parts, strict=True)]
    assert same == [part != _part_of(new) for part in range(4)]


def test_a_damaged_unchanged_part_is_not_taken_over(workspace, write_catalogue):
    write_catalogue(ITEMS)
    first = _manifest(workspace, _embed(workspace).name)
    new = "A comet passes and nobody looks up."
    part = (_part_of(new) + 1) % 4
    path = Path(workspace.uri) / first.parts[part].file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    write_catalogue({**ITEMS, "new": new})
    report = _embed(workspace)
    num_lost = len({text for text in ITEMS.values() if _part_of(text) == part})
    assert num_lost > 0
    assert (report.embedded, report.reused) == (num_lost + 1, 24 - num_lost)
    assert _manifest(workspace, report.name).parts[part] == first.parts[part]
    assert len(_vectors(workspace, report.name)) == 26


def test_rejected_items_stand_in_every_run_s_quarantine(workspace, write_catalogue):
    write_catalogue({**ITEMS, "void": ""})
    first = _embed(workspace, max_rejected=0.1)
    new = next(
        f"{word} alone."
        for word in ("Fog", "Rain", "Salt", "Iron", "Wool")
        if _part_of(f"{word} alone.") != _part_of("")
    )
    write_catalogue({**ITEMS, "void": "", "new": new})
    second = _embed(workspace, max_rejected=0.1)
    assert (second.run_id != first.run_id, second.embedded, second.reused, second.rejected) == (True, 1, 24, 1)
    names = workspace.storage.list_sizes("quarantine/embed")
    assert sorted(name.split("-")[0] for name in names) == sorted([first.run_id, second.run_id])


@pytest.mark.parametrize("num_parts", [1, 2, 16])
def test_another_number_of_parts_needs_no_model(workspace, write_catalogue, no_model, num_parts):
    write_catalogue(ITEMS, 4)
    first = _embed(workspace)
    before = _vectors(workspace, first.name)
    no_model()
    write_catalogue(ITEMS, num_parts)
    report = _embed(workspace)
    assert (report.embedded, report.reused, report.num_parts) == (0, 24, num_parts)
    assert _vectors(workspace, first.name) == before


def test_vectors_committed_before_a_kill_serve_a_changed_catalogue(workspace, write_catalogue):
    write_catalogue(ITEMS)
    identity = text_identity(SETTINGS)
    job = plan_embedding(workspace, identity)
    Ledger(workspace.storage, job.run_folder).open(job.plan)
    worker = EmbedWorker(workspace, job, SETTINGS)
    committed = [worker.run_part(part) for part in (0, 2)]  # and then the driver was killed
    with pytest.raises(IncompleteRunError, match=r"2 of 4 parts .* \(1, 3\)"):
        finish_embedding(workspace, job)

    write_catalogue({**ITEMS, "new": "A comet passes and nobody looks up."}, 8)
    report = _embed(workspace)
    num_done = sum(record.counts["embedded"] for record in committed)
    assert num_done == len({text for text in ITEMS.values() if _part_of(text) in (0, 2)})
    assert (report.reused, report.embedded) == (num_done, 24 - num_done + 1)


def test_a_killed_run_goes_on_where_it_stopped(workspace, write_catalogue, tmp_path):
    write_catalogue(ITEMS)
    job = plan_embedding(workspace, text_identity(SETTINGS))
    ledger = Ledger(workspace.storage, job.run_folder)
    ledger.open(job.plan)
    EmbedWorker(workspace, job, SETTINGS).run_part(1)
    report = _embed(workspace)
    assert (report.run_id, report.parts_done) == (job.plan.run_id, 3)
    fresh = Workspace.create(str(tmp_path / "fresh"))
    write_catalogue(ITEMS, to=fresh)
    assert _embed(fresh).fingerprint == report.fingerprint


def test_texts_without_a_vector_are_quarantined_with_the_reason(workspace, write_catalogue):
    write_catalogue({**ITEMS, "blank": " ", "void": ""})
    report = _embed(workspace, max_rejected=0.1)
    assert (report.items, report.embedded, report.rejected) == (27, 24, 2)
    assert _vectors(workspace, report.name).keys() == ITEMS.keys()
    folder = Path(workspace.uri) / "quarantine" / "embed"
    rows = [
        row for file in sorted(folder.glob(f"{report.run_id}-*.parquet")) for row in pq.read_table(file).to_pylist()
    ]
    assert sorted((row["reason"], row["row"]) for row in rows) == [("empty text", "blank:  "), ("empty text", "void: ")]
    assert all(row["file"].startswith("catalogue/items-") for row in rows)
    assert _manifest(workspace, report.name).num_rejected == 2


def test_too_many_rejected_leave_the_old_manifest_and_keep_the_new_vectors(workspace, write_catalogue, no_model):
    write_catalogue(ITEMS)
    report = _embed(workspace)
    before = workspace.storage.read_bytes(f"embeddings/{report.name}/manifest.json")
    write_catalogue({**ITEMS, "new": "A comet passes and nobody looks up.", "void": ""})
    with pytest.raises(TooManyRejectedError, match=r"1 of 27 items have no vector; expected at most 1\.00%"):
        _embed(workspace)
    assert workspace.storage.read_bytes(f"embeddings/{report.name}/manifest.json") == before

    no_model()
    write_catalogue({**ITEMS, "new": "A comet passes and nobody looks up."})
    mended = _embed(workspace)
    assert (mended.embedded, mended.reused, mended.rejected) == (0, 25, 0)


def test_a_damaged_source_is_embedded_again(workspace, write_catalogue):
    write_catalogue(ITEMS)
    report = _embed(workspace)
    before = _vectors(workspace, report.name)
    damaged = _manifest(workspace, report.name).parts[2]
    path = Path(workspace.uri) / damaged.file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)

    write_catalogue(ITEMS, 8)
    again = _embed(workspace)
    num_lost = Counter(_part_of(text) for text in set(ITEMS.values()))[2]
    assert num_lost > 0
    assert (again.embedded, again.reused) == (num_lost, 24 - num_lost)
    assert _vectors(workspace, report.name) == before


def test_a_changed_catalogue_file_is_fatal_by_name(workspace, write_catalogue):
    write_catalogue(ITEMS)
    job = plan_embedding(workspace, text_identity(SETTINGS))
    path = Path(workspace.uri) / job.sources[1].file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptArtefactError, match="catalogue/items-00001-"):
        EmbedWorker(workspace, job, SETTINGS).run_part(1)


def test_no_catalogue_says_what_to_run(workspace):
    with pytest.raises(MissingArtefactError, match="Run `semrec import`"):
        _embed(workspace)


def test_an_empty_catalogue_is_an_empty_embedding(workspace, write_catalogue, no_model):
    write_catalogue({}, 2)
    no_model()
    report = _embed(workspace)
    assert (report.items, report.embedded, _vectors(workspace, report.name)) == (0, 0, {})


def test_job_and_worker_travel(workspace, write_catalogue, monkeypatch):
    monkeypatch.undo()  # the encoder is loaded as an actor would
    write_catalogue(ITEMS)
    job = plan_embedding(workspace, text_identity(SETTINGS))
    assert pickle.loads(pickle.dumps(job)) == job
    worker = pickle.loads(pickle.dumps(EmbedWorker(workspace, job, SETTINGS)))
    assert worker.run_part(0).counts["items"] == job.sources[0].num_rows
