"""FM: Factorization Machines, Rendle, ICDM 2010.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet, interactions


class FM(PooledNet):
    """logit = w_0 + Σ_i w_i·x_i + Σ_{i<j} ⟨v_i, v_j⟩, the history's mean being one field.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns, which enter the linear terms.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
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
    ) -> None:
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, dense, sparse, list_pooling)
        zero = nn.initializer.Constant(0.0)
        self.bias = self.create_parameter([1], default_initializer=zero)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        first = self.linear(batch, weight)  # [B]
        second = interactions(self.embeddings.split(x)).sum(-1)  # [B]
        return self.bias + first + second
