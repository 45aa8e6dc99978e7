"""The search for wrong lists finds none in the engine as it is, and finds a bound that is too small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import semrec.bench.fuzz
from jobs.cli import app
from semrec.bench.fuzz import KINDS, fuzz, generate_case
from semrec.progress import NoProgress
from semrec.scoring.formats.base import QueryBounds
from semrec.scoring.formats.int8 import Int8


def test_the_engine_has_no_fault() -> None:
    report = fuzz(seconds=12, first_seed=1_000, progress=NoProgress())
    assert report.faults == []
    assert report.num_cases > 3 and report.num_lists > report.num_cases


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 products are granted a tenth of their error."""
    honest = Int8.query_bounds

    def query_bounds(self: Int8, *arguments: Any, **options: Any) -> QueryBounds:
        bounds = honest(self, *arguments, **options)
        return replace(bounds, a_Q=bounds.a_Q / 10, b_Q=bounds.b_Q / 10)

    monkeypatch.setattr(Int8, "query_bounds", query_bounds)
    monkeypatch.setattr(semrec.bench.fuzz, "usable_formats", lambda engine, dimension: ("int8",))


def test_a_bound_that_is_too_small_is_found(small_bounds: None) -> None:
    faults = [generate_case(seed).find_fault() for seed in range(40)]
    assert any(faults)


def test_the_command_names_the_case(small_bounds: None) -> None:
    seed = next(seed for seed in range(40) if generate_case(seed).find_fault())
    found = CliRunner().invoke(app, ["bench", "fuzz", "--case", str(seed)])
    assert found.exit_code == 1 and f"case {seed}" in found.output


def test_a_case_is_what_its_seed_says() -> None:
    first, again, other = generate_case(7), generate_case(7), generate_case(8)
    assert first.description == again.description != other.description
    np.testing.assert_array_equal(first.queries.vectors_QD, again.queries.vectors_QD)
    np.testing.assert_array_equal(first.shard.words_IW, again.shard.words_IW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_gives_finite_rows_of_any_shape(kind: str) -> None:
    for num, dimension in ((1, 1), (3, 4096), (200, 2)):
        vectors_ND = KINDS[kind](np.random.default_rng(1), num, dimension)
        assert vectors_ND.shape == (num, dimension)
        assert np.isfinite(vectors_ND.astype(np.float32)).all()
