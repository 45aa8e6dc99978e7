from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecommendUserRequest(_message.Message):
    __slots__ = ("user_id", "k", "platform", "genre", "maturity", "year_min", "year_max", "exclude", "where", "diversity", "overlay", "source", "explain", "why", "where_all")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    GENRE_FIELD_NUMBER: _ClassVar[int]
    MATURITY_FIELD_NUMBER: _ClassVar[int]
    YEAR_MIN_FIELD_NUMBER: _ClassVar[int]
    YEAR_MAX_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    WHERE_ALL_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    k: int
    platform: _containers.RepeatedScalarFieldContainer[str]
    genre: _containers.RepeatedScalarFieldContainer[str]
    maturity: _containers.RepeatedScalarFieldContainer[str]
    year_min: float
    year_max: float
    exclude: _containers.RepeatedScalarFieldContainer[str]
    where: _containers.RepeatedScalarFieldContainer[str]
    diversity: float
    overlay: str
    source: str
    explain: bool
    why: str
    where_all: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[str] = ..., k: _Optional[int] = ..., platform: _Optional[_Iterable[str]] = ..., genre: _Optional[_Iterable[str]] = ..., maturity: _Optional[_Iterable[str]] = ..., year_min: _Optional[float] = ..., year_max: _Optional[float] = ..., exclude: _Optional[_Iterable[str]] = ..., where: _Optional[_Iterable[str]] = ..., diversity: _Optional[float] = ..., overlay: _Optional[str] = ..., source: _Optional[str] = ..., explain: bool = ..., why: _Optional[str] = ..., where_all: _Optional[_Iterable[str]] = ...) -> None: ...

class SimilarItemsRequest(_message.Message):
    __slots__ = ("item_id", "k", "platform", "genre", "maturity", "year_min", "year_max", "exclude", "where", "diversity", "overlay", "where_all")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    GENRE_FIELD_NUMBER: _ClassVar[int]
    MATURITY_FIELD_NUMBER: _ClassVar[int]
    YEAR_MIN_FIELD_NUMBER: _ClassVar[int]
    YEAR_MAX_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    WHERE_ALL_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    k: int
    platform: _containers.RepeatedScalarFieldContainer[str]
    genre: _containers.RepeatedScalarFieldContainer[str]
    maturity: _containers.RepeatedScalarFieldContainer[str]
    year_min: float
    year_max: float
    exclude: _containers.RepeatedScalarFieldContainer[str]
    where: _containers.RepeatedScalarFieldContainer[str]
    diversity: float
    overlay: str
    where_all: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_id: _Optional[str] = ..., k: _Optional[int] = ..., platform: _Optional[_Iterable[str]] = ..., genre: _Optional[_Iterable[str]] = ..., maturity: _Optional[_Iterable[str]] = ..., year_min: _Optional[float] = ..., year_max: _Optional[float] = ..., exclude: _Optional[_Iterable[str]] = ..., where: _Optional[_Iterable[str]] = ..., diversity: _Optional[float] = ..., overlay: _Optional[str] = ..., where_all: _Optional[_Iterable[str]] = ...) -> None: ...

class RecommendAnonymousRequest(_message.Message):
    __slots__ = ("liked", "disliked", "text", "k", "filters", "diversity", "overlay", "explain")
    LIKED_FIELD_NUMBER: _ClassVar[int]
    DISLIKED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    liked: _containers.RepeatedCompositeFieldContainer[Weighted]
    disliked: _containers.RepeatedCompositeFieldContainer[Weighted]
    text: str
    k: int
    filters: Filters
    diversity: float
    overlay: str
    explain: bool
    def __init__(self, liked: _Optional[_Iterable[_Union[Weighted, _Mapping]]] = ..., disliked: _Optional[_Iterable[_Union[Weighted, _Mapping]]] = ..., text: _Optional[str] = ..., k: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., diversity: _Optional[float] = ..., overlay: _Optional[str] = ..., explain: bool = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("text", "k", "filters", "diversity", "overlay", "mode", "image")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    k: int
    filters: Filters
    diversity: float
    overlay: str
    mode: str
    image: bytes
    def __init__(self, text: _Optional[str] = ..., k: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., diversity: _Optional[float] = ..., overlay: _Optional[str] = ..., mode: _Optional[str] = ..., image: _Optional[bytes] = ...) -> None: ...

class BatchRequest(_message.Message):
    __slots__ = ("queries", "k", "filters", "overlay")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[BatchQuery]
    k: int
    filters: Filters
    overlay: str
    def __init__(self, queries: _Optional[_Iterable[_Union[BatchQuery, _Mapping]]] = ..., k: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., overlay: _Optional[str] = ...) -> None: ...

class BatchQuery(_message.Message):
    __slots__ = ("user_id", "item_id", "liked", "disliked")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    LIKED_FIELD_NUMBER: _ClassVar[int]
    DISLIKED_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_id: str
    liked: _containers.RepeatedCompositeFieldContainer[Weighted]
    disliked: _containers.RepeatedCompositeFieldContainer[Weighted]
    def __init__(self, user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., liked: _Optional[_Iterable[_Union[Weighted, _Mapping]]] = ..., disliked: _Optional[_Iterable[_Union[Weighted, _Mapping]]] = ...) -> None: ...

class Weighted(_message.Message):
    __slots__ = ("item_id", "weight")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    weight: float
    def __init__(self, item_id: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ("attributes", "exclude")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Filter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Filter, _Mapping]] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.MessageMap[str, Filter]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attributes: _Optional[_Mapping[str, Filter]] = ..., exclude: _Optional[_Iterable[str]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("values", "range", "all")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    range: NumberRange
    all: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ..., range: _Optional[_Union[NumberRange, _Mapping]] = ..., all: _Optional[_Iterable[str]] = ...) -> None: ...

class NumberRange(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("source", "release", "overlay", "user_id", "item_id", "short_reason", "items", "explain", "why", "error", "num_deleted", "mode", "approximate")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SHORT_REASON_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NUM_DELETED_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    source: str
    release: str
    overlay: int
    user_id: str
    item_id: str
    short_reason: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    explain: Explained
    why: WhyNot
    error: Problem
    num_deleted: int
    mode: str
    approximate: Approximate
    def __init__(self, source: _Optional[str] = ..., release: _Optional[str] = ..., overlay: _Optional[int] = ..., user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., short_reason: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., explain: _Optional[_Union[Explained, _Mapping]] = ..., why: _Optional[_Union[WhyNot, _Mapping]] = ..., error: _Optional[_Union[Problem, _Mapping]] = ..., num_deleted: _Optional[int] = ..., mode: _Optional[str] = ..., approximate: _Optional[_Union[Approximate, _Mapping]] = ...) -> None: ...

class Approximate(_message.Message):
    __slots__ = ("recall", "k", "num_users")
    RECALL_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    NUM_USERS_FIELD_NUMBER: _ClassVar[int]
    recall: float
    k: int
    num_users: int
    def __init__(self, recall: _Optional[float] = ..., k: _Optional[int] = ..., num_users: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("item_id", "title", "attributes", "score")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    attributes: _containers.MessageMap[str, Values]
    score: float
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., attributes: _Optional[_Mapping[str, Values]] = ..., score: _Optional[float] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Explained(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, items: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("item_id", "score", "parts", "rest", "nearest", "reason", "themes")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    THEMES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    rest: float
    nearest: _containers.RepeatedCompositeFieldContainer[Part]
    reason: _containers.RepeatedCompositeFieldContainer[Relation]
    themes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., rest: _Optional[float] = ..., nearest: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., reason: _Optional[_Iterable[_Union[Relation, _Mapping]]] = ..., themes: _Optional[_Iterable[str]] = ...) -> None: ...

class Relation(_message.Message):
    __slots__ = ("start", "predicate", "end", "is_inverse", "inferred_by")
    START_FIELD_NUMBER: _ClassVar[int]
    PREDICATE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    IS_INVERSE_FIELD_NUMBER: _ClassVar[int]
    INFERRED_BY_FIELD_NUMBER: _ClassVar[int]
    start: str
    predicate: str
    end: str
    is_inverse: bool
    inferred_by: str
    def __init__(self, start: _Optional[str] = ..., predicate: _Optional[str] = ..., end: _Optional[str] = ..., is_inverse: bool = ..., inferred_by: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("name", "share", "contribution", "cosine", "component")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    share: float
    contribution: float
    cosine: float
    component: str
    def __init__(self, name: _Optional[str] = ..., share: _Optional[float] = ..., contribution: _Optional[float] = ..., cosine: _Optional[float] = ..., component: _Optional[str] = ...) -> None: ...

class WhyNot(_message.Message):
    __slots__ = ("item_id", "reason", "detail", "score", "attribute", "rank", "short_by")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SHORT_BY_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    reason: str
    detail: str
    score: float
    attribute: str
    rank: int
    short_by: float
    def __init__(self, item_id: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., score: _Optional[float] = ..., attribute: _Optional[str] = ..., rank: _Optional[int] = ..., short_by: _Optional[float] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "title", "status", "detail", "expected", "remedy")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    type: str
    title: str
    status: int
    detail: str
    expected: str
    remedy: str
    def __init__(self, type: _Optional[str] = ..., title: _Optional[str] = ..., status: _Optional[int] = ..., detail: _Optional[str] = ..., expected: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class BatchAnswers(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    def __init__(self, answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ...) -> None: ...

class QueryGraphRequest(_message.Message):
    __slots__ = ("query", "max_rows")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    query: str
    max_rows: int
    def __init__(self, query: _Optional[str] = ..., max_rows: _Optional[int] = ...) -> None: ...

class SparqlTable(_message.Message):
    __slots__ = ("release", "columns", "rows", "truncated")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    release: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    rows: _containers.RepeatedCompositeFieldContainer[SparqlRow]
    truncated: bool
    def __init__(self, release: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., rows: _Optional[_Iterable[_Union[SparqlRow, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class SparqlRow(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[SparqlValue]
    def __init__(self, values: _Optional[_Iterable[_Union[SparqlValue, _Mapping]]] = ...) -> None: ...

class SparqlValue(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class ModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReleaseInfo(_message.Message):
    __slots__ = ("release", "run", "overlay", "num_items", "dimension", "run_k", "encoder", "attributes", "engine", "encoders", "models", "has_images", "approximate")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    RUN_K_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HAS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    release: str
    run: str
    overlay: int
    num_items: int
    dimension: int
    run_k: int
    encoder: str
    attributes: _containers.MessageMap[str, Values]
    engine: str
    encoders: _containers.RepeatedCompositeFieldContainer[EncoderInfo]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    has_images: bool
    approximate: Approximate
    def __init__(self, release: _Optional[str] = ..., run: _Optional[str] = ..., overlay: _Optional[int] = ..., num_items: _Optional[int] = ..., dimension: _Optional[int] = ..., run_k: _Optional[int] = ..., encoder: _Optional[str] = ..., attributes: _Optional[_Mapping[str, Values]] = ..., engine: _Optional[str] = ..., encoders: _Optional[_Iterable[_Union[EncoderInfo, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., has_images: bool = ..., approximate: _Optional[_Union[Approximate, _Mapping]] = ...) -> None: ...

class EncoderInfo(_message.Message):
    __slots__ = ("kind", "model", "modality", "dimension", "device", "limits")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    model: str
    modality: str
    dimension: int
    device: str
    limits: _containers.ScalarMap[str, int]
    def __init__(self, kind: _Optional[str] = ..., model: _Optional[str] = ..., modality: _Optional[str] = ..., dimension: _Optional[int] = ..., device: _Optional[str] = ..., limits: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("kind", "modality", "dimension")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    modality: str
    dimension: int
    def __init__(self, kind: _Optional[str] = ..., modality: _Optional[str] = ..., dimension: _Optional[int] = ...) -> None: ...

class ReadyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadyAnswer(_message.Message):
    __slots__ = ("status", "release", "run", "overlay", "refused")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    status: str
    release: str
    run: str
    overlay: int
    refused: _containers.ScalarMap[str, str]
    def __init__(self, status: _Optional[str] = ..., release: _Optional[str] = ..., run: _Optional[str] = ..., overlay: _Optional[int] = ..., refused: _Optional[_Mapping[str, str]] = ...) -> None: ...
