"""A run that starts from yesterday's on another dataset: every row by its raw value, compared by
plain dictionaries."""

import dataclasses
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import small_log
from runs import arrays, ran, settings_for

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.data.matching import Dataset
from paddleinterest.data.schema import Schema
from paddleinterest.training import checkpoint, loading
from paddleinterest.training.init_from import init_from

pytestmark = pytest.mark.slow

TABLE = "embeddings.tables.{}.weight"


def tomorrow():
    """Another log: other users and events, some items are gone, and some new."""
    log = small_log(seed=5, users=40, items=80)
    for frame in (log.events, log.items):
        frame["item"] = [f"i{int(x[1:]) + 30}" for x in frame["item"]]
    return dataclasses.replace(log, items=log.items.assign(brand=log.items["brand"] + "x"))


def prepared(log, out, **options):
    build(log, str(out), protocol="impressions", name=out.name, seed=3, **options)
    return str(out)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Monday's dataset and run; Tuesday's dataset, which extends it; the same log by itself."""
    where = tmp_path_factory.mktemp("days")
    monday = prepared(small_log(), where / "monday")
    tuesday = prepared(tomorrow(), where / "tuesday", extend=monday)
    alone = prepared(tomorrow(), where / "alone")
    ran(monday, where / "runs", "runner.epochs=2")
    return where, monday, tuesday, alone


def values(data, field):
    """Raw values of a field's rows as texts; None for padding and unknown."""
    schema = Schema.load(data)
    size = next(f.size for f in schema.fields if f.name == field)
    if field == "item":
        texts = pq.read_table(os.path.join(data, "items.parquet"))["item"].to_pylist()
        return [None, None, *map(str, texts[2:size])]
    table = pq.read_table(os.path.join(data, "vocab", f"{field}.parquet")).to_pylist()
    found = [None] * size
    for row in table:
        found[row["index"]] = row["value"]
    return found


def check_rows(given, found, before, now, field, key):
    """Every row that both datasets know is the same; the others are as the row of unknown values.
    Returns how many of each."""
    old = {v: k for k, v in enumerate(values(before, field)) if v is not None}
    new_values = values(now, field)
    assert len(found[key]) == len(new_values)
    same = 0
    for k, value in enumerate(new_values[2:], 2):
        same += value in old
        row = given[key][old[value]] if value in old else given[key][1]
        assert np.array_equal(found[key][k], row), (field, value)
    for k in (0, 1):
        assert np.array_equal(found[key][k], given[key][k])
    return same, len(new_values) - 2 - same


def started(data, *flags, model="din"):
    """The arrays of a net and its optimiser before the first step, as a checkpoint names them."""
    config = settings_for(data, "nowhere", *flags, model=model)
    schema = Schema.load(data)
    binding = loading.bind(config)
    net = loading.create_net(binding, config, schema)
    optimizer = binding.create_optimizer(net, config)
    init_from(config, net, optimizer, Dataset(data, schema))
    moments = checkpoint.moments(net, optimizer)
    return {
        **{f"weights/{k}": v.numpy() for k, v in net.state_dict().items()},
        **{f"optimizer/{k}": v.numpy() for k, v in moments.items()},
    }


@pytest.mark.parametrize("which", ["tuesday", "alone"])
def test_every_row_by_its_raw_value(days, which):
    """Whether Tuesday's dataset keeps Monday's indices or has its own."""
    where, monday, tuesday, alone = days
    data = {"tuesday": tuesday, "alone": alone}[which]
    past = str(where / "runs" / "din" / "monday")
    found = started(data, f"runner.init_from={past}")
    given = arrays(past, "best")
    moved = 0
    for field in ("item", "category", "brand", "maker", "age", "hour"):
        key = "weights/" + TABLE.format(field)
        same, new = check_rows(given, found, monday, data, field, key)
        assert same or field == "brand"
        moved += new
    assert moved > 20
    rest = [k for k in given if k.startswith("weights/") and "tables" not in k]
    assert rest and all(np.array_equal(given[k], found[k]) for k in rest)


def test_moments_and_counts_too(days):
    where, monday, tuesday, _ = days
    past = str(where / "runs" / "din" / "monday")
    found = started(tuesday, f"runner.init_from={past}")
    given = arrays(past, "latest")
    names = {k for k in given if k.startswith("optimizer/")}
    assert {k for k in found if k.startswith("optimizer/")} == names and len(names) > 20
    for field in ("item", "brand"):
        old = {v: k for k, v in enumerate(values(monday, field)) if v is not None}
        for moment in ("moment1_0", "moment2_0"):
            key = f"optimizer/{TABLE.format(field)}/{moment}"
            assert np.abs(given[key]).max() > 0
            for k, value in enumerate(values(tuesday, field)[2:], 2):
                row = given[key][old[value]] if value in old else np.zeros_like(given[key][0])
                assert np.array_equal(found[key][k], row), (key, value)
    rest = [k for k in names if "tables" not in k or "pow_acc" in k]
    assert any("pow_acc" in k for k in rest)
    assert all(np.array_equal(given[k], found[k]) for k in rest)


def test_another_optimizer_starts_its_own_moments(days):
    where, _, tuesday, _ = days
    flags = [f"runner.init_from={where / 'runs' / 'din' / 'monday'}"]
    found = started(tuesday, *flags, "hyper_parameters.optimizer.class=adagrad")
    assert not any("moment1_0" in k for k in found)


def test_new_items_from_their_attributes(days):
    where, monday, tuesday, _ = days
    past = str(where / "runs" / "din" / "monday")
    found = started(tuesday, f"runner.init_from={past}", "runner.init_new_rows=attributes")
    key = "weights/" + TABLE.format("item")
    given = arrays(past, "best")[key]
    known = values(monday, "item")[2:]
    now = values(tuesday, "item")
    items = pq.read_table(os.path.join(tuesday, "items.parquet")).to_pandas()
    fresh = 0
    for k, value in enumerate(now[2:], 2):
        if value in known:
            continue
        means = []
        for name in ("category", "brand", "maker"):
            mine = items[name][k]
            alike = [j for j in range(2, len(now)) if now[j] in known and items[name][j] == mine]
            if mine > 1 and alike:
                means.append(found[key][alike].mean(0))
        expected = np.mean(means, 0) if means else given[1]
        assert np.allclose(found[key][k], expected, atol=1e-6)
        fresh += bool(means)
    assert fresh > 5


def test_other_models_have_tables_of_their_own(tmp_path, days):
    """wide_deep: a weight for each id, of target and history; and crosses of two indices, which
    are drawn anew if indices moved."""
    where, monday, tuesday, alone = days
    ran(monday, tmp_path / "runs", "runner.epochs=1", model="wide_deep")
    past = str(tmp_path / "runs" / "wide_deep" / "monday")
    given = arrays(past, "best")
    crosses = [k for k in given if k.startswith("weights/") and "cross" in k]
    for name, data in (("tuesday", tuesday), ("alone", alone)):
        found = started(data, f"runner.init_from={past}", model="wide_deep")
        for of in ("history", "target"):
            key = f"weights/linear.tables.{of}_item.weight"
            check_rows(given, found, monday, data, "item", key)
        for key in crosses:
            assert np.array_equal(given[key], found[key]) == (name == "tuesday")
    assert crosses


def test_a_resumed_run_needs_yesterday_no_more(tmp_path, days):
    where, _, tuesday, _ = days
    shutil.copytree(where / "runs", tmp_path / "past")
    flags = [f"runner.init_from={tmp_path / 'past' / 'din' / 'monday'}"]
    ran(tuesday, tmp_path / "runs", "runner.epochs=1", *flags)
    shutil.rmtree(tmp_path / "past")
    _, out, found = ran(tuesday, tmp_path / "runs", "runner.epochs=2", "runner.resume=true", *flags)
    assert found["state"]["epoch"] == 2


def test_a_checkpoint_may_be_named(days):
    where, _, tuesday, _ = days
    run = where / "runs" / "din" / "monday"
    one = started(tuesday, f"runner.init_from={run}/checkpoints/best.npz")
    two = started(tuesday, f"runner.init_from={run}")
    key = "weights/" + TABLE.format("item")
    assert np.array_equal(one[key], two[key])


def test_what_does_not_fit_is_refused(tmp_path, days):
    where, monday, tuesday, alone = days
    past = where / "runs" / "din" / "monday"
    best = past / "checkpoints" / "best.npz"
    for flags, words in (
        ([f"runner.init_from={past}", f"runner.warm_start={best}"], "leave out one"),
        ([f"runner.init_from={tmp_path / 'gone'}"], "must be the folder of a run"),
        ([f"runner.init_from={past}", "hyper_parameters.embedding_size=6"], "does not fit this"),
    ):
        with pytest.raises(InputError, match=words):
            ran(tuesday, tmp_path / "runs", *flags)
        assert not (tmp_path / "runs").exists()
    with pytest.raises(InputError, match="is a checkpoint of model din, not of base"):
        ran(tuesday, tmp_path / "runs", f"runner.init_from={past}", model="base")


def test_yesterdays_dataset_must_be_there_as_it_was(tmp_path):
    monday = prepared(small_log(), tmp_path / "monday")
    tuesday = prepared(tomorrow(), tmp_path / "tuesday", extend=monday)
    ran(monday, tmp_path / "runs", "runner.epochs=1")
    past = tmp_path / "runs" / "din" / "monday"
    prepared(small_log(seed=9), tmp_path / "monday", overwrite=True)
    with pytest.raises(InputError, match="was trained on other data than .*monday is now"):
        ran(tuesday, tmp_path / "runs", f"runner.init_from={past}")
    (tmp_path / "monday").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="needs the dataset that it was trained on"):
        ran(tuesday, tmp_path / "runs", f"runner.init_from={past}")
