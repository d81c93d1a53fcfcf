"""Other scores than DIN's activation unit: what weighs a history in the attention literature.

Shapes: B rows, T history positions, D width of an item's embedding, N candidates of one user.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.nets.layers import Activation, spread

SIMILARITIES = ("dot", "scaled_dot", "bilinear", "cosine")
MIXED = ("own", "product", "plus", "minus", "concat", "outer")
SCORES = ("din", "none", *SIMILARITIES, *MIXED)
TEMPERATURE = 0.1  # of the cosine, which is in [−1, 1]


class NoScore(nn.Layer):
    """s_j = 1: with softmax the history's mean, without it its sum."""

    def forward(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> paddle.Tensor:
        """history [B, T, D], target [B, D], mask [B, T] → ones [B, T]."""
        return paddle.ones_like(mask)

    def rank(self, history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """history [T, D], target [N, D] → ones [N, T]."""
        return paddle.ones([paddle.shape(target)[0], paddle.shape(history)[0]], target.dtype)


class Similarity(nn.Layer):
    """s_j = e_j·v, e_j·W·v, or their cosine.

    Args:
        kind (str): dot or scaled_dot (e_j·v; the attention divides by √D), bilinear or cosine.
        width (int): D.
    """

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "bilinear":
            self.W = self.create_parameter([width, width])

    def query(self, target: paddle.Tensor) -> paddle.Tensor:
        """The factor of the history, [B, D] → [B, D]."""
        if self.kind == "bilinear":
            return paddle.matmul(target, self.W, transpose_y=True)
        return _unit(target) if self.kind == "cosine" else target

    def keys(self, history: paddle.Tensor) -> paddle.Tensor:
        """The factor of the query, [..., D] → [..., D]."""
        return _unit(history) if self.kind == "cosine" else history

    def forward(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> paddle.Tensor:
        """history [B, T, D], target [B, D], mask [B, T] → scores [B, T]."""
        query = self.query(target).unsqueeze(-1)  # [B, D, 1]
        return paddle.matmul(self.keys(history), query).squeeze(-1)

    def rank(self, history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """history [T, D], target [N, D] → [N, T]."""
        return paddle.matmul(self.query(target), self.keys(history), transpose_y=True)


def _unit(x: paddle.Tensor) -> paddle.Tensor:
    """x/‖x‖, [..., D] → [..., D]; a vector of zeros stays zeros."""
    ones = paddle.ones([x.shape[-1], x.shape[-1]], x.dtype)
    squares = paddle.matmul(x * x, ones)  # ‖x‖² in each column: oneDNN broadcasts wrongly
    return x * paddle.rsqrt(paddle.clip(squares, min=1e-12))


class MixedScore(nn.Layer):
    """s_j = MLP(x_j) of e_j and v mixed in one way.

    Args:
        kind (str): x_j is e_j (own: the target is not read), e_j∘v (product), e_j + v (plus),
            e_j − v (minus), [e_j; v] (concat) or [e_j; v; vec(e_j·vᵀ)] (outer: figure 2 of the DIN
            paper, D² inputs more).
        width (int): D.
        hidden (Sequence[int]), activation (str), bias (bool): as in `LocalActivationUnit`.
    """

    def __init__(
        self, kind: str, width: int, hidden: Sequence[int], activation: str, bias: bool = True
    ) -> None:
        super().__init__()
        self.kind = kind
        inputs = {"concat": 2 * width, "outer": 2 * width + width**2}.get(kind, width)
        widths = [inputs, *hidden]
        self.linears = nn.LayerList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.activations = nn.LayerList([Activation(activation, b) for b in hidden])
        self.out = nn.Linear(widths[-1], 1, bias_attr=None if bias else False)

    def mixed(self, e: paddle.Tensor, v: paddle.Tensor) -> paddle.Tensor:
        """x from e [B, T, D] and v [B, T, D], [B, T, inputs]."""
        if self.kind == "own":
            return e
        if self.kind == "product":
            return e * v
        if self.kind == "plus":
            return e + v
        if self.kind == "minus":
            return e - v
        if self.kind == "concat":
            return paddle.concat([e, v], -1)
        outer = paddle.matmul(e.unsqueeze(-1), v.unsqueeze(-2)).flatten(-2)  # [B, T, D²]
        return paddle.concat([e, v, outer], -1)

    def forward(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor | None
    ) -> paddle.Tensor:
        """history [B, T, D], target [B, D], mask [B, T] → scores [B, T]."""
        return self.scores(history, target, mask)

    def scores(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor | None
    ) -> paddle.Tensor:
        """The result of `forward`; Paddle 2.6 exports no call of `forward` itself."""
        x = self.mixed(history, spread(target, paddle.shape(history)[1]))
        for linear, activation in zip(self.linears, self.activations):
            x = activation(linear(x), mask)  # [B, T, hidden width]
        return self.out(x).squeeze(-1)

    def rank(self, history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """history [T, D], target [N, D] → [N, T]."""
        n = paddle.shape(target)[0]
        return self.scores(history.unsqueeze(0).expand([n, -1, -1]), target, None)
