"""study/uncertainty.py: intervals against formulas and scikit-learn, and what is called a
difference."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import close
from sklearn.metrics import log_loss, roc_auc_score

from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import click_metrics, group_auc
from paddleinterest.study.breakdown import user_samples
from paddleinterest.study.uncertainty import (
    METRICS,
    SEED,
    Resampled,
    Resampler,
    compare,
    interval,
)


def rows(seed=0, users=80, most=9):
    """user, label and two scores with ties; users of 1 to 9 rows, some of one class."""
    rng = np.random.default_rng(seed)
    user = np.repeat(rng.permutation(users), rng.integers(1, most, users))
    label = rng.integers(0, 2, len(user))
    good = np.round(np.clip(label * 0.3 + rng.random(len(user)) * 0.7, 0, 1), 2)
    poor = np.round(rng.random(len(user)), 2)
    return user, label, good, poor


def test_each_sample_is_what_copies_of_its_users_give():
    """A sample with a user three times scores as a file with three copies of the user's rows, each
    a user of its own."""
    user, label, good, _ = rows()
    found = Resampler(user, label, user, 20).of_run([good])
    for k, times in enumerate(user_samples(user, 20, SEED)):
        copies = np.repeat(np.arange(len(user)), times)
        number = np.concatenate([np.arange(n) for n in times])
        own = user[copies] * 1000 + number
        close(found.samples["auc"][0, k], roc_auc_score(label[copies], good[copies]), 1e-12)
        close(found.samples["gauc"][0, k], group_auc(own, label[copies], good[copies]), 1e-12)
        p = np.clip(good[copies], 1e-7, 1 - 1e-7)
        close(found.samples["logloss"][0, k], log_loss(label[copies], p), 1e-9)
    whole = click_metrics(user, label, good)
    assert {name: found.whole[name].tolist() for name in METRICS} == {
        name: [whole[name]] for name in METRICS
    }


def test_the_interval_is_as_wide_as_theory_says():
    """One row a user: Hanley and McNeil's formula, within a fifth."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 800)
    score = label + rng.normal(0, 1.2, 800)
    low, high = interval([Resampler(np.arange(800), label, label, 600).of_run([score])])
    a = roc_auc_score(label, score)
    positive = label.sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positive - 1) * (q1 - a * a) + (799 - positive) * (q2 - a * a)
    error = math.sqrt(variance / (positive * (800 - positive)))
    assert low < a < high and 0.8 < (high - low) / (2 * 1.96 * error) < 1.2


def test_draws_of_negatives_widen_the_interval():
    user, label, good, poor = rows()
    resampler = Resampler(user, label, user, 200)
    one = resampler.of_run([good, good, good])
    other = resampler.of_run([good, (good + poor) / 2, poor])
    low, high = interval([other])
    assert low < interval([one])[0] - 0.05 and high <= interval([one])[1]


def models(resampler, label, seeds, lift, noise=0.02):
    """Two models' runs, one a seed: the second scores `lift` better; each seed moves both."""
    rng = np.random.default_rng(8)
    ones, others = [], []
    common = rng.random(len(label))
    for _ in range(seeds):
        shared = common + rng.normal(0, noise, len(label))
        others.append(resampler.of_run([shared + 0.3 * label]))
        ones.append(resampler.of_run([shared + (0.3 + lift) * label + rng.normal(0, noise)]))
    return ones, others


def test_a_difference_is_called_one_only_if_it_survives_both():
    user, label, good, poor = rows(users=300)
    resampler = Resampler(user, label, user, 300)
    ones, others = models(resampler, label, 4, lift=0.2)
    found = compare(ones, others)
    assert found.survives_test and found.survives_seeds and found.is_difference and found.better
    assert found.seeds == 4 and found.low < found.difference < found.high
    by_hand = [a.whole["auc"][0] - b.whole["auc"][0] for a, b in zip(ones, others, strict=True)]
    close(found.difference, np.mean(by_hand), 1e-12)
    # the same the other way round
    back = compare(others, ones)
    close(
        [back.difference, back.low, back.high], [-found.difference, -found.high, -found.low], 1e-12
    )
    assert not back.better and back.is_difference
    # two seeds are too few, one says nothing
    two = compare(ones[:2], others[:2])
    assert two.survives_test and two.survives_seeds is None and not two.is_difference
    one = compare(ones[:1], others[:1])
    assert one.p is None and one.spread is None and not one.is_difference
    # seeds that disagree: test is sure, training is not
    mixed = compare([*ones[:2], *others[2:]], [*others[:2], *ones[2:]])
    assert mixed.survives_seeds is False and not mixed.is_difference


def test_a_difference_on_few_users_does_not_survive_other_users():
    user, label, _, _ = rows(users=12)
    resampler = Resampler(user, label, user, 300)
    ones, others = models(resampler, label, 5, lift=0.02, noise=0.001)
    found = compare(ones, others)
    assert found.survives_seeds and not found.survives_test and not found.is_difference


def test_a_difference_that_one_draw_of_negatives_turns_round():
    user, label, good, poor = rows(users=300)
    resampler = Resampler(user, label, user, 200)
    draws = [good, good, poor]
    against = [poor, poor, good]
    found = compare([resampler.of_run(draws)], [resampler.of_run(against)])
    assert found.draws[0] > 0 > found.draws[2] and not found.survives_test


def test_lower_log_loss_is_better():
    user, label, good, poor = rows(users=300)
    resampler = Resampler(user, label, user, 100)
    found = compare([resampler.of_run([good])], [resampler.of_run([poor])], "logloss")
    assert found.difference < 0 and found.better


def test_other_rows_are_not_compared():
    user, label, good, _ = rows()
    one = Resampler(user, label, user, 50).of_run([good])
    for other in (
        Resampler(user, 1 - label, user, 50).of_run([good]),
        Resampler(user[::-1], label, user, 50).of_run([good]),
        Resampler(user, label, user + 1, 50).of_run([good]),
        Resampler(user, label, user, 50).of_run([good, good]),
        Resampler(user, label, user, 60).of_run([good]),
    ):
        with pytest.raises(InputError, match="tested on different rows"):
            compare([one], [other])


def test_json_and_back():
    user, label, good, poor = rows()
    one = Resampler(user, label, user, 30).of_run([good, poor])
    again = Resampled.from_json(one.as_json())
    assert again.key == one.key and again.draws == 2
    for name in METRICS:
        close(again.samples[name], one.samples[name], 1e-6)
        assert np.array_equal(again.whole[name], one.whole[name])
    for spoilt in ({}, {**one.as_json(), "samples": {name: [1.0] for name in METRICS}}):
        with pytest.raises((ValueError, KeyError)):
            Resampled.from_json(spoilt)


def test_a_sample_without_clicks_is_left_out():
    """Two users, one of them without a click: samples of one class have no AUC."""
    user, label = np.array([0, 0, 1, 1]), np.array([1, 0, 0, 0])
    run = Resampler(user, label, user, 40).of_run([np.array([0.9, 0.1, 0.2, 0.3])])
    assert np.isnan(run.samples["auc"]).any() and interval([run]) == (1.0, 1.0)
    again = Resampled.from_json(json.loads(json.dumps(run.as_json(), allow_nan=False)))
    assert np.array_equal(again.samples["auc"], run.samples["auc"], equal_nan=True)
    nothing = replace(run, samples={**run.samples, "auc": np.full((1, 40), np.nan)})
    assert np.isnan(interval([nothing])).all()
