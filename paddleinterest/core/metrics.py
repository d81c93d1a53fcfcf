"""Exact metrics of click predictions. Every row counts and no figure depends on how the rows were
batched.

Example:
    >>> auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    0.75
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Metrics = dict[str, Any]  # name → float, or None if it is undefined


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve, by ranks, ties counted half.

    Args:
        label: 0 or 1, [N].
        score: any finite numbers that rank the rows, [N].

    Returns:
        The area; NaN if only one class is present.
    """
    return group_auc(np.zeros(np.shape(label), np.int8), label, score)


def group_auc(group: ArrayLike, label: ArrayLike, score: ArrayLike) -> float:
    """gAUC: AUC inside each group (user), weighted by the group's rows; groups with one class are
    left out.

    gAUC = Σ n_u · AUC_u / Σ n_u.

    Args:
        group: group of each row, any sortable type, [N].
        label: 0 or 1, [N].
        score: any finite numbers that rank the rows, [N].

    Returns:
        The mean; NaN if no group has both classes.
    """
    group, label, score = np.asarray(group), np.asarray(label), np.asarray(score)
    order = np.lexsort((score, group))
    group, label, score = group[order], label[order].astype(np.int64), score[order]
    n = len(group)
    if n == 0:
        return float("nan")
    new_group = np.ones(n, bool)
    new_group[1:] = group[1:] != group[:-1]
    g = np.cumsum(new_group) - 1  # group number of each row
    start = np.flatnonzero(new_group)[g]  # where its group starts
    new_score = new_group.copy()
    new_score[1:] |= score[1:] != score[:-1]
    tie = np.cumsum(new_score) - 1
    first = np.flatnonzero(new_score)
    last = np.append(first[1:], n) - 1
    rank = (first[tie] + last[tie]) / 2 - start + 1  # rank inside the group, ties share their mean
    groups = g[-1] + 1
    rows = np.bincount(g, minlength=groups)
    positives = np.bincount(g, weights=label, minlength=groups)
    negatives = rows - positives
    rank_sum = np.bincount(g, weights=rank * label, minlength=groups)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan")
    wins = rank_sum[both] - positives[both] * (positives[both] + 1) / 2
    return float(
        np.sum(rows[both] * wins / (positives[both] * negatives[both])) / np.sum(rows[both])
    )


def log_loss(label: ArrayLike, probability: ArrayLike) -> float:
    """Mean negative log likelihood, nats per row; probabilities are kept 1e-7 away from 0 and 1."""
    label = np.asarray(label, np.float64)
    p = np.clip(np.asarray(probability, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p)))


def pcoc(label: ArrayLike, probability: ArrayLike) -> float:
    """Predicted over observed click rate: mean prediction / mean label. 1 is calibrated; NaN
    without a click."""
    mean = float(np.mean(np.asarray(label, np.float64)))
    return float(np.mean(np.asarray(probability, np.float64)) / mean) if mean > 0 else float("nan")


def rela_impr(auc_model: float, auc_base: float) -> float:
    """RelaImpr of the DIN paper (there of the user-weighted AUC), in percent: ((AUC − 0.5) / (AUC
    of the base model − 0.5) − 1) · 100."""
    return ((auc_model - 0.5) / (auc_base - 0.5) - 1) * 100


def click_metrics(user: ArrayLike, label: ArrayLike, probability: ArrayLike) -> Metrics:
    """AUC, gAUC, log loss and PCOC of one split; an undefined one is None."""
    values = {
        "auc": auc(label, probability),
        "gauc": group_auc(user, label, probability),
        "logloss": log_loss(label, probability),
        "pcoc": pcoc(label, probability),
    }
    return {k: None if np.isnan(v) else v for k, v in values.items()}


def format_metrics(metrics: Metrics) -> str:
    """`click_metrics`, or some of them, in one line for a person."""
    return " ".join(
        f"{k} {'undefined' if v is None else format(v, '.4f')}" for k, v in metrics.items()
    )
