"""event_log with engine duckdb reads a log piece by piece: the same bytes as from memory, the same
refusals, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import same_log
from test_builder import files as bytes_of
from test_sources import write

from paddleinterest.commands.prepare import Parser
from paddleinterest.core.errors import InputError
from paddleinterest.data import builder
from paddleinterest.data.prepare import prepare
from paddleinterest.data.sources import files, pieces, stream

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces and parts of a few rows."""
    monkeypatch.setattr(pieces, "PIECE", 37)
    monkeypatch.setattr(files, "PIECE", 1500)
    monkeypatch.setattr(builder, "PART_EVENTS", 90)
    monkeypatch.setattr(stream, "SEVERAL", 10)


def run(out, engine, *flags):
    argv = ["--source", "event_log", "--name", "x", "--engine", engine, "--out", str(out)]
    return prepare(Parser().parse_args([*argv, *(str(flag) for flag in flags)]))


def same(folder, *flags, other=None):
    """Check that both engines write the same bytes, and leave nothing else."""
    before = set(folder.iterdir())
    run(folder / "memory", "memory", *flags)
    run(folder / "duckdb", "duckdb", *(flags if other is None else other))
    found = bytes_of(folder / "duckdb")
    assert found == bytes_of(folder / "memory") and len(found) >= 8
    assert set(folder.iterdir()) - before == {folder / "memory", folder / "duckdb"}


def log(seed=0, users=40, events=600):
    """Times within seconds, repeats, both labels at one moment, and columns of all kinds."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 30, events)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, users, events),
            "item": item,
            "time": (1_700_000_000 + np.sort(rng.integers(0, 10**6, events))) * 1000,
            "label": rng.integers(0, 2, events),
            "device": rng.choice(["app", "web", None], events),
            "price": np.where(rng.random(events) < 0.2, np.nan, rng.random(events)),
            "brand": [f"b{i % 7}" for i in item],
            "tags": [f"t{i % 3}|t{i % 5}" for i in item],
            "age": rng.integers(18, 70, events),
        }
    )
    frame["time"] += rng.integers(0, 3, events)
    again = frame.sample(40, random_state=seed)
    clicked = frame[frame["label"] == 1].sample(20, random_state=seed).assign(label=0)
    return pd.concat([frame, again, clicked], ignore_index=True)


COLUMNS = ["--context", "device", "--dense", "price", "--item-columns", "brand", "tags"]
COLUMNS += ["--multiple", "tags", "--user-columns", "age"]


@pytest.mark.parametrize(
    "form, protocol, drop",
    [
        ("parquet", "impressions", []),
        ("csv", "every_prefix", []),
        ("csv", "by_time", ["--drop-repeats"]),
        ("parquet", "every_prefix", ["--drop-repeats"]),
    ],
)
def test_the_same_bytes_as_from_memory(tmp_path, form, protocol, drop):
    frame = log()
    path = tmp_path / f"e.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    flags = ["--events", path, "--protocol", protocol, *COLUMNS, *drop]
    other = None
    if not drop:  # of repeats with different columns the first in the file stays
        mixed = tmp_path / f"mixed.{form}"
        frame = frame.sample(frac=1, random_state=3)
        frame.to_csv(mixed, index=False) if form == "csv" else frame.to_parquet(mixed)
        if protocol != "impressions":  # an attribute's value is the earliest row's
            other = ["--events", mixed, *flags[2:]]
    same(tmp_path, *flags, other=other)


def test_it_is_not_read_into_memory(tmp_path, capsys, monkeypatch):
    def read(*args):
        raise AssertionError("the whole table is read")

    log().to_parquet(tmp_path / "e.parquet")
    monkeypatch.setattr("paddleinterest.data.sources.events.read_parts", read)
    run(tmp_path / "d", "duckdb", "--events", tmp_path / "e.parquet", "--protocol", "impressions")
    assert "into memory" not in capsys.readouterr().err


@pytest.mark.parametrize("number", range(8))
def test_forms_of_files(number):
    """As test_same_log.py: the outcome is that of the engine memory."""
    assert same_log.example(number, "duckdb") == same_log.example(number)


def parquet(folder, **columns):
    frame = log()
    for name, values in columns.items():
        frame[name] = values(frame)
    frame.to_parquet(folder / "e.parquet")
    return ["--events", folder / "e.parquet", "--protocol", "impressions"]


@pytest.mark.parametrize(
    "name, values, flags",
    [
        ("user", lambda f: f["user"].astype(str), []),
        ("user", lambda f: f["user"].astype(float), []),
        ("item", lambda f: [f"{i}.0" for i in f["item"]], []),
        ("item", lambda f: [f"sku {i} " for i in f["item"]], []),
        ("item", lambda f: f["item"].astype("uint64") + 2**63, []),
        ("time", lambda f: pd.to_datetime(f["time"], unit="ms"), ["--time-zone", "Asia/Shanghai"]),
        ("time", lambda f: f["time"] / 1000, []),
        ("time", lambda f: range(len(f)), ["--time-unit", "order", "--protocol", "by_user"]),
        ("time", lambda f: f["time"].map(lambda t: f"2024/1/{1 + t % 28} 3:00"), []),
        ("device", lambda f: [None if k % 3 else k % 2 for k in range(len(f))], ["--context"]),
        ("device", lambda f: [float(k > 500) / 2 for k in range(len(f))], ["--context"]),
        ("label", lambda f: f["label"] * 5 - (f.index % 2) / 2, ["--positive-from", "4"]),
        ("label", lambda f: np.where(f["label"], "buy", "pv"), ["--positive", "buy"]),
    ],
)
def test_types_of_columns(tmp_path, name, values, flags):
    if flags == ["--context"]:
        flags = ["--context", name]
    same(tmp_path, *parquet(tmp_path, **{name: values}), *flags)


def late(value):
    """A column with a wrong value in a late piece."""

    def values(frame, name):
        column = frame[name].astype(object).tolist()
        column[500] = value
        return column

    return values


@pytest.mark.parametrize(
    "name, value, flags, words",
    [
        ("user", None, [], "e.parquet: user is missing in row 501 (rows without one: 1)"),
        ("item", "NULL", [], "item is 'NULL' in row 501 "),
        ("time", 7, [], "time is 7 in row 501, but most others are unix times in ms"),
        ("label", 3, [], "label is 3 in row 501"),
        ("price", "cheap", ["--dense", "price"], "price is 'cheap' in row 501"),
    ],
)
def test_a_wrong_value_is_named_by_its_row(tmp_path, name, value, flags, words):
    frame = log()
    frame[name] = late(value)(frame, name)
    if isinstance(value, str):
        frame[name] = frame[name].astype(str)
    frame.to_parquet(tmp_path / "e.parquet")
    said = []
    for engine in ("memory", "duckdb"):
        with pytest.raises(InputError) as e:
            run(tmp_path / "d", engine, "--events", tmp_path / "e.parquet", *flags)
        said.append(str(e.value))
    assert words in said[0] and words in said[1]
    assert [p.name for p in tmp_path.iterdir()] == ["e.parquet"]


def test_a_time_beyond_all_bounds_is_named_by_its_row(tmp_path):
    frame = log()
    frame.loc[500, "time"] = 2**62
    frame.to_parquet(tmp_path / "e.parquet")
    flags = ["--events", tmp_path / "e.parquet", "--time-unit", "order"]
    with pytest.raises(InputError, match=rf"the time is {2**62} in row 501, outside"):
        run(tmp_path / "d", "duckdb", *flags)


def test_two_spellings_of_an_id_in_two_pieces_are_refused(tmp_path):
    frame = log().astype({"item": str})
    frame.loc[3, "item"] = "7"
    frame.loc[500, "item"] = "+7"
    frame.loc[501, "item"] = "a"
    frame.to_parquet(tmp_path / "e.parquet")
    with pytest.raises(InputError, match=r"item is '\+7' in row 501 and '7' in row \d+: one id"):
        run(tmp_path / "d", "duckdb", "--events", tmp_path / "e.parquet")


def test_rows_without_an_id_are_left_out_and_told_once(tmp_path, capsys):
    def holes(frame):
        return frame["user"].where(frame.index % 9 > 0)

    same(tmp_path, *parquet(tmp_path, user=holes), "--drop-missing")
    said = capsys.readouterr().err
    assert said.count("74 of 660 rows have no user, item, time or label and are left out") == 2


def test_what_needs_the_whole_log_is_read_into_memory_and_said(tmp_path, capsys):
    path = write(tmp_path / "e.csv", log().drop(columns="time").to_csv(index=False))
    same(tmp_path, "--events", path)
    assert "the events are read into memory first: " in capsys.readouterr().err


def test_several_files_and_tables_of_items_and_users(tmp_path):
    frame = log()
    frame[:300].to_parquet(tmp_path / "1.parquet")
    frame[300:].astype({"user": str}).to_parquet(tmp_path / "2.parquet")
    items = pd.DataFrame({"item": range(33), "kind": [f"k{i % 3}" for i in range(33)]})
    items.to_csv(tmp_path / "i.csv", index=False)
    users = pd.DataFrame({"user": [str(u) for u in range(45)], "sex": [u % 2 for u in range(45)]})
    users.to_parquet(tmp_path / "u.parquet")
    flags = ["--events", tmp_path / "1.parquet", tmp_path / "2.parquet"]
    flags += ["--items", tmp_path / "i.csv", "--users", tmp_path / "u.parquet"]
    same(tmp_path, *flags, "--event", "device", "price", "--dense", "price")


def test_a_column_that_reveals_the_label_is_refused(tmp_path):
    with pytest.raises(InputError, match="'brand' is the same for all events of an item"):
        flags = [*parquet(tmp_path)[:2], "--protocol", "every_prefix", "--context", "brand"]
        run(tmp_path / "d", "duckdb", *flags)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_log_larger_than_memory_stays_on_disk(tmp_path, capsys, monkeypatch, form):
    frame = log()
    path = tmp_path / f"e.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    argv = ["--source", "event_log", "--events", str(path), "--protocol", "impressions", "--out"]

    def prepared(name):
        prepare(Parser().parse_args([*argv, str(tmp_path / name), "--name", "x"]))
        return "--engine duckdb" in capsys.readouterr().err

    assert not prepared("enough")
    monkeypatch.setattr("paddleinterest.core.memory.available", lambda: 100_000)
    assert prepared("little")
    assert bytes_of(tmp_path / "little") == bytes_of(tmp_path / "enough")


@pytest.mark.slow
def test_a_killed_preparation_leaves_nothing_that_the_next_keeps(tmp_path):
    rng = np.random.default_rng(0)
    n = 400_000
    table = pa.table(
        {
            "user": rng.integers(0, 30_000, n),
            "item": rng.integers(0, 20_000, n),
            "time": 1_700_000_000 + np.arange(n),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    flags = ["--source", "event_log", "--engine", "duckdb", "--events", str(tmp_path / "e.parquet")]
    command = [sys.executable, os.path.join(ROOT, "tools", "prepare.py"), *flags]
    command += ["--out", str(tmp_path / "d")]

    def beside():
        return [path for path in tmp_path.iterdir() if path.name.startswith("d.part-")]

    for stage in ("events", "coded", "train"):  # reading, sorting, writing
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            made = [path for top in beside() for path in top.rglob("*")]
            reading = any(path.name.startswith("events-") for path in made)
            written = any(path.parent.name == "train" for path in made)
            sorting = any((top / "events").exists() for top in beside()) and len(beside()) == 2
            if {"events": reading, "coded": sorting, "train": written}[stage]:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        assert beside() and not (tmp_path / "d").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "e.parquet"]
