"""DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, Guo et al., IJCAI 2017,
https://arxiv.org/abs/1703.04247.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""
import paddle
import paddle.nn as nn

from models.layers import Tower
from models.wide_deep.fields import LinearTerms, PooledFields


def pairwise(v):
    """Σ_{i<j} ⟨v_i, v_j⟩ = ½ Σ ((Σ_i v_i)² − Σ_i v_i²), the sums over fields inside: [B, F, E] → [B]."""
    return 0.5 * (paddle.square(v.sum(1)) - paddle.square(v).sum(1)).sum(-1)


class DeepFM(nn.Layer):
    """logit = linear terms + FM's second order + deep, the last two from the same embeddings. Arguments as in DIN."""

    def __init__(self, fields, dense=0, *, embedding_size=32, embedding_std=0.01, sparse=True, tower=(200, 80),
                 activation="dice", dropout=0.0, item_bias=False):
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse)
        self.linear = LinearTerms(fields, sparse=sparse)
        items = next(f.size for f in fields if f.name == "item") if item_bias else 0
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def forward(self, batch, return_attention=False):
        """Logits [B]; the weights of `return_attention` are the mean's, 1/n at each of n real events, [B, T]."""
        return self.score(batch, False, return_attention)

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user, as in DIN; the mean and the user's terms are the same for all."""
        return self.score(batch, True, return_attention)

    def score(self, batch, one_user, return_attention):
        x, weight = self.embeddings(batch, one_user)
        logit = self.linear(batch, weight) + pairwise(self.embeddings.split(x)) + self.tower([x], batch["target_item"])
        return (logit, weight.expand([paddle.shape(x)[0], -1])) if return_attention else logit
