"""--withhold: train holds nothing of the withheld items, checked from the raw log with pandas; and
AUC on them."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import small_log
from random_log import random_log
from sklearn.metrics import roc_auc_score

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.prepare import make_recipe, prepare, without
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, UNKNOWN
from paddleinterest.data.tables import ItemTable
from paddleinterest.data.withhold import withheld
from paddleinterest.study import slices
from paddleinterest.training.new_items import auc_withheld, is_withheld

SHARE = 0.3


def picked(log):
    ids = sorted(set(log.events.item) | set(log.items.item))
    return set(np.array(ids, object)[withheld(pa.array(ids), SHARE)])


def samples_of(data, split):
    """(user, item, label, history) of every sample, in raw ids, with pyarrow alone."""
    items = pq.read_table(os.path.join(data, "items.parquet"))["item"].to_pylist()
    users = pq.read_table(os.path.join(data, "users.parquet"))["user"].to_pylist()
    folder = os.path.join(data, "sequences")
    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    sequences = [r for f in files for r in pa.ipc.open_file(f).read_all()["item"].to_pylist()]
    rows = pq.read_table(os.path.join(data, split), partitioning=None).to_pylist()
    return [
        (
            users[row["user"]],
            items[row["item"]],
            row["label"],
            tuple(items[k] for k in sequences[row["sequence"]][: row["end"]]),
        )
        for row in rows
    ]


def test_impressions_from_the_raw_log(tmp_path):
    log = small_log()
    data = str(tmp_path / "d")
    build(log, data, protocol="impressions", name="d", withhold=SHARE)
    new = picked(log)
    assert 10 < len(new) < 45
    events = log.events
    times = np.sort(events.time)
    cut, second = (times[int(share * (len(times) - 1))] for share in (0.8, 0.9))
    hidden = events.item.isin(new) & (events.time <= cut)
    clicks = events[(events.label == 1) & ~hidden].sort_values("time", kind="stable")
    by_user = dict(list(clicks.groupby("user")))
    none = clicks.iloc[:0]
    ranges = {"train": (0, cut), "valid": (cut, second), "test": (second, np.inf)}
    for split, (low, high) in ranges.items():
        rows = events[(events.time > low) & (events.time <= high) & ~hidden]
        expected = []
        for row in rows.itertuples():
            own = by_user.get(row.user, none)
            past = own[own.time < row.time]
            expected.append((row.user, row.item, row.label, tuple(past.item)))
        assert sorted(samples_of(data, split)) == sorted(expected), split
    assert any(new & set(history) for _, _, _, history in samples_of(data, "test"))
    assert any(item in new for _, item, _, _ in samples_of(data, "valid"))


@pytest.mark.parametrize(
    "protocol", ["every_prefix", "by_time", "by_user", "by_day", "impressions"]
)
def test_train_holds_no_withheld_item(tmp_path, protocol):
    """Not as a target, not as a negative, prepared or drawn anew, not in a history."""
    log = random_log(4) if protocol == "by_time" else small_log()
    data = str(tmp_path / "d")
    build(log, data, protocol=protocol, name="d", withhold=SHARE)
    new = picked(log)
    train = samples_of(data, "train")
    assert len(train) > 100
    for _, item, _, history in train:
        assert item not in new and not new & set(history)
    assert any(item in new and label for _, item, label, _ in samples_of(data, "test"))
    assert any(item in new and not label for _, item, label, _ in samples_of(data, "test"))
    if protocol == "every_prefix":
        reader = Reader(data, "train", 64, 12, negatives="uniform", targets="fresh", per_positive=4)
        for batch in reader.epoch(1):  # a withheld item would be UNKNOWN
            for name in ("target_item", "history_item", "negative_item"):
                assert (batch[name] != UNKNOWN).all(), name
            assert (batch["label"] == 0).sum() == 4 * (batch["label"] == 1).sum()


def test_every_prefix_from_the_raw_log(tmp_path):
    log = small_log()
    data = str(tmp_path / "d")
    build(log, data, protocol="every_prefix", name="d", withhold=SHARE)
    new = picked(log)
    expected = {"train": [], "valid": [], "test": []}
    clicks = log.events[log.events.label == 1].sort_values("time", kind="stable")
    for user, own in clicks.groupby("user"):
        items = own.item.tolist()
        if len(items) < 4 or own.time.duplicated().any():
            continue
        kept = [k not in new for k in items[:-2]] + [True, True]
        for at in range(1, len(items)):
            split = "test" if at == len(items) - 1 else "valid" if at == len(items) - 2 else "train"
            if kept[at]:
                past = tuple(i for i, stays in zip(items[:at], kept, strict=False) if stays)
                expected[split].append((user, items[at], past))
    some = {user for user, _, _ in expected["test"]}
    assert len(some) > 20
    for split, rows in expected.items():
        got = [(u, i, h) for u, i, label, h in samples_of(data, split) if label and u in some]
        assert sorted(got) == sorted(rows), split


def test_a_withheld_item_is_unknown_and_has_its_attributes(tmp_path):
    log = small_log()
    data = str(tmp_path / "d")
    schema = build(log, data, protocol="impressions", name="d", withhold=SHARE)
    items = ItemTable(data, schema)
    ids = pq.read_table(os.path.join(data, "items.parquet"))["item"].to_pylist()
    new = np.array([raw in picked(log) for raw in ids])
    assert (items.fields["item"][new] == UNKNOWN).all()
    assert (items.fields["item"][FIRST_ID:][~new[FIRST_ID:]] > UNKNOWN).mean() > 0.9
    assert (items.fields["category"][new] > UNKNOWN).all()
    assert schema.counts["items_withheld"] == new.sum()
    assert schema.recipe["withhold"] == SHARE


def test_auc_of_the_withheld(tmp_path, rng):
    log = small_log()
    data = str(tmp_path / "d")
    build(log, data, protocol="impressions", name="d", withhold=SHARE)
    reader = Reader(data, "test", 64, 12)
    score = rng.random(reader.rows)
    rows = pd.DataFrame(samples_of(data, "test"), columns=["user", "item", "label", "history"])
    new = rows.item.isin(picked(log)).to_numpy()
    assert (is_withheld(reader) == new).all()
    expected = roc_auc_score(rows.label[new], score[new])
    assert auc_withheld(reader, score) == {"auc_withheld": pytest.approx(expected)}
    (one,) = [each for each in slices.slices_of(reader) if each.name == "withheld"]
    figures = slices.figures(one, reader.label, score)
    assert one.groups == ["not_withheld", "withheld"]
    assert figures.auc[1] == pytest.approx(expected)
    assert slices.rows_of(one).tolist() == [(~new).sum(), new.sum()]


def test_nothing_changes_without_it(data):
    reader = Reader(data, "test", 64, 12)
    assert is_withheld(reader) is None and auc_withheld(reader, np.zeros(reader.rows)) == {}
    assert "withheld" not in [each.name for each in slices.slices_of(reader)]


def test_the_choice_depends_on_the_id_alone():
    ids = [str(k) for k in range(20_000)]
    few, more = (withheld(pa.array(ids), share) for share in (0.1, 0.2))
    assert abs(few.mean() - 0.1) < 0.01 and abs(more.mean() - 0.2) < 0.01
    assert not (few & ~more).any()
    assert (withheld(pa.array(range(20_000)), 0.1) == few).all()
    assert (withheld(pa.array(ids[::-1]), 0.1)[::-1] == few).all()
    assert not withheld(pa.array(ids), 0).any()


def test_both_engines_give_the_same_bytes(tmp_path):
    made = [
        build(
            small_log(),
            str(tmp_path / e),
            protocol="every_prefix",
            name="d",
            engine=e,
            withhold=0.2,
        )
        for e in ("memory", "duckdb")
    ]
    assert made[0].files == made[1].files


@pytest.mark.parametrize(
    "options, words",
    [
        ({"withhold": 1.0}, "must be a share of the items, from 0 to below 1"),
        ({"withhold": -0.1}, "must be a share"),
        ({"withhold": 0.1, "protocol": "last_event"}, "does not fit protocol last_event"),
        ({"withhold": 0.1, "extend": "yesterday"}, "does not fit --extend"),
        ({"without": ["colour"]}, "--without names 'colour', which is not an attribute"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options, words):
    recipe = {"source": "synthetic", "users": 30, "items": 60, "protocol": "impressions", **options}
    with pytest.raises(InputError, match=words):
        prepare(make_recipe({**recipe, "out": str(tmp_path / "d")}))
    assert not os.listdir(tmp_path)


def test_attributes_that_are_left_out(tmp_path):
    log = without(small_log(), ["price", "age"])
    assert list(log.items) == ["item", "category", "brand", "maker"] and log.dense == []
    assert list(log.users) == ["user"]
    recipe = {"source": "synthetic", "users": 40, "items": 60, "protocol": "impressions"}
    names = {}
    for out, vectors, left in (("a", True, ["price", "brand"]), ("b", True, ["text", "category"])):
        more = {"vectors": vectors, "without": left, "out": str(tmp_path / out)}
        schema, _ = prepare(make_recipe({**recipe, **more}))
        names[out] = {f.name for f in schema.fields if f.of == "item"}
        assert schema.recipe["without"] == left
    assert names["a"] == {"item", "category", "department", "text"}
    assert names["b"] == {"item", "department", "brand", "price"}


def test_a_recipe_finds_the_dataset_that_it_made(tmp_path):
    """The trainer prepares a recipe once, and again only if its options differ."""
    recipe = {"source": "synthetic", "users": 40, "items": 60, "protocol": "impressions"}
    recipe |= {"withhold": 0.2, "without": ["brand"], "out": str(tmp_path / "d")}
    schema, _ = prepare(make_recipe(recipe))
    assert make_recipe(recipe).in_force() == schema.recipe
    assert make_recipe({**recipe, "withhold": 0.3}).in_force() != schema.recipe
