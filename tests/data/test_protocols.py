"""Protocols against plain Python loops over small random logs."""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, fields
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chisquare

from paddleinterest.core.errors import InputError
from paddleinterest.data import hashing
from paddleinterest.data.draws import with_negatives
from paddleinterest.data.events import Events
from paddleinterest.data.protocols import (
    Facts,
    by_day,
    by_user,
    check_fits,
    day_cuts,
    every_prefix,
    impressions,
    last_event,
    shares,
    user_cuts,
)
from paddleinterest.data.schema import SPLITS

SEEDS = range(8)


def sorted_events(rows):
    """`Events` of rows (user, item, time[, label]); of equal times in file order."""
    order = sorted(range(len(rows)), key=lambda k: (rows[k][0], rows[k][2]))
    columns = [np.array([rows[k][c] for k in order], np.int64) for c in range(len(rows[0]))]
    label = columns[3].astype(np.int8) if len(columns) == 4 else None
    key = hashing.of_ids(pa.array(columns[0]))
    return Events(*columns[:3], key, label, values={"row": np.array(order)})


def random_rows(seed, users=30, items=25, most=6, labels=False):
    """An unsorted log: ties in time, repeated items, users with 1 to `most` events."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, most + 1, users))
    rng.shuffle(user)
    rows = [(int(u), int(rng.integers(items)), int(rng.integers(8))) for u in user]
    return [(*r, int(rng.integers(2))) for r in rows] if labels else rows


@dataclass
class Table:
    """Samples or events as arrays."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    row: np.ndarray
    end: np.ndarray
    label: np.ndarray


def as_table(events, item, end, label):
    return Table(events.user, item[events.item], events.time, events.values["row"], end, label)


def facts_of(protocol, rows, users, seed, paper_split, matched=False):
    """What the builder finds out of the whole log."""
    facts = Facts(seed, paper_split, matched=matched)
    times = sorted(r[2] for r in rows)
    key = hashing.of_ids(pa.array(range(users)))
    some = [r for r in rows if protocol is by_user or len(r) == 3 or r[3]]
    n = np.bincount([r[0] for r in some], minlength=users)
    if protocol in (last_event, by_user):
        facts.user_cuts = user_cuts(protocol.__name__, key, n, seed, paper_split)
    if protocol is by_day:
        facts.time_cuts = day_cuts(times[0], times[-1], paper_split)
    if protocol is impressions:
        ends = shares("impressions", paper_split)
        facts.time_cuts = tuple(times[int(share * (len(times) - 1))] for share in ends)
    return facts


def run(protocol, rows, users, seed=0, paper_split=False, clock=True, matched=False):
    """History, samples and train of a protocol. The users come in two parts, which must change
    nothing; the items are numbered as the builder does, and named again."""
    check_fits(protocol.__name__, len(rows[0]) == 4, clock)
    facts = facts_of(protocol, rows, users, seed, paper_split, matched)
    parts = [[r for r in rows if (r[0] < users // 2) == first] for first in (True, False)]
    where = [[k for k, r in enumerate(rows) if (r[0] < users // 2) == f] for f in (True, False)]
    chosen = []
    for part, numbers in zip(parts, where, strict=True):
        if part:
            events = sorted_events(part)
            events.values["row"] = np.array(numbers)[events.values["row"]]
            chosen.append(protocol(events, facts))
    names = np.unique([r[1] for r in rows])
    count = Counter(i for c in chosen for i in c.history.item[c.train].tolist())
    names = np.array(sorted(names.tolist(), key=lambda i: (-count[i], i)))
    code = np.zeros(names.max() + 1, np.int64)
    code[names] = np.arange(len(names))
    facts.events_in_train = np.array([count[i] for i in names.tolist()])
    history, samples = [], defaultdict(list)
    for c in chosen:
        for events in [c.history, *(s.events for s in c.samples.values())]:
            events.item = code[events.item]
        drawn = protocol in (every_prefix, last_event)
        made = with_negatives(protocol.__name__, c, facts) if drawn else c.samples
        for split, s in made.items():
            samples[split].append(as_table(s.events, names, s.end, s.label))
        history.append(as_table(c.history, names, c.train, c.train))
    joined = {split: together(pieces) for split, pieces in samples.items()}
    whole = together(history)
    return whole, joined, whole.end.astype(bool)


def together(tables):
    columns = [f.name for f in fields(Table)]
    return Table(*(np.concatenate([getattr(t, c) for t in tables]) for c in columns))


def sequences(rows):
    """{user: [(item, time, row) …]}, oldest first, ties in file order; only events with label 1
    where there are labels."""
    out = defaultdict(list)
    for k in sorted(range(len(rows)), key=lambda k: rows[k][2]):
        if len(rows[k]) == 3 or rows[k][3]:
            out[rows[k][0]].append((rows[k][1], rows[k][2], k))
    return out


def tuples(s, label=None):
    keep = slice(None) if label is None else s.label == label
    return list(
        zip(*(x[keep].tolist() for x in (s.user, s.end, s.item, s.time, s.row)), strict=True)
    )


def check_pairs(s):
    """Each positive is followed by its negative, equal in all but item and label."""
    assert s.label.tolist() == [1, 0] * (len(s.label) // 2)
    for x in (s.user, s.end, s.time, s.row):
        assert (x[0::2] == x[1::2]).all()


def check_history(history, rows):
    want = [(u, i, t) for u, events in sorted(sequences(rows).items()) for i, t, _ in events]
    assert (
        list(zip(history.user.tolist(), history.item.tolist(), history.time.tolist(), strict=True))
        == want
    )


# every_prefix -------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("paper_split", [False, True])
def test_every_prefix_is_the_loop_over_users(paper_split, labels):
    for seed in SEEDS:
        rows = random_rows(seed, labels=labels)
        want = {split: [] for split in SPLITS}
        train_events = set()
        for u, events in sequences(rows).items():
            n, least = len(events), 3 if paper_split else 4
            of = {n - 1: "test"} if paper_split else {n - 1: "test", n - 2: "valid"}
            for k, (item, time, row) in enumerate(events):
                if n < least or k not in of:
                    train_events.add(row)
                if n >= least and k:
                    want[of.get(k, "train")].append((u, k, item, time, row))
        history, samples, train = run(every_prefix, rows, 30, seed, paper_split)
        check_history(history, rows)
        assert set(history.row[train].tolist()) == train_events
        assert list(samples) == (["train", "test"] if paper_split else list(SPLITS))
        for split, s in samples.items():
            assert sorted(tuples(s, 1)) == sorted(want[split])
            check_pairs(s)


def seen_in_train(rows):
    """Items of every_prefix's train: all events but the last two of users with four or more."""
    return {
        item
        for events in sequences(rows).values()
        for item, _, _ in (events if len(events) < 4 else events[:-2])
    }


def test_every_prefix_draws_items_that_the_user_never_touched_and_for_train_those_of_train():
    for seed in SEEDS:
        rows = [
            (u, 3 * i + 1, t) for u, i, t in random_rows(seed, items=60)
        ]  # codes with gaps: 0, 2, 3 … do not occur
        of_log, of_train = {i for _, i, _ in rows}, seen_in_train(rows)
        assert of_train < of_log
        touched = {(u, i) for u, i, _ in rows}
        for split, s in run(every_prefix, rows, 30, seed)[1].items():
            for u, _, item, _, _ in tuples(s, 0):
                assert (
                    item in (of_train if split == "train" else of_log) and (u, item) not in touched
                )


def test_every_prefix_negatives_are_uniform_over_the_untouched():
    """Half of the users touch items 0 to 4 and half 5 to 9; seven users without samples put 10 to
    29 into train."""
    rows = [(u, k + 5 * (u % 2), k) for u in range(3000) for k in range(5)]
    rows += [(3000 + k // 3, 10 + k, k) for k in range(20)]
    users = 3000 + 7
    samples = run(every_prefix, rows, users)[1]
    assert [len(samples[s].user) for s in SPLITS] == [3000 * 2 * 2, 3000 * 2, 3000 * 2]
    for split, s in samples.items():
        for half, other in ((0, {5, 6, 7, 8, 9}), (1, {0, 1, 2, 3, 4})):
            drawn = Counter(item for u, _, item, _, _ in tuples(s, 0) if u % 2 == half)
            future = {3, 4, 8, 9} if split == "train" else set()
            assert set(drawn) == (other - future) | set(range(10, 30))
            assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_negatives_of_the_splits_and_seeds_are_independent():
    rows = random_rows(0, users=200, items=100)
    one, two = (run(every_prefix, rows, 200, seed)[1] for seed in (1, 2))
    again = run(every_prefix, rows, 200, 1)[1]
    for split in SPLITS:
        assert tuples(one[split]) == tuples(again[split])
        assert tuples(one[split], 1) == tuples(two[split], 1)
        assert tuples(one[split], 0) != tuples(two[split], 0)
    valid, test = (one[s].item[1::2][:100] for s in ("valid", "test"))
    assert (valid != test).mean() > 0.8


def test_users_who_touched_nearly_all_items_get_the_rest_uniformly():
    """Item 5000 and 5001 are all that user 0 left: two of 5,002, far beyond what a few random draws
    find."""
    rows = (
        [(0, i, i) for i in range(5000)]
        + [(1, 5000, 0), (1, 5001, 1)]
        + [(2, 7, t) for t in range(6)]
    )
    samples = run(every_prefix, rows, 3)[1]
    drawn = Counter(item for u, _, item, _, _ in tuples(samples["train"], 0) if u == 0)
    assert set(drawn) == {5000, 5001} and sum(drawn.values()) == 4997
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    assert all(item != 7 for u, _, item, _, _ in tuples(samples["train"], 0) if u == 2)


def test_a_user_who_touched_all_items_is_an_error():
    rows = (
        [(0, i, i) for i in range(6)]
        + [(1, i, 0) for i in range(3)]
        + [(2, i, 0) for i in range(3, 6)]
    )
    with pytest.raises(InputError, match="touched all 6 items"):
        run(every_prefix, rows, 3)


# last_event ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("paper_split", [False, True])
def test_last_event_takes_each_users_last_event_once(paper_split, labels):
    for seed in SEEDS:
        rows = random_rows(seed, users=100, labels=labels)
        want = {(u, len(e) - 1, *e[-1]) for u, e in sequences(rows).items() if len(e) >= 2}
        history, samples, train = run(last_event, rows, 100, seed, paper_split)
        check_history(history, rows)
        assert list(samples) == (["train", "test"] if paper_split else list(SPLITS))
        got = [t for s in samples.values() for t in tuples(s, 1)]
        assert len(got) == len(want) and set(got) == want
        for s in samples.values():
            check_pairs(s)
        shares = (
            {"train": 0.9, "test": 0.1}
            if paper_split
            else {"train": 0.8, "valid": 0.1, "test": 0.1}
        )
        for split, share in shares.items():
            assert abs(len(samples[split].user) / 2 - share * len(want)) <= 1
        held_out = {
            u for split in samples if split != "train" for u in samples[split].user.tolist()
        }
        assert set(history.user[~train].tolist()) == held_out
        assert not held_out & set(history.user[train].tolist())


def test_last_event_users_are_shuffled_by_the_seed():
    rows = random_rows(0, users=200)
    parts = [
        frozenset(run(last_event, rows, 200, seed)[1]["test"].user.tolist()) for seed in (1, 1, 2)
    ]
    assert parts[0] == parts[1] != parts[2]
    assert max(parts[0]) - min(parts[0]) > 100  # not simply the last users


def test_last_event_negatives_follow_popularity_in_train_and_are_never_the_positive():
    """All users end with item 0, so that the others' shares can be counted; item 9 occurs in valid
    and test alone."""
    rng = np.random.default_rng(0)
    rows = [(u, int(rng.choice([1, 2, 3, 4], p=[0.5, 0.3, 0.15, 0.05])), 0) for u in range(4000)]
    rows += [(u, 0, 1) for u in range(4000)]
    first, samples, _ = run(last_event, rows, 4000)
    held_out = {u for s in ("valid", "test") for u in samples[s].user.tolist()}
    rows += [(u, 9, 0) for u in held_out]
    _, samples, _ = run(last_event, rows, 4000)
    assert held_out == {u for s in ("valid", "test") for u in samples[s].user.tolist()}
    popularity = Counter(i for u, i, _ in rows if u not in held_out)
    for split in SPLITS:
        s = samples[split]
        assert (s.item[0::2] == 0).all()
        drawn = Counter(s.item[1::2].tolist())
        assert set(drawn) == {1, 2, 3, 4}
        share = np.array([popularity[i] for i in range(1, 5)]) / sum(
            popularity[i] for i in range(1, 5)
        )
        assert chisquare([drawn[i] for i in range(1, 5)], share * len(s.user) / 2).pvalue > 1e-3


def test_last_event_with_many_kinds_of_positives_never_draws_the_positive():
    for seed in SEEDS:
        for s in run(last_event, random_rows(seed, users=60, items=5), 60, seed)[1].values():
            assert (s.item[0::2] != s.item[1::2]).all()


def test_last_event_draws_at_once_where_one_item_has_nearly_all_events():
    """User 400's single event puts item 1 into train: one ticket of 200,001, which all positives of
    item 0 need."""
    rows = [(u, 0, t) for u in range(400) for t in range(500)] + [(400, 1, 0)]
    for s in run(last_event, rows, 401)[1].values():
        assert (s.item[0::2] == 0).all() and (s.item[1::2] == 1).all()


def test_last_event_draws_for_positives_that_train_has_never_seen():
    first = run(last_event, [(u, u % 2, t) for u in range(50) for t in range(2)], 50)[1]
    late = set(first["test"].user.tolist())
    rows = [(u, 70 if u in late and t else u % 2, t) for u in range(50) for t in range(2)]
    test = run(last_event, rows, 50)[1]["test"]
    assert (test.item[0::2] == 70).all() and set(test.item[1::2].tolist()) <= {0, 1}


def test_last_event_without_two_items_is_an_error():
    with pytest.raises(InputError, match="only one item"):
        run(last_event, [(u, 4, t) for u in range(20) for t in range(3)], 20)
    with pytest.raises(InputError, match="train split is empty"):
        run(last_event, [(0, 1, 0), (0, 2, 1)], 1)


# impressions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper_split", [False, True])
def test_impressions_are_split_by_time_with_the_clicks_strictly_before_as_history(paper_split):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        rows = [
            (u, i, int(rng.integers(60)), y)
            for u, i, _, y in random_rows(seed, users=60, most=12, labels=True)
        ]
        history, samples, train = run(impressions, rows, 60, seed, paper_split)
        check_history(history, rows)
        want = sorted(
            (u, sum(r[0] == u and r[2] < t and r[3] for r in rows), i, t, k, y)
            for k, (u, i, t, y) in enumerate(rows)
        )
        got = sorted(
            (*x, int(y)) for s in samples.values() for x, y in zip(tuples(s), s.label, strict=True)
        )
        assert got == want
        assert any(x[1] == 0 for x in got)
        assert list(samples) == (["train", "test"] if paper_split else list(SPLITS))
        times = [s.time for s in samples.values()]
        for early, late in itertools.pairwise(times):
            assert early.max() < late.min()
        ordered = sorted(r[2] for r in rows)
        cuts = [ordered[int(q * (len(rows) - 1))] for q in ([0.9] if paper_split else [0.8, 0.9])]
        assert [t.max() for t in times[:-1]] == cuts
        assert train.sum() == samples["train"].label.sum()


def test_impressions_of_one_second_do_not_see_each_other():
    rows = [(0, 1, 5, 1), (0, 2, 5, 1), (0, 3, 5, 0), (0, 4, 6, 1), (0, 5, 6, 0)] + [
        (1, 9, t, 1) for t in range(20)
    ]
    _, samples, _ = run(impressions, rows, 2)
    end = {item: e for s in samples.values() for u, e, item, _, _ in tuples(s) if u == 0}
    assert end == {1: 0, 2: 0, 3: 0, 4: 2, 5: 2}


def test_impressions_need_labels_and_a_clock():
    with pytest.raises(InputError, match="label"):
        run(impressions, random_rows(0), 30)
    with pytest.raises(InputError, match="no clock times"):
        run(impressions, random_rows(0, labels=True), 30, clock=False)


# by_user ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("paper_split", [False, True])
def test_by_user_is_every_label_with_the_clicks_strictly_before_and_whole_users(paper_split):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        rows = [
            (u, i, int(rng.integers(60)), y)
            for u, i, _, y in random_rows(seed, users=200, most=12, labels=True)
        ]
        history, samples, train = run(by_user, rows, 200, seed, paper_split, clock=seed % 2 == 0)
        check_history(history, rows)
        want = sorted(
            (u, sum(r[0] == u and r[2] < t and r[3] for r in rows), i, t, k, y)
            for k, (u, i, t, y) in enumerate(rows)
        )
        assert want == sorted(
            (*x, int(y)) for s in samples.values() for x, y in zip(tuples(s), s.label, strict=True)
        )
        users = {split: set(s.user.tolist()) for split, s in samples.items()}
        shares = (
            {"train": 0.722, "test": 0.278}
            if paper_split
            else {"train": 0.650, "valid": 0.072, "test": 0.278}
        )
        assert list(users) == list(shares) and sum(map(len, users.values())) == len(
            {r[0] for r in rows}
        )
        for split, share in shares.items():
            assert abs(len(users[split]) - share * 200) <= 1
        assert train.sum() == samples["train"].label.sum()


def test_by_user_shuffles_users_by_the_seed_and_needs_labels():
    rows = random_rows(0, users=200, labels=True)
    parts = [
        frozenset(run(by_user, rows, 200, seed)[1]["test"].user.tolist()) for seed in (1, 1, 2)
    ]
    assert parts[0] == parts[1] != parts[2] and max(parts[0]) - min(parts[0]) > 100
    with pytest.raises(InputError, match="by_user needs labels"):
        run(by_user, random_rows(0), 30)


# by_day -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("paper_split", [False, True])
def test_by_day_cuts_the_calendar_and_not_the_events(paper_split):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        rows = [
            (u, i, int(1e9 + 9e6 * rng.random() ** 3), y)
            for u, i, _, y in random_rows(seed, users=200, most=12, labels=True)
        ]
        history, samples, train = run(by_day, rows, 200, seed, paper_split)
        check_history(history, rows)
        dates = [datetime.fromtimestamp(r[2], timezone.utc).date() for r in rows]
        days = [(date - min(dates)).days for date in dates]
        ends = [0.9, 1] if paper_split else [0.8, 0.9, 1]
        of = [next(k for k, share in enumerate(ends) if day <= share * max(days)) for day in days]
        assert list(samples) == (["train", "test"] if paper_split else list(SPLITS))
        for k, s in enumerate(samples.values()):
            want = sorted(
                (u, sum(r[0] == u and r[2] < t and r[3] for r in rows), i, t, row, y)
                for row, (u, i, t, y) in enumerate(rows)
                if of[row] == k
            )
            assert (
                want == sorted((*x, int(y)) for x, y in zip(tuples(s), s.label, strict=True)) != []
            )
        assert train.sum() == samples["train"].label.sum()
        assert len(samples["train"].user) > 0.85 * len(rows)


def test_by_day_starts_a_split_at_midnight():
    day = 24 * 3600
    rows = [(0, k, k * day, 1) for k in range(11)] + [
        (1, 20, 9 * day - 1, 0),
        (1, 21, 10 * day - 1, 1),
    ]
    _, samples, _ = run(by_day, rows, 2)
    items = {split: sorted(s.item.tolist()) for split, s in samples.items()}
    assert items == {"train": [*range(9), 20], "valid": [9, 21], "test": [10]}


def test_by_day_needs_labels_and_a_clock():
    with pytest.raises(InputError, match="by_day needs labels"):
        run(by_day, random_rows(0), 30)
    with pytest.raises(InputError, match="by_day splits by time, but this log has only an order"):
        run(by_day, random_rows(0, labels=True), 30, clock=False)
