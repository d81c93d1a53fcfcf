"""DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, Guo et al., IJCAI 2017.

https://arxiv.org/abs/1703.04247

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet


def pairwise(v: paddle.Tensor) -> paddle.Tensor:
    """Σ_{i<j} ⟨v_i, v_j⟩ = ½ Σ ((Σ_i v_i)² − Σ_i v_i²), [B, F, E] → [B].

    The sums over fields are inside, the sum over columns is outside.
    """
    return 0.5 * (paddle.square(v.sum(1)) - paddle.square(v).sum(1)).sum(-1)


class DeepFM(PooledNet):
    """logit = linear terms + FM's second order + deep, the last two from the same embeddings.

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
        list_pooling: str = "mean",
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, 0, sparse, list_pooling)
        items = bias_rows(fields, item_bias)
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        first = self.linear(batch, weight)  # [B]
        second = pairwise(self.embeddings.split(x))  # [B]
        deep = self.tower([x], batch["target_item"])  # [B]
        return first + second + deep
