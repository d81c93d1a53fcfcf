"""Protocol by_time against pandas: cuts, histories, what the negatives are, what is new."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
from random_log import random_log
from scipy.stats import chisquare
from test_protocols_in_words import samples_of

from paddleinterest.core.errors import InputError
from paddleinterest.data import builder
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log


def bare(events):
    """A log of events alone."""
    return Log(events, pd.DataFrame({"item": events["item"].unique()}))


COLUMNS = ["split", "user", "item", "label", "time", "history"]


def prepared(log, out, **options):
    """Schema, and the samples as a frame of raw ids."""
    schema = build(log, str(out), protocol="by_time", name="t", **options)
    return schema, pd.DataFrame(samples_of(str(out)), columns=COLUMNS)


def cuts(events):
    """Times of the ranks 10 %, 80 % and 90 %."""
    times = events["time"].sort_values().tolist()
    return [times[int(share * (len(times) - 1))] for share in (0.1, 0.8, 0.9)]


def split_at(time, events):
    _, train, valid = cuts(events)
    return "train" if time <= train else "valid" if time <= valid else "test"


@pytest.fixture(scope="module", params=[1, 2, 3])
def made(request, tmp_path_factory):
    """A log with ties in time and repeats, in several parts: its positives, and what was made."""
    log = random_log(request.param, users=80, items=60, most=25, labels=request.param == 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "PART_EVENTS", 200)
        schema, found = prepared(log, tmp_path_factory.mktemp("t") / "d")
    events = log.events
    clicks = events[events["label"] == 1] if "label" in events else events
    return events, clicks, schema, found


def test_every_event_is_a_positive_of_its_time(made):
    events, clicks, _, found = made
    positives = found[found.label == 1]
    wanted = [(split_at(e.time, events), e.user, e.item, e.time) for e in clicks.itertuples()]
    got = positives[["split", "user", "item", "time"]].itertuples(index=False, name=None)
    assert sorted(got) == sorted(wanted)
    assert set(positives.split) == {"train", "valid", "test"}


@pytest.mark.slow
def test_a_history_holds_what_came_strictly_before(made):
    _, clicks, _, found = made
    for row in found.itertuples():
        before = clicks[(clicks.user == row.user) & (clicks.time < row.time)]
        assert sorted(row.history) == sorted(before["item"])
        times = before.groupby("item").time.agg(["min", "max"])
        for earlier, later in zip(row.history, row.history[1:], strict=False):
            assert times["min"][earlier] <= times["max"][later]


def test_a_negative_existed_and_was_not_touched_by_then(made):
    events, clicks, _, found = made
    begin = cuts(events)[0]
    first = clicks.groupby("item").time.min()
    touched = clicks.groupby(["user", "item"]).time.min()
    assert (found.label.to_numpy().reshape(-1, 2) == [1, 0]).all()
    negatives = found[found.label == 0]
    assert len(negatives) == len(clicks)
    early = late = 0
    for row in negatives.itertuples():
        assert first[row.item] <= max(row.time, begin)
        assert touched.get((row.user, row.item), row.time + 1) > row.time
        early += first[row.item] > row.time
        late += touched.get((row.user, row.item), 0) > row.time
    assert early > 0 and late > 0  # of the first tenth, and what the user touches later


def test_new_items_and_users_are_counted(made):
    events, clicks, schema, _ = made
    split = clicks.time.map(lambda time: split_at(time, events))
    for name in ("valid", "test"):
        for what, column in (("items", "item"), ("users", "user")):
            known = set(clicks[split == "train"][column])
            wanted = int((~clicks[split == name][column].isin(known)).sum())
            assert schema.counts[f"{name}_positives_of_new_{what}"] == wanted


def test_negatives_are_uniform_over_what_exists(tmp_path):
    """Twenty items from the beginning, twenty more in the second half; a user an event."""
    n = 8000
    item = [k % 20 if k < n // 2 else k % 40 for k in range(n)]
    events = pd.DataFrame({"user": range(n), "item": item, "time": range(n)})
    schema, found = prepared(bare(events), tmp_path / "d")
    assert schema.counts["test_positives_of_new_users"] == (found.split == "test").sum() // 2 > 0
    assert schema.counts["test_positives_of_new_items"] == 0
    negatives = found[found.label == 0]
    before = negatives[negatives.time < n // 2]["item"].value_counts()
    after = negatives[negatives.time > n // 2 + 40]["item"].value_counts()
    assert set(before.index) == set(range(20)) and set(after.index) == set(range(40))
    assert chisquare(before).pvalue > 1e-4 and chisquare(after).pvalue > 1e-4


def test_a_basket_has_different_negatives(tmp_path):
    events = pd.DataFrame({"user": range(400), "item": range(400), "time": range(400)})
    basket = pd.DataFrame({"user": 7, "item": range(30), "time": 300})
    schema, found = prepared(bare(pd.concat([events, basket])), tmp_path / "d")
    assert schema.counts["test_positives_of_new_items"] > 0
    rows = found[(found.user == 7) & (found.time == 300) & (found.label == 0)]
    assert len(rows) == 30 and rows["item"].nunique() > 20


def test_two_seeds_draw_differently_and_one_the_same(tmp_path):
    log = random_log(4, users=60, items=80, most=20, labels=False)
    one, again, other = (
        prepared(log, tmp_path / name, seed=seed)[1]["item"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert (one == again).all() and (one != other).mean() > 0.3


def test_without_valid_and_refused(tmp_path):
    log = random_log(4, users=60, items=80, most=20, labels=False)
    schema, found = prepared(log, tmp_path / "paper", paper_split=True)
    assert set(schema.rows) == {"train", "test"} == set(found.split)
    few = {"user": [1, 2] * 20, "item": [1, 2, 2, 1] * 10, "time": range(40)}
    with pytest.raises(InputError, match="had touched all 2 items that existed at time"):
        prepared(bare(pd.DataFrame(few)), tmp_path / "few")
    same = pd.DataFrame({"user": [1, 2, 3] * 4, "item": range(12), "time": 5})
    with pytest.raises(InputError, match="the valid split is empty.*every time is the same"):
        prepared(bare(same), tmp_path / "same")
    two = pd.DataFrame({"user": [1, 2, 3] * 4, "item": range(12), "time": [5] * 6 + [9] * 6})
    with pytest.raises(InputError, match="is empty.*20 % of the events or more share one time"):
        prepared(bare(two), tmp_path / "same")
    three = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "time": [1, 2, 3]})
    with pytest.raises(InputError, match="3 events of 2 users; so short a log .* some hundreds"):
        prepared(bare(three), tmp_path / "few")
    assert not (tmp_path / "few").exists() and not (tmp_path / "same").exists()


def test_the_reader_keeps_its_negatives(tmp_path):
    from paddleinterest.data import targets

    assert targets.resolve("auto", 0, "by_time") == ("once", 1)
    log = random_log(4, users=60, items=80, most=20, labels=False)
    prepared(log, tmp_path / "d")
    stored = pq.read_table(tmp_path / "d" / "train")["label"].to_pylist()
    assert stored[:4] == [1, 0, 1, 0]
