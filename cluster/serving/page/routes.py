"""Routes of the page: its files, which need no key, and what it shows: the map, titles, and some user ids to try.

GET /                        the page
GET /page/{file}             its scripts, style and icon; nothing else
GET /v1/map                  the map (`semrec.reports.map.map_bytes`); 404 until `semrec map` has drawn it
GET /v1/map/legend           what the colours mean, at once
GET /v1/map/items            items by `rows=1,2,3` or by `item_id=a&item_id=b`
GET /v1/titles               items whose title contains a text, for suggestions while typing
GET /v1/users                some user ids
GET /v1/archetypes           kinds of taste with users of each; 404 until `semrec archetypes` has found them
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from cluster.serving.http.documentation import problems
from cluster.serving.http.problems import ProblemError
from cluster.serving.http.route import ApiRoute, TheCaller
from cluster.serving.service import Service, needs_explain
from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.online.lru import Lru
from semrec.release.reader import Release
from semrec.reports.archetypes import ArchetypesManifest
from semrec.reports.map import Legend, gone_points, items_with_title, map_bytes, map_items, map_legend, read_map
from semrec.workspace.digests import sha256_hex
from semrec.workspace.tables import read_table

__all__ = ["public_router", "router"]


class _PageRoute(ApiRoute):
    recorded_as = "page"


class _PublicPageRoute(_PageRoute):
    key_scope = None


router = APIRouter(route_class=_PageRoute)
public_router = APIRouter(route_class=_PublicPageRoute)

#: Of this release and the one before; of requests that miss together one reads.
_KEPT_POSITIONS: Final[Lru[Release, np.ndarray]] = Lru(2, lambda _: 1)
_KEPT_LEGENDS: Final[Lru[Release, Legend]] = Lru(2, lambda _: 1)
_KEPT_USERS: Final[Lru[Release, list[str]]] = Lru(2, lambda _: 1)

_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",  # kept by the browser, asked for again with its ETag
    # A picture of an item is fetched with the key, and shown from memory: blob.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MAX_ITEMS: Final = 500


@public_router.get("/", include_in_schema=False)
def page(request: Request) -> Response:
    """The page."""
    return page_file(request, "index.html")


@public_router.get("/page/{name}", include_in_schema=False)
def page_file(request: Request, name: str) -> Response:
    """One of the page's files."""
    if name not in _files():
        raise ProblemError(404, f"the page has no file {name!r}")
    body, etag = _files()[name]
    return _tagged(request, body, etag, _TYPES[Path(name).suffix], _HEADERS)


@router.get(
    "/v1/map",
    tags=["map"],
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "As the ETag says, nothing has changed."},
        404: {**problems(404)[404], "description": "No map of the release was drawn."},
    },
)
def catalogue_map(request: Request) -> Response:
    """The catalogue in two dimensions: positions and colours, binary (`semrec/reports/map.py` has the layout)."""
    release, overlay = _now(request)
    gone = gone_points(release, overlay)
    try:
        positions_N2 = _positions(release)
    except MissingArtefactError as error:  # whose text names the workspace
        raise ProblemError(404, f"no map of release {release.release_id} was drawn", "a map", error.remedy) from None
    body = map_bytes(release, positions_N2, _legend(release), gone)
    etag = f'"map-{release.release_id}-{sha256_hex(repr(gone).encode())[:16]}"'
    return _tagged(request, body, etag, "application/octet-stream", {"Cache-Control": "private, no-cache"})


@router.get("/v1/map/legend", tags=["map"])
def legend(request: Request) -> JSONResponse:
    """The attribute that colours the map, its values in order of the colours, and how many items have each."""
    release, _ = _now(request)
    return JSONResponse({"release": release.release_id, **_legend(release).to_json()})


@router.get("/v1/map/items", tags=["map"])
def items_of_map(
    request: Request,
    *,
    rows: Annotated[str, Query(pattern=r"^(\d{1,10}(,\d{1,10})*)?$", max_length=12 * _MAX_ITEMS)] = "",
    item_id: Annotated[list[str], Query(default_factory=list, max_length=_MAX_ITEMS)],  # no null: a query has none
) -> JSONResponse:
    """Items at rows of the item matrix and items by id, as they now are; unknown and deleted ones are left out.

    At most 500 at once. An item that is newer than the map has no row.
    """
    release, overlay = _now(request)
    numbers, names = [int(row) for row in rows.split(",") if row], item_id
    if (count := len(numbers) + len(names)) > _MAX_ITEMS:
        raise ProblemError(422, f"{count} items", f"at most {_MAX_ITEMS}", "Ask for some now, others later.")
    return JSONResponse({"release": release.release_id, "items": map_items(release, overlay, numbers, names)})


@router.get("/v1/titles", tags=["map"])
def titles(
    request: Request,
    text: Annotated[str, Query(min_length=1, max_length=200)],
    limit: Annotated[int, Query(ge=1, le=100)] = 8,
) -> JSONResponse:
    """Items whose title now contains a text, whatever the case; titles that begin with it come first."""
    release, overlay = _now(request)
    return JSONResponse({"release": release.release_id, "items": items_with_title(release, overlay, text, limit)})


@router.get("/v1/users", tags=["users"])
def users(request: Request, caller: TheCaller, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> JSONResponse:
    """Some user ids of the release, for trying it out: those of its first part, in ascending order.

    The key needs the scope `explain` as well.
    """
    if not caller.may_explain:
        raise needs_explain("a list of users", "Ask for users that you know")
    release, _ = _now(request)
    return JSONResponse({"release": release.release_id, "users": _some_users(release)[:limit]})


@router.get("/v1/archetypes", tags=["users"], responses=problems(404))
def archetypes(request: Request, caller: TheCaller) -> JSONResponse:
    """Kinds of taste of the release's users, the largest first: name, share, titles, and some users of each.

    The key needs the scope `explain` as well.
    """
    if not caller.may_explain:
        raise needs_explain("kinds of taste with their users", "Ask for users that you know")
    release, _ = _now(request)
    try:
        found = ArchetypesManifest.read(release.storage, release.release_id).archetypes
    except MissingArtefactError as error:  # whose text names the workspace
        raise ProblemError(404, f"no archetypes of release {release.release_id}", "archetypes", error.remedy) from None
    shown = [archetype.model_dump(mode="json") for archetype in found]
    return JSONResponse({"release": release.release_id, "archetypes": shown})


def _now(request: Request) -> tuple[Release, OverlayView]:
    service: Service = request.app.state.service
    snapshot = service.snapshot()
    return snapshot.served.release, snapshot.overlay


def _positions(release: Release) -> np.ndarray:
    return _KEPT_POSITIONS.get(release, lambda: read_map(release))  # a map that is missing is looked for again


def _legend(release: Release) -> Legend:
    return _KEPT_LEGENDS.get(release, lambda: map_legend(release))


def _some_users(release: Release) -> list[str]:
    return _KEPT_USERS.get(release, lambda: _first_users(release))


def _first_users(release: Release) -> list[str]:
    for part in release.manifest.users:
        ids: list[str] = read_table(release.storage, part, ["user_id"])["user_id"][:1000].to_pylist()
        if ids:
            return ids
    return []


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """The page's files, read once: name -> (bytes, ETag). Only these names are ever answered."""
    bodies = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}
    return {name: (body, f'"{hashlib.sha256(body).hexdigest()[:16]}"') for name, body in bodies.items()}


def _tagged(request: Request, body: bytes, etag: str, media_type: str, headers: dict[str, str]) -> Response:
    headers = {**headers, "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
