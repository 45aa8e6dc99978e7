"""Checks parity: live answers equal the published run, item by item and byte by byte of the scores.

Of approximate lists, which a live answer need not equal, it checks what must hold all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semrec.online.answers import ScoredItem
from semrec.online.published import Published, PublishedLists
from semrec.progress import NoProgress, Progress

__all__ = ["Difference", "ParityReport", "check_parity", "difference", "hits_differ", "published_differs"]


@dataclass(frozen=True)
class Difference:
    """A user whose live answer is not the published list."""

    user_id: str
    reason: str


@dataclass(frozen=True)
class ParityReport:
    """What a replay found. `share` is 1.0 only when every answer was equal, and there was one at least."""

    num_users: int
    differences: list[Difference]

    @property
    def num_equal(self) -> int:
        return self.num_users - len(self.differences)

    @property
    def share(self) -> float:
        return self.num_equal / self.num_users if self.num_users else 0.0

    @property
    def ok(self) -> bool:
        return self.num_users > 0 and not self.differences


def check_parity(
    run: PublishedLists,
    fetch: Callable[[str], Mapping[str, Any]],
    num_users: int,
    *,
    progress: Progress | None = None,
) -> ParityReport:
    """Asks for the answers of `num_users` users spread over the run, and compares each with the published list.

    `fetch` gives the live answer to a user id as the API shapes it: {"release", "source", "items": [{"item_id", "score"}]},
    at the run's K and without the overlay. An answer that does not come (OSError or ValueError) is a difference, too.
    """
    listener, differences, user_ids = progress or NoProgress(), [], run.sample(num_users)
    listener.start("parity", len(user_ids), "users")
    for user_id in user_ids:
        published = run.list_of(user_id)
        assert published is not None  # it was sampled from the same lists
        try:
            reason = difference(published, fetch(user_id), run.release_id)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"no answer: {type(error).__name__}: {error}"
        if reason is not None:
            differences.append(Difference(user_id, reason))
        listener.advance(1)
    report = ParityReport(len(user_ids), differences)
    equal = f"agree with lists that are {run.recall}" if run.recall else "equal"
    listener.finish(f"{report.num_equal:,} of {report.num_users:,} answers {equal}, {report.share:.2%}")
    return report


def difference(published: Published, answer: Mapping[str, Any], release_id: str) -> str | None:
    """Says how an answer of the API differs from a published list, or returns None."""
    if answer["release"] != release_id:
        return f"it is of release {answer['release']}, the run of {release_id}"
    if answer["source"] != published.source:
        return f"its source is {answer['source']}, published {published.source}"
    hits = [ScoredItem(item["item_id"], np.float32(item["score"])) for item in answer["items"]]
    return published_differs(hits, published)


def published_differs(hits: Sequence[ScoredItem], published: Published) -> str | None:
    """Says how a published list differs from the exact one, `hits`, as it may not; None when all is well.

    An approximate list is as long, has the same bytes of the score where both have an item, and is nowhere better. What it
    alone has comes after the exact list: an item that would stand within that is one which the user may not see.
    """
    if published.recall is None or len(hits) != len(published.hits):
        return hits_differ(hits, published.hits)
    score_of = dict(hits)
    for place, (hit, found) in enumerate(zip(hits, published.hits, strict=True), start=1):
        if found.score > hit.score:
            return (
                f"place {place} is {found.item_id!r} with {found.score!s}, and the exact list has {hit.score!s} there"
            )
        if found.item_id not in score_of and found.score > hits[-1].score:
            return (
                f"{found.item_id!r} with {found.score!s} is not in the exact list, which ends with {hits[-1].score!s}"
            )
        if score_of.get(found.item_id, found.score).tobytes() != found.score.tobytes():
            return f"the score of {found.item_id!r} is {score_of[found.item_id]!s}, published {found.score!s}"
    return None


def hits_differ(hits: Sequence[ScoredItem], published: Sequence[ScoredItem]) -> str | None:
    """Says how a list differs from the published one, items first, then the bytes of the scores; None when it does not."""
    if len(hits) != len(published):
        return f"{len(hits)} items, published {len(published)}"
    for place, (hit, expected) in enumerate(zip(hits, published, strict=True), start=1):
        if hit.item_id != expected.item_id:
            return f"place {place} is {hit.item_id!r}, published {expected.item_id!r}"
        if hit.score.tobytes() != expected.score.tobytes():
            return f"the score of place {place} is {hit.score!s}, published {expected.score!s}"
    return None
