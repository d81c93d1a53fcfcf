"""FNN: Deep Learning over Multi-field Categorical Data, Zhang, Du and Wang, ECIR 2016.

https://arxiv.org/abs/1601.02376

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet


class FNN(PooledNet):
    """logit = MLP([w_0; w_1·x_1; …; w_F·x_F; v_1; …; v_F]): what an FM learned, into an MLP.

    Its weights are called as those of models/fm, so that `runner.warm_start` starts from an FM's.

    Arguments as in DIN.
    """

    OF_FM = ("embeddings", "linear", "bias")

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
    ) -> None:
        super().__init__()
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, dense, sparse, list_pooling)
        zero = nn.initializer.Constant(0.0)
        self.bias = self.create_parameter([1], default_initializer=zero)
        weights = 1 + len(self.linear.keys) + (1 if dense else 0)  # w_0, w_i, the dense columns'
        inputs = weights + self.embeddings.width + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        rows = x[:, 0]  # [B], which all terms are repeated to: a request's user has one row
        terms = [self.bias, *self.linear.terms(batch, weight)]
        z = paddle.stack([term.expand_as(rows) for term in terms], -1)  # [B, weights]
        return self.tower([z, x], batch["target_item"])

    def of_fm(self) -> list[paddle.Tensor]:
        """The parameters that an FM has too."""
        return [p for name, p in self.named_parameters() if name.split(".")[0] in self.OF_FM]
