"""PNN: Product-based Neural Networks for User Response Prediction, Qu et al., ICDM 2016.

https://arxiv.org/abs/1611.00144

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table, P products.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower, check_choice
from paddleinterest.nets.pooled import PooledFields, PooledNet

PRODUCTS = ("inner", "outer", "both")


def inner_products(f: paddle.Tensor) -> paddle.Tensor:
    """⟨f_i, f_j⟩ of every pair i < j (IPNN, section III-B), [B, F, E] → [B, F·(F − 1)/2]."""
    gram = paddle.matmul(f, f, transpose_y=True)  # [B, F, F]
    return paddle.concat([gram[:, i, i + 1 :] for i in range(f.shape[1] - 1)], -1)


def outer_product(f: paddle.Tensor) -> paddle.Tensor:
    """f_Σ·f_Σᵀ with f_Σ = Σ_i f_i (OPNN, section III-C), [B, F, E] → [B, E²].

    All outer products of two fields, superposed.
    """
    s = f.sum(1)  # [B, E]
    return paddle.matmul(s.unsqueeze(2), s.unsqueeze(1)).flatten(1)


class PNN(PooledNet):
    """logit = MLP([z; dense; p]): z the fields' vectors side by side, p their products.

    Arguments as in DIN, and:

    Args:
        product (str): inner (IPNN), outer (OPNN) or both (the paper's PNN*).
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
        product: str = "inner",
    ) -> None:
        super().__init__()
        check_choice("product", product, PRODUCTS)
        self.inner = product in ("inner", "both")
        self.outer = product in ("outer", "both")
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        count = self.embeddings.count
        inputs = self.embeddings.width + dense
        if self.inner:
            inputs += count * (count - 1) // 2
        if self.outer:
            inputs += embedding_size**2
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense]; the weights of the history's mean are not read."""
        f = self.embeddings.split(x)  # [B, F, E]
        inner = inner_products(f) if self.inner else None  # [B, F·(F − 1)/2]
        outer = outer_product(f) if self.outer else None  # [B, E²]
        return self.tower([x, inner, outer], batch["target_item"])
