"""A replica's application over a small world, without Ray: the same routes, service, snapshots and segments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from cluster.serving.access.keys import KeyRing
from cluster.serving.changes.actor import OverlayActor
from cluster.serving.execute import Ranker
from cluster.serving.http.application import make_application
from cluster.serving.service import Service
from cluster.serving.settings import ServeArgs
from cluster.serving.stats import Statistics
from cluster.serving.watcher import ReleaseWatcher
from helpers.serving_world import DIMENSION, World
from semrec.errors import InputError
from semrec.online.answers import ScoredItem
from semrec.online.release import OnlineRelease
from semrec.online.telemetry import AnswerLog, user_key
from semrec.workspace.log import Batch, BatchToken
from semrec.workspace.storage import Storage

__all__ = ["LocalReplica", "WordEncoder", "bytes_of", "get", "listed", "post", "refused"]


class WordEncoder:
    """Text to a vector of small whole numbers, which depends on the text alone."""

    def vector(self, text: str) -> np.ndarray:
        if not text.strip():
            raise InputError("an empty text", expected="words", remedy="Write some.")
        rng = np.random.default_rng(zlib.crc32(text.encode()))
        return (rng.integers(-2, 3, DIMENSION) + np.eye(DIMENSION)[0] * 0.5).astype(np.float32)

    def warm(self) -> None:
        pass


class LocalAppender:
    """The overlay actor's own code, in this process; the replica hears of a change before it is acknowledged."""

    def __init__(self, uri: str, live: ReleaseWatcher) -> None:
        self._uri, self._live = uri, live
        self._actor: OverlayActor | None = None

    async def append(self, log: str, rows: Sequence[Any], token: BatchToken | None = None) -> Batch:
        return self._told(await self._get().append(log, list(rows), token))

    async def known(self, log: str, token: BatchToken) -> Batch | None:
        return await self._get().known(log, token)

    def _get(self) -> OverlayActor:
        self._actor = self._actor or OverlayActor(self._uri)
        return self._actor

    def _told(self, batch: Batch) -> Batch:
        assert self._live.state is not None
        self._live.state.catch_up()
        self._live.refresh()
        return batch


class LocalReplica:
    """`client` is an HTTP client of it; `live`, `service` and `served` look inside. Use as a context."""

    def __init__(self, world: World, keys_file: str | None = None, telemetry: str | None = None, **args: Any) -> None:
        self.world, storage = world, world.workspace.storage
        args.setdefault("timeout_s", 60.0)  # a first request may have to wait for the engine's loops to be compiled
        self.args = ServeArgs(workspace=storage.uri, keys_file=keys_file, telemetry=telemetry, **args)
        self.stats = Statistics("local")
        self.live = ReleaseWatcher(storage, _open, lambda release: WordEncoder(), self.stats.count_event)
        self.live.check_live()
        keys = KeyRing(keys_file) if keys_file else None
        answers = AnswerLog(telemetry, hash_key=user_key(telemetry)) if telemetry else None
        appender = LocalAppender(storage.uri, self.live)
        self.service = Service(self.args, self.live, appender, self.stats, keys=keys, answers=answers)
        self.application = make_application(self.service)
        self.client = TestClient(
            self.application, base_url="http://localhost", client=("127.0.0.1", 50_000), raise_server_exceptions=False
        )

    @property
    def served(self) -> OnlineRelease:
        assert self.live.now is not None
        return self.live.now.served

    def __enter__(self) -> LocalReplica:
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(*error)  # type: ignore[arg-type]
        self.service.close()


def refused(response: Any, status: int) -> dict[str, Any]:
    """The problem document of a response with that status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= problem.keys()
    assert "Traceback" not in response.text
    return problem


def _open(storage: Storage, release_id: str, run_id: str) -> tuple[OnlineRelease, Ranker]:
    served = OnlineRelease(storage, release_id, run_id)
    return served, served.rank


def get(replica: LocalReplica, path: str, status: int = 200, **params: Any) -> dict[str, Any]:
    """The body of the answer to a GET, which has that status."""
    response = replica.client.get(path, params=params)
    assert response.status_code == status, response.text
    return response.json()


def post(replica: LocalReplica, path: str, body: Any, status: int = 200, **headers: str) -> dict[str, Any]:
    """The body of the answer to a POST of JSON, which has that status."""
    response = replica.client.post(path, json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def listed(answer: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The items of an answer, with the bytes of their scores."""
    return [(item["item_id"], np.float32(item["score"]).tobytes()) for item in answer["items"]]


def bytes_of(hits: Sequence[ScoredItem]) -> list[tuple[str, bytes]]:
    """The same of the core's list."""
    return [(hit.item_id, hit.score.tobytes()) for hit in hits]
