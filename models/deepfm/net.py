"""DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, Guo et al., IJCAI 2017.

https://arxiv.org/abs/1703.04247

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower, check_choice
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet, interactions

FORMS = ("sum", "vector")


def pairwise(v: paddle.Tensor) -> paddle.Tensor:
    """Σ_{i<j} ⟨v_i, v_j⟩ = ½ Σ ((Σ_i v_i)² − Σ_i v_i²), [B, F, E] → [B].

    The sums over fields are inside, the sum over columns is outside.
    """
    return 0.5 * (paddle.square(v.sum(1)) - paddle.square(v).sum(1)).sum(-1)


class DeepFM(PooledNet):
    """logit = linear terms + FM's second order + deep, the last two from the same embeddings.

    Arguments as in DIN, and:

    Args:
        fm (str): sum, the paper's; or vector: the last layer reads Σ_{i<j} v_i∘v_j column by
            column beside the last hidden layer, so each column has a learned weight, from 1.
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
        fm: str = "sum",
    ) -> None:
        super().__init__()
        check_choice("fm", fm, FORMS)
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, 0, sparse, list_pooling)
        one = nn.initializer.Constant(1.0)
        self.p = None
        if fm == "vector":
            self.p = self.create_parameter([embedding_size, 1], default_initializer=one)
        items = bias_rows(fields, item_bias)
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        first = self.linear(batch, weight)  # [B]
        v = self.embeddings.split(x)  # [B, F, E]
        if self.p is None:
            second = pairwise(v)  # [B]
        else:
            second = paddle.matmul(interactions(v), self.p).squeeze(-1)  # [B]
        deep = self.tower([x], batch["target_item"])  # [B]
        return first + second + deep
