"""The benchmark of contents: start it, and ask what came of it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.problems import ProblemError
from cluster.serving.http.route import AdminRoute, TheService
from cluster.serving.requests.benchmark import BenchmarkBody
from semrec.errors import RunBusyError

__all__ = ["router"]

router = APIRouter(route_class=AdminRoute, tags=["operation"])


@router.post("/v1/benchmark", response_model=schemas.BenchmarkState, status_code=202, responses=problems(409, 501))
async def start_benchmark(body: BenchmarkBody, service: TheService) -> dict[str, Any]:
    """Start the benchmark of contents.

    It measures four configurations: GPU_Full, GPU_No_Deep, CPU_Fallback and High_Concurrency. It runs in a process of the
    lowest priority beside the replica that answers, one at a time; `GET /v1/benchmark` has its report.
    """
    try:
        return await asyncio.to_thread(service.benchmark.start, body.texts, body.files)
    except RunBusyError:  # whose text names a process
        raise ProblemError(409, "a benchmark is running", "one at a time", "Ask for its report first.") from None


@router.get("/v1/benchmark", response_model=schemas.BenchmarkState, responses=problems(404))
async def get_benchmark(service: TheService) -> dict[str, Any]:
    """The last benchmark and its report."""
    return await asyncio.to_thread(service.benchmark.state)
