"""Learned models go the same way as the content model: fitted with a release, scored, verified, folded in, explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from helpers.serving_world import make_world, put
from semrec.changes.events import Event
from semrec.changes.overlay import OverlayView
from semrec.online.explain import explain
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.progress import NoProgress
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.manifests import ModelSpec

NOTHING = OverlayView.empty()
MODELS = (
    ModelSpec(kind="content", weights=((0, 1.0), (8, 0.0))),  # who has more events has no part of it in a score
    ModelSpec(kind="nsvd", settings={"dimension": 4}, weights=((0, 0.5),)),
    ModelSpec(kind="ials", settings={"dimension": 4, "num_epochs": 3}, weights=((0, 1.0), (8, 2.0))),
    ModelSpec(kind="popularity", weights=((0, 0.25),)),
)


def test_a_release_of_learned_models_is_scored_folded_in_and_explained(tmp_path: Path) -> None:
    world, compute, silent = make_world(tmp_path), InProcess(), NoProgress()
    storage = world.workspace.storage
    built = build_release(
        world.workspace, ReleaseSettings(), embedding=None, compute=compute, progress=silent, models=MODELS
    )
    scored = score_users(
        world.workspace, ScoreSettings(k=6), engine="cpu", compute=compute, progress=silent, release_id=built.release_id
    )
    assert verify_run(storage, scored.run_id, num_sampled=20).problems == []
    served = OnlineRelease(storage, built.release_id, scored.run_id)
    assert served.dimension == 3 + 4 + 4 + 1
    served.probe(40)  # every published list, by the bytes of its scores
    components, num_personal = set(), 0
    for user in (f"user-{n}" for n in range(40)):
        state, profile = served.user(user), served.profile(user)
        assert (state.vector is None) == (profile.vector is None)
        if state.vector is None:
            continue
        num_personal += 1
        assert profile.vector.tobytes() == state.vector.tobytes()
        (ranked,) = served.rank([rank_query_of(state, k=6)], NOTHING)
        for explained in explain(served, profile, ranked.hits, NOTHING, num_parts=200):
            assert abs(explained.rest) < 1e-9
            total = sum(part.contribution for part in explained.parts)
            assert total == pytest.approx(explained.score, rel=1e-4, abs=1e-4)
            components |= {part.component for part in explained.parts}
    assert components == {"content", "nsvd", "ials", "popularity"}
    assert num_personal > 20
    folded = served.user("somebody-new", [Event("somebody-new", "n07", 3.0, 12_000_000)])
    assert folded.vector[3:7].any() and folded.vector[7:11].any()
    learned = [c.columns for c in served.release.components.components if c.name in ("nsvd", "ials")]
    view = OverlayView.of([put("zz", np.array([1, 2, 0], np.float32), {}, 1)])
    new_item = served.vector_of("zz", view)
    assert all(new_item[columns].any() for columns in learned)  # predicted from its content
    by_new_item = served.user("somebody-new", [Event("somebody-new", "zz", 3.0, 12_000_000)], view)
    assert all(by_new_item.vector[columns].any() for columns in learned)
    assert not any(served.similar("n07", NOTHING).vector[columns].any() for columns in learned)
    assert "n07" not in {hit.item_id for hit in served.rank([rank_query_of(folded, k=60)], NOTHING)[0].hits}
