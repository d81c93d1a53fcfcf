"""Embeddings of a batch's fields.

Shapes: B rows, T history positions, E columns of a table, D width of an item's embedding (all its
fields side by side), V width of an event's fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn as nn

from paddleinterest.core import distributed
from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import PADDING, Batch
from paddleinterest.nets.sharded import ShardedEmbedding


def table(rows: int, width: int, **arguments: Any) -> nn.Embedding:
    """An embedding table; shared out over the processes if `runner.shard_tables` says so.

    Args:
        rows: ids, padding and unknown included.
        width: columns.
        **arguments: those of `nn.Embedding`.
    """
    kind = ShardedEmbedding if distributed.is_split(rows) else nn.Embedding
    return kind(rows, width, **arguments)


LIST_POOLINGS = ("mean", "sum")


class FieldEmbeddings(nn.Layer):
    """One table per category field, one linear layer per vector, one for an event's numbers.

    An item's embedding is the concatenation over its fields and projected vectors, the same for
    history and target. What an event has beside its item (its action, its price) is apart, in
    `events`, as the target has no event.

    Args:
        fields (Sequence[Field]): with ``name``, ``of`` (item, user, context or event), ``kind``,
            ``size`` (rows of a category's table, padding and unknown included), ``multiple``
            (several values per item or user) and ``width`` (of a vector).
        width (int): columns of every table.
        std (float): standard deviation of the start values; row 0, the padding, is 0 and stays 0.
        sparse (bool): gradients hold only the rows that occur. This holds in dynamic graph alone:
            inside `to_static` the same lookup gives a dense gradient. Unlike the dense gradient it
            does not leave out the padding row: a net must mask what it reads of a history.
        list_pooling (str): a field of several values enters as their embeddings' mean or sum.

    Attributes:
        item_width (int): D = E · (item fields + vectors).
        event_width (int): V = E · (categories of events + 1 if they have numbers).
        side_width (int): E · (user fields + context fields).

    Example:
        >>> from types import SimpleNamespace as Field
        >>> e = FieldEmbeddings([Field(name="item", of="item", size=10)], width=4)
        >>> list(e.history({"history_item": paddle.to_tensor([[3, 2, 0]])}).shape)
        [1, 3, 4]
    """

    def __init__(
        self,
        fields: Sequence[Field],
        width: int,
        std: float = 0.01,
        sparse: bool = True,
        list_pooling: str = "mean",
    ) -> None:
        super().__init__()
        if list_pooling not in LIST_POOLINGS:
            raise ValueError(f"list_pooling is {list_pooling!r}, must be mean or sum")
        start = nn.initializer.Normal(0.0, std)
        tables = {
            f.name: table(f.size, width, padding_idx=PADDING, sparse=sparse, weight_attr=start)
            for f in categories(fields)
        }
        self.tables = nn.LayerDict(tables)
        self.names: dict[str, list[str]] = {
            of: [f.name for f in categories(fields) if f.of == of]
            for of in ("item", "user", "context", "event")
        }
        self.multiple = {f.name for f in fields if is_multiple(f)}
        self.list_pooling = list_pooling
        vectors = {f.name: f.width for f in fields if kind(f) == "vector"}
        self.vectors = list(vectors)
        self.projections = nn.LayerDict(
            {name: nn.Linear(w, width, bias_attr=False) for name, w in vectors.items()}
        )
        numbers = sum(kind(f) == "dense" and f.of == "event" for f in fields)
        self.of_numbers = nn.Linear(numbers, width, bias_attr=False) if numbers else None
        self.item_width = width * (len(self.names["item"]) + len(vectors))
        self.event_width = width * (len(self.names["event"]) + (numbers > 0))
        self.side_width = width * (len(self.names["user"]) + len(self.names["context"]))

    def history(self, batch: Batch) -> paddle.Tensor:
        """Embeddings e_1 … e_T of the history's items, [B, T, D]; zero at padding."""
        return join(self.of_items(batch, "history"))

    def target(self, batch: Batch) -> paddle.Tensor:
        """Embedding v of the target (candidate) item, [B, D]."""
        return join(self.of_items(batch, "target"))

    def of_items(self, batch: Batch, what: str) -> list[paddle.Tensor]:
        """Embeddings of each item field, then of each vector, [..., E]; what: history or target."""
        parts = [self.look_up(n, batch[f"{what}_{n}"]) for n in self.names["item"]]
        return parts + [self.projections[n](batch[f"{what}_vector_{n}"]) for n in self.vectors]

    def negatives(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """The drawn negatives under the names of a history."""
        names = [*self.names["item"], *(f"vector_{n}" for n in self.vectors)]
        return {f"history_{n}": batch[f"negative_{n}"] for n in names}

    def events(self, batch: Batch) -> paddle.Tensor | None:
        """Embeddings of the event fields of the history, [B, T, V]; zero at padding.

        None if the dataset has no event fields.
        """
        parts = [self.look_up(n, batch[f"event_{n}"]) for n in self.names["event"]]
        if self.of_numbers is not None:
            parts.append(self.of_numbers(batch["event_dense"]))
        return join(parts) if parts else None

    def with_events(self, history: paddle.Tensor, batch: Batch) -> paddle.Tensor:
        """The history's items, each with its event's fields, [B, T, D] → [B, T, D + V]."""
        events = self.events(batch)
        return history if events is None else paddle.concat([history, events], -1)

    def without_event(self, target: paddle.Tensor) -> paddle.Tensor:
        """The target beside an event that is all zeros, [B, D] → [B, D + V]."""
        if not self.event_width:
            return target
        none = paddle.zeros([paddle.shape(target)[0], self.event_width], target.dtype)
        return paddle.concat([target, none], -1)

    def look_up(self, name: str, ids: paddle.Tensor) -> paddle.Tensor:
        """A field's embeddings, ids [...] → [..., E]; ids [..., M] of a field of several values."""
        e = self.tables[name](ids)
        return pool_values(e, ids, self.list_pooling) if name in self.multiple else e

    def side(self, batch: Batch, expand_to: paddle.Tensor | None = None) -> paddle.Tensor | None:
        """User fields, context fields and the dense columns, side by side.

        Args:
            batch (Batch): of rows, or of one request.
            expand_to (Tensor): [N, …], one row per candidate of a request. The fields then have
                one row, the request's, which is repeated for all candidates.

        Returns:
            Tensor: [B, S], or None if the dataset has no such field.
        """
        keys = [f"{of}_{n}" for of in ("user", "context") for n in self.names[of]]
        parts = [self.look_up(key.partition("_")[2], batch[key]) for key in keys]
        if expand_to is not None:
            parts = [p.expand([paddle.shape(expand_to)[0], p.shape[-1]]) for p in parts]
        if "dense" in batch:
            parts.append(batch["dense"])
        return join(parts) if parts else None


def kind(field: Field) -> str:
    """category, dense or vector."""
    return getattr(field, "kind", "category")


def categories(fields: Sequence[Field]) -> list[Field]:
    """The fields that have a table."""
    return [f for f in fields if kind(f) == "category"]


def is_multiple(field: Field) -> bool:
    """True if an item or a user may have several values of the field."""
    return getattr(field, "multiple", False)


def pool_values(e: paddle.Tensor, ids: paddle.Tensor, pooling: str = "mean") -> paddle.Tensor:
    """Mean or sum over the values of a field, [..., E]; zeros without values.

    Args:
        e (Tensor): embeddings of the values, [..., M, E].
        ids (Tensor): the values, right padded with 0, [..., M].
        pooling (str): one of LIST_POOLINGS.

    Example:
        >>> e = paddle.to_tensor([[[2.0], [4.0], [9.0]], [[1.0], [1.0], [1.0]]])
        >>> pool_values(e, paddle.to_tensor([[5, 6, 0], [0, 0, 0]])).tolist()
        [[3.0], [0.0]]
    """
    share = (ids != PADDING).astype(e.dtype)  # [..., M]
    if pooling == "mean":
        share = share / paddle.clip(share.sum(-1, keepdim=True), min=1.0)
    return paddle.matmul(share.unsqueeze(-2), e).squeeze(-2)


def join(parts: list[paddle.Tensor]) -> paddle.Tensor:
    """The parts side by side, [..., E] each."""
    return parts[0] if len(parts) == 1 else paddle.concat(parts, -1)


def bias_rows(fields: Sequence[Field], with_bias: bool) -> int:
    """Rows of the tower's bias of the target item; 0 if it has none."""
    return next(f.size for f in fields if f.name == "item") if with_bias else 0
