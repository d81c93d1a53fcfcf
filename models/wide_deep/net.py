"""Wide & Deep Learning for Recommender Systems, Cheng et al., DLRS 2016,
https://arxiv.org/abs/1606.07792.

Shapes: B rows, T history positions.
"""

import paddle.nn as nn

from paddleinterest.nets.layers import PADDING, Tower, bias_rows
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet, scalars

PRIME = 7368787  # exact in float32, as which Paddle may keep a constant factor


class Crosses(nn.Layer):
    """The paper's cross products AND(history has a, target is b): a weight each, by hash, averaged
    over the history.

    Args:
        names: item fields, each crossed with itself.  buckets: rows of each table; pairs of one
            bucket share a weight.
    """

    def __init__(self, names, buckets, sparse=True):
        super().__init__()
        self.names, self.buckets = names, buckets
        self.tables = nn.LayerDict(
            {name: scalars(buckets + 1, sparse) for name in names}
        )  # row 0 is the padding

    def forward(self, batch, weight):
        """weight [B, T], 1 row for the candidates of one user. Returns [B]."""
        total = 0.0
        for name in self.names:
            past, target = (
                batch[f"history_{name}"],
                batch[f"target_{name}"].unsqueeze(1),
            )  # [B, T], [B, 1]
            pair = (past * PRIME + target) % self.buckets + 1  # [B, T]
            pair = pair * (past != PADDING).astype(pair.dtype)
            total = total + (self.tables[name](pair).squeeze(-1) * weight).sum(-1)
        return total


class WideDeep(PooledNet):
    """logit = wide + deep. Arguments as in DIN, and cross: buckets of `Crosses` for each item
    field, 0 for none."""

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
        cross=0,
    ):
        super().__init__()
        if cross < 0:
            raise ValueError(f"cross is {cross}, must be at least 0")
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse)
        self.linear = LinearTerms(fields, dense, sparse)
        self.crosses = Crosses(self.embeddings.names["item"], cross, sparse) if cross else None
        items = bias_rows(fields, item_bias)
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch, x, weight):
        logit = self.tower([x], batch["target_item"]) + self.linear(batch, weight)
        return logit if self.crosses is None else logit + self.crosses(batch, weight)
