"""study/redraw.py: other negatives are what the protocol would have drawn."""

import copy

import numpy as np
import pandas as pd
import pytest
from helpers import small_dataset

from paddleinterest.data.builder import build
from paddleinterest.data.log import Log
from paddleinterest.data.reader import Reader
from paddleinterest.study import redraw


def dataset(folder, protocol):
    """120 users of 5 to 14 events over 40 items, the first ones the most popular."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(120), rng.integers(5, 15, 120))
    item = np.minimum(rng.geometric(0.08, len(user)) - 1, 39)
    events = pd.DataFrame({"user": user, "item": item, "time": np.arange(len(user))})
    items = pd.DataFrame({"item": np.arange(45), "category": np.arange(45) % 5})
    build(Log(events, items, time="order"), str(folder), protocol=protocol, name="shop", seed=1)
    return Reader(str(folder), "test", 1)


@pytest.mark.parametrize("protocol", ["every_prefix", "last_event"])
def test_only_the_negatives_change(tmp_path, protocol):
    reader = dataset(tmp_path / "shop", protocol)
    before = reader.item.copy()
    first, *others = redraw.draws(reader, 4)
    assert first is reader and len(others) == 3
    positive = reader.label == 1
    for other in others:
        assert np.array_equal(other.item[positive], before[positive])
        assert (other.item[~positive] != before[~positive]).mean() > 0.5
        batch = other.batch(np.arange(reader.rows))
        wanted = reader.items.fields["category"][other.item]
        assert np.array_equal(batch["target_category"], wanted)
        assert np.array_equal(batch["label"], reader.label)
    assert not np.array_equal(others[0].item, others[1].item)
    assert np.array_equal(reader.item, before)
    again = redraw.draws(copy.copy(reader), 4)[1]
    assert np.array_equal(again.item, others[0].item)  # the same for every run


def test_untouched_and_uniform(tmp_path):
    reader = dataset(tmp_path / "shop", "every_prefix")
    drawn = redraw.draws(reader, 60)
    negative = np.flatnonzero(reader.label == 0)
    logged = set()
    for row in negative:
        touched = set(reader.sequences.one(int(reader.sequence[row]))["item"])
        logged |= touched
        for other in drawn:
            assert other.item[row] not in touched
    counts = pd.Series(np.concatenate([o.item[negative] for o in drawn[1:]])).value_counts()
    assert set(counts.index) <= logged and len(counts) > 30  # items of the catalogue alone: none
    rare = [i for i in counts.index if reader.items.count[i] < 5]
    assert len(rare) > 3 and counts[rare].mean() > 0.7 * counts.mean()


def test_by_popularity_and_never_the_positive(tmp_path):
    reader = dataset(tmp_path / "shop", "last_event")
    drawn = redraw.draws(reader, 200)
    negative = np.flatnonzero(reader.label == 0)
    for other in drawn:
        assert (other.item[negative] != reader.item[negative - 1]).all()
    counts = np.bincount(
        np.concatenate([o.item[negative] for o in drawn[1:]]), minlength=reader.items.rows
    )
    share = counts / counts.sum()
    expected = reader.items.count / reader.items.count.sum()
    assert abs(share - expected).max() < 0.03 and expected.max() > 0.06


def test_labels_of_the_log_are_not_drawn(tmp_path):
    data = small_dataset(tmp_path, "clicks", users=30, impressions=20)
    reader = Reader(data, "test", 1)
    assert redraw.draws(reader) == [reader]
