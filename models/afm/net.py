"""AFM: Attentional Factorization Machines, Xiao et al., IJCAI 2017.

https://arxiv.org/abs/1708.04617

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table, P = F(F−1)/2
pairs of fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet


class PairAttention(nn.Layer):
    """Σ_{i<j} a_ij·v_i∘v_j with a = softmax over the pairs of hᵀ·relu(W·(v_i∘v_j) + b).

    The softmax runs over the pairs. Over the one score of the pairs' sum it would be 1 whatever W,
    b and h are, and none of them would learn.

    Args:
        width (int): E.
        hidden (int): width of the attention's layer.

    Example:
        >>> pooled, a = PairAttention(8, 4)(paddle.rand([2, 5, 8]))
        >>> list(pooled.shape), list(a.shape)
        ([2, 8], [2, 10])
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 1, bias_attr=False)

    def forward(self, v: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """v [B, F, E] → the weighted sum [B, E], and a [B, P]: 01, 02, …, 12, 13, …."""
        p = pairs(v)  # [B, P, E]
        score = self.out(F.relu(self.hidden(p))).squeeze(-1)  # [B, P]
        a = F.softmax(score, -1)  # [B, P]
        return paddle.matmul(a.unsqueeze(1), p).squeeze(1), a


def pairs(v: paddle.Tensor) -> paddle.Tensor:
    """v_i∘v_j of all pairs i < j, [B, F, E] → [B, P, E]."""
    fields = v.shape[1]
    left = [i for i in range(fields) for _ in range(i + 1, fields)]
    right = [j for i in range(fields) for j in range(i + 1, fields)]
    first = paddle.index_select(v, paddle.to_tensor(left), 1)  # [B, P, E]
    return first * paddle.index_select(v, paddle.to_tensor(right), 1)


class AFM(PooledNet):
    """logit = w_0 + Σ_i w_i·x_i + pᵀ·Dropout(Σ_{i<j} a_ij·v_i∘v_j).

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns, which enter the linear terms.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        attention_size (int): hidden width of `PairAttention`.
        dropout (float): share of the pooled vector that is dropped in training.
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
        attention_size: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, dense, sparse, list_pooling)
        self.attention = PairAttention(embedding_size, attention_size)
        zero = nn.initializer.Constant(0.0)
        one = nn.initializer.Constant(1.0)
        self.bias = self.create_parameter([1], default_initializer=zero)
        self.p = self.create_parameter([embedding_size], default_initializer=one)
        self.dropout = nn.Dropout(dropout)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        first = self.linear(batch, weight)  # [B]
        pooled, _ = self.attention(self.embeddings.split(x))  # [B, E]
        # a column, since oneDNN computes a product with a vector wrongly
        second = paddle.matmul(self.dropout(pooled), self.p.unsqueeze(1)).squeeze(1)  # [B]
        return self.bias + first + second
