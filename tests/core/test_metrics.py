"""Metrics against scikit-learn and against their definitions."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sk_log_loss
from sklearn.metrics import roc_auc_score

from paddleinterest.core.metrics import auc, click_metrics, group_auc, log_loss, pcoc, rela_impr


def draw(seed, rows=500, users=40, levels=7):
    """Labels, and scores of so few levels that most rows are tied."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(users, size=rows),
        rng.integers(2, size=rows),
        rng.integers(1, levels + 1, rows) / (levels + 1),
    )


def brute_group_auc(user, label, score):
    total = weight = 0
    for u in set(user):
        mine = [k for k in range(len(user)) if user[k] == u]
        if len({label[k] for k in mine}) == 2:
            total += len(mine) * roc_auc_score([label[k] for k in mine], [score[k] for k in mine])
            weight += len(mine)
    return total / weight


@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
@pytest.mark.parametrize("rows", [5, 500])
def test_auc_is_scikit_learns(rows, levels):
    for seed in range(10):
        _, label, score = draw(seed, rows, levels=levels)
        label[:2] = 0, 1
        assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert auc(label.astype(np.float32), score.astype(np.float32)) == pytest.approx(
            roc_auc_score(label, score.astype(np.float32)), abs=1e-12
        )


def test_auc_counts_pairs_and_halves_ties():
    _, label, score = draw(3, 60, levels=4)
    pairs = [(p > n) + (p == n) / 2 for p in score[label == 1] for n in score[label == 0]]
    assert auc(label, score) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auc([0, 1], [0.1, 0.2]) == 1
    assert auc([1, 0], [0.1, 0.2]) == 0
    assert auc([1, 0, 1], [0.5, 0.5, 0.5]) == 0.5


@pytest.mark.parametrize("users", [1, 5, 150])
def test_group_auc_is_the_mean_over_users_with_both_classes(users):
    for seed in range(3):
        user, label, score = draw(seed, rows=300, users=users)
        assert group_auc(user, label, score) == pytest.approx(
            brute_group_auc(user, label, score), abs=1e-12
        )


def test_users_with_one_class_change_nothing():
    user, label, score = draw(1, users=20)
    more = np.r_[user, [98] * 4, [99] * 4], np.r_[label, [1] * 4, [0] * 4], np.r_[score, score[:8]]
    assert group_auc(*more) == pytest.approx(group_auc(user, label, score), abs=1e-12)


def test_users_may_be_texts():
    user, label, score = draw(2)
    assert group_auc(np.array([f"u{u}" for u in user]), label, score) == pytest.approx(
        brute_group_auc(user, label, score), abs=1e-12
    )


def test_log_loss_is_scikit_learns_and_finite():
    _, label, _ = draw(4)
    p = np.random.default_rng(4).uniform(1e-4, 1 - 1e-4, len(label))
    assert log_loss(label, p) == pytest.approx(sk_log_loss(label, p), abs=1e-12)
    assert log_loss([1, 1], [0.5, 0.25]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    wrong = log_loss(np.array([1, 0]), np.array([0, 1], np.float32))
    assert math.isfinite(wrong) and wrong == pytest.approx(-math.log(1e-7), rel=1e-4)


def test_pcoc_is_predicted_over_observed():
    assert pcoc([1, 0, 0, 1], [0.5, 0.5, 0.25, 0.25]) == pytest.approx(0.75)
    _, label, _ = draw(5)
    assert pcoc(label, np.full(len(label), label.mean())) == pytest.approx(1)
    assert math.isnan(pcoc([0, 0], [0.1, 0.2]))


@pytest.mark.parametrize(
    "model, base, printed",
    [  # AUC and RelaImpr of the DIN paper's table of public datasets
        (0.7742, 0.8624, -24.34),
        (0.8637, 0.8624, 0.36),
        (0.8679, 0.8624, 1.52),
        (0.8683, 0.8624, 1.63),
        (0.8818, 0.8624, 5.35),
        (0.8871, 0.8624, 6.82),
        (0.7263, 0.7300, -1.61),
        (0.7348, 0.7300, 2.09),
    ],
)
def test_rela_impr_is_the_papers(model, base, printed):
    assert rela_impr(model, base) == pytest.approx(printed, abs=0.005)


def test_the_undefined_is_none_and_the_rest_is_not():
    values = click_metrics(np.array([1, 1, 2]), np.array([0, 0, 0]), np.array([0.1, 0.2, 0.3]))
    assert values["auc"] is values["gauc"] is values["pcoc"] is None
    assert values["logloss"] == pytest.approx(-np.log([0.9, 0.8, 0.7]).mean())
    values = click_metrics(np.array([1, 2]), np.array([0, 1]), np.array([0.1, 0.3]))
    assert values["gauc"] is None and values["auc"] == 1 and values["pcoc"] == pytest.approx(0.4)


def test_no_rows_are_undefined():
    assert math.isnan(auc([], [])) and math.isnan(group_auc([], [], []))


def test_the_order_of_the_rows_and_their_batches_change_nothing():
    user, label, score = draw(6, 2000)
    first = click_metrics(user, label, score)
    assert all(type(v) is float for v in first.values())
    order = np.random.default_rng(0).permutation(len(user))
    shuffled = [np.concatenate(np.array_split(x[order], 37)) for x in (user, label, score)]
    again = click_metrics(*shuffled)
    assert again["auc"] == first["auc"]
    assert again == pytest.approx(first, abs=1e-12)


def test_a_monotone_change_of_scores_keeps_the_ranks():
    user, label, score = draw(7)
    assert auc(label, np.exp(5 * score) - 100) == auc(label, score)
    assert group_auc(user, label, -score) == pytest.approx(
        1 - group_auc(user, label, score), abs=1e-12
    )
