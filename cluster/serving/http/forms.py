"""How answers are written down: as JSON here, as protobuf messages in `grpc`. Runs in an engine thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import orjson

from cluster.serving.http.problems import ProblemError
from cluster.serving.snapshots import Snapshot
from semrec.online.answers import Ranked
from semrec.online.explain import Explanation, WhyNot

__all__ = ["JSON", "Answer", "Form"]


@dataclass(frozen=True)
class Answer:
    """One answer before it is written down. `user_id` or `item_id` names what was asked for, if anything; `num_deleted`,
    of a published list, counts its items that are left out."""

    snapshot: Snapshot
    source: str
    ranked: Ranked
    user_id: str | None = None
    item_id: str | None = None
    explained: Sequence[Explanation] | None = None
    why: WhyNot | None = None
    num_deleted: int | None = None


class Form(Protocol):
    """Makes bytes of answers. A batch is written piece by piece."""

    def answer(self, answer: Answer) -> bytes:
        """One answer."""

    def failure(self, problem: ProblemError) -> bytes:
        """What stands in the place of an answer in a batch."""

    def piece(self, answers: Sequence[bytes]) -> bytes:
        """Some answers of a batch, in their order."""

    def batch(self, pieces: Sequence[bytes]) -> bytes:
        """All of a batch."""


class _Json:
    """The bodies of the HTTP API."""

    def answer(self, answer: Answer) -> bytes:
        snapshot, ranked = answer.snapshot, answer.ranked
        about = b""
        if answer.user_id is not None:
            about = b'"user_id":%b,' % _text(answer.user_id)
        elif answer.item_id is not None:
            about = b'"item_id":%b,' % _text(answer.item_id)
        reason = _text(ranked.short_reason) if ranked.short_reason else b"null"
        items = snapshot.served.items_json(ranked.hits, snapshot.overlay)
        head = b'{"source":"%b",%b,%b' % (answer.source.encode(), snapshot.stamp, about)
        return b'%b"short_reason":%b,"items":%b%b' % (head, reason, items, _extra(answer))

    def failure(self, problem: ProblemError) -> bytes:
        return b'{"error":%b}' % problem.body()

    def piece(self, answers: Sequence[bytes]) -> bytes:
        return b",".join(answers)

    def batch(self, pieces: Sequence[bytes]) -> bytes:
        return b'{"answers":[%b]}' % b",".join(pieces)


JSON: Final[Form] = _Json()


def _extra(answer: Answer) -> bytes:
    """The end of the object, with what was asked for besides the list."""
    extra: dict[str, Any] = {}
    if answer.explained is not None:
        extra["explain"] = {"items": [asdict(one) for one in answer.explained]}
    if answer.why is not None:
        extra["why"] = asdict(answer.why)
    if answer.num_deleted is not None:
        extra["num_deleted"] = answer.num_deleted
    return b"," + orjson.dumps(extra)[1:] if extra else b"}"


def _text(text: str) -> bytes:
    return orjson.dumps(text)
