"""Lists, event fields, vectors and hashed ids, from the log to the batch, against plain Python."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich_log import WIDTH, rich_log

from paddleinterest.core.errors import InputError
from paddleinterest.data import builder, hashing
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema

PROTOCOLS = ("every_prefix", "last_event", "impressions", "by_user")


def make(log, out, protocol="every_prefix", **options):
    return build(log, str(out), protocol=protocol, name="test", **options)


def table(directory, name):
    return pq.read_table(directory / name, partitioning=None).to_pylist()


def vocabulary(directory, name):
    return {row["value"]: row["index"] for row in table(directory, f"vocab/{name}.parquet")}


def indices(values, known):
    """A list of raw values as the tables hold it."""
    missing = values is None or isinstance(values, float)
    return list(dict.fromkeys(known.get(str(v), 1) for v in ([] if missing else values)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lists_are_indexed_by_what_train_knows(tmp_path, protocol):
    log = rich_log(1)
    schema = make(log, tmp_path / "d", protocol, min_count=2)
    for of, name in (("item", "tags"), ("user", "hobby")):
        rows = table(tmp_path / "d", f"{of}s.parquet")
        frame = log.items if of == "item" else log.users
        raw = {str(k): v for k, v in zip(frame[of], frame[name], strict=True)}
        count = Counter()
        for row in rows[2:]:
            for value in dict.fromkeys(raw.get(str(row[of])) or []):
                count[str(value)] += row["count"]
        kept = sorted((v for v in count if count[v] >= 2), key=lambda v: (-count[v], v))
        known = {value: 2 + k for k, value in enumerate(kept)}
        assert vocabulary(tmp_path / "d", name) == known
        field = next(f for f in schema.fields if f.name == name)
        assert (field.of, field.multiple, field.size) == (of, True, 2 + len(known))
        assert [r[name] for r in rows[:2]] == [[], []]
        for row in rows[2:]:
            assert row[name] == indices(raw.get(str(row[of])), known)
        assert any(len(r[name]) > 1 for r in rows) and any(not r[name] for r in rows[2:])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_event_fields_follow_their_events(tmp_path, protocol, monkeypatch):
    """Times are unique within a user, so that an event of a sequence can be found in the log."""
    monkeypatch.setattr(builder, "PART_EVENTS", 100)
    log = rich_log(2)
    log.events["time"] = np.random.default_rng(0).permutation(len(log.events))
    schema = make(log, tmp_path / "d", protocol)
    users = [r["user"] for r in table(tmp_path / "d", "users.parquet")]
    raw = {(e["user"], e["time"]): e for e in log.events.to_dict("records")}
    known = vocabulary(tmp_path / "d", "action")
    assert set(known) == {"view", "buy"}
    pieces = sorted((tmp_path / "d" / "sequences").iterdir())
    assert len(pieces) > 2
    rows = [row for path in pieces for row in pa.ipc.open_file(str(path)).read_all().to_pylist()]
    seen = 0
    for number, row in enumerate(rows):
        for time, action, dwell in zip(row["time"], row["action"], row["dwell"], strict=True):
            event = raw[users[2 + number], time]
            assert action == known.get(event["action"], 1)
            assert dwell == pytest.approx(event["dwell"], nan_ok=True)
            seen += 1
    assert seen == (log.events["label"] == 1).sum()
    assert [(f.name, f.kind) for f in schema.fields if f.of == "event"] == [
        ("action", "category"),
        ("dwell", "dense"),
    ]


def test_event_fields_know_what_train_knows(tmp_path):
    """Under every_prefix each user's last two events are valid's and test's."""
    events = pd.DataFrame(
        [
            (f"u{u}", (u + k) % 9, k, a, d)
            for u in range(5)
            for k, (a, d) in enumerate(
                [("view", 1.0), ("view", 3.0), ("buy", 5.0), ("late", 99.0), ("late", 99.0)]
            )
        ],
        columns=["user", "item", "time", "action", "dwell"],
    )
    log = Log(events, pd.DataFrame({"item": range(9)}), event=["action", "dwell"], dense=["dwell"])
    schema = make(log, tmp_path / "d")
    assert table(tmp_path / "d", "vocab/action.parquet") == [
        {"index": 2, "value": "view", "count": 10},
        {"index": 3, "value": "buy", "count": 5},
    ]
    dwell = schema.event_dense[0]
    assert (dwell.mean, dwell.std) == pytest.approx((3, math.sqrt(8 / 3)))
    counts = Reader(str(tmp_path / "d"), "train", 7).counts()
    assert counts["action"].tolist() == [0, 10, 10, 5]  # the late ones stand in sequences too


def test_vectors_stand_beside_the_table(tmp_path):
    log = rich_log(3)
    schema = make(log, tmp_path / "d")
    assert [(f.name, f.width) for f in schema.vector_fields] == [("text", WIDTH)]
    rows = table(tmp_path / "d", "items.parquet")
    assert "text" not in rows[0]
    vectors = np.load(tmp_path / "d" / "vectors" / "text.npy")
    raw = {str(k): v for k, v in zip(log.items["item"], log.items["text"], strict=True)}
    for k, row in enumerate(rows):
        want = raw.get(str(row["item"]))
        assert vectors[k].tolist() == pytest.approx(want if isinstance(want, list) else [0] * WIDTH)
    reader = Reader(str(tmp_path / "d"), "train", 7)
    assert isinstance(reader.items.vectors["text"], np.memmap)


@pytest.mark.parametrize("cap, batch_size", [(1, 3), (5, 7), (50, 1000)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_batches_hold_all_of_it(tmp_path, protocol, cap, batch_size, monkeypatch):
    monkeypatch.setattr(builder, "PART_EVENTS", 100)
    make(rich_log(4), tmp_path / "d", protocol)
    schema = Schema.load(str(tmp_path / "d"))
    items, users = (table(tmp_path / "d", f"{of}s.parquet") for of in ("item", "user"))
    vectors = np.load(tmp_path / "d" / "vectors" / "text.npy")
    pieces = sorted((tmp_path / "d" / "sequences").iterdir())
    sequences = [r for path in pieces for r in pa.ipc.open_file(str(path)).read_all().to_pylist()]
    parts = sorted((tmp_path / "d" / "train").iterdir())
    samples = [r for path in parts for r in pq.read_table(path, partitioning=None).to_pylist()]
    dwell = schema.event_dense[0]
    reader = Reader(str(tmp_path / "d"), "train", batch_size, cap, negatives="uniform")
    batches = list(reader.epoch())
    for k, batch in enumerate(batches[:40]):
        mine = samples[k * batch_size : (k + 1) * batch_size]
        for row, s in enumerate(mine):
            sequence = sequences[s["sequence"]]
            window = slice(max(0, s["end"] - cap), s["end"])
            history = sequence["item"][window]
            assert unpadded(batch["target_tags"][row]) == items[s["item"]]["tags"]
            assert unpadded(batch["user_hobby"][row]) == users[s["user"]]["hobby"]
            assert (batch["target_vector_text"][row] == vectors[s["item"]]).all()
            tags = [unpadded(cell) for cell in batch["history_tags"][row]]
            assert tags[: len(history)] == [items[i]["tags"] for i in history]
            assert not any(tags[len(history) :])
            assert (batch["history_vector_text"][row][: len(history)] == vectors[history]).all()
            assert not batch["history_vector_text"][row][len(history) :].any()
            negative = batch["negative_item"][row]
            assert batch["negative_tags"].shape[:2] == batch["negative_item"].shape
            assert batch["negative_vector_text"].shape == (*batch["negative_item"].shape, WIDTH)
            assert ((negative > 0) >= (batch["negative_tags"][row] > 0).any(1)).all()
            assert unpadded(batch["event_action"][row]) == sequence["action"][window]
            want = [0 if math.isnan(d) else (d - dwell.mean) / dwell.std for d in sequence["dwell"]]
            got = batch["event_dense"][row, :, 0].tolist()
            assert got[: len(history)] == pytest.approx(want[window], abs=1e-5)
            assert not any(got[len(history) :])
        types = {name: column.dtype for name, column in batch.items()}
        assert types["history_tags"] == types["user_hobby"] == types["event_action"] == np.int64
        assert types["event_dense"] == types["target_vector_text"] == np.float32
    assert sum(b["history_tags"].shape[2] > 1 for b in batches) > 0


def unpadded(row):
    values = row.tolist()
    while values and values[-1] == 0:
        values.pop()
    assert 0 not in values
    return values


def test_counts_of_lists_and_event_fields(tmp_path):
    make(rich_log(5), tmp_path / "d")
    counts = Reader(str(tmp_path / "d"), "train", 7).counts()
    for of, name in (("item", "tags"), ("user", "hobby")):
        want = Counter()
        for row in table(tmp_path / "d", f"{of}s.parquet"):
            want.update({index: row["count"] for index in row[name]} if row["count"] else {})
        slow = [
            sum(r["count"] for r in table(tmp_path / "d", f"{of}s.parquet") if k in r[name])
            for k in range(len(counts[name]))
        ]
        assert counts[name].tolist() == slow and sum(slow) > 0


# hashed -------------------------------------------------------------------------------------------


def test_hashed_items_and_attributes_need_no_vocabulary(tmp_path):
    log = rich_log(6, hashed={"item": 50, "brand": 11, "tags": 7, "action": 5})
    schema = make(log, tmp_path / "d")
    sizes = {f.name: f.size for f in schema.fields if f.hashed}
    assert sizes == {"item": 52, "brand": 13, "tags": 9, "action": 7}
    assert not {p.stem for p in (tmp_path / "d" / "vocab").iterdir()} & set(sizes)
    reader = Reader(str(tmp_path / "d"), "train", 7)
    raw = {str(r["item"]): r for r in log.items.to_dict("records")}
    for k, row in enumerate(table(tmp_path / "d", "items.parquet")[2:], 2):
        item = str(row["item"])
        assert reader.items.fields["item"][k] == hashing.bucket([item], 50)[0]
        brand = raw.get(item, {}).get("brand")
        missing = brand is None or pd.isna(brand)
        assert row["brand"] == (1 if missing else hashing.bucket([str(brand)], 11)[0])
        tags = raw.get(item, {}).get("tags") or []
        tags = [] if isinstance(tags, float) else tags
        assert row["tags"] == list(dict.fromkeys(hashing.bucket([t], 7)[0] for t in tags))
    assert reader.items.fields["item"][:2].tolist() == [0, 1]
    counts = reader.counts()
    assert len(counts["item"]) == 52 and counts["item"].sum() == reader.items.count.sum()


def test_a_hash_is_the_same_for_ever():
    """Rows of embedding tables depend on these: they may not change with a version."""
    assert hashing.of_text(["", "u1", "é"]).tolist() == [
        17665956581633026203,
        8169491770928374175,
        2536656207217688990,
    ]
    assert (
        hashing.bucket(["7", "i1"], 1000).tolist()
        == hashing.bucket(pa.array(["7", "i1"]), 1000).tolist()
    )
    assert (hashing.of_ids(pa.array([7, -12])) == hashing.of_text(["7", "-12"])).all()


def test_hashes_are_spread_evenly():
    index = hashing.bucket([f"i{k}" for k in range(20_000)], 100)
    share = np.bincount(index)[2:]
    assert len(share) == 100 and share.min() > 140 and share.max() < 260


# whatever the form --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tuple", "array", "arrow"])
def test_lists_and_vectors_may_come_in_any_form(tmp_path, form):
    log = rich_log(7)
    make(log, tmp_path / "list")
    other = rich_log(7)
    for name in ("tags", "text"):
        if form == "arrow":
            kind = pa.list_(pa.string() if name == "tags" else pa.float64())
            other.items[name] = pd.Series(
                pd.arrays.ArrowExtensionArray(pa.array(other.items[name].tolist(), kind))
            )
        else:
            change = tuple if form == "tuple" else np.array
            other.items[name] = [None if v is None else change(v) for v in other.items[name]]
    make(other, tmp_path / form)
    for name in ("items.parquet", "vectors/text.npy", "vocab/tags.parquet", "schema.yaml"):
        assert (tmp_path / form / name).read_bytes() == (tmp_path / "list" / name).read_bytes()


# bad logs -----------------------------------------------------------------------------------------


def one_of(column, value):
    def change(log):
        frame = log.items if column in log.items else log.events
        at = frame[column].first_valid_index()
        frame[column] = frame[column].astype(object)
        frame.at[at, column] = value
        return log

    return change


BAD = [
    ("is declared as multiple, but row", one_of("tags", "war|comedy")),
    ("row 2 has 3 numbers, the first has 2", one_of("text", [1.0, 2.0])),
    ("a number is missing or infinite", one_of("text", [1.0, np.inf, 0.0])),
    (
        "does not hold numbers",
        lambda log: dataclasses.replace(
            log, items=log.items.assign(text=[["a", "b"]] * len(log.items))
        ),
    ),
    (
        "must be lists of numbers",
        lambda log: dataclasses.replace(log, items=log.items.assign(text=1.5)),
    ),
    (
        "multiple column 'device' is in none of",
        lambda log: dataclasses.replace(log, multiple=["device"]),
    ),
    (
        "vector column 'hobby' is in none of",
        lambda log: dataclasses.replace(log, vectors=["hobby"], multiple=["tags"]),
    ),
    (
        "column 'action' occurs in two of",
        lambda log: dataclasses.replace(log, context=[*log.context, "action"]),
    ),
    (
        "events have no column price_paid",
        lambda log: dataclasses.replace(log, event=[*log.event, "price_paid"]),
    ),
    ("both multiple and dense", lambda log: dataclasses.replace(log, dense=[*log.dense, "tags"])),
    ("both hashed and dense", lambda log: dataclasses.replace(log, hashed={"dwell": 9})),
    ("hashed column 'x' is in none of", lambda log: dataclasses.replace(log, hashed={"x": 9})),
    ("'dwell', row 1: inf is beyond float32", one_of("dwell", np.inf)),
]


@pytest.mark.parametrize("words, change", BAD, ids=[words for words, _ in BAD])
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, words, change):
    with pytest.raises(InputError) as e:
        make(change(rich_log(8)), tmp_path / "d")
    assert words in str(e.value) and "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())


def test_a_spoilt_vector_file_is_named(tmp_path):
    make(rich_log(9), tmp_path / "d")
    schema = Schema.load(str(tmp_path / "d"))
    path = tmp_path / "d" / "vectors" / "text.npy"
    vectors = np.load(path)
    for wrong, words in (
        (vectors[:-1], "must be float32"),
        (vectors.astype(np.float64), "holds float64"),
    ):
        np.save(path, wrong)
        schema.files = {}
        schema.save(str(tmp_path / "d"))
        with pytest.raises(InputError, match=words):
            Reader(str(tmp_path / "d"), "train", 7)
    path.write_bytes(b"spoilt")
    with pytest.raises(InputError, match="is not a readable NumPy file"):
        Reader(str(tmp_path / "d"), "train", 7)
