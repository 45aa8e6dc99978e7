"""Deployments of Ray Serve: the replica that answers requests, and the shards beside it."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any, Final

from ray import serve

from cluster.metrics import RayMetrics
from cluster.serving.access.keys import KeyRing
from cluster.serving.access.security import check_binding
from cluster.serving.changes.client import OverlayClient, OverlayFollower
from cluster.serving.encoders import online_encoder
from cluster.serving.execute import Ranker
from cluster.serving.grpc.methods import RecommenderMethods
from cluster.serving.grpc.servicer import check_servicers
from cluster.serving.http.application import make_application
from cluster.serving.http.middleware import install_fast_path, remove_fast_path
from cluster.serving.logs import log_with_serve
from cluster.serving.ray_serve import proxy_options
from cluster.serving.service import Service
from cluster.serving.settings import ServeArgs, engine_threads
from cluster.serving.shards import Shard, ShardGroup
from cluster.serving.stats import Statistics
from cluster.serving.watcher import Opener, ReleaseWatcher
from semrec.errors import InputError
from semrec.online.release import OnlineRelease
from semrec.online.telemetry import AnswerLog, user_key
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

__all__ = ["bind_application"]

_log = logging.getLogger("ray.serve")
_REPORT_S: Final = 5.0
_MAX_ONGOING: Final = 10_000  # the replica bounds what waits by itself, with an answer that says so


class Recommender(RecommenderMethods):
    """One replica of the ingress. It is there once it has loaded what is live; with nothing to load it waits for it."""

    async def __init__(self, args: ServeArgs, *shards: Any) -> None:  # type: ignore[misc]
        log_with_serve()
        host, servicers = await proxy_options()
        check_servicers(servicers)
        check_binding(args, host, has_grpc=bool(servicers))
        loop = asyncio.get_running_loop()
        storage = Workspace.open(args.workspace).storage
        group = ShardGroup(shards, loop) if shards else None
        self._stats = Statistics(serve.get_replica_context().replica_tag)
        self._live = ReleaseWatcher(
            storage, group.open_release if group else _opener(args), online_encoder, self._stats.count_event
        )
        await asyncio.to_thread(self._live.check_live)
        self._keys = KeyRing(args.keys_file) if args.keys_file else None
        answers = AnswerLog(args.telemetry, hash_key=user_key(args.telemetry)) if args.telemetry else None
        self.service = Service(
            args,
            self._live,
            await asyncio.to_thread(OverlayClient, args.workspace),
            self._stats,
            keys=self._keys,
            answers=answers,
            count_before=group.count_before if group else None,
        )
        self._args, self._stop = args, threading.Event()
        self._follower: OverlayFollower | None = None
        self._watcher = threading.Thread(target=self._watch, name="release-watcher", daemon=True)
        self._watcher.start()
        self._reporter = loop.create_task(self._report())

    def __serve_build_asgi_app__(self) -> Any:
        application = make_application(self.service)
        self._fast_path = application.state.fast_path
        install_fast_path(self._fast_path)
        return application

    def check_health(self) -> None:
        """Asked by Serve: a replica whose watcher died would answer from an old release for ever."""
        if not self._watcher.is_alive():
            raise RuntimeError("the release watcher has died")

    async def __del__(self) -> None:
        self._stop.set()
        self._reporter.cancel()
        remove_fast_path(self._fast_path)
        if self._follower is not None:
            await asyncio.to_thread(self._follower.stop)
        self.service.close()

    def _watch(self) -> None:
        """Follows `current.json`, the overlay and the key file, until the end."""
        while not self._stop.is_set():
            try:
                self._check_sources()
            except Exception:  # whatever failed, the replica answers on, and the next look may fare better
                _log.exception("the release watcher goes on after an error")
                self._stop.wait(self._args.poll_s)

    def _check_sources(self) -> None:
        if self._follower is None and self._live.state is not None:
            self._follower = OverlayFollower(self._args.workspace, self._live.state, self._live.refresh)
        self._stop.wait(self._args.poll_s)
        if self._live.check_live():
            gc.freeze()  # a full collection would look at millions of the release's objects: 150 ms without an answer
        if self._keys is not None:
            self._refresh_keys(self._keys)

    def _refresh_keys(self, keys: KeyRing) -> None:
        try:
            keys.refresh()
        except InputError as error:
            _log.error("the keys stay as they were: %s", error)

    async def _report(self) -> None:
        """Gives Ray's exporter what was counted."""
        metrics = RayMetrics()
        while True:
            await asyncio.sleep(_REPORT_S)
            self._stats.report(metrics)
            if (now := self._live.now) is not None:
                metrics.set("semrec_serving_overlay_sequence", now.overlay.sequence)
                metrics.set("semrec_serving_published_timestamp_seconds", self._live.published_at_s)
                metrics.set("semrec_serving_recall", self.service.gauges()["recall"])


def bind_application(args: ServeArgs) -> serve.Application:
    """The deployments of an application, bound to each other."""
    # Access lines are written per request and hold ids of users: the log of answers is what there is to read.
    quiet = {"enable_access_log": False}
    actor = {"num_cpus": args.cpus}
    shards = []
    for number in range(args.shards if args.shards > 1 else 0):
        deployment = serve.deployment(
            Shard, name=f"shard-{number}", max_ongoing_requests=_MAX_ONGOING, ray_actor_options=actor
        )
        shards.append(deployment.options(logging_config=quiet).bind(args, number))
    size: dict[str, Any] = {"num_replicas": args.replicas}
    if args.max_replicas is not None:
        # A replica was measured to be busy with 32 requests at a time; half leaves room until another node has come.
        scaling = {"min_replicas": args.replicas, "max_replicas": args.max_replicas}
        size = {"autoscaling_config": {**scaling, "target_ongoing_requests": args.target_requests}}
    ingress = serve.deployment(
        serve.ingress()(Recommender),
        name="recommender",
        **size,
        max_ongoing_requests=_MAX_ONGOING,
        ray_actor_options=actor,
        logging_config=quiet,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
        graceful_shutdown_wait_loop_s=0.5,
    )
    return ingress.bind(args, *shards)


def _opener(args: ServeArgs) -> Opener:
    threads = engine_threads(args)

    def open_release(storage: Storage, release_id: str, run_id: str) -> tuple[OnlineRelease, Ranker]:
        served = OnlineRelease(storage, release_id, run_id, engine=args.engine, num_threads=threads)
        return served, served.rank

    return open_release
