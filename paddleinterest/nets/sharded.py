"""An embedding table of which every process holds its share of the rows
(paddleinterest/core/distributed.py): row j lies at rank j mod ranks.

A lookup asks all ranks for the rows it needs; their gradients go back to the rank that holds them,
which alone keeps the optimiser's moments for them.
"""

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed


class ShardedEmbedding(nn.Embedding):
    """In place of `nn.Embedding(rows, width, …)`, with the same values to start from.

    While it is made the table lies whole in this process's memory, one table after the other. The
    last row of the weight is nobody's: it stays 0, and lets the optimiser make its step where no
    row of this rank occurs.
    """

    def __init__(self, rows, width, padding_idx=None, sparse=False, weight_attr=None):
        whole = nn.Embedding(
            rows, width, padding_idx=padding_idx, sparse=sparse, weight_attr=weight_attr
        )
        own = distributed.own(whole.weight.numpy())
        super().__init__(len(own), width, sparse=sparse, weight_attr=nn.initializer.Constant(0.0))
        self.weight.set_value(own)
        self.weight.at_other_ranks = True
        self.rows, self.padding = rows, padding_idx

    def forward(self, ids):
        """ids of any shape → [..., width]. All ranks must look up at the same time, each its own
        ids."""
        rows, where = paddle.unique(ids.flatten(), return_inverse=True)
        asked = [x.numpy() for x in distributed.gather(rows)]  # what every rank wants, sorted
        mine = np.concatenate([x[x % len(asked) == distributed.process_index()] for x in asked])
        mine = np.append(
            mine // len(asked), self.weight.shape[0] - 1
        )  # nobody's row: a gradient is never empty
        found = F.embedding(paddle.to_tensor(mine), self.weight, sparse=self._sparse)
        got = _Exchange.apply(found, asked)  # [R, width], one owner after the other
        owner = rows.numpy() % len(asked)
        position = np.empty(len(owner), np.int64)
        position[np.argsort(owner, kind="stable")] = np.arange(len(owner))
        out = paddle.gather(got, paddle.to_tensor(position[where.numpy()]))
        if self.padding is not None:
            out = out * (ids.flatten() != self.padding).astype(out.dtype).unsqueeze(-1)
        return out.reshape([*ids.shape, self.weight.shape[1]])


class _Exchange(paddle.autograd.PyLayer):
    """Sends every rank the rows it asked for, and their gradients back."""

    @staticmethod
    def forward(ctx, found, asked):
        """found [Σ + 1, width]: what this rank holds of the rows in `asked`, rank after rank, then
        nobody's row. Returns what it asked for itself."""
        ctx.count = count = np.stack(
            [np.bincount(x % len(asked), minlength=len(asked)) for x in asked]
        )  # [asker, owner]
        ctx.width = width = found.shape[1]
        messages = distributed.gather(found[:-1].flatten())  # of every owner
        start = np.concatenate([np.zeros((1, len(asked)), int), count.cumsum(0)])
        me = distributed.process_index()
        return paddle.concat(
            [
                m[int(start[me, s]) * width : int(start[me + 1, s]) * width]
                for s, m in enumerate(messages)
            ]
        ).reshape([-1, width])

    @staticmethod
    def backward(ctx, gradient):
        messages = distributed.gather(gradient.flatten())  # of every asker
        start = np.concatenate([np.zeros((len(messages), 1), int), ctx.count.cumsum(1)], 1)
        me, width = distributed.process_index(), ctx.width
        parts = [
            m[int(start[r, me]) * width : int(start[r, me + 1]) * width]
            for r, m in enumerate(messages)
        ]
        return paddle.concat([*parts, paddle.zeros([width])]).reshape([-1, width])
