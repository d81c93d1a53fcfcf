"""Shared by transformers: the position of an event, attention with several heads, the block.

Shapes: B rows, T history positions, L elements of a sequence, D their width, H heads, d_k = D/H;
U sequences and M targets that read each: U = B, M = 1, or for one request U = 1, M = candidates.

Keys have no bias: it adds the same to all scores of a query, so the softmax removes it.
"""

from __future__ import annotations

import math

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.nets.batch import Batch
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.layers import masked_softmax, size

LONGEST_GAP = 10 * 365 * 24 * 3600  # seconds; the last time bucket starts here


def index_from_end(mask: paddle.Tensor) -> paddle.Tensor:
    """1 for the most recent event, 2 for the one before …, [B, T] → int64 [B, T].

    Meaningless at padding.
    """
    return (mask.sum(-1, keepdim=True) - mask.cumsum(-1) + mask).astype("int64")


def time_edges(buckets: int) -> list[int]:
    """First gap of each bucket in seconds: 1 … LONGEST_GAP.

    They are evenly spaced in the logarithm, at least 1 apart.
    """
    edges: list[int] = []
    for k in range(buckets):
        edge = round(LONGEST_GAP ** (k / max(1, buckets - 1)))
        edges.append(max(edge, edges[-1] + 1) if edges else edge)
    return edges


def waves(rows: int, width: int) -> paddle.Tensor:
    """sin and cos of row/10000^(2k/width), [rows, width] (Vaswani et al. 2017, section 3.5)."""
    step = paddle.arange(0, width, 2, dtype="float32")  # [width/2]
    frequency = paddle.exp(step * (-math.log(1e4) / width))  # [width/2]
    angle = paddle.arange(rows, dtype="float32").unsqueeze(1) * frequency  # [rows, width/2]
    both = paddle.stack([paddle.sin(angle), paddle.cos(angle)], -1)  # [rows, width/2, 2]
    return both.flatten(1)[:, :width]


class Position(nn.Layer):
    """pos(v_i) = t(v_t) − t(v_i) in log-spaced buckets (BST, section 2.1), or the event's index.

    The index counts from the end. Row 0 of the table is the target's. By index, row k is the k-th
    most recent event, the last row all before it. By time, row 1 is a gap of 0 (or less, by a wrong
    clock), row 1 + k the k-th bucket of `time_edges`.

    Args:
        kind (str): time or index (learned tables), or sinusoidal (fixed `waves` of the index).
        width (int): P, columns.
        buckets (int): rows beside those of the target and gap 0.
        std (float): of the learned rows' start, and the root mean square of the waves: beside
            embeddings that start so small, waves of height 1 would be all that the block sees.
    """

    edges: paddle.Tensor

    def __init__(self, kind: str, width: int, buckets: int, std: float = 0.01) -> None:
        super().__init__()
        self.kind = kind
        self.last = buckets
        if kind == "sinusoidal":
            fixed = math.sqrt(2) * std * waves(buckets + 1, width)
            self.register_buffer("table", fixed, persistable=False)
        else:
            rows = buckets + 1 + (kind == "time")
            start = nn.initializer.Normal(0.0, std)
            self.table = self.create_parameter([rows, width], default_initializer=start)
        if kind == "time":
            edges = paddle.to_tensor(time_edges(buckets), dtype="int64")
            self.register_buffer("edges", edges, persistable=False)

    def rows(self, batch: Batch, mask: paddle.Tensor) -> paddle.Tensor:
        """The table's row of each history position, int64 [U, T]."""
        if self.kind == "time":
            now = batch["target_time"][: mask.shape[0]].unsqueeze(1)  # [U, 1], one moment a user
            gap = now - batch["history_time"]  # [U, T]
            return 1 + paddle.searchsorted(self.edges, gap, right=True)
        return paddle.clip(index_from_end(mask), 1, self.last)

    def forward(self, rows: paddle.Tensor) -> paddle.Tensor:
        """Rows [...] → [..., P]."""
        return F.embedding(rows, self.table)


def causal(mask: paddle.Tensor) -> paddle.Tensor:
    """Which elements each element may read: itself and those before it, [B, L] → [B, L, L].

    Example:
        >>> causal(paddle.to_tensor([[1.0, 1.0, 0.0]])).tolist()
        [[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]
    """
    place = paddle.arange(size(mask, 1))  # [L]
    past = (place.unsqueeze(1) >= place).astype(mask.dtype)  # [L, L]
    return mask.unsqueeze(1) * past


class MultiHeadAttention(nn.Layer):
    """MH(S) = Concat(head_1 … head_H)·W^H (BST, equations 1, 2).

    head_i = softmax(S·W_i^Q (S·W_i^K)ᵀ / √d_k)·S·W_i^V.

    Args:
        width (int): D.
        heads (int): H, divides D.

    Example:
        >>> mh, weight = MultiHeadAttention(8, 4)(paddle.rand([2, 5, 8]), paddle.ones([2, 5]))
        >>> list(mh.shape), list(weight.shape)
        ([2, 5, 8], [2, 4, 5, 5])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.scale = 1.0 / math.sqrt(width // heads)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias_attr=False)

    def forward(
        self, s: paddle.Tensor, mask: paddle.Tensor, query: paddle.Tensor | None = None
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """MH and its weights, exactly 0 on padding.

        Args:
            s (Tensor): S, which keys and values are made of, [B, L, D].
            mask (Tensor): of S, [B, L]; or which elements each query may read, [B, Q, L], such as
                `causal` gives. A query that may read none gets zeros.
            query (Tensor): elements that ask, [B, Q, D]; None = S.

        Returns:
            tuple[Tensor, Tensor]: [B, Q, D] and [B, H, Q, L].
        """
        q = self._heads(self.q_proj(s if query is None else query))  # [B, H, Q, d_k]
        k = self._heads(self.k_proj(s))  # [B, H, L, d_k]
        v = self._heads(self.v_proj(s))  # [B, H, L, d_k]
        score = paddle.matmul(q * self.scale, k, transpose_y=True)  # [B, H, Q, L]
        readable = mask.unsqueeze(1) if mask.ndim == 2 else mask  # [B, 1 or Q, L]
        weight = masked_softmax(score, readable.unsqueeze(1).expand_as(score))
        heads = paddle.matmul(weight, v)  # [B, H, Q, d_k]
        return self.out_proj(heads.transpose([0, 2, 1, 3]).flatten(2)), weight

    def _heads(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, L, D] → [B, H, L, d_k]."""
        return x.reshape([0, 0, self.heads, -1]).transpose([0, 2, 1, 3])

    def of_target(
        self, s: paddle.Tensor, mask: paddle.Tensor, target: paddle.Tensor, itself: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The rows of MH at the targets alone: equal to `forward`, at a fraction of the cost.

        As q·(S·W_i^K)ᵀ = (q·W_i^Kᵀ)·Sᵀ and a·(S·W_i^V) = (a·S)·W_i^V, no key or value of a position
        is ever built, and one product with S serves all heads and targets.

        Args:
            s (Tensor): S, [U, L, D].
            mask (Tensor): of S, [U, L].
            target (Tensor): elements that ask, [U·M, D].
            itself (bool): s holds the history alone, and each target also attends to itself, to no
                other target.

        Returns:
            tuple[Tensor, Tensor]: [U·M, D] and the weights on s, [U, M·H, L].
        """
        u = size(s, 0)
        h = self.heads
        d = self.width
        wk = self.k_proj.weight.reshape([d, h, -1]).transpose([1, 0, 2])  # [H, D, d_k]
        wv = self.v_proj.weight.reshape([d, h, -1]).transpose([1, 0, 2])  # [H, D, d_k]
        q = self.q_proj(target).reshape([-1, h, d // h]).transpose([1, 0, 2])  # [H, U·M, d_k]
        query = paddle.matmul(q, wk * self.scale, transpose_y=True)  # [H, U·M, D]
        query = query.transpose([1, 0, 2])  # [U·M, H, D]
        score = paddle.matmul(query.reshape([u, -1, d]), s, transpose_y=True)  # [U, M·H, L]
        if itself:
            own = paddle.matmul(query, target.unsqueeze(-1)).reshape([u, -1, 1])  # [U, M·H, 1]
            score = paddle.concat([score, own], -1)  # [U, M·H, L + 1]
            mask = paddle.concat([mask, paddle.ones_like(mask[:, :1])], 1)  # [U, L + 1]
        weight = masked_softmax(score, mask.unsqueeze(1).expand_as(score))
        if itself:
            own = weight[:, :, -1:]  # [U, M·H, 1]
            weight = weight[:, :, :-1]  # [U, M·H, L]
        mixed = paddle.matmul(weight, s).reshape([-1, h, d])  # [U·M, H, D]
        if itself:
            mixed = mixed + paddle.matmul(own.reshape([-1, h, 1]), target.unsqueeze(1))
        heads = paddle.matmul(mixed.transpose([1, 0, 2]), wv).transpose([1, 0, 2])  # [U·M, H, d_k]
        return self.out_proj(heads.flatten(1) + self.v_proj.bias), weight


class TransformerBlock(FastLayer):
    """F = LN(S' + Dropout(LeakyReLU(S'·W⁽¹⁾ + b⁽¹⁾)·W⁽²⁾ + b⁽²⁾)) (BST, section 2.2).

    S' = LN(S + Dropout(MH(S))).

    Args:
        width (int): D.
        heads (int): H, divides D.
        feed_forward (int): hidden width.
        dropout (float): share dropped in training.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, s: paddle.Tensor, mask: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """F and the attention's weights.

        Args:
            s (Tensor): S, [B, L, D].
            mask (Tensor): of S, [B, L]; or for each of its elements, [B, L, L].

        Returns:
            tuple[Tensor, Tensor]: [B, L, D] and [B, H, L, L].
        """
        mh, weight = self.attention(s, mask)
        return self.residuals(s, mh), weight

    def residuals(self, s: paddle.Tensor, mh: paddle.Tensor) -> paddle.Tensor:
        """F from S and MH, both [..., D] → [..., D]."""
        s = self.norm1(s + self.dropout(mh))
        hidden = F.leaky_relu(self.linear1(s))  # [..., feed_forward]
        return self.norm2(s + self.dropout(self.linear2(hidden)))
