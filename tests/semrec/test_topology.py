"""The item matrix is replicated when it fits a device, sharded when it must, and refused when it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.errors import DeviceError
from semrec.topology import choose_topology, shard_ranges

GB = 10**9


@pytest.mark.parametrize(
    ("matrix_bytes", "num_devices", "device_bytes", "forced", "expected"),
    [
        (7 * GB, 4, 10 * GB, None, (1, 4)),  # exactly the usable 70 %
        (7 * GB + 1, 4, 10 * GB, None, (2, 2)),
        (15 * GB, 4, 10 * GB, None, (3, 1)),
        (28 * GB, 4, 10 * GB, None, (4, 1)),
        (1, 1, None, None, (1, 1)),
        (10**15, 3, None, None, (1, 3)),  # unknown memory is taken as enough
        (1 * GB, 5, 10 * GB, 2, (2, 2)),
        (100 * GB, 2, 10 * GB, 2, (2, 1)),  # what was asked for is done
    ],
)
def test_the_topology_of_known_sizes(
    matrix_bytes: int, num_devices: int, device_bytes: int | None, forced: int | None, expected: tuple[int, int]
) -> None:
    found = choose_topology(matrix_bytes, num_devices, device_bytes, forced_shards=forced)
    assert (found.num_shards, found.num_replicas) == expected


@pytest.mark.parametrize(("num_devices", "forced", "needed"), [(3, None, 4), (3, 5, 5), (0, None, 4)])
def test_too_few_devices_are_refused_with_the_number_needed(num_devices: int, forced: int | None, needed: int) -> None:
    with pytest.raises(DeviceError, match=f"{num_devices} devices for {needed} shards .*; expected at least {needed}"):
        choose_topology(28 * GB, num_devices, 10 * GB, forced_shards=forced)


def test_the_reason_is_said() -> None:
    assert str(choose_topology(15 * GB, 6, 10 * GB)) == (
        "item matrix in 3 shards, 2 replicas: 15.00 GB of matrix exceed the 7.00 GB usable on a device"
    )
    assert str(choose_topology(GB, 1, 10 * GB)) == (
        "item matrix replicated, 1 replica: 1.00 GB of matrix fit the 7.00 GB usable on a device"
    )


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_shards_cover_all_rows_once_and_are_alike(num_items: int, num_shards: int) -> None:
    ranges = shard_ranges(num_items, num_shards)
    assert len(ranges) == min(num_items, num_shards)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(num_items))
    lengths = {stop - start for start, stop in ranges}
    assert max(lengths) - min(lengths) <= 1
