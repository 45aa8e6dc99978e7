"""Measure servers from outside: each alone in turn, on one machine, in one run, under the same requests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from cluster.serving.http.arrow_answers import ARROW_STREAM
from semrec.bench.kernels import kernel_choices, with_kernels
from semrec.bench.load import Load, Request, saturate, steady
from semrec.errors import NoWorkersError
from semrec.release.reader import Release
from semrec.release.sources import PERSONAL, source_named
from semrec.runs.live import require_live
from semrec.scoring.types import Queries
from semrec.workspace.folder import Workspace

__all__ = ["ServingRow", "bench_serving", "free_port", "serve_command", "serving_requests", "started_server"]

_START_S: Final = 300.0
_WARM_S: Final = 3.0
_END_S: Final = 60.0
_LIKED: Final = 5
_QUERIES: Final = 2_048  # in one /v1/batch request


@dataclass(frozen=True)
class ServingRow:
    """One server under one kind of load. `of_ping` is its rate against an empty FastAPI endpoint in the same run, and
    `of_engine` a batch's users per second against those of the engine by itself, for the same users.
    """

    server: str  # ping, engine, faiss, serve (with its default proxy), semrec
    endpoint: str
    load: str  # 32 at a time, or requests per second
    answers_per_s: float  # requests, but users of a batch
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    of_ping: float = 1.0
    kernels: str | None = None  # of faiss: the fastest of those that it offers (OPENBLAS_CORETYPE)
    of_engine: float | None = None
    num_items: int | None = None  # of the release; `semrec plan --serve` takes no rate for more


def bench_serving(
    workspace_uri: str, platform: str | None, *, seconds: float, rate: float, concurrency: int = 32
) -> tuple[float, list[ServingRow]]:
    """Seconds from start to ready of ours, and the rows: an empty endpoint, faiss behind FastAPI, ours behind Serve's
    default proxy, ours. User recommendations exclude what was seen and ask for `platform`.
    """
    rows, kinds = [], serving_requests(workspace_uri, platform)
    users = {"recommend_user": kinds["recommend_user"]}
    peer = [sys.executable, "-m", "cluster.bench.peers"]
    with started_server([*peer, "ping"], "/ping") as (url, _):
        rows += _measure("ping", url, {"ping": [Request("/ping")]}, seconds, concurrency)
    engine = _engine_row(workspace_uri, kinds["answer_batch"][0], seconds)
    rows.append(engine)
    rows += _measure_faiss([*peer, "faiss", "--workspace", workspace_uri], users, seconds, concurrency)
    serve = serve_command(workspace_uri)
    plain = {
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    }
    with started_server(serve, "/readyz", plain) as (url, _):
        rows += _measure("serve", url, users, seconds, concurrency)
    with started_server(serve, "/readyz") as (url, ready_s):
        rows += _measure("semrec", url, kinds, seconds, concurrency)
        host, port = url.removeprefix("http://").split(":")
        load = steady(host, int(port), kinds["recommend_user"], rate=rate, seconds=seconds)
        rows.append(_row("semrec", "recommend_user", f"{rate:,.0f}/s", load))
    ping = rows[0].answers_per_s
    storage = Workspace.open(workspace_uri).storage
    num_items = Release(storage, require_live(storage).release).num_items
    return ready_s, [
        replace(
            row,
            of_ping=row.answers_per_s / ping,
            of_engine=row.answers_per_s / engine.answers_per_s if row.endpoint.startswith("answer_batch") else None,
            num_items=num_items,
        )
        for row in rows
    ]


@contextlib.contextmanager
def started_server(
    command: Sequence[str], ready_path: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, float]]:
    """A server on a free loopback port (`--port`), for the time of the block: its URL, and the seconds until it answered.

    Raises NoWorkersError with the end of its output when it does not answer within five minutes.
    """
    port, began_s = free_port(), time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            while not _answers(url + ready_path):
                if process.poll() is not None or time.monotonic() - began_s > _START_S:
                    log.seek(0)
                    raise NoWorkersError(
                        f"{' '.join(command)} did not answer: {log.read()[-2000:].decode(errors='replace')}",
                        expected=f"an answer from {ready_path}",
                        remedy="Mend what it says.",
                    )
                time.sleep(0.1)
            yield url, time.monotonic() - began_s
        finally:
            process.terminate()
            process.wait(_END_S)


def serve_command(workspace_uri: str) -> list[str]:
    """The command that serves a workspace, without a port."""
    return [sys.executable, "-m", "jobs.serve_release", "--workspace", workspace_uri]


def serving_requests(workspace_uri: str, platform: str | None) -> dict[str, list[Request]]:
    """Endpoint -> requests of it, each of another user or item, in an order that no cache foresees."""
    storage = Workspace.open(workspace_uri).storage
    release, rng = Release(storage, require_live(storage).release), np.random.default_rng(3)
    known = [
        user for part in range(len(release.manifest.users)) for user in release.user_part(part).user_ids.to_pylist()
    ]
    chosen = [known[n] for n in rng.permutation(len(known))[:_QUERIES].tolist()]
    items = [release.item_ids[n].as_py() for n in rng.integers(0, release.num_items, _QUERIES).tolist()]
    users = [quote(user, safe="") for user in chosen]
    asked = "" if platform is None else f"&platform={quote(platform)}"
    filters: dict[str, Any] = {} if platform is None else {"filters": {"platform": [platform]}}
    liked = [{"liked": items[n : n + _LIKED], "k": 10, **filters} for n in range(0, _QUERIES - _LIKED, _LIKED)]
    texts = [{"text": title, "k": 10} for title in release.items.column("title").to_pylist()[:200]]
    queries = {"queries": [{"user_id": chosen[n % len(chosen)]} for n in range(_QUERIES)], "k": 10}
    batch = Request("/v1/batch", "POST", json.dumps(queries))
    kinds = {
        "recommend_user": [Request(f"/v1/users/{user}/recommendations?k=10{asked}") for user in users],
        "similar_items": [Request(f"/v1/items/{quote(item, safe='')}/similar?k=10{asked}") for item in items],
        "recommend_anonymous": [Request("/v1/recommendations", "POST", json.dumps(body)) for body in liked],
        "search": [Request("/v1/search", "POST", json.dumps(body)) for body in texts],
        "answer_batch": [batch],
        "answer_batch_arrow": [replace(batch, accept=ARROW_STREAM)],
    }
    if "weights_sha256" not in release.manifest.encoder:  # generated vectors come from no encoder
        del kinds["search"]
    return kinds


def _measure(
    server: str, url: str, kinds: dict[str, list[Request]], seconds: float, concurrency: int
) -> list[ServingRow]:
    rows = []
    for endpoint, requests in kinds.items():
        is_batch = endpoint.startswith("answer_batch")
        at_once = 2 if is_batch else concurrency
        saturate(url, requests, concurrency=at_once, seconds=_WARM_S)
        load = saturate(url, requests, concurrency=at_once, seconds=seconds)
        rows.append(_row(server, endpoint, f"{at_once} at a time", load, _QUERIES if is_batch else 1))
    return rows


def _engine_row(workspace_uri: str, batch: Request, seconds: float) -> ServingRow:
    """The users of a batch request through the engine of the release, with nothing around it."""
    storage, body = Workspace.open(workspace_uri).storage, json.loads(batch.body)
    release = Release(storage, require_live(storage).release)
    users = {query["user_id"] for query in body["queries"]}
    chosen, personal = [], source_named(PERSONAL)
    for part in map(release.user_part, range(len(release.manifest.users))):
        is_asked = [user in users for user in part.user_ids.to_pylist()]
        chosen.append(part.queries.take(np.intersect1d(np.flatnonzero(is_asked), part.of_source(PERSONAL))))
    queries = Queries(
        np.concatenate([part.vectors_QD for part in chosen]),
        np.concatenate([part.words_QW for part in chosen]),
        np.cumsum(np.concatenate([[0], *(np.diff(part.seen_offsets) for part in chosen)])),
        np.concatenate([part.seen_rows for part in chosen]),
    )
    engine = personal.engine(release.shard(), "cpu", coarse=release.coarse("cpu"))
    times_s: list[float] = []
    engine.top_k(queries, body["k"])
    while sum(times_s) < seconds:
        began_s = time.perf_counter()
        engine.top_k(queries, body["k"])
        times_s.append(time.perf_counter() - began_s)
    p50, p95, p99 = np.percentile(np.array(times_s) * 1e3, [50, 95, 99]).tolist()
    rate = queries.num_queries * len(times_s) / sum(times_s)
    return ServingRow("engine", "answer_batch", "1 at a time", rate, p50, p95, p99, 0)


def _measure_faiss(
    command: list[str], kinds: dict[str, list[Request]], seconds: float, concurrency: int
) -> list[ServingRow]:
    """The rows of faiss' service with the kernels under which it answers most."""
    rows_by_kernels = []
    for kernels in kernel_choices("faiss-cpu"):
        with started_server(with_kernels(kernels, command), kinds["recommend_user"][0].path) as (url, _):
            rows = _measure("faiss", url, kinds, seconds, concurrency)
        rows_by_kernels.append([replace(row, kernels=kernels) for row in rows])
    return max(rows_by_kernels, key=lambda rows: rows[0].answers_per_s)


def _row(server: str, endpoint: str, kind: str, load: Load, answers: int = 1) -> ServingRow:
    return ServingRow(
        server, endpoint, kind, load.requests_per_s * answers, load.p50_ms, load.p95_ms, load.p99_ms, load.errors
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
