"""NFM: Neural Factorization Machines for Sparse Predictive Analytics, He and Chua, SIGIR 2017.

https://arxiv.org/abs/1708.05027

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet, interactions


class NFM(PooledNet):
    """logit = w_0 + Σ_i w_i·x_i + MLP(Σ_{i<j} v_i∘v_j): bi-interaction pooling into an MLP.

    Arguments as in DIN, and:

    Args:
        linear (bool): w_0 and the linear terms; false leaves them out. Dense columns enter both
            parts.
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
        activation: str = "relu",
        dropout: float = 0.0,
        item_bias: bool = False,
        linear: bool = True,
    ) -> None:
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, dense, sparse, list_pooling) if linear else None
        items = bias_rows(fields, item_bias)
        self.tower = Tower(embedding_size + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        pooled = interactions(self.embeddings.split(x))  # [B, E]
        logit = self.tower([pooled, batch.get("dense")], batch["target_item"])  # [B], w_0 in it
        return logit if self.linear is None else logit + self.linear(batch, weight)
