"""Events: what users did just now."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.idempotency import ChangeToken
from cluster.serving.http.route import TheService, WriteRoute
from cluster.serving.requests.changes import EventsBody

__all__ = ["router"]

router = APIRouter(route_class=WriteRoute, tags=["events"])


@router.post("/v1/events", response_model=schemas.EventsAccepted, responses=problems(507))
async def post_events(body: EventsBody, service: TheService, token: ChangeToken) -> dict[str, Any]:
    """Interactions; durable and in the user's next answer when this returns."""
    events = await asyncio.to_thread(lambda: [event.model_dump() for event in body.events])
    batch, refused = await service.add_events(events, token)
    return {"accepted": batch.num_rows, "refused": refused, "sequence": batch.last}
