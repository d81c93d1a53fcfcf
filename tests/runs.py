"""Runs of the training loop in the test's own process, and what they leave on disk."""

import json
import os

import numpy as np
from helpers import TINY_DIN, settings_of

from paddleinterest.training import checkpoint, run
from paddleinterest.training.trainer import train


def settings_for(data, where, *overrides, model="din"):
    tiny = TINY_DIN if model == "din" else [k for k in TINY_DIN if "attention" not in k]
    return settings_of(
        model, *tiny, f"runner.data_dir={data}", f"runner.model_save_path={where}", *overrides
    )


def ran(data, where, *overrides, model="din"):
    """Train; the result, the run's directory and the arrays of its latest checkpoint."""
    config = settings_for(data, where, *overrides, model=model)
    result = train(config, data)
    return result, run.directory(config), arrays(run.directory(config))


def arrays(directory, which="latest"):
    return checkpoint.read(os.path.join(directory, "checkpoints", f"{which}.npz"))


def same(a, b):
    """Two checkpoints agree to the bit, moments and state included."""
    assert a.keys() == b.keys()
    assert a["state"] == b["state"]
    for name in a.keys() - {"state"}:
        assert np.array_equal(a[name], b[name]), name


def lines(directory):
    with open(os.path.join(directory, "metrics.jsonl")) as f:
        return [json.loads(line) for line in f]


def text(directory):
    with open(os.path.join(directory, "metrics.jsonl"), "rb") as f:
        return f.read()
