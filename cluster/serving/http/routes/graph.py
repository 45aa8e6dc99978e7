"""Relations: the items that are related to one, the paths between two things, and changes of relations."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.idempotency import ChangeToken
from cluster.serving.http.route import AdminRoute, ApiRoute, ItemId, TheService, WriteRoute
from cluster.serving.requests.changes import RelationsBody
from cluster.serving.requests.graph import PathParameters, RelatedParameters, SparqlBody
from semrec.online.relations import paths_between, related_items

__all__ = ["admin_router", "router", "write_router"]

router = APIRouter(route_class=ApiRoute, tags=["relations"])
write_router = APIRouter(route_class=WriteRoute, tags=["relations"])
# A query may keep a core busy to its deadline, and sees deleted items: both are for whoever runs the service.
admin_router = APIRouter(route_class=AdminRoute, tags=["relations"])


@router.get("/v1/items/{item_id}/related", response_model=schemas.RelatedAnswer, responses=problems(404))
async def get_related(
    item_id: ItemId, parameters: Annotated[RelatedParameters, Query()], service: TheService
) -> dict[str, Any]:
    """The items that relations lead to from one, rare relations first, each with its path."""
    snapshot = service.snapshot()
    served, overlay = snapshot.served, snapshot.overlay
    related = await service.search_relations(
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
    paths = await service.search_relations(
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


@admin_router.post("/v1/graph/query", response_model=schemas.SparqlTable, responses=problems(404))
async def query_graph(body: SparqlBody, service: TheService) -> dict[str, Any]:
    """Answer SPARQL over the relations as they now are.

    A query has 5 seconds, 1 GiB of memory and 1 MiB of answer, and runs in a process of its own. Items are as they were
    released.
    """
    return await service.query_graph(body.query, body.max_rows)


@write_router.post("/v1/relations", response_model=schemas.RelationsChanged, responses=problems(404, 507))
async def post_relations(body: RelationsBody, service: TheService, token: ChangeToken) -> dict[str, Any]:
    """Add and delete relations, all or none; they are in the answers when this returns.

    What follows from them by sub-properties, equivalent, inverse and symmetric ones follows at once, by other axioms with the
    next release. What an item's attributes or the ontology say is not deleted here.
    """
    batch = await service.change_relations(await asyncio.to_thread(body.changes), token)
    return {"num_changed": batch.num_rows, "sequence": batch.last}
