"""Baselines without training: item popularity, and the click rate of the target's category. A model
that is not better on valid has learned nothing about the user."""

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import auc
from paddleinterest.data.reader import Reader

PRIOR = 20  # number of rows at the mean rate that each category starts with
SMALL = 200_000  # rows of train; smaller logs need other settings than the defaults
NEAR_CHANCE = 0.55  # an AUC on valid below this is worth a hint
MOST = 5_000_000  # rows of train that are counted at most
FOR_SMALL = (
    "runner.train_batch_size=256 hyper_parameters.embedding_std=0.1"
    " hyper_parameters.regularization=1.0 hyper_parameters.optimizer.learning_rate=0.002"
)


def floors(data: str) -> dict[str, float]:
    """AUC on valid of the baselines without training.

    Args:
        data: a prepared dataset with a valid split.

    Returns:
        {description: AUC}, the highest first; undefined ones are left out.
    """
    valid = Reader(data, "valid", 1)
    found = {"item popularity": auc(valid.label, valid.items.count[valid.item])}
    if valid.schema.rows["train"] <= MOST:
        train = Reader(data, "train", 1, tables_of=valid)
        for name, column in valid.items.fields.items():
            if name != "item":
                rate = _rate(column[train.item], train.label, int(column.max()) + 1)
                found[f"the click rate of the target's {name} in train"] = auc(
                    valid.label, rate[column[valid.item]]
                )
    defined = {name: value for name, value in found.items() if not np.isnan(value)}
    return dict(sorted(defined.items(), key=lambda pair: -pair[1]))


def _rate(category: np.ndarray, label: np.ndarray, size: int) -> np.ndarray:
    """Click rate of each category, [size]; for a rare one near the mean of all."""
    rows = np.bincount(category, minlength=size)
    clicks = np.bincount(category, weights=label, minlength=size)
    return (clicks + PRIOR * label.mean()) / (rows + PRIOR)


def say_if_no_better(data: str, valid_auc: float | None) -> bool:
    """Warn if a model is not better on valid than a baseline without training, or near chance, and
    suggest settings.

    Args:
        data: the prepared dataset.
        valid_auc: the model's; None if it is undefined.

    Returns:
        True if it warned.
    """
    if valid_auc is None:
        return False
    try:
        found = floors(data)
    except InputError:  # the training has read it, so it was changed meanwhile
        return False
    better = {name: value for name, value in found.items() if value >= valid_auc}
    if better:
        name, value = next(iter(better.items()))
        reason = f"is not better than {name}, {value:.4f}, without any training"
    elif valid_auc < NEAR_CHANCE:
        reason = "is close to chance, 0.5"
    else:
        return False
    rows = Reader(data, "valid", 1).schema.rows["train"]
    advice = f"for a log of {rows:,} rows try -o {FOR_SMALL}, or search with tools/tune.py"
    if rows >= SMALL:
        advice = (
            "are the labels and times right? Otherwise try hyper_parameters.regularization=0.3,"
            " a different learning rate, or a search with tools/tune.py"
        )
    say(f"valid AUC {valid_auc:.4f} {reason}: {advice}")
    return True
