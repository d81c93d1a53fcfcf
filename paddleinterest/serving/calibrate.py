"""Fit the calibration of a bundle on valid. Needs scikit-learn; applying it does not."""

import importlib.util
import os
from typing import Any

import numpy as np

from paddleinterest.core.checksum import checksum
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import Metrics, click_metrics, format_metrics
from paddleinterest.data.protocols import PAIRED
from paddleinterest.data.schema import Schema
from paddleinterest.serving import calibration
from paddleinterest.serving.bundle import Bundle
from paddleinterest.serving.calibration import CLOSEST, FILE, Calibration
from paddleinterest.serving.score_split import split_scores

BATCH = 4096  # rows
WEAK = 1e9  # inverse strength of a penalty that makes no difference
DRAWN = "the negatives are drawn: the calibrated probability is of the drawn mix, not a click rate"
SHOWN = ("auc", "logloss", "pcoc")


def check_possible(kind: str, schema: Schema) -> None:
    """Check that a calibration can be fitted.

    Raises:
        InputError: scikit-learn is missing, or the dataset has no valid split.
    """
    if kind not in calibration.KINDS:
        raise InputError(
            f"--calibration is {kind}, must be none or one of {', '.join(calibration.KINDS)}"
        )
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("--calibration needs the package scikit-learn; pip install '.[calibrate]'")
    if not schema.rows.get("valid"):
        raise InputError(
            "--calibration is fitted on valid, which this dataset does not have; prepare it"
            " without --paper-split"
        )


def add(made: str, data: str, kind: str, schema: Schema) -> dict[str, Any]:
    """Fit a calibration, and add it to a bundle.

    Args:
        made: the bundle, complete.
        data: the prepared dataset.
        kind: platt or isotonic.
        schema: the bundle's; the new file is added to it and it is saved.

    Returns:
        Part of the tool's result: test's figures before and after.

    Raises:
        InputError: valid has one class, or the net ranks it worse than chance.
    """
    bundle = Bundle(made)
    reader, probability = split_scores(bundle, data, "valid", BATCH)
    fitted = fit(kind, probability, reader.label)
    calibration.write(made, fitted)
    path = os.path.join(made, FILE)
    schema.files[FILE] = {"bytes": os.path.getsize(path), "sha256": checksum(path)}
    schema.save(made)
    if schema.protocol in PAIRED:
        say(f"{kind}: {DRAWN}")
    reader, probability = split_scores(bundle, data, "test", BATCH)
    figures = {}
    for when, score in (("before", probability), ("after", fitted(probability))):
        figures[when] = _shown(click_metrics(reader.user, reader.label, score))
        say(f"test {when} {kind}: {format_metrics(figures[when])}")
    return {"calibration": {"kind": kind, "rows": len(probability), **figures}}


def _shown(metrics: Metrics) -> Metrics:
    return {name: metrics[name] for name in SHOWN}


def fit(kind: str, probability: np.ndarray, label: np.ndarray) -> Calibration:
    """The calibration that agrees with labels.

    Args:
        kind: platt or isotonic.
        probability: of the net, [N].
        label: 0 or 1, [N].

    Raises:
        InputError: there is one class, or probabilities rise as labels fall.
    """
    if len(np.unique(label)) < 2:
        raise InputError(
            f"--calibration {kind} needs positives and negatives in valid, which has one class"
        )
    p = np.asarray(probability, np.float64)
    return _platt(p, label) if kind == "platt" else _isotonic(p, label)


def _platt(p: np.ndarray, label: np.ndarray) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    p = np.clip(p, CLOSEST, 1 - CLOSEST)
    logit = np.log(p) - np.log1p(-p)
    mean, std = float(logit.mean()), float(logit.std())
    if not std:
        raise InputError("--calibration platt: all probabilities of valid are the same")
    model = LogisticRegression(C=WEAK, tol=1e-9, max_iter=1000)
    model.fit(((logit - mean) / std)[:, None], label)
    slope = float(model.coef_[0, 0]) / std
    intercept = float(model.intercept_[0]) - slope * mean
    if slope <= 0:
        raise InputError(
            "--calibration platt: the net ranks valid worse than chance; train it before it is"
            " calibrated"
        )
    return Calibration("platt", slope, intercept)


def _isotonic(p: np.ndarray, label: np.ndarray) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    # neither 0 nor 1, which a single exception would make infinitely wrong
    least = 1 / (len(label) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(p, label)
    x = np.asarray(model.X_thresholds_, np.float64)
    y = np.maximum.accumulate(np.asarray(model.y_thresholds_, np.float64))
    return Calibration("isotonic", x=tuple(x.tolist()), y=tuple(y.tolist()))
