"""Write answers as the messages of `recommender.proto`. Runs in an engine thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson

from cluster.serving.execute import Answer, BatchSerializer, Serializer, Snapshot
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.http.problems import problem_of
from semrec.online.answers import item_ids_of
from semrec.online.explain import Explanation

__all__ = ["BATCH_MESSAGES", "MESSAGES", "attribute_values", "sparql_table"]


class _MessageSerializer:
    """Serialised `Answer` messages."""

    def answer(self, answer: Answer) -> bytes:
        return _message(answer).SerializeToString()


class _BatchSerializer:
    """Serialised `BatchAnswers`: side by side, such bytes are the message of all their answers."""

    def part(self, snapshot: Snapshot, outcomes: Sequence[Answer | Exception]) -> bytes:
        answers = [_message(outcome) if isinstance(outcome, Answer) else _failure(outcome) for outcome in outcomes]
        return pb.BatchAnswers(answers=answers).SerializeToString()

    def whole(self, snapshot: Snapshot, parts: Sequence[bytes | memoryview]) -> bytes:
        return b"".join(parts)


MESSAGES: Final[Serializer] = _MessageSerializer()
BATCH_MESSAGES: Final[BatchSerializer] = _BatchSerializer()


def attribute_values(attributes: Mapping[str, Sequence[str]]) -> dict[str, pb.Values]:
    """Attributes as a map of messages."""
    return {name: pb.Values(values=values) for name, values in attributes.items()}


def sparql_table(table: Mapping[str, Any]) -> pb.SparqlTable:
    """What `Service.query_graph` answers."""
    rows = [pb.SparqlRow(values=[pb.SparqlValue(value=value) for value in row]) for row in table["rows"]]
    return pb.SparqlTable(**{**table, "rows": rows})


def _message(answer: Answer) -> pb.Answer:
    snapshot, ranked = answer.snapshot, answer.ranked
    message = pb.Answer(
        source=answer.source,
        release=snapshot.served.release_id,
        overlay=snapshot.overlay.sequence,
        user_id=answer.user_id,
        item_id=answer.item_id,
        short_reason=ranked.short_reason,
        num_deleted=answer.num_deleted,
        mode=answer.mode,
        items=_items(answer),
    )
    if answer.explanations is not None:
        message.explain.items.extend(_explanation(explanation) for explanation in answer.explanations)
        message.explain.SetInParent()  # an empty one was asked for, too
    if answer.recall is not None:
        message.approximate.CopyFrom(pb.Approximate(**answer.recall.summary()))
    if answer.why is not None:
        message.why.CopyFrom(pb.WhyNot(**asdict(answer.why)))
    return message


def _explanation(explanation: Explanation) -> pb.Explanation:
    members = asdict(explanation)
    return pb.Explanation(**{**members, "reason": members["reason"] or ()})


def _failure(error: Exception) -> pb.Answer:
    members = problem_of(error).document()
    members.pop("errors", None)  # those of a body; a query of a batch has none
    return pb.Answer(error=pb.Problem(**members))


def _items(answer: Answer) -> list[pb.Item]:
    snapshot, hits = answer.snapshot, answer.ranked.hits
    # Out of the JSON that the release holds ready: where an item was changed or deleted since, both protocols say the same.
    fragments = snapshot.served.fragments(item_ids_of(hits), snapshot.overlay)
    items = orjson.loads(b"[%b]" % b",".join([fragment + b"}" for fragment in fragments]))
    return [
        pb.Item(
            item_id=item["item_id"],
            title=item["title"],
            attributes=attribute_values(item["attributes"]),
            score=float(hit.score),
        )
        for item, hit in zip(items, hits, strict=True)
    ]
