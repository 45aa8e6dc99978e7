"""Relations: the items that are related to one, and the paths between two things."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.route import ApiRoute, ItemId, TheService
from cluster.serving.requests import PathParameters, RelatedParameters
from semrec.online.relations import paths_between, related_items

__all__ = ["router"]

router = APIRouter(route_class=ApiRoute, tags=["relations"])


@router.get("/v1/items/{item_id}/related", response_model=schemas.RelatedAnswer, responses=problems(404))
async def get_related(
    item_id: ItemId, parameters: Annotated[RelatedParameters, Query()], service: TheService
) -> dict[str, Any]:
    """The items that relations lead to from one, rare relations first, each with its path."""
    snapshot = service.snapshot()
    served, overlay = snapshot.served, snapshot.overlay
    related = await asyncio.to_thread(
        related_items, served, item_id, parameters.k, overlay, predicates=parameters.predicate or None
    )
    items = [
        {"item_id": one.item_id, "title": served.item(one.item_id, overlay).title, "path": one.path.edges}
        for one in related
    ]
    return {"release": served.release_id, "overlay": overlay.sequence, "item_id": item_id, "items": items}


@router.get("/v1/graph/path", response_model=schemas.PathsAnswer, responses=problems(404))
async def get_paths(parameters: Annotated[PathParameters, Query()], service: TheService) -> dict[str, Any]:
    """The ways from an item or entity to another, rare relations first."""
    snapshot = service.snapshot()
    served, overlay = snapshot.served, snapshot.overlay
    paths = await asyncio.to_thread(
        paths_between,
        served,
        parameters.start,
        parameters.end,
        parameters.k,
        overlay,
        predicates=parameters.predicate or None,
    )
    shown = [{"cost": path.cost, "path": path.edges} for path in paths]
    return {"release": served.release_id, "overlay": overlay.sequence, "paths": shown}
