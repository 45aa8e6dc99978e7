from __future__ import annotations

import os
from pathlib import Path

import pytest

from semrec.data import ItemRow, import_items
from semrec.workspace.folder import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "workspace"), num_buckets=4)


@pytest.fixture
def stocked(workspace: Workspace) -> Workspace:
    """A workspace whose catalogue has the items a, b, c, 007, 7 and 1.0."""
    import_items(workspace, [ItemRow(item, f"Item {item}") for item in ("a", "b", "c", "007", "7", "1.0")])
    return workspace


@pytest.fixture(scope="session")
def shared_data() -> Path:
    default = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("SEMREC_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"NO SHARED DATA at {folder}: set SEMREC_SHARED to run the tests on real MovieLens files")
    return folder
