"""What the bodies of answers look like: pydantic models for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from semrec.online.hybrid import SearchMode

__all__ = [
    "Answer",
    "AnswerItem",
    "BatchAnswers",
    "BenchmarkConfiguration",
    "BenchmarkState",
    "Changed",
    "EncoderInfo",
    "EventsAccepted",
    "FailedQuery",
    "ItemAnswer",
    "ModelInfo",
    "ProblemDocument",
    "ProcessAnswers",
    "ProcessedContent",
    "Ready",
    "Refused",
    "RelationsChanged",
    "ReleaseInfo",
    "Statistics",
]


_ANSWER: Final[dict[str, Any]] = {
    "source": "personal",
    "release": "3f9a1c0b7d2e4f68",
    "overlay": 0,
    "user_id": "viewer-0000001",
    "short_reason": None,
    "items": [
        {
            "item_id": "toy-story-1995",
            "title": "Toy Story (1995)",
            "attributes": {"genre": ["Animation"], "platform": ["Lumina"], "year": ["1995"]},
            "score": 0.81251,
        }
    ],
}
_READY: Final = {
    "status": "ready",
    "release": "3f9a1c0b7d2e4f68",
    "run": "90ab12cd34ef5678",
    "overlay": 0,
    "refused": dict[str, str](),
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": example})


class AnswerItem(BaseModel):
    """One item of a list. `score` is a float32 in its shortest form."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]
    score: float


class Approximate(BaseModel):
    """What is known of a list that is approximate."""

    recall: float = Field(description="Share of the items of exact lists that stand in the approximate ones.")
    k: int = Field(description="The length of those lists.")
    num_users: int = Field(description="Users whose lists were compared.")


class Answer(BaseModel):
    """A list of items, best first. `release` and `overlay` say from what it was made."""

    model_config = _example(_ANSWER)

    source: Literal["personal", "popularity", "batch", "similar", "anonymous", "search"]
    release: str
    overlay: int
    user_id: str | None = Field(None, description="In answers about a user.")
    item_id: str | None = Field(None, description="In answers about an item.")
    mode: SearchMode | None = Field(None, description="Of a search: what it went by.")
    short_reason: str | None = Field(description="Why there are fewer than k items, else null.")
    items: list[AnswerItem]
    explain: dict[str, Any] | None = Field(None, description="When it was asked for.")
    why: dict[str, Any] | None = Field(None, description="When it was asked for.")
    num_deleted: int | None = Field(
        None,
        description="In published lists: their items that are left out, deleted since or no longer eligible for the user.",
    )
    approximate: Approximate | None = Field(None, description="In published lists of an approximate run.")


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    expected: str | None = None
    remedy: str | None = None
    instance: str | None = None
    errors: list[dict[str, Any]] | None = None


class FailedQuery(BaseModel):
    """A query of a batch that could not be answered."""

    error: ProblemDocument


class BatchAnswers(BaseModel):
    """One answer per query, in their order."""

    model_config = _example({"answers": [_ANSWER]})

    answers: list[Answer | FailedQuery]


class ProcessedContent(BaseModel):
    """What a content is. `vector` is the encoder's, of length 1; `answer` has the items most like it."""

    modality: Literal["text", "image", "document"]
    metadata: dict[str, Any]
    vector: list[float]
    answer: Answer


class ProcessAnswers(BaseModel):
    """One for each content, in their order."""

    contents: list[ProcessedContent | FailedQuery]


class ItemAnswer(BaseModel):
    """An item."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]
    release: str
    overlay: int


class Relation(BaseModel):
    """A relation as it is walked: from `start` to `end`, against its direction where `is_inverse`.

    `inferred_by`: the axiom of the ontology that it follows by, as rdfs:subClassOf; null where it was stated.
    """

    start: str
    predicate: str
    end: str
    is_inverse: bool
    inferred_by: str | None = None


class RelatedItem(BaseModel):
    """An item, and how it is related."""

    item_id: str
    title: str
    path: list[Relation]


class RelatedAnswer(BaseModel):
    """The items related to one, nearest first."""

    item_id: str
    release: str
    overlay: int
    items: list[RelatedItem]


class CostedPath(BaseModel):
    """A way from one thing to another. A step costs 1 + log2 of the number of relations of the thing it leaves."""

    cost: float
    path: list[Relation]


class PathsAnswer(BaseModel):
    """Ways from one thing to another, cheapest first; none where no relations connect them."""

    release: str
    overlay: int
    paths: list[CostedPath]


class RelationsChanged(BaseModel):
    """Changes of relations, durable. `sequence` is that of the last one."""

    model_config = _example({"num_changed": 2, "sequence": 7})

    num_changed: int
    sequence: int


class SparqlTable(BaseModel):
    """The columns and rows of a query's answer: names and literals as text. `truncated`: there were more rows."""

    release: str
    columns: list[str]
    rows: list[list[str | None]]
    truncated: bool


class Changed(BaseModel):
    """A change of an item, durable and known to the replicas. `sequence` is the overlay's that has it."""

    model_config = _example({"item_id": "the-tin-gardener-2026", "sequence": 1})

    item_id: str
    sequence: int


class Refused(BaseModel):
    """An event that was not taken: its place in the request, from 0."""

    index: int
    reason: str
    detail: str = ""


class EventsAccepted(BaseModel):
    """Events, durable. `sequence` is that of the last one."""

    model_config = _example({"accepted": 1, "refused": [], "sequence": 7})

    accepted: int
    refused: list[Refused]
    sequence: int


class Ready(BaseModel):
    """Whether requests are answered. `refused` names a release that was found corrupt and is not served."""

    model_config = _example(_READY)

    status: Literal["ready", "loading"]
    release: str | None
    run: str | None
    overlay: int
    refused: dict[str, str]


class EncoderInfo(BaseModel):
    """What makes vectors of content. `device`: the make that its vectors are made for; `limits` of one content."""

    kind: str
    model: str
    modality: str
    dimension: int
    device: str
    limits: dict[str, int]


class ModelInfo(BaseModel):
    """What makes item and user vectors. `modality` of one that goes by content alone."""

    kind: str
    modality: str | None
    dimension: int


class ReleaseInfo(BaseModel):
    """What is served."""

    release: str
    run: str | None
    overlay: int
    num_items: int
    dimension: int
    run_k: int | None
    approximate: Approximate | None = Field(description="How exact the published lists are; null where they are exact.")
    encoder: str | None
    attributes: dict[str, list[str]] = Field(description="What can be filtered by.")
    engine: str = Field(description="What ranks: cpu or cuda.")
    encoders: list[EncoderInfo]
    models: list[ModelInfo]
    has_images: bool = Field(description="Whether items have images: see /v1/items/{item_id}/image.")


class BenchmarkConfiguration(BaseModel):
    """What a configuration reached; nulls without its device. `memory` are pairs: seconds, resident bytes."""

    name: str
    device: str | None
    num_callers: int
    texts_per_call: int | None = Field(None, description="As many as were the fastest there.")
    texts_per_s: float | None
    files_per_s: float | None
    memory: list[tuple[float, int]]


class BenchmarkState(BaseModel):
    """A benchmark and, once it is done, its report."""

    status: Literal["running", "done", "failed"]
    started_at_s: float
    report: list[BenchmarkConfiguration] | None
    error: str | None


class Statistics(BaseModel):
    """Counts of this replica since it started. `per_s` are answers a second over all that time."""

    model_config = ConfigDict(extra="allow")

    replica: str
    pid: int
    uptime_s: float
    per_s: float
    resident_bytes: int
    peak_resident_bytes: int
    release: str | None
    overlay: int
