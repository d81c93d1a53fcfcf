"""An embedding table of which every process holds its share of the rows.

Row j is at process j mod processes (paddleinterest/core/distributed.py). A lookup asks all
processes for the rows it needs. Their gradients go back to the process that holds them, which alone
keeps the optimiser's moments for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed


class ShardedEmbedding(nn.Embedding):
    """In place of `nn.Embedding(rows, width, …)`, with the same start values.

    While it is made, the whole table is in this process's memory, one table after the other. The
    last row of the weight is nobody's: it stays 0, and lets the optimiser make its step if no row
    of this process occurs.

    Args:
        rows (int): of the whole table.
        width (int): columns.
        padding_idx (int): row that gives zeros; None = no such row.
        sparse (bool): the gradient holds only the rows that occur.
        weight_attr: start values, as in `nn.Embedding`.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        padding_idx: int | None = None,
        sparse: bool = False,
        weight_attr: Any = None,
    ) -> None:
        whole = nn.Embedding(
            rows, width, padding_idx=padding_idx, sparse=sparse, weight_attr=weight_attr
        )
        own = distributed.own(whole.weight.numpy())
        super().__init__(len(own), width, sparse=sparse, weight_attr=nn.initializer.Constant(0.0))
        self.weight.set_value(own)
        self.weight.at_other_ranks = True
        self.rows = rows
        self.padding = padding_idx

    def forward(self, ids: paddle.Tensor) -> paddle.Tensor:
        """ids of any shape → [..., width].

        All processes must look up at the same time, each its own ids.
        """
        unique: Any = paddle.unique(ids.flatten(), return_inverse=True)
        rows, where = unique
        asked = [x.numpy() for x in distributed.gather(rows)]  # what every process wants, sorted
        count = len(asked)
        mine = np.concatenate([x[x % count == distributed.process_index()] for x in asked])
        # nobody's row is looked up too: a gradient is never empty
        mine = np.append(mine // count, self.weight.shape[0] - 1)
        found = F.embedding(paddle.to_tensor(mine), self.weight, sparse=self._sparse)
        got = _Exchange.apply(found, asked)  # [R, width], one owner after the other
        owner = rows.numpy() % count
        position = np.empty(len(owner), np.int64)
        position[np.argsort(owner, kind="stable")] = np.arange(len(owner))
        out = paddle.gather(got, paddle.to_tensor(position[where.numpy()]))
        if self.padding is not None:
            out = out * (ids.flatten() != self.padding).astype(out.dtype).unsqueeze(-1)
        return out.reshape([*ids.shape, self.weight.shape[1]])


class _Exchange(paddle.autograd.PyLayer):
    """Sends every process the rows it asked for, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, found: paddle.Tensor, asked: list[np.ndarray]) -> paddle.Tensor:
        """The rows that this process asked for, one owner after the other.

        Args:
            ctx: Paddle's.
            found (Tensor): [Σ + 1, width], this process's rows out of `asked`, one process after
                the other, then nobody's row.
            asked (list[ndarray]): the row numbers that each process wants.
        """
        count = np.stack([np.bincount(x % len(asked), minlength=len(asked)) for x in asked])
        width = found.shape[1]
        ctx.count = count  # [asker, owner]
        ctx.width = width
        messages = distributed.gather(found[:-1].flatten())  # of every owner
        start = np.concatenate([np.zeros((1, len(asked)), int), count.cumsum(0)])
        me = distributed.process_index()
        parts = []
        for owner, message in enumerate(messages):
            first, last = start[me, owner], start[me + 1, owner]
            parts.append(message[int(first) * width : int(last) * width])
        return paddle.concat(parts).reshape([-1, width])

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        width = ctx.width
        messages = distributed.gather(gradient.flatten())  # of every asker
        start = np.concatenate([np.zeros((len(messages), 1), int), ctx.count.cumsum(1)], 1)
        me = distributed.process_index()
        parts = []
        for asker, message in enumerate(messages):
            first, last = start[asker, me], start[asker, me + 1]
            parts.append(message[int(first) * width : int(last) * width])
        nobodys = paddle.zeros([width])
        return paddle.concat([*parts, nobodys]).reshape([-1, width])
