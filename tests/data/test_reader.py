"""The reader against a plain Python loop over the files of a prepared dataset."""

import hashlib
import math
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from random_log import random_log

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema

PROTOCOLS = ("every_prefix", "last_event", "impressions")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """{protocol: directory} of one random log under every protocol; impressions have empty
    histories."""
    folder = tmp_path_factory.mktemp("data")
    for protocol in PROTOCOLS:
        build(
            random_log(3, users=60, items=90, most=25, popular=0.03),
            str(folder / protocol),
            protocol=protocol,
            name=protocol,
        )
    return {protocol: str(folder / protocol) for protocol in PROTOCOLS}


class Plain:
    """A prepared dataset read with nothing but lists and dicts."""

    def __init__(self, directory, split):
        self.schema = yaml.safe_load(open(f"{directory}/schema.yaml"))
        self.sequences = (
            pa.ipc.open_file(f"{directory}/sequences/part-00000.arrow").read_all().to_pylist()
        )
        self.samples = pq.read_table(
            f"{directory}/{split}/part-00000.parquet", partitioning=None
        ).to_pylist()
        self.tables = {
            of: pq.read_table(f"{directory}/{of}s.parquet").to_pylist() for of in ("item", "user")
        }

    def fields(self, of, kind="category"):
        return [f for f in self.schema["fields"] if (f["of"], f["kind"]) == (of, kind)]

    def index(self, field, row):
        if field["name"] == "item":
            return row if row < field["size"] else 1
        return self.tables[field["of"]][row][field["name"]]

    def batch(self, numbers, cap, times):
        """The batch of these rows as nested lists."""
        rows = [self.samples[n] for n in numbers]
        histories = [
            list(
                zip(
                    self.sequences[s["sequence"]]["item"],
                    self.sequences[s["sequence"]]["time"],
                    strict=True,
                )
            )[max(0, s["end"] - cap) : s["end"]]
            for s in rows
        ]
        width = max(1, max((len(h) for h in histories), default=1))
        out = {"label": [s["label"] for s in rows], "user": [s["user"] for s in rows]}
        for f in self.fields("item"):
            out["history_" + f["name"]] = [
                [self.index(f, i) for i, _ in h] + [0] * (width - len(h)) for h in histories
            ]
            out["target_" + f["name"]] = [self.index(f, s["item"]) for s in rows]
        for f in self.fields("user"):
            out["user_" + f["name"]] = [self.index(f, s["user"]) for s in rows]
        for f in self.fields("context"):
            out["context_" + f["name"]] = [s[f["name"]] for s in rows]
        dense = [(f, of) for of in ("item", "user", "context") for f in self.fields(of, "dense")]
        if dense:
            raw = [
                [(s if of == "context" else self.tables[of][s[of]])[f["name"]] for f, of in dense]
                for s in rows
            ]
            out["dense"] = [
                [
                    0 if math.isnan(v) else (v - f["mean"]) / f["std"]
                    for v, (f, _) in zip(values, dense, strict=True)
                ]
                for values in raw
            ]
        if times:
            out["history_time"] = [[t for _, t in h] + [0] * (width - len(h)) for h in histories]
            out["target_time"] = [s["time"] for s in rows]
        return out


def same(batch, plain):
    assert set(batch) == set(plain)
    for name, column in batch.items():
        want = np.array(plain[name], np.float64)
        assert column.shape == want.shape, name
        assert column.dtype == (np.float32 if name in ("dense", "label") else np.int64), name
        np.testing.assert_allclose(column, want, atol=1e-5, rtol=0, err_msg=name)


def equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert set(x) == set(y)
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def keys(batches):
    """A multiset of rows: everything a row has but its padding."""
    out = Counter()
    for b in batches:
        for k in range(len(b["label"])):
            history = tuple(b["history_item"][k]), tuple(b["history_time"][k])
            while history[0] and history[0][-1] == 0:
                history = history[0][:-1], history[1][:-1]
            out[
                (
                    *history,
                    *(float(b[n][k]) for n in sorted(b) if b[n].ndim == 1),
                    *b["dense"][k].tolist(),
                )
            ] += 1
    return out


@pytest.mark.parametrize("cap, batch_size", [(1, 7), (5, 1), (5, 7), (50, 7), (50, 1000)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_batches_are_the_plain_loops(data, protocol, cap, batch_size):
    for split in ("test", "train"):
        reader, plain = (
            Reader(data[protocol], split, batch_size, cap, times=True),
            Plain(data[protocol], split),
        )
        rows = list(range(len(plain.samples)))
        batches = list(reader.epoch())
        assert reader.rows == len(rows) and reader.batches == len(batches) == math.ceil(
            len(rows) / batch_size
        )
        some = np.random.default_rng(0).permutation(len(batches))[:25]
        for k, batch in ((k, batches[k]) for k in {*some.tolist(), len(batches) - 1}):
            same(batch, plain.batch(rows[k * batch_size : (k + 1) * batch_size], cap, True))


def test_the_data_has_what_these_tests_are_about(data):
    train = Plain(data["impressions"], "train")
    assert any(s["end"] == 0 for s in train.samples) and any(s["end"] > 4 for s in train.samples)
    items, size = train.tables["item"], train.fields("item")[0]["size"]
    assert size < len(items)
    test = Plain(data["every_prefix"], "test")
    assert any(s["item"] >= test.fields("item")[0]["size"] for s in test.samples)
    assert any(math.isnan(s["wait"]) for s in train.samples) and any(
        s["device"] == 1 for s in train.samples
    )
    assert [f["name"] for of in ("item", "user", "context") for f in train.fields(of)] == [
        "item",
        "category",
        "brand",
        "city",
        "device",
    ]


def test_a_batch_of_rows_in_any_order_and_without_times(data):
    reader, plain = Reader(data["impressions"], "train", 8, 5), Plain(data["impressions"], "train")
    rows = np.random.default_rng(0).integers(reader.rows, size=40)
    same(reader.batch(rows), plain.batch(rows.tolist(), 5, False))
    same(
        reader.batch(rows[:0]),
        {
            k: np.zeros((0, *np.shape(v)[1:])) if not k.startswith("history") else np.zeros((0, 1))
            for k, v in plain.batch([0], 5, False).items()
        },
    )


def test_a_log_in_which_nobody_clicks_has_empty_histories(tmp_path):
    log = random_log(1)
    log.events["label"] = 0
    build(log, str(tmp_path / "d"), protocol="impressions", name="d")
    for batch in Reader(str(tmp_path / "d"), "test", 7, times=True).epoch():
        assert (
            batch["history_item"].shape == batch["history_time"].shape == (len(batch["label"]), 1)
        )
        assert (
            not batch["history_item"].any()
            and not batch["history_time"].any()
            and batch["target_item"].all()
        )
        assert batch["history_time"].dtype == batch["target_time"].dtype == np.int64


# order --------------------------------------------------------------------------------------------

ORDERS = [
    dict(shuffle=False),
    dict(shuffle=True),
    dict(shuffle=True, bucket_batches=1),
    dict(shuffle=True, bucket_batches=4),
    dict(shuffle=True, bucket_batches=10**6),
]


@pytest.mark.parametrize("batch_size", [1, 7, 10**5])
@pytest.mark.parametrize("order", ORDERS)
def test_an_epoch_is_the_dataset_row_by_row(data, order, batch_size):
    for protocol in PROTOCOLS:
        reader = Reader(data[protocol], "test", batch_size, 6, times=True, **order)
        want = keys(Reader(data[protocol], "test", 1, 6, times=True).epoch())
        for epoch in (0, 1):
            batches = list(reader.epoch(epoch))
            assert keys(batches) == want
            sizes = [len(b["label"]) for b in batches]
            assert (
                set(sizes[:-1]) <= {batch_size} and sizes[-1] == (reader.rows - 1) % batch_size + 1
            )
    numbers = np.concatenate(
        list(Reader(data["impressions"], "train", batch_size, **order).order(3))
    )
    assert sorted(numbers.tolist()) == list(range(len(numbers)))


@pytest.mark.parametrize("order", ORDERS[1:])
def test_seed_and_epoch_alone_decide_the_order(data, order):
    def numbers(seed, epoch):
        return np.concatenate(
            list(Reader(data["impressions"], "train", 16, seed=seed, **order).order(epoch))
        ).tolist()

    assert numbers(1, 0) == numbers(1, 0)
    assert len({tuple(numbers(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6
    reader = Reader(data["impressions"], "train", 16, seed=1, **order)
    list(reader.epoch(0)), list(reader.epoch(5))  # what was read before leaves no trace
    assert np.concatenate(list(reader.order(2))).tolist() == numbers(1, 2)


@pytest.mark.parametrize("order", ORDERS)
def test_start_batch_goes_on_where_it_stopped(data, order):
    whole = list(Reader(data["impressions"], "train", 64, times=True, **order).epoch(2))
    for start in (0, 1, len(whole) - 1, len(whole)):
        equal(
            list(Reader(data["impressions"], "train", 64, times=True, **order).epoch(2, start)),
            whole[start:],
        )


@pytest.mark.parametrize("ranks", [2, 5, 9])
@pytest.mark.parametrize("order", ORDERS)
def test_ranks_share_out_every_batch(data, order, ranks):
    """Every row goes to one rank, padded and with negatives as in the whole batch; what has fewer
    rows than ranks to each."""

    def read(**which):
        return list(
            Reader(
                data["every_prefix"], "test", 7, times=True, negatives="uniform", **order, **which
            ).epoch(1)
        )

    parts = [read(process_index=rank, process_count=ranks) for rank in range(ranks)]
    for k, batch in enumerate(read()):
        mine = [p[k] for p in parts]
        if len(batch["label"]) < ranks:
            equal(mine, [batch] * ranks)
            continue
        for name, whole in batch.items():
            for rank, part in enumerate(mine):
                assert np.array_equal(part[name], whole[rank::ranks]), name
    assert len({len(p) for p in parts}) == 1


def test_buckets_pad_less_and_still_mix(data):
    def padding(buckets):
        reader = Reader(data["impressions"], "train", 16, shuffle=True, bucket_batches=buckets)
        return sum((b["history_item"] == 0).sum() for b in reader.epoch(0))

    none, some, all_ = padding(0), padding(8), padding(10**6)
    assert all_ < some < 0.6 * none
    reader = Reader(data["impressions"], "train", 16, shuffle=True, bucket_batches=10**6)
    longest = [b["history_item"].shape[1] for b in reader.epoch(0)][:-1]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


# counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_counts_are_the_occurrences_of_every_index(data, protocol):
    plain = Plain(data[protocol], "train")
    want = {
        f["name"]: [0] * f["size"] for of in ("item", "user", "context") for f in plain.fields(of)
    }
    for of in ("item", "user"):
        for f in plain.fields(of):
            for row, entry in enumerate(plain.tables[of]):
                want[f["name"]][plain.index(f, row)] += entry["count"]
    for s in plain.samples:
        want["device"][s["device"]] += 1
    got = Reader(data[protocol], "train", 7).counts()
    assert {name: c.tolist() for name, c in got.items()} == want
    if protocol == "impressions":  # every sample of train is one occurrence of its target
        targets = Counter(plain.index(plain.fields("item")[0], s["item"]) for s in plain.samples)
        assert got["item"].tolist() == [targets[i] for i in range(len(got["item"]))]
    assert got["item"][0] == 0 and got["item"].sum() > 0


# broken files -------------------------------------------------------------------------------------


@pytest.fixture
def copy(data, tmp_path):
    shutil.copytree(data["impressions"], tmp_path / "d")
    return tmp_path / "d"


def refused(directory, words, split="train"):
    with pytest.raises(InputError) as e:
        Reader(str(directory), split, 7)
    assert words in str(e.value) and "\n" not in str(e.value), e.value


def resize(directory, name):
    """Let schema.yaml agree with a file that a test has changed, so that the reader itself must
    find the fault."""
    schema = yaml.safe_load((directory / "schema.yaml").read_text())
    data = (directory / name).read_bytes()
    schema["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    del schema["sha256"]  # of the text that was
    (directory / "schema.yaml").write_text(yaml.safe_dump(schema))
    Schema.load(str(directory)).save(directory)


def change(directory, name, column, value, row=3):
    """Put `value` into one row of a Parquet file's column, or drop the column (value "drop")."""
    table = pq.read_table(directory / name, partitioning=None)
    at = table.column_names.index(column)
    if value == "drop":
        table = table.drop_columns([column])
    else:
        values = table[column].to_pylist()
        values[row] = value
        table = table.set_column(at, column, pa.array(values, table.schema.types[at]))
    pq.write_table(table, directory / name)
    resize(directory, name)


def size(directory, name):
    schema = yaml.safe_load((directory / "schema.yaml").read_text())
    return next(f["size"] for f in schema["fields"] if f["name"] == name)


TRAIN = "train/part-00000.parquet"


@pytest.mark.parametrize("bad", ["size", -1])
@pytest.mark.parametrize(
    "name, column, rows_of",
    [
        ("items.parquet", "category", ""),
        ("items.parquet", "brand", ""),
        ("users.parquet", "city", ""),
        (TRAIN, "device", ""),
        (TRAIN, "item", "items.parquet"),
        (TRAIN, "user", "users.parquet"),
        (TRAIN, "sequence", "sequences"),
    ],
)
def test_an_index_outside_its_table_is_refused(copy, name, column, rows_of, bad):
    if rows_of == "sequences":
        limit = pa.ipc.open_file(str(copy / "sequences/part-00000.arrow")).read_all().num_rows
    else:
        limit = pq.read_metadata(copy / rows_of).num_rows if rows_of else size(copy, column)
    change(copy, name, column, limit - 1)
    Reader(str(copy), "train", 7, 1000) if column != "sequence" else None  # the last index is fine
    bad = limit if bad == "size" else bad
    change(copy, name, column, bad)
    refused(copy, f"column {column}, row 3: index {bad} is outside 0…{limit - 1}")


def test_labels_and_ends_are_checked(copy):
    good = pq.read_table(copy / TRAIN, partitioning=None)
    change(copy, TRAIN, "label", 2)
    refused(copy, "column label, row 3: index 2")
    pq.write_table(good, copy / TRAIN)
    sequences = pa.ipc.open_file(str(copy / "sequences/part-00000.arrow")).read_all().to_pylist()
    long = len(sequences[good["sequence"][3].as_py()]["item"])
    change(copy, TRAIN, "end", long)
    Reader(str(copy), "train", 7)
    for end in (long + 1, -1):
        change(copy, TRAIN, "end", end)
        refused(copy, "a history ends beyond its sequence")


def write_sequences(directory, item, time):
    kind = {"item": pa.large_list(pa.int32()), "time": pa.large_list(pa.int64())}
    table = pa.table(
        {n: pa.array(v, kind[n]) for n, v in (("item", item), ("time", time)) if v is not None}
    )
    with (
        pa.OSFile(str(directory / "sequences/part-00000.arrow"), "wb") as f,
        pa.ipc.new_file(f, table.schema) as w,
    ):
        w.write_table(table)
    resize(directory, "sequences/part-00000.arrow")


def test_sequences_are_checked(copy):
    whole = pa.ipc.open_file(str(copy / "sequences/part-00000.arrow")).read_all().to_pydict()
    limit = pq.read_metadata(copy / "items.parquet").num_rows
    longest = max(range(len(whole["item"])), key=lambda k: len(whole["item"][k]))
    for bad in (limit, -1):
        item = [list(s) for s in whole["item"]]
        item[longest][0] = bad
        write_sequences(copy, item, whole["time"])
        refused(copy, f"index {bad} is outside 0…{limit - 1}")
    time = [s[:-1] if k == longest else s for k, s in enumerate(whole["time"])]
    write_sequences(copy, whole["item"], time)
    refused(copy, "item and time differ in length")
    write_sequences(copy, whole["item"], None)
    refused(copy, "no column time")
    write_sequences(copy, whole["item"], whole["time"])
    Reader(str(copy), "train", 7)


@pytest.mark.parametrize(
    "name, column",
    [
        ("items.parquet", "brand"),
        ("items.parquet", "price"),
        ("items.parquet", "count"),
        ("users.parquet", "city"),
        (TRAIN, "end"),
        (TRAIN, "device"),
        (TRAIN, "wait"),
    ],
)
def test_missing_columns_and_values_are_named(copy, name, column):
    if column not in ("price", "wait"):
        change(copy, name, column, None)
        refused(copy, f"column {column} has 1 missing values")
    change(copy, name, column, "drop")
    refused(copy, f"no column {column}")


@pytest.mark.parametrize(
    "name",
    ["items.parquet", "users.parquet", "sequences/part-00000.arrow", TRAIN, "vocab/city.parquet"],
)
def test_a_file_that_is_missing_or_cut_short_is_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-20])
    refused(copy, f"{name} has {len(data) - 20:,} bytes, but schema.yaml says {len(data):,}")
    (copy / name).unlink()
    refused(copy, f"{name} is missing")


BROKEN = {
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: b"\0" * len(data),
    "empty": lambda data: b"",
    "hole": lambda data: data[:100] + b"\xff" * 400 + data[500:],
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["items.parquet", TRAIN])
def test_a_broken_parquet_file_of_the_right_size_is_named(copy, name, broken):
    (copy / name).write_bytes(BROKEN[broken]((copy / name).read_bytes()))
    resize(copy, name)
    refused(copy, f"{name} is not a readable Parquet file")


@pytest.mark.parametrize("broken", ["half", "zeros", "empty"])
def test_a_broken_arrow_file_of_the_right_size_is_named(copy, broken):
    (copy / "sequences/part-00000.arrow").write_bytes(
        BROKEN[broken]((copy / "sequences/part-00000.arrow").read_bytes())
    )
    resize(copy, "sequences/part-00000.arrow")
    refused(copy, "sequences/part-00000.arrow is not a readable Arrow file")


def test_what_is_no_dataset_is_refused(copy, tmp_path):
    refused(tmp_path / "none", "no prepared dataset at")
    refused(copy, "has no dev split; it has train, valid, test", "dev")
    text = (copy / "schema.yaml").read_text()
    for other, words in (
        (text.replace("version: 2", "version: 9"), "has version 9, this program reads 1 and 2"),
        (text.replace("protocol:", "protokoll:"), "is not a schema"),
        ("[1, 2", "is not a schema"),
        ("", "is not a schema"),
        ("- 1", "is not a schema"),
        (text.replace("bytes:", "size:"), "is not a schema"),
        (text.replace("kind: dense", "sort: dense"), "is not a schema"),
        ("fields: []", "is not a schema"),
    ):
        assert other != text
        (copy / "schema.yaml").write_text(other)
        refused(copy, words)


def test_a_split_without_rows_is_refused(copy):
    table = pq.read_table(copy / TRAIN, partitioning=None)
    pq.write_table(table.slice(0, 5), copy / TRAIN)
    resize(copy, TRAIN)
    refused(copy, "train has 5 rows, but schema.yaml says")
    pq.write_table(table.slice(0, 0), copy / TRAIN)
    resize(copy, TRAIN)
    refused(copy, "train split of")
