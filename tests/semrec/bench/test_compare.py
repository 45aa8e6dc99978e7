"""Two files of a bench, and what is said to have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semrec.bench.compare import compare_benches
from semrec.errors import InputError

ROWS = [
    {"engine": "cpu", "k": 10, "coarse": "bfloat16", "users_per_s": 100.0, "spread": 0.01, "equal": True, "rest": None},
    {"engine": "cpu", "k": 100, "coarse": "bfloat16", "users_per_s": 50.0, "spread": 0.2, "equal": True, "rest": None},
]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, rows: Any, machine: str = "one") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"machine": machine, "rows": rows}))
        return path

    return write


def test_what_leaves_the_noise_is_told(write: Any) -> None:
    later = [ROWS[0] | {"users_per_s": 110.0, "coarse": "int8"}, ROWS[1] | {"users_per_s": 42.0, "coarse": "int8"}]
    changes, remarks = compare_benches(write("a", ROWS), write("b", later))
    # 10 % is beyond the 5 % that all figures are granted; 19 % is within what the rounds of the second row differed by.
    assert [(c.row, c.figure, c.is_beyond_noise) for c in changes] == [
        ("k 10", "users_per_s", True), ("k 100", "users_per_s", False)
    ]  # fmt: skip
    assert changes[0].ratio == pytest.approx(1.1)
    assert not remarks
    assert not any(change.is_beyond_noise for change in compare_benches(write("a", ROWS), write("b", ROWS))[0])


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.1), (0.1, 0.0), (-1.0, 1.0)])
def test_figures_without_a_ratio_have_changed(write: Any, before: float, after: float) -> None:
    rows = [[{"engine": "cpu", "gain": gain}] for gain in (before, after)]
    [change], _ = compare_benches(write("a", rows[0]), write("b", rows[1]))
    assert change.is_beyond_noise


def test_what_cannot_be_compared_is_said(write: Any) -> None:
    one_more = [*ROWS, ROWS[0] | {"k": 1000}]
    with pytest.raises(InputError, match="rows that nothing tells apart"):
        compare_benches(write("a", ROWS), write("b", [*ROWS, ROWS[0]]))
    _, remarks = compare_benches(write("a", ROWS), write("b", one_more))
    assert [remark.rpartition(": ")[2] for remark in remarks] == ["k 1000"]
    crossed = [{"engine": engine, "k": k, "rate": 1.0} for engine, k in (("a", 1), ("b", 2), ("a", 2), ("b", 1))]
    with pytest.raises(InputError, match="no row of"):
        compare_benches(write("a", crossed[:2]), write("b", crossed[2:]))
    _, remarks = compare_benches(write("a", ROWS, "one"), write("b", ROWS, "two"))
    assert remarks == ["two machines: one and two; compare ratios to peers alone"]


@pytest.mark.parametrize("text", ["", "[]", '{"machine": "one", "rows": []}', '{"machine": 1, "rows": [1]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(InputError, match="what a bench wrote"):
        compare_benches(path, path)
    with pytest.raises(InputError, match="what a bench wrote"):
        compare_benches(tmp_path / "none", path)
