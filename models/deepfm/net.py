"""DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, Guo et al., IJCAI 2017,
https://arxiv.org/abs/1703.04247.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

import paddle

from paddleinterest.nets.layers import Tower, bias_rows
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet


def pairwise(v):
    """Σ_{i<j} ⟨v_i, v_j⟩ = ½ Σ ((Σ_i v_i)² − Σ_i v_i²), the sums over fields inside: [B, F, E] →
    [B]."""
    return 0.5 * (paddle.square(v.sum(1)) - paddle.square(v).sum(1)).sum(-1)


class DeepFM(PooledNet):
    """logit = linear terms + FM's second order + deep, the last two from the same embeddings.
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
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse)
        self.linear = LinearTerms(fields, sparse=sparse)
        items = bias_rows(fields, item_bias)
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch, x, weight):
        return (
            self.linear(batch, weight)
            + pairwise(self.embeddings.split(x))
            + self.tower([x], batch["target_item"])
        )
