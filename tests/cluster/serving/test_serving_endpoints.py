"""Every endpoint's numbers against the core library, over HTTP and without Ray."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from cluster.serving import execute
from cluster.serving.execute import Execution, Response, respond
from cluster.serving.http.json_answers import JSON
from cluster.serving.queries import AnonymousQuery, ListOptions, SimilarQuery, UserQuery
from helpers.replica_without_ray import LocalReplica, WordEncoder, bytes_of, get, listed, post
from helpers.serving_world import PLATFORMS, K, make_world
from semrec.changes.overlay import OverlayView
from semrec.errors import EncoderError, InputError
from semrec.online.anonymous import ContentVector, Weighted, anonymous_profile, anonymous_query
from semrec.online.answers import RankedList, RankQuery
from semrec.online.diversity import diversify, num_candidates
from semrec.online.filter_layout import FilterLayout
from semrec.online.filters import Filters, each_alone
from semrec.online.users import rank_query_of

EMPTY = OverlayView.empty()
USERS = [f"user-{n}" for n in range(40)]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path_factory.mktemp("endpoints") / "w")) as started:
        yield started


def test_live_answers_are_the_published_lists_byte_for_byte(replica: LocalReplica) -> None:
    sources = set()
    for user in USERS:
        live = get(replica, f"/v1/users/{user}/recommendations", k=K, overlay="off")
        batch = get(replica, f"/v1/users/{user}/recommendations", k=K, source="batch")
        published = replica.served.published(user)
        assert published is not None
        assert listed(live) == listed(batch) == bytes_of(published.hits)
        assert (live["source"], batch["source"]) == (published.source, "batch")
        assert live["short_reason"] == batch["short_reason"] == published.short_reason
        assert (live["release"], live["user_id"]) == (replica.world.release_id, user)
        sources.add(live["source"])
    assert sources == {"personal", "popularity"}


def test_a_users_filters_are_those_of_the_core(replica: LocalReplica) -> None:
    query = {"k": 7, "platform": ["Lumina", "Atlas"], "genre": "Drama", "year_min": 1991, "year_max": 1996.5}
    query |= {
        "exclude": ["n03", "nobody"],
        "where": ["platform:Marquee"],
        "where_all": ["platform:Atlas", "genre:Drama"],
    }
    wanted = Filters(
        {"platform": frozenset({"Lumina", "Atlas", "Marquee"}), "genre": frozenset({"Drama"})},
        {"year": (1991, 1996.5)},
        ("n03", "nobody"),
        each_alone({"platform": ["Atlas"], "genre": ["Drama"]}),
    )
    found = 0
    for user in USERS[:12]:
        state = replica.served.user(user)
        assert state is not None
        (expected,) = replica.served.rank([rank_query_of(state, wanted, 7)], EMPTY)
        answer = get(replica, f"/v1/users/{user}/recommendations", **query)
        assert (listed(answer), answer["short_reason"]) == (bytes_of(expected.hits), expected.short_reason)
        found += len(answer["items"])
    assert found > 12


def test_similar_items(replica: LocalReplica) -> None:
    (expected,) = replica.served.rank([replica.served.similar("n10", EMPTY, k=6)], EMPTY)
    answer = get(replica, "/v1/items/n10/similar", k=6)
    assert listed(answer) == bytes_of(expected.hits)
    assert (answer["source"], answer["item_id"]) == ("similar", "n10")
    item = answer["items"][0]
    assert item["attributes"] == replica.world.items[item["item_id"]].attributes
    assert item["title"] == f"title of {item['item_id']}"


def test_diversity_is_maximal_marginal_relevance(replica: LocalReplica) -> None:
    rank_query = replica.served.similar("n10", EMPTY, k=num_candidates(6, 0.7))
    (ranked,) = replica.served.rank([rank_query], EMPTY)
    expected = diversify(ranked.hits, replica.served.vectors_of([h.item_id for h in ranked.hits], EMPTY), 6, 0.7)
    assert listed(get(replica, "/v1/items/n10/similar", k=6, diversity=0.7)) == bytes_of(expected)
    assert bytes_of(expected) != bytes_of(ranked.hits[:6])


def test_anonymous_recommendations_with_words_and_weights(replica: LocalReplica) -> None:
    body = {"liked": [{"item_id": "n01", "weight": 2.5}, "n02"], "disliked": ["n03"], "text": "stars", "k": 9}
    profile = anonymous_profile(
        replica.served,
        EMPTY,
        liked=[Weighted("n01", 2.5), Weighted("n02")],
        disliked=[Weighted("n03")],
        contents=[ContentVector("stars", WordEncoder().vector("stars"))],
    )
    (expected,) = replica.served.rank([anonymous_query(replica.served, profile, k=9)], EMPTY)
    answer = post(replica, "/v1/recommendations", {**body, "explain": True})
    assert (listed(answer), answer["source"]) == (bytes_of(expected.hits), "anonymous")
    for item, explained in zip(answer["items"], answer["explain"]["items"], strict=True):
        parts = sum(part["contribution"] for part in explained["parts"]) + explained["rest"]
        assert parts == pytest.approx(item["score"], rel=1e-5, abs=1e-6)


def test_search_is_the_text_alone(replica: LocalReplica) -> None:
    profile = anonymous_profile(replica.served, EMPTY, contents=[ContentVector("blue", WordEncoder().vector("blue"))])
    filters = Filters({"genre": frozenset({"Noir"})}, {"year": (None, 1995)})
    (expected,) = replica.served.rank([anonymous_query(replica.served, profile, filters=filters, k=4)], EMPTY)
    body = {"text": "blue", "k": 4, "filters": {"genre": ["Noir"], "year": {"max": 1995}}}
    answer = post(replica, "/v1/search", {**body, "mode": "dense"})
    assert (listed(answer), answer["source"], answer["mode"]) == (bytes_of(expected.hits), "search", "dense")
    assert len(answer["items"]) == 4
    # No item has the word: fused, the order is the same.
    assert [item["item_id"] for item in post(replica, "/v1/search", body)["items"]] == [i for i, _ in listed(answer)]


def test_search_by_words_needs_no_encoder(replica: LocalReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    hybrid = post(replica, "/v1/search", {"text": "title of n33", "k": 3})
    assert (hybrid["mode"], hybrid["items"][0]["item_id"]) == ("hybrid", "n33")
    words = post(replica, "/v1/search", {"text": "N33!", "k": 3, "mode": "words"})
    assert (words["mode"], [item["item_id"] for item in words["items"]]) == ("words", ["n33"])
    assert words["short_reason"].startswith("1 of 70 items have a word of the text and are eligible")

    def no_encoder(release: object) -> None:
        raise EncoderError("images", expected="an encoder of texts", remedy="None.")

    monkeypatch.setattr(replica.live, "encoder", no_encoder)
    assert post(replica, "/v1/search", {"text": "N33!", "k": 3}) == words
    for mode in ("dense", "hybrid"):
        assert post(replica, "/v1/search", {"text": "n33", "mode": mode}, 501)["detail"] == "images"


def test_a_batch_gives_each_query_its_own_answer_or_error(replica: LocalReplica) -> None:
    queries = [{"user_id": user} for user in USERS] * 30  # several pieces of work
    queries += [{"item_id": "n10"}, {"liked": ["n01"]}, {"item_id": "nothing"}, {"user_id": "stranger"}]
    answers = post(replica, "/v1/batch", {"queries": queries, "k": 4})["answers"]
    assert len(answers) == len(queries)
    for user, answer in zip(USERS * 30, answers, strict=False):
        if user in USERS[:5]:
            assert answer == get(replica, f"/v1/users/{user}/recommendations", k=4)
        assert answer["user_id"] == user
    assert answers[-4] == get(replica, "/v1/items/n10/similar", k=4)
    assert answers[-3] == post(replica, "/v1/recommendations", {"liked": ["n01"], "k": 4})
    assert answers[-2]["error"]["status"] == 404
    assert "'nothing'" in answers[-2]["error"]["detail"]
    assert answers[-1]["source"] == "popularity"


def test_a_batch_has_the_bytes_of_its_answers(fresh: LocalReplica) -> None:
    queries = [{"user_id": user} for user in [*USERS[:9], 'quoted "\u00e9"']] + [{"item_id": "n10"}, {"item_id": "no"}]
    for step in ("as released", "changed"):
        if step == "changed":
            body = {"title": 'Brand "new"', "text": "blue stars", "attributes": {"platform": list(PLATFORMS)}}
            assert fresh.client.put("/v1/items/new", json=body).status_code == 200
            assert fresh.client.delete("/v1/items/n07").status_code == 200
        for k in (1, 50):
            alone = [
                fresh.client.get(f"/v1/users/{quote(q['user_id'])}/recommendations?k={k}")
                if "user_id" in q
                else fresh.client.get(f"/v1/items/{q['item_id']}/similar?k={k}")
                for q in queries
            ]
            bodies = [reply.content for reply in alone[:-1]]
            batch = fresh.client.post("/v1/batch", json={"queries": queries, "k": k}).content
            failed = json.loads(batch)["answers"][-1]
            assert failed["error"]["detail"] == alone[-1].json()["detail"]
            assert batch.startswith(b'{"answers":[' + b",".join(bodies) + b',{"error":')


def test_a_bad_filter_is_refused_before_its_batch_is_ranked(replica: LocalReplica) -> None:
    calls: list[int] = []

    def rank(rank_queries: Sequence[RankQuery], overlay: OverlayView) -> list[RankedList]:
        calls.append(len(rank_queries))
        return replica.served.rank(rank_queries, overlay)

    assert replica.live.now is not None
    snapshot = dataclasses.replace(replica.live.now, rank=rank)
    bad = ListOptions(filters=Filters({"shoe": frozenset({"42"})}))
    anonymous = AnonymousQuery([Weighted("n01")], options=bad)
    refused = [UserQuery("user-1", bad), SimilarQuery("n10", bad), anonymous]
    neighbours = [UserQuery(user) for user in USERS[:9]]
    queries = [*neighbours[:5], *refused, *neighbours[5:]]
    found = respond([(Execution(query, snapshot), JSON) for query in queries])
    for error in found[5:8]:
        assert isinstance(error, InputError) and "no item has an attribute 'shoe'" in str(error)
    assert calls == [9]  # once, for all who asked well
    expected = [replica.client.get(f"/v1/users/{user}/recommendations").content for user in USERS[:9]]
    assert [reply.body for reply in found[:5] + found[8:] if isinstance(reply, Response)] == expected


def test_what_takes_long_is_not_done_by_the_thread_that_ranks_for_all(
    fresh: LocalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[tuple[str, str]] = []  # what was done, and by which thread

    def note(place: Any, name: str) -> None:
        function = getattr(place, name)

        def noted(*arguments: Any, **options: Any) -> Any:
            work.append((name, threading.current_thread().name.partition("_")[0]))
            return function(*arguments, **options)

        monkeypatch.setattr(place, name, noted)

    def done(ask: Callable[[], Any]) -> set[tuple[str, str]]:
        work.clear()
        ask()
        return set(work)

    body = {"title": "New", "text": "blue stars", "attributes": {"genre": ["Noir"]}}
    assert fresh.client.put("/v1/items/new", json=body).status_code == 200
    for place, name in ((FilterLayout, "compile"), (Filters, "failed"), (execute, "anonymous_profile")):
        note(place, name)
    path, exclude = "/v1/users/user-1/recommendations", [f"n{n:02d}" for n in range(60)]
    beside = {("compile", "readers"), ("failed", "readers")}
    assert done(lambda: get(fresh, path, genre="Noir", exclude=exclude)) == beside
    assert done(lambda: get(fresh, path, genre="Noir", exclude=exclude)) == set()
    queries = {"queries": [{"user_id": "user-1"}] * 3, "filters": {"genre": ["Drama"], "exclude": exclude}}
    assert done(lambda: post(fresh, "/v1/batch", queries)) == beside
    few, many = {"liked": exclude}, {"liked": exclude * 5}
    assert done(lambda: post(fresh, "/v1/recommendations", few)) == {("anonymous_profile", "quick")}
    assert done(lambda: post(fresh, "/v1/recommendations", many)) == {("anonymous_profile", "slow")}


def test_unknown_items_are_404_and_unknown_users_get_what_is_popular(replica: LocalReplica) -> None:
    problem = get(replica, "/v1/items/nothing/similar", 404)
    assert "'nothing'" in problem["detail"]
    assert (problem["status"], problem["title"], problem["instance"]) == (
        404,
        "Not Found",
        "/v1/items/nothing/similar",
    )
    assert get(replica, "/v1/users/stranger/recommendations", k=3)["source"] == "popularity"
    assert get(replica, "/v1/users/stranger/recommendations", 404, source="batch")["status"] == 404
    assert post(replica, "/v1/recommendations", {"liked": ["nothing"]}, 404)["status"] == 404


def test_explanations_add_up_and_why_says_why(replica: LocalReplica) -> None:
    user = next(u for u in USERS if (s := replica.served.user(u)) and s.vector is not None and len(s.seen_rows) > 2)
    answer = get(replica, f"/v1/users/{user}/recommendations", k=3, explain="true", why="n00")
    for item, explained in zip(answer["items"], answer["explain"]["items"], strict=True):
        parts = sum(part["contribution"] for part in explained["parts"]) + explained["rest"]
        assert parts == pytest.approx(item["score"], rel=1e-5, abs=1e-6)
    state = replica.served.user(user)
    assert state is not None
    seen = replica.served.items.ids[int(state.seen_rows[0])]
    assert get(replica, f"/v1/users/{user}/recommendations", why=seen)["why"]["reason"] == "seen"
    shown = answer["items"][0]["item_id"]
    assert get(replica, f"/v1/users/{user}/recommendations", k=3, why=shown)["why"]["rank"] == 1
    assert get(replica, f"/v1/users/{user}/recommendations", 404, why="nothing")["status"] == 404


def test_items_models_readiness_and_the_page(replica: LocalReplica) -> None:
    item = get(replica, "/v1/items/n07")
    assert item["attributes"] == replica.world.items["n07"].attributes
    models = get(replica, "/v1/models")
    assert (models["release"], models["run"], models["run_k"]) == (replica.world.release_id, replica.world.run_id, K)
    assert models["attributes"]["genre"] == ["Comedy", "Drama", "Horror", "Noir"]
    assert (models["engine"], models["encoders"]) == ("cpu", [])
    assert models["models"] == [{"kind": "content", "modality": "text", "dimension": replica.served.dimension}]
    stats = get(replica, "/v1/stats")
    assert stats["peak_resident_bytes"] >= stats["resident_bytes"] > 10**7
    assert stats["endpoints"]["models"]["per_s"] > 0 and stats["per_s"] > stats["endpoints"]["models"]["per_s"]
    assert get(replica, "/readyz")["status"] == "ready"
    assert get(replica, "/healthz") == {"status": "alive"}
    assert get(replica, "/v1/users", limit=3)["users"]
    page = replica.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script" in page.text
