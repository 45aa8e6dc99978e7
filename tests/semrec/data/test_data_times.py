"""Times in the forms that files have: the same instant, or a word about why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import events_in, quarantined, write
from semrec.data import ColumnMap, ImportReport, import_table
from semrec.data.times import TimeReader, parse_iso
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

COLUMNS = ColumnMap(user_id="u", item_id="i", timestamp="t")
OCT_1_2019 = 1_569_888_000  # date -u -d 2019-10-01 +%s
JAN_1_2014, JAN_1_2019 = 1_388_534_400, 1_546_300_800


def times_of(workspace: Workspace, folder: Path, *times: Any, **options: Any) -> tuple[list[int], ImportReport]:
    """The stored seconds of events with `times`, in CSV."""
    lines = [f"u{n},a,{time}" for n, time in enumerate(times)]
    source = write(folder / "e.csv", "\n".join(["u,i,t", *lines]) + "\n")
    report = import_table(workspace, source, fmt="csv", kind="interactions", columns=COLUMNS, max_rejected=1, **options)
    return [second for *_, second in events_in(workspace)], report


@pytest.mark.parametrize(
    "text",
    [
        "2019-10-01",
        "20191001T000000Z",
        "2019-10-01T00:00:00Z",
        "2019-10-01T00:00:00z",
        "2019-10-01 00:00:00 UTC",
        "2019-10-01 00:00:00.123456 UTC",
        "2019-10-01 00:00:00 GMT",
        "2019-10-01 00:00:00UTC",
        "2019-10-01 02:00:00+02",
        "2019-10-01 02:00:00 +0200",
        "2019-10-01 02:00:00 +02:00",
        "2019-09-30 19:00:00 -0500",
        "2019-10-01T00:00:00.999999999Z",
    ],
)
def test_the_usual_forms_of_iso_8601(text: str) -> None:
    assert parse_iso(text) == OCT_1_2019


@pytest.mark.parametrize("text", ["", "soon", "2019-10-01 00:00:00 CET", "2019-13-01", "01/10/2019", "UTC"])
def test_what_is_no_iso_8601(text: str) -> None:
    assert parse_iso(text) is None


@pytest.mark.parametrize(
    ("times", "seconds", "unit"),
    [
        ((20140101, 20190101), [JAN_1_2014, JAN_1_2019], "days"),
        ((2014, 2019), [JAN_1_2014, JAN_1_2019], "years"),
        ((1388534400, 1546300800), [JAN_1_2014, JAN_1_2019], None),
        ((1388534400123, 1546300800999), [JAN_1_2014, JAN_1_2019], "milliseconds"),
        ((1388534400123456, 1546300800999999), [JAN_1_2014, JAN_1_2019], "microseconds"),
        ((1388534400123456789, 1546300800999999999), [JAN_1_2014, JAN_1_2019], "nanoseconds"),
        (("1388534400.9", "1546300800."), [JAN_1_2014, JAN_1_2019], None),
        ((5, 1970, 3000, 100000), [5, 1970, 3000, 100000], None),  # made-up seconds: one of four looks like a year
    ],
)
def test_digits_have_the_unit_of_their_column(
    stocked: Workspace, tmp_path: Path, times: tuple[Any, ...], seconds: list[int], unit: str | None
) -> None:
    stored, report = times_of(stocked, tmp_path, *times)
    assert stored == seconds
    assert report.num_rejected == 0
    assert (f"t: digits were read as {unit}" in str(report)) == (unit is not None)


def test_the_unit_is_settled_once_and_the_rest_is_held_to_it(stocked: Workspace, tmp_path: Path) -> None:
    stored, _ = times_of(stocked, tmp_path, 20190101, 20190230, 0, 20140101, "2014-01-01", 1546300800)
    assert stored == [JAN_1_2019, JAN_1_2014, JAN_1_2014]
    reasons = [reason for *_, reason in quarantined(stocked, "interactions")]
    assert reasons == [
        f"bad time: t = '{text}'; digits are read as days, as in 20190131" for text in ("20190230", "0", "1546300800")
    ]
    reader = TimeReader("auto")
    assert reader.seconds(pa.array(["soon"]))[1].tolist() == [True]
    assert reader.unit is None
    assert reader.seconds(pa.array([1388534400123]))[0].tolist() == [JAN_1_2014]
    assert reader.seconds(pa.array([20140101]))[0].tolist() == [20140]  # of the same column: still milliseconds


@pytest.mark.parametrize(
    ("time_format", "text", "second"),
    [
        ("day", "20140101", JAN_1_2014),
        ("s", "20140101", 20_140_101),
        ("ms", "2014", 2),
        ("%d/%m/%Y", "01/10/2019", OCT_1_2019),
        ("%m/%d/%Y %H:%M", "10/01/2019 00:00", OCT_1_2019),
        ("%d.%m.%Y %H:%M %z", "01.10.2019 02:00 +0200", OCT_1_2019),
    ],
)
def test_a_time_format_overrides(stocked: Workspace, tmp_path: Path, time_format: str, text: str, second: int) -> None:
    assert times_of(stocked, tmp_path, text, time_format=time_format)[0] == [second]


def test_what_has_two_readings_is_rejected_with_the_way_out(stocked: Workspace, tmp_path: Path) -> None:
    times_of(stocked, tmp_path, "03/04/2019", "2019-10-01")
    [(_, line, reason)] = quarantined(stocked, "interactions")
    assert line == 2
    assert reason == "bad time: t = '03/04/2019'; day or month first? --time-format '%d/%m/%Y' or '%m/%d/%Y' says it"
    with pytest.raises(InputError, match="time format 'minutes'"):
        times_of(stocked, tmp_path, 1, time_format="minutes")


def test_days_and_milliseconds_in_parquet(stocked: Workspace, tmp_path: Path) -> None:
    for kind, time in ((pa.int32(), 20_140_101), (pa.int64(), 1_388_534_400_000), (pa.float64(), 1_388_534_400_000.0)):
        table = pa.table({"u": ["x", "y"], "i": ["a", "a"], "t": pa.array([time, None], kind)})
        pq.write_table(table, tmp_path / "e.parquet")
        import_table(
            stocked, tmp_path / "e.parquet", fmt="parquet", kind="interactions", columns=COLUMNS, max_rejected=0.5
        )
        assert events_in(stocked) == [("x", "a", 1.0, JAN_1_2014)]
        assert [reason for *_, reason in quarantined(stocked, "interactions")] == ["bad time: t = None"]


def test_every_day_of_a_calendar_is_that_day() -> None:
    days = np.arange("1970-01-01", "2100-12-31", dtype="datetime64[D]")
    digits = np.char.replace(days.astype(str), "-", "").astype(np.int64)
    seconds, bad = TimeReader("day").seconds(pa.array(digits))
    assert not bad.any()
    assert (seconds == days.astype("datetime64[s]").astype(np.int64)).all()


def test_a_column_of_whole_numbers_holds_no_hexadecimal_ones() -> None:
    """Arrow's own parser takes them, so the fast way must not."""
    seconds, bad = TimeReader("s").seconds(pa.array(["5", " 6 ", "-7"]))
    assert (seconds.tolist(), bad.any()) == ([5, 6, -7], False)
    seconds, bad = TimeReader("s").seconds(pa.array(["5", "0x10", "0X10"]))
    assert (seconds[0], bad.tolist()) == (5, [False, True, True])
