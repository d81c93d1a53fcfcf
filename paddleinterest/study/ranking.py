"""Metrics of ranked lists: by impression, and of one positive among many candidates.

Rows with equal scores have no order. Each figure here is the mean over all their orders, so it
depends only on the scores.

Example:
    >>> found = by_group(np.array([7, 7, 7]), np.array([0, 1, 0]), np.array([0.9, 0.8, 0.1]))
    >>> found["auc"], found["mrr"], round(found["ndcg@5"], 4), found["groups"]
    (0.5, 0.5, 0.6309, 1)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AT = (5, 10)


def by_group(
    group: np.ndarray, label: np.ndarray, score: np.ndarray, at: Sequence[int] = AT
) -> dict[str, float | int]:
    """AUC, MRR and NDCG inside each group, their means over the groups with both classes.

    These are the figures of the MIND and EB-NeRD leaderboards, where a group is an impression:
    MRR is the sum of 1 / place over the clicked rows, by their number; NDCG@k the discounted gain
    of the first k places, by that of the best order.

    Args:
        group: of each row, any integers, [N].
        label: 0 or 1, [N].
        score: [N].
        at: places that count for NDCG.

    Returns:
        {auc, mrr, ndcg@5, ndcg@10, groups}; NaN if no group has both classes.
    """
    placed = _Placed.of(group, label, score)
    both = (placed.clicks > 0) & (placed.clicks < placed.rows)
    found: dict[str, float | int] = {"auc": _mean(placed.auc()[both])}
    found["mrr"] = _mean(placed.discounted(1 / placed.place)[both] / placed.clicks[both])
    for k in at:
        gain = placed.discounted(np.where(placed.place <= k, _discount(placed.place), 0.0))
        best = np.append(0.0, np.cumsum(_discount(np.arange(1, k + 1))))
        found[f"ndcg@{k}"] = _mean(gain[both] / best[np.minimum(placed.clicks[both], k)])
    found["groups"] = int(both.sum())
    return found


def _discount(place: np.ndarray) -> np.ndarray:
    return 1 / np.log2(1 + place)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@dataclass
class _Placed:
    """Rows sorted by group, best score first.

    Attributes:
        group: number of each row's group, from 0, [N].
        place: of each row in its group, from 1, [N].
        expected: mean label of the rows that tie with this one, [N].
        below: rows of the group that score less, and half of those that tie, [N].
        rows, clicks: of each group, [groups].
    """

    group: np.ndarray
    place: np.ndarray
    expected: np.ndarray
    below: np.ndarray
    rows: np.ndarray
    clicks: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, label: np.ndarray, score: np.ndarray) -> "_Placed":
        order = np.lexsort((-np.asarray(score, np.float64), group))
        _, number = np.unique(np.asarray(group)[order], return_inverse=True)
        label = np.asarray(label, np.float64)[order]
        score = np.asarray(score)[order]
        new_group = np.append(True, number[1:] != number[:-1])
        tie = np.cumsum(new_group | np.append(True, score[1:] != score[:-1])) - 1
        start = np.flatnonzero(new_group)[number]
        size = np.bincount(tie)
        first = np.cumsum(size) - size  # of each tie
        rows = np.bincount(number)
        end = np.cumsum(rows)[number]  # end of each row's group
        ahead = first[tie] + size[tie]  # beginning of the rows that score less
        return cls(
            group=number,
            place=np.arange(len(number)) - start + 1,
            expected=(np.bincount(tie, weights=label) / size)[tie],
            below=end - ahead + (size[tie] - 1) / 2,
            rows=rows,
            clicks=np.bincount(number, weights=label).round().astype(np.int64),
        )

    def discounted(self, weight: np.ndarray) -> np.ndarray:
        """Σ weight of a place · the label expected there, [groups]."""
        return np.bincount(self.group, weights=weight * self.expected)

    def auc(self) -> np.ndarray:
        """AUC of each group, [groups]; no number if it has one class."""
        beaten = np.bincount(self.group, weights=self.expected * self.below)
        among_clicks = self.clicks * (self.clicks - 1) / 2
        pairs = self.clicks * (self.rows - self.clicks)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (beaten - among_clicks) / pairs


@dataclass
class Place:
    """The places of positives among their candidates, [N] each.

    Attributes:
        above: candidates that score more.
        ties: other candidates that score the same.
        candidates: all of them, including the positive.
    """

    above: np.ndarray
    ties: np.ndarray
    candidates: np.ndarray


def of_places(place: Place, user: np.ndarray, k: int = 10) -> dict[str, float | int]:
    """NDCG@k, HR@k and MRR of positives among their candidates: means over each user's positives,
    then over the users.

    Args:
        place: of each positive, [N].
        user: of each positive, [N].
        k: places that count.
    """
    low = place.above + 1  # the best place within the ties
    high = low + place.ties
    longest = int(high.max(initial=0)) + 1
    places = np.arange(1, longest)
    curves = {
        f"ndcg@{k}": np.where(places <= k, _discount(places), 0.0),
        f"hr@{k}": np.where(places <= k, 1.0, 0.0),
        "mrr": 1 / places,
    }
    _, own = np.unique(user, return_inverse=True)
    found: dict[str, float | int] = {}
    for name, curve in curves.items():
        total = np.append(0.0, np.cumsum(curve))
        value = (total[high] - total[low - 1]) / (high - low + 1)
        of_user = np.bincount(own, weights=value) / np.bincount(own)
        found[name] = _mean(of_user)
    found["users"] = int(own.max(initial=-1)) + 1
    found["positives"] = len(low)
    return found
