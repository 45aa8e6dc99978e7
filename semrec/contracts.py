"""Defines the contracts that bind stages, engines and releases to each other.

Workspace
    workspace.json         schema version and number of user buckets, fixed at creation
    settings.toml          what shapes results, for people to edit (semrec/settings.py); absent: the defaults
    catalogue/             items-<part>-<digest>.parquet (CATALOGUE_SCHEMA); equal texts share a part, by text hash.
                           `content` has what an item shows beside its text, by modality, each with a hash
    users/, interactions/  part-<part>-<digest>.parquet (USERS_SCHEMA, INTERACTIONS_SCHEMA); part p = user bucket p. A part
                           of the interactions may be several such files: the rows of all, in the schema's order
    relations/             part-<part>-<digest>.parquet (RELATIONS_SCHEMA); part p = bucket p of the subject
    ontology/              part-00000-<digest>.parquet (RELATIONS_SCHEMA): its triples
    embeddings/<encoder>/  part-<part>-<digest>.parquet: vectors by text hash, of documents with what they say;
                           runs/<run>/ plan and ledger; manifest.json
    releases/<release>/    plan and ledger; ids.{offsets,data}.npy, matrix/block-<n>.{high,low,norms,words}.npy,
                           popularity.npy: what scoring reads of the items; items.parquet: their titles and attributes,
                           images.parquet: the URIs of their images, where one has an image, both for who shows and
                           checks; facets.parquet: what an encoder read in their texts for filters;
                           models/<kind>/<array>.npy: what a model has beside its columns of the item matrix;
                           graph/<array>.npy of one with relations; index/<array>.npy: the words of titles and texts,
                           index/documents/<array>.npy: those of documents, where one was read;
                           users/part-<part>.parquet, manifest.json
    runs/<run>/            plan.json, parts/, ledger/, lease.json, manifest.json (last), verified.json, health.json,
                           recall.json of an approximate run
    imports/<run>/         plan, ledger, rows/ and rejected/ of an import by files, until it is live
    imports/<kind>/        lease.json, while items, users, ... are imported
    quarantine/<stage>/    rejected rows: file, line, reason, row
    exports/<key>/         which rows of a release stand at a place that is not ours: rows-<digest>.parquet, manifest.json
    benchmarks/            content.json: the last benchmark of contents that a service ran, and a lease while it runs
    current.json           the live pair: release and run
    overlay/, events/,     segment-<first sequence>.parquet: item changes, interactions and changes of relations as serving
    relation-changes/      acknowledged them

    Files of imports and embeddings carry a digest in their name and the stage's manifest names them, so that one rename of
    the manifest switches from the old set to the new: a reader never sees half of each. Blocks are how the item matrix is
    stored; shards are the ranges of rows that workers hold, chosen for each run. A release's manifest names the files of the
    interactions that it was built from, which serving reads, whatever was imported since: they must stay while it does.

Changes made online
    Every acknowledged item change, event and change of a relation has a sequence, from 1 without gaps, in the log of its
    kind. One segment holds one write, made by an exclusive create, and begins where the one before ended. `folded` of the
    manifests of catalogue, interactions and relations is the last sequence that the parts hold or replace (absent: none), and
    a release's `folded` repeats all three, as the live pointer does: what comes after them is laid over the release when it is
    served. No fingerprint covers `folded`.

    Imports and changes are ordered by when they happened, and the later wins. An import notes the end of the logs when it
    begins: what was acknowledged before is older, the rest newer, also what comes while the import runs. No clock is
    compared. So an import that replaces items, interactions or relations replaces the older changes or events, too, whether
    or not a run has taken them in; they stay in the log. One that appends items or relations takes the older changes in
    beneath its own rows.

Item matrix
    A float32 vector is stored as two 16-bit halves: `high` has the bits of the nearest bfloat16, `low` the difference of
    the bit patterns; both together give the float32 back, bit for bit. `norms` bound what the coarse formats lose
    (`scoring.formats`). `words` are the eligibility words. The matrix's fingerprint covers ids, words and float32 vectors,
    not titles and other attributes. Ids stand in ascending order, end to end in `data`, and are looked up where they lie.
    Schema 2 had ids and words in items.parquet, and is still read. The coarse format is chosen by measurement when a release
    is built, stands in its manifest under `coarse`, is part of no fingerprint and changes only the speed.

Scoring
    score(u, i): inner product of two float32 vectors in eight float64 lanes, lane l adding the products of d = l (mod 8)
    in ascending d, then ((0+1)+(2+3))+((4+5)+(6+7)), rounded once to float32. Products of float32 are exact in float64,
    so fused multiply-add changes nothing. Order: score descending, then item_id ascending, which is the matrix's row
    order. Negative zero is returned as zero. Seen items and items that fail an eligibility clause are never returned.
    Eligibility is closed: a user who states values of an attribute that a release goes by may see the items that state one
    of them, and no other; an item that states none of it meets no such user. A user who states none asks for nothing. The
    rule is the same for items and values that come online, and for an attribute that no item has. Who states a value states
    all values that an ontology puts below it. Every clause has words of bits; item and user must share a bit in each clause.
    Bit 0 is set on every item, and a user who states nothing has it alone. A release's user parts keep what users state as
    text too, for values that no item of the release has.

Approximate lists
    Only where a run's plan says so: the first C K rows that a user may be shown, by (code score descending, row ascending), are
    fetched, and the first K of these in the order above are the list (`scoring.approximate`). C and the coarse format whose
    codes are scored stand in the plan, in the run's manifest and in the fingerprint of each part. Lists by popularity are
    exact.

Ledger
    A part's fingerprint covers everything that its bytes depend on: the content of its users' part (vectors, seen rows,
    eligibility words, as of the release's instant), the item matrix, K, this contract, and the popularity where a user of
    the part needs it, and the rule of approximate lists. A part goes to its final name, then its record is created
    exclusively; a part without a record is not committed. The run id is the fingerprint of the plan: release, K, as_of and
    all parts.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ATTRIBUTES_TYPE",
    "CATALOGUE_SCHEMA",
    "CONTENT_TYPE",
    "CONTRACT_VERSION",
    "INTERACTIONS_SCHEMA",
    "QUARANTINE_SCHEMA",
    "RECOMMENDATIONS_SCHEMA",
    "RELATIONS_SCHEMA",
    "RELATION_CHANGES_SCHEMA",
    "SCHEMA_VERSION",
    "USERS_SCHEMA",
    "bucket_of",
    "buckets_of",
    "contents_of",
    "part_name",
    "text_hash",
]

#: Raised only when the bytes of a result change for the same inputs; guarded by golden digests in the tests.
CONTRACT_VERSION: Final = 2
#: Version of every artefact's layout. Readers accept this one and the one before.
SCHEMA_VERSION: Final = 3

#: Attribute name -> its values, as text: {"genre": ["Drama"], "platform": ["Atlas", "Lumina"], "year": ["1995"]}.
ATTRIBUTES_TYPE: Final = pa.map_(pa.string(), pa.list_(pa.string()))
#: Content beside the text, by modality: {"image": {"value": URI, "hash": ...}}. The hash is that of the value as text: what a
#: URI names is taken not to change, other content has another URI.
CONTENT_TYPE: Final = pa.map_(pa.string(), pa.struct([("value", pa.string()), ("hash", pa.string())]))

CATALOGUE_SCHEMA: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),
        pa.field("attributes", ATTRIBUTES_TYPE),
        pa.field("content", CONTENT_TYPE),  # parts of schema 2 have no such column
    ]
)
USERS_SCHEMA: Final = pa.schema(
    [pa.field("user_id", pa.string(), nullable=False), pa.field("attributes", ATTRIBUTES_TYPE)]
)
#: Sorted by (user_id, timestamp, item_id, value); timestamp in seconds since 1970 UTC.
INTERACTIONS_SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
    ]
)
#: Sorted by (subject, predicate, object, is_literal), which no two rows share. A literal is a text or number, and no id.
RELATIONS_SCHEMA: Final = pa.schema(
    [
        pa.field("subject", pa.string(), nullable=False),
        pa.field("predicate", pa.string(), nullable=False),
        pa.field("object", pa.string(), nullable=False),
        pa.field("is_literal", pa.bool_(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
    ]
)
#: Rows of the log of relations; row r of the segment that begins at sequence s has sequence s + r.
RELATION_CHANGES_SCHEMA: Final = RELATIONS_SCHEMA.append(pa.field("deleted", pa.bool_(), nullable=False))
#: `file` and `line` (counted from 1; null where a format has no lines) say where the row stood, `row` is an excerpt of it.
QUARANTINE_SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
    ]
)
#: One row per user, ascending user_id. `source` is personal or popularity; `short_reason` says why there are fewer than K.
RECOMMENDATIONS_SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_ids", pa.list_(pa.dictionary(pa.int32(), pa.string())), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("short_reason", pa.string()),
    ]
)


def contents_of(items: pa.Table, modality: str) -> pa.Table:
    """Returns the items of a catalogue part that have content of a modality beside the text: strings item_id, content, hash."""
    names = ["item_id", "content", "hash"]
    if "content" not in items.column_names:  # a part of schema 2
        return pa.table([pa.array([], pa.string())] * 3, names=names)
    entries = pc.map_lookup(items["content"], pa.scalar(modality), "first")
    columns = [items["item_id"], *(pc.struct_field(entries, name) for name in ("value", "hash"))]
    return pa.table(columns, names=names).filter(entries.is_valid())


def text_hash(text: str) -> str:
    """Returns the identity of an item's text: SHA-256 of its UTF-8 bytes, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def bucket_of(key: str, num_buckets: int) -> int:
    """Returns the bucket of an id: the first 8 bytes, little-endian, of BLAKE2b of its UTF-8 bytes, modulo `num_buckets`."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") % num_buckets


def buckets_of(keys: pa.Array, num_buckets: int) -> np.ndarray:
    """Returns `bucket_of` for a string array: int64 [len(keys)]. Hashes each distinct key once."""
    encoded = keys.dictionary_encode()
    distinct = [bucket_of(key, num_buckets) for key in encoded.dictionary.to_pylist()]
    return np.asarray(distinct, dtype=np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]


def part_name(part: int) -> str:
    """Returns a part's name in file names: `part-00000`."""
    return f"part-{part:05d}"
