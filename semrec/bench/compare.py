"""Compare two files of a bench: what changed by more than its noise."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semrec.errors import InputError

__all__ = ["Change", "compare_benches"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A figure of one row in both files. `noise` is how far it may move unnoticed: 0.05 for 5 %."""

    row: str
    figure: str
    before: float
    after: float
    noise: float

    @property
    def ratio(self) -> float:
        """After / before."""
        return self.after / self.before if self.before else math.inf

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the figure left (1 + noise) times what it was, or that part of it."""
        if self.before == self.after:
            return False
        return not (self.before * self.after > 0 and abs(math.log(self.ratio)) <= math.log1p(self.noise))


def compare_benches(before: str | Path, after: str | Path, *, noise: float = 0.05) -> tuple[list[Change], list[str]]:
    """Every figure that both files of `--json` have, in the order of the later one, and remarks on what cannot be compared.

    Rows belong together where the fields before their first figure agree, those aside of which each file has values that the
    other lacks. Where a row states the `spread` of its rounds, that counts as noise if it is larger.

    Raises InputError for a file that no bench wrote, for rows that nothing tells apart, and when no row is in both.
    """
    machine_before, rows_before = _read(before)
    machine_after, rows_after = _read(after)
    files = rows_before, rows_after
    fields = [field for field in _described(rows_after) if _has_the_same_values(field, *files)]
    fields = [field for field in fields if any(len({row.get(field) for row in rows}) > 1 for rows in files)] or fields
    by_name = _named(rows_before, fields, before)
    remarks = []
    if machine_before != machine_after:
        remarks.append(f"two machines: {machine_before} and {machine_after}; compare ratios to peers alone")
    changes = []
    named_after = _named(rows_after, fields, after)
    for name, row in named_after.items():
        if name not in by_name:
            remarks.append(f"only in {after}: {name}")
            continue
        row_before = by_name[name]
        own_noise = max(noise, row_before.get("spread") or 0.0, row.get("spread") or 0.0)
        for field, value in row.items():
            if field not in fields and field != "spread" and _is_number(value) and _is_number(row_before.get(field)):
                changes.append(Change(name, field, row_before[field], value, own_noise))
    remarks += [f"only in {before}: {name}" for name in by_name if name not in named_after]
    if not changes:
        raise InputError(
            f"no row of {after} in {before}",
            expected="two files of the same bench",
            remedy="Run both with the same options.",
        )
    return changes, remarks


def _read(path: str | Path) -> tuple[str, list[Row]]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        machine, rows = document["machine"], document["rows"]
        if not (isinstance(machine, str) and rows and all(isinstance(row, dict) for row in rows)):
            raise TypeError("no rows")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: {error}",
            expected="what a bench wrote by --json",
            remedy="Name two files of `semrec bench ... --json`.",
        ) from None
    return machine, rows


def _described(rows: list[Row]) -> list[str]:
    """The fields that say what was measured: those before the first figure."""
    fields = list(rows[0])
    figures = [n for n, field in enumerate(fields) if any(isinstance(row.get(field), float) for row in rows)]
    return fields[: min(figures, default=0)]


def _has_the_same_values(field: str, *files: list[Row]) -> bool:
    fewer, more = sorted(({row.get(field) for row in rows} for rows in files), key=len)
    return fewer <= more


def _named(rows: list[Row], fields: list[str], path: str | Path) -> dict[str, Row]:
    """Rows by a name made of some of their fields."""
    named = {}
    for row in rows:
        told = [(field, row[field]) for field in fields if row.get(field) is not None]
        named[", ".join(value if isinstance(value, str) else f"{field} {value}" for field, value in told)] = row
    if len(named) < len(rows):
        raise InputError(
            f"{path}: rows that nothing tells apart",
            expected="rows of one bench",
            remedy="Write each bench to its own file.",
        )
    return named


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
