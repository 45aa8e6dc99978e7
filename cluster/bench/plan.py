"""Holds the plan of a whole run against the run: seconds of its embedding, release and scoring."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from cluster.compute import Compute
from cluster.stages.embed import embed_catalogue
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from semrec.bench.generated import generated_events
from semrec.bench.workloads import generated_vectors
from semrec.data import import_interactions, import_items
from semrec.demo import film_items
from semrec.encoders.settings import EmbedSettings
from semrec.planning import CALIBRATION_VECTORS, Estimate, Node, Workload, calibrate, estimate
from semrec.progress import Progress
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace

__all__ = ["PlannedStage", "bench_plan"]

_EVENTS_PER_USER: Final = 50
_DIMENSION: Final = 384  # of the default encoder
_MEMORY_GB: Final = 16.0
_NETWORK_GBIT_PER_S: Final = 100.0  # of a machine with itself


@dataclass(frozen=True)
class PlannedStage:
    """Seconds of one stage, its workers' start included, and how many times as long as planned it took."""

    stage: str
    planned_s: float
    took_s: float

    @property
    def ratio(self) -> float:
        return self.took_s / self.planned_s


def bench_plan(
    workspace: Workspace,
    *,
    num_items: int,
    num_users: int,
    k: int,
    budget_s: float,
    compute: Compute,
    progress: Progress,
) -> list[PlannedStage]:
    """Plans a run of generated users and of editions of the demo's films, from `budget_s` seconds of measurement here, and
    runs it from nothing in an empty workspace: a row for each stage, and one for all.

    The plan is of the content model alone: training is in no plan. `compute` works on this machine.
    """
    items = list(islice(film_items(num_items), num_items))
    import_items(workspace, items)
    item_ids = sorted(item.item_id for item in items)
    import_interactions(workspace, generated_events(item_ids, num_users, events_per_user=_EVENTS_PER_USER, seed=11))
    progress.note("measuring for the plan")
    planned = _planned([item.text for item in items], num_users, k, budget_s, compute)
    compute.close()  # workers start within the run, as they do in one from nothing
    where: dict[str, Any] = {"compute": compute, "progress": progress}
    stages: list[tuple[str, float, Callable[[], Any]]] = [
        ("embed", planned.embed_s, lambda: embed_catalogue(workspace, EmbedSettings(device="cpu"), **where)),
        ("release", planned.release_s, lambda: build_release(workspace, ReleaseSettings(), embedding=None, **where)),
        ("score", planned.load_s + planned.score_s, lambda: score_users(workspace, ScoreSettings(k=k), **where)),
    ]
    rows = []
    for stage, planned_s, run in stages:
        started_s = time.perf_counter()
        run()
        rows.append(PlannedStage(stage, planned_s, time.perf_counter() - started_s))
    return [*rows, PlannedStage("all", sum(row.planned_s for row in rows), sum(row.took_s for row in rows))]


def _planned(texts: list[str], num_users: int, k: int, budget_s: float, compute: Compute) -> Estimate:
    """The estimate for this machine, whose cores were all measured at once, and are divided among its devices."""
    devices = compute.devices(kind="cpu")
    calibration = calibrate(
        generated_vectors(CALIBRATION_VECTORS, _DIMENSION, seed=11), texts, engine="cpu",
        num_threads=devices.count * devices.cpus, k=k, budget_s=budget_s,
    )  # fmt: skip
    node = Node(
        cloud="here", node="this machine", accelerator="cpu", devices=devices.count, memory_gb=_MEMORY_GB,
        network_gbit_per_s=_NETWORK_GBIT_PER_S, on_demand_usd=1, spot_usd=1,
    )  # fmt: skip
    work = Workload(len(texts), num_users, _DIMENSION, k, _EVENTS_PER_USER)
    return estimate(work, node, calibration.rates.slowed(devices.count), devices.count)
