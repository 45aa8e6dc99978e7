"""The OpenAPI document, made from the table of endpoints and the models that check the requests."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cluster.serving.http import schemas
from cluster.serving.http.endpoints import ENDPOINTS, Endpoint
from cluster.serving.http.problems import PROBLEM_TYPE
from semrec.limits import MAX_ID_CHARS

__all__ = ["openapi_document"]

_REF: Final = "#/components/schemas/{model}"
_EVERYWHERE: Final = (400, 401, 403, 421, 422, 429, 500, 503)
_WITH_BODY: Final = (408, 413, 415)
_MEANING: Final = {
    400: "Malformed: not JSON, not percent-encoded UTF-8.",
    401: "No valid key.",
    403: "The key lacks the scope, or there are no keys and the caller is on another machine.",
    404: "There is no such item, or the published run has no such user.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    421: "Without keys, only names of this machine are answered.",
    422: "Well-formed, but impossible; `errors` says where.",
    429: "More requests than the key allows; see Retry-After.",
    500: "Something failed here; the operator's log says what.",
    501: "The release's vectors come from no text encoder.",
    503: "Not ready, too many requests waiting, or not answered in time; see Retry-After.",
    507: "The workspace refused to store the change.",
}
_ANSWER_EXAMPLE: Final = {
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
_EXAMPLES: Final[dict[str, Any]] = {
    "Answer": _ANSWER_EXAMPLE,
    "BatchAnswers": {"answers": [_ANSWER_EXAMPLE]},
    "Changed": {"item_id": "the-tin-gardener-2026", "sequence": 1},
    "EventsAccepted": {"accepted": 1, "refused": [], "sequence": 7},
    "Ready": {"status": "ready", "release": "3f9a1c0b7d2e4f68", "run": "90ab12cd34ef5678", "overlay": 0, "refused": {}},
}
_IDS: Final = {"user_id": "viewer-0000001", "item_id": "toy-story-1995"}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document: what FastAPI knows of its own routes, and every endpoint of the table."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = {model for e in ENDPOINTS for model in (e.query, e.body, e.answer) if model} | {schemas.ProblemDocument}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    components = document.setdefault("components", {})
    definitions = found.get("$defs", {})
    components.setdefault("schemas", {}).update(definitions)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for endpoint in ENDPOINTS:
        document.setdefault("paths", {}).setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, definitions
        )
    return document


def _operation(endpoint: Endpoint, definitions: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint, definitions),
        "responses": _responses(endpoint),
        "security": [{"bearer": []}, {"key": []}, {}] if endpoint.scope else [],
    }
    if endpoint.scope:
        operation["description"] = f"Where the server has keys, one with the scope `{endpoint.scope}` is needed."
    if endpoint.body is not None:
        schema = {"$ref": _REF.format(model=endpoint.body.__name__)}
        content: dict[str, Any] = {"schema": schema}
        example = definitions[endpoint.body.__name__].get("example")
        if example:
            content["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _parameters(endpoint: Endpoint, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "Percent-encoded; any characters.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS},
            "example": _IDS[name],
        }
        for name in names
    ]
    if endpoint.query is not None:
        for name, schema in definitions[endpoint.query.__name__]["properties"].items():
            text = {"description": schema["description"]} if "description" in schema else {}
            found.append({"name": name, "in": "query", **text, "schema": _plain_schema(schema)})
    if endpoint.scope == "write":
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The caller's name for this change: given again, it is not done again.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9_.:-]+$"},
            }
        )
    return found


def _plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter's schema: null is said by leaving it out."""
    kept = {name: value for name, value in schema.items() if name not in ("title", "description")}
    variants = [variant for variant in kept.pop("anyOf", []) if variant.get("type") != "null"]
    if kept.get("default", 0) is None:
        del kept["default"]
    return {**kept, **(variants[0] if variants else {})}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": _success(endpoint)}
    if endpoint.name == "ready":
        responses["503"] = {**_success(endpoint), "description": "No release is loaded yet."}
    problem = {"schema": {"$ref": _REF.format(model=schemas.ProblemDocument.__name__)}}
    statuses = {*_EVERYWHERE, *endpoint.statuses, *(_WITH_BODY if endpoint.body else ())}
    for status in sorted(statuses - {int(known) for known in responses}):
        example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": "..."}
        responses[str(status)] = {
            "description": _MEANING[status],
            "content": {PROBLEM_TYPE: {**problem, "example": example}},
        }
    return responses


def _success(endpoint: Endpoint) -> dict[str, Any]:
    answer: type[BaseModel] | None = endpoint.answer
    if answer is None:
        media = "text/plain" if endpoint.name == "metrics" else "application/json"
        return {
            "description": endpoint.summary,
            "content": {media: {"schema": {"type": "string" if media == "text/plain" else "object"}}},
        }
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=answer.__name__)}}
    if answer.__name__ in _EXAMPLES:
        content["example"] = _EXAMPLES[answer.__name__]
    return {"description": endpoint.summary, "content": {"application/json": content}}
