"""The samples' own negatives, drawn in the reader: what they may be, and what must not change
them."""

from collections import Counter

import numpy as np
import pytest
from random_log import random_log
from scipy.stats import chisquare

from paddleinterest.core.errors import InputError
from paddleinterest.data import builder
from paddleinterest.data.builder import build
from paddleinterest.data.reader import Reader


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """{protocol: directory} of one log in several parts."""
    folder = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "PART_EVENTS", 300)
        for protocol in ("every_prefix", "last_event", "impressions"):
            log = random_log(3, users=90, items=90, most=25, popular=0.03)
            build(log, str(folder / protocol), protocol=protocol, name=protocol)
    return {p: str(folder / p) for p in ("every_prefix", "last_event", "impressions")}


def drawn(directory, epoch=0, start=0, batch_size=16, **settings):
    """{(user, target time, history, number of the copy): target} of an epoch's negatives."""
    reader = Reader(directory, "train", batch_size, times=True, **settings)
    out = {}
    for batch in reader.epoch(epoch, start):
        for row in np.flatnonzero(batch["label"] == 0).tolist():
            history = tuple(h for h in batch["history_item"][row].tolist() if h)
            key = (batch["user"][row].item(), batch["target_time"][row].item(), history)
            number = 0
            while (*key, number) in out:
                number += 1
            out[(*key, number)] = batch["target_item"][row].item()
    return out


@pytest.mark.parametrize("protocol", ["every_prefix", "last_event"])
def test_once_and_one_is_the_dataset_as_prepared(data, protocol):
    plain = list(Reader(data[protocol], "train", 16, shuffle=True).epoch(1))
    same = list(Reader(data[protocol], "train", 16, shuffle=True, targets="once").epoch(1))
    for a, b in zip(plain, same, strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    assert "weight" not in plain[0]


@pytest.mark.parametrize("kind, k", [("fresh", 1), ("fresh", 4), ("once", 4)])
@pytest.mark.parametrize("protocol", ["every_prefix", "last_event"])
def test_each_negative_is_one_that_preparation_could_have_drawn(data, protocol, kind, k):
    reader = Reader(data[protocol], "train", 10**6, targets=kind, per_positive=k)
    plain = next(Reader(data[protocol], "train", 10**6).epoch())
    batches = list(reader.epoch(2))
    assert len(batches) == 1
    batch = batches[0]
    positives = int(plain["label"].sum())
    assert (batch["label"] == 0).sum() == k * positives and batch["label"].sum() == positives
    places, _ = reader.targets.copies(plain["label"])
    touched = {}
    for row, target in enumerate(batch["target_item"].tolist()):
        sequence = int(reader.sequence[places[row]])
        if sequence not in touched:
            touched[sequence] = reader.sequences.one(sequence)["item"].tolist()
        if batch["label"][row]:
            assert target == plain["target_item"][places[row]]
            continue
        assert target > 1  # train knows it
        end = int(reader.end[places[row]])
        if protocol == "every_prefix":
            assert target not in touched[sequence]
        else:
            assert target != touched[sequence][end]
    again = (batch["target_item"][: len(plain["label"])] == plain["target_item"]).mean()
    assert again == 1 if kind == "once" else again < 0.6
    if k > 1:
        assert batch["weight"].sum() == pytest.approx(2 * positives)
        assert set(batch["weight"].tolist()) == {1.0, np.float32(1 / k)}
    for name, column in batch.items():
        if name.startswith(("user_", "context_")):
            assert (column == plain[name][places]).all()


def test_attributes_are_those_of_the_item_drawn(data):
    reader = Reader(data["every_prefix"], "train", 64, targets="fresh", per_positive=2)
    row_of = {int(i): k for k, i in enumerate(reader.items.fields["item"]) if i > 1}
    for batch in reader.epoch(0):
        rows = [row_of[i] for i in batch["target_item"].tolist()]
        assert (batch["target_category"] == reader.items.fields["category"][rows]).all()
        assert (batch["dense"][:, 0] == reader.items.dense[rows, 0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fresh", "once"])
@pytest.mark.parametrize("protocol", ["every_prefix", "last_event"])
def test_nothing_but_seed_and_epoch_changes_a_draw(data, protocol, kind):
    how = dict(targets=kind, per_positive=3)
    want = drawn(data[protocol], 2, **how)
    assert len(want) > 50
    for other in (
        dict(batch_size=7),
        dict(shuffle=True),
        dict(shuffle=True, bucket_batches=4, batch_size=50),
        dict(bucket_batches=4),
        dict(negatives="uniform"),
    ):
        assert drawn(data[protocol], 2, **how, **other) == want
    shares = [drawn(data[protocol], 2, **how, process_index=k, process_count=2) for k in (0, 1)]
    assert shares[0] | shares[1] == want
    first = drawn(data[protocol], 2, **how, shuffle=True)
    resumed = drawn(data[protocol], 2, 3, **how, shuffle=True)
    assert resumed and resumed.items() <= first.items()
    assert drawn(data[protocol], 2, **how, seed=1) != want
    assert (drawn(data[protocol], 3, **how) == want) == (kind == "once")


def test_fresh_negatives_are_uniform_or_by_popularity(data):
    for protocol in ("every_prefix", "last_event"):
        reader = Reader(data[protocol], "train", 10**6, targets="fresh", per_positive=50)
        found = Counter()
        for epoch in range(4):
            batch = next(reader.epoch(epoch))
            found.update(batch["target_item"][batch["label"] == 0].tolist())
        count = reader.items.count
        items = [i for i in range(2, len(count)) if count[i] > 0]
        got = np.array([found[i] for i in items], float)
        if protocol == "last_event":
            share = count[items] / count[items].sum()
            assert np.abs(got / got.sum() - share).max() < 0.03
        else:  # those that many touched come less often
            rare = np.array([found[i] for i in items if count[i] <= 2], float)
            assert chisquare(rare).pvalue > 1e-6 or rare.std() / rare.mean() < 0.1


def test_stored_ones_stay_where_all_is_touched_or_matched(tmp_path):
    log = random_log(5, users=60, items=12, most=12, labels=False)
    build(log, str(tmp_path / "d"), protocol="every_prefix", name="d", negatives="matched")
    plain = next(Reader(str(tmp_path / "d"), "train", 10**6).epoch())
    reader = Reader(str(tmp_path / "d"), "train", 10**6, targets="fresh")
    fresh = next(reader.epoch())
    history, target = plain["history_item"], plain["target_item"]
    matched = (history == target[:, None]).any(1) & (plain["label"] == 0)
    assert matched.sum() > 10
    assert (fresh["target_item"][matched] == target[matched]).all()
    assert (fresh["target_item"] != target).any()


def test_matched_negatives_stand_in_the_history_as_often_as_positives(tmp_path):
    log = random_log(5, users=200, items=60, most=20, labels=False)
    for negatives in ("untouched", "matched"):
        build(
            log, str(tmp_path / negatives), protocol="every_prefix", name="d", negatives=negatives
        )
        for split in ("train", "test"):
            batch = next(Reader(str(tmp_path / negatives), split, 10**6, 1000).epoch())
            inside = (batch["history_item"] == batch["target_item"][:, None]).any(1)
            known = batch["target_item"] > 1  # the unknown share an index
            rates = [inside[known & (batch["label"] == y)].mean() for y in (0, 1)]
            assert rates[1] > 0.15
            if negatives == "untouched":
                assert rates[0] == 0
            else:
                assert rates[0] > 0.8 * rates[1]


@pytest.mark.parametrize("how", [dict(targets="fresh"), dict(per_positive=4)])
def test_a_protocol_with_labels_of_its_own_is_refused(data, how):
    with pytest.raises(InputError, match="protocol impressions of impressions uses the labels"):
        Reader(data["impressions"], "train", 16, **how)
