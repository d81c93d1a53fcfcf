"""The numbers of the pictures of tools/report.py: the runs of one dataset, with all seeds together.

`Series` is {label: [runs of one model and its settings, one per seed]}. A spread is an array
[3, …]: mean, least and greatest over the seeds.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from paddleinterest.core.metrics import auc, click_metrics
from paddleinterest.data.schema import Schema
from paddleinterest.study import names, slices
from paddleinterest.study.breakdown import (
    Range,
    calibration,
    equal_bins,
    grouped_auc,
    resampled_auc,
)
from paddleinterest.study.results import Epoch, Run, Series, Split
from paddleinterest.study.slices import Slice

CALIBRATION_BINS = 10
DRAWS = 200  # samples of the users for each bar


@dataclass
class Learning:
    """For one label, after each epoch: AUC on valid and log loss on train, spreads [3, epochs]."""

    auc: np.ndarray
    loss: np.ndarray


@dataclass
class Lengths:
    """For one label, in each range of history lengths: mean AUC over the seeds [ranges], and the 95
    % interval of such means when the users of the range are drawn again [2, ranges]."""

    auc: np.ndarray
    interval: np.ndarray


@dataclass
class Calibration:
    """For one label, in groups of equally many rows: mean prediction [bins], mean label (a spread
    [3, bins]), and PCOC of all rows (a spread [3])."""

    score: np.ndarray
    label: np.ndarray
    pcoc: np.ndarray


@dataclass
class Cost:
    """For one label: seconds of training per epoch and AUC on test (spreads [3]), CPU threads, and
    how many of its runs were timed."""

    seconds: np.ndarray
    auc: np.ndarray
    threads: list[str]
    timed: int


@dataclass
class InSlice:
    """One way to divide test's rows: rows and click rate of each group [groups], and AUC and PCOC
    of each label, spreads [3, groups]."""

    slice: Slice
    rows: np.ndarray
    rate: np.ndarray
    auc: dict[str, np.ndarray]
    pcoc: dict[str, np.ndarray]


@dataclass
class Numbers:
    """The numbers of one dataset on the page; each dict has a value per label.

    Attributes:
        schema: of the dataset.
        series: its runs.
        quality: {label: {metric: spread on test}}.
        ranges: of history lengths, for `lengths`.
        bins: groups of `calibration`.
        caps: the runs' history caps.
        settings: the settings that are not the model's defaults, in words.
        untimed: directories of the runs without a result.json.
        pictures: file names, by kind; filled in when they are drawn.
    """

    schema: Schema
    series: Series
    quality: dict[str, dict[str, np.ndarray]]
    learning: dict[str, Learning]
    ranges: list[Range]
    lengths: dict[str, Lengths]
    bins: int
    calibration: dict[str, Calibration]
    cost: dict[str, Cost]
    slices: list[InSlice]
    caps: list[int]
    settings: dict[str, list[str]]
    untimed: list[str]
    pictures: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        return [run for runs in self.series.values() for run in runs]


def numbers_of(series: Series, bins: int) -> Numbers:
    """Compute the numbers of one dataset.

    Args:
        series: its runs, scored.
        bins: largest number of ranges of history lengths.
    """
    runs = [run for of_label in series.values() for run in of_label]
    split = runs[0].split
    ranges, lengths = by_length(series, split, bins, DRAWS)
    return Numbers(
        schema=split.schema,
        series=series,
        quality=quality(series),
        learning=learning(series),
        ranges=ranges,
        lengths=lengths,
        bins=min(CALIBRATION_BINS, len(split.label)),
        calibration=calibrated(series, split, CALIBRATION_BINS),
        cost=cost(series, split),
        slices=[in_slice(series, split, one) for one in split.slices],
        caps=sorted({run.config.runner.history_cap for run in runs}),
        settings={label: names.own_settings(of_label) for label, of_label in series.items()},
        untimed=[run.directory for run in runs if not run.result],
    )


def spread(values: ArrayLike) -> np.ndarray:
    """Mean, least and greatest over axis 0, [3, …]; NaN if one of the values is."""
    values = np.asarray(values, np.float64)
    return np.stack([values.mean(0), values.min(0), values.max(0)])


def quality(series: Series) -> dict[str, dict[str, np.ndarray]]:
    """{label: {auc, gauc, logloss, pcoc: spread on test}}."""
    found = {}
    for label, runs in series.items():
        each = [click_metrics(run.split.user, run.split.label, run.score) for run in runs]
        found[label] = {
            metric: spread([_number(values[metric]) for values in each]) for metric in each[0]
        }
    return found


def learning(series: Series) -> dict[str, Learning]:
    """Learning curves up to the last epoch that all seeds of the label have reached."""
    found = {}
    for label, runs in series.items():
        epochs = min(len(run.epochs) for run in runs)
        valid = [[_valid_auc(line) for line in run.epochs[:epochs]] for run in runs]
        loss = [[line.train.loss for line in run.epochs[:epochs]] for run in runs]
        found[label] = Learning(auc=spread(valid), loss=spread(loss))
    return found


def _valid_auc(line: Epoch) -> float:
    return _number(line.valid.auc if line.valid else None)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def by_length(
    series: Series, split: Split, bins: int, draws: int
) -> tuple[list[Range], dict[str, Lengths]]:
    """AUC on test in ranges of history length."""
    ranges, group = equal_bins(split.length, bins)
    found = {}
    for label, runs in series.items():
        scores = [run.score for run in runs]
        intervals = [_interval(split, group == g, scores, draws, g) for g in range(len(ranges))]
        each = [grouped_auc(group, split.label, score) for score in scores]
        found[label] = Lengths(auc=np.mean(each, 0), interval=np.array(intervals).T)
    return ranges, found


def _interval(
    split: Split, inside: np.ndarray, scores: list[np.ndarray], draws: int, seed: int
) -> np.ndarray:
    """The 95 % interval of the mean AUC of these rows when their users are drawn again, [2]."""
    means = resampled_auc(
        split.user[inside],
        split.label[inside],
        [score[inside] for score in scores],
        draws,
        seed,
    )
    if not np.isfinite(means).any():
        return np.full(2, np.nan)
    return np.nanpercentile(means, [2.5, 97.5])


def calibrated(series: Series, split: Split, bins: int) -> dict[str, Calibration]:
    """Predictions against labels in groups of equal size."""
    found = {}
    for label, runs in series.items():
        points = np.array([calibration(split.label, run.score, bins) for run in runs])
        pcoc = [run.score.astype(np.float64).mean() / split.label.mean() for run in runs]
        found[label] = Calibration(
            score=points[:, 0].mean(0),  # points: [seeds, 2, bins]
            label=spread(points[:, 1]),
            pcoc=spread(pcoc),
        )
    return found


def in_slice(series: Series, split: Split, one: Slice) -> InSlice:
    """AUC and calibration in each group of a slice."""
    auc_of = {}
    pcoc_of = {}
    for label, runs in series.items():
        each = [slices.figures(one, split.label, run.score) for run in runs]
        auc_of[label] = spread([found.auc for found in each])
        pcoc_of[label] = spread([found.pcoc for found in each])
    rate = slices.rate_of(one, split.label)
    return InSlice(one, slices.rows_of(one), rate, auc_of, pcoc_of)


def cost(series: Series, split: Split) -> dict[str, Cost]:
    """Time and AUC of the labels that have a run with a result.json."""
    found = {}
    for label, runs in series.items():
        timed = [run.result for run in runs if run.result]
        if not timed:
            continue
        seconds = [said.seconds_per_epoch for said in timed]
        found[label] = Cost(
            seconds=spread(seconds),
            auc=spread([auc(split.label, run.score) for run in runs]),
            threads=sorted({str(said.threads or "?") for said in timed}),
            timed=len(timed),
        )
    return found
