"""DIN's mini-batch aware regularisation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
import paddle.nn as nn

from paddleinterest.core import distributed
from paddleinterest.nets.batch import PADDING, Batch
from paddleinterest.nets.embeddings import FieldEmbeddings


class MiniBatchAwareRegularization(nn.Layer):
    """λ/2 · Σ_j ‖w_j‖² / n_j over the table rows j that occur in the batch (DIN, section 5.1).

    Its gradient decays each such row by λ·w_j/n_j. Rows that do not occur, and the padding row,
    stay as they are. The negatives of an auxiliary loss do not count as occurring. A row that
    several processes meet counts at the first of them.

    Args:
        counts (Mapping[str, ndarray]): {field: int64 [rows], occurrences in train}; 0 counts as 1.
        strength (float): λ.
    """

    def __init__(self, counts: Mapping[str, np.ndarray], strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.inverse = {
            name: 1.0 / paddle.clip(paddle.to_tensor(c).astype("float32"), min=1.0)
            for name, c in counts.items()
        }

    def forward(self, embeddings: FieldEmbeddings, batch: Batch) -> paddle.Tensor:
        """The penalty, []; of several processes each its part."""
        total = paddle.zeros([])
        for name, inverse in self.inverse.items():
            if name not in embeddings.tables:  # a field that this net does not read
                continue
            rows = rows_of(name, batch)  # [R]
            w = embeddings.tables[name](rows)  # [R, width]
            decay = paddle.gather(inverse, rows)  # [R]
            if distributed.process_count() > 1:
                decay = decay * distributed.first_holder(rows)
            total = total + (paddle.square(w).sum(-1) * decay).sum()
        return 0.5 * self.strength * total


def rows_of(field: str, batch: Batch) -> paddle.Tensor:
    """The rows of a field's table that occur in the batch, without padding, int64 [R]."""
    keys = [f"{of}_{field}" for of in ("history", "target", "user", "context", "event")]
    ids = [batch[key].flatten() for key in batch if key in keys]
    rows = paddle.unique(paddle.concat(ids))
    return rows[rows != PADDING]
