"""Stores a log of acknowledged batches as segments, one object each, whose rows are numbered without gaps.

The segment `<folder>/segment-<first>.parquet` holds the rows from sequence `first` on; the next one begins after its last.
It is made by an exclusive create, so of two processes that append to one log one wins each number, and the other reads
what the winner wrote before it goes on. Readers other than this one find an ordinary Parquet file.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError, WorkspaceWriteError
from semrec.workspace.manifests import AppliedSequences
from semrec.workspace.storage import Storage

__all__ = ["Appended", "Batch", "BatchToken", "LogPositions", "Segment", "SegmentLog"]

_NAME: Final = re.compile(r"segment-(\d{12,})\.parquet")
_BATCHES_KEY: Final = b"semrec.batches"
#: Apart from the batches, so that builds without digests read these segments. Some builds wrote the second key.
_DIGESTS_KEY: Final = b"semrec.digests"
_DIGESTS_KEYS: Final = (_DIGESTS_KEY, b"semrec.workspace.digests")
_REMEMBERED: Final = 1_000  # segments whose tokens are read when a log is opened
_MAX_TOKENS: Final = 100_000
_READERS: Final = 16  # requests at a time to an object store


@dataclass(frozen=True)
class LogPositions:
    """The last sequence of each log that an artefact holds, or replaces: of item changes, events and changes of relations."""

    items: int = 0
    events: int = 0
    relations: int = 0

    @classmethod
    def of(cls, applied: AppliedSequences) -> LogPositions:
        """Returns what its sources held when a release was planned, by its manifest or the live pointer.

        Events later than an `as_of` that the release was given count as held: it was asked to leave them out.
        """
        return cls(applied.items, applied.events, applied.relations)


@dataclass(frozen=True)
class BatchToken:
    """A caller's name for a batch, and the digest of what the caller asked for; an empty digest is one that is not known."""

    name: str
    digest: str = ""


@dataclass(frozen=True)
class Batch:
    """One acknowledged batch: its rows have sequences first .. last.

    `repeated` says that its token was known, and that these are the sequences of the first time.
    """

    first: int
    num_rows: int
    token: str
    repeated: bool = False
    digest: str = ""

    def again(self, token: BatchToken) -> Batch:
        """Returns this batch for a caller that gives its token again. Raises InputError when that asks for something else."""
        if token.digest and self.digest and token.digest != self.digest:
            raise InputError(
                "an idempotency key that was given to another change",
                expected="the same request again, or a key of its own for each change",
                remedy="Send this change under a new key; it was not made.",
            )
        return replace(self, repeated=True)

    @property
    def last(self) -> int:
        return self.first + self.num_rows - 1


@dataclass(frozen=True, eq=False)
class Segment:
    """One stored object: the rows, and the batches that they came in."""

    first: int
    table: pa.Table
    batches: tuple[Batch, ...]

    @property
    def last(self) -> int:
        return self.first + self.table.num_rows - 1


@dataclass(frozen=True)
class Appended:
    """The result of an append: the batch of each one given, and every segment after the head that was known before."""

    batches: list[Batch]
    segments: list[Segment]


class SegmentLog:
    """One log. `last_sequence` is the last sequence that this process knows of; `schema` is that of the rows.

    `floor` is a sequence that the log has reached even if its segments are gone, because an artefact holds them.
    """

    def __init__(self, storage: Storage, folder: str, schema: pa.Schema, *, floor: int = 0) -> None:
        self._storage, self._folder, self._schema = storage, folder, schema
        self._tokens: dict[str, Batch] = {}
        self._lock = threading.Lock()
        self.last_sequence = floor

    def open(self, *, remembered: int = _REMEMBERED) -> None:
        """Finds the end of the log, and the tokens of its last segments. Needed before `append`."""
        with self._lock:
            for segment in self._read_all(self._firsts()[-remembered:]):
                self._note(segment)

    def read(self, after: int) -> Iterator[Segment]:
        """Reads the stored segments with rows after sequence `after`, ascending; the first may begin before it.

        Raises CorruptArtefactError when one is missing between two others, or cannot be read.
        """
        firsts = self._firsts()
        # Whether the last one goes far enough only its rows can tell.
        later_firsts = [first for first, following in pairwise(firsts) if following > after + 1] + firsts[-1:]
        reached = min([after, *(first - 1 for first in later_firsts[:1])])
        for segment in self._read_all(later_firsts):
            if segment.first != reached + 1:
                raise CorruptArtefactError(
                    f"{self._path(segment.first)} in {self._storage.uri} comes after sequence {reached}",
                    expected=f"{self._path(reached + 1)}",
                    remedy="Restore the missing segment.",
                )
            reached = segment.last
            if segment.last > after:
                yield segment

    def rows(self, after: int, until: int) -> Iterator[pa.Table]:
        """Reads the stored rows with sequences after `after` up to `until`, ascending, in tables. Raises as `read` does."""
        for segment in self.read(after):
            if segment.first <= until:
                start = max(0, after + 1 - segment.first)
                yield segment.table.slice(start, until + 1 - segment.first - start)

    def catch_up(self) -> list[Segment]:
        """Reads the segments that other processes appended after `last_sequence`, which moves to the last of them."""
        with self._lock:
            return self._catch_up()

    def append(self, batches: Sequence[tuple[pa.Table, BatchToken | None]]) -> Appended:
        """Makes all batches (rows, at least one, and token) durable as one segment: they are then on the disk or in the store.

        A batch whose token is known is not written again, and has the digest of the first. Raises WorkspaceWriteError when
        the workspace refuses: nothing of the batches is then stored, unless a store lost its answer, and the same tokens may
        be given again.
        """
        # A store may lose its answer to a create that it did; by its token even a batch without one is known again.
        with_tokens = [(table, token or BatchToken(uuid.uuid4().hex)) for table, token in batches]
        with self._lock:
            new_segments: list[Segment] = []
            while True:
                segment = self._next_segment(with_tokens)
                if segment.table.num_rows:
                    if not self._storage.create_exclusive(self._path(segment.first), _to_bytes(segment)):
                        new_segments += self._segments_of_others(segment.first)
                        continue
                    self._note(segment)
                    new_segments.append(segment)
                return Appended(self._stored_batches(with_tokens, segment), new_segments)

    def batch_of(self, token: str) -> Batch | None:
        """Returns the batch that was stored under `token`, while it is remembered."""
        return self._tokens.get(token)

    def _next_segment(self, batches: Sequence[tuple[pa.Table, BatchToken]]) -> Segment:
        """Makes the segment after the head with every batch whose token is new."""
        tables, new_batches, first = [self._schema.empty_table()], {}, self.last_sequence + 1
        for table, token in batches:
            if token.name not in self._tokens and token.name not in new_batches:
                tables.append(table)
                new_batches[token.name] = Batch(first, table.num_rows, token.name, digest=token.digest)
                first += table.num_rows
        return Segment(self.last_sequence + 1, pa.concat_tables(tables), tuple(new_batches.values()))

    def _stored_batches(self, batches: Sequence[tuple[pa.Table, BatchToken]], segment: Segment) -> list[Batch]:
        """Returns the stored batch of each given one: the one made now, or the earlier one with its token."""
        new_tokens = {batch.token for batch in segment.batches}
        stored = []
        for _, token in batches:
            stored.append(replace(self._tokens[token.name], repeated=token.name not in new_tokens))
            new_tokens.discard(token.name)  # a second batch of the same call with this token repeats the first
        return stored

    def _catch_up(self) -> list[Segment]:
        new_segments = []
        while (segment := self._read_one(self.last_sequence + 1)) is not None:
            self._note(segment)
            new_segments.append(segment)
        return new_segments

    def _segments_of_others(self, first: int) -> list[Segment]:
        """Reads the segments from `first` on that another process wrote, because of which a create was refused."""
        new_segments = self._catch_up()
        if not new_segments:
            raise WorkspaceWriteError(
                f"{self._path(first)} in {self._storage.uri} can be neither made nor read",
                expected="a store that shows at once what was written",
                remedy="Check the folder and the store's consistency; nothing was stored.",
            )
        return new_segments

    def _note(self, segment: Segment) -> None:
        self.last_sequence = max(self.last_sequence, segment.last)
        self._tokens |= {batch.token: batch for batch in segment.batches}
        while len(self._tokens) > _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]

    def _firsts(self) -> list[int]:
        names = (_NAME.fullmatch(name) for name in self._storage.list_sizes(self._folder))
        return sorted(int(match[1]) for match in names if match)

    def _read_all(self, firsts: Sequence[int]) -> Iterator[Segment]:
        """Reads the segments that begin at `firsts`, several requests at a time, none of them absent."""
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(firsts), _REMEMBERED):
                yield from pool.map(self._read_known, firsts[start : start + _REMEMBERED])

    def _read_known(self, first: int) -> Segment:
        return _from_bytes(self._storage.read_bytes(self._path(first)), first, self._path(first))

    def _read_one(self, first: int) -> Segment | None:
        try:
            return self._read_known(first)
        except MissingArtefactError:
            return None

    def _path(self, first: int) -> str:
        return f"{self._folder}/segment-{first:012d}.parquet"


def _to_bytes(segment: Segment) -> bytes:
    batches = [[batch.token, batch.num_rows] for batch in segment.batches]
    digests = [batch.digest for batch in segment.batches]
    metadata = {_BATCHES_KEY: json.dumps(batches).encode(), _DIGESTS_KEY: json.dumps(digests).encode()}
    table = segment.table.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_statistics=False, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _from_bytes(data: bytes, first: int, path: str) -> Segment:
    """Raises CorruptArtefactError when the bytes are not those of a segment; pages carry checksums."""
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        counts = json.loads(metadata[_BATCHES_KEY])
        stored_digests = next((metadata[key] for key in _DIGESTS_KEYS if key in metadata), None)
        digests = [""] * len(counts) if stored_digests is None else json.loads(stored_digests)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorruptArtefactError(
            f"{path} is not a segment ({error})",
            expected="the bytes that were acknowledged",
            remedy="Restore the file.",
        ) from None
    batches, at = [], first
    for (token, num_rows), digest in zip(counts, digests, strict=True):
        batches.append(Batch(at, num_rows, token, digest=digest))
        at += num_rows
    return Segment(first, table.replace_schema_metadata(None), tuple(batches))
