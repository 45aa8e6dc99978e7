"""Requests that are meant to hurt a service: each within its size limit, and made to cost as much as its size can."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ATTACKS", "Attack"]

_INVALID, _EXHAUSTED, _UNAUTHENTICATED = 3, 8, 16  # codes of gRPC
_REFUSED: Final = frozenset({422})
_JSON: Final = (("Content-Type", "application/json"),)
_ITEM: Final = "/v1/items/attacked"
_RECOMMEND, _SEARCH, _BATCH, _EVENTS = "/v1/recommendations", "/v1/search", "/v1/batch", "/v1/events"
_USER: Final = "/v1/users/nobody/recommendations"
_LINE_BYTES: Final = 60_000  # of a request line or header: proxies take 64 KiB


@dataclass(frozen=True)
class Attack:
    """A request, and the statuses that it may be answered with. `body` is made for a size in bytes.

    `at_once`: so many of it at the same time. `slow_s`: the time over which the body is sent. With the method `gRPC` the path
    is that of an RPC, the body its message, and the statuses are numbers of gRPC's codes; `with_key` False: as a stranger.
    """

    name: str
    path: str
    body: Callable[[int], bytes] | None = None
    method: str = "POST"
    statuses: frozenset[int] = _REFUSED
    headers: tuple[tuple[str, str], ...] = ()
    at_once: int = 1
    slow_s: float = 0.0
    with_key: bool = True

    @property
    def is_grpc(self) -> bool:
        """Whether it comes over gRPC."""
        return self.method == "gRPC"

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers, with the type of a body."""
        return (*(_JSON if self.body else ()), *self.headers)


def _filled(start: bytes, piece: bytes, end: bytes) -> Callable[[int], bytes]:
    """Bodies of one piece over and over."""
    return lambda size: start + piece * ((size - len(start) - len(end)) // len(piece) - 1) + piece.rstrip(b",") + end


def _numbered(start: bytes, value: bytes, end: bytes) -> Callable[[int], bytes]:
    """Bodies of members with different names."""

    def body(size: int) -> bytes:
        members = b",".join(b'"%07d":%b' % (number, value) for number in range((size - 200) // (11 + len(value))))
        return start + members + end

    return body


def _dumped(document: Any) -> Callable[[int], bytes]:
    """The same body for every size."""
    return lambda size: json.dumps(document).encode()


def _over_grpc(name: str, body: Callable[[int], bytes], code: int, *, with_key: bool = True) -> Attack:
    path = "/semrec.v1.Recommender/AnswerBatch"
    return Attack(name, path, body, "gRPC", frozenset({code}), with_key=with_key)


_MANY_USERS: Final = [{"user_id": f"user-{number}"} for number in range(10_000)]
_WRONG_LIKED: Final = _filled(b'{"liked":[', b"0,", b"]}")

ATTACKS: Final = (
    Attack("liked items that are numbers", _RECOMMEND, _WRONG_LIKED),
    Attack("the same, 16 at once", _RECOMMEND, _WRONG_LIKED, statuses=frozenset({422, 503}), at_once=16),
    Attack("liked items, very many", _RECOMMEND, _filled(b'{"liked":[', b'"a",', b"]}")),
    Attack("liked items that are lists", _RECOMMEND, _filled(b'{"liked":[', b"[],", b"]}")),
    Attack("lists of few, very many", _RECOMMEND, _filled(b'{"liked":[', b"[0,0,0,0,0,0,0,0],", b"]}")),
    Attack("excluded items that are numbers", _SEARCH, _filled(b'{"text":"a","filters":{"exclude":[', b"0,", b"]}}")),
    Attack("events that are empty", _EVENTS, _filled(b'{"events":[', b"{},", b"]}")),
    Attack("events, very many", _EVENTS, _filled(b'{"events":[', b'{"user_id":"u","item_id":"i"},', b"]}")),
    Attack("queries that are empty", _BATCH, _filled(b'{"queries":[', b"{},", b"]}")),
    Attack("queries, very many", _BATCH, _filled(b'{"queries":[', b'{"user_id":"u"},', b"]}")),
    Attack("queries for very long lists", _BATCH, _dumped({"queries": _MANY_USERS, "k": 1_000})),
    Attack("as many queries as are allowed", _BATCH, _dumped({"queries": _MANY_USERS}), statuses=frozenset({200, 503})),
    Attack("members that are unknown", _RECOMMEND, _numbered(b'{"liked":["a"],', b"0", b"}")),
    Attack("few members of long names", _RECOMMEND, lambda size: b'{"%b":0}' % (b"n" * (size - 10))),
    Attack("filters that are numbers", _SEARCH, _numbered(b'{"text":"a","filters":{', b"0", b"}}")),
    Attack("attributes that are numbers", _ITEM, _numbered(b'{"attributes":{', b"0", b"}}"), "PUT"),
    Attack("one member over and over", _SEARCH, _filled(b'{"text":"a",', b'"k":1,', b"}")),
    Attack("objects in objects", _SEARCH, lambda size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6)),
    Attack(
        "a number of many digits", _SEARCH, lambda size: b'{"k":%b}' % (b"9" * (size - 10)), statuses=frozenset({400})
    ),
    Attack("a text of one word", _SEARCH, lambda size: b'{"text":"%b"}' % (b"x" * (size - 20))),
    Attack("a text of escapes", _SEARCH, _filled(b'{"text":"', b"\\n", b'"}')),
    Attack("not JSON, very long", _SEARCH, lambda size: b'{"text":' + b" " * (size - 10), statuses=frozenset({400})),
    Attack("query of unknown names", f"{_USER}?" + "&".join(map(str, range(10_000))), method="GET"),
    Attack("query of one name", f"{_USER}?" + "genre=&" * (_LINE_BYTES // 7), method="GET"),
    Attack("query of empty fields", f"{_USER}?" + "&" * _LINE_BYTES, method="GET"),
    Attack("query of the page", "/?" + "a&" * (_LINE_BYTES // 2), method="GET"),
    Attack(
        "cookies of the page",
        "/",
        method="GET",
        statuses=frozenset({200}),
        headers=(("Cookie", "a=b;" * (_LINE_BYTES // 4)),),
    ),
    _over_grpc("a message of a stranger", lambda size: b"\x0a\x00" * 500_000, _UNAUTHENTICATED, with_key=False),
    _over_grpc("a message of empty queries", _filled(b"", b"\x0a\x00", b""), _EXHAUSTED),
    _over_grpc("a smaller one", lambda size: b"\x0a\x00" * 500_000, _INVALID),
    _over_grpc("a message that is none", lambda size: b"\xff" * 1_000_000, _INVALID),
    Attack("a body sent slowly", _SEARCH, _dumped({"text": "a lonely robot"}), statuses=frozenset({408}), slow_s=30.0),
)
