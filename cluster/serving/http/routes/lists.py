"""Lists of items: recommendations, similar items, search, and many queries at once."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query

from cluster.serving.execute import Response
from cluster.serving.http import schemas
from cluster.serving.http.arrow_answers import ARROW_BATCH, ARROW_STREAM, accepts_arrow
from cluster.serving.http.documentation import problems
from cluster.serving.http.fast_path import FastRoute
from cluster.serving.http.json_answers import JSON, JSON_BATCH
from cluster.serving.http.route import AnswerResponse, ApiRoute, ItemId, TheCaller, TheService, UserId
from cluster.serving.requests.lists import BatchBody, RecommendBody, SearchBody
from cluster.serving.requests.parameters import SimilarParameters, UserParameters

__all__ = ["fast_router", "router"]

fast_router = APIRouter(route_class=FastRoute, tags=["answers"])
router = APIRouter(route_class=ApiRoute, tags=["answers"])
# Of an item of a request, at least: `Service.read` has long lists converted beside the event loop.
_LIKED_BYTES: Final = 32
_COLUMNS: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}


@fast_router.get("/v1/users/{user_id}/recommendations", response_model=schemas.Answer, responses=problems(404))
async def recommend_user(
    user_id: UserId, parameters: Annotated[UserParameters, Query()], service: TheService, caller: TheCaller
) -> Response:
    """Recommendations for a user; an unknown one gets what is popular."""
    return await service.answer(parameters.query(user_id), JSON, may_explain=caller.may_explain)


@fast_router.get("/v1/items/{item_id}/similar", response_model=schemas.Answer, responses=problems(404))
async def similar_items(
    item_id: ItemId, parameters: Annotated[SimilarParameters, Query()], service: TheService, caller: TheCaller
) -> Response:
    """The items most like one."""
    return await service.answer(parameters.query(item_id), JSON, may_explain=caller.may_explain)


@router.post("/v1/recommendations", response_model=schemas.Answer, responses=problems(404, 501))
async def recommend_anonymous(body: RecommendBody, service: TheService, caller: TheCaller) -> AnswerResponse:
    """Recommendations from liked and disliked items and words."""
    query = await service.read(_LIKED_BYTES * (len(body.liked) + len(body.disliked)), body.query)
    return AnswerResponse.of(await service.answer(query, JSON, may_explain=caller.may_explain))


@router.post("/v1/search", response_model=schemas.Answer, responses=problems(404, 501))
async def search(body: SearchBody, service: TheService, caller: TheCaller) -> AnswerResponse:
    """Items by what words mean and as they stand in titles, texts and documents, or by how an image looks."""
    return AnswerResponse.of(await service.answer(body.query(), JSON, may_explain=caller.may_explain))


@router.post("/v1/batch", response_model=schemas.BatchAnswers, responses={200: {"content": {ARROW_STREAM: _COLUMNS}}})
async def answer_batch(
    body: BatchBody, service: TheService, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> AnswerResponse:
    """Thousands of queries in one request.

    With `Accept: application/vnd.apache.arrow.stream` the answer is an Arrow IPC stream, with a row for each query: `source`,
    `user_id` or `item_id`, `short_reason`, the list `items` of `item_id`, `title`, `attributes` and `score`, or an `error`.
    `release` and `overlay` are metadata of its schema.
    """
    batch = await asyncio.to_thread(body.query)
    if accepts_arrow(accept):
        return AnswerResponse(*await service.answer_batch(batch, ARROW_BATCH), media_type=ARROW_STREAM)
    return AnswerResponse(*await service.answer_batch(batch, JSON_BATCH))
