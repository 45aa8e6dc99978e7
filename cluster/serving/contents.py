"""Contents that callers bring: read or fetched, embedded, and answered with what is like them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from cluster.serving.batcher import Batcher, call_each
from cluster.serving.execute import Answer, Snapshot
from cluster.serving.queries import ListOptions
from cluster.serving.settings import ServeArgs
from semrec.online.process import ContentEncoders, Processed, ReceivedFile, fetched, nearest_query

__all__ = ["Content", "ContentAnswer", "ContentProcessor"]

_MAX_WAITING: Final = 64  # files are held in memory meanwhile


@dataclass(frozen=True)
class Content:
    """What a caller brings: a text, a file, or the URI of one on the public web. One of the three."""

    text: str | None = None
    file: ReceivedFile | None = None
    uri: str | None = None


@dataclass(frozen=True, eq=False)
class ContentAnswer:
    """What a content is, and the items that are most like it."""

    processed: Processed
    answer: Answer


class ContentProcessor:
    """Does all that takes long in one thread of its own, one content at a time; `text_vector` embeds a text.

    A URI's file has at most the bytes and the seconds of a request.
    """

    def __init__(self, args: ServeArgs, text_vector: Callable[[Snapshot, str], Awaitable[np.ndarray]]) -> None:
        self._args, self._text_vector = args, text_vector
        self._encoders = ContentEncoders()
        self._jobs: Batcher[Callable[[], Any], Any] = Batcher(
            "contents", call_each, max_batch=1, max_waiting=_MAX_WAITING
        )

    async def process(
        self, snapshot: Snapshot, contents: Sequence[Content], options: ListOptions
    ) -> list[ContentAnswer | Exception]:
        """What each content is, and the items most like it, in their order; one that fails has its error there."""
        outcomes: list[ContentAnswer | Exception] = []
        for content in contents:
            try:
                processed = await self._processed(snapshot, content)
                outcomes.append(await self._jobs.do(partial(_nearest, snapshot, processed, options)))
            except Exception as error:
                outcomes.append(error)
        return outcomes

    def close(self) -> None:
        """Ends the thread."""
        self._jobs.close()

    async def _processed(self, snapshot: Snapshot, content: Content) -> Processed:
        if content.text is not None:
            vector = await self._text_vector(snapshot, content.text)
            return Processed("text", {"num_characters": len(content.text)}, vector)
        processed: Processed = await self._jobs.do(partial(self._file, snapshot, content))
        return processed

    def _file(self, snapshot: Snapshot, content: Content) -> Processed:
        max_bytes, timeout_s = self._args.max_body_bytes, self._args.timeout_s
        file = content.file or fetched(content.uri or "", max_bytes=max_bytes, timeout_s=timeout_s)
        return self._encoders.process(snapshot.served.release, file)


def _nearest(snapshot: Snapshot, processed: Processed, options: ListOptions) -> ContentAnswer:
    filters = snapshot.served.relations.filters(options.filters, snapshot.overlay.relations)
    query = nearest_query(snapshot.served, snapshot.overlay, processed, filters=filters, k=options.k)
    (ranked,) = snapshot.rank([query], snapshot.overlay)
    return ContentAnswer(processed, Answer(snapshot, "search", ranked, mode="dense"))
