"""The release bench builds what an import would have given it, and measures each step."""

from __future__ import annotations

from pathlib import Path

from semrec.bench.release import bench_release
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace


def test_a_small_release_is_built_and_measured(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=2)
    row = bench_release(workspace, num_items=3_000, num_users=40, dimension=4, progress=NoProgress())
    assert (row.num_items, row.num_users, row.num_parts) == (3_000, 40, 2)
    assert min(row.matrix_cpu_s, row.cpu_s_per_part, row.matrix_peak_bytes, row.worker_peak_bytes) > 0
    assert len(workspace.storage.list_sizes("catalogue")) == 3  # two parts of 2,048 items at most, and the manifest
    (release,) = workspace.storage.list_folders("releases")
    assert len(workspace.storage.list_sizes(f"releases/{release}/users")) == 2
