"""The small world that the tests of answers share: one for each module, which may not change it."""

from __future__ import annotations

import pytest
from serving_world import World, make_world

from semrec.serving.served import ServedRelease


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def served(world: World) -> ServedRelease:
    return world.serve()
