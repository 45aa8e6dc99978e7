"""Every user has a source that the release lists, and every list of a run says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.whole_path import make_world, release, score
from semrec.contracts import bucket_of
from semrec.errors import CorruptArtefactError, InputError
from semrec.release.reader import Release
from semrec.release.sources import SOURCES
from semrec.runs.plan import plan_run, run_folder
from semrec.runs.worker import ScoreWorker
from semrec.settings import ScoreSettings
from semrec.workspace.tables import read_table


def test_queries_go_to_the_engine_of_their_source(tmp_path: Path) -> None:
    world = make_world(tmp_path, silent_users=["nobody-1", "nobody-2"])
    opened = Release(world.storage, release(world).release_id)
    assert [source.name for source in opened.sources] == ["personal", "popularity"] == list(SOURCES)
    plan = plan_run(opened, ScoreSettings(k=3))
    halves = [
        ScoreWorker(world.storage, run_folder(plan.run_id), plan, start=start, stop=stop)
        for start, stop in ((0, 3), (3, 8))
    ]
    part = bucket_of("nobody-1", 4)
    users = opened.user_part(part)
    user_ids = users.user_ids.to_pylist()
    silent = [place for place, user in enumerate(user_ids) if user.startswith("nobody")]
    assert users.of_source("popularity").tolist() == silent
    assert [users.source_of(place) for place in silent] == ["popularity"] * len(silent)
    results = [half.score_shard(part) for half in halves]
    for result in results:
        assert {name: top.num_queries for name, top in result.by_source.items()} == {
            "personal": len(user_ids) - len(silent),
            "popularity": len(silent),
        }
    record = halves[0].commit_part(part, *results)
    table = read_table(world.storage, record.table)
    assert table.column("source").to_pylist() == [
        "popularity" if n in silent else "personal" for n in range(len(user_ids))
    ]
    scores = dict(zip(user_ids, table.column("scores").to_pylist(), strict=True))["nobody-1"]
    assert scores == sorted(opened.popularity_shard().vectors()[:, 0].tolist(), reverse=True)[:3]


def test_a_source_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    built = release(world)
    score(world)
    path = f"releases/{built.release_id}/manifest.json"
    manifest = world.storage.read_json(path)
    world.storage.write_json(path, {**manifest, "sources": ["personal", "oracle"]})
    with pytest.raises(InputError, match="source 'oracle'; expected personal or popularity"):
        _ = Release(world.storage, built.release_id).sources
    world.storage.write_json(path, {**manifest, "sources": ["popularity"]})
    with pytest.raises(CorruptArtefactError, match="another source than popularity"):
        Release(world.storage, built.release_id).user_part(0)
