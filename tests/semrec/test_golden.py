"""The bytes of one small world, written down. When they change, every stored result does: raise CONTRACT_VERSION."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whole_path import Event, events_table, part_digests, release, score

from semrec.bench.generated import write_catalogue
from semrec.contracts import CONTRACT_VERSION
from semrec.importing import UserRow, import_interactions, import_users
from semrec.runs import verify_run
from semrec.workspace import Workspace

#: What these digests belong to. Whoever must change them raises CONTRACT_VERSION in semrec/contracts.py, and this.
GOLDEN_CONTRACT = 1
GOLDEN_USERS = ["USERS"]
GOLDEN_RUN = "RUN"
MESSAGE = "the bytes of a result changed: if that was meant, raise CONTRACT_VERSION with the golden digests"

NUM_ITEMS, DIMENSION = 37, 11
SERVICES = ("Atlas", "Lumina", "Marquee")


def vectors() -> np.ndarray:
    """Vectors of fractions with ties, zeros and norms from 1/64 to 8."""
    item, d = np.meshgrid(np.arange(NUM_ITEMS), np.arange(DIMENSION), indexing="ij")
    plain = ((item * 7 + d * d * 3 + item * d) % 23 - 11) / 11.0
    plain[5] = plain[4]  # a tie for everybody
    plain[6] = 0
    return (plain * 2.0 ** (item % 10 - 6)).astype(np.float32)


def item_ids() -> list[str]:
    return [("é" if n % 5 == 0 else "") + f"{n * 37 % 101:x}" for n in range(NUM_ITEMS)]


def events() -> list[Event]:
    """Every kind of history: long, repeated, worthless, of an item that nobody else knows."""
    found: list[Event] = []
    for user in range(12):
        for n in range(user * user % 9):
            item = item_ids()[(user * 5 + n * 3) % NUM_ITEMS]
            found.append((f"u{user}", item, (n % 4) * 0.75 + user % 2, 1_600_000_000 + (user * 977 + n * 86_399 * 13)))
    return [*found, ("worthless", "é0", 0.0, 1_600_000_000), ("again", "25", 1.0, 7), ("again", "25", 2.5, 8)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(str(tmp_path_factory.mktemp("golden")), num_buckets=3)
    stated = [{"platform": [s for n, s in enumerate(SERVICES) if item >> n & 1]} for item in range(NUM_ITEMS)]
    write_catalogue(workspace, item_ids(), vectors(), stated)
    limited = [UserRow(f"u{user}", {"platform": [SERVICES[user % 3]]}) for user in range(0, 12, 2)]
    import_users(workspace, [*limited, UserRow("silent"), UserRow("süß", {"platform": ["none has it"]})])
    import_interactions(workspace, [events_table(events())])
    return workspace


def test_golden_user_parts(world: Workspace) -> None:
    made = release(world, half_life_days=45.0).manifest
    assert made["counts"] == {"COUNTS": 0}
    assert part_digests(made, "users") == GOLDEN_USERS, MESSAGE


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_golden_run(world: Workspace, engine: str) -> None:
    release_id = release(world, half_life_days=45.0).release_id
    result = score(world, k=7, engine=engine, release_id=release_id)
    assert verify_run(world.storage, result.run_id, num_sampled=50).problems == []
    assert result.manifest["counts"]["short"] == -1
    assert result.manifest["content_digest"] == GOLDEN_RUN, MESSAGE
    world.storage.delete(f"runs/{result.run_id}/plan.json")
    for part in range(3):
        world.storage.delete(f"runs/{result.run_id}/ledger/part-{part:05d}.json")  # the other engine starts anew


def test_the_golden_digests_are_of_this_contract() -> None:
    assert CONTRACT_VERSION == GOLDEN_CONTRACT, "write down the digests of the new contract"
