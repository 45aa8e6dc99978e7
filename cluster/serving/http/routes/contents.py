"""Contents that callers bring: texts, images and documents, sent or named by URI."""

from __future__ import annotations

import asyncio

import orjson
from fastapi import APIRouter

from cluster.serving.contents import ContentAnswer
from cluster.serving.http import schemas
from cluster.serving.http.documentation import problems
from cluster.serving.http.json_answers import JSON
from cluster.serving.http.route import AnswerResponse, ApiRoute, TheService
from cluster.serving.requests.contents import ProcessBody

__all__ = ["router"]

router = APIRouter(route_class=ApiRoute, tags=["answers"])


@router.post("/v1/process", response_model=schemas.ProcessAnswers, responses=problems(501))
async def process(body: ProcessBody, service: TheService) -> AnswerResponse:
    """What contents are: modality, metadata, vector, and the items most like each."""
    outcomes = await service.process([content.content() for content in body.contents], body.list_options())
    parts = await asyncio.to_thread(lambda: [_json(outcome) for outcome in outcomes])
    answers = [outcome.answer for outcome in outcomes if isinstance(outcome, ContentAnswer)]
    return AnswerResponse(b'{"contents":[%b]}' % b",".join(parts), answers)


def _json(outcome: ContentAnswer | Exception) -> bytes:
    if isinstance(outcome, Exception):
        return JSON.failure(outcome)
    processed = outcome.processed
    about = {"modality": processed.modality, "metadata": processed.metadata, "vector": processed.vector}
    head = orjson.dumps(about, option=orjson.OPT_SERIALIZE_NUMPY)[:-1]
    return b'%b,"answer":%b}' % (head, JSON.answer(outcome.answer))
