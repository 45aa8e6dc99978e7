"""Ratings that are generated like MovieLens', and what is measured of their import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from semrec.bench.imports import bench_import, num_movies, write_ratings


def test_generated_ratings_look_like_movielens(tmp_path: Path) -> None:
    num_ratings = write_ratings(tmp_path / "ratings.csv", 300_000)
    ratings = pd.read_csv(tmp_path / "ratings.csv")
    assert list(ratings) == ["userId", "movieId", "rating", "timestamp"]
    assert len(ratings) == num_ratings == pytest.approx(300_000, rel=0.2)
    counts_U = ratings.groupby("userId").size()
    assert (counts_U.min(), ratings["movieId"].max()) == (
        pytest.approx(20, abs=3),
        pytest.approx(num_movies(300_000), abs=2),
    )
    assert 55 < counts_U.median() < 95  # 71 in ml-25m
    assert ratings["rating"].mean() == pytest.approx(3.53, abs=0.05)
    assert set(ratings["rating"].unique()) == set(np.arange(1, 11) / 2)
    popular = ratings.groupby("movieId").size().sort_values(ascending=False)
    assert 0.3 < popular.iloc[: len(popular) // 20].sum() / num_ratings < 0.7


def test_an_import_is_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    rows = {row.what: row for row in bench_import(str(tmp_path), 20_000, 2_000)}
    assert {"import", "append"} <= set(rows)
    assert rows["append"].ratings < rows["import"].ratings
    assert all(row.cpu_s > 0 and 0.02 < row.peak_gib < 3 for row in rows.values())
