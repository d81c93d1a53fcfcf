"""A context column that gives the answer away is refused or named; an item's has its place."""

import numpy as np
import pandas as pd
import pytest
from test_sources import load, rows, write

from paddleinterest.commands.prepare import Parser
from paddleinterest.core.errors import InputError
from paddleinterest.data import leaks
from paddleinterest.data.prepare import prepare
from paddleinterest.data.schema import Schema


@pytest.fixture
def shop(tmp_path):
    """40 users, 60 items: columns of the item, nearly of it, of the moment and of the user."""
    rng = np.random.default_rng(3)
    n = 1200
    item = rng.integers(60, size=n)
    user = rng.integers(40, size=n)
    noise = rng.random(n) < 0.1
    frame = pd.DataFrame(
        {
            "user": [f"u{u}" for u in user],
            "item": [f"i{i}" for i in item],
            "time": 1_700_000_000 + np.arange(n) * 600,
            "cate": item % 7,
            "price": item * 1.5,
            "nearly": np.where(noise, rng.integers(7, size=n), item % 7),
            "offer": item * 1.5 + rng.normal(size=n) * 5,
            "hour": 1_700_000_000 // 3600 + np.arange(n) // 6 % 24,
            "device": rng.choice(["ios", "web", "pc"], n),
            "age": user % 5,
            "constant": 1,
        }
    )
    frame.to_csv(tmp_path / "e.csv", index=False)
    return tmp_path


def make(shop, *flags, protocol="every_prefix"):
    argv = ["--source", "event_log", "--events", str(shop / "e.csv"), "--protocol", protocol]
    return prepare(Parser().parse_args([*argv, "--out", str(shop / "out"), "--overwrite", *flags]))


@pytest.mark.parametrize("protocol", ["every_prefix", "last_event"])
@pytest.mark.parametrize("flags", [["--context", "cate"], ["--dense", "price"]])
def test_an_items_column_as_context_is_refused(shop, protocol, flags):
    name = flags[1]
    with pytest.raises(InputError, match=f"column '{name}' is the same for all events of an item"):
        make(shop, *flags, protocol=protocol)
    assert not (shop / "out").exists()


@pytest.mark.parametrize("flags", [["--context", "nearly"], ["--dense", "offer"]])
def test_what_nearly_is_the_items_is_warned_of(shop, capsys, flags):
    make(shop, *flags)
    assert (
        f"warning: the context column '{flags[1]}' depends on the item" in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["hour", "device", "constant"])
def test_what_varies_within_an_item_is_silent(shop, capsys, name):
    make(shop, "--context", name)
    assert "warning" not in capsys.readouterr().err


def test_a_users_column_is_warned_of(shop, capsys):
    make(shop, "--context", "age")
    assert "warning: the context column 'age' is the same for all events of a user" in (
        capsys.readouterr().err
    )


def test_item_and_user_columns_are_taken_out_of_the_events(shop):
    schema, out = make(
        shop,
        "--item-columns",
        "cate=category",
        "price",
        "--user-columns",
        "age",
        "--dense",
        "price",
    )
    assert [(f.name, f.of, f.kind) for f in Schema.load(out).fields] == [
        ("item", "item", "category"),
        ("category", "item", "category"),
        ("price", "item", "dense"),
        ("age", "user", "category"),
    ]


def test_the_earliest_value_is_the_items(tmp_path, capsys):
    text = "user,item,time,brand\nu,1,30,late\nu,1,10,\nu,1,20,first\nu,2,40,only\nv,3,5,\n"
    path = write(tmp_path / "e.csv", text)
    log = load("event_log", "--events", path, "--item-columns", "brand")
    assert rows(log.items.sort_values("item")) == [[1, "first"], [2, "only"], [3, None]]
    assert list(log.events) == ["user", "item", "time"]
    assert "brand differs over time for 1 of 2 items: the earliest" in capsys.readouterr().err


def test_columns_of_the_file_and_of_the_events_together(tmp_path, capsys):
    path = write(tmp_path / "e.csv", "user,item,time,brand\nu,1,30,x\nu,2,10,y\n")
    items = write(tmp_path / "i.csv", ",item,label,size,unused\n0,1,a,4,z\n1,9,b,5,z\n")
    flags = ["event_log", "--events", path, "--items", items]
    log = load(*flags, "--item-columns", "label=kind", "brand")
    assert rows(log.items.sort_values("item")) == [[1, "a", "x"], [2, None, "y"], [9, "b", None]]
    assert list(log.items) == ["item", "kind", "brand"]
    assert "i.csv: not read: size, unused (add them with --item-columns)" in capsys.readouterr().err


def test_labels_that_a_column_or_the_time_tell(tmp_path, capsys):
    n = 400
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=n)
    frame = pd.DataFrame(
        {
            "user": rng.integers(20, size=n),
            "item": rng.integers(50, size=n),
            "time": np.where(label == 1, 1_700_000_000 + np.arange(n), 0),
            "label": label,
            "dwell": np.where(label == 1, "long", None),
        }
    )
    log = load(
        "event_log",
        "--events",
        write(tmp_path / "e.csv", frame.to_csv(index=False)),
        "--context",
        "dwell",
    )
    capsys.readouterr()
    leaks.check(log, "impressions")
    said = capsys.readouterr().err
    assert "'dwell' is missing in nearly all rows with label 0" in said
    assert "rows with label 0 have one time, 0," in said
