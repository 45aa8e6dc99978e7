"""Makes the worlds of tests/semrec/online importable here, too, and replicas of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from replica_without_ray import LocalReplica

sys.path.insert(0, str(Path(__file__).parents[2] / "semrec" / "online"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalReplica]:
    """A replica of its own, for tests that change what is served."""
    from replica_without_ray import LocalReplica
    from serving_world import make_world

    with LocalReplica(make_world(tmp_path / "w"), telemetry=str(tmp_path / "answers")) as started:
        yield started
