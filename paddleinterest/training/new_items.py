"""AUC on items that train never saw, of datasets that withhold some (--withhold)."""

import os

import numpy as np

from paddleinterest.core.metrics import Metrics, auc
from paddleinterest.data.columns import read_parquet
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID
from paddleinterest.data.withhold import withheld

KEY = "auc_withheld"


def is_withheld(reader: Reader) -> np.ndarray | None:
    """For each row of a split whether its target is withheld from train, bool [rows]; None if the
    dataset withholds no items.

    Args:
        reader: of the split, in file order and in memory.
    """
    share = reader.schema.recipe.get("withhold")
    if not share:
        return None
    ids = read_parquet(os.path.join(reader.directory, "items.parquet"), ["item"])["item"]
    picked = withheld(ids.slice(FIRST_ID).combine_chunks(), float(share))
    return np.append(np.zeros(FIRST_ID, bool), picked)[reader.item]


def auc_withheld(reader: Reader, score: np.ndarray) -> Metrics:
    """{auc_withheld: AUC among the rows whose target is withheld}; {} if the dataset withholds no
    items. None if these rows have one class.

    Args:
        reader: of the split.
        score: of its rows, [rows].
    """
    rows = is_withheld(reader)
    if rows is None:
        return {}
    value = auc(reader.label[rows], score[rows])
    return {KEY: None if np.isnan(value) else value}
