"""The bytes of one small world, written down. When they change, every stored result does: raise CONTRACT_VERSION."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.whole_path import Event, events_table, part_digests, release, score
from semrec.bench.generated import write_catalogue
from semrec.contracts import CONTRACT_VERSION
from semrec.data import UserRow, import_interactions, import_users
from semrec.runs.verify import verify_run
from semrec.workspace.folder import Workspace

#: What these digests belong to. Whoever must change them raises CONTRACT_VERSION in semrec/contracts.py, and this.
GOLDEN_CONTRACT = 2
GOLDEN_USERS = [
    "21a3e3a41e813ee3f963be36b5f1fadc095a5ccd350a19a5b77e620d9962d941",
    "6940e0c7d8801ac22e78f78b25ef8b8706f3163d5db65050ae9a6882d0eb6572",
    "475eeac8f7baa23acb339f8137e8e8cc863824d1bcd9ce610e6013d09f50aa71",
]
GOLDEN_RUNS = {  # K -> content digest; 40 is more than there are items
    7: "8806b170809fb2dae2c475e8d55a4e6092b047aafeacd67dee6aee827c65225f",
    40: "11e946e41bf1185f6dce493fea23ac552216c59d563e1529fadafdaaed9e9cb8",
}
MESSAGE = "the bytes of a result changed: if that was meant, raise CONTRACT_VERSION with the golden digests"

NUM_ITEMS, DIMENSION = 37, 16
SERVICES = ("Atlas", "Lumina", "Marquee")


def vectors() -> np.ndarray:
    """Fractions with ties, zeros, norms from 1/64 to 2 ** 40, and sums that cancel: added otherwise, they give other scores."""
    item, d = np.meshgrid(np.arange(NUM_ITEMS), np.arange(DIMENSION), indexing="ij")
    plain = ((item * 7 + d * d * 3 + item * d) % 23 - 11) / 11.0
    plain[5] = plain[4]  # a tie for everybody
    plain[6] = 0
    found = plain * 2.0 ** (item % 10 - 6)
    found[10] = 1  # who saw only this one has the vector 1/4, 1/4, ... exactly
    for row in (34, 35, 36):
        for first, second in ((1, 2), (6, 15)):
            found[row, first] += 2.0**40
            found[row, second] -= 2.0**40
    return found.astype(np.float32)


def item_ids() -> list[str]:
    return [("é" if n % 5 == 0 else "") + f"{n * 37 % 101:x}" for n in range(NUM_ITEMS)]


def events() -> list[Event]:
    """Every kind of history: long, repeated, worthless, of an item that nobody else knows."""
    found: list[Event] = []
    for user in range(12):
        for n in range(user * user % 9):
            item = item_ids()[(user * 5 + n * 3) % NUM_ITEMS]
            found.append((f"u{user}", item, (n % 4) * 0.75 + user % 2, 1_600_000_000 + (user * 977 + n * 86_399 * 13)))
    return [
        *found,
        ("plain", item_ids()[10], 1.0, 9),
        ("worthless", "é0", 0.0, 1_600_000_000),
        ("again", "25", 1.0, 7),
        ("again", "25", 2.5, 8),
    ]


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
    assert (made.counts["personal"], made.counts["popularity"], made.counts["events"]) == (8, 7, 33)
    assert part_digests(made.users) == GOLDEN_USERS, MESSAGE


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(("k", "num_short"), [(7, 1), (40, 15)])
def test_golden_run(world: Workspace, engine: str, k: int, num_short: int) -> None:
    release_id = release(world, half_life_days=45.0).release_id
    result = score(world, k=k, engine=engine, release_id=release_id)
    assert verify_run(world.storage, result.run_id, num_sampled=50).problems == []
    assert (result.manifest.counts["users"], result.manifest.counts["short"]) == (15, num_short)
    assert result.manifest.content_digest == GOLDEN_RUNS[k], MESSAGE
    for part in range(3):
        world.storage.delete(f"runs/{result.run_id}/ledger/part-{part:05d}.json")  # the other engine starts anew


def test_the_golden_digests_are_of_this_contract() -> None:
    assert CONTRACT_VERSION == GOLDEN_CONTRACT, "write down the digests of the new contract"
