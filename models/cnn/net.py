"""Convolution, along the columns of the fields' vectors or along the positions of the history.

Along positions as in Caser, Tang and Wang, WSDM 2018, https://arxiv.org/abs/1809.07426.

Shapes: B rows, T history positions, F fields, E columns of a table, D width of an item's embedding,
V of an event's fields, W events of a window, K filters, N candidates of one user.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower, check_choice
from paddleinterest.nets.pooled import PooledFields

AXES = ("positions", "columns")
COLUMNS = 3  # of a window along the columns


class ColumnConvolution(nn.Layer):
    """z_k = b + Σ_i Σ_{d<3} w_{i,d}·M_{i,k+d}: a window of 3 neighbouring columns of all fields.

    Args:
        fields (int): F, the rows of M.
    """

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.conv = nn.Conv1D(fields, 1, COLUMNS)

    def forward(self, m: paddle.Tensor) -> paddle.Tensor:
        """M [B, F, E] → z [B, E − 2]."""
        return self.conv(m).squeeze(1)


class PositionConvolution(nn.Layer):
    """max over real t of relu(b_f + Σ_{d<W} w_{f,d}·e_{t−W+1+d}), zeros before the first event.

    Args:
        width (int): D + V.
        filters (int): K.
        window (int): W, events that a window covers.
    """

    def __init__(self, width: int, filters: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.linear = nn.Linear(window * width, filters)

    def forward(self, history: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """history [B, T, D] and mask [B, T] → [B, K]; zeros for an empty history."""
        before = paddle.zeros_like(history[:, :1])  # [B, 1, D]
        shifted = [history]
        for _ in range(self.window - 1):
            shifted = [paddle.concat([before, shifted[0]], 1)[:, :-1], *shifted]  # e_{t−1}, …
        windows = F.relu(self.linear(paddle.concat(shifted, -1)))  # [B, T, K]
        return (windows * mask.unsqueeze(-1)).max(1)


class CNN(nn.Layer):
    """Convolution → [its output; target; side features] → tower, or along columns output → tower.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        axis (str): positions (windows of events), or columns (of all fields' vectors, the history
            being its mean; the tower reads no more than z and the dense columns).
        filters (int), window (int): of `PositionConvolution`.
        tower (Sequence[int]), activation (str), dropout (float), item_bias (bool): of the tower.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dense: int = 0,
        *,
        embedding_size: int = 32,
        embedding_std: float = 0.01,
        sparse: bool = True,
        list_pooling: str = "mean",
        axis: str = "positions",
        filters: int = 32,
        window: int = 3,
        tower: Sequence[int] = (200, 80),
        activation: str = "relu",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        check_choice("axis", axis, AXES)
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        width = self.embeddings.item_width
        self.columns = None
        self.positions = None
        if axis == "positions":
            events = self.embeddings.event_width
            self.positions = PositionConvolution(width + events, filters, window)
            inputs = filters + width + self.embeddings.side_width + dense
        elif embedding_size < COLUMNS:
            raise ValueError(
                f"embedding_size is {embedding_size}, must be at least {COLUMNS} for axis: columns"
            )
        else:
            self.columns = ColumnConvolution(self.embeddings.count)
            inputs = embedding_size - COLUMNS + 1 + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T], 1 for every real event."""
        return self.score(batch, False, return_attention)

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the history is read once."""
        return self.score(batch, True, return_attention)

    def score(self, batch: Batch, one_user: bool, return_attention: bool) -> Scores:
        """`forward`, or with one_user `rank`."""
        mask = history_mask(batch)  # [B or 1, T]
        target = self.embeddings.target(batch)  # [B, D]
        if self.positions is not None:
            history = self.embeddings.history(batch)  # [B or 1, T, D]
            events = self.embeddings.with_events(history, batch)  # [B or 1, T, D + V]
            read = self.positions(events, mask)  # [B or 1, K]
            read = read.expand([paddle.shape(target)[0], read.shape[-1]])
            side = self.embeddings.side(batch, expand_to=target if one_user else None)  # [B, S]
            parts = [read, target, side]
        else:
            x, _ = self.embeddings(batch, one_user)  # [B, F·E + dense]
            parts = [self.columns(self.embeddings.split(x)), batch.get("dense")]
        logit = self.tower(parts, batch["target_item"])  # [B]
        if not return_attention:
            return logit
        return logit, mask.expand([paddle.shape(target)[0], -1])
