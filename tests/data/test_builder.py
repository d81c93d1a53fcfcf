"""Prepared datasets against plain Python and pandas over small random logs."""

import copy
import dataclasses
import hashlib
import math
import os
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from random_log import random_log

from paddleinterest.core import atomic
from paddleinterest.core.errors import InputError
from paddleinterest.data import builder, writing
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.data.schema import SPLITS, Schema
from paddleinterest.data.tables import ItemTable

PROTOCOLS = ("every_prefix", "last_event", "impressions")


def in_file_order(log):
    """The log with a column that orders events of one user and time as the rows are."""
    return dataclasses.replace(log, events=log.events.assign(row=range(len(log.events))), tie="row")


def make(log, out, protocol="every_prefix", **options):
    return build(log, str(out), protocol=protocol, name="test", **options)


def files(directory):
    """{relative path: bytes} of all files below a directory."""
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in sorted(directory.rglob("*"))
        if p.is_file()
    }


def table(directory, name):
    return pq.read_table(directory / name, partitioning=None).to_pylist()


def sequences(directory):
    return (
        pa.ipc.open_file(str(directory / "sequences" / "part-00000.arrow")).read_all().to_pylist()
    )


def samples(directory, split):
    return table(directory, f"{split}/part-00000.parquet")


def small_log(**changes):
    """Five users with the items a b c d (a b c e for u4), of which the last two are valid and test.

    A sixth has two events of n, for train's negatives; n is not among the items listed.
    """
    rows = [
        (f"u{u}", item, 10 * u + k)
        for u in range(5)
        for k, item in enumerate("abcd" if u < 4 else "abce")
    ]
    rows += [("u5", "n", 50), ("u5", "n", 51)]
    log = Log(
        pd.DataFrame(rows, columns=["user", "item", "time"]),
        pd.DataFrame(
            {
                "item": list("fedcba"),
                "kind": ["k1", "k9", None, "k8", "k1", "k1"],
                "price": [9.0, 5.0, 7.0, np.nan, 3.0, 1.0],
            }
        ),
        dense=["price"],
    )
    return dataclasses.replace(log, **changes)


# one random log, every file of every protocol -----------------------------------------------------


def train_occurrences(log, protocol, made):
    """(counted items, counted users): a list with an entry for each occurrence in train, by the
    protocol's definition."""
    events = log.events.to_dict("records")
    if protocol == "impressions":
        cut = sorted(e["time"] for e in events)[int(0.8 * (len(events) - 1))]
        train = [e for e in events if e["time"] <= cut]
    else:
        clicks = [e for e in events if e["label"]]
        if protocol == "every_prefix":
            train = []
            for user in {e["user"] for e in clicks}:
                mine = sorted((e for e in clicks if e["user"] == user), key=lambda e: e["time"])
                train += mine if len(mine) < 4 else mine[:-2]
        else:
            users = table(made, "users.parquet")
            held_out = {
                users[s["user"]]["user"]
                for split in ("valid", "test")
                for s in samples(made, split)
            }
            train = [e for e in clicks if e["user"] not in held_out]
    return [str(e["item"]) for e in train], [e["user"] for e in train]


def as_text(value):
    return None if value is None or pd.isna(value) else str(value)


def check_entity(made, of, frame, ids, occurrences, dense, min_count):
    """items.parquet or users.parquet and the vocabularies, against counting by hand. Returns {raw
    id: row}."""
    schema = Schema.load(str(made))
    fields = {f.name: f for f in schema.fields if f.of == of}
    rows = table(made, f"{of}s.parquet")
    counts = Counter(occurrences)
    assert [r[of] for r in rows[:2]] == [None, None]
    assert sorted(str(r[of]) for r in rows[2:]) == sorted(ids)
    assert [r["count"] for r in rows] == [0, 0, *(counts[str(r[of])] for r in rows[2:])]
    if of == "item":
        keys = [(-r["count"], r["item"]) for r in rows[2:]]
        assert keys == sorted(keys)
        assert fields.pop("item").size == 2 + sum(n >= min_count for n in counts.values())
    raw = {str(r[of]): r for r in frame.to_dict("records")}
    assert list(fields) == list(frame.columns[1:])
    for name, f in fields.items():
        values = [raw.get(str(r[of]), {}).get(name) for r in rows[2:]]
        if name in dense:
            seen = [raw[i][name] for i in occurrences if i in raw and not pd.isna(raw[i][name])]
            assert f.kind == "dense" and f.size == 0
            assert f.mean == pytest.approx(np.mean(seen)) and f.std == pytest.approx(np.std(seen))
            assert [r[name] for r in rows] == pytest.approx(
                [np.nan if v is None else v for v in [None, None, *values]], nan_ok=True
            )
            continue
        seen = Counter(
            v for i in occurrences if (v := as_text(raw.get(i, {}).get(name))) is not None
        )
        vocabulary = sorted(
            (v for v, n in seen.items() if n >= min_count), key=lambda v: (-seen[v], v)
        )
        assert table(made, f"vocab/{name}.parquet") == [
            {"index": 2 + k, "value": v, "count": seen[v]} for k, v in enumerate(vocabulary)
        ]
        assert (f.kind, f.size, f.mean, f.std) == ("category", 2 + len(vocabulary), 0, 1)
        index = {v: 2 + k for k, v in enumerate(vocabulary)}
        assert [r[name] for r in rows] == [0, 1, *(index.get(as_text(v), 1) for v in values)]
    return {str(r[of]): k for k, r in enumerate(rows)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_user_id_is_an_attribute_that_repeats_the_id(tmp_path, protocol):
    log = random_log(1, users=60)
    listed = pd.DataFrame({"user": sorted({*log.events["user"], *log.users["user"]})})
    log.users = listed.merge(log.users, how="left", on="user")
    by_hand = dataclasses.replace(log, users=log.users.assign(user_id=log.users["user"]))
    make(by_hand, tmp_path / "want", protocol)
    schema = make(log, tmp_path / "d", protocol, user_id=True)
    assert files(tmp_path / "d") == files(tmp_path / "want")
    assert [f.of for f in schema.fields if f.name == "user_id"] == ["user"]
    make(dataclasses.replace(log, users=None), tmp_path / "alone", protocol, user_id=True)
    assert (
        table(tmp_path / "alone", "vocab/user_id.parquet")
        == table(tmp_path / "d", "vocab/user_id.parquet")
        != []
    )


def test_user_id_is_refused_where_the_name_is_taken(tmp_path):
    users = pd.DataFrame({"user": ["u1"], "user_id": ["x"]})
    make(small_log(users=users), tmp_path / "fine")
    with pytest.raises(InputError, match="column 'user_id' occurs in two"):
        make(small_log(users=users), tmp_path / "d", user_id=True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_file_is_what_counting_by_hand_gives(tmp_path, protocol, min_count):
    log, made = in_file_order(random_log(1, users=60)), tmp_path / "d"
    schema = make(log, made, protocol, min_count=min_count)
    items, users = train_occurrences(log, protocol, made)
    item_ids = {str(i) for i in [*log.events["item"], *log.items["item"]]}
    item_row = check_entity(made, "item", log.items, item_ids, items, ["price"], min_count)
    user_ids = {*log.events["user"], *log.users["user"]}
    user_row = check_entity(made, "user", log.users, user_ids, users, [], min_count)

    history = {}
    for e in sorted(log.events.to_dict("records"), key=lambda e: e["time"]):
        if e["label"]:
            history.setdefault(user_row[e["user"]], []).append(
                (item_row[str(e["item"])], e["time"])
            )
    mapped = sequences(made)
    total = 0
    for split in SPLITS:
        rows = samples(made, split)
        assert len(rows) == schema.rows[split]
        for s in rows:
            sequence = mapped[s["sequence"]]
            assert list(zip(sequence["item"], sequence["time"], strict=True)) == history.get(
                s["user"], []
            )
            assert 0 <= s["end"] <= len(sequence["item"]) and s["label"] in (0, 1)
            if s["label"] and protocol != "impressions":
                assert (sequence["item"][s["end"]], sequence["time"][s["end"]]) == (
                    s["item"],
                    s["time"],
                )
            total += 1
    assert sum(len(s["item"]) for s in mapped) == sum(map(len, history.values()))
    assert total == sum(schema.rows.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_context_is_that_of_the_event_and_its_vocabulary_that_of_train(tmp_path, protocol):
    """Users and times are unique together here, so that a sample can be joined to its event."""
    log = random_log(2, users=60)
    log.events["time"] = np.random.default_rng(0).permutation(len(log.events))
    made = tmp_path / "d"
    schema = make(log, made, protocol)
    event = {e["time"]: e for e in log.events.to_dict("records")}
    own = [
        s for s in samples(made, "train") if protocol == "impressions" or s["label"]
    ]  # the others are drawn, not seen
    seen = Counter(d for s in own if (d := as_text(event[s["time"]]["device"])) is not None)
    vocabulary = sorted(seen, key=lambda v: (-seen[v], v))
    assert table(made, "vocab/device.parquet") == [
        {"index": 2 + k, "value": v, "count": seen[v]} for k, v in enumerate(vocabulary)
    ]
    waits = [w for s in own if not math.isnan(w := event[s["time"]]["wait"])]
    device, wait = (next(f for f in schema.fields if f.name == name) for name in ("device", "wait"))
    assert (device.of, device.size) == ("context", 2 + len(vocabulary))
    assert wait.mean == pytest.approx(np.mean(waits)) and wait.std == pytest.approx(np.std(waits))
    for split in SPLITS:
        for s in samples(made, split):
            e = event[s["time"]]
            text = as_text(e["device"])
            assert s["device"] == (2 + vocabulary.index(text) if text in vocabulary else 1)
            assert s["wait"] == pytest.approx(e["wait"], nan_ok=True)
            if protocol == "impressions":
                assert s["label"] == e["label"]


def test_schema_lists_every_file_with_size_and_sha256_and_the_counts(tmp_path):
    log = random_log(3)
    schema = make(log, tmp_path / "d", recipe={"flag": 3}, source="src")
    on_disk = files(tmp_path / "d")
    written = yaml.safe_load(on_disk.pop("schema.yaml"))
    assert written["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in on_disk.items()
    }
    assert Schema.load(str(tmp_path / "d")) == schema
    assert (
        written["name"],
        written["source"],
        written["protocol"],
        written["recipe"],
        written["time"],
    ) == ("test", "src", "every_prefix", {"flag": 3}, "seconds")
    clicks = log.events[log.events["label"] == 1]
    lengths = (
        clicks.groupby("user")
        .size()
        .reindex({*log.events["user"], *log.users["user"]}, fill_value=0)
    )
    assert written["counts"]["events"] == len(log.events)
    assert written["counts"]["users"] == len(lengths)
    assert written["counts"]["items"] == len({*log.events["item"], *log.items["item"]})
    assert written["counts"]["items_in_train"] == len(
        set(train_occurrences(log, "every_prefix", None)[0])
    )
    assert written["counts"]["history_mean"] == pytest.approx(lengths.mean(), abs=1e-3)
    assert written["counts"]["history_max"] == lengths.max()


# what train alone may know ------------------------------------------------------------------------


def test_an_item_only_in_test_keeps_its_attributes_but_shares_index_1(tmp_path):
    """d and e occur in test alone, f never; a and b are train, c is valid."""
    schema = make(small_log(), tmp_path / "d")
    rows = {r["item"]: (k, r) for k, r in enumerate(table(tmp_path / "d", "items.parquet"))}
    assert {i: r["count"] for i, (_, r) in rows.items() if i} == {
        "a": 5,
        "b": 5,
        "n": 2,
        "c": 0,
        "d": 0,
        "e": 0,
        "f": 0,
    }
    assert schema.item_fields[0].size == 5
    items = ItemTable(str(tmp_path / "d"), schema)
    field = {i: items.fields["item"][k] for i, (k, _) in rows.items() if i}
    assert field == {"a": 2, "b": 3, "n": 4, "c": 1, "d": 1, "e": 1, "f": 1}
    kind = {i: items.fields["kind"][k] for i, (k, _) in rows.items() if i}
    assert kind == {
        "a": 2,
        "b": 2,
        "n": 1,
        "c": 1,
        "d": 1,
        "e": 1,
        "f": 2,
    }  # k8 and k9 are never in train; d has none
    assert items.fields["item"][:2].tolist() == items.fields["kind"][:2].tolist() == [0, 1]
    assert items.rows == 2 + 7
    assert items.dense[rows["f"][0], 0] == pytest.approx((9 - 2) / 1)  # of 1 and 3, each five times
    assert items.dense[rows["c"][0], 0] == items.dense[0, 0] == 0


def test_a_dense_column_that_is_the_same_in_all_of_train_is_not_blown_up(tmp_path):
    log = small_log()
    log.items["price"] = [5.0, 0.1, 0.1, 0.1, 0.1, 0.1]
    schema = make(log, tmp_path / "d")
    assert schema.dense_fields[0].std == 1
    assert np.abs(ItemTable(str(tmp_path / "d"), schema).dense).max() < 5


def test_a_dense_column_that_train_never_saw_is_left_as_it_is(tmp_path):
    log = small_log()
    log.items["price"] = [5.0, 4.0, np.nan, np.nan, np.nan, np.nan]
    field = make(log, tmp_path / "d").dense_fields[0]
    assert (field.mean, field.std) == (0, 1)


def test_large_integers_in_a_column_with_gaps_stay_different(tmp_path):
    """Two category ids that only differ beyond the 53 bits of a float; item c is not listed, which
    makes the gap."""
    log = small_log(dense=[])
    log.items = pd.DataFrame({"item": list("ab"), "kind": [2**60, 2**60 + 1]})
    make(log, tmp_path / "d")
    assert {r["value"] for r in table(tmp_path / "d", "vocab/kind.parquet")} == {
        str(2**60),
        str(2**60 + 1),
    }


@pytest.mark.parametrize(
    "kind", [[7.0, np.nan], ["7", None], [7, None], pd.array([7, None], "Int64")]
)
def test_a_category_is_the_same_text_whatever_its_type(tmp_path, kind):
    log = small_log(dense=[])
    log.items = pd.DataFrame({"item": list("ab"), "kind": kind})
    make(log, tmp_path / "d")
    assert table(tmp_path / "d", "vocab/kind.parquet") == [{"index": 2, "value": "7", "count": 5}]


@pytest.mark.parametrize(
    "of_events, of_items",
    [
        ("int64", str),
        (str, "int64"),
        (str, "Int64"),
        ("Int64", "Int64"),
        ("int64", "int32"),
        (object, str),
        ("int64", object),
        (str, "category"),
    ],
)
def test_ids_are_joined_whatever_their_types(tmp_path, of_events, of_items):
    log = small_log(dense=[])
    number = {c: 10**15 + k for k, c in enumerate("abcdefn")}
    log.events["item"] = log.events["item"].map(number)
    log.items["item"] = log.items["item"].map(number)
    if of_items == "int32":
        log.events["item"] -= 10**15
        log.items["item"] -= 10**15
    log.events["item"], log.items["item"] = (
        log.events["item"].astype(of_events),
        log.items["item"].astype(of_items),
    )
    schema = make(log, tmp_path / "d")
    assert schema.counts["items"] == 7
    assert [r["kind"] for r in table(tmp_path / "d", "items.parquet")][:5] == [0, 1, 2, 2, 1]
    assert table(tmp_path / "d", "vocab/kind.parquet") == [{"index": 2, "value": "k1", "count": 10}]


def test_a_log_without_users_or_attributes(tmp_path):
    log = small_log(dense=[])
    log.items = pd.DataFrame({"item": list("ab")})
    schema = make(log, tmp_path / "d")
    assert [f.name for f in schema.fields] == ["item"]
    assert list(table(tmp_path / "d", "users.parquet")[2]) == ["user", "count"]
    assert not os.listdir(tmp_path / "d" / "vocab")


# protocol given -----------------------------------------------------------------------------------


def given_log(**changes):
    events = [("t1", "a", 0), ("t1", "b", 1), ("t2", "c", 0), ("v", "d", 0), ("x", "e", 0)]
    of = [
        ("t1", "f", 1, "train"),
        ("t1", "g", 0, "train"),
        ("t2", "f", 0, "train"),
        ("v", "g", 1, "valid"),
        ("new", "a", 1, "test"),
        ("x", "h", 0, "test"),
    ]
    return dataclasses.replace(
        Log(
            pd.DataFrame(events, columns=["user", "item", "time"]),
            pd.DataFrame({"item": list("abcdefgh")}),
            samples=pd.DataFrame(of, columns=["user", "item", "label", "split"]),
            time="order",
        ),
        **changes,
    )


def test_given_samples_are_kept_and_histories_of_train_are_train(tmp_path):
    schema = make(given_log(), tmp_path / "d", "given")
    assert schema.rows == {"train": 3, "valid": 1, "test": 2}
    items, users, mapped = (
        table(tmp_path / "d", "items.parquet"),
        table(tmp_path / "d", "users.parquet"),
        sequences(tmp_path / "d"),
    )
    assert {r["item"]: r["count"] for r in items[2:]} == dict(
        a=1, b=1, c=1, d=0, e=0, f=2, g=1, h=0
    )
    assert schema.item_fields[0].size == 2 + 5
    got = [
        (
            split,
            users[s["user"]]["user"],
            [items[i]["item"] for i in mapped[s["sequence"]]["item"][: s["end"]]],
            items[s["item"]]["item"],
            s["label"],
        )
        for split in SPLITS
        for s in samples(tmp_path / "d", split)
    ]
    assert sorted(got, key=str) == [
        ("test", "new", [], "a", 1),
        ("test", "x", ["e"], "h", 0),
        ("train", "t1", ["a", "b"], "f", 1),
        ("train", "t1", ["a", "b"], "g", 0),
        ("train", "t2", ["c"], "f", 0),
        ("valid", "v", ["d"], "g", 1),
    ]


def test_the_history_of_a_given_sample_with_a_time_ends_before_it(tmp_path):
    log = given_log()
    log.samples["time"] = [1, 2, 0, 0, 9, 1]
    make(log, tmp_path / "d", "given")
    got = [(s["time"], s["end"]) for split in SPLITS for s in samples(tmp_path / "d", split)]
    assert sorted(got) == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (9, 0)]


def test_given_without_valid(tmp_path):
    log = given_log()
    assert make(log, tmp_path / "paper", "given", paper_split=True).rows == {"train": 4, "test": 2}
    log.samples = log.samples[log.samples["split"] != "valid"].reset_index(drop=True)
    assert make(log, tmp_path / "none", "given").rows == {"train": 3, "test": 2}


# the same seed, the same bytes --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_seed_writes_the_same_bytes(tmp_path, protocol):
    for name in ("one", "two"):
        make(random_log(4, users=60), tmp_path / name, protocol, seed=5)
    one = files(tmp_path / "one")
    assert one == files(tmp_path / "two") and len(one) >= 9


def test_another_seed_draws_other_negatives_for_the_same_positives(tmp_path):
    for seed in (5, 6):
        make(random_log(4, users=60, labels=False), tmp_path / str(seed), seed=seed)
    for split in SPLITS:
        five, six = (samples(tmp_path / str(seed), split) for seed in (5, 6))
        assert str([s for s in five if s["label"]]) == str(
            [s for s in six if s["label"]]
        )  # as text: NaN is not NaN
        assert [s["item"] for s in five if not s["label"]] != [
            s["item"] for s in six if not s["label"]
        ]


def test_the_log_is_not_changed(tmp_path):
    log = random_log(5)
    before = copy.deepcopy(log)
    make(log, tmp_path / "d")
    for name in ("events", "items", "users"):
        pd.testing.assert_frame_equal(getattr(log, name), getattr(before, name))


def test_the_best_possible_auc_is_told_only_where_every_row_has_its_own_truth(tmp_path):
    log = random_log(6, users=80)
    log.events["probability"] = np.random.default_rng(0).random(len(log.events))
    log.truth = "probability"
    assert set(make(log, tmp_path / "i", "impressions").best) == set(SPLITS)
    assert (
        make(log, tmp_path / "e", "every_prefix").best == {}
    )  # of a drawn negative nobody knows the probability
    assert "probability" in samples(tmp_path / "i", "test")[0]
    assert "probability" not in samples(tmp_path / "e", "test")[0]


@pytest.fixture
def cut(monkeypatch):
    """Parts of a few events."""
    monkeypatch.setattr(builder, "PART_EVENTS", 80)


def rows_of_parts(directory, split):
    return [
        pq.read_table(path, partitioning=None).to_pylist()
        for path in sorted((directory / split).iterdir())
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parts_are_of_whole_users_and_together_what_one_part_is(tmp_path, cut, protocol):
    log = random_log(7, users=90)
    schema = make(log, tmp_path / "cut", protocol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "PART_EVENTS", 10**9)
        make(log, tmp_path / "whole", protocol)
    users = {}
    for split in SPLITS:
        parts = rows_of_parts(tmp_path / "cut", split)
        whole = [row for part in parts for row in part]
        assert str(whole) == str(samples(tmp_path / "whole", split))  # as text: NaN is not NaN
        assert len(whole) == schema.rows[split]
        for part in parts if split == "train" else []:
            mine = {row["user"] for row in part}
            assert not mine & set(users)
            users |= dict.fromkeys(mine)
            assert len(part) < len(whole) / 2
    pieces = sorted((tmp_path / "cut" / "sequences").iterdir())
    assert len(pieces) == -(-len(log.events) // 80) > 3
    tables = [pa.ipc.open_file(str(path)).read_all() for path in pieces]
    assert pa.concat_tables(tables).to_pylist() == sequences(tmp_path / "whole")
    for name in ("items.parquet", "users.parquet", "vocab/device.parquet", "vocab/brand.parquet"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name, field in (("wait", schema.fields[-1]), ("price", schema.dense_fields[0])):
        assert field.name == name  # sums of other parts, to the last digits
        other = next(f for f in Schema.load(str(tmp_path / "whole")).fields if f.name == name)
        assert (field.mean, field.std) == pytest.approx((other.mean, other.std), rel=1e-12)


# whatever the order of the log --------------------------------------------------------------------


def shuffled(log, seed):
    """The same log with the rows of every table in another order."""
    frames = {
        name: frame.sample(frac=1, random_state=seed).reset_index(drop=True)
        for name in ("events", "items", "users", "samples")
        if (frame := getattr(log, name)) is not None
    }
    return dataclasses.replace(log, **frames)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_order_of_the_log_changes_no_byte(tmp_path, cut, protocol):
    log = random_log(8, users=70)
    log.events["time"] //= 5
    log.events = pd.concat([log.events, log.events.head(9)])  # some events stand there twice
    assert log.events.duplicated(["user", "time"]).sum() > 30
    make(log, tmp_path / "one", protocol)
    for seed in (1, 2):
        make(shuffled(log, seed), tmp_path / str(seed), protocol)
        assert files(tmp_path / "one") == files(tmp_path / str(seed))


def test_the_order_of_given_samples_changes_no_byte(tmp_path):
    make(given_log(), tmp_path / "one", "given")
    make(shuffled(given_log(), 1), tmp_path / "two", "given")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_equal_times_are_in_no_order_of_the_ids(tmp_path):
    """Baskets of ten items at one time: the last of each is as often a small id as a large one."""
    events = pd.DataFrame(
        [(f"u{u}", item, b) for u in range(300) for b in range(2) for item in range(10)],
        columns=["user", "item", "time"],
    )
    make(Log(events, pd.DataFrame({"item": range(10)})), tmp_path / "d", "last_event")
    ids = [row["item"] for row in table(tmp_path / "d", "items.parquet")]
    last = Counter(ids[s["item"][-1]] for s in sequences(tmp_path / "d"))
    assert sorted(last) == list(range(10)) and max(last.values()) < 60 and min(last.values()) > 10


def test_a_column_may_order_equal_times(tmp_path):
    events = pd.DataFrame(
        [(f"u{u}", item, 7, k) for u in range(20) for k, item in enumerate("dbca")]
        + [(f"v{u}", "xyxyyx"[u], 7, 0) for u in range(6)],
        columns=["user", "item", "time", "place"],
    )
    log = Log(events, pd.DataFrame({"item": [*"abcdxy"]}), tie="place")
    make(shuffled(log, 3), tmp_path / "d")
    ids = [row["item"] for row in table(tmp_path / "d", "items.parquet")]
    assert {"".join(ids[i] for i in s["item"]) for s in sequences(tmp_path / "d")} == {
        "dbca",
        "x",
        "y",
    }
    with pytest.raises(InputError, match="events have no column turn"):
        make(dataclasses.replace(log, tie="turn"), tmp_path / "e")


# whole or not at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "module, where",
    [
        (writing, "write_vocabularies"),
        (writing, "write_sequences"),
        (writing, "write_samples"),
        (builder, "hashes"),
    ],
)
def test_a_failure_leaves_nothing_and_an_old_dataset_as_it_was(
    tmp_path, monkeypatch, module, where, error
):
    make(random_log(8), tmp_path / "old")
    before = files(tmp_path)
    right = getattr(module, where)

    def fails(*args):
        right(*args)  # its files are there already
        raise error("in the middle")

    monkeypatch.setattr(module, where, fails)
    with pytest.raises(error):
        make(random_log(8), tmp_path / "new")
    with pytest.raises(error):
        make(random_log(9), tmp_path / "old", overwrite=True)
    assert os.listdir(tmp_path) == ["old"] and files(tmp_path) == before


def test_overwrite_replaces_all_of_the_old_dataset(tmp_path):
    make(random_log(8), tmp_path / "d", "impressions")
    make(random_log(9), tmp_path / "d", overwrite=True)
    make(random_log(9), tmp_path / "fresh")
    assert files(tmp_path / "d") == files(tmp_path / "fresh") and sorted(os.listdir(tmp_path)) == [
        "d",
        "fresh",
    ]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_while_the_old_is_exchanged_for_the_new_keeps_the_old(
    tmp_path, monkeypatch, error
):
    make(random_log(8), tmp_path / "d")
    before, rename, calls = files(tmp_path), os.rename, []

    def fails_the_second_time(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise error("between the two")
        rename(a, b)

    monkeypatch.setattr(atomic, "_exchange", lambda *names: False)  # a system without that
    monkeypatch.setattr(atomic.os, "rename", fails_the_second_time)
    with pytest.raises(error):
        make(random_log(9), tmp_path / "d", overwrite=True)
    assert os.listdir(tmp_path) == ["d"] and files(tmp_path) == before


def test_ctrl_c_as_soon_as_the_directory_is_there(tmp_path, monkeypatch):
    right = os.mkdir

    def mkdir(*args):
        right(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "mkdir", mkdir)
    with pytest.raises(KeyboardInterrupt):
        with atomic.whole_directory(str(tmp_path / "d")):
            pass
    assert not os.listdir(tmp_path)


def test_a_link_to_a_dataset_stays_a_link(tmp_path):
    make(random_log(8), tmp_path / "disk" / "d")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "d")
    make(random_log(9), tmp_path / "link", overwrite=True)
    make(random_log(9), tmp_path / "fresh")
    assert (tmp_path / "link").is_symlink() and os.listdir(tmp_path / "disk") == ["d"]
    assert files(tmp_path / "disk" / "d") == files(tmp_path / "fresh")


def test_what_is_no_dataset_is_never_replaced(tmp_path):
    make(random_log(8), tmp_path / "d")
    with pytest.raises(InputError, match="exists already"):
        make(random_log(8), tmp_path / "d")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("home", "file"):
        with pytest.raises(InputError, match="not a prepared dataset"):
            make(random_log(8), tmp_path / name, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"
    assert sorted(os.listdir(tmp_path)) == ["d", "file", "home"]


def test_a_foreign_file_in_a_dataset_is_never_removed(tmp_path):
    out = tmp_path / "d"
    make(random_log(8), out)
    for name in ("precious.txt", "train/precious.txt"):
        (out / name).write_text("years of work")
        with pytest.raises(InputError, match=f"not replaced: {name} in it is not part"):
            make(random_log(9), out, overwrite=True)
        assert (out / name).read_text() == "years of work"
        (out / name).unlink()
    (out / "items.parquet").write_bytes(b"spoilt")
    make(random_log(9), out, overwrite=True)
    make(random_log(9), tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")


@pytest.mark.parametrize(
    "text", ["", "a: 1\n", "- 1\n", "files: 5\n", "{", "version: 1\nfiles: {}\n"]
)
def test_the_schema_of_a_stranger_is_no_dataset(tmp_path, text):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "schema.yaml").write_text(text)
    with pytest.raises(InputError, match="not a prepared dataset"):
        make(random_log(8), tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "schema.yaml").read_text() == text


def test_whole_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "f"
    with atomic.whole_file(str(path)) as made:
        open(made, "w").write("one")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        with atomic.whole_file(str(path)) as made:
            open(made, "w").write("two")
            raise KeyboardInterrupt
    assert path.read_text() == "one" and os.listdir(path.parent) == ["f"]


# bad logs -----------------------------------------------------------------------------------------


def with_column(frame, name, values):
    return frame.assign(**{name: values})


def first_and_last(first, others, last):
    return [first, *[others] * (len(EVENTS) - 2), last]


EVENTS = small_log().events
ITEMS = small_log().items
BAD = [
    ("items list item 'a' more than once", dict(items=pd.concat([ITEMS, ITEMS.tail(1)]))),
    (
        "users list user 7 more than once",
        dict(events=with_column(EVENTS, "user", 7), users=pd.DataFrame({"user": [7, 7]})),
    ),
    (
        "items list item '1' more than once",
        dict(
            events=with_column(EVENTS, "item", "1"),
            items=pd.DataFrame({"item": [1, "1"]}),
            dense=[],
        ),
    ),
    (
        "label is 2, must be 0 or 1",
        dict(events=with_column(EVENTS, "label", first_and_last(1, 1, 2))),
    ),
    ("row 22: label is 0.5", dict(events=with_column(EVENTS, "label", first_and_last(1, 0, 0.5)))),
    ("label is '1'", dict(events=with_column(EVENTS, "label", "1"))),
    (
        "row 22: label is nan",
        dict(events=with_column(EVENTS, "label", first_and_last(1, 1, np.nan))),
    ),
    (
        "events, row 22: user is missing",
        dict(events=with_column(EVENTS, "user", first_and_last("u", "u", None))),
    ),
    (
        "events, row 1: item is missing",
        dict(events=with_column(EVENTS, "item", first_and_last(None, "a", "b"))),
    ),
    (
        "events, row 1: time is missing",
        dict(events=with_column(EVENTS, "time", first_and_last(np.nan, 1, 1))),
    ),
    ("items, row 2: item is missing", dict(items=pd.DataFrame({"item": ["a", None]}))),
    ("events have no column item", dict(events=EVENTS.drop(columns="item"))),
    ("events have no column device", dict(context=["device"])),
    (
        "time holds datetime64",
        dict(events=with_column(EVENTS, "time", pd.to_datetime(EVENTS["time"]))),
    ),
    ("holds no events", dict(events=EVENTS.head(0))),
    ("may not be called 'count'", dict(items=with_column(ITEMS, "count", 1))),
    ("may not be called 'history'", dict(users=pd.DataFrame({"user": ["u1"], "history": [1]}))),
    (
        "may not be called 'target'",
        dict(events=with_column(EVENTS, "target", 1), context=["target"]),
    ),
    ("may not be called 'a/b'", dict(items=with_column(ITEMS, "a/b", 1))),
    ("'kind' occurs in two", dict(users=pd.DataFrame({"user": ["u1"], "kind": [1]}))),
    ("'kind' occurs in two", dict(events=with_column(EVENTS, "kind", 1), context=["kind"])),
    ("dense column 'cost' is in none", dict(dense=["cost"])),
    (
        "'price', row 6: inf is beyond float32",
        dict(items=with_column(ITEMS, "price", [1, 2, 3, 4, 5, np.inf])),
    ),
    ("users; it takes users with at least 4 events", dict(events=EVENTS.groupby("user").head(3))),
    ("22 events (0 of them with label 1) of", dict(events=with_column(EVENTS, "label", 0))),
    ("may not be called 'training'", dict(items=with_column(ITEMS, "training", 1))),
]


@pytest.mark.parametrize(
    "words, changes", BAD, ids=[f"{k}-{words}" for k, (words, _) in enumerate(BAD)]
)
def test_a_bad_log_is_refused_in_one_line(tmp_path, words, changes):
    with pytest.raises(InputError) as e:
        make(small_log(**changes), tmp_path / "d")
    assert words in str(e.value) and "\n" not in str(e.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "protocol, told", [("every_prefix", True), ("last_event", True), ("impressions", False)]
)
def test_events_that_repeat_another_are_told_where_a_history_would_hold_its_target(
    tmp_path, capsys, protocol, told
):
    """Row for row twice, as an export that was appended to itself; a user's only repeat of an item
    at another moment is none."""
    log = random_log(2, users=60)
    log.events["time"] = np.random.default_rng(0).permutation(len(log.events))
    make(log, tmp_path / "once", protocol)
    assert "repeat another" not in capsys.readouterr().err
    log.events = pd.concat([log.events, log.events])
    make(log, tmp_path / "twice", protocol)
    clicks = int(log.events.label.sum()) if "label" in log.events else len(log.events)
    assert (
        f"{clicks // 2:,} of {clicks:,} events repeat another" in capsys.readouterr().err
    ) == told


def test_by_day_says_which_days_the_log_has(tmp_path):
    events = pd.DataFrame(
        [(f"u{u}", "ab"[u % 2], 1_700_000_000 + 24 * 3600 * (u % 3), 1) for u in range(30)],
        columns=["user", "item", "time", "label"],
    )
    with pytest.raises(
        InputError,
        match="no label falls on the days of valid, of 3 days from 2023-11-14 to 2023-11-16",
    ) as e:
        make(small_log(events=events), tmp_path / "d", "by_day")
    assert "impressions" in str(e.value)


def test_empty_splits_are_named(tmp_path):
    events = with_column(EVENTS, "label", 1)
    with pytest.raises(InputError, match="the valid split is empty: protocol last_event"):
        make(small_log(events=events.head(8)), tmp_path / "d", "last_event")
    with pytest.raises(InputError, match="the valid split is empty: protocol impressions"):
        make(small_log(events=with_column(events, "time", 1)), tmp_path / "d", "impressions")
    log = given_log()
    log.samples["split"] = "train"
    with pytest.raises(InputError, match="the test split is empty: protocol given"):
        make(log, tmp_path / "d", "given")
    log.samples["split"] = ["dev"] * 6
    with pytest.raises(InputError, match="split is 'dev', must be train, valid or test"):
        make(log, tmp_path / "d", "given")
    assert not os.listdir(tmp_path)
