"""PNN: Product-based Neural Networks for User Response Prediction, Qu et al., ICDM 2016,
https://arxiv.org/abs/1611.00144.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table, P products.
"""

import paddle

from paddleinterest.nets.layers import Tower, bias_rows
from paddleinterest.nets.pooled import PooledFields, PooledNet


def inner_products(f):
    """⟨f_i, f_j⟩ of every pair i < j (IPNN, section III-B): [B, F, E] → [B, F·(F − 1)/2]."""
    gram, fields = paddle.matmul(f, f, transpose_y=True), f.shape[1]  # [B, F, F]
    return paddle.concat([gram[:, i, i + 1 :] for i in range(fields - 1)], -1)


def outer_product(f):
    """f_Σ·f_Σᵀ with f_Σ = Σ_i f_i: all outer products, superposed (OPNN, section III-C): [B, F, E]
    → [B, E²]."""
    s = f.sum(1)  # [B, E]
    return paddle.matmul(s.unsqueeze(2), s.unsqueeze(1)).flatten(1)


class PNN(PooledNet):
    """logit = MLP([z; dense; p]): z the fields' vectors side by side, p their products. Arguments
    as in DIN, and:

    Args:
        product: inner (IPNN), outer (OPNN) or both (the paper's PNN*).
    """

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
        product="inner",
    ):
        super().__init__()
        if product not in ("inner", "outer", "both"):
            raise ValueError(f"product is {product!r}, must be inner, outer or both")
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse)
        self.inner, self.outer = product in ("inner", "both"), product in ("outer", "both")
        count = self.embeddings.count
        products = self.inner * (count * (count - 1) // 2) + self.outer * embedding_size**2
        items = bias_rows(fields, item_bias)
        self.tower = Tower(
            self.embeddings.width + dense + products, tower, activation, dropout, items, sparse
        )

    def logit(self, batch, x, weight):
        f = self.embeddings.split(x)  # [B, F, E]
        p = [
            inner_products(f) if self.inner else None,
            outer_product(f) if self.outer else None,
        ]  # [B, P]
        return self.tower([x, *p], batch["target_item"])
