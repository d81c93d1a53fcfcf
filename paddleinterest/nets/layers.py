"""Layers that several nets use: pooling, masked softmax, Dice, the MLP and the tower.

Shapes: B rows, T history positions, D width of an item's embedding (all its fields side by side).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed
from paddleinterest.nets import native
from paddleinterest.nets.batch import history_length
from paddleinterest.nets.embeddings import table
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.native import positions

ACTIVATIONS = ("relu", "prelu", "dice", "leaky_relu", "rrelu", "sigmoid")
LEAK = 0.01  # slope of leaky_relu below 0
RANDOM_LEAK = (1 / 8, 1 / 3)  # between which rrelu draws its slopes


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless the setting `name` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, must be one of {', '.join(allowed)}")


def size(x: paddle.Tensor, axis: int) -> int | paddle.Tensor:
    """A size of the batch: a number, in an exported program a tensor."""
    return x.shape[axis] if paddle.in_dynamic_mode() else paddle.shape(x)[axis]


def spread(rows: paddle.Tensor, steps: int | paddle.Tensor) -> paddle.Tensor:
    """The same vector at every position, [B, H] → [B, steps, H].

    A gather, since Paddle's broadcast and its gradient are slower.
    """
    b = paddle.shape(rows)[0]
    index = paddle.arange(b).unsqueeze(1).expand([b, steps]).flatten()  # [B·steps]
    return paddle.gather(rows, index).reshape([b, steps, rows.shape[-1]])


class SumPooling(FastLayer):
    """Σ_j m_j · e_j, the base model's pooling.

    Example:
        >>> history, mask = paddle.ones([2, 3, 8]), paddle.to_tensor([[1.0, 1.0, 0.0], [0.0] * 3])
        >>> SumPooling()(history, mask)[:, 0].tolist()
        [2.0, 0.0]
    """

    fast_forms = ("native",)

    def forward(self, history: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """history [B, T, D], mask [B, T] → [B, D]."""
        return paddle.matmul(mask.unsqueeze(1), history).squeeze(1)

    def native(self, history: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor | None:
        """`forward` by the C++ operator; None if it does not run here."""
        if not native.available("positions", history):
            return None
        return positions.pool(mask, history, history_length(mask))


def masked_softmax(score: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """Softmax over the real positions, [B, T] and [B, T] → [B, T].

    Padding gets exactly 0, and so does every position of a row that has no real one.
    """
    # the first product keeps gradients off padding, exactly
    score = score * mask - (1.0 - mask) * 1e9
    return F.softmax(score, -1) * mask


class Dice(nn.Layer):
    """f(s) = p·s + (1 − p)·α·s with p = σ((s − E[s]) / √(Var[s] + ε)), per channel (DIN, 5.2).

    In training E and Var are those of the batch, of all processes together, over the real positions
    only. Evaluation uses their running means.

    Args:
        channels (int): size of the last axis.
        momentum (float): weight of the old running value.
        epsilon (float): ε.
    """

    mean: paddle.Tensor
    variance: paddle.Tensor

    def __init__(self, channels: int, momentum: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        zero = nn.initializer.Constant(0.0)
        self.alpha = self.create_parameter([channels], default_initializer=zero)
        self.register_buffer("mean", paddle.zeros([channels]))
        self.register_buffer("variance", paddle.ones([channels]))

    def forward(self, s: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """s [..., C] → f(s) [..., C].

        Args:
            s (Tensor): [..., C].
            mask (Tensor): 1 if real, [...], without the channel axis; None = all are real.
        """
        if self.training:
            mean, variance = self.statistics(s, mask)
        else:
            mean, variance = self.mean, self.variance
        scale = paddle.rsqrt(variance + self.epsilon)
        p = F.sigmoid(s * scale - mean * scale)
        return s * (self.alpha + (1.0 - self.alpha) * p)

    def statistics(
        self, s: paddle.Tensor, mask: paddle.Tensor | None
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Mean [C] and variance [C] over the real rows; moves the running ones."""
        flat = s.reshape([-1, s.shape[-1]])  # [N, C]
        mask = paddle.ones([flat.shape[0]], flat.dtype) if mask is None else mask
        real = distributed.sum_with_gradient(mask.sum())  # []
        weight = mask.reshape([1, -1]) / paddle.clip(real, min=1.0)  # [1, N]
        mean = distributed.sum_with_gradient(paddle.matmul(weight, flat))  # [1, C]
        variance = distributed.sum_with_gradient(
            paddle.matmul(weight, paddle.square(flat - mean))
        )  # [1, C]
        mean = mean.squeeze(0)
        variance = variance.squeeze(0)
        step = (1 - self.momentum) * paddle.clip(real, max=1.0)  # 0 if no position is real
        with paddle.no_grad():
            self.mean.set_value(self.mean + step * (mean - self.mean))
            self.variance.set_value(self.variance + step * (variance - self.variance))
        return mean, variance


class Activation(nn.Layer):
    """relu, leaky_relu, rrelu, prelu (one slope per channel, from 0.25), dice, or sigmoid, on the
    last axis.

    Below 0 leaky_relu has the slope 0.01, and rrelu one that is drawn for each element between 1/8
    and 1/3 in training, and their mean 11/48 in evaluation (Xu et al. 2015).

    Args:
        kind (str): one of ACTIVATIONS.
        channels (int): size of the last axis.
    """

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        check_choice("activation", kind, ACTIVATIONS)
        self.kind = kind
        self.channels = channels
        self.slope: Any
        if kind == "dice":
            self.dice = Dice(channels)
        elif kind == "prelu":
            start = nn.initializer.Constant(0.25)
            self.slope = self.create_parameter([channels], default_initializer=start)
        elif kind in ("leaky_relu", "rrelu"):
            self.slope = LEAK if kind == "leaky_relu" else sum(RANDOM_LEAK) / 2

    def forward(self, s: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """s [..., C] → [..., C]; only Dice reads the mask [...]."""
        if self.kind == "dice":
            return self.dice(s, mask)
        if self.kind == "sigmoid":
            return F.sigmoid(s)
        if self.kind == "rrelu" and self.training:
            return F.rrelu(s, *RANDOM_LEAK)
        positive = F.relu(s)
        return positive if self.kind == "relu" else positive + self.slope * (s - positive)


class MLP(nn.Layer):
    """Hidden layers with activation and dropout, then one linear output.

    Args:
        in_features (int): width of the input.
        hidden (Sequence[int]): widths of the hidden layers.
        activation (str): one of ACTIVATIONS.
        dropout (float): share that each hidden layer drops in training.

    Example:
        >>> list(MLP(8, [200, 80], "prelu")(paddle.rand([5, 8])).shape)
        [5, 1]
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], activation: str, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        self.hidden = nn.LayerList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.activations = nn.LayerList([Activation(activation, b) for b in hidden])
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor | None = None) -> paddle.Tensor:
        """x [..., in_features], mask [...] (for Dice) → [..., 1]."""
        for linear, activation in zip(self.hidden, self.activations):
            x = activation(linear(x), mask)  # [..., hidden width]
            if self.dropout is not None:
                x = self.dropout(x)
        return self.out(x)


class Tower(nn.Layer):
    """The MLP from interest, target and side features to the logit, and the target item's bias.

    Args:
        in_features (int): width of all inputs together.
        hidden, activation, dropout: of the `MLP`.
        items (int): rows of the bias; 0 = no bias.
        sparse (bool): the bias's gradient holds only the rows that occur.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        activation: str,
        dropout: float = 0.0,
        items: int = 0,
        sparse: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = MLP(in_features, hidden, activation, dropout)
        zero = nn.initializer.Constant(0.0)
        self.item_bias = table(items, 1, sparse=sparse, weight_attr=zero) if items else None

    def forward(
        self, parts: Sequence[paddle.Tensor | None], target_item: paddle.Tensor
    ) -> paddle.Tensor:
        """Logits [B].

        Args:
            parts (Sequence[Tensor | None]): each [B, width]; None is left out.
            target_item (Tensor): int64 [B].
        """
        x = paddle.concat([p for p in parts if p is not None], -1)  # [B, in_features]
        logit = self.mlp(x).squeeze(-1)  # [B]
        if self.item_bias is not None:
            logit = logit + self.item_bias(target_item).squeeze(-1)
        return logit
