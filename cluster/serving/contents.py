"""Words and contents that callers bring: read or fetched, embedded, and answered with what is like them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from cluster.serving.batcher import Batcher, one_by_one
from cluster.serving.encoders import TextEncoder
from cluster.serving.execute import Answer, Snapshot
from cluster.serving.fetches import Fetcher
from cluster.serving.queries import AnonymousQuery, ListOptions, Query, SearchQuery
from cluster.serving.settings import ServeArgs
from cluster.serving.watcher import ReleaseWatcher
from semrec.errors import EncoderError, InputError
from semrec.online.anonymous import ContentVector
from semrec.online.process import (
    MODALITIES_OF_FILES,
    ContentEncoders,
    Processed,
    ReceivedFile,
    modality_of,
    nearest_query,
)

__all__ = ["Content", "ContentAnswer", "ContentProcessor"]

_MAX_TEXTS: Final = 256  # of one piece of work
_MAX_WAITING: Final = 64  # files of a modality, which are held in memory meanwhile


@dataclass(frozen=True)
class Content:
    """What a caller brings: a text, a file, or the URI of one on the public web. One of the three.

    `num_thumbnails`: of so many first pages of a document small pictures are wanted.
    """

    text: str | None = None
    file: ReceivedFile | None = None
    uri: str | None = None
    num_thumbnails: int = 0


@dataclass(frozen=True, eq=False)
class ContentAnswer:
    """What a content is, and the items that are most like it."""

    processed: Processed
    answer: Answer


class ContentProcessor:
    """Embeds texts in a thread of their own, many at a time, and files of each modality in another, one by one.

    `live` has the text encoders. What is like a content is found in a thread of its own, which waits for no long document.
    A URI's file has at most the bytes of a request and half of its seconds: then there is time for the others.
    """

    def __init__(self, args: ServeArgs, live: ReleaseWatcher) -> None:
        self._live, self._encoders = live, ContentEncoders()
        self._fetcher = Fetcher(max_bytes=args.max_body_bytes, timeout_s=args.timeout_s / 2)
        self._texts: Batcher[tuple[TextEncoder, str], np.ndarray] = Batcher(
            "texts", _text_vectors, max_batch=_MAX_TEXTS, max_waiting=args.max_waiting
        )
        self._files = {
            modality: one_by_one(f"{modality}s", max_waiting=_MAX_WAITING) for modality in MODALITIES_OF_FILES
        }
        self._lists = one_by_one("contents", max_waiting=_MAX_WAITING)

    @property
    def num_waiting_texts(self) -> int:
        """How many texts wait for their vectors."""
        return self._texts.num_waiting

    async def text_of(self, query: Query, snapshot: Snapshot) -> ContentVector | None:
        """A query's text with its vector; None without one, and for a search that goes by its words alone."""
        if not isinstance(query, AnonymousQuery | SearchQuery) or query.text is None:
            return None
        _check_text(query.text)
        mode = query.mode if isinstance(query, SearchQuery) else "dense"
        if mode == "words":
            return None
        try:
            encoder = await asyncio.to_thread(self._live.encoder, snapshot.served.release)
        except EncoderError:
            if mode is None:  # its vectors come from images, say: it is searched by its words
                return None
            raise
        return ContentVector(query.text, await self._texts.do((encoder, query.text)))

    async def image_of(self, query: Query, snapshot: Snapshot) -> ContentVector | None:
        """A search's image with its vector; None without one.

        Raises InputError for another file, EncoderError where the release has no encoder of images.
        """
        if not isinstance(query, SearchQuery) or query.image is None:
            return None
        embed = partial(self._encoders.image, snapshot.served.release, query.image)
        image: ContentVector = await self._files["image"].do(embed)
        return image

    async def text_vector(self, snapshot: Snapshot, text: str) -> np.ndarray:
        """float32 [D]: a text's vector by the release's encoder. Raises InputError or EncoderError."""
        _check_text(text)
        encoder = await asyncio.to_thread(self._live.encoder, snapshot.served.release)
        return await self._texts.do((encoder, text))

    async def process(
        self, snapshot: Snapshot, contents: Sequence[Content], options: ListOptions
    ) -> list[ContentAnswer | Exception]:
        """What each content is, and the items most like it, in their order; one that fails has its error there."""
        async with asyncio.TaskGroup() as group:
            # Files that must be fetched are waited for side by side; what was sent takes one place in the queue at a time.
            fetching = {
                number: group.create_task(self._outcome(snapshot, content, options))
                for number, content in enumerate(contents)
                if content.uri is not None
            }
            done = {
                number: await self._outcome(snapshot, content, options)
                for number, content in enumerate(contents)
                if content.uri is None
            }
        done |= {number: task.result() for number, task in fetching.items()}
        return [done[number] for number in range(len(contents))]

    def close(self) -> None:
        """Ends the threads."""
        self._texts.close()
        for batcher in (*self._files.values(), self._lists):
            batcher.close()
        self._fetcher.close()

    async def _outcome(self, snapshot: Snapshot, content: Content, options: ListOptions) -> ContentAnswer | Exception:
        try:
            processed = await self._processed(snapshot, content)
            answer: ContentAnswer = await self._lists.do(partial(_nearest, snapshot, processed, options))
            return answer
        except Exception as error:
            return error

    async def _processed(self, snapshot: Snapshot, content: Content) -> Processed:
        if content.text is not None:
            vector = await self.text_vector(snapshot, content.text)
            about = partial(self._encoders.about_text, snapshot.served.release, content.text)
            return Processed("text", await self._lists.do(about), vector)
        if content.file is not None:
            return await self._embedded(snapshot, content.file, content.num_thumbnails)
        async with self._fetcher.file(content.uri or "") as file:
            return await self._embedded(snapshot, file, content.num_thumbnails)

    async def _embedded(self, snapshot: Snapshot, file: ReceivedFile, num_thumbnails: int) -> Processed:
        process = partial(self._encoders.process, snapshot.served.release, file, num_thumbnails=num_thumbnails)
        processed: Processed = await self._files[modality_of(file.data)].do(process)
        return processed


def _nearest(snapshot: Snapshot, processed: Processed, options: ListOptions) -> ContentAnswer:
    filters = snapshot.served.relations.filters(options.filters, snapshot.overlay.relations)
    query = nearest_query(snapshot.served, snapshot.overlay, processed, filters=filters, k=options.k)
    (ranked,) = snapshot.rank([query], snapshot.overlay)
    return ContentAnswer(processed, Answer(snapshot, "search", ranked, mode="dense"))


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and no tokeniser takes
        raise InputError("a text with bad UTF-8", expected="Unicode", remedy="Mend the text.") from None


def _text_vectors(texts: list[tuple[TextEncoder, str]]) -> list[np.ndarray | BaseException]:
    vectors: list[np.ndarray | BaseException] = []
    for encoder, text in texts:
        try:
            vectors.append(encoder.vector(text))
        except Exception as error:
            vectors.append(error)
    return vectors
