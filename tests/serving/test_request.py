"""Requests of raw ids: their arrays and scores against rows built by hand from the raw log, and
malformed ones refused."""

import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import TINY_DIN, close, probabilities, small_dataset, small_log, trained

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, Schema
from paddleinterest.serving import ids
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import Contents, export
from paddleinterest.serving.request import RequestEncoder, read_requests

CAP = 12


@pytest.fixture(scope="module")
def log():
    """With a dense column of each kind: price of items, income of users, temperature of
    impressions."""
    log, rng = small_log(), np.random.default_rng(1)
    log.users["income"] = np.where(np.arange(60) % 4 == 1, np.nan, rng.normal(50, 20, 60))
    log.events["temperature"] = np.where(
        rng.random(len(log.events)) < 0.1, np.nan, rng.normal(15, 8, len(log.events))
    )
    log.users.loc[15, "age"] = None  # the first user of test with a long history
    log.context.append("temperature")
    log.dense += ["income", "temperature"]
    return log


@pytest.fixture(scope="module")
def served(tmp_path_factory, log):
    """The dataset, the dynamic net, and the bundle made of it."""
    folder = tmp_path_factory.mktemp("served")
    data = str(folder / "data")
    build(log, data, protocol="impressions", name="rich")
    config, _, net = trained(
        "din", data, folder, *TINY_DIN, "hyper_parameters.activation=prelu", scale=0.3
    )
    out = str(folder / "bundle")
    export(config, data, out, Contents(histories=False))  # a request without a history has none
    return data, net, Bundle(out)


@pytest.fixture(scope="module")
def bundle(served):
    return served[2]


# the arrays of a request, from the raw log by hand


class Hand:
    """Looks things up in the raw log and the written vocabularies without the code under test."""

    def __init__(self, log, data):
        self.items, self.users = log.items.set_index("item"), log.users.set_index("user")
        self.rows = {
            raw: k
            for k, raw in enumerate(
                pq.read_table(os.path.join(data, "items.parquet"))["item"].to_pylist()
            )
        }
        self.vocabulary = {
            n: (
                pq.read_table(os.path.join(data, "vocab", f"{n}.parquet"))
                .to_pandas()
                .set_index("value")["index"]
            )
            for n in ("category", "brand", "maker", "age", "hour")
        }
        train = log.events[log.events.time <= np.quantile(log.events.time, 0.8, method="lower")]
        columns = {
            "price": train.item.map(self.items.price),
            "income": train.user.map(self.users.income),
            "temperature": train.temperature,
        }
        self.scale = {k: (v.mean(), v.std(ddof=0)) for k, v in columns.items()}

    def index(self, name, raw):
        return 1 if raw is None or raw != raw else int(self.vocabulary[name].get(str(raw), 1))

    def item(self, name, raw):
        if name == "item":
            return self.rows.get(raw, 1)
        return self.index(name, self.items[name].get(raw))

    def dense(self, name, raw):
        mean, std = self.scale[name]
        return 0.0 if raw is None or raw != raw else (raw - mean) / std

    def batch(
        self,
        history,
        candidates,
        user=None,
        age=...,
        income=...,
        hour=None,
        temperature=None,
        given=({},),
    ):
        """Arrays of `candidates` (raw ids) for one user; `given` holds what a candidate says of
        itself."""
        n, age, income = (
            len(candidates),
            *(
                self.users[k].get(user) if v is ... else v
                for k, v in (("age", age), ("income", income))
            ),
        )
        given = [*given, *[{}] * n][:n]
        batch = {}
        for name in ("item", "category", "brand", "maker"):
            batch[f"history_{name}"] = np.array([[self.item(name, i) for i in history] or [0]] * n)
            batch[f"target_{name}"] = np.array(
                [
                    self.index(name, g[name]) if name in g else self.item(name, i)
                    for i, g in zip(candidates, given, strict=True)
                ]
            )
        batch["user_age"] = np.full(n, self.index("age", age))
        batch["context_hour"] = np.full(n, self.index("hour", hour))
        batch["dense"] = np.array(
            [
                [
                    self.dense("price", g["price"] if "price" in g else self.items.price.get(i)),
                    self.dense("income", income),
                    self.dense("temperature", temperature),
                ]
                for i, g in zip(candidates, given, strict=True)
            ],
            np.float32,
        )
        return batch


@pytest.fixture(scope="module")
def hand(log, served):
    return Hand(log, served[0])


CANDIDATES = ["i3", "i77", "i0", "nobody_sells_this", "i11"]
CASES = {
    "everything": (
        {
            "user": "u5",
            "history": ["i1", {"item": "i7", "time": 5}, {"item": "i2", "time": 9}],
            "candidates": CANDIDATES,
            "context": {"hour": "h2", "temperature": 21.5},
            "time": 12,
        },
        dict(history=["i1", "i7", "i2"], user="u5", hour="h2", temperature=21.5),
    ),
    "least": ({"candidates": CANDIDATES}, dict(history=[])),
    "null in optional places": (
        {
            "user": None,
            "user_attributes": None,
            "context": {"hour": None, "temperature": None},
            "candidates": CANDIDATES,
        },
        dict(history=[]),
    ),
    "unknown user and history": (
        {
            "user": "somebody",
            "history": ["gone", "i5", "gone too"],
            "candidates": CANDIDATES,
            "context": {"hour": "h9"},
        },
        dict(history=["gone", "i5", "gone too"], user="somebody", hour="h9"),
    ),
    "user attributes win": (
        {"user": "u5", "user_attributes": {"age": "young", "income": 12}, "candidates": CANDIDATES},
        dict(history=[], age="young", income=12),
    ),
    "unknown user with attributes": (
        {
            "user": "new",
            "user_attributes": {"age": "old", "income": 77.5},
            "history": ["i8"],
            "candidates": CANDIDATES,
        },
        dict(history=["i8"], age="old", income=77.5),
    ),
    "one unknown attribute, the other the user's": (
        {"user": "u6", "user_attributes": {"age": "ageless"}, "candidates": CANDIDATES},
        dict(history=[], user="u6", age="ageless"),
    ),
    "attributes null": (
        {"user": "u6", "user_attributes": {"age": None, "income": None}, "candidates": CANDIDATES},
        dict(history=[], age=None, income=None),
    ),
    "more history than the cap": (
        {"history": [f"i{k}" for k in range(30)], "candidates": CANDIDATES},
        dict(history=[f"i{k}" for k in range(18, 30)]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_hand_built_rows(served, hand, case):
    _, net, bundle = served
    request, by_hand = CASES[case]
    expected = dict(
        zip(
            CANDIDATES,
            probabilities(net, hand.batch(candidates=CANDIDATES, **by_hand)),
            strict=True,
        )
    )
    answer = bundle.rank(request)
    got = {c["item"]: c["score"] for c in answer["candidates"]}
    assert got.keys() == expected.keys() and np.std(list(expected.values())) > 1e-3
    for item in CANDIDATES:
        assert abs(got[item] - expected[item]) < 1e-6, item
    scores = [c["score"] for c in answer["candidates"]]
    assert scores == sorted(scores, reverse=True) and [
        c["place"] for c in answer["candidates"]
    ] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert {c["item"]: c["known"] for c in answer["candidates"]} == {
        i: i != "nobody_sells_this" for i in CANDIDATES
    }
    assert answer["unknown_history"] == sum(i.startswith("gone") for i in by_hand["history"])
    assert answer["user"] == request.get("user")
    users = set(
        map(
            str,
            pq.read_table(os.path.join(bundle.directory, "users.parquet"))["user"].to_pylist()[2:],
        )
    )
    assert answer["known_user"] == (
        str(request["user"]) in users if request.get("user") is not None else None
    )


def test_every_part_of_a_request_matters(bundle):
    """Otherwise the comparison above would prove little."""
    base = {
        "user": "u5",
        "history": ["i1"],
        "candidates": CANDIDATES,
        "context": {"hour": "h1", "temperature": 3},
    }
    changed = [
        {**base, "user": "u7"},
        {**base, "history": ["i2"]},
        {**base, "context": {"hour": "h2", "temperature": 3}},
        {**base, "context": {"hour": "h1", "temperature": 30}},
        {**base, "user_attributes": {"age": "young"}},
        {**base, "user_attributes": {"income": 99}},
    ]
    first = bundle.attention(base)[0]
    for request in changed:
        assert np.abs(bundle.attention(request)[0] - first).max() > 1e-5, request


def test_attributes_of_a_candidate(served, hand):
    """An unknown item with a known category uses it; what is given wins over the catalogue; null is
    unknown."""
    _, net, bundle = served
    given = [
        {},
        {"category": "c3"},
        {"category": "c3", "brand": "b4", "maker": 1, "price": 7.5},
        {"category": "never seen"},
        {"category": "c3"},
        {"price": None, "brand": None},
    ]
    items = ["new", "new", "new", "new", "i20", "i20"]
    request = {
        "history": ["i1", "i2"],
        "candidates": [{"item": i, **g} for i, g in zip(items, given, strict=True)],
    }
    expected = probabilities(net, hand.batch(["i1", "i2"], items, given=given))
    score, weight = bundle.attention(request)
    close(score, expected, 1e-6)
    assert weight.shape == (6, 2)
    assert abs(expected[1] - expected[0]) > 1e-4  # the category tells something
    assert abs(expected[3] - expected[0]) < 1e-6  # an unknown one does not
    encoded = bundle.encoder.encode(request)
    assert list(encoded.arrays["target_item"][:4]) == [1] * 4
    assert encoded.arrays["target_category"][1] == hand.index("category", "c3") > 1
    assert encoded.arrays["target_category"][0] == 1


def test_the_example_and_the_split_agree(served):
    """The example is a test row of the longest history, its user's age known; what it encodes to is
    the reader's own row."""
    data, net, bundle = served
    with open(os.path.join(os.path.dirname(data), "bundle", "request.example.json")) as f:
        request = json.load(f)
    reader = Reader(data, "test", 1, history_cap=10)
    longest = np.flatnonzero(reader.length == reader.length.max())
    chosen = next(k for k in longest if reader.users.fields["age"][reader.user[k]] > 1)
    assert chosen != longest[0] and request["user_attributes"]["age"] in ("young", "middle", "old")
    row = reader.batch(np.array([chosen]))
    arrays = bundle.encoder.encode(request).arrays
    for name, column in row.items():
        if name.startswith(("history_", "user_", "context_")):
            assert np.array_equal(arrays[name], column), name
    close(
        arrays["dense"][0, 1:], row["dense"][0, 1:], 1e-6
    )  # income and temperature; price is the candidate's
    assert len(bundle.rank(request)["candidates"]) == len(request["candidates"])


def test_times_reach_the_arrays(bundle):
    history = [{"item": "i1", "time": 4}, {"item": "i2", "time": 4}, {"item": "i3", "time": 9}]
    arrays = bundle.encoder.encode(
        {"history": history, "candidates": ["i1", "i2"], "time": 11}
    ).arrays
    assert arrays["history_time"].tolist() == [[4, 4, 9]] and arrays["target_time"].tolist() == [11]
    arrays = bundle.encoder.encode({"history": history, "candidates": ["i1"]}).arrays
    assert arrays["target_time"].tolist() == [9]  # now, for want of anything later
    arrays = bundle.encoder.encode({"candidates": ["i1"]}).arrays
    assert arrays["history_time"].tolist() == [[0]] and arrays["history_item"].tolist() == [[0]]


def test_values_that_training_never_saw_are_counted(bundle):
    request = {
        "candidates": [
            {"item": "new", "category": "C1"},
            {"item": "i1", "category": "no such"},
            {"item": "i2", "category": None},
        ],
        "context": {"hour": "h99"},
        "user_attributes": {"age": "young"},
        "history": ["gone"],
    }
    answer = bundle.rank(request)
    assert answer["unknown_values"] == {"category": 2, "hour": 1} and answer["unknown_history"] == 1
    assert (
        bundle.rank({"candidates": ["new", {"item": "i1", "category": "c1"}]})["unknown_values"]
        == {}
    )


def test_a_model_that_reads_times_asks_for_them(bundle):
    encoder = RequestEncoder(bundle.directory, bundle.schema, CAP, needs_times=True)
    timed = {
        "history": [{"item": "i1", "time": 4}, {"item": "i2", "time": 5}],
        "candidates": ["i1"],
        "time": 6,
    }
    for fine in (timed, {"candidates": ["i1"]}):
        for name, array in encoder.encode(fine).arrays.items():
            assert np.array_equal(array, bundle.encoder.encode(fine).arrays[name])
    for change, words in (
        ({"history": ["i1", "i2"]}, r"history\[0\] has no time"),
        ({"history": [timed["history"][0], "i2"]}, r"history\[1\]"),
    ):
        with pytest.raises(InputError, match=f"^request: {words}.*every event"):
            encoder.encode({**timed, **change})
    with pytest.raises(
        InputError,
        match="^request: time is 1700000000000, must be seconds since 1970; is it milliseconds",
    ):
        encoder.encode({**timed, "time": 1_700_000_000_000})
    with pytest.raises(InputError, match="^request: time is missing: .* the request"):
        encoder.encode({"history": timed["history"], "candidates": ["i1"]})


def test_ids_and_values_are_compared_as_text(tmp_path):
    """Integer ids in the log, given as integers or as text; items below min_count keep their
    attributes, not their index."""
    log = small_log(users=30, impressions=20)
    log.events["item"] = log.events["item"].str[1:].astype(int)
    log.items["item"] = log.items["item"].str[1:].astype(int)
    log.events["user"], log.users["user"] = (
        f["user"].str[1:].astype(int) for f in (log.events, log.users)
    )
    build(log, str(tmp_path / "d"), protocol="impressions", name="d", min_count=7)
    schema = Schema.load(str(tmp_path / "d"))
    encoder = RequestEncoder(str(tmp_path / "d"), schema, CAP)
    a = encoder.encode(
        {"user": 4, "history": [8, 12], "candidates": [7, {"item": 700, "maker": 2}]}
    )
    b = encoder.encode(
        {
            "user": "4",
            "history": ["8", {"item": "12"}],
            "candidates": ["7", {"item": "700", "maker": "2"}],
        }
    )
    for name in a.arrays:
        assert np.array_equal(a.arrays[name], b.arrays[name]), name
    assert (
        a.candidates == [7, 700]
        and list(a.known) == [True, False]
        and a.arrays["target_maker"][1] > 1
    )
    table = pq.read_table(str(tmp_path / "d" / "items.parquet")).to_pandas()
    rare = table[table["count"].between(1, 6)].iloc[0]
    encoded = encoder.encode({"candidates": [int(rare["item"])]})
    assert encoded.known[0] and encoded.arrays["target_item"][0] == 1
    assert encoded.arrays["target_category"][0] == rare["category"]
    assert all(0 <= encoded.arrays[f"target_{f.name}"][0] < f.size for f in schema.item_fields)


# malformed requests

FINE = {"candidates": ["i1"]}
MALFORMED = [
    ([], "must be an object"),
    ("i1", "must be an object"),
    (None, "must be an object"),
    (3, "must be an object"),
    ({}, "candidates is missing, must be a list"),
    ({"candidates": []}, "at least one"),
    ({"candidates": None}, "must be a list"),
    ({"candidates": "i1"}, "must be a list"),
    ({"candidates": {"item": "i1"}}, "must be a list"),
    ({**FINE, "candidate": 1}, "unknown key 'candidate'.*candidates"),
    ({**FINE, "history_time": []}, "unknown key"),
    *(
        ({"candidates": ["i1", bad]}, r"candidates\[1\]")
        for bad in (None, 1.5, True, ["i1"], {}, {"item": None})
    ),
    *(
        ({"candidates": [{"item": bad}]}, r"candidates\[0\]")
        for bad in (None, 2.0, False, [], {"item": "i1"})
    ),
    (
        {"candidates": [{"item": "i1", "colour": "red"}]},
        "unknown attribute 'colour'; known: category, brand, maker, price",
    ),
    ({"candidates": [{"item": "i1", "age": "young"}]}, "unknown attribute 'age'"),
    ({"candidates": [{"item": "i1", "category": ["c1"]}]}, "category is"),
    ({"candidates": [{"item": "i1", "category": {"a": 1}}]}, "category is"),
    *(
        ({"candidates": [{"item": "i1", "price": bad}]}, "price is .* must be a number")
        for bad in ("7", True, [7], 1e38, -1e300, float("inf"), float("nan"), 10**400)
    ),
    *(
        ({**FINE, "history": bad}, "must be a list, oldest event first")
        for bad in (None, "i1", {"item": "i1"}, 5)
    ),
    *(
        ({**FINE, "history": ["i1", bad]}, r"history\[1\]")
        for bad in (
            None,
            1.5,
            True,
            ["i1"],
            {},
            {"time": 3},
            {"item": "i1", "when": 3},
            {"item": None},
        )
    ),
    (
        {**FINE, "history": [{"item": "i1", "category": "c1"}]},
        r"history\[0\]: unknown key 'category'.* attributes are for candidates",
    ),
    (
        {**FINE, "history": [{"item": "i1", "time": 5}, {"item": "i2", "time": 4}]},
        "oldest first, but its times fall",
    ),
    (
        {**FINE, "time": 4, "history": [{"item": "i1", "time": 5}]},
        "time is 4, before the last event of its history, at 5",
    ),
    *(
        (
            {**FINE, "history": [{"item": "i1", "time": bad}]},
            r"history\[0\].time is .* must be an integer",
        )
        for bad in (None, "5", 1.5, True, 2**62, -(10**30))
    ),
    *(
        ({**FINE, "time": bad}, "time is .* must be an integer")
        for bad in (None, "now", 0.5, False, 10**30)
    ),
    *(
        ({**FINE, "user": bad}, "user is .* must be an id")
        for bad in (1.5, True, ["u1"], {"user": "u1"})
    ),
    *(
        ({**FINE, "user_attributes": bad}, "user_attributes is .*, must be an object")
        for bad in ([], "young", 0, ["young"])
    ),
    (
        {**FINE, "user_attributes": {"hour": "h1"}},
        "user_attributes: unknown key 'hour'; known: age, income",
    ),
    ({**FINE, "user_attributes": {"age": ["young"]}}, "age is"),
    ({**FINE, "user_attributes": {"income": "12"}}, "income is .* must be a number"),
    *(({**FINE, "context": bad}, "context is .*, must be an object") for bad in ([], "h1", False)),
    ({**FINE, "context": {"age": "young"}}, "context: unknown key 'age'; known: hour, temperature"),
    ({**FINE, "context": {"hour": ["h1"]}}, "hour is"),
    ({**FINE, "context": {"temperature": "warm"}}, "temperature is"),
]


@pytest.mark.parametrize("request_, words", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_end_in_one_line(bundle, request_, words):
    with pytest.raises(InputError, match=f"^request: .*{words}") as e:
        bundle.rank(request_)
    assert "\n" not in str(e.value)


def test_numbers_that_blow_up_are_refused(bundle, monkeypatch):
    """A number that float32 cannot hold once it is standardised, and scores that are no numbers for
    whatever reason."""
    price = next(f for f in bundle.schema.fields if f.name == "price")
    monkeypatch.setattr(price, "std", 1e-3)
    with pytest.raises(InputError, match="^request: price is 9e[+]37, too far outside"):
        bundle.rank({"candidates": ["i1", {"item": "i2", "price": 9e37}]})
    rank = bundle.programs["rank"]
    monkeypatch.setitem(
        bundle.programs,
        "rank",
        lambda arrays: [np.where([True, False], np.nan, rank(arrays)[0]), None],
    )
    with pytest.raises(InputError, match="^request: the scores are not finite"):
        bundle.rank({"candidates": ["i1", "i2"]})


def test_huge_ids_are_just_unknown(bundle):
    answer = bundle.rank(
        {"user": 10**400, "history": [10**300, "x" * 100_000], "candidates": [10**200, "i1"]}
    )
    assert answer["unknown_history"] == 2 and len(answer["candidates"]) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[1,", '{"candidates": [' + "9" * 5000 + "]}", "[" * 100_000, "\x00", "NaNs"]
)
def test_a_file_that_is_not_json(tmp_path, text):
    path = tmp_path / "request.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not JSON") as e:
        read_requests(str(path))
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_a_request_file_in_another_encoding_or_none(tmp_path):
    (tmp_path / "r.json").write_bytes('{"candidates": ["é"]}'.encode("latin-1"))
    with pytest.raises(InputError, match="is not JSON"):
        read_requests(str(tmp_path / "r.json"))
    with pytest.raises(InputError, match="does not exist"):
        read_requests(str(tmp_path / "none.json"))


def test_a_request_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"candidates": ["i1", 2]}'))
    assert read_requests("-") == {"candidates": ["i1", 2]}


# indices that are out of range


@pytest.mark.parametrize(
    "file, column",
    [
        ("items.parquet", "category"),
        ("items.parquet", "brand"),
        ("users.parquet", "age"),
        ("train/part-00000.parquet", "hour"),
        ("train/part-00000.parquet", "item"),
        ("train/part-00000.parquet", "user"),
        ("train/part-00000.parquet", "sequence"),
    ],
)
def test_an_index_that_equals_the_vocabulary_size_is_refused(tmp_path, file, column):
    """One too many, the classic mistake; the largest legal one is read."""
    data = small_dataset(tmp_path)
    schema = Schema.load(data)
    sizes = {f.name: f.size for f in schema.fields} | {
        "item": pq.read_table(os.path.join(data, "items.parquet")).num_rows,
        "user": pq.read_table(os.path.join(data, "users.parquet")).num_rows,
        "sequence": 60,
    }
    path = os.path.join(data, *file.split("/"))
    table = pq.read_table(path).to_pandas()
    for value, fine in ((sizes[column] - 1, True), (sizes[column], False), (-1, False)):
        table.loc[table.index[-1], column] = value
        if column == "sequence":
            table.loc[table.index[-1], "end"] = 0
        write_unlisted(data, path, table)
        if fine:
            Reader(data, "train", 64)
        else:
            with pytest.raises(
                InputError,
                match=rf"column {column}.*index {value} is outside 0…{sizes[column] - 1}",
            ):
                Reader(data, "train", 64)


def write_unlisted(data, path, table):
    """Write a changed file and take the listed sizes out of schema.yaml, as another program's
    dataset may."""
    pq.write_table(
        pq.ParquetFile(path).schema_arrow.empty_table().from_pandas(table, preserve_index=False),
        path,
    )
    schema_path = os.path.join(data, "schema.yaml")
    with open(schema_path) as f:
        text = f.read()
    with open(schema_path, "w") as f:
        f.write(text.replace(text[text.index("files:") :], "files: {}\nversion: 2\n"))


def test_ids_whose_hashes_are_equal_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(ids, "_hash", lambda texts: np.zeros(len(texts), np.uint64))
    table = pa.table({"item": [None] * FIRST_ID + ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "items.parquet")
    found = ids.item_ids(str(tmp_path)).rows(["c", "x", "a", "b", "c"])
    assert found.tolist() == [2, -1, 0, 1, 2]
