"""Wide & Deep Learning for Recommender Systems, Cheng et al., DLRS 2016.

https://arxiv.org/abs/1606.07792

Shapes: B rows, T history positions, F fields, E columns of a table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import PADDING, Batch
from paddleinterest.nets.embeddings import bias_rows
from paddleinterest.nets.layers import Tower
from paddleinterest.nets.pooled import LinearTerms, PooledFields, PooledNet, scalars

PRIME = 7368787  # exact in float32, as which Paddle may keep a constant factor
STEP = 999983  # between the hashes of two pairs of fields


class Crosses(nn.Layer):
    """The paper's cross products AND(history has a, target is b), averaged over the history.

    Each pair has a weight, found by hash.

    Args:
        names (Sequence[str]): item fields of one value, each crossed with itself.
        buckets (int): rows of each table; pairs of one bucket share a weight.
        sparse (bool): gradients hold only the rows that occur.
    """

    def __init__(self, names: Sequence[str], buckets: int, sparse: bool = True) -> None:
        super().__init__()
        self.names = names
        self.buckets = buckets
        # row 0 is the padding
        self.tables = nn.LayerDict({name: scalars(buckets + 1, sparse) for name in names})

    def forward(self, batch: Batch, weight: paddle.Tensor) -> paddle.Tensor:
        """Σ of the pairs' weights, [B].

        Args:
            batch (Batch): of rows, or of one request.
            weight (Tensor): of the history's mean, [B, T]; one row for the candidates of one user.
        """
        total: paddle.Tensor | float = 0.0
        for name in self.names:
            past = batch[f"history_{name}"]  # [B, T]
            target = batch[f"target_{name}"].unsqueeze(1)  # [B, 1]
            pair = (past * PRIME + target) % self.buckets + 1  # [B, T]
            pair = pair * (past != PADDING).astype(pair.dtype)
            total = total + (self.tables[name](pair).squeeze(-1) * weight).sum(-1)
        return total


class PairCrosses(nn.Layer):
    """Σ_{i<j} w_ij·x_i·x_j over all pairs of fields, each pair of ids finding its weight by hash.

    A pair with a history's field is averaged over the events; of two such fields the ids of the
    same event meet.

    Args:
        keys (Sequence[str]): names of the fields in a batch, each of one value.
        buckets (int): rows of the table that all pairs share.
        sparse (bool): gradients hold only the rows that occur.
    """

    def __init__(self, keys: Sequence[str], buckets: int, sparse: bool = True) -> None:
        super().__init__()
        self.pairs = list(itertools.combinations(keys, 2))
        self.buckets = buckets
        self.table = scalars(buckets + 1, sparse)  # row 0 is the padding

    def forward(self, batch: Batch, weight: paddle.Tensor) -> paddle.Tensor:
        """Σ of the pairs' weights, [B]; arguments as in `Crosses`."""
        total: Any = 0.0
        for number, (one, two) in enumerate(self.pairs):
            past = one.startswith("history_") or two.startswith("history_")
            a = self.ids(batch, one, past)  # [B], or [B, T] or [B, 1] if `past`
            b = self.ids(batch, two, past)
            pair = (a * PRIME + b + number * STEP % PRIME) % self.buckets + 1
            real = (a != PADDING).astype(pair.dtype) * (b != PADDING).astype(pair.dtype)
            w = self.table(pair * real).squeeze(-1)  # [B] or [B, T]
            total = total + ((w * weight).sum(-1) if past else w)
        return total

    @staticmethod
    def ids(batch: Batch, key: str, past: bool) -> paddle.Tensor:
        """A field's ids, [B]; with `past` [B, 1], or [B, T] of a history."""
        x = batch[key]
        return x.unsqueeze(1) if past and not key.startswith("history_") else x


class WideDeep(PooledNet):
    """logit = wide + deep. Arguments as in DIN, and:

    Args:
        cross (int): buckets of `Crosses` for each item field; 0 = no crosses.
        cross_pairs (int): buckets of `PairCrosses`; 0 = none.
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
        cross: int = 0,
        cross_pairs: int = 0,
    ) -> None:
        super().__init__()
        if cross < 0:
            raise ValueError(f"cross is {cross}, must be at least 0")
        self.embeddings = PooledFields(fields, embedding_size, embedding_std, sparse, list_pooling)
        self.linear = LinearTerms(fields, dense, sparse, list_pooling)
        single = [n for n in self.embeddings.names["item"] if n not in self.embeddings.multiple]
        self.crosses = Crosses(single, cross, sparse) if cross else None
        self.pairs = None
        if cross_pairs:
            multiple = self.embeddings.multiple
            keys = [k for k in self.linear.keys if k.partition("_")[2] not in multiple]
            self.pairs = PairCrosses(keys, cross_pairs, sparse)
        items = bias_rows(fields, item_bias)
        self.tower = Tower(self.embeddings.width + dense, tower, activation, dropout, items, sparse)

    def logit(self, batch: Batch, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Logits [B] from x [B, F·E + dense] and the weights of the history's mean [B, T]."""
        deep = self.tower([x], batch["target_item"])  # [B]
        logit = deep + self.linear(batch, weight)  # [B]
        if self.crosses is not None:
            logit = logit + self.crosses(batch, weight)
        return logit if self.pairs is None else logit + self.pairs(batch, weight)
