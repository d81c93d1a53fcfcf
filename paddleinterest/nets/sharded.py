"""An embedding table of which every process holds its share of the rows.

Row j is at process j mod processes (paddleinterest/core/distributed/tables.py). A lookup asks all
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
        own = distributed.rows_of_this_process(whole.weight.numpy())
        super().__init__(len(own), width, sparse=sparse, weight_attr=nn.initializer.Constant(0.0))
        self.weight.set_value(own)
        self.weight.is_split_over_processes = True
        self.rows = rows
        self.padding = padding_idx

    def forward(self, ids: paddle.Tensor) -> paddle.Tensor:
        """ids of any shape → [..., width].

        All processes must look up at the same time, each its own ids.
        """
        unique: Any = paddle.unique(ids.flatten(), return_inverse=True)
        rows, where = unique
        numbers = rows.numpy()
        processes = distributed.process_count()
        owner = numbers % processes
        order = np.argsort(owner, kind="stable")  # one owner after the other
        of_owner = np.bincount(owner, minlength=processes)
        counts = distributed.counts_of_all(of_owner)  # [asker, owner]
        asked = distributed.exchange(_cut(paddle.to_tensor(numbers[order]), of_owner), counts)
        mine = np.concatenate([x.numpy() for x in asked])
        # nobody's row is looked up too: a gradient is never empty
        mine = np.append(mine // processes, self.weight.shape[0] - 1)
        found = F.embedding(paddle.to_tensor(mine), self.weight, sparse=self._sparse)
        got = _Exchange.apply(found, counts)  # [R, width], one owner after the other
        position = np.empty(len(owner), np.int64)
        position[order] = np.arange(len(owner))
        out = paddle.gather(got, paddle.to_tensor(position[where.numpy()]))
        if self.padding is not None:
            out = out * (ids.flatten() != self.padding).astype(out.dtype).unsqueeze(-1)
        return out.reshape([*ids.shape, self.weight.shape[1]])


class _Exchange(paddle.autograd.PyLayer):
    """Sends every process the rows it asked for, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, found: paddle.Tensor, counts: np.ndarray) -> paddle.Tensor:
        """The rows that this process asked for, one owner after the other.

        Args:
            ctx: Paddle's.
            found (Tensor): [Σ + 1, width], this process's rows that were asked for, one asker
                after the other, then nobody's row.
            counts (ndarray): rows that each asker wants of each owner, [asker, owner].
        """
        ctx.counts = counts
        ctx.width = found.shape[1]
        me = distributed.process_index()
        parts = _cut(found[:-1].flatten(), counts[:, me] * ctx.width)
        received = distributed.exchange(parts, counts.T * ctx.width)  # from owner to asker
        return paddle.concat(received).reshape([-1, ctx.width])

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        me = distributed.process_index()
        parts = _cut(gradient.flatten(), ctx.counts[me] * ctx.width)
        received = distributed.exchange(parts, ctx.counts * ctx.width)  # from asker to owner
        nobodys = paddle.zeros([ctx.width])
        return paddle.concat([*received, nobodys]).reshape([-1, ctx.width])


def _cut(vector: paddle.Tensor, sizes: np.ndarray) -> list[paddle.Tensor]:
    """A vector in pieces of these sizes."""
    ends = np.cumsum(sizes)
    return [vector[int(end - size) : int(end)] for end, size in zip(ends, sizes, strict=True)]
