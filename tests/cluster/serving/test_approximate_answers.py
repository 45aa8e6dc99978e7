"""Every answer of an approximate list says so with the measured recall, in each protocol; no other answer does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.compute import InProcess
from cluster.serving.execute import published_answer
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.serializer import MESSAGES
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from cluster.stages.verify import verify
from helpers.replica_without_ray import LocalReplica, get, post
from helpers.serving_world import K, World, make_world
from semrec.progress import NoProgress
from semrec.runs.gates import Allowed
from semrec.runs.publish import publish
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.recall import RecallManifest


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    made = make_world(tmp_path_factory.mktemp("approximate"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semrec.runs.plan.OVER_FETCH", 1)
        shared = {"compute": InProcess(), "progress": NoProgress()}
        built = build_release(made.workspace, ReleaseSettings(coarse_format="pq"), embedding=None, **shared)
        run_id = score_users(made.workspace, ScoreSettings(k=K, approximate=True), **shared).run_id
    verify(made.workspace, run_id, **shared)
    publish(made.workspace.storage, run_id, Allowed(approximate=True))
    with LocalReplica(World(made.workspace, built.release_id, run_id, made.items, made.stated)) as ready:
        yield ready


def of_source(replica: LocalReplica, source: str) -> str:
    """A user whose list is ranked by it."""
    names = (f"user-{n}" for n in range(40))
    return next(name for name in names if replica.served.published(name).source == source)  # type: ignore[union-attr]


def test_published_lists_say_how_exact_they_are(replica: LocalReplica) -> None:
    recall = RecallManifest.read(replica.world.workspace.storage, replica.world.run_id)
    expected = {"recall": recall.recall, "k": K, "num_users": recall.num_users}
    assert 0 < recall.recall < 1
    user = of_source(replica, "personal")
    path = f"/v1/users/{user}/recommendations"
    assert get(replica, path, source="batch")["approximate"] == expected
    assert replica.live.now is not None
    message = pb.Answer.FromString(MESSAGES.answer(published_answer(replica.live.now, user, K)))
    assert {name: getattr(message.approximate, name) for name in expected} == expected


def test_the_service_says_what_it_serves(replica: LocalReplica) -> None:
    recall = RecallManifest.read(replica.world.workspace.storage, replica.world.run_id)
    described = get(replica, "/v1/models")["approximate"]
    assert described == recall.summary()
    assert pb.ReleaseInfo(approximate=described).approximate.num_users == recall.num_users
    assert f"}} {recall.recall}\n" in replica.client.get("/metrics").text.partition("semrec_serving_recall{")[2]


def test_no_other_answer_does(replica: LocalReplica) -> None:
    """Live lists are exact, and so are those by popularity."""
    user, silent = of_source(replica, "personal"), of_source(replica, "popularity")
    assert "approximate" not in get(replica, f"/v1/users/{user}/recommendations")
    assert "approximate" not in get(replica, f"/v1/users/{silent}/recommendations", source="batch")
    assert "approximate" not in post(replica, "/v1/batch", {"queries": [{"user_id": user}]})["answers"][0]
    assert replica.live.now is not None
    message = pb.Answer.FromString(MESSAGES.answer(published_answer(replica.live.now, silent, K)))
    assert not message.HasField("approximate")
