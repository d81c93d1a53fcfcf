"""The numbers behind the pictures of tools/report.py: the runs of one dataset, seeds taken
together.

`series` is {label: [runs of one model and its settings, one a seed]}. A spread is an array [3, …]: mean, least and greatest
over the seeds.
"""

import numpy as np

from paddleinterest.core.metrics import auc, click_metrics
from paddleinterest.study.breakdown import calibration, equal_bins, grouped_auc, resampled_auc


def spread(values):
    """Mean, least and greatest over axis 0, [3, …]; NaN where one of the values is."""
    values = np.asarray(values, np.float64)
    return np.stack([values.mean(0), values.min(0), values.max(0)])


def quality(series):
    """{label: {auc, gauc, logloss, pcoc: spread on test}}."""
    found = {}
    for label, runs in series.items():
        each = [click_metrics(r.split.user, r.split.label, r.score) for r in runs]
        found[label] = {
            m: spread([np.nan if e[m] is None else e[m] for e in each]) for m in each[0]
        }
    return found


def learning(series):
    """{label: {auc on valid, loss on train: spread [3, epochs]}}, up to the last epoch that all
    seeds have reached."""
    found = {}
    for label, runs in series.items():
        epochs = min(len(r.epochs) for r in runs)
        lines = [r.epochs[:epochs] for r in runs]
        found[label] = {
            "auc": spread(
                [[_number((line["valid"] or {}).get("auc")) for line in one] for one in lines]
            ),
            "loss": spread([[line["train"]["loss"] for line in one] for one in lines]),
        }
    return found


def _number(value):
    return np.nan if value is None else value


def by_length(series, split, bins, draws):
    """AUC on test in ranges of history length: (ranges, {label: {auc: mean over seeds [ranges],
    interval: [2, ranges]}}).

    interval: where 95 % of the means over seeds lie when the users of the range are drawn again,
    `draws` times.
    """
    ranges, group = equal_bins(split.length, bins)
    rows = [np.flatnonzero(group == g) for g in range(len(ranges))]
    found = {}
    for label, runs in series.items():
        means = [
            resampled_auc(split.user[k], split.label[k], [r.score[k] for r in runs], draws, seed=g)
            for g, k in enumerate(rows)
        ]
        interval = [
            np.nanpercentile(m, [2.5, 97.5]) if np.isfinite(m).any() else [np.nan, np.nan]
            for m in means
        ]
        found[label] = {
            "auc": np.mean([grouped_auc(group, split.label, r.score) for r in runs], 0),
            "interval": np.array(interval).T,
        }
    return ranges, found


def calibrated(series, split, bins):
    """{label: {score: mean prediction [bins], label: spread of the mean label [3, bins], pcoc:
    spread}}, groups of equal size."""
    found = {}
    for label, runs in series.items():
        points = np.array(
            [calibration(split.label, r.score, bins) for r in runs]
        )  # [seeds, 2, bins]
        found[label] = {
            "score": points[:, 0].mean(0),
            "label": spread(points[:, 1]),
            "pcoc": spread([r.score.astype(np.float64).mean() / split.label.mean() for r in runs]),
        }
    return found


def cost(series, split):
    """{label: {seconds of training an epoch: spread, auc on test: spread, threads, runs timed}}, of
    runs with a result.json."""
    found = {}
    for label, runs in series.items():
        timed = [r for r in runs if r.result]
        if timed:
            found[label] = {
                "seconds": spread(
                    [r.result["rows"]["train"] / r.result["samples_per_second"] for r in timed]
                ),
                "auc": spread([auc(split.label, r.score) for r in runs]),
                "timed": len(timed),
                "threads": sorted({str(r.result.get("threads") or "?") for r in timed}),
            }
    return found
