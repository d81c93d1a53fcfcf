"""A whole split through an export bundle."""

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import progress, say
from paddleinterest.core.metrics import click_metrics, format_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.training.predict import check_finite, write_predictions


def score_split(bundle, data, split, batch_size, out=None):
    """Metrics of one split of dataset `data`; with `out` the predictions are written as well."""
    if batch_size < 1:
        raise InputError("--batch-size must be at least 1")
    bundle.check_data(data)
    reader = Reader(
        data,
        split,
        batch_size,
        bundle.signature["history_cap"],
        times="history_time" in bundle.programs["model"].inputs,
    )
    score = np.empty(reader.rows, np.float32)
    order = np.argsort(reader.length, kind="stable")
    with progress(reader.rows, split) as bar:
        for lo in range(0, reader.rows, batch_size):
            rows = order[lo : lo + batch_size]
            score[rows] = bundle.score(reader.batch(rows))
            bar.update(len(rows))
    check_finite(score)
    metrics = click_metrics(reader.user, reader.label, score)
    say(f"{split} {format_metrics(metrics)}")
    if out:
        write_predictions(out, reader, data, score)
    return {
        "data": data,
        "split": split,
        "rows": reader.rows,
        **metrics,
        **({"predictions": out} if out else {}),
    }
