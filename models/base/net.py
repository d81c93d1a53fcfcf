"""The base model of the DIN paper (section 4.2): embeddings, sum pooling of the history, MLP.

RelaImpr compares with it.

Shapes: B rows, T history positions, D width of an item's embedding, N candidates of one user.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.layers import SumPooling, Tower


class Base(nn.Layer):
    """[Σ_j e_j; target; side features] → tower → logit: the same interest whatever the target.

    Arguments as in DIN.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dense: int = 0,
        *,
        embedding_size: int = 32,
        embedding_std: float = 0.01,
        sparse: bool = True,
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        self.pooling = SumPooling()
        inputs = 2 * self.embeddings.item_width + self.embeddings.side_width + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T], 1 for every real event."""
        mask = history_mask(batch)  # [B, T]
        interest = self.pooling(self.embeddings.history(batch), mask)  # [B, D]
        target = self.embeddings.target(batch)  # [B, D]
        side = self.embeddings.side(batch)  # [B, S]
        logit = self.tower([interest, target, side], batch["target_item"])  # [B]
        return (logit, mask) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the history is pooled once."""
        mask = history_mask(batch)  # [1, T]
        target = self.embeddings.target(batch)  # [N, D]
        pooled = self.pooling(self.embeddings.history(batch), mask)  # [1, D]
        side = self.embeddings.side(batch, like=target)  # [N, S]
        logit = self.tower([pooled.expand_as(target), target, side], batch["target_item"])  # [N]
        if not return_attention:
            return logit
        return logit, mask.expand([paddle.shape(target)[0], -1])
