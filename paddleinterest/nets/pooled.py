"""Shared by the factorisation family: the history as one more field, and the linear terms.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table, D width of
an item's embedding, V of an event's fields.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import PADDING, Batch, Scores, history_mask
from paddleinterest.nets.embeddings import (
    FieldEmbeddings,
    categories,
    is_multiple,
    pool_values,
    table,
)
from paddleinterest.nets.layers import SumPooling


class PooledFields(FieldEmbeddings):
    """One vector per field: of the target, of the history and its events, user, context.

    The history's are means over its real positions; an empty history gives zeros. An item's vectors
    (projected) are fields like its categories; all numbers of an event are one. Arguments as in
    `FieldEmbeddings`.

    Attributes:
        count (int): F = (2·D + V) / E + user fields + context fields.
        width (int): F·E.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        width: int,
        std: float = 0.01,
        sparse: bool = True,
        list_pooling: str = "mean",
    ) -> None:
        super().__init__(fields, width, std, sparse, list_pooling)
        self.width = 2 * self.item_width + self.event_width + self.side_width
        self.count = self.width // width
        self.pooling = SumPooling()

    def forward(self, batch: Batch, one_user: bool = False) -> tuple[paddle.Tensor, paddle.Tensor]:
        """All vectors side by side, then the dense columns; and the weights of the mean.

        Args:
            batch (Batch): of rows, or of one request.
            one_user (bool): the batch is a request's, as in `rank`: the history is pooled once.

        Returns:
            tuple[Tensor, Tensor]: [B, F·E + dense] and [B, T], which is [1, T] for one user.
        """
        mask = history_mask(batch)  # [B, T]
        target = self.target(batch)  # [B, D]
        events = paddle.clip(mask.sum(-1, keepdim=True), min=1.0)  # [B, 1]
        history = self.with_events(self.history(batch), batch)  # [B, T, D + V]
        pooled = self.pooling(history, mask) / events  # [B, D + V]
        if one_user:
            pooled = pooled.expand([paddle.shape(target)[0], -1])
        side = self.side(batch, expand_to=target if one_user else None)
        parts = [target, pooled] + ([] if side is None else [side])
        return paddle.concat(parts, -1), mask / events

    def split(self, x: paddle.Tensor) -> paddle.Tensor:
        """The fields' vectors out of what `forward` returns, [B, F·E + dense] → [B, F, E]."""
        return x[:, : self.width].reshape([-1, self.count, self.width // self.count])


class PooledNet(nn.Layer):
    """`forward` and `rank` of a net whose `embeddings` are `PooledFields`.

    A subclass gives `logit(batch, x, weight)` → [B], from what these return.
    """

    embeddings: PooledFields

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also the mean's weights [B, T].

        The weights are 1/n at each of n real events.
        """
        return self.score(batch, False, return_attention)

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN.

        The mean and the user's terms are the same for all candidates.
        """
        return self.score(batch, True, return_attention)

    def score(self, batch: Batch, one_user: bool, return_attention: bool) -> Scores:
        """`forward`, or with one_user `rank`."""
        x, weight = self.embeddings(batch, one_user)
        logit = self.logit(batch, x, weight)
        if not return_attention:
            return logit
        return logit, weight.expand([paddle.shape(x)[0], -1])

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        raise NotImplementedError


class LinearTerms(nn.Layer):
    """Σ w_i·x_i: a weight for each id of each field, and one for each dense column.

    An item field has two tables, one for the target and one for the history, whose ids share the
    weight 1, as do those of an event field. Vectors and the numbers of events have no weight here:
    they enter by the fields' vectors alone. What the request's one user has in common comes out as
    one row, which is added to every candidate's.

    Args:
        fields (Sequence[Field]): those without a table are left out.
        dense (int): number of dense columns; 0 leaves them out.
        sparse (bool): gradients hold only the rows that occur.
        list_pooling (str): of a field of several values, mean or sum.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dense: int = 0,
        sparse: bool = True,
        list_pooling: str = "mean",
    ) -> None:
        super().__init__()
        self.list_pooling = list_pooling
        sizes = {}
        for f in categories(fields):
            for of in ("target", "history") if f.of == "item" else (f.of,):
                sizes[f"{of}_{f.name}"] = f.size
        self.keys = list(sizes)
        self.multiple = {key for key in sizes if key.partition("_")[2] in _multiple_names(fields)}
        self.tables = nn.LayerDict({key: scalars(size, sparse) for key, size in sizes.items()})
        zero = nn.initializer.Constant(
            0.0
        )  # as the ids start; Paddle's own would be N(0, 1) of one
        self.dense = nn.Linear(dense, 1, weight_attr=zero, bias_attr=False) if dense else None

    def forward(self, batch: Batch, weight: paddle.Tensor) -> paddle.Tensor:
        """The sum, [B].

        Args:
            batch (Batch): of rows, or of one request.
            weight (Tensor): of the history's mean, [B, T].
        """
        # a request's user has one row, not N
        return functools.reduce(operator.add, self.terms(batch, weight))

    def terms(self, batch: Batch, weight: paddle.Tensor) -> list[paddle.Tensor]:
        """The terms of the sum: w_i·x_i of each field, and of all dense columns, each [B]."""
        found = []
        for key in self.keys:
            w = self.tables[key](batch[key])  # [B, 1] or [B, T, 1]
            if key in self.multiple:
                w = pool_values(w, batch[key], self.list_pooling)
            w = w.squeeze(-1)  # [B] or [B, T]
            if key.startswith(("history_", "event_")):
                w = (w * weight).sum(-1)  # [B]
            found.append(w)
        if self.dense is not None:
            found.append(self.dense(batch["dense"]).squeeze(-1))
        return found


def _multiple_names(fields: Sequence[Field]) -> set[str]:
    return {f.name for f in fields if is_multiple(f)}


def interactions(v: paddle.Tensor) -> paddle.Tensor:
    """Σ_{i<j} v_i∘v_j = ½ ((Σ_i v_i)² − Σ_i v_i²), [B, F, E] → [B, E].

    Its sum over the columns is a factorisation machine's second order.

    Example:
        >>> interactions(paddle.to_tensor([[[2.0], [3.0], [5.0]]])).tolist()  # 2·3 + 2·5 + 3·5
        [[31.0]]
    """
    return 0.5 * (paddle.square(v.sum(1)) - paddle.square(v).sum(1))


def scalars(rows: int, sparse: bool) -> nn.Embedding:
    """A table of one weight per row, all 0 at the start."""
    start = nn.initializer.Constant(0.0)
    return table(rows, 1, padding_idx=PADDING, sparse=sparse, weight_attr=start)
