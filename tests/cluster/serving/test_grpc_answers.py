"""The methods of the gRPC service against the HTTP API of the same replica, without Ray: answers, refusals, keys, counts."""

from __future__ import annotations

import json
import logging
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from typer.testing import CliRunner

from cluster.serving.access.keys import append_key, make_key
from cluster.serving.access.security import check_binding
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.settings import ServeArgs
from helpers.grpc_methods import Called
from helpers.grpc_questions import QUESTIONS, json_of, rounded
from helpers.replica_without_ray import LocalReplica, WordEncoder
from helpers.serving_world import make_world
from jobs.cli import app
from semrec.errors import InputError
from semrec.online.anonymous import ContentVector
from semrec.online.process import ContentEncoders
from semrec.online.telemetry import hashed_user, user_key

USER = pb.RecommendUserRequest(user_id="user-1", k=3)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    """A replica whose overlay has an item more, one less and an event."""
    world = make_world(tmp_path_factory.mktemp("grpc") / "w")
    with LocalReplica(world, max_k=60, max_queries=610, max_body_bytes=40_000) as started:
        body = {"title": "Brand new", "text": "blue stars", "attributes": {"genre": ["Noir"], "platform": ["Lumina"]}}
        assert started.client.put("/v1/items/new", json=body).status_code == 200
        assert started.client.delete("/v1/items/n07").status_code == 200
        events = [{"user_id": "user-1", "item_id": "n09", "timestamp": 20_000_000}]
        assert started.client.post("/v1/events", json={"events": events}).status_code == 200
        yield started


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_rpc_is_answered_as_over_http(replica: LocalReplica, name: str) -> None:
    rank_query = QUESTIONS[name]
    over_http = rank_query.over_http(replica.client)
    assert over_http.status_code == 200, over_http.text
    called = Called(replica, rank_query.rpc, rank_query.message)
    assert (called.code, called.details) == (StatusCode.OK, "")
    assert json_of(called.answer) == rounded(over_http.json())


def test_an_image_is_searched_by_as_over_http(replica: LocalReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256))
    vectors = {data: ContentVector("image", WordEncoder().vector("a picture"))}
    monkeypatch.setattr(ContentEncoders, "image", lambda self, release, sent: vectors[sent])
    called = Called(replica, "Search", pb.SearchRequest(image=data, k=4))
    over_http = replica.client.post("/v1/search", json={"image": b64encode(data).decode(), "k": 4})
    assert json_of(called.answer) == rounded(over_http.json()) and len(called.answer.items) == 4


def test_the_questions_differ(replica: LocalReplica) -> None:
    """Otherwise equal answers would say little: all kinds of sources, reasons and errors occur."""
    answers = [Called(replica, q.rpc, q.message).answer for q in QUESTIONS.values()]
    single = [answer for answer in answers if isinstance(answer, pb.Answer)]
    assert {answer.source for answer in single} == {
        "personal", "popularity", "batch", "similar", "anonymous", "search",
    }  # fmt: skip
    assert any(answer.short_reason for answer in single) and any(not answer.items for answer in single)
    assert {answer.overlay for answer in single} == {0, 2}  # events are numbered by themselves
    (batch,) = (answer for answer in answers if isinstance(answer, pb.BatchAnswers))
    assert (len(batch.answers), batch.answers[601].error.status) == (604, 404)
    asked = {rank_query.rpc for rank_query in QUESTIONS.values()} | {"QueryGraph"}  # in test_serving_relations
    assert {rpc.name for rpc in pb.DESCRIPTOR.services_by_name["Recommender"].methods} == asked


@pytest.mark.parametrize(
    ("rpc", "message", "code", "said"),
    [
        ("RecommendUser", pb.RecommendUserRequest(), StatusCode.INVALID_ARGUMENT, "an id of 0 characters"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u" * 1025), StatusCode.INVALID_ARGUMENT, "1,025"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", k=0), StatusCode.INVALID_ARGUMENT, "k: "),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", k=61), StatusCode.INVALID_ARGUMENT, "k = 61"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", year_min=float("nan")), StatusCode.INVALID_ARGUMENT, "year_min"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", overlay="perhaps"), StatusCode.INVALID_ARGUMENT, "overlay"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", where=["shoe:42"]), StatusCode.INVALID_ARGUMENT, "shoe"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="u", source="batch"), StatusCode.NOT_FOUND, "'u'"),
        ("RecommendUser", pb.RecommendUserRequest(user_id="user-1", why="nothing"), StatusCode.NOT_FOUND, "'nothing'"),
        ("SimilarItems", pb.SimilarItemsRequest(item_id="n07"), StatusCode.NOT_FOUND, "'n07'"),
        ("SimilarItems", pb.SimilarItemsRequest(item_id="n01", diversity=1.5), StatusCode.INVALID_ARGUMENT, "diversity"),
        ("RecommendAnonymous", pb.RecommendAnonymousRequest(), StatusCode.INVALID_ARGUMENT, "give liked"),
        (
            "RecommendAnonymous",
            pb.RecommendAnonymousRequest(liked=[pb.Weighted(item_id="n01", weight=-1)]),
            StatusCode.INVALID_ARGUMENT,
            "liked",
        ),
        ("Search", pb.SearchRequest(), StatusCode.INVALID_ARGUMENT, "text"),
        ("AnswerBatch", pb.BatchRequest(), StatusCode.INVALID_ARGUMENT, "queries"),
        ("AnswerBatch", pb.BatchRequest(queries=[pb.BatchQuery()]), StatusCode.INVALID_ARGUMENT, "exactly one"),
        (
            "AnswerBatch",
            pb.BatchRequest(queries=[pb.BatchQuery(user_id="u", item_id="n01")]),
            StatusCode.INVALID_ARGUMENT,
            "exactly one",
        ),
        (
            "AnswerBatch",
            pb.BatchRequest(queries=[pb.BatchQuery(user_id="u")] * 611),
            StatusCode.INVALID_ARGUMENT,
            "611 queries",
        ),
        ("QueryGraph", pb.QueryGraphRequest(), StatusCode.INVALID_ARGUMENT, "query"),
        ("QueryGraph", pb.QueryGraphRequest(query="ASK {}", max_rows=10_001), StatusCode.INVALID_ARGUMENT, "max_rows"),
        ("QueryGraph", pb.QueryGraphRequest(query="ASK {}"), StatusCode.NOT_FOUND, "has no relations"),
        ("Search", pb.SearchRequest(text="a" * 50_000), StatusCode.RESOURCE_EXHAUSTED, "a larger body"),
    ],
)  # fmt: skip
def test_a_bad_question_gets_the_status_of_its_kind(
    replica: LocalReplica, rpc: str, message: Message, code: StatusCode, said: str
) -> None:
    called = Called(replica, rpc, message)
    assert called.code == code
    assert said in called.details
    assert called.answer == type(called.answer)()


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (pb.Filters(attributes={"shoe": pb.Filter(values=["42"])}), "shoe"),
        (pb.Filters(attributes={"exclude": pb.Filter(values=["n01"])}), "named exclude"),
        (
            pb.Filters(attributes={"year": pb.Filter(values=["1990"], range=pb.NumberRange(min=1))}),
            "values and range of year",
        ),
        (pb.Filters(attributes={"year": pb.Filter(range=pb.NumberRange(min=float("nan")))}), "year"),
        (pb.Filters(attributes={"year": pb.Filter(values=["1990"], all=["1991"])}), "values and all of year"),
        (pb.Filters(attributes={"year": pb.Filter(all=["1991"] * 33)}), "at most 32"),
        (pb.Filters(exclude=[""]), "exclude"),
    ],
)
def test_a_bad_filter_is_named(replica: LocalReplica, filters: pb.Filters, said: str) -> None:
    called = Called(replica, "Search", pb.SearchRequest(text="blue", filters=filters))
    assert (called.code, said in called.details) == (StatusCode.INVALID_ARGUMENT, True)


def test_a_message_is_read_once_its_sender_has_shown_a_key(tmp_path: Path) -> None:
    key, stored = make_key("reader", ["read"])
    append_key(str(tmp_path / "keys.jsonl"), stored)
    garbled = b"\xff\xff\xff"
    with LocalReplica(make_world(tmp_path / "w"), keys_file=str(tmp_path / "keys.jsonl")) as guarded:
        assert Called(guarded, "AnswerBatch", garbled).code == StatusCode.UNAUTHENTICATED
        assert Called(guarded, "AnswerBatch", garbled, key).code == StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("rpc", "raw", "code", "said"),
    [
        ("RecommendUser", b"\xff\xff\xff", StatusCode.INVALID_ARGUMENT, "no RecommendUserRequest"),
        ("AnswerBatch", b"\x0a\x00" * 19_000, StatusCode.INVALID_ARGUMENT, "19,000 queries"),
        ("AnswerBatch", b"\x0a\x00" * 524_289, StatusCode.RESOURCE_EXHAUSTED, "a larger message"),
        ("RecommendUser", b"\x0a\x01u" + b"\x42\x00" * 19_000, StatusCode.INVALID_ARGUMENT, "19,000 exclude"),
        ("RecommendAnonymous", b"\x0a\x00" * 19_000, StatusCode.INVALID_ARGUMENT, "19,000 liked"),
    ],
)
def test_messages_that_are_meant_to_hurt(
    replica: LocalReplica, rpc: str, raw: bytes, code: StatusCode, said: str
) -> None:
    called = Called(replica, rpc, raw)
    assert called.code == code
    assert said in called.details


def test_keys_scopes_and_rates_are_those_of_http(tmp_path: Path) -> None:
    file, keys = tmp_path / "keys.jsonl", {}
    for name, scopes, rate in (
        ("reader", ["read"], None),
        ("explainer", ["read", "explain"], None),
        ("writer", ["write"], None),
        ("slow", ["read"], 0.01),
    ):
        keys[name], stored = make_key(name, scopes, rate)
        append_key(str(file), stored)
    with LocalReplica(make_world(tmp_path / "w"), keys_file=str(file)) as guarded:
        assert Called(guarded, "RecommendUser", USER, keys["reader"], "ipv4:192.0.2.1:5").code == StatusCode.OK
        assert Called(guarded, "Ready", pb.ReadyRequest()).code == StatusCode.OK
        for message in (
            pb.RecommendUserRequest(user_id="user-1", explain=True),
            pb.RecommendUserRequest(user_id="user-1", why="n01"),
        ):
            asked = Called(guarded, "RecommendUser", message, keys["reader"])
            assert (asked.code, "explain" in asked.details) == (StatusCode.PERMISSION_DENIED, True)
            assert Called(guarded, "RecommendUser", message, keys["explainer"]).code == StatusCode.OK
        for key in ("", "reader", f"{keys['reader']}x"):
            refused = Called(guarded, "RecommendUser", USER, key)
            assert refused.code == StatusCode.UNAUTHENTICATED
        assert Called(guarded, "RecommendUser", USER, keys["writer"]).code == StatusCode.PERMISSION_DENIED
        ask = pb.QueryGraphRequest(query="ASK {}")
        assert Called(guarded, "QueryGraph", ask, keys["explainer"]).code == StatusCode.PERMISSION_DENIED
        assert Called(guarded, "RecommendUser", USER, keys["slow"]).code == StatusCode.OK
        late = Called(guarded, "RecommendUser", USER, keys["slow"])
        assert late.code == StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(late.trailing)["retry-after"]) > 50


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.1:5", "ipv6:%5B2001:db8::1%5D:5"])
def test_without_keys_callers_from_elsewhere_are_refused(replica: LocalReplica, peer: str) -> None:
    assert Called(replica, "RecommendUser", USER, peer=peer).code == StatusCode.PERMISSION_DENIED
    assert Called(replica, "RecommendUser", USER, peer="ipv6:%5B::1%5D:5").code == StatusCode.OK


def test_answers_are_counted_and_logged_as_over_http(tmp_path: Path) -> None:
    with LocalReplica(make_world(tmp_path / "w"), telemetry=str(tmp_path / "answers")) as replica:
        shown = Called(replica, "RecommendUser", USER).answer
        Called(replica, "SimilarItems", pb.SimilarItemsRequest(item_id="nothing"))
        said = replica.client.get("/v1/stats").json()["endpoints"]
        assert said["recommend_user"]["answers"] == {"200": 1}
        assert said["similar_items"]["answers"] == {"404": 1}
        assert replica.stats.releases == {replica.world.release_id: 1}
        replica.service.close()
        (line,) = (json.loads(text) for file in (tmp_path / "answers").glob("*.jsonl") for text in file.open())
    user = hashed_user("user-1", user_key(tmp_path / "answers"))
    assert (line["request_id"], line["endpoint"], line["user"]) == ("called-by-a-test", "recommend_user", user)
    assert line["items"] == [item.item_id for item in shown.items]


def test_what_fails_inside_says_so_to_the_operator_alone(
    replica: LocalReplica, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica.service, "snapshot", lambda **_: 1 / 0)
    with caplog.at_level(logging.ERROR):
        called = Called(replica, "RecommendUser", USER)
    assert (called.code, called.details) == (StatusCode.INTERNAL, "something failed here")
    assert "ZeroDivisionError" in caplog.text


def test_a_slow_answer_is_late_and_an_unready_replica_unavailable(tmp_path: Path) -> None:
    with LocalReplica(make_world(tmp_path / "w"), timeout_s=0.3) as replica:
        now: Any = replica.live.now

        def rank(*arguments: Any) -> Any:
            time.sleep(1.0)
            return now.served.rank(*arguments)

        object.__setattr__(now, "rank", rank)
        late = Called(replica, "RecommendUser", USER)
        assert (late.code, dict(late.trailing)["retry-after"]) == (StatusCode.DEADLINE_EXCEEDED, "1")
        replica.live.now = None
        for rpc, message in (("RecommendUser", USER), ("Ready", pb.ReadyRequest()), ("Models", pb.ModelsRequest())):
            called = Called(replica, rpc, message)
            assert (called.code, called.details) == (StatusCode.UNAVAILABLE, "no release is loaded yet")


def test_grpc_is_not_served_without_keys_or_beside_a_certificate(tmp_path: Path) -> None:
    for options, said in (([], "without API keys"), (["--tls-cert", "a", "--tls-key", "b"], "certificate")):
        refused = CliRunner().invoke(app, ["serve", "-w", str(tmp_path), "--grpc-port", "9000", *options])
        assert refused.exit_code == 2
        assert said in refused.output


def test_grpc_needs_keys_even_on_loopback() -> None:
    with_keys, without = ServeArgs(workspace="w", keys_file="keys.jsonl"), ServeArgs(workspace="w")
    for host in ("127.0.0.1", "0.0.0.0"):
        check_binding(with_keys, host, has_grpc=True)
        with pytest.raises(InputError, match="gRPC without API keys"):
            check_binding(without, host, has_grpc=True)
    check_binding(without, "127.0.0.1", has_grpc=False)
