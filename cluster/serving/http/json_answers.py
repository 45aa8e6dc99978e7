"""Write answers as the JSON of the HTTP API. Runs in an engine thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson

from cluster.serving.execute import Answer, Snapshot
from cluster.serving.http.problems import problem_of
from semrec.online.answers import RowHits
from semrec.online.explain import Explanation
from semrec.online.lists_json import items_json, write_lists

__all__ = ["JSON", "JSON_BATCH"]


class _JsonSerializer:
    """Puts answers together from the JSON that the release holds ready for each item, instead of building objects first."""

    def answer(self, answer: Answer) -> bytes:
        items = items_json(answer.snapshot.served, answer.ranked.hits, answer.snapshot.overlay)
        return b"%b%b%b" % (_beginning(answer), items, _ending(answer))

    def failure(self, error: Exception) -> bytes:
        return b'{"error":%b}' % problem_of(error).body()


class _JsonBatchSerializer:
    """`answers`: a list of them."""

    def part(self, snapshot: Snapshot, outcomes: Sequence[Answer | Exception]) -> memoryview:
        lists: list[RowHits] = []
        texts: list[bytes] = []
        before: list[bytes] = []  # since the last list
        for place, outcome in enumerate(outcomes):
            if place:
                before.append(b",")
            if isinstance(outcome, Exception):
                before.append(JSON.failure(outcome))
            elif isinstance(outcome.ranked.hits, RowHits):
                texts.append(b"".join([*before, _beginning(outcome), b"["]))
                lists.append(outcome.ranked.hits)
                before = [b"]", _ending(outcome)]
            else:
                before.append(JSON.answer(outcome))
        return write_lists(*snapshot.served.items.fragment_bytes, [*texts, b"".join(before)], lists)

    def whole(self, snapshot: Snapshot, parts: Sequence[bytes | memoryview]) -> bytes:
        commas = [b"," if place else b"" for place in range(len(parts))]
        written = [piece for pair in zip(commas, parts, strict=True) for piece in pair]
        return b"".join([b'{"answers":[', *written, b"]}"])


JSON: Final = _JsonSerializer()
JSON_BATCH: Final = _JsonBatchSerializer()


def _beginning(answer: Answer) -> bytes:
    """The object as far as its items."""
    about = b""
    if answer.user_id is not None:
        about = b'"user_id":%b,' % orjson.dumps(answer.user_id)
    elif answer.item_id is not None:
        about = b'"item_id":%b,' % orjson.dumps(answer.item_id)
    elif answer.mode is not None:
        about = b'"mode":"%b",' % answer.mode.encode()
    reason = orjson.dumps(answer.ranked.short_reason) if answer.ranked.short_reason else b"null"
    head = b'{"source":"%b",%b,%b' % (answer.source.encode(), answer.snapshot.stamp, about)
    return b'%b"short_reason":%b,"items":' % (head, reason)


def _ending(answer: Answer) -> bytes:
    """The end of the object, with what was asked for besides the list."""
    members: dict[str, Any] = {}
    if answer.explanations is not None:
        members["explain"] = {"items": [_explanation(explanation) for explanation in answer.explanations]}
    if answer.why is not None:
        members["why"] = asdict(answer.why)
    if answer.num_deleted is not None:
        members["num_deleted"] = answer.num_deleted
    if answer.recall is not None:
        members["approximate"] = answer.recall.summary()
    return b"," + orjson.dumps(members)[1:] if members else b"}"


def _explanation(explanation: Explanation) -> dict[str, Any]:
    members = asdict(explanation)
    # A release without relations has no reasons, and one whose encoders name no dimensions no themes.
    return {name: member for name, member in members.items() if member or name not in ("reason", "themes")}
