"""Times in the forms that logs have them."""

import datetime
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import load, refuses, write

CASES = os.path.join(os.path.dirname(__file__), "cases")
NOON = 1_704_110_400  # 2024-01-01 12:00:00 UTC
LATER = NOON + 3600 + 62


def events(tmp_path, *times, name="e.csv"):
    lines = "".join(f"u,{k},{time}\n" for k, time in enumerate(times))
    return write(tmp_path / name, "user,item,time\n" + lines)


def times_of(tmp_path, times, *flags):
    log = load("event_log", "--events", events(tmp_path, *times), *flags)
    assert log.time == "seconds"
    return list(log.events["time"])


@pytest.mark.parametrize(
    "times",
    [
        ["20240101120000", "20240101130102"],
        ["20240101120000000", "20240101130102999"],
        ["240101120000", "240101130102"],
        ["2024-01-01 12:00:00", "2024-01-01 13:01:02"],
        ["2024-01-01 12:00:00 UTC", "2024-01-01 13:01:02 UTC"],
        ["2024-01-01T12:00:00Z", "2024-01-01T13:01:02.999Z"],
        ["2024-01-01T12:00:00.123456789", "2024-01-01T13:01:02.9"],
        ["2024/01/01 12:00:00", "2024/1/1 13:01:02"],
        ["2024.01.01 12:00:00", "2024.1.1 13:01:02"],
        ["2024/1/1 12:00", "2024/1/1 13:01:02"],
        ["2024-01-01 20:00:00+08:00", "2024-01-01 21:01:02+0800"],
        ["2024-01-01T07:00:00-05", "2024-01-01T08:01:02-05"],
        [" 2024-01-01 12:00:00 ", "2024-01-01 13:01:02\u00a0"],
        [NOON, LATER],
        [NOON + 0.25, f"{LATER}.75"],
        [f"{NOON}.0", LATER],
        [NOON * 1000 + 1, LATER * 1000],
        [NOON * 10**6 + 1, LATER * 10**6],
        [NOON * 10**9 + 1, LATER * 10**9],
    ],
    ids=str,
)
def test_one_moment_in_many_forms(tmp_path, times):
    assert times_of(tmp_path, times) == [NOON, LATER]


@pytest.mark.parametrize(
    "times, wanted",
    [
        (["20240101", "20240203"], ["2024-01-01", "2024-02-03"]),
        (["2023/11/14", "2023/1/5"], ["2023-11-14", "2023-01-05"]),
        (["2024-01-01", "2024-02-03"], ["2024-01-01", "2024-02-03"]),
        (["2024010112", "2024020323"], ["2024-01-01T12", "2024-02-03T23"]),
        (["14102100", "14103023"], ["2014-10-21T00", "2014-10-30T23"]),
        (["202401011259", "202402032359"], ["2024-01-01T12:59", "2024-02-03T23:59"]),
    ],
)
def test_dates_and_hours(tmp_path, capsys, times, wanted):
    found = [str(np.datetime64(t, "s").astype("datetime64[m]")) for t in times_of(tmp_path, times)]
    assert found == [str(np.datetime64(w, "m")) for w in wanted]
    if times[0].isdigit():
        assert f"numbers such as {times[0]} are read as " in capsys.readouterr().err


def test_the_case_of_dates_in_14_digits():
    log = load("event_log", "--events", os.path.join(CASES, "h5_dates14.csv"))
    assert log.events["time"].iloc[0] == NOON and log.events["time"].max() < NOON + 365 * 86400


def test_digits_that_are_two_dates_are_refused(tmp_path):
    """20101012 is the 12th of October 2010, or 12 o'clock on the 10th of October 2020."""
    path = events(tmp_path, 20101012, 20101013)
    refuses(
        ["read as yyyyMMdd and as yyMMddHH", "--time-unit yyyyMMdd or --time-unit yyMMddHH"],
        "event_log",
        "--events",
        path,
    )
    days = load("event_log", "--events", path, "--time-unit", "yyyyMMdd").events["time"]
    hours = load("event_log", "--events", path, "--time-unit", "yyMMddHH").events["time"]
    assert list(np.diff(days)) == [86400] and list(np.diff(hours)) == [3600]
    assert pd.Timestamp(hours[0], unit="s") == pd.Timestamp("2020-10-10 12:00")


@pytest.mark.parametrize("bad", [20240230, 20241301, 19691231, 20240100])
def test_one_number_that_is_no_date_makes_all_of_them_seconds(tmp_path, bad):
    assert times_of(tmp_path, [20240101, bad]) == [20240101, bad]
    refuses(
        [f"time is {bad} in row 2, which is not yyyyMMdd"],
        "event_log",
        "--events",
        events(tmp_path, 20240101, bad),
        "--time-unit",
        "yyyyMMdd",
    )


def test_a_unit_that_is_said_is_believed(tmp_path):
    assert times_of(tmp_path, [2024010112, 2024010113], "--time-unit", "s") == [
        2024010112,
        2024010113,
    ]
    assert times_of(tmp_path, [1500, 2500], "--time-unit", "ms") == [1, 2]
    refuses(
        ["time is 20240101120000 in row 1", "use --time-unit yyyyMMddHHmmss"],
        "event_log",
        "--events",
        events(tmp_path, 20240101120000),
        "--time-unit",
        "s",
    )
    refuses(
        [f"time is {NOON * 10**9} in row 1", "use --time-unit ns"],
        "event_log",
        "--events",
        events(tmp_path, NOON * 10**9),
        "--time-unit",
        "ms",
    )


def test_units_that_are_mixed_are_refused(tmp_path):
    path = events(tmp_path, NOON, NOON * 1000, NOON + 1)
    refuses([f"time is {NOON * 1000} in row 2"], "event_log", "--events", path)


def test_fractions_of_unix_times_order_the_events(tmp_path):
    path = events(tmp_path, f"{NOON}.9", f"{NOON}.2", f"{NOON}.500000001")
    log = load("event_log", "--events", path)
    assert list(log.events["item"]) == [1, 2, 0] and set(log.events["time"]) == {NOON}


def test_time_zone(tmp_path):
    """A shop in Beijing writes its own clock; its service sends unix times."""
    for text in ("2024-01-01 20:00:00", "20240101200000", "2024/1/1 20:00", "2024010120"):
        assert times_of(tmp_path, [text], "--time-zone", "Asia/Shanghai") == [NOON]
    for text in (NOON, "2024-01-01T12:00:00Z", "2024-01-01 20:00:00+08:00"):  # these name a moment
        assert times_of(tmp_path, [text], "--time-zone", "Asia/Shanghai") == [NOON]
    both = ["2024-01-01 20:00:00", "2024-01-01 12:00:00Z"]
    assert times_of(tmp_path, both, "--time-zone", "Asia/Shanghai") == [NOON, NOON]
    refuses(["in row 2", "set --time-zone"], "event_log", "--events", events(tmp_path, *both))
    refuses(
        ["--time-zone is 'Asia/Bejing'", "Asia/Shanghai"],
        "event_log",
        "--events",
        events(tmp_path, *both),
        "--time-zone",
        "Asia/Bejing",
    )


def test_time_zone_of_parquet_timestamps(tmp_path):
    local = datetime.datetime(2024, 1, 1, 20)
    for kind in (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("ms")):
        table = pa.table({"user": [1], "item": [2], "time": pa.array([local], kind)})
        pq.write_table(table, tmp_path / "e.parquet")
        log = load("event_log", "--events", tmp_path / "e.parquet", "--time-zone", "Asia/Shanghai")
        assert list(log.events["time"]) == [NOON]
        assert list(load("event_log", "--events", tmp_path / "e.parquet").events["time"]) == [
            NOON + 8 * 3600
        ]


def test_the_hours_when_clocks_change(tmp_path, capsys):
    berlin = ["2024-10-27 02:30:00", "2024-03-31 02:30:00", "2024-07-01 12:00:00"]
    found = times_of(tmp_path, berlin, "--time-zone", "Europe/Berlin")
    wanted = ["2024-10-27 00:30", "2024-03-31 01:00", "2024-07-01 10:00"]
    assert found == [int(pd.Timestamp(w).timestamp()) for w in wanted]
    assert "when the clocks of Europe/Berlin change" in capsys.readouterr().err


def test_a_form_of_ones_own(tmp_path):
    path = ["14/11/2023 22:13", "02/01/2024 05:00"]
    found = times_of(tmp_path, path, "--time-format", "%d/%m/%Y %H:%M")
    assert found == [
        int(pd.Timestamp(t).timestamp()) for t in ("2023-11-14 22:13", "2024-01-02 5:00")
    ]
    zoned = times_of(tmp_path, ["01.01.2024 20h +0800"], "--time-format", "%d.%m.%Y %Hh %z")
    assert zoned == [NOON]
    refuses(
        ["time is '2024-01-01' in row 2", "--time-format"],
        "event_log",
        "--events",
        events(tmp_path, "14/11/2023", "2024-01-01"),
        "--time-format",
        "%d/%m/%Y",
    )


@pytest.mark.parametrize(
    "text", ["14/11/2023", "2023-02-30", "2023-11-14 25:00", "1.7E+09", "yesterday", "2023-11"]
)
def test_what_cannot_be_told_is_refused_by_its_row(tmp_path, text):
    path = events(tmp_path, "2024-01-01 12:00:00", text)
    refuses([f"time is '{text}' in row 2", "--time-format"], "event_log", "--events", path)


def test_dates_written_as_numbers_only_order_if_one_says_so(tmp_path):
    log = load(
        "event_log", "--events", events(tmp_path, 20200925, 20201001), "--time-unit", "order"
    )
    assert log.time == "order" and list(log.events["time"]) == [20200925, 20201001]
