"""Matrix factorisation: a vector per user, a vector per item, and three ways to compare them.

Koren, Bell and Volinsky, IEEE Computer 2009; Rendle, Krichene, Zhang and Anderson, RecSys 2020,
https://arxiv.org/abs/2005.09683.

Shapes: B rows, T history positions, E columns of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.layers import check_choice

FORMS = ("dot", "towers", "mlp")


class TanhMLP(nn.Layer):
    """t = tanh(W₂·tanh(W₁·x + b₁) + b₂), of as many layers as there are widths but one."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.LayerList([nn.Linear(a, b) for a, b in zip(widths, widths[1:])])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """x [B, first width] → [B, last width]."""
        for linear in self.linears:
            x = paddle.tanh(linear(x))
        return x


class MF(nn.Layer):
    """u, the sum of the user's vectors, and q, that of the target's, → logit. No history is read.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`; those of the context are left out.
        dense (int): number of dense columns, which are not read.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        form (str): dot: μ + b_u + b_q + u·q. towers: c·(t_u·t_q) + b_q, t from a `TanhMLP` on each
            side, E → E/2 → E/4. mlp: w·t + b, t from a `TanhMLP` on [u; q], 2E → E → E/2.
        ids_only (bool): read the user's id and the item's alone.
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
        form: str = "dot",
        ids_only: bool = False,
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        read = [f for f in fields if f.of != "context"]
        if ids_only:
            read = [f for f in read if f.name in ("user_id", "item")]
        if not any(f.of == "user" for f in read):
            needed = "the user's id" if ids_only else "a field of the user"
            raise ValueError(
                f"mf needs {needed}, which this dataset does not have; prepare it with --user-id"
            )
        e = embedding_size
        self.form = form
        self.embeddings = FieldEmbeddings(read, e, embedding_std, sparse, list_pooling)
        with_bias = {"dot": read, "towers": [f for f in read if f.of == "item"], "mlp": []}[form]
        self.biases = FieldEmbeddings(with_bias, 1, 0.0, sparse, list_pooling)
        zero = nn.initializer.Constant(0.0)
        if form == "dot":
            self.mean = self.create_parameter([1], default_initializer=zero)
        elif form == "towers":
            widths = [e, max(1, e // 2), max(1, e // 4)]
            self.user_tower = TanhMLP(widths)
            self.item_tower = TanhMLP(widths)
            self.scale = self.create_parameter(
                [1], default_initializer=nn.initializer.Constant(3.0)
            )
        else:
            widths = [2 * e, e, max(1, e // 2)]
            self.hidden = TanhMLP(widths)
            self.out = nn.Linear(widths[-1], 1)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also zeros [B, T], as no event is read."""
        q = self.sum_of(self.embeddings, "item", "target", batch)  # [B, E]
        u = self.sum_of(self.embeddings, "user", "user", batch).expand_as(q)  # [B, E]
        logit = self.compare(u, q, batch)
        if not return_attention:
            return logit
        none = paddle.zeros_like(history_mask(batch))  # [B, T]
        return logit, none.expand([paddle.shape(q)[0], -1])

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the user's vector is summed once."""
        return self(batch, return_attention)

    def compare(self, u: paddle.Tensor, q: paddle.Tensor, batch: Batch) -> paddle.Tensor:
        """Logits [B] from u [B, E] and q [B, E]."""
        if self.form == "mlp":
            return self.out(self.hidden(paddle.concat([u, q], -1))).squeeze(-1)
        item_bias = self.sum_of(self.biases, "item", "target", batch).squeeze(-1)  # [B]
        if self.form == "towers":
            return self.scale * (self.user_tower(u) * self.item_tower(q)).sum(-1) + item_bias
        user_bias = self.sum_of(self.biases, "user", "user", batch).squeeze(-1)  # [B or 1]
        return self.mean + user_bias + item_bias + (u * q).sum(-1)

    @staticmethod
    def sum_of(tables: FieldEmbeddings, of: str, prefix: str, batch: Batch) -> paddle.Tensor:
        """Σ of the vectors of all fields of the user or the item, [B, E] or [B, 1]."""
        if of == "item":
            parts = tables.of_items(batch, prefix)
        else:
            parts = [tables.look_up(name, batch[f"{prefix}_{name}"]) for name in tables.names[of]]
        total: Any = 0.0
        for part in parts:
            total = total + part
        return total
