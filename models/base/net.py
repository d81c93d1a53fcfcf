"""The base model of the DIN paper (section 4.2): embeddings, sum pooling of the history, MLP.

RelaImpr compares with it.

Shapes: B rows, T history positions, D width of an item's embedding, V of an event's fields, N
candidates of one user.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.layers import SumPooling, Tower, check_choice

HISTORIES = ("sum", "none")


class Base(nn.Layer):
    """[Σ_j e_j; target; side features] → tower → logit: the same interest whatever the target.

    Arguments as in DIN, and:

    Args:
        history (str): sum, or none: the tower reads no history. The difference is what it is worth.
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
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
        history: str = "sum",
    ) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        check_choice("history", history, HISTORIES)
        self.pooling = SumPooling() if history == "sum" else None
        inputs = self.embeddings.item_width + self.embeddings.side_width + dense
        if history == "sum":
            inputs += self.embeddings.item_width + self.embeddings.event_width
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T], 1 for every event read."""
        mask = self.mask(batch)  # [B, T]
        target = self.embeddings.target(batch)  # [B, D]
        interest = self.pool(batch, mask, target)  # [B, D + V]
        side = self.embeddings.side(batch)  # [B, S]
        logit = self.tower([interest, target, side], batch["target_item"])  # [B]
        return (logit, mask) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the history is pooled once."""
        mask = self.mask(batch)  # [1, T]
        target = self.embeddings.target(batch)  # [N, D]
        interest = self.pool(batch, mask, target)  # [N, D + V]
        side = self.embeddings.side(batch, expand_to=target)  # [N, S]
        logit = self.tower([interest, target, side], batch["target_item"])  # [N]
        if not return_attention:
            return logit
        return logit, mask.expand([paddle.shape(target)[0], -1])

    def mask(self, batch: Batch) -> paddle.Tensor:
        """1 for every event that is read, [B, T]."""
        mask = history_mask(batch)
        return mask if self.pooling is not None else paddle.zeros_like(mask)

    def pool(
        self, batch: Batch, mask: paddle.Tensor, target: paddle.Tensor
    ) -> paddle.Tensor | None:
        """Σ_j e_j beside the sum of the event fields, [B, D + V]; None without history.

        It has as many rows as the target.
        """
        if self.pooling is None:
            return None
        history = self.embeddings.with_events(self.embeddings.history(batch), batch)
        return self.pooling(history, mask).expand([paddle.shape(target)[0], -1])
