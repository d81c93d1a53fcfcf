"""study/ranking.py: against the formulas that the leaderboards publish, and against all orders of
equal scores."""

import itertools

import numpy as np
import pytest
from helpers import close
from sklearn.metrics import ndcg_score, roc_auc_score

from paddleinterest.study.ranking import Place, by_group, of_places


def mrr_of_mind(label, score):
    """MRR as the MIND repository's evaluate.py computes it."""
    order = np.argsort(score)[::-1]
    label = np.take(label, order)
    return np.sum(label / (np.arange(len(label)) + 1)) / np.sum(label)


def ndcg_of_mind(label, score, k):
    def dcg(label, score):
        label = np.take(label, np.argsort(score)[::-1][:k])
        return np.sum((2.0**label - 1) / np.log2(np.arange(len(label)) + 2))

    return dcg(label, score) / dcg(label, label)


def impressions(seed, digits):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(100, 140), rng.integers(1, 30, 40)))
    label = (rng.random(len(group)) < 0.2).astype(int)
    return group, label, np.round(rng.random(len(group)), digits)


def test_without_ties_as_the_leaderboards():
    group, label, score = impressions(0, 12)
    own = [group == g for g in np.unique(group)]
    both = [k for k in own if 0 < label[k].mean() < 1]
    found = by_group(group, label, score)
    assert found["groups"] == len(both) and len(own) > len(both) > 20
    close(found["auc"], np.mean([roc_auc_score(label[k], score[k]) for k in both]), 1e-12)
    close(found["mrr"], np.mean([mrr_of_mind(label[k], score[k]) for k in both]), 1e-12)
    for at in (5, 10):
        of_mind = [ndcg_of_mind(label[k], score[k], at) for k in both]
        close(found[f"ndcg@{at}"], np.mean(of_mind), 1e-12)
        of_sklearn = [ndcg_score([label[k]], [score[k]], k=at) for k in both]
        close(found[f"ndcg@{at}"], np.mean(of_sklearn), 1e-12)


def test_ties_count_as_the_mean_over_their_orders():
    score = np.array([0.5, 0.9, 0.5, 0.5, 0.1])
    label = np.array([1, 0, 0, 1, 0])
    found = by_group(np.zeros(5), label, score, at=(2, 5))
    all_orders = [
        by_group(np.zeros(5), label, score + 1e-6 * np.array(order), at=(2, 5))
        for order in itertools.permutations(range(5))
    ]
    assert len({e["mrr"] for e in all_orders}) > 1
    for name in ("auc", "mrr", "ndcg@2", "ndcg@5"):
        close(found[name], np.mean([e[name] for e in all_orders]), 1e-12)


def test_ndcg_with_ties_is_sklearns():
    group, label, score = impressions(1, 1)
    found = by_group(group, label, score)
    both = [group == g for g in np.unique(group) if 0 < label[group == g].mean() < 1]
    close(found["ndcg@5"], np.mean([ndcg_score([label[k]], [score[k]], k=5) for k in both]), 1e-12)
    close(found["auc"], np.mean([roc_auc_score(label[k], score[k]) for k in both]), 1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_groups_of_one_class_say_nothing(label):
    found = by_group(np.arange(4), np.full(4, label), np.arange(4.0))
    assert found["groups"] == 0 and np.isnan(found["auc"]) and np.isnan(found["ndcg@5"])


def test_one_positive_among_candidates():
    """The same figures from all scores of a list, one list a positive."""
    rng = np.random.default_rng(2)
    users = np.array([3, 3, 5, 9])
    scores = np.round(rng.random((4, 30)), 1)
    place = Place(
        above=(scores[:, 1:] > scores[:, :1]).sum(1),
        ties=(scores[:, 1:] == scores[:, :1]).sum(1),
        candidates=np.full(4, 30),
    )
    found = of_places(place, users)
    label = np.zeros(30)
    label[0] = 1
    each = [by_group(np.zeros(30), label, s) for s in scores]
    for name in ("mrr", "ndcg@10"):
        values = [e[name] for e in each]
        close(found[name], np.mean([np.mean(values[:2]), values[2], values[3]]), 1e-12)
    assert (found["users"], found["positives"]) == (3, 4)
    assert place.ties.max() > 0


def test_hit_rate():
    place = Place(np.array([0, 9, 10, 8]), np.array([0, 0, 0, 3]), np.full(4, 100))
    # places 1, 10, 11, and 9 to 12 of which two count
    close(of_places(place, np.arange(4))["hr@10"], (1 + 1 + 0 + 0.5) / 4, 1e-12)
    close(
        of_places(place, np.zeros(4))["mrr"],
        np.mean([1, 1 / 10, 1 / 11, np.mean([1 / 9, 1 / 10, 1 / 11, 1 / 12])]),
        1e-12,
    )
