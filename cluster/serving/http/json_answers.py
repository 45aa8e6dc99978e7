"""Write answers as the JSON of the HTTP API. Runs in an engine thread."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import orjson

from cluster.serving.execute import Answer, Serializer
from cluster.serving.http.problems import problem_of
from semrec.online.explain import Explanation

__all__ = ["JSON"]


class _JsonSerializer:
    """Puts answers together from the JSON that the release holds ready for each item, instead of building objects first."""

    def answer(self, answer: Answer) -> bytes:
        snapshot, ranked = answer.snapshot, answer.ranked
        about = b""
        if answer.user_id is not None:
            about = b'"user_id":%b,' % orjson.dumps(answer.user_id)
        elif answer.item_id is not None:
            about = b'"item_id":%b,' % orjson.dumps(answer.item_id)
        elif answer.mode is not None:
            about = b'"mode":"%b",' % answer.mode.encode()
        reason = orjson.dumps(ranked.short_reason) if ranked.short_reason else b"null"
        items = snapshot.served.items_json(ranked.hits, snapshot.overlay)
        head = b'{"source":"%b",%b,%b' % (answer.source.encode(), snapshot.stamp, about)
        return b'%b"short_reason":%b,"items":%b%b' % (head, reason, items, _ending(answer))

    def failure(self, error: Exception) -> bytes:
        return b'{"error":%b}' % problem_of(error).body()


JSON: Final[Serializer] = _JsonSerializer()


def _ending(answer: Answer) -> bytes:
    """The end of the object, with what was asked for besides the list."""
    members: dict[str, Any] = {}
    if answer.explanations is not None:
        members["explain"] = {"items": [_explanation(explanation) for explanation in answer.explanations]}
    if answer.why is not None:
        members["why"] = asdict(answer.why)
    if answer.num_deleted is not None:
        members["num_deleted"] = answer.num_deleted
    return b"," + orjson.dumps(members)[1:] if members else b"}"


def _explanation(explanation: Explanation) -> dict[str, Any]:
    members = asdict(explanation)
    if members["reason"] is None:  # as in every release without relations
        del members["reason"]
    return members
