"""Replicas for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.replica_without_ray import LocalReplica


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalReplica]:
    """A replica of its own, for tests that change what is served."""
    from helpers.replica_without_ray import LocalReplica
    from helpers.serving_world import make_world

    with LocalReplica(make_world(tmp_path / "w"), telemetry=str(tmp_path / "answers")) as started:
        yield started
