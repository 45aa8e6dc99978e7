"""Who may ask: keys, scopes and rates; without keys this machine alone; and what browsers are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.serving.access.keys import KeyRing, append_key, make_key, read_keys
from cluster.serving.access.limits import RateLimiter
from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import make_world
from semrec.errors import InputError


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path_factory.mktemp("access") / "w")) as started:
        yield started


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[LocalReplica, dict[str, str]]]:
    """A replica with keys: reader, writer, admin, and one that is too old."""
    file, keys = tmp_path / "keys.jsonl", {}
    for name, scopes, rate, expires_s in (
        ("reader", ["read"], None, None),
        ("explainer", ["read", "explain"], None, None),
        ("writer", ["read", "write"], None, None),
        ("admin", ["admin"], None, None),
        ("slow", ["read"], 2.0, None),
        ("old", ["admin"], None, time.time() - 1),
    ):
        keys[name], stored = make_key(name, scopes, rate, expires_s)
        append_key(str(file), stored)
    with LocalReplica(make_world(tmp_path / "w"), keys_file=str(file)) as started:
        yield started, keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_keys_and_scopes(guarded: tuple[LocalReplica, dict[str, str]], caplog: pytest.LogCaptureFixture) -> None:
    replica, keys = guarded
    read, write, stats = "/v1/users/user-1/recommendations", "/v1/items/n01", "/v1/stats"
    for key, statuses in (
        ("reader", (200, 403, 403)),
        ("writer", (200, 200, 403)),
        ("admin", (200, 404, 200)),  # the writer deleted it
        ("old", (401, 401, 401)),
    ):
        found = [
            replica.client.get(read, headers=bearer(keys[key])).status_code,
            replica.client.delete(write, headers=bearer(keys[key])).status_code,
            replica.client.get(stats, headers={"X-API-Key": keys[key]}).status_code,
        ]
        assert tuple(found) == statuses, key
    wrong = [
        "",
        "reader",
        "reader.",
        f"{keys['reader']}x",
        keys["reader"][:-1],
        "nobody." + keys["reader"],
        "é.ü",
        "\x7f",
    ]
    for key in wrong:
        response = replica.client.get(read, headers={"X-API-Key": key.encode()})
        assert refused(response, 401)["title"] == "Unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
    refused(replica.client.get("/v1/users"), 401)  # the page's data, too
    for path in ("/", "/healthz", "/readyz", "/openapi.json"):
        assert replica.client.get(path).status_code == 200
    assert not any(key in caplog.text for key in keys.values())


def test_every_documented_operation_asks_for_a_key(guarded: tuple[LocalReplica, dict[str, str]]) -> None:
    replica, keys = guarded
    operations = [
        (method.upper(), path, operation)
        for path, methods in replica.client.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    ]
    open_to_all = {path for method, path, operation in operations if not operation["security"]}
    assert open_to_all == {"/healthz", "/readyz"} and len(operations) == 28
    for method, path, _ in operations:
        if path not in open_to_all:
            refused(replica.client.request(method, path), 401)
        is_for_more = path in ("/v1/events", "/v1/relations", "/v1/stats", "/v1/benchmark", "/metrics")
        if method in ("PUT", "DELETE") or is_for_more:
            refused(replica.client.request(method, path, headers=bearer(keys["reader"])), 403)
    refused(replica.client.get("/nothing"), 401)
    refused(replica.client.get("/nothing", headers=bearer(keys["reader"])), 404)


def test_what_users_have_seen_needs_a_scope_of_its_own(guarded: tuple[LocalReplica, dict[str, str]]) -> None:
    replica, keys = guarded
    url = "/v1/users/user-1/recommendations"
    rank_queries = [(url, {"explain": True}), (url, {"why": "n01"}), ("/v1/users", {}), ("/v1/us%65rs", {"limit": 3})]
    for path, params in [*rank_queries, ("/v1/archetypes", {})]:
        problem = refused(replica.client.get(path, params=params, headers=bearer(keys["reader"])), 403)
        assert "without the scope explain" in problem["detail"] and "--scope explain" in problem["remedy"]
    for path, params in rank_queries:
        for name in ("explainer", "admin"):
            assert replica.client.get(path, params=params, headers=bearer(keys[name])).status_code == 200
    for params in ({}, {"explain": False}, {"source": "batch"}):
        assert replica.client.get(url, params=params, headers=bearer(keys["reader"])).status_code == 200
    liked = {"liked": ["n01"], "explain": True}  # tells the caller what the caller said
    assert replica.client.post("/v1/recommendations", json=liked, headers=bearer(keys["reader"])).status_code == 200


def test_rates_are_per_key(guarded: tuple[LocalReplica, dict[str, str]]) -> None:
    replica, keys = guarded
    found = [replica.client.get("/v1/models", headers=bearer(keys["slow"])) for _ in range(5)]
    assert [response.status_code for response in found] == [200, 200, 429, 429, 429]
    assert refused(found[-1], 429)["expected"] == "2 per second"
    assert found[-1].headers["retry-after"] == "1"
    assert replica.client.get("/v1/models", headers=bearer(keys["reader"])).status_code == 200


def test_the_bucket_fills_again() -> None:
    now = [0.0]
    limiter = RateLimiter(lambda: now[0])
    assert [limiter.wait_s("a", 2.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    now[0] = 0.5
    assert [limiter.wait_s("a", 2.0) for _ in range(2)] == [0.0, 0.5]
    assert limiter.wait_s("b", 0.1) == 0.0
    assert limiter.wait_s("b", 0.1) == pytest.approx(10.0)


def test_the_key_file_holds_no_secret_and_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    key, stored = make_key("one", ["read"])
    append_key(str(file), stored)
    assert key.partition(".")[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    ring = KeyRing(str(file))
    assert ring.find(key) == stored
    other, more = make_key("two", ["write"])
    append_key(str(file), more)
    ring.refresh()
    assert ring.find(other) == more
    file.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1") as error:
        ring.refresh()
    assert "nonsense" not in str(error.value)
    assert ring.find(key) == stored  # what was known stays
    file.write_text("")
    ring.refresh()
    assert ring.find(key) is None
    append_key(str(file), stored)
    with pytest.raises(InputError, match="one"):
        append_key(str(file), stored)
    file.chmod(0o620)
    with pytest.raises(InputError, match="others than its owner may write"):
        read_keys(str(file))
    file.chmod(0o600)
    with pytest.raises(InputError, match="scopes"):
        make_key("three", ["everything"])
    assert [known.id for known in read_keys(str(file))] == ["one"]


def test_without_keys_only_this_machine_is_answered_and_by_its_name(replica: LocalReplica) -> None:
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert replica.client.get("/v1/models", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example:8000", "10.0.0.1"):
        refused(replica.client.get("/v1/models", headers={"Host": host}), 421)

    async def from_elsewhere() -> int:
        transport = httpx.ASGITransport(replica.application, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/v1/models")).status_code

    assert asyncio.run(from_elsewhere()) == 403


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
def test_without_keys_a_caller_cannot_name_its_own_address(
    replica: LocalReplica, guarded: tuple[LocalReplica, dict[str, str]], name: str
) -> None:
    for address in ("127.0.0.1", "192.0.2.7"):
        refused(replica.client.get("/v1/models", headers={name: address}), 403)
        refused(replica.client.get("/v1/users", headers={name: address}), 403)
    with_key = bearer(guarded[1]["reader"]) | {name: "192.0.2.7"}
    assert guarded[0].client.get("/v1/models", headers=with_key).status_code == 200


def test_a_header_that_counts_may_come_once(guarded: tuple[LocalReplica, dict[str, str]]) -> None:
    replica, keys = guarded
    mine, other = bearer(keys["reader"]), {"Authorization": "Bearer nobody.else"}
    for headers in ([*mine.items(), *other.items()], [*other.items(), *mine.items()], [*mine.items(), *mine.items()]):
        for path in ("/v1/models", "/v1/users", "/v1/users/user-1/recommendations"):
            assert refused(replica.client.get(path, headers=headers), 400)["detail"] == "several headers authorization"
    for name, value in (
        ("X-API-Key", keys["reader"]), ("Host", "localhost"), ("Content-Type", "application/json"), ("Origin", "null"),
        ("Idempotency-Key", "one"), ("Content-Length", "14"), ("X-Request-Id", "one"),
    ):  # fmt: skip
        twice = [*mine.items(), (name, value), (name, value)]
        body = {"content": b'{"text": "blue"}'} if name != "Content-Length" else {"content": iter([b'{"text": "x"}'])}
        response = replica.client.post("/v1/search", headers=twice, **body)
        assert refused(response, 400)["detail"] == f"several headers {name.lower()}"


def test_two_different_keys_are_one_too_many(guarded: tuple[LocalReplica, dict[str, str]]) -> None:
    replica, keys = guarded
    both = bearer(keys["reader"]) | {"X-API-Key": keys["admin"]}
    assert refused(replica.client.get("/v1/models", headers=both), 400)["detail"] == "two API keys"
    same = bearer(keys["reader"]) | {"X-API-Key": keys["reader"]}
    assert replica.client.get("/v1/models", headers=same).status_code == 200
    basic = {"Authorization": "Basic eDp5", "X-API-Key": keys["reader"]}
    assert replica.client.get("/v1/models", headers=basic).status_code == 200


def test_browsers_elsewhere_may_not_call_unless_named(replica: LocalReplica, tmp_path: Path) -> None:
    origin = {"Origin": "https://shop.example"}
    assert "access-control-allow-origin" not in replica.client.get("/v1/models", headers=origin).headers
    with LocalReplica(make_world(tmp_path / "w"), cors_origins="https://shop.example") as named:
        allowed = named.client.get("/v1/models", headers=origin)
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        other = named.client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        asks = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "Content-Type"}
        assert named.client.options("/v1/search", headers=asks).status_code == 200


def test_every_response_has_the_safe_headers(replica: LocalReplica) -> None:
    for path in ("/v1/models", "/nothing", "/", "/openapi.json", "/readyz", "/page/nothing"):
        headers = replica.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert replica.client.get("/docs").status_code == 404
