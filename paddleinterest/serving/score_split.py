"""A whole split through an export bundle."""

from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import progress, say
from paddleinterest.core.metrics import click_metrics, format_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.serving.bundle import Bundle
from paddleinterest.training.predict import check_finite, write_predictions


def score_split(
    bundle: Bundle, data: str, split: str, batch_size: int, out: str | None = None
) -> dict[str, Any]:
    """Score one split of a prepared dataset.

    Args:
        bundle: scores it.
        data: the dataset, with the bundle's vocabularies.
        split: train, valid or test.
        batch_size: rows per call.
        out: Parquet file for the predictions, if they are wanted.

    Returns:
        The tool's result: the split's metrics.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size is {batch_size}, must be at least 1")
    bundle.check_data(data)
    reader, probability = split_scores(bundle, data, split, batch_size)
    score = bundle.calibrated(probability)
    metrics = click_metrics(reader.user, reader.label, score)
    say(f"{split} {format_metrics(metrics)}")
    result = {"data": data, "split": split, "rows": reader.rows, **metrics}
    if bundle.calibration:
        before = click_metrics(reader.user, reader.label, probability)
        say(f"{split} before {bundle.calibration.kind}: {format_metrics(before)}")
        result["calibration"] = {"kind": bundle.calibration.kind, "before": before}
    if out:
        write_predictions(out, reader, data, score)
        result["predictions"] = out
    return result


def split_scores(
    bundle: Bundle, data: str, split: str, batch_size: int
) -> tuple[Reader, np.ndarray]:
    """The reader of a split and the net's probabilities, not calibrated, float32 [rows].

    Raises:
        InputError: one of them is not finite.
    """
    cap = bundle.signature["history_cap"]
    times = "history_time" in bundle.signature["programs"]["model"]["inputs"]
    reader = Reader(data, split, batch_size, cap, times=times)
    probability = np.empty(reader.rows, np.float32)
    order = np.argsort(reader.length, kind="stable")
    with progress(reader.rows, split) as bar:
        for lo in range(0, reader.rows, batch_size):
            rows = order[lo : lo + batch_size]
            probability[rows] = bundle.probabilities(reader.batch(rows))
            bar.update(len(rows))
    check_finite(probability)
    return reader, probability
