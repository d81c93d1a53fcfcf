"""Embeddings of a batch's fields.

Shapes: B rows, T history positions, D width of an item's embedding (all its fields side by side).
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.core import distributed
from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import PADDING, Batch
from paddleinterest.nets.sharded import ShardedEmbedding


def table(rows: int, width: int, **arguments) -> nn.Embedding:
    """An embedding table; shared out over the processes if `runner.shard_tables` says so.

    Args:
        rows: ids, padding and unknown included.
        width: columns.
        **arguments: those of `nn.Embedding`.
    """
    kind = ShardedEmbedding if distributed.sharded(rows) else nn.Embedding
    return kind(rows, width, **arguments)


class FieldEmbeddings(nn.Layer):
    """One table per category field.

    An item's vector is the concatenation over its fields, the same for history and target.

    Args:
        fields (Sequence[Field]): category fields, with ``name``, ``of`` (item, user or context),
            ``size`` (rows of the table, padding and unknown included) and ``multiple`` (several
            values per item or user; their mean is the field's embedding).
        width (int): columns of every table.
        std (float): standard deviation of the start values; row 0, the padding, is 0 and stays 0.
        sparse (bool): gradients hold only the rows that occur. This holds in dynamic graph alone:
            inside `to_static` the same lookup gives a dense gradient. Unlike the dense gradient it
            does not leave out the padding row: a net must mask what it reads of a history.

    Example:
        >>> from types import SimpleNamespace as Field
        >>> e = FieldEmbeddings([Field(name="item", of="item", size=10)], width=4)
        >>> list(e.history({"history_item": paddle.to_tensor([[3, 2, 0]])}).shape)
        [1, 3, 4]
    """

    def __init__(
        self, fields: Sequence[Field], width: int, std: float = 0.01, sparse: bool = True
    ) -> None:
        super().__init__()
        start = nn.initializer.Normal(0.0, std)
        tables = {
            f.name: table(f.size, width, padding_idx=PADDING, sparse=sparse, weight_attr=start)
            for f in fields
        }
        self.tables = nn.LayerDict(tables)
        self.names: dict[str, list[str]] = {
            of: [f.name for f in fields if f.of == of] for of in ("item", "user", "context")
        }
        self.multiple = {f.name for f in fields if is_multiple(f)}
        self.item_width = width * len(self.names["item"])
        self.side_width = width * (len(self.names["user"]) + len(self.names["context"]))

    def history(self, batch: Batch) -> paddle.Tensor:
        """Embeddings e_1 … e_T of the history, [B, T, D]; zero at padding."""
        return _join([self.look_up(n, batch[f"history_{n}"]) for n in self.names["item"]])

    def target(self, batch: Batch) -> paddle.Tensor:
        """Embedding v of the target (candidate) item, [B, D]."""
        return _join([self.look_up(n, batch[f"target_{n}"]) for n in self.names["item"]])

    def look_up(self, name: str, ids: paddle.Tensor) -> paddle.Tensor:
        """A field's embeddings, ids [...] → [..., E]; ids [..., M] of a field of several values."""
        e = self.tables[name](ids)
        return mean_of_values(e, ids) if name in self.multiple else e

    def side(self, batch: Batch, like: paddle.Tensor | None = None) -> paddle.Tensor | None:
        """User fields, context fields and the dense columns, side by side.

        Args:
            batch (Batch): of rows, or of one request.
            like (Tensor): [N, …], one row per candidate of a request. The fields then have one row,
                the request's, which is repeated for all candidates.

        Returns:
            Tensor: [B, S], or None if the dataset has no such field.
        """
        keys = [f"{of}_{n}" for of in ("user", "context") for n in self.names[of]]
        parts = [self.look_up(key.partition("_")[2], batch[key]) for key in keys]
        if like is not None:
            parts = [p.expand([paddle.shape(like)[0], p.shape[-1]]) for p in parts]
        if "dense" in batch:
            parts.append(batch["dense"])
        return _join(parts) if parts else None


def is_multiple(field: Field) -> bool:
    """True if an item or a user may have several values of the field."""
    return getattr(field, "multiple", False)


def mean_of_values(e: paddle.Tensor, ids: paddle.Tensor) -> paddle.Tensor:
    """Mean over the values of a field; zeros without values.

    Args:
        e (Tensor): embeddings of the values, [..., M, E].
        ids (Tensor): the values, right padded with 0, [..., M].

    Example:
        >>> e = paddle.to_tensor([[[2.0], [4.0], [9.0]], [[1.0], [1.0], [1.0]]])
        >>> mean_of_values(e, paddle.to_tensor([[5, 6, 0], [0, 0, 0]])).tolist()
        [[3.0], [0.0]]
    """
    real = (ids != PADDING).astype(e.dtype)  # [..., M]
    share = real / paddle.clip(real.sum(-1, keepdim=True), min=1.0)  # [..., M]
    return paddle.matmul(share.unsqueeze(-2), e).squeeze(-2)


def _join(parts: list[paddle.Tensor]) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, -1)


def bias_rows(fields: Sequence[Field], wanted: bool) -> int:
    """Rows of the tower's bias of the target item; 0 if it has none."""
    return next(f.size for f in fields if f.name == "item") if wanted else 0
