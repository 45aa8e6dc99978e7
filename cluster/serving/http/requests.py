"""From the bytes of a request to what is asked: query strings and bodies, checked and turned into filters and lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from cluster.serving.asks import Listing
from cluster.serving.http.problems import ProblemError
from cluster.serving.http.schemas import MAX_LIST, FiltersBody, ListQuery, NumberRange, Weighted
from semrec.online.anonymous import Weighted as WeightedItem
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.json_size import check_json_size

__all__ = ["body_filters", "parse_body", "parse_query", "weighted_items"]

Model = TypeVar("Model", bound=BaseModel)
Query = TypeVar("Query", bound=ListQuery)
_CACHED_BYTES: Final = 2_048
_ATTRIBUTES: Final = ("platform", "genre", "maturity")
_MAX_ERRORS: Final = 20
_MAX_PLACE: Final = 200  # characters of where an error is: a member's name may be megabytes long
_MAX_FIELDS: Final = MAX_LIST + 1_000
_MAX_NAMES: Final = 64  # different names in a query string, each of which may be an error


def parse_query(model: type[Query], raw: bytes) -> tuple[Query, Listing]:
    """The checked query string and what it asks for; short ones are parsed once. Raises ProblemError 400 or 422."""
    found: tuple[Any, Listing] = _parsed_cached(model, raw) if len(raw) <= _CACHED_BYTES else _parsed(model, raw)
    return found


def parse_body(model: type[Model], raw: bytes) -> Model:
    """The checked JSON body. Raises InputError for more than a body may hold, ProblemError 400 for what is not JSON, 422 for
    another shape."""
    check_json_size(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _refusal(error, "the body") from None


def body_filters(body: FiltersBody) -> Filters:
    """The filters of a body."""
    asked = body.__pydantic_extra__ or {}
    if not asked and not body.exclude:
        return NO_FILTERS
    ranges = {name: (r.min, r.max) for name, r in asked.items() if isinstance(r, NumberRange)}
    any_of = {name: frozenset(values) for name, values in asked.items() if not isinstance(values, NumberRange)}
    return Filters(any_of, ranges, tuple(body.exclude))


def weighted_items(items: Sequence[Weighted | str]) -> list[WeightedItem]:
    """Liked or disliked items as the core takes them."""
    return [WeightedItem(one) if isinstance(one, str) else WeightedItem(one.item_id, one.weight) for one in items]


def _parsed(model: type[ListQuery], raw: bytes) -> tuple[ListQuery, Listing]:
    query = _parse(model, raw)
    return query, _listing(query)


_parsed_cached = lru_cache(maxsize=4096)(_parsed)


def _parse(model: type[ListQuery], raw: bytes) -> ListQuery:
    if raw.count(b"&") >= _MAX_FIELDS:
        raise ProblemError(422, "very many fields in the query", f"at most {_MAX_FIELDS:,}", "Split the request.")
    try:
        # Lists by name, as a name may come several times; a blank value is a value.
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise ProblemError(400, "the query string is not percent-encoded UTF-8", "?name=value&name=value") from None
    values: dict[str, Any] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    if len(values) > _MAX_NAMES:
        raise ProblemError(422, f"{len(values):,} names in the query", "see /openapi.json", "Remove those not listed.")
    fields = model.model_fields
    for name, found in values.items():
        if name in fields and not isinstance(fields[name].default, list):
            if len(found) > 1:
                raise ProblemError(422, f"{name} is given {len(found)} times", "once", "Remove the others.")
            values[name] = found[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, "the query") from None


def _listing(query: ListQuery) -> Listing:
    any_of = {name: frozenset(getattr(query, name)) for name in _ATTRIBUTES if getattr(query, name)}
    for entry in query.where:
        name, _, value = entry.partition(":")
        any_of[name] = any_of.get(name, frozenset()) | {value}
    between = (query.year_min, query.year_max)
    ranges = {} if between == (None, None) else {"year": between}
    filters = Filters(any_of, ranges, tuple(query.exclude)) if any_of or ranges or query.exclude else NO_FILTERS
    return Listing(query.k, filters, query.diversity)


def _refusal(error: ValidationError, what: str) -> ProblemError:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(one["type"] == "json_invalid" for one in found):
        return ProblemError(400, f"{what} is not JSON", "a JSON object in UTF-8", "Mend it.")
    errors = [{"at": _place(one["loc"]), "message": one["msg"]} for one in found[:_MAX_ERRORS]]
    first = errors[0]
    detail = f"{what}: {first['at']}: {first['message']}" if first["at"] else f"{what}: {first['message']}"
    return ProblemError(422, detail, "see /openapi.json", "Correct what `errors` names.", errors=errors)


def _place(names: Sequence[str | int]) -> str:
    """`liked.3.weight`, as long as it may be."""
    return ".".join(str(name)[:_MAX_PLACE] for name in names)[:_MAX_PLACE]
