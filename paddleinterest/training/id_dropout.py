"""Item ids that training replaces by the unknown id, so that new items have a trained embedding."""

from collections.abc import Mapping

import numpy as np

from paddleinterest.data.reader import Batch
from paddleinterest.data.schema import FIRST_ID, UNKNOWN

PLACES = ("history_item", "target_item", "negative_item")


def drop_ids(batch: Batch, share: float, seed: int) -> Batch:
    """A batch in which a share of the item ids, each drawn for itself, is the unknown id.

    Attributes, vectors and event fields stay, and so do padding and ids that are unknown already.

    Args:
        batch: the reader's.
        share: in [0, 1).
        seed: of the draws.

    Example:
        >>> import numpy as np
        >>> batch = {"target_item": np.array([5, 6, 7, 8])}
        >>> drop_ids(batch, 0.5, seed=1)["target_item"].tolist()
        [5, 6, 1, 8]
    """
    rng = np.random.default_rng(seed)
    out = dict(batch)
    for name in PLACES:
        if name in batch:
            ids = batch[name]
            dropped = (rng.random(ids.shape) < share) & (ids >= FIRST_ID)
            out[name] = np.where(dropped, UNKNOWN, ids)
    return out


def counts_with_unknown(counts: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Occurrences of each row in training: the unknown item's are those of the dropped ids.

    Without them the mini-batch aware regularisation would take the unknown item for one that
    occurs never, and decay it at every step as if it had occurred once.

    Args:
        counts: {field: occurrences in train, [rows]}.
        share: of the item ids that is dropped.
    """
    item = counts["item"].copy()
    item[UNKNOWN] += round(share * float(item[FIRST_ID:].sum()))
    return {**counts, "item": item}
