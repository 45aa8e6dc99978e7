"""Answers as the messages of `recommender.proto`, serialised. Runs in an engine thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

import orjson

from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.http.forms import Answer, Form
from cluster.serving.http.problems import ProblemError

__all__ = ["MESSAGES", "values_of"]


class _Messages:
    """What the JSON of an answer says, as `Answer` and `BatchAnswers`."""

    def answer(self, answer: Answer) -> bytes:
        snapshot, ranked = answer.snapshot, answer.ranked
        message = pb.Answer(
            source=answer.source,
            release=snapshot.served.release_id,
            overlay=snapshot.overlay.sequence,
            user_id=answer.user_id,
            item_id=answer.item_id,
            short_reason=ranked.short_reason,
            num_deleted=answer.num_deleted,
            items=_items(answer),
        )
        if answer.explained is not None:
            message.explain.items.extend(pb.Explanation(**asdict(one)) for one in answer.explained)
            message.explain.SetInParent()  # an empty one was asked for, too
        if answer.why is not None:
            message.why.CopyFrom(pb.WhyNot(**asdict(answer.why)))
        return message.SerializeToString()

    def failure(self, problem: ProblemError) -> bytes:
        members = problem.document()
        members.pop("errors", None)  # those of a body; a query of a batch has none
        return pb.Answer(error=pb.Problem(**members)).SerializeToString()

    def piece(self, answers: Sequence[bytes]) -> bytes:
        message = pb.BatchAnswers()
        for answer in answers:
            message.answers.add().MergeFromString(answer)
        return message.SerializeToString()

    def batch(self, pieces: Sequence[bytes]) -> bytes:
        return b"".join(pieces)  # serialised messages in a row are the message of all that they repeat


MESSAGES: Final[Form] = _Messages()


def values_of(attributes: Mapping[str, Sequence[str]]) -> dict[str, pb.Values]:
    """Attributes as a map of messages."""
    return {name: pb.Values(values=values) for name, values in attributes.items()}


def _items(answer: Answer) -> list[pb.Item]:
    snapshot, hits = answer.snapshot, answer.ranked.hits
    # Out of the JSON that the release holds ready: where an item was changed or deleted since, both forms say the same.
    fragments = snapshot.served.fragments([hit.item_id for hit in hits], snapshot.overlay)
    facts = orjson.loads(b"[%b]" % b",".join([fragment + b"}" for fragment in fragments]))
    return [
        pb.Item(
            item_id=one["item_id"],
            title=one["title"],
            attributes=values_of(one["attributes"]),
            score=float(hit.score),
        )
        for one, hit in zip(facts, hits, strict=True)
    ]
