"""Error bars of a trained run, or of item popularity, on test."""

import json
import os
from typing import Any

import numpy as np

from paddleinterest.core import json_text
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.settings import Settings
from paddleinterest.data.reader import Reader
from paddleinterest.study import redraw
from paddleinterest.study.uncertainty import METRICS, Resampled, Resampler, interval


def of_checkpoint(config: Settings, data: str, path: str) -> Resampled:
    """The figures of a checkpoint on test, drawn again.

    Args:
        config: the run's settings.
        data: its prepared dataset.
        path: the checkpoint.
    """
    from paddleinterest.training import loading
    from paddleinterest.training.predict import check_finite, predict, split_reader

    model = loading.bind(config)
    reader = split_reader(config, data, model, "test")
    net, _ = loading.trained_net(model, config, data, reader.schema, path)
    scores = []
    drawn = redraw.draws(reader)
    for number, one in enumerate(drawn, 1):
        score = predict(model, net, one, f"negatives {number} of {len(drawn)}")
        check_finite(score)
        scores.append(score)
    return Resampler(reader.user, reader.label, reader.item).of_run(scores)


def of_popularity(data: str) -> Resampled:
    """The figures of item popularity on test, drawn again; its log loss has no meaning."""
    reader = Reader(data, "test", 1)
    scores = [one.items.count[one.item] for one in redraw.draws(reader)]
    return Resampler(reader.user, reader.label, reader.item).of_run(scores)


def summary(found: Resampled) -> dict[str, Any]:
    """The 95 % interval of each figure, for a tool's JSON."""
    said: dict[str, Any] = {"draws_of_negatives": found.draws}
    for name in METRICS:
        low, high = interval([found], name)
        said[name] = None if np.isnan(low) else [round(low, 5), round(high, 5)]
    return said


def save(found: Resampled, path: str) -> None:
    """Write the figures to a JSON file."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with whole_file(path) as made, open(made, "w", encoding="utf-8") as f:
        f.write(json_text.dumps(found.as_json()))


def load(path: str) -> Resampled | None:
    """The figures that `save` wrote, or None if the file is missing or damaged."""
    try:
        with open(path, encoding="utf-8") as f:
            return Resampled.from_json(json.load(f))
    except (OSError, ValueError, KeyError, TypeError):
        return None
