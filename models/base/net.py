"""The base model of the DIN paper (section 4.2): embeddings, sum pooling of the history, MLP. The
yardstick of RelaImpr.

Shapes: B rows, T history positions, D width of an item's embedding.
"""

import paddle
import paddle.nn as nn

from paddleinterest.nets.layers import FieldEmbeddings, Tower, bias_rows, history_mask, sum_pooling


class Base(nn.Layer):
    """[Σ_j e_j; target; side features] → tower → logit: the same interest whatever the target.
    Arguments as in DIN."""

    def __init__(
        self,
        fields,
        dense=0,
        *,
        embedding_size=32,
        embedding_std=0.01,
        sparse=True,
        tower=(200, 80),
        activation="dice",
        dropout=0.0,
        item_bias=False,
    ):
        super().__init__()
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        items = bias_rows(fields, item_bias)
        width = 2 * self.embeddings.item_width + self.embeddings.side_width + dense
        self.tower = Tower(width, tower, activation, dropout, items, sparse)

    def forward(self, batch, return_attention=False):
        """Logits [B]; the weights of `return_attention` are 1 for every real event, [B, T]."""
        mask = history_mask(batch)
        interest = sum_pooling(self.embeddings.history(batch), mask)  # [B, D]
        parts = [interest, self.embeddings.target(batch), self.embeddings.side(batch)]
        logit = self.tower(parts, batch["target_item"])
        return (logit, mask) if return_attention else logit

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user, as in DIN; the pooled history is the same for
        all."""
        mask, target = history_mask(batch), self.embeddings.target(batch)  # [1, T], [N, D]
        interest = sum_pooling(self.embeddings.history(batch), mask).expand_as(target)
        logit = self.tower(
            [interest, target, self.embeddings.side(batch, like=target)], batch["target_item"]
        )
        return (logit, mask.expand([paddle.shape(target)[0], -1])) if return_attention else logit
