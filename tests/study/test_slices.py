"""study/slices.py: groups against a loop over the dataset's own files with pandas, and the page."""

import numpy as np
import pandas as pd
import pytest
from helpers import close, small_dataset
from sklearn.metrics import roc_auc_score

from paddleinterest.data.reader import Reader
from paddleinterest.study import slices
from paddleinterest.study.breakdown import Range


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    data = small_dataset(tmp_path_factory.mktemp("data"), "clicks", users=60, impressions=40)
    return Reader(data, "test", 1)


def named(reader, name, of=""):
    return next(s for s in slices.slices_of(reader) if (s.name, s.of) == (name, of))


def test_every_row_is_in_one_group(reader):
    found = slices.slices_of(reader)
    kinds = {(one.name, one.of) for one in found}
    assert {("history", ""), ("target", ""), ("category", "category"), ("gap", "")} <= kinds
    assert ("popularity", "") in kinds and ("category", "brand") in kinds
    for one in found:
        assert len(one.group) == reader.rows and slices.rows_of(one).min() > 0
        assert slices.rows_of(one).sum() == reader.rows and len(one.groups) > 1


def test_history_and_popularity(reader):
    one = named(reader, "history")
    assert one.groups[0] == "none" and ((one.group == 0) == (reader.end == 0)).all()
    for g, group in enumerate(one.groups[1:], 1):
        inside = (reader.end >= group.low) & (reader.end <= group.high)
        assert isinstance(group, Range) and ((one.group == g) == inside).all()
    popular = named(reader, "popularity")
    count = reader.items.count[reader.item]
    ranges = [g for g in popular.groups if isinstance(g, Range)]
    assert min(g.low for g in ranges) >= 1 and max(g.high for g in ranges) == count.max()


def test_target_category_and_gap_by_pandas(reader):
    items = pd.read_parquet(f"{reader.directory}/items.parquet")
    target = named(reader, "target")
    category = named(reader, "category", "category")
    gap = named(reader, "gap")
    words = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
    seen = set()
    for row in range(reader.rows):
        past, times = reader.history(row)
        wanted = "seen" if reader.item[row] in set(past) else "new"
        assert target.groups[target.group[row]] == wanted
        same = items.category[reader.item[row]] in set(items.category[past])
        assert category.groups[category.group[row]] == ("same" if same else "other")
        name = gap.groups[gap.group[row]]
        seen.add(name)
        if not len(past):
            assert name == "none"
            continue
        elapsed = reader.time[row] - max(times)
        order = list(words)
        assert elapsed < words.get(name, np.inf)
        if name != "minute":
            before = order[order.index(name) - 1] if name in words else order[-1]
            assert elapsed >= words[before]
    assert len(seen) > 2


def test_figures_are_those_of_the_rows(reader):
    rng = np.random.default_rng(0)
    score = rng.random(reader.rows)
    one = named(reader, "history")
    found = slices.figures(one, reader.label, score)
    rate = slices.rate_of(one, reader.label)
    for g in range(len(one.groups)):
        inside = one.group == g
        label = reader.label[inside]
        close(rate[g], label.mean(), 1e-12)
        if 0 < label.mean() < 1:
            close(found.auc[g], roc_auc_score(label, score[inside]), 1e-12)
            close(found.pcoc[g], score[inside].mean() / label.mean(), 1e-12)
        else:
            assert np.isnan(found.auc[g])


def test_a_log_without_a_clock_has_no_gaps(reader, monkeypatch):
    monkeypatch.setattr(reader.schema, "time", "order")
    assert "gap" not in {one.name for one in slices.slices_of(reader)}
