"""paddle_infer --events: a file of rows gets the scores that infer gives them, in the file's order,
in bounded memory; what cannot be scored is refused by row."""

import csv
import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import TINY, trained
from plain_dataset import Plain
from rich_log import rich_log

from paddleinterest.core.errors import InputError
from paddleinterest.data.builder import build
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.day import output
from paddleinterest.serving.day.meaning import Names
from paddleinterest.serving.day.score import DayScorer, Job, histories
from paddleinterest.serving.export import export
from paddleinterest.serving.history.events import Event
from paddleinterest.serving.history.sqlite_store import SqliteStore
from paddleinterest.training import run
from paddleinterest.training.predict import score_checkpoint

pytestmark = pytest.mark.slow

CAP = 6


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A dataset, a bundle of BST, which reads times, and the scores that infer gives test."""
    folder = tmp_path_factory.mktemp("day")
    data = str(folder / "data")
    build(rich_log(3), data, protocol="impressions", name="rich", seed=3)
    config, _, _ = trained("bst", data, folder, *TINY, f"runner.history_cap={CAP}", scale=0.3)
    path = run.checkpoint_path(config)
    _, _, expected, _ = score_checkpoint(config, data, path, "test")
    export(config, data, str(folder / "bundle"))
    return Plain(data), Bundle(str(folder / "bundle")), expected


def rows_of(plain):
    """The rows of test as a file of one's own has them."""
    for sample in plain.samples:
        request = plain.request(sample)
        yield {
            "user": request["user"],
            "item": request["candidates"][0],
            "time": request["time"],
            "history": request["history"],
            **request["context"],
        }


def written(path, rows):
    """The rows as a file whose form its ending says."""
    rows = list(rows)
    if path.endswith(".jsonl"):
        with open(path, "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
    elif path.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    else:
        with open(path, "w", newline="") as f:
            writer = csv.writer(f)
            writer.writerow(rows[0])
            for row in rows:
                cells = [json.dumps(v) if isinstance(v, list) else v for v in row.values()]
                writer.writerow(cells)
    return path


def scored(bundle, events, out, form="bundle", **options):
    job = Job(events, out, **options)
    return DayScorer(bundle, histories(bundle, form), job).run()


def read(path):
    if path.endswith(".parquet"):
        return pq.read_table(path).to_pandas()
    return pd.read_csv(path) if path.endswith(".csv") else pd.read_json(path, lines=True)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_raw_rows_of_test_get_infers_scores(served, tmp_path, ending):
    plain, bundle, expected = served
    events = written(str(tmp_path / f"day{ending}"), rows_of(plain))
    out = str(tmp_path / f"scores{ending}")
    counts = scored(bundle, events, out, block=100)
    got = read(out)
    assert list(got) == ["user", "item", "time", "score"]
    assert np.abs(got.score.to_numpy() - expected).max() < 1e-6 and np.std(expected) > 1e-3
    samples = plain.samples
    assert got.time.tolist() == [sample["time"] for sample in samples]
    assert got.item.astype(str).tolist() == [str(plain.items[s["item"]]["item"]) for s in samples]
    assert counts["rows"] == counts["scores"] == len(expected) and not counts["refused"]


def test_batch_mates_do_not_matter(served, tmp_path):
    plain, bundle, expected = served
    rows = list(rows_of(plain))
    order = np.random.default_rng(1).permutation(len(rows))[:60]
    events = written(str(tmp_path / "day.jsonl"), (rows[k] for k in order))
    scored(bundle, events, str(tmp_path / "s.parquet"), block=7)
    got = read(str(tmp_path / "s.parquet")).score.to_numpy()
    assert np.abs(got - expected[order]).max() < 1e-6


def test_a_history_ends_before_the_row(served, tmp_path):
    """From the bundle and from a store: an event at the row's own time is not in its history, or a
    click would predict itself."""
    plain, bundle, _ = served
    own = bundle.histories.own
    for user in own.with_events(20):
        events = own.latest(user, CAP)
        moment = events[-1].time
        before = [e.as_request() for e in events if e.time < moment]
        if len(before) > 2:
            break
    item = events[-1].item
    expected = bundle.rank({"user": user, "time": moment, "history": before, "candidates": [item]})[
        "candidates"
    ][0]["score"]
    day = written(str(tmp_path / "day.csv"), [{"user": user, "item": item, "time": moment}])
    for form in ("bundle", f"sqlite:{tmp_path / 'events.db'}"):
        if form != "bundle":
            SqliteStore(str(tmp_path / "events.db")).append([(user, e) for e in events])
        out = str(tmp_path / f"{form[:4]}.jsonl")
        scored(bundle, day, out, form)
        assert read(out).score[0] == pytest.approx(expected, abs=1e-6)
    scored(bundle, day, str(tmp_path / "none.jsonl"), "none")
    assert abs(read(str(tmp_path / "none.jsonl")).score[0] - expected) > 1e-6


def test_events_of_a_store_count(served, tmp_path):
    _, bundle, _ = served
    item = bundle.encoder.item_row[0]
    SqliteStore(str(tmp_path / "e.db")).append([("brand new", Event(item, 50))])
    day = written(str(tmp_path / "day.csv"), [{"user": "brand new", "item": item, "time": 60}])
    counts = scored(bundle, day, str(tmp_path / "s.csv"), f"sqlite:{tmp_path / 'e.db'}")
    assert (counts["empty_histories"], counts["unknown_users"]) == (0, 1)
    with pytest.raises(InputError, match="no.db does not exist"):
        histories(bundle, f"sqlite:{tmp_path / 'no.db'}")
    assert not os.path.exists(tmp_path / "no.db")


def test_candidates_of_every_row_are_ranked_as_a_request(served, tmp_path):
    plain, bundle, _ = served
    users = list(rows_of(plain))[:20]
    for row in users:
        del row["item"]
    ids = [bundle.encoder.item_row[k] for k in range(30)]
    items = written(str(tmp_path / "items.csv"), ({"item": each} for each in ids))
    day = written(str(tmp_path / "day.jsonl"), users)
    out = str(tmp_path / "s.parquet")
    counts = scored(bundle, day, out, candidates=items, top=4)
    got = read(out)
    assert counts["scores"] == 20 * 30 and len(got) == 20 * 4
    for number, row in enumerate(users, 1):
        context = {name: row[name] for name in ("device", "wait")}
        request = {k: row[k] for k in ("user", "time", "history")}
        answer = bundle.rank({**request, "context": context, "candidates": ids})
        mine = got[got.row == number]
        best = answer["candidates"][:4]
        assert mine.place.tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(mine.score, [c["score"] for c in best], atol=1e-6)
        assert mine.item.tolist() == [c["item"] for c in best]


def test_a_column_of_candidates(served, tmp_path):
    plain, bundle, expected = served
    rows = list(rows_of(plain))[:10]
    for row in rows:
        row["candidates"] = f"{row.pop('item')}|new"
    day = written(str(tmp_path / "day.jsonl"), rows)
    scored(bundle, day, str(tmp_path / "s.jsonl"))
    got = read(str(tmp_path / "s.jsonl"))
    assert got.row.value_counts().tolist() == [2] * 10
    for k in range(10):
        own = got[(got.row == k + 1) & (got.item == rows[k]["candidates"].partition("|")[0])]
        assert own.score.iloc[0] == pytest.approx(expected[k], abs=1e-6)


FINE = {"user": "u1", "item": "i1", "time": 1_700_000_000, "wait": "2.5"}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"user": ""}, "row 3: user is missing"),
        ({"user": "NaN"}, "row 3: user is 'NaN', which looks like a missing value"),
        ({"item": " "}, "row 3: item is missing"),
        ({"time": "yesterday"}, "row 3: time is 'yesterday', must be a number"),
        ({"time": 1_700_000_000_000}, "row 3: time is '1700000000000', must be a number"),
        ({"wait": "long"}, "row 3: wait is 'long', must be a number"),
        ({"history": "i1,i2"}, "row 3: history is 'i1,i2'; it is unclear what separates"),
        ({"history": '["i1"]'}, r"row 3: history\[0\] has no time"),
    ],
)
def test_a_row_that_cannot_be_scored_is_refused(served, tmp_path, capsys, change, words):
    _, bundle, _ = served
    bad = {**FINE, **change}
    rows = [{**dict.fromkeys(bad, "[]"), **FINE} for _ in range(4)]
    rows[2] = bad
    day = written(str(tmp_path / "day.csv"), rows)
    out = str(tmp_path / "s.csv")
    with pytest.raises(InputError, match=f"day.csv, {words}"):
        scored(bundle, day, out)
    assert os.listdir(tmp_path) == ["day.csv"]
    counts = scored(bundle, day, out, keep_going=True)
    assert (counts["rows"], counts["scores"], counts["refused"]) == (4, 3, 1)
    assert pd.read_csv(out).score.isna().tolist() == [False, False, True, False]
    assert "row 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, options, words",
    [
        ("user,time\nu1,5\n", {}, "has no column 'item'"),
        ("item,time\ni1,5\n", {}, "has no column 'user'"),
        ("user,item,candidates\nu1,i1,i2|i3\n", {}, "unclear which of them"),
        ("user,item,user\nu1,i1,u1\n", {}, "has 2 columns named 'user'"),
        ("user,item\nu1,i1\n", {"top": 3}, "--top goes with --candidates"),
        ("uid,item\nu1,i1\n", {"names": Names("id")}, "--user-column names a different one"),
        ("user,item\nu1,i1,5\n", {}, "3 columns, but 2 are needed"),
    ],
)
def test_a_file_that_can_be_read_two_ways_is_refused(served, tmp_path, text, options, words):
    path = tmp_path / "day.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        scored(served[1], str(path), str(tmp_path / "s.csv"), **options)
    assert os.listdir(tmp_path) == ["day.csv"]


def test_candidates_twice_are_refused(served, tmp_path):
    day = written(str(tmp_path / "day.csv"), [{"user": "u1"}])
    items = written(str(tmp_path / "items.csv"), [{"item": "i1"}, {"item": "i1"}])
    with pytest.raises(InputError, match="items.csv, row 2: item 'i1' is in the file twice"):
        scored(served[1], day, str(tmp_path / "s.csv"), candidates=items)


def test_what_is_there_is_not_replaced_by_accident(tmp_path):
    there = tmp_path / "s.csv"
    there.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        output.check(str(there), "day.csv", overwrite=False)
    output.check(str(there), "day.csv", overwrite=True)
    with pytest.raises(InputError, match="are both"):
        output.check(str(there), str(there), overwrite=True)
    with pytest.raises(InputError, match="must end in"):
        output.check(str(tmp_path / "s.xls"), "day.csv", overwrite=False)


def test_dates_and_names_are_read_as_in_the_log(served, tmp_path):
    """A recipe's column names and time zone hold for the day's file too."""
    _, bundle, _ = served
    schema = bundle.schema
    before = dict(schema.recipe)
    schema.recipe.update(user_column="uid", time_zone="Asia/Shanghai", context=["dev=device"])
    try:
        path = tmp_path / "day.csv"
        path.write_text("uid,item,time,dev\nu1,i1,2023-11-15 06:13:20,d1\n")
        scored(bundle, str(path), str(tmp_path / "s.csv"))
        path.write_text("uid,item,time\nu1,i1,2023-11-15 06:13:20\n")
        scorer = DayScorer(bundle, bundle.histories, Job(str(path), "s.csv"))
    finally:
        schema.recipe.clear()
        schema.recipe.update(before)
    assert read(str(tmp_path / "s.csv")).time.tolist() == [1_700_000_000]
    assert scorer.meaning.user == "uid"


def test_memory_does_not_grow_with_the_file(served, tmp_path):
    _, bundle, _ = served
    peaks = []
    for rows in (400, 1_600):
        day = str(tmp_path / f"{rows}.parquet")
        columns = {
            "user": [f"u{k % 50}" for k in range(rows)],
            "item": [f"i{k % 40}" for k in range(rows)],
            "time": [1_700_000_000] * rows,
        }
        pq.write_table(pa.table(columns), day, row_group_size=100)
        tracemalloc.start()
        counts = scored(bundle, day, str(tmp_path / f"{rows}.csv"), block=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert counts["scores"] == rows
    assert peaks[1] < 1.2 * peaks[0]
