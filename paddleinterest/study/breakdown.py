"""Where a model is right: AUC by groups of rows with its uncertainty, and predictions against what
happened.

Example:
    >>> bins, group = equal_bins(np.array([4, 4, 4, 5, 6, 9]), 2)
    >>> bins, group.tolist()
    ([(4, 4, 3), (5, 9, 3)], [0, 0, 0, 1, 1, 1])
"""

import numpy as np

from paddleinterest.core.metrics import auc


def equal_bins(value, bins):
    """Cut integers into at most `bins` ranges of about equally many rows; rows of one value stay
    together.

    A range closes as soon as it has its share of the rows; what is left for the last one joins its
    neighbour where it is less than half a share.

    Returns:
        [(lowest, highest, rows)] of each range, ascending, and the range of each row, int [N].
    """
    distinct, inverse, rows = np.unique(value, return_inverse=True, return_counts=True)
    share, lasts, held = len(value) / bins, [], 0
    for k, n in enumerate(rows):
        held += n
        if held >= share:
            lasts.append(k)
            held = 0
    if held >= share / 2 or not lasts:
        lasts.append(len(rows) - 1)
    lasts[-1] = len(rows) - 1
    firsts = [0] + [k + 1 for k in lasts[:-1]]
    ranges = [
        (int(distinct[a]), int(distinct[b]), int(rows[a : b + 1].sum()))
        for a, b in zip(firsts, lasts)
    ]
    return ranges, np.searchsorted(lasts, np.arange(len(rows)))[inverse]


def grouped_auc(group, label, score):
    """AUC inside each group 0…max, [groups]; NaN where a group has one class."""
    return np.array(
        [auc(label[group == g], score[group == g]) for g in range(int(group.max()) + 1)]
    )


def resampled_auc(user, label, scores, draws, seed=0):
    """Mean AUC of several `scores` of the same rows in samples of the users, drawn with
    replacement, [draws].

    Users are drawn, not rows: the rows of one user are no independent observations. Equal seeds
    draw equal users, whatever the scores, so that models are compared on the same samples. NaN
    where a sample has one class.
    """
    rng = np.random.default_rng(seed)
    users, own = np.unique(user, return_inverse=True)
    weighted = [WeightedAUC(label, s) for s in scores]
    values = np.empty(draws)
    for k in range(draws):
        times = np.bincount(rng.integers(0, len(users), len(users)), minlength=len(users))[own]
        values[k] = np.mean([w(times) for w in weighted])
    return values


class WeightedAUC:
    """AUC of rows with weights; sorts once for any number of weightings."""

    def __init__(self, label, score):
        self.order = np.argsort(score, kind="stable")
        self.label, score = np.asarray(label)[self.order] == 1, np.asarray(score)[self.order]
        self.first = np.searchsorted(score, score, "left")  # of the rows that tie with this one
        self.after = np.searchsorted(score, score, "right")

    def __call__(self, weight):
        weight = np.asarray(weight, np.float64)[self.order]
        below = np.append(
            0.0, np.cumsum(np.where(self.label, 0.0, weight))
        )  # negative weight before each place
        positive = np.where(self.label, weight, 0.0)
        pairs = positive.sum() * below[-1]
        return (
            float(np.sum(positive * (below[self.first] + below[self.after])) / (2 * pairs))
            if pairs
            else float("nan")
        )


def calibration(label, score, bins):
    """Mean prediction and mean label in `bins` groups of equally many rows (± 1), by rising
    prediction, [2, bins]."""
    order = np.argsort(score, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return np.array(
        [[np.mean(np.asarray(x, np.float64)[p]) for p in parts] for x in (score, label)]
    )
