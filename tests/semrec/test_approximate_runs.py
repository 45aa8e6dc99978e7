"""An approximate run is another run than the exact one, says how exact it is, and goes live only where that is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cluster.compute import InProcess
from cluster.stages import pipeline, verify
from cluster.stages.score import ScoreResult, score_users
from helpers.whole_path import NUM_BUCKETS, Event, events_table, release, score
from jobs.cli import app
from semrec.bench.generated import write_catalogue
from semrec.changes.overlay import OverlayView
from semrec.data import UserRow, import_interactions, import_users
from semrec.errors import IncompleteRunError, InputError, QualityLostError
from semrec.export.rankers import export_rankers
from semrec.online.answers import ScoredItem
from semrec.online.parity import check_parity, published_differs
from semrec.online.published import PublishedLists
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.progress import NoProgress
from semrec.runs.gates import Allowed
from semrec.runs.publish import publish, rollback
from semrec.runs.recall import measure_recall
from semrec.runs.status import read_status
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace
from semrec.workspace.recall import RecallManifest
from semrec.workspace.records import ApproximateRule
from semrec.workspace.tables import read_table

K, NUM_ITEMS, NUM_USERS = 4, 90, 40
ALLOWED = Allowed(approximate=True)


@pytest.fixture(autouse=True)
def no_more_than_k(monkeypatch: pytest.MonkeyPatch) -> None:
    """K rows are fetched for K: of so few items, ten times as many are all that matter."""
    monkeypatch.setattr("semrec.runs.plan.OVER_FETCH", 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A release of compressed items; one user is only listed."""
    made, rng = Workspace.create(str(tmp_path), num_buckets=NUM_BUCKETS), np.random.default_rng(7)
    write_catalogue(
        made, [f"item-{n:02d}" for n in range(NUM_ITEMS)], rng.standard_normal((NUM_ITEMS, 16)).astype(np.float32)
    )
    events: list[Event] = [
        (f"user-{user}", f"item-{item:02d}", 1.0, 1_000_000 + int(item))
        for user in range(NUM_USERS)
        for item in rng.choice(NUM_ITEMS, 3, replace=False)
    ]
    import_interactions(made, [events_table(events)])
    import_users(made, [UserRow("silent")])
    release(made, coarse_format="pq")
    return made


def approximate(workspace: Workspace, **options: object) -> ScoreResult:
    settings, compute = ScoreSettings(k=K, approximate=True), InProcess()
    return score_users(
        workspace, settings, **{"engine": "cpu", "compute": compute, "progress": NoProgress(), **options}
    )


def verified(workspace: Workspace, run_id: str) -> None:
    """Verifies a run as the command does: health and recall, too."""
    assert verify.verify(workspace, run_id, compute=InProcess(), progress=NoProgress(), num_sampled=99).problems == []


def lists_of(workspace: Workspace, result: ScoreResult) -> dict[str, list[str]]:
    tables = [read_table(workspace.storage, part) for part in result.manifest.parts]
    return {row["user_id"]: row["item_ids"] for table in tables for row in table.to_pylist()}


def test_it_is_another_run_with_other_parts_and_the_rule_in_its_manifest(workspace: Workspace) -> None:
    found, exact = approximate(workspace), score(workspace, k=K)
    assert found.run_id != exact.run_id
    assert found.manifest.approximate == ApproximateRule(coarse="pq", over_fetch=1)
    assert exact.manifest.approximate is None
    assert "approximate" not in exact.manifest.to_json()
    assert (found.parts.reused, exact.parts.reused) == (0, 0)
    lists, exact_lists = lists_of(workspace, found), lists_of(workspace, exact)
    assert lists.keys() == exact_lists.keys()
    assert {user for user, one in lists.items() if one != exact_lists[user]} not in (set(), set(lists))
    assert lists["silent"] == exact_lists["silent"]


def test_reference_shards_and_resumes_give_the_same_bytes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = approximate(workspace)
    monkeypatch.setattr("semrec.runs.worker._FETCHED_ROWS", 3 * K)  # three users at a time
    for options in ({"engine": "reference"}, {"num_shards": 3}, {}):
        storage, folder = workspace.storage, f"runs/{first.run_id}"
        redone = (0, 1, 2, 3) if options else (1, 2)
        for part in redone:
            storage.delete(f"{folder}/ledger/part-{part:05d}.json")
        storage.delete(f"{folder}/manifest.json")
        again = approximate(workspace, **options)
        assert (again.run_id, again.parts.computed) == (first.run_id, len(redone))
        assert again.manifest.content_digest == first.manifest.content_digest


def test_verification_holds_lists_against_the_rule(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = approximate(workspace)
    assert verify_run(workspace.storage, found.run_id, num_sampled=99).ok
    monkeypatch.setattr("semrec.release.sources.PersonalSource.approximate_engine", lambda *args, **more: None)
    assert not verify_run(workspace.storage, found.run_id, num_sampled=99).ok  # the exact lists are others


@pytest.mark.parametrize("num_users", [7, NUM_USERS + 5])
def test_the_recall_is_that_of_the_lists(workspace: Workspace, num_users: int) -> None:
    found, exact = approximate(workspace), score(workspace, k=K)
    assert measure_recall(workspace.storage, exact.run_id) is None
    recall = measure_recall(workspace.storage, found.run_id, num_users=num_users)
    assert recall is not None
    assert (recall.k, recall.num_users, recall.seed) == (K, min(num_users, NUM_USERS), 0)
    assert measure_recall(workspace.storage, found.run_id) == recall  # nothing changed
    lists, exact_lists = lists_of(workspace, found), lists_of(workspace, exact)
    shares = [len(set(lists[user]) & set(exact_lists[user])) / K for user in lists if user != "silent"]
    assert 0.3 < recall.recall < 1
    if num_users > NUM_USERS:
        assert recall.recall == pytest.approx(np.mean(shares))
        assert str(recall) == f"approximate, recall@4 {np.mean(shares):.4f} of 40 users"


def test_it_goes_live_only_verified_and_allowed_and_says_so(workspace: Workspace) -> None:
    run_id, storage = approximate(workspace).run_id, workspace.storage
    assert [run.lists for run in read_status(workspace).runs] == ["approximate, recall not measured"]
    with pytest.raises(IncompleteRunError):
        PublishedLists(storage, run_id)
    verified(workspace, run_id)
    with pytest.raises(QualityLostError, match=r"is approximate, recall@4 0\.\d+ of 40 users; .*--allow-approximate"):
        publish(storage, run_id)
    with pytest.raises(QualityLostError, match=r"has recall 0\.\d+; expected recall of at least 0\.99\."):
        publish(storage, run_id, Allowed(approximate=True, required=("recall>=0.99",)))
    assert publish(storage, run_id, Allowed(approximate=True, required=("recall>=0.1",))).run == run_id
    status = read_status(workspace)
    assert "approximate, recall@4 0." in str(status.live)
    assert status.runs[0].lists.endswith("of 40 users")
    recall = RecallManifest.read(storage, run_id)
    recall.model_copy(update={"content_digest": "of before a repair"}).write(storage, run_id)
    assert read_status(workspace).runs[0].lists == "approximate, recall not measured"
    storage.delete(f"runs/{run_id}/recall.json")
    with pytest.raises(IncompleteRunError, match="recall of the approximate run"):
        publish(storage, run_id, ALLOWED)


def test_a_rollback_needs_no_leave_but_the_recall(workspace: Workspace) -> None:
    found, exact, storage = approximate(workspace).run_id, score(workspace, k=K).run_id, workspace.storage
    for run_id in (found, exact):
        verified(workspace, run_id)
        publish(storage, run_id, ALLOWED)
    recall = RecallManifest.read(storage, found)
    storage.delete(f"runs/{found}/recall.json")
    with pytest.raises(IncompleteRunError, match="recall of the approximate run"):
        rollback(storage)
    assert "approximate" not in str(read_status(workspace).live)
    recall.write(storage, found)
    assert rollback(storage).run == found
    assert "approximate, recall@4 0." in str(read_status(workspace).live)


def test_an_exact_run_needs_no_leave(workspace: Workspace) -> None:
    run_id = score(workspace, k=K).run_id
    verified(workspace, run_id)
    assert publish(workspace.storage, run_id, Allowed(required=("recall>=1",))).run == run_id
    assert "approximate" not in str(read_status(workspace).live)


def test_an_export_tells_it_from_an_exact_run_of_the_same_lists(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semrec.runs.plan.OVER_FETCH", NUM_ITEMS)
    found, exact, there = approximate(workspace), score(workspace, k=K), tmp_path / "there"
    assert found.run_id != exact.run_id
    assert found.manifest.content_digest == exact.manifest.content_digest
    with pytest.raises(IncompleteRunError):
        export_rankers(workspace.storage, found.run_id, str(there), progress=NoProgress())
    verified(workspace, found.run_id)
    said = {b"approximate": b"approximate, recall@4 1.0000 of 40 users"}
    for run_id, metadata in ((found.run_id, said), (exact.run_id, None), (found.run_id, said)):
        export_rankers(workspace.storage, run_id, str(there), progress=NoProgress())
        assert [pq.read_schema(file).metadata for file in sorted(there.iterdir())] == [metadata] * NUM_BUCKETS
    assert export_rankers(workspace.storage, found.run_id, str(there), progress=NoProgress()).num_files == 0


def test_a_service_takes_it_and_tells_its_lists_from_others(workspace: Workspace) -> None:
    found = approximate(workspace)
    verified(workspace, found.run_id)
    served = OnlineRelease(workspace.storage, found.manifest.release, found.run_id)
    served.probe(99)
    for user_id, is_approximate in (("user-1", True), ("silent", False)):
        published = served.published(user_id)
        assert published is not None
        assert (published.recall is not None) == is_approximate
        (ranked,) = served.rank([rank_query_of(served.user(user_id), k=K)], OverlayView.empty())
        assert published_differs(ranked.hits, published) is None
        # What an approximate list may never be: better than the exact one, or the same item with another score.
        best = ranked.hits[0]._replace(score=np.float32(published.hits[0].score - 1))
        assert published_differs([best, *ranked.hits[1:]], published) is not None
        assert published_differs(ranked.hits[:-1], published) == f"{K - 1} items, published {K}"
        hidden = [*ranked.hits[:1], ScoredItem("hidden", ranked.hits[1].score), *ranked.hits[2:]]
        assert published_differs(ranked.hits, replace(published, hits=hidden)) is not None
        nudged = [hit._replace(score=np.nextafter(hit.score, np.float32(9))) for hit in published.hits]
        assert "the score of " in str(published_differs(nudged, published))
    report = check_parity(
        PublishedLists(workspace.storage, found.run_id),
        lambda user: {"release": found.manifest.release, "source": "personal", "items": []},
        3,
    )
    assert not report.ok


def test_the_commands_say_it_at_every_step(workspace: Workspace) -> None:
    def semrec(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, "-w", workspace.uri])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    here = ("--in-process", "--engine", "cpu", "--k", str(K))
    scored = semrec("score", *here, "--approximate")
    assert "for this call only: score.approximate = True (the default is False)" in scored
    assert "approximate lists of 1 K rows that codes put first" in scored
    run_id = approximate(workspace).run_id
    assert f"run {run_id}" in scored
    assert "approximate, recall@4 0." in semrec("verify", "--in-process")
    assert "say --allow-approximate" in semrec("publish", code=1)
    assert f"run {run_id}" in semrec("publish", "--allow-approximate")
    assert f"run {run_id}, approximate, recall@4 0." in semrec("status")
    assert "approximate, recall@4 0." in semrec("query", "--user", "user-1")
    semrec("config", "set", "score.approximate", "true")
    assert run_id not in semrec("score", *here, "--no-approximate")
    assert "approximate lists of items in the coarse format auto" in semrec("run", *here, "--allow-approximate", code=2)


def test_other_formats_and_engines_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="approximate lists by engine cuda"):
        approximate(workspace, engine="cuda")
    release(workspace)
    with pytest.raises(InputError, match="coarse format auto; expected a release whose format is pq"):
        approximate(workspace)


def test_the_whole_path_refuses_before_anything_is_computed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "embed_all", None)
    settings = Settings(score=ScoreSettings(approximate=True), release=ReleaseSettings(coarse_format="pq"))
    plain = settings.model_copy(update={"release": ReleaseSettings()})
    for given, allowed, error in ((settings, Allowed(), QualityLostError), (plain, ALLOWED, InputError)):
        with pytest.raises(error):
            pipeline.run_pipeline(
                workspace, given, compute=InProcess(), progress=NoProgress(), engine="cpu", allowed=allowed
            )
