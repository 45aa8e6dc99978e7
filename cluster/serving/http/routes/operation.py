"""What whoever runs the service asks: whether it lives, what it serves, what it has counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from cluster.serving.http import schemas
from cluster.serving.http.route import AdminRoute, ApiRoute, PublicRoute, TheService

__all__ = ["admin_router", "public_router", "router"]

router = APIRouter(route_class=ApiRoute, tags=["operation"])
admin_router = APIRouter(route_class=AdminRoute, tags=["operation"])
public_router = APIRouter(route_class=PublicRoute, tags=["operation"])


@router.get("/v1/models", response_model=schemas.ReleaseInfo)
async def models(service: TheService) -> dict[str, Any]:
    """What is served, and what can be filtered by."""
    return service.describe_release()


@admin_router.get("/v1/stats", response_model=schemas.Statistics)
async def statistics(service: TheService) -> dict[str, Any]:
    """Counts of the replica that answers."""
    return service.statistics()


@admin_router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: TheService) -> Response:
    """The same for Prometheus."""
    body = service.stats.to_prometheus(service.gauges())
    return Response(body, headers={"content-type": "text/plain; version=0.0.4"})


@public_router.get("/healthz")
async def health() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "alive"}


@public_router.get(
    "/readyz",
    response_model=schemas.Ready,
    responses={503: {"model": schemas.Ready, "description": "No release is loaded yet."}},
)
async def ready(service: TheService) -> Response:
    """Whether a probed release and its text encoder are loaded."""
    state = service.readiness()
    return JSONResponse(state, 200 if state["status"] == "ready" else 503)


@public_router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())
