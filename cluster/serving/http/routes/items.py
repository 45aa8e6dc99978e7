"""Items: look one up, add or replace it, delete it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fastapi import APIRouter, Response

from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.idempotency import ChangeToken
from cluster.serving.http.route import ApiRoute, ItemId, TheService, WriteRoute
from cluster.serving.requests.changes import ItemBody
from semrec.online.posters import Posters

__all__ = ["router", "write_router"]

router = APIRouter(route_class=ApiRoute, tags=["items"])
write_router = APIRouter(route_class=WriteRoute, tags=["items"])
_POSTERS: Final = Posters()
_POSTER_THREADS: Final = ThreadPoolExecutor(2, "semrec-posters")  # a large image takes 200 MB while it is decoded


@router.get("/v1/items/{item_id}", response_model=schemas.ItemAnswer, responses=problems(404))
async def get_item(item_id: ItemId, service: TheService) -> dict[str, Any]:
    """An item."""
    snapshot = service.snapshot()
    item = snapshot.served.item(item_id, snapshot.overlay)
    about = {"release": snapshot.served.release_id, "overlay": snapshot.overlay.sequence}
    return {"item_id": item.item_id, "title": item.title, "attributes": item.attributes, **about}


@router.get(
    "/v1/items/{item_id}/image",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404, 501),
    },
)
async def get_image(item_id: ItemId, service: TheService) -> Response:
    """A small picture of an item, of the image that it was imported with."""
    snapshot = service.snapshot()
    snapshot.served.item(item_id, snapshot.overlay)
    loop = asyncio.get_running_loop()
    body = await loop.run_in_executor(_POSTER_THREADS, _POSTERS.poster, snapshot.served, item_id)
    return Response(body, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@write_router.put("/v1/items/{item_id}", response_model=schemas.Changed, responses=problems(501, 507))
async def put_item(item_id: ItemId, body: ItemBody, service: TheService, token: ChangeToken) -> dict[str, Any]:
    """Add or replace an item; it is in the answers when this returns."""
    batch = await service.put_item(item_id, body.title, body.text, body.attributes, token)
    return {"item_id": item_id.strip(), "sequence": batch.last}


@write_router.delete("/v1/items/{item_id}", response_model=schemas.Changed, responses=problems(404, 507))
async def delete_item(item_id: ItemId, service: TheService, token: ChangeToken) -> dict[str, Any]:
    """Delete an item; it is gone from the answers when this returns."""
    batch = await service.delete_item(item_id, token)
    return {"item_id": item_id, "sequence": batch.last}
