"""Every engine gives the same bytes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from random_log import random_log
from test_builder import PROTOCOLS, files, shuffled
from test_features import rich_log

from paddleinterest.core.errors import InputError
from paddleinterest.data import builder, writing
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log

ALL = (*PROTOCOLS, "by_user", "by_day", "by_time")


@pytest.fixture
def cut(monkeypatch):
    """Parts of a few events."""
    monkeypatch.setattr(builder, "PART_EVENTS", 90)


def make(log, out, protocol, engine, **options):
    return build(log, str(out), protocol=protocol, name="test", engine=engine, **options)


def same(log, folder, protocol, other=None, **options):
    make(log, folder / "memory", protocol, "memory", **options)
    make(log if other is None else other, folder / "duckdb", protocol, "duckdb", **options)
    one, two = files(folder / "memory"), files(folder / "duckdb")
    assert one == two and len(one) >= 8
    assert sorted(p.name for p in folder.iterdir()) == ["duckdb", "memory"]


def timed(log):
    """With times over some weeks, for by_day; many are equal."""
    events = log.events.assign(time=log.events["time"] * 3600 * 6)
    return dataclasses.replace(log, events=events)


@pytest.mark.parametrize("protocol", ALL)
def test_memory_and_duckdb_write_the_same_bytes(tmp_path, cut, protocol):
    log = timed(rich_log(1, users=70))
    same(log, tmp_path, protocol, shuffled(log, 4), min_count=2, user_id=protocol != "by_user")


@pytest.mark.parametrize("protocol", ["every_prefix", "by_day"])
def test_hashed_fields_and_matched_negatives(tmp_path, cut, protocol):
    log = timed(rich_log(2, hashed={"item": 40, "device": 3, "action": 4}))
    same(log, tmp_path, protocol, negatives="matched")


def test_a_column_for_ties_and_no_users(tmp_path, cut):
    log = random_log(3, users=70, labels=False)
    log.events["place"] = np.random.default_rng(0).permutation(len(log.events))
    log.events["time"] //= 9
    log = dataclasses.replace(log, tie="place", users=None)
    same(log, tmp_path, "every_prefix")


@pytest.mark.parametrize("pieces", [1, 2, 17])
def test_events_may_come_in_pieces(tmp_path, cut, pieces):
    log = random_log(4, users=70)
    parts = (log.events[k::pieces] for k in range(pieces))
    same(log, tmp_path, "impressions", dataclasses.replace(log, events=parts))


def test_pieces_in_memory(tmp_path):
    log = random_log(4, users=70)
    parts = (log.events[k::3] for k in range(3))
    make(log, tmp_path / "one", "impressions", "memory")
    make(dataclasses.replace(log, events=parts), tmp_path / "two", "impressions", "memory")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def ids_log(of_events, of_items):
    events = pd.DataFrame(
        [(u, (u + k) % 12, 10 * u + k) for u in range(30) for k in range(6)],
        columns=["user", "item", "time"],
    )
    items = pd.DataFrame({"item": range(14), "kind": [k % 3 for k in range(14)]})
    events["item"] = events["item"].astype(of_events)
    items["item"] = items["item"].astype(of_items)
    return Log(events, items)


@pytest.mark.parametrize(
    "of_events, of_items", [("int64", "int64"), ("int64", str), (str, "int64"), (str, str)]
)
def test_ids_of_any_type(tmp_path, of_events, of_items):
    """As integers 10 comes after 9, as texts before."""
    same(ids_log(of_events, of_items), tmp_path, "every_prefix")


def test_a_later_piece_may_hold_texts(tmp_path):
    log = ids_log(str, str)
    parts = [log.events[:50].astype({"item": np.int64}), log.events[50:]]
    same(log, tmp_path, "every_prefix", dataclasses.replace(log, events=iter(parts)))


def test_what_is_wrong_is_said_by_both(tmp_path):
    log = random_log(5)
    log.events.loc[7, "user"] = None
    for engine in ("memory", "duckdb"):
        with pytest.raises(InputError, match="events, row 8: user is missing"):
            make(log, tmp_path / "d", "every_prefix", engine)
    pieces = [random_log(5).events[:5], log.events[5:]]
    with pytest.raises(InputError, match="events, row 8: user is missing"):
        make(dataclasses.replace(log, events=pieces), tmp_path / "d", "every_prefix", "duckdb")
    empty = dataclasses.replace(log, events=log.events.head(0))
    with pytest.raises(InputError, match="the log holds no events"):
        make(empty, tmp_path / "d", "every_prefix", "duckdb")
    assert not list(tmp_path.iterdir())


def test_a_category_of_floats_must_be_whole_in_every_piece_or_in_none(tmp_path):
    log = random_log(6, labels=False)
    whole = log.events.assign(device=3.0)
    pieces = [whole[:20], whole[20:].assign(device=3.5)]
    with pytest.raises(InputError, match="category 'device' holds 7.0 and 7.5 alike"):
        make(dataclasses.replace(log, events=pieces), tmp_path / "d", "every_prefix", "duckdb")


def test_a_failure_leaves_no_database(tmp_path, monkeypatch):
    def fails(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_samples", fails)
    with pytest.raises(KeyboardInterrupt):
        make(random_log(7), tmp_path / "d", "every_prefix", "duckdb")
    assert not list(tmp_path.iterdir())
