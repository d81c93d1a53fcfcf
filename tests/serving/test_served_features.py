"""Lists, vectors, event fields and hashed ids in requests, bundles and stores of events."""

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from helpers import TINY, probabilities, trained
from plain_dataset import Plain
from pydantic import ValidationError
from rich_log import WIDTH, rich_log

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.export import export
from paddleinterest.serving.history.events import Event
from paddleinterest.serving.history.load import load
from paddleinterest.serving.history.source import Histories
from paddleinterest.serving.history.sqlite_store import SqliteStore
from paddleinterest.serving.request import RequestEncoder
from paddleinterest.serving.server import openapi
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import Options, bundle_facts
from paddleinterest.serving.values import MOST_VALUES
from paddleinterest.study import attention, slices

pytestmark = pytest.mark.slow

CAP = 6
HASHED = {"item": 40, "brand": 11, "tags": 7, "action": 5, "user_id": 50}


def dataset(folder, **options):
    """`rich_log`, whose test split has users with and without a history."""
    out = str(folder / "data")
    log = rich_log(3, hashed=options.pop("hashed", {}))
    build(log, out, protocol="impressions", name="rich", seed=3, **options)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="module")
def hashed_data(tmp_path_factory):
    return dataset(
        tmp_path_factory.mktemp("hashed"), hashed=HASHED, user_id=True, recipe={"user_id": True}
    )


def bundle_of(data, folder, model="base"):
    overrides = [*TINY, "hyper_parameters.embedding_size=4", f"runner.history_cap={CAP}"]
    config, _, _ = trained(model, data, folder, *overrides, scale=0.3)
    export(config, data, str(folder / "bundle"))
    return Bundle(str(folder / "bundle"))


@pytest.fixture(scope="module")
def bundle(data, tmp_path_factory):
    return bundle_of(data, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def hashed_bundle(hashed_data, tmp_path_factory):
    return bundle_of(hashed_data, tmp_path_factory.mktemp("hashed_bundle"))


def event_fields(bundle):
    return [f for f in bundle.schema.fields if f.of == "event"]


def same_arrays(got, expected, but=("label", "user", "history_time", "target_time")):
    for name, column in expected.items():
        if name not in but:
            assert got[name].shape == column.shape, name
            np.testing.assert_allclose(got[name], column, rtol=0, atol=1e-6, err_msg=name)


def test_a_request_is_the_datasets_row(data):
    plain = Plain(data)
    encoder = RequestEncoder(data, Schema.load(data), CAP)
    reader = Reader(data, "test", 1, CAP)
    lengths = set()
    for row, sample in enumerate(plain.samples):
        batch = reader.batch(np.array([row]))
        same_arrays(encoder.encode(plain.request(sample)).arrays, batch)
        lengths.add(min(sample["end"], CAP))
    assert {0, 1, CAP} <= lengths


@pytest.mark.parametrize("model", ["base", "din", "dien", "bst", "rnn", "fm"])
def test_a_served_score_is_the_nets(data, tmp_path, model):
    """A request with a row's history gets the score that the net gives the dataset's row."""
    overrides = [*TINY, "hyper_parameters.embedding_size=4", f"runner.history_cap={CAP}"]
    config, binding, net = trained(model, data, tmp_path, *overrides, scale=0.3)
    export(config, data, str(tmp_path / "bundle"))
    bundle = Bundle(str(tmp_path / "bundle"))
    plain = Plain(data)
    times = binding.needs_times(config, Schema.load(data))
    reader = Reader(data, "test", 1, CAP, times=times)
    served = []
    for row in range(0, len(plain.samples), 2):
        batch = reader.batch(np.array([row]))
        score = bundle.rank(plain.request(plain.samples[row]))["candidates"][0]["score"]
        served.append(score)
        assert score == pytest.approx(probabilities(net, batch)[0], abs=1e-6)
    assert np.std(served) > 1e-3


def test_a_candidates_own_values_are_those_of_the_catalogue(data):
    """An item under another id, with the attributes that the catalogue has of it."""
    plain = Plain(data)
    encoder = RequestEncoder(data, Schema.load(data), CAP)
    vectors = np.load(os.path.join(data, "vectors", "text.npy"))
    rows = [k for k in range(2, len(plain.items)) if len(plain.items[k]["tags"]) != 1]
    for k in rows[:12]:
        item = plain.items[k]
        said = {
            "tags": [plain.raw("tags", index) for index in item["tags"]],
            "text": vectors[k].tolist(),
            "category": plain.raw("category", item["category"]),
        }
        one = encoder.encode({"candidates": [item["item"], plain.items[2]["item"]]}).arrays
        other = encoder.encode({"candidates": [{"item": "new", **said}, plain.items[2]["item"]]})
        for name in ("target_tags", "target_vector_text", "target_category"):
            np.testing.assert_array_equal(other.arrays[name], one[name], err_msg=name)
        assert other.arrays["target_item"][0] == 1 and not other.unknown_values


def test_lists_are_read_as_in_training(data):
    plain = Plain(data)
    encoder = RequestEncoder(data, Schema.load(data), CAP)
    words = {raw: index for index, raw in plain.words["tags"].items()}
    asked = [
        {"item": "a", "tags": ["war", "noir", "war", None]},
        {"item": "b", "tags": []},
        {"item": "c", "tags": None},
        {"item": "d", "tags": ["never seen", "war", "nor this"]},
        "e",
    ]
    found = encoder.encode({"candidates": asked, "user_attributes": {"hobby": [9, "7", 9.0]}})
    war, noir = words["war"], words["noir"]
    assert found.arrays["target_tags"].tolist() == [[war, noir], [0, 0], [0, 0], [1, war], [0, 0]]
    hobby = {raw: index for index, raw in plain.words["hobby"].items()}
    assert found.arrays["user_hobby"].tolist() == [[hobby["9"], hobby["7"]]]
    assert found.unknown_values == {"tags": 2}
    empty = encoder.encode({"candidates": ["e"], "user_attributes": {"hobby": []}})
    assert empty.arrays["user_hobby"].tolist() == [[0]]


REFUSED = {
    "a text for a list": ({"candidates": [{"item": 1, "tags": "war"}]}, "tags is 'war', must be a"),
    "a list for a text": (
        {"candidates": [{"item": 1, "category": ["a"]}]},
        "category is ['a'], must be text or a number",
    ),
    "a list in a list": ({"candidates": [{"item": 1, "tags": [["war"]]}]}, "tags is ['war'], must"),
    "too many values": (
        {"candidates": [{"item": 1, "tags": ["war"] * (MOST_VALUES + 1)}]},
        "tags has 257 values; at most 256 are taken",
    ),
    "a user's list": ({"user_attributes": {"hobby": 7}, "candidates": [1]}, "hobby is 7, must be"),
    "a short vector": (
        {"candidates": [{"item": 1, "text": [1.0]}]},
        f"text is [1.0], must be a list of {WIDTH} numbers",
    ),
    "no vector": ({"candidates": [{"item": 1, "text": 1.0}]}, "text is 1.0, must be a list"),
    "a vector of texts": ({"candidates": [{"item": 1, "text": ["1", "2", "3"]}]}, "must be a list"),
    "a large vector": ({"candidates": [{"item": 1, "text": [1e39, 0, 0]}]}, "must be a list"),
    "an unknown event field": (
        {"history": [{"item": 1, "price": 2}], "candidates": [1]},
        "history[0]: unknown key 'price'; it must have item and may have time, action, dwell",
    ),
    "an event field of another kind": (
        {"history": [{"item": 1, "dwell": "long"}], "candidates": [1]},
        "dwell is 'long', must be a number",
    ),
    "an event field of several values": (
        {"history": [{"item": 1, "action": ["buy"]}], "candidates": [1]},
        "action is ['buy'], must be text or a number",
    ),
    "an event field of a candidate": (
        {"candidates": [{"item": 1, "action": "buy"}]},
        "candidates[0]: unknown attribute 'action'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(bundle, case):
    request, words = REFUSED[case]
    with pytest.raises(InputError) as e:
        bundle.rank(request)
    assert words in str(e.value) and str(e.value).startswith("request: ")
    assert "\n" not in str(e.value)


def test_the_openapi_document_takes_the_same_requests(bundle, data):
    facts = bundle_facts(bundle, Options(bundle.directory))
    model = openapi.request_model(facts)
    with open(os.path.join(bundle.directory, "request.example.json")) as f:
        model.model_validate(json.load(f))
    plain = Plain(data)
    model.model_validate(plain.request(plain.samples[0]))
    model.model_validate({"candidates": [{"item": 1, "tags": ["war", 7], "text": [0.5, 1, 2]}]})
    for case, (request, _) in REFUSED.items():
        if case != "a short vector":  # of how many numbers, the document does not say
            with pytest.raises(ValidationError):
                model.model_validate(request)
    arrived = openapi.arrived_model(facts)
    arrived.model_validate({"user": "u", "item": 1, "action": "buy", "dwell": 2.5})
    with pytest.raises(ValidationError):
        arrived.model_validate({"user": "u", "item": 1, "dwell": "long"})
    assert json.dumps(openapi.document(facts, Limits()))


def test_event_values_that_training_never_saw_are_counted(bundle):
    history = [{"item": 100, "action": "stolen"}, {"item": 101, "action": None}, 102]
    encoded = bundle.encoder.encode({"history": history, "candidates": [100]})
    assert encoded.unknown_values == {"action": 1}
    assert encoded.arrays["event_action"].tolist() == [[1, 1, 1]]
    assert encoded.arrays["event_dense"].tolist() == [[[0.0], [0.0], [0.0]]]


# hashed -------------------------------------------------------------------------------------------


def test_new_ids_and_values_have_the_row_of_their_hash(hashed_data):
    encoder = RequestEncoder(hashed_data, Schema.load(hashed_data), CAP)
    found = encoder.encode(
        {
            "user": "new",
            "history": ["gone", {"item": 100, "action": "buy"}],
            "candidates": ["never seen", 101, {"item": 7, "brand": 5.0, "tags": ["x"]}],
        }
    )
    arrays = found.arrays
    assert arrays["target_item"][0] == hashing.bucket(["never seen"], 40)[0]
    assert arrays["target_item"][1] == hashing.bucket(["101"], 40)[0]
    assert arrays["target_item"][2] == hashing.bucket(["7"], 40)[0]
    assert arrays["target_brand"][2] == hashing.bucket(["5"], 11)[0]
    assert arrays["target_tags"][2, 0] == hashing.bucket(["x"], 7)[0]
    assert arrays["history_item"][0, 0] == hashing.bucket(["gone"], 40)[0]
    assert arrays["event_action"].tolist() == [[1, hashing.bucket(["buy"], 5)[0]]]
    assert arrays["user_user_id"] == hashing.bucket(["new"], 50)
    assert found.known.tolist() == [False, True, False] and found.known_user is False
    assert not found.unknown_values
    half = encoder.encode({"candidates": ["\ud800"], "user": "\udfff"})  # no text has this hash
    assert half.arrays["target_item"][0] >= 2


def test_hashed_events_of_a_bundle_are_the_datasets_row(hashed_bundle, hashed_data):
    """Nobody knows the raw values, but the model gets the same index."""
    reader = Reader(hashed_data, "test", 1, CAP)
    users = hashed_bundle.encoder.user_row
    whole = reader.sequences.lengths(reader.sequence) == reader.end
    rows = np.flatnonzero(whole & (reader.end > 2))
    assert len(rows) > 3
    for row in rows[:8]:
        request = {"user": users[int(reader.user[row]) - 2], "candidates": ["x"]}
        made, source = hashed_bundle.with_history(request)
        assert source == "bundle"
        arrays = hashed_bundle.encoder.encode(made).arrays
        batch = reader.batch(np.array([row]))
        own = {k: v for k, v in batch.items() if k.startswith(("history_", "event_"))}
        same_arrays(arrays, own)
        assert (batch["event_action"] > 1).any()


def test_a_store_is_not_filled_with_hashes(hashed_bundle, tmp_path, capsys):
    load(hashed_bundle.directory, f"sqlite:{tmp_path / 'e.db'}")
    assert "not loaded: action" in capsys.readouterr().err
    store = SqliteStore(str(tmp_path / "e.db"))
    events = [e for user in hashed_bundle.encoder.user_row for e in store.latest(user, 99)]
    assert any("dwell" in e.fields for e in events)
    assert not any("action" in e.fields for e in events)


# bundles ------------------------------------------------------------------------------------------


def test_a_bundle_has_what_it_needs(bundle, data, tmp_path):
    files = set(bundle.schema.files)
    assert {"vectors/text.npy", "vocab/tags.parquet", "vocab/action.parquet"} <= files
    moved = tmp_path / "moved"
    shutil.copytree(bundle.directory, moved)
    request = Plain(data).request(Plain(data).samples[0])
    assert Bundle(str(moved)).rank(request) == bundle.rank(request)
    (moved / "vectors" / "text.npy").unlink()
    with pytest.raises(InputError, match=r"text\.npy"):
        Bundle(str(moved))


def test_vectors_that_started_the_item_table_are_not_carried(data, tmp_path):
    """Nothing in the bundle reads them, so it lacks them, and a request that gives one is
    refused."""
    overrides = [*TINY, "hyper_parameters.embedding_size=3", "hyper_parameters.vectors=start"]
    config, _, net = trained("base", data, tmp_path, *overrides, scale=0.3)
    export(config, data, str(tmp_path / "bundle"))
    bundle = Bundle(str(tmp_path / "bundle"))
    assert not [name for name in bundle.schema.files if name.startswith("vectors/")]
    bundle.check_data(data)
    request = Plain(data).request(Plain(data).samples[0])
    cap = bundle.encoder.cap
    batch = Reader(data, "test", 1, cap, vectors=False).batch(np.array([0]))
    score = bundle.rank(request)["candidates"][0]["score"]
    assert score == pytest.approx(probabilities(net, batch)[0], abs=1e-6)
    item = request["candidates"][0]
    with pytest.raises(InputError, match=r"candidates\[0\]: text started the item table"):
        bundle.rank({**request, "candidates": [{"item": item, "text": [0.5] * WIDTH}]})
    facts = bundle_facts(bundle, Options(str(tmp_path / "bundle")))
    assert "text" not in facts["item_attributes"] and "tags" in facts["item_attributes"]


def test_stored_events_have_their_fields(bundle, data):
    plain = Plain(data)
    seen = 0
    for user, row in enumerate(plain.sequences):
        expected = plain.request(
            {"sequence": user, "end": len(row["item"]), "user": 2 + user, "item": 2}
            | {"time": 0, "device": 1, "wait": 0.0}
        )["history"][-CAP:]
        found = bundle.histories.own.latest(plain.users[2 + user]["user"], CAP)
        assert [e.as_request() for e in found] == [{**e, "item": str(e["item"])} for e in expected]
        seen += sum("action" in e for e in expected)
    assert seen > 20


def test_the_example_has_lists_and_event_fields(bundle):
    with open(os.path.join(bundle.directory, "request.example.json")) as f:
        request = json.load(f)
    assert isinstance(request["candidates"][0]["tags"], list)
    assert isinstance(request["user_attributes"]["hobby"], list)
    assert {"action", "dwell"} & {key for event in request["history"] for key in event}
    answer = bundle.rank(request)
    assert len(answer["candidates"]) == 5 and not answer["unknown_values"]


def test_a_dataset_with_other_vectors_is_another(bundle, data, tmp_path):
    bundle.check_data(data)
    log = rich_log(3)
    log.items["text"] = [None if t is None else [x + 1 for x in t] for t in log.items["text"]]
    build(log, str(tmp_path / "d"), protocol="impressions", name="rich", seed=3)
    with pytest.raises(InputError, match=r"these differ: vectors/text\.npy"):
        bundle.check_data(str(tmp_path / "d"))


# stores -------------------------------------------------------------------------------------------


@pytest.fixture
def histories(bundle):
    store = SqliteStore(":memory:")
    yield Histories(None, store, True, event_fields(bundle))
    store.close()


def test_a_store_keeps_event_fields(histories):
    histories.append({"user": "u", "item": 7, "time": 5, "action": "buy", "dwell": 2.5}, 9)
    histories.append({"user": "u", "item": 8, "time": 6, "action": None}, 9)
    events, _ = histories.latest("u", 9)
    assert events == [Event("7", 5, {"action": "buy", "dwell": 2.5}), Event("8", 6)]


BAD_EVENTS = [
    ({"action": ["buy"]}, r"events\[0\].action is \['buy'\], must be text or a number"),
    ({"dwell": "long"}, r"events\[0\].dwell is 'long', must be a number"),
    ({"dwell": 1e300}, r"events\[0\].dwell is 1e\+300, must be a number"),
    ({"action": "x" * 2000}, r"events\[0\].action is "),
    ({"price": 5}, r"unknown key 'price'; an event has user, item, time, action, dwell"),
]


@pytest.mark.parametrize("said, words", BAD_EVENTS)
def test_events_that_no_request_could_have_are_refused(histories, said, words):
    with pytest.raises(InputError, match=words):
        histories.append([{"user": "u", "item": 1, "time": 5, **said}], 9)
    assert histories.latest("u", 9)[0] == []


def test_fields_that_a_bundle_does_not_know_are_left_out(bundle):
    """A store outlives a bundle."""
    store = SqliteStore(":memory:")
    store.append([("u", Event("1", 5, {"action": "buy", "old": 3, "dwell": "a text now"}))])
    known = Histories(None, store, True, event_fields(bundle))
    assert known.latest("u", 9)[0] == [Event("1", 5, {"action": "buy"})]
    assert Histories(None, store, True).latest("u", 9)[0] == [Event("1", 5)]


def test_a_sqlite_file_of_before_is_read_and_written(tmp_path):
    path = str(tmp_path / "old.db")
    file = sqlite3.connect(path)
    file.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, user TEXT NOT NULL, time INTEGER NOT NULL,"
        " item TEXT NOT NULL)"
    )
    file.execute("INSERT INTO events (user, time, item) VALUES ('u', 5, 'i')")
    file.commit()
    file.close()
    for _ in range(2):
        store = SqliteStore(path)
        store.append([("u", Event("j", 6, {"action": "buy"}))])
        store.close()
    store = SqliteStore(path)
    assert store.latest("u", 9) == [Event("i", 5), *[Event("j", 6, {"action": "buy"})] * 2]
    store.close()


# pictures and slices ------------------------------------------------------------------------------


def test_the_attention_picture_names_all_values(bundle, data):
    plain = Plain(data)
    item = next(row for row in plain.items[2:] if len(row["tags"]) > 1)
    request = {"candidates": [{"item": "new", "tags": ["war", "noir"]}, item["item"]]}
    said = attention.attribute(bundle, "tags", request)
    assert said["new"] == "war, noir"
    assert said[str(item["item"])] == ", ".join(plain.raw("tags", k) for k in item["tags"])
    sample = max(plain.samples, key=lambda s: s["end"])
    user = plain.users[sample["user"]]["user"]
    history = attention.request_of_user(bundle, data, user)["history"]
    assert any("action" in event for event in history)
    assert attention.request_of_user(bundle, data, user, events=2)["history"] == history[-2:]


def test_a_shown_attribute_that_is_hashed_is_refused(hashed_bundle):
    with pytest.raises(InputError, match="--show tags: .*hashed"):
        attention.attribute(hashed_bundle, "tags", {"candidates": ["x"]})


def test_slices_by_a_value_in_common(data):
    plain = Plain(data)
    reader = Reader(data, "test", 1)
    found = next(s for s in slices.slices_of(reader) if s.of == "tags")
    for row, sample in enumerate(plain.samples):
        past = plain.sequences[sample["sequence"]]["item"][: sample["end"]]
        tags = set(plain.items[sample["item"]]["tags"])
        same = any(tags & set(plain.items[k]["tags"]) for k in past)
        assert found.groups[found.group[row]] == ("same" if same else "other")
