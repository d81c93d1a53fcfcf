"""Where a model is right: AUC with its uncertainty by groups of rows, and predictions against
clicks.

Example:
    >>> bins, group = equal_bins(np.array([4, 4, 4, 5, 6, 9]), 2)
    >>> bins
    [Range(low=4, high=4, rows=3), Range(low=5, high=9, rows=3)]
    >>> group.tolist()
    [0, 0, 0, 1, 1, 1]
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from paddleinterest.core.metrics import auc


class Range(NamedTuple):
    """The rows whose value is from `low` to `high`, both included."""

    low: int
    high: int
    rows: int


def equal_bins(value: np.ndarray, bins: int) -> tuple[list[Range], np.ndarray]:
    """Cut integers into ranges of about equally many rows; rows of one value stay together.

    A range closes as soon as it has its share of the rows. What is left for the last one joins its
    neighbour if it is less than half a share.

    Args:
        value: an integer per row, [N].
        bins: largest number of ranges.

    Returns:
        The ranges, ascending, and the number of the range of each row, int [N].
    """
    distinct, inverse, rows = np.unique(value, return_inverse=True, return_counts=True)
    share = len(value) / bins
    lasts = []  # for each range the position of its last distinct value
    held = 0
    for k, n in enumerate(rows):
        held += n
        if held >= share:
            lasts.append(k)
            held = 0
    if held >= share / 2 or not lasts:
        lasts.append(len(rows) - 1)
    lasts[-1] = len(rows) - 1
    firsts = [0, *(k + 1 for k in lasts[:-1])]
    ranges = [
        Range(int(distinct[first]), int(distinct[last]), int(rows[first : last + 1].sum()))
        for first, last in zip(firsts, lasts, strict=True)
    ]
    of_value = np.searchsorted(lasts, np.arange(len(rows)))
    return ranges, of_value[inverse]


def grouped_auc(group: np.ndarray, label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """AUC inside each group 0…max, [groups]; NaN if a group has one class."""
    groups = range(int(group.max()) + 1)
    return np.array([auc(label[group == g], score[group == g]) for g in groups])


def resampled_auc(
    user: np.ndarray,
    label: np.ndarray,
    scores: Sequence[np.ndarray],
    draws: int,
    seed: int = 0,
) -> np.ndarray:
    """Mean AUC of several scores of the same rows in samples of the users.

    Users are drawn with replacement, not rows: the rows of one user are not independent
    observations. Equal seeds draw equal users, so models are compared on the same samples.

    Args:
        user: the user of each row, [N].
        label: 0 or 1, [N].
        scores: one array [N] per seed of a model.
        draws: samples.
        seed: of the draws.

    Returns:
        The mean AUC in each sample, [draws]; NaN if a sample has one class.
    """
    weighted = [WeightedAUC(label, score) for score in scores]
    values = np.empty(draws)
    for k, times in enumerate(user_samples(user, draws, seed)):
        values[k] = np.mean([one(times) for one in weighted])
    return values


def user_samples(user: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row occurs in a sample of the users with replacement, int [N]."""
    rng = np.random.default_rng(seed)
    users, own = np.unique(user, return_inverse=True)
    for _ in range(draws):
        drawn = rng.integers(0, len(users), len(users))
        yield np.bincount(drawn, minlength=len(users))[own]


class WeightedAUC:
    """AUC of rows with weights. It sorts once for any number of weightings.

    Args:
        label: 0 or 1, [N].
        score: any numbers, [N].
    """

    def __init__(self, label: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(score, kind="stable")
        self.label = np.asarray(label)[self.order] == 1
        score = np.asarray(score)[self.order]
        self.first = np.searchsorted(score, score, "left")  # of the rows that tie with this one
        self.after = np.searchsorted(score, score, "right")

    def __call__(self, weight: np.ndarray) -> float:
        """The AUC if each row counts `weight` times, [N]; NaN if one class has no weight."""
        weight = np.asarray(weight, np.float64)[self.order]
        positive = np.where(self.label, weight, 0.0)
        negative = weight - positive
        below = np.append(0.0, np.cumsum(negative))  # negative weight before each position
        pairs = positive.sum() * below[-1]
        if not pairs:
            return float("nan")
        wins = positive * (below[self.first] + below[self.after])
        return float(np.sum(wins) / (2 * pairs))


def calibration(label: np.ndarray, score: np.ndarray, bins: int) -> np.ndarray:
    """Mean prediction and mean label in `bins` groups of equally many rows (± 1), by rising
    prediction, [2, bins]."""
    order = np.argsort(score, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    columns = [np.asarray(column, np.float64) for column in (score, label)]
    return np.array([[np.mean(column[part]) for part in parts] for column in columns])
