"""How sure a figure on test is: other users, other negatives, other seeds.

A figure of one run depends on three draws: the seed of its training, the users that happen to be in
test, and, if the protocol draws negatives, which ones test has. The seeds are separate runs. The
other two are drawn again here: the users with replacement (the bootstrap), the negatives by
`study/redraw.py`. A difference between two models is called one only if it survives both sides.

Example:
    >>> user = np.repeat(np.arange(200), 2)
    >>> label = np.tile([1, 0], 200)
    >>> good, poor = label + np.linspace(0, 1.2, 400), np.linspace(0, 1, 400)[::-1] + label / 2
    >>> resampler = Resampler(user, label, item=user, samples=100)
    >>> found = compare([resampler.of_run([good])], [resampler.of_run([poor])])
    >>> found.survives_test
    True
    >>> found.survives_seeds is None  # one run each shows nothing about training
    True
"""

import hashlib
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.metrics import click_metrics
from paddleinterest.study.breakdown import WeightedAUC, user_samples

SAMPLES = 1000  # of the users
SEED = 0  # seed of the users' samples, one for all runs, so they are compared on the same users
FEWEST_SEEDS = 3  # fewest seeds that show the spread of training
ALPHA = 0.05
METRICS = ("auc", "gauc", "logloss")
LOWER_IS_BETTER = ("logloss",)


@dataclass
class Resampled:
    """The figures of one run on test, drawn again.

    Attributes:
        key: hash of test's rows and of the samples; only runs with equal keys can be compared.
        whole: {metric: with all users, [draws of negatives]}; the first draw is the prepared one.
        samples: {metric: in each sample of the users, [draws of negatives, samples]}.
    """

    key: str
    whole: dict[str, np.ndarray]
    samples: dict[str, np.ndarray]

    @property
    def draws(self) -> int:
        return len(self.whole["auc"])

    def as_json(self) -> dict[str, Any]:
        """The figures for a file; `from_json` reads them."""
        return {
            "key": self.key,
            "whole": {name: _plain(values) for name, values in self.whole.items()},
            "samples": {name: _plain(np.round(values, 6)) for name, values in self.samples.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Resampled":
        """The figures from `as_json`.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        whole = {name: np.asarray(content["whole"][name], np.float64) for name in METRICS}
        samples = {name: np.asarray(content["samples"][name], np.float64) for name in METRICS}
        for name in METRICS:
            if samples[name].ndim != 2 or whole[name].shape != samples[name].shape[:1]:
                raise ValueError(f"{name} has another shape")
        return cls(str(content["key"]), whole, samples)


def _plain(values: np.ndarray) -> list:
    """Lists, with null for NaN, which JSON does not have."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


class Resampler:
    """Draws the users of a test split again, the same for every run.

    Args:
        user: the user of each row, [N].
        label: 0 or 1, [N].
        item: the item of each row in the first draw of negatives, [N].
        samples: of the users.
    """

    def __init__(
        self, user: np.ndarray, label: np.ndarray, item: np.ndarray, samples: int = SAMPLES
    ) -> None:
        self.user = user
        self.label = label
        self.samples = samples
        digest = hashlib.sha256(f"{SEED} {samples}".encode())
        for column in (user, label, item):
            digest.update(np.ascontiguousarray(column, np.int64).tobytes())
        self.key = digest.hexdigest()[:16]

    def of_run(self, draws: list[np.ndarray]) -> Resampled:
        """The figures of one run.

        Args:
            draws: its probabilities of test's rows, [N] per draw of the negatives.
        """
        whole: dict[str, list] = {name: [] for name in METRICS}
        samples: dict[str, list] = {name: [] for name in METRICS}
        for score in draws:
            figures = click_metrics(self.user, self.label, score)
            in_samples = self._in_samples(score)
            for name in METRICS:
                value = figures[name]
                whole[name].append(np.nan if value is None else value)
                samples[name].append(in_samples[name])
        return Resampled(
            self.key,
            {name: np.array(values, np.float64) for name, values in whole.items()},
            {name: np.array(values, np.float64) for name, values in samples.items()},
        )

    def _in_samples(self, score: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric in each sample of the users, [samples]."""
        weighted = WeightedAUC(self.label, score)
        of_user = _OfUsers(self.user, self.label, score)
        found: dict[str, list[float]] = {name: [] for name in METRICS}
        for times in user_samples(self.user, self.samples, SEED):
            found["auc"].append(weighted(times))
            found["gauc"].append(of_user.gauc(times))
            found["logloss"].append(of_user.logloss(times))
        return {name: np.array(values) for name, values in found.items()}


class _OfUsers:
    """gAUC and log loss are sums over users: computed per user, once for all samples."""

    def __init__(self, user: np.ndarray, label: np.ndarray, score: np.ndarray) -> None:
        _, self.first, own = np.unique(user, return_index=True, return_inverse=True)
        self.rows = np.bincount(own)
        positives = np.bincount(own, weights=label)
        negatives = self.rows - positives
        order = np.lexsort((score, own))
        rank = _ranks_in_groups(own[order], np.asarray(score)[order])
        rank_sum = np.bincount(own[order], weights=rank * np.asarray(label)[order])
        wins = rank_sum - positives * (positives + 1) / 2
        self.both = (positives > 0) & (negatives > 0)
        self.auc = np.divide(wins, positives * negatives, out=np.zeros(len(wins)), where=self.both)
        p = np.clip(np.asarray(score, np.float64), 1e-7, 1 - 1e-7)
        loss = -np.where(np.asarray(label) == 1, np.log(p), np.log1p(-p))
        self.loss = np.bincount(own, weights=loss)

    def gauc(self, times: np.ndarray) -> float:
        """times: how often each row occurs in the sample, [N]."""
        weight = times[self.first] * self.rows * self.both
        total = weight.sum()
        return float((weight * self.auc).sum() / total) if total else float("nan")

    def logloss(self, times: np.ndarray) -> float:
        weight = times[self.first]
        return float((weight * self.loss).sum() / (weight * self.rows).sum())


def _ranks_in_groups(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Rank from 1 in its group of each row, sorted by group and score; ties share their mean."""
    place = np.arange(len(group))
    new_group = np.append(True, group[1:] != group[:-1])
    new_score = new_group | np.append(True, score[1:] != score[:-1])
    start = place[new_group][np.cumsum(new_group) - 1]
    tie = np.cumsum(new_score) - 1
    first = place[new_score]
    last = np.append(first[1:], len(group)) - 1
    return (first[tie] + last[tie]) / 2 - start + 1


def interval(runs: list[Resampled], metric: str = "auc") -> tuple[float, float]:
    """The 95 % interval of the mean over the runs when test's users and negatives are drawn again.

    Raises:
        InputError: the runs have different test splits.
    """
    _check_same(runs)
    return _middle(_mean_samples(runs, metric))


def _check_same(runs: list[Resampled]) -> None:
    for run in runs:
        if (run.key, run.draws) != (runs[0].key, runs[0].draws):
            raise InputError(
                "the runs were tested on different rows or draws of negatives; test them again"
            )


def _middle(values: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(values).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [50 * ALPHA, 100 - 50 * ALPHA])
    return float(low), float(high)


def _mean_samples(runs: list[Resampled], metric: str) -> np.ndarray:
    """Mean over the runs in each sample, [draws · samples]."""
    return np.mean([run.samples[metric] for run in runs], 0).ravel()


@dataclass
class Comparison:
    """Two models compared in one metric.

    Attributes:
        metric: its name.
        difference: mean of the first − mean of the second, over their seeds and draws of negatives.
        low, high: its 95 % interval when test's users and negatives are drawn again.
        draws: the difference on each draw of the negatives.
        seeds: pairs of runs (equal seeds).
        spread: standard deviation of the difference over the seeds; None for one.
        p: of Student's paired t-test over the seeds; None for fewer than two.
    """

    metric: str
    difference: float
    low: float
    high: float
    draws: list[float]
    seeds: int
    spread: float | None
    p: float | None

    @property
    def survives_test(self) -> bool:
        """True if the sign is the same with other users and other negatives."""
        return self.low > 0 or self.high < 0

    @property
    def survives_seeds(self) -> bool | None:
        """True if the sign is the same with other seeds; None if there are too few."""
        return None if self.p is None or self.seeds < FEWEST_SEEDS else self.p < ALPHA

    @property
    def is_difference(self) -> bool:
        return self.survives_test and bool(self.survives_seeds)

    @property
    def better(self) -> bool:
        """True if the first model has the better figure."""
        return (self.difference > 0) != (self.metric in LOWER_IS_BETTER)


def compare(ones: list[Resampled], others: list[Resampled], metric: str = "auc") -> Comparison:
    """Compare two models on the same test rows.

    Args:
        ones: a run per seed.
        others: the other model's, with the same seeds in the same order.
        metric: auc, gauc or logloss.

    Raises:
        InputError: the runs have different test splits.
    """
    _check_same([*ones, *others])
    samples = _mean_samples(ones, metric) - _mean_samples(others, metric)
    of_draws = [
        ours.whole[metric] - theirs.whole[metric] for ours, theirs in zip(ones, others, strict=True)
    ]
    of_seeds = [float(np.mean(values)) for values in of_draws]
    low, high = _middle(samples)
    return Comparison(
        metric=metric,
        difference=statistics.mean(of_seeds),
        low=low,
        high=high,
        draws=np.mean(of_draws, 0).tolist(),
        seeds=len(of_seeds),
        spread=statistics.stdev(of_seeds) if len(of_seeds) > 1 else None,
        p=_paired_t(of_seeds),
    )


def _paired_t(values: list[float]) -> float | None:
    """p of the mean against 0; None for fewer than two values, or all equal ones."""
    if len(values) < 2 or not statistics.stdev(values):
        return None
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(values, 0).pvalue)
