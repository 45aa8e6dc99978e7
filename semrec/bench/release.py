"""Measures how a release is built at a size: the item matrix, and the users of one part after the other."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa

from semrec.bench.generated import EMBEDDING_NAME, generated_events, write_embedding_part
from semrec.bench.workloads import generated_vectors
from semrec.contracts import CATALOGUE_SCHEMA, part_name, text_hash
from semrec.data import import_interactions
from semrec.machine import resident_bytes
from semrec.progress import Progress
from semrec.release.build import UserPartWorker
from semrec.release.matrix import build_matrix
from semrec.release.plan import ReleaseJob, plan_release, plan_user_parts
from semrec.settings import ReleaseSettings
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest, MatrixManifest
from semrec.workspace.records import PartFile
from semrec.workspace.tables import write_table

__all__ = ["ReleaseBench", "bench_release"]

_ITEMS_PER_PART: Final = 2_048
_EVENTS_PER_USER: Final = 50
_SEED: Final = 5
_T = TypeVar("_T")


@dataclass(frozen=True)
class ReleaseBench:
    """One release. CPU seconds of all threads, which other work on the machine does not change much; peaks are resident bytes,
    mapped files included."""

    num_items: int
    num_users: int
    num_parts: int
    dimension: int
    matrix_cpu_s: float
    matrix_peak_bytes: int
    worker_start_cpu_s: float
    cpu_s_per_part: float  # the median
    worker_peak_bytes: int


def bench_release(
    workspace: Workspace, *, num_items: int, num_users: int, dimension: int, progress: Progress
) -> ReleaseBench:
    """Generates a catalogue with vectors and 50 events a user in an empty workspace, and builds its release."""
    progress.note(f"generating {num_items:,} items and {num_users * _EVENTS_PER_USER:,} events")
    _write_catalogue(workspace, num_items, dimension)
    item_ids = [_item_id(n) for n in range(num_items)]
    import_interactions(workspace, generated_events(item_ids, num_users, events_per_user=_EVENTS_PER_USER, seed=_SEED))
    del item_ids
    progress.note("building the item matrix")
    matrix_cpu_s, matrix_peak_bytes = _in_process_of_its_own(_build_matrix, workspace)
    progress.note("building the user parts")
    start_s, parts_s, worker_peak_bytes = _in_process_of_its_own(_build_parts, workspace)
    return ReleaseBench(
        num_items, num_users, workspace.num_buckets, dimension, matrix_cpu_s, matrix_peak_bytes, start_s,
        float(np.median(parts_s)), worker_peak_bytes,
    )  # fmt: skip


def _item_id(number: int) -> str:
    return f"item-{number:09d}"


def _write_catalogue(workspace: Workspace, num_items: int, dimension: int) -> None:
    """Parts as an import of so many items has them; every third item states a platform, all state a price."""
    storage, catalogue, embedding = workspace.storage, [], []
    order = np.random.default_rng(_SEED).permutation(num_items)  # an import distributes items by the hash of their text
    for part, start in enumerate(range(0, num_items, _ITEMS_PER_PART)):
        numbers = np.sort(order[start : start + _ITEMS_PER_PART]).tolist()
        ids, texts = [_item_id(n) for n in numbers], [f"text of item {n}" for n in numbers]
        hashes = [text_hash(text) for text in texts]
        stated = [
            {"price": [str(n % 997)], **({"platform": [f"platform {n % 5}"]} if n % 3 == 0 else {})} for n in numbers
        ]
        columns = {
            "item_id": ids,
            "title": [f"The title of item {n}" for n in numbers],
            "text": texts,
            "text_hash": hashes,
            "attributes": [list(attributes.items()) for attributes in stated],
            "content": [None] * len(ids),
        }
        file = write_table(storage, f"catalogue/{part_name(part)}", pa.table(columns, schema=CATALOGUE_SCHEMA))
        catalogue.append(PartFile.of(part, file))
        vectors_ND = generated_vectors(len(ids), dimension, seed=part)
        embedding.append(write_embedding_part(storage, part, ids, hashes, vectors_ND))
    manifest = CatalogueManifest(
        num_items=num_items,
        num_parts=len(catalogue),
        parts=tuple(catalogue),
        fingerprint=fingerprint([part.content_digest for part in catalogue]),
    )
    manifest.write(storage)
    EmbeddingManifest(
        name=EMBEDDING_NAME,
        encoder={"model": EMBEDDING_NAME},
        catalogue=manifest.fingerprint,
        num_items=num_items,
        dimension=dimension,
        parts=tuple(embedding),
        fingerprint=fingerprint([part.content_digest for part in embedding]),
    ).write(storage, EMBEDDING_NAME)


def _in_process_of_its_own(measured: Callable[[Workspace], _T], workspace: Workspace) -> _T:
    """What `measured` returns in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, workspace).result()


def _job(workspace: Workspace) -> ReleaseJob:
    return plan_release(workspace, EMBEDDING_NAME, ReleaseSettings())


def _build_matrix(workspace: Workspace) -> tuple[float, int]:
    job, started_s = _job(workspace), time.process_time()
    build_matrix(workspace, job)
    return time.process_time() - started_s, resident_bytes()["peak_resident_bytes"]


def _build_parts(workspace: Workspace) -> tuple[float, list[float], int]:
    job = _job(workspace)
    plan = plan_user_parts(job, MatrixManifest.read(workspace.storage, job.release_id))
    started_s = time.process_time()
    worker = UserPartWorker(workspace, job, plan)
    start_s, parts_s = time.process_time() - started_s, []
    for part in range(workspace.num_buckets):
        started_s = time.process_time()
        worker.run_part(part)
        parts_s.append(time.process_time() - started_s)
    return start_s, parts_s, resident_bytes()["peak_resident_bytes"]
