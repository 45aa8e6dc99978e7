"""However a run is computed, its content digest is the same: shards, engines, and resumed or not."""

from __future__ import annotations

import tempfile

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.compute import InProcess
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from semrec.bench.generated import write_catalogue
from semrec.data import UserRow, import_interactions, import_users
from semrec.ids import id_fault
from semrec.progress import NoProgress
from semrec.runs.plan import run_folder
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace

ID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(lambda text: not id_fault(text))
IDS = st.lists(ID, unique=True)
SERVICES = ("Atlas", "Lumina", "Marquee")
_folder = tempfile.TemporaryDirectory(prefix="semrec-test-")  # examples share no fixture; gone when the process ends


@st.composite
def vectors(draw: st.DrawFn, num_items: int) -> np.ndarray:
    """Catalogues with ties, duplicates, zero vectors, and norms spread like factors'."""
    dimension, kind = (
        draw(st.sampled_from([1, 5, 16])),
        draw(st.sampled_from(["plain", "ties", "duplicates", "factors"])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    found = rng.standard_normal((num_items, dimension)).astype(np.float32)
    if kind == "ties":
        found = rng.integers(-1, 2, found.shape).astype(np.float32)
    elif kind == "duplicates":
        found = found[rng.integers(0, max(1, num_items // 3), num_items)]
    elif kind == "factors":
        found *= np.exp(rng.normal(0, 3, (num_items, 1))).astype(np.float32)
    return found


@st.composite
def workspaces(draw: st.DrawFn) -> Workspace:
    """A small workspace whose ids have strip-proof letters of any script, and users of every kind."""
    workspace = Workspace.create(tempfile.mkdtemp(dir=_folder.name), num_buckets=draw(st.integers(1, 3)))
    item_ids = draw(IDS.filter(lambda ids: len(ids) >= 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    choose = lambda: {"platform": [s for s in SERVICES if rng.random() < 0.5]}  # noqa: E731
    write_catalogue(workspace, item_ids, draw(vectors(len(item_ids))), [choose() for _ in item_ids])
    user_ids = [f"u{n}é" for n in range(draw(st.integers(1, 6)))]
    import_users(workspace, [UserRow(u, choose()) for u in [*user_ids, "without history"]])
    seen = [(u, i) for u in user_ids for i in item_ids if rng.random() < rng.choice([0.2, 1.0])]
    events = {
        "user_id": pa.array([u for u, _ in seen], pa.string()),
        "item_id": pa.array([i for _, i in seen], pa.string()),
        "value": pa.array(rng.integers(0, 3, len(seen)), pa.float32()),
        "timestamp": pa.array(rng.integers(0, 10**9, len(seen)), pa.int64()),
    }
    import_interactions(workspace, [pa.table(events)])
    return workspace


def digest(workspace: Workspace, k: int, engine: str, num_shards: int | None) -> tuple[str, str]:
    """Scores as if nothing had been done, and gives (run id, content digest)."""
    storage = workspace.storage
    options = {"compute": InProcess(), "progress": NoProgress()}
    result = score_users(workspace, ScoreSettings(k=k), engine=engine, num_shards=num_shards, **options)
    assert verify_run(storage, result.run_id, num_sampled=3).problems == []
    folder = run_folder(result.run_id)
    for name in storage.list_sizes(f"{folder}/ledger"):
        storage.delete(f"{folder}/ledger/{name}")
    return result.run_id, result.manifest.content_digest


@given(workspaces(), st.sampled_from([1, 3, 50]))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_shards_and_engines_give_the_same_bytes(workspace: Workspace, k: int) -> None:
    options = {"embedding": None, "compute": InProcess(), "progress": NoProgress()}
    released = build_release(workspace, ReleaseSettings(), **options)
    expected = digest(workspace, k, "reference", None)
    for engine in ("cpu", "reference"):
        for num_shards in {min(n, released.manifest.matrix.num_items) for n in (1, 2, 3)}:
            assert digest(workspace, k, engine, num_shards) == expected
