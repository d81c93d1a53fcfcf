"""Tomorrow's dataset keeps every index of yesterday's, checked by raw value."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from random_log import random_log
from rich_log import rich_log
from test_builder import files

from paddleinterest.core.errors import InputError
from paddleinterest.data import builder
from paddleinterest.data.builder import build
from paddleinterest.data.prepare import make_recipe, prepare
from paddleinterest.data.schema import Schema


def make(log, out, protocol="every_prefix", **options):
    return build(log, str(out), protocol=protocol, name="test", **options)


def indices(folder):
    """{field: {raw value as text: index}} of all categories that have raw values."""
    schema = Schema.load(str(folder))
    found = {}
    for field in schema.fields:
        if field.kind != "category" or field.hashed:
            continue
        if field.name == "item":
            ids = pq.read_table(folder / "items.parquet")["item"].to_pylist()
            found["item"] = {str(ids[k]): k for k in range(2, field.size)}
        else:
            table = pq.read_table(folder / "vocab" / f"{field.name}.parquet")
            pairs = zip(table["value"].to_pylist(), table["index"].to_pylist(), strict=True)
            found[field.name] = dict(pairs)
        assert sorted(found[field.name].values()) == list(range(2, field.size))
    return found


def later(seed, past, most=200):
    """Another log, whose items are numbered from 90 on and partly those of `past`."""
    log = rich_log(seed, users=50)
    shift = {"item": -10}
    for frame in (log.events, log.items):
        frame["item"] += shift["item"]
    log.items.loc[log.items.index[::3], "category"] = "new kind"
    log.users["city"] = log.users["city"].replace("x", "z")
    log.events["device"] = log.events["device"].replace("tv", "watch")
    keep = log.items["item"] % 7 != 0  # some items are listed no more
    return dataclasses.replace(log, items=log.items[keep].reset_index(drop=True))


@pytest.mark.parametrize("protocol", ["every_prefix", "last_event", "impressions"])
def test_every_index_of_yesterday_stays(tmp_path, protocol):
    make(rich_log(1, users=70), tmp_path / "monday", protocol, user_id=True)
    log = later(2, None)
    schema = make(
        log, tmp_path / "tuesday", protocol, user_id=True, extend=str(tmp_path / "monday")
    )
    before, now = indices(tmp_path / "monday"), indices(tmp_path / "tuesday")
    assert before.keys() == now.keys() and len(before) >= 8
    for name, known in before.items():
        assert {value: now[name][value] for value in known} == known
    assert len(now["item"]) > len(before["item"])
    assert "new kind" in now["category"] and "z" in now["city"]
    # what is said is what happened
    alone = make(later(2, None), tmp_path / "alone", protocol, user_id=True)
    seen = indices(tmp_path / "alone")
    for name, facts in schema.counts["extends"].items():
        assert facts["kept"] == len(before[name])
        assert facts["added"] == len(seen[name].keys() - before[name].keys())
        assert len(now[name]) == facts["kept"] + facts["added"]
        if name not in ("category", "brand", "tags"):  # items that are not listed keep theirs
            assert facts["not_seen"] == len(before[name].keys() - seen[name].keys())
    # numbers are standardised as yesterday
    dense = {f.name: (f.mean, f.std) for f in Schema.load(str(tmp_path / "monday")).fields}
    for field in schema.fields:
        if field.kind == "dense":
            assert (field.mean, field.std) == dense[field.name]
    assert schema.rows == alone.rows


def raw_items(folder):
    """{item: its attributes as raw values} out of a dataset's own files, by pandas."""
    schema = Schema.load(str(folder))
    table = pd.DataFrame(pq.read_table(folder / "items.parquet").to_pylist(), dtype=object)
    for field in schema.fields:
        if field.of == "item" and field.kind == "vector":
            rows = np.load(folder / "vectors" / f"{field.name}.npy")
            table[field.name] = [tuple(row.tolist()) for row in rows]
        elif field.of == "item" and field.kind == "category" and field.name != "item":
            name = field.name
            value = {k: v for v, k in indices(folder)[name].items()}
            if field.multiple:
                table[name] = [[value.get(k) for k in cell if k > 1] for cell in table[name]]
            else:
                table[name] = [value.get(k) for k in table[name]]
    columns = [f.name for f in schema.fields if f.of == "item" and f.name != "item"]
    return {
        str(row["item"]): [row[name] for name in columns] for _, row in table.iloc[2:].iterrows()
    }


def test_an_item_that_is_gone_keeps_its_attributes(tmp_path):
    monday = rich_log(1, users=70)
    make(monday, tmp_path / "monday")
    log = later(2, None)
    make(log, tmp_path / "tuesday", extend=str(tmp_path / "monday"))
    gone = indices(tmp_path / "monday")["item"].keys() - set(log.items["item"].astype(str))
    before, now = raw_items(tmp_path / "monday"), raw_items(tmp_path / "tuesday")
    assert len(gone) >= 4
    for item in gone:
        for was, found in zip(before[item], now[item], strict=True):
            assert found == was or (found != found and was != was)
    # and the others have today's
    tags = dict(zip(log.items["item"].astype(str), log.items["tags"], strict=True))
    place = [f.name for f in Schema.load(str(tmp_path / "tuesday")).fields if f.of == "item"]
    place = place.index("tags") - 1
    for item, cell in tags.items():
        assert set(now[item][place]) <= set(cell or [])


def test_items_that_only_yesterday_knew_are_no_negatives(tmp_path):
    make(random_log(1, users=70, labels=False), tmp_path / "monday")
    log = random_log(2, users=70, labels=False)
    log.events["item"] += 1000
    log.items["item"] += 1000
    make(log, tmp_path / "tuesday", extend=str(tmp_path / "monday"))
    ids = np.array(pq.read_table(tmp_path / "tuesday" / "items.parquet")["item"].to_pylist())
    today = {*log.events["item"], *log.items["item"]}
    for split in ("train", "valid", "test"):
        samples = pq.read_table(tmp_path / "tuesday" / split, partitioning=None).to_pandas()
        assert len(samples) and set(ids[samples["item"]]) <= today
    negatives = samples[samples["label"] == 0]
    assert set(ids[negatives["item"]]) - set(log.events["item"])  # listed, and never seen


def test_every_engine_extends_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "PART_EVENTS", 90)
    make(rich_log(1, users=70), tmp_path / "monday")
    for engine in ("memory", "duckdb"):
        make(later(2, None), tmp_path / engine, extend=str(tmp_path / "monday"), engine=engine)
    one, two = files(tmp_path / "memory"), files(tmp_path / "duckdb")
    assert one == two and len(one) > 10


def test_a_third_day(tmp_path):
    """Nothing moves when the same log comes again, and a later day keeps what two days added."""
    make(rich_log(1), tmp_path / "1")
    make(rich_log(1), tmp_path / "same", extend=str(tmp_path / "1"))
    one, same = files(tmp_path / "1"), files(tmp_path / "same")
    assert {k: v for k, v in one.items() if k != "schema.yaml"} == {
        k: v for k, v in same.items() if k != "schema.yaml"
    }
    make(later(2, None), tmp_path / "2", extend=str(tmp_path / "1"))
    make(rich_log(3), tmp_path / "3", extend=str(tmp_path / "2"))
    second, third = indices(tmp_path / "2"), indices(tmp_path / "3")
    for name, known in second.items():
        assert {value: third[name][value] for value in known} == known


def test_hashed_items_need_no_list(tmp_path):
    hashed = {"item": 40, "device": 3}
    make(rich_log(1, hashed=hashed), tmp_path / "monday")
    log = dataclasses.replace(later(2, None), hashed=hashed)
    schema = make(log, tmp_path / "tuesday", extend=str(tmp_path / "monday"))
    assert not schema.counts["extends"].keys() & hashed.keys()
    assert schema.fields[0].size == 42
    log = dataclasses.replace(later(2, None), hashed={"item": 41, "device": 3})
    with pytest.raises(InputError, match="'item' has 40 hashed rows there and 41 here"):
        make(log, tmp_path / "other", extend=str(tmp_path / "monday"))


def test_ids_that_are_texts_on_one_day(tmp_path):
    """7 of one day and "7" of another are the same item, whichever came first."""
    for first, second in (("int64", str), (str, "int64")):
        logs = [random_log(1, users=70, labels=False), random_log(2, users=70, labels=False)]
        for log, kind in zip(logs, (first, second), strict=True):
            log.events["item"] = log.events["item"].astype(kind)
            log.items["item"] = log.items["item"].astype(kind)
        where = tmp_path / str(first)
        make(logs[0], where / "monday")
        make(logs[1], where / "tuesday", extend=str(where / "monday"))
        before, now = indices(where / "monday")["item"], indices(where / "tuesday")["item"]
        assert {value: now[value] for value in before} == before


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda log: log.items.drop(columns="category"), "has the field 'category', this log has"),
        (lambda log: log.items.assign(colour="red"), "has no field 'colour'"),
    ],
)
def test_other_fields_are_refused(tmp_path, change, words):
    make(random_log(1), tmp_path / "monday")
    log = random_log(2)
    log = dataclasses.replace(log, items=change(log))
    with pytest.raises(InputError, match=words):
        make(log, tmp_path / "tuesday", extend=str(tmp_path / "monday"))
    assert [p.name for p in tmp_path.iterdir()] == ["monday"]


def test_a_field_of_another_kind_is_refused(tmp_path):
    make(random_log(1), tmp_path / "monday")
    log = random_log(2)
    log = dataclasses.replace(log, dense=["wait"])
    with pytest.raises(InputError, match="'price' has kind dense there and category here"):
        make(log, tmp_path / "tuesday", extend=str(tmp_path / "monday"))


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="no prepared dataset at"):
        make(random_log(1), tmp_path / "tuesday", extend=str(tmp_path / "gone"))
    make(random_log(1), tmp_path / "monday")
    path = tmp_path / "monday" / "vocab" / "category.parquet"
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(InputError, match="category.parquet"):
        make(random_log(2), tmp_path / "tuesday", extend=str(tmp_path / "monday"))
    assert [p.name for p in tmp_path.iterdir()] == ["monday"]


def test_extend_is_a_flag(tmp_path):
    same = {"source": "synthetic", "users": 60, "impressions": 30, "items": 60}
    same["protocol"] = "impressions"
    prepare(make_recipe({**same, "out": str(tmp_path / "monday")}))
    more = {"extend": str(tmp_path / "monday"), "seed": 7}
    schema, _ = prepare(make_recipe({**same, **more, "out": str(tmp_path / "tuesday")}))
    before, now = indices(tmp_path / "monday"), indices(tmp_path / "tuesday")
    assert before["item"].items() <= now["item"].items() and schema.counts["extends"]
    with pytest.raises(InputError, match="--extend and --out are both"):
        prepare(make_recipe({**same, **more, "out": str(tmp_path / "monday"), "overwrite": True}))
