"""Ratings as parallel arrays, read from a file, and divided into folds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from semrec.errors import InputError
from semrec.models.sparse import SparseRows

__all__ = ["RatingTable", "divide_folds", "read_ratings"]


@dataclass(frozen=True, eq=False)
class RatingTable:
    """N ratings of numbered users and items, each pair once: `user_N` and `item_N` int64, `value_N` float32."""

    user_N: np.ndarray
    item_N: np.ndarray
    value_N: np.ndarray
    num_users: int
    num_items: int

    def __len__(self) -> int:
        return len(self.value_N)

    def rows(self, places: np.ndarray) -> SparseRows:
        """Some of the ratings, users x items."""
        return SparseRows.from_pairs(
            self.user_N[places], self.item_N[places], self.value_N[places], self.num_users, self.num_items
        )


def read_ratings(path: str | Path) -> RatingTable:
    """Reads lines "user, item, rating and more", divided by commas, tabs or "::", with or without a header.

    So have it MovieLens' ratings.csv, ratings.dat and u.data. Of several ratings of a pair the last line counts. Raises
    InputError for a file that cannot be read so.
    """
    try:
        content = Path(path).read_bytes()
        first_line = content.split(b"\n", 1)[0]
        if b"::" in first_line:
            content = content.replace(b"::", b"\t")
        fields = re.split(rb"::|,|\t", first_line)
        has_header = len(fields) < 3 or not _is_number(fields[2])
        table = pacsv.read_csv(
            BytesIO(content),
            pacsv.ReadOptions(autogenerate_column_names=True, skip_rows=int(has_header)),
            pacsv.ParseOptions(delimiter="," if b"," in first_line else "\t"),
            pacsv.ConvertOptions(
                column_types={"f0": pa.string(), "f1": pa.string(), "f2": pa.float32()}, null_values=[]
            ),
        )
        users, items, values = (table[name].combine_chunks() for name in ("f0", "f1", "f2"))
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path}: {error}", expected="lines of user, item and rating", remedy="Check that it is the right file."
        ) from None
    user_N, item_N = (ids.dictionary_encode() for ids in (users, items))
    num_users, num_items = len(user_N.dictionary), len(item_N.dictionary)
    pair_N = user_N.indices.to_numpy().astype(np.int64) * num_items + item_N.indices.to_numpy()
    # np.unique names the first of equal ones: of the reversed lines, the last.
    kept_N = np.sort(len(pair_N) - 1 - np.unique(pair_N[::-1], return_index=True)[1])
    user_K, item_K = np.divmod(pair_N[kept_N], num_items)
    return RatingTable(user_K, item_K, values.to_numpy()[kept_N], num_users, num_items)


def divide_folds(num_ratings: int, num_folds: int = 5, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of what trains and what tests, one fold after the other: int64 [n] each.

    The folds of scikit-surprise's KFold with the same `random_state`. Raises InputError for fewer than two folds, or more
    than ratings.
    """
    if not 2 <= num_folds <= num_ratings:
        raise InputError(
            f"{num_folds} folds of {num_ratings:,} ratings",
            expected="at least 2 folds, and a rating in each",
            remedy="Choose another number of folds.",
        )
    shuffled = np.arange(num_ratings)
    np.random.RandomState(seed).shuffle(shuffled)
    parts = np.array_split(shuffled, num_folds)
    for n, tested in enumerate(parts):
        yield np.concatenate(parts[:n] + parts[n + 1 :]), tested


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
