"""DIN: Deep Interest Network for Click-Through Rate Prediction, Zhou et al., KDD 2018.

https://arxiv.org/abs/1706.06978

Shapes: B rows, T history positions, D width of an item's embedding, V of an event's fields, N
candidates of one user. In the attention, e_j is the item's embedding beside its event's fields, and
v the target's beside zeros: D is D + V there.

Not covered: dense columns of history items (they enter for the target).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets import native
from paddleinterest.nets.batch import Batch, Scores, history_length, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.layers import (
    LEAK,
    Activation,
    SumPooling,
    Tower,
    check_choice,
    masked_softmax,
    spread,
)
from paddleinterest.nets.native.attention import interest

from .score import SCORES, SIMILARITIES, TEMPERATURE, MixedScore, NoScore, Similarity


class LocalActivationUnit(nn.Layer):
    """s_j = MLP([e_j; v; e_j − v; e_j∘v]), one score per position (DIN, section 4.3, figure 2).

    The paper feeds e_j, v and their outer product. The authors' code, and everyone since, feeds the
    four terms above.

    The first layer never builds the concatenation. With its weight cut in four, W = [W₁; W₂; W₃;
    W₄], it is e·(W₁+W₃) + v·(W₂−W₃) + (e∘v)·W₄, whose middle term is computed once per row.

    Args:
        width (int): D.
        hidden (Sequence[int]): widths of the MLP's hidden layers.
        activation (str): one of ACTIVATIONS in nets/layers.py.
        bias (bool): of the score; a softmax would not see it, so that it could not learn.

    Example:
        >>> unit = LocalActivationUnit(8, [80, 40], "prelu")
        >>> history, target, mask = paddle.rand([2, 5, 8]), paddle.rand([2, 8]), paddle.ones([2, 5])
        >>> list(unit(history, target, mask).shape)
        [2, 5]
    """

    def __init__(
        self, width: int, hidden: Sequence[int], activation: str, bias: bool = True
    ) -> None:
        super().__init__()
        widths = [4 * width, *hidden]
        self.width = width
        self.linears = nn.LayerList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.activations = nn.LayerList([Activation(activation, b) for b in hidden])
        self.out = nn.Linear(widths[-1], 1, bias_attr=None if bias else False)

    def forward(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> paddle.Tensor:
        """history [B, T, D], target [B, D], mask [B, T] → scores [B, T], meaningless at padding."""
        x = self.first_layer(history, target)  # [B, T, H]
        for k, activation in enumerate(self.activations):
            x = activation(x if k == 0 else self.linears[k](x), mask)
        return self.out(x).squeeze(-1)  # [B, T]

    def first_layer(self, history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """history [B, T, D], target [B, D] → W·[e; v; e−v; e∘v] + b, [B, T, H]."""
        w1, w2, w3, w4 = paddle.split(self.linears[0].weight, 4)  # each [D, H]
        once = paddle.matmul(target, w2 - w3) + self.linears[0].bias  # [B, H]
        positions = paddle.shape(history)[1]
        product = history * spread(target, positions)  # [B, T, D]
        each = paddle.matmul(history, w1 + w3) + paddle.matmul(product, w4)  # [B, T, H]
        return each + spread(once, positions)

    def slopes(self) -> list[paddle.Tensor] | None:
        """Slopes below 0 of both hidden layers, for the C++ operator.

        None if it has no such unit: Dice, sigmoid, a random slope, or not two layers.
        """
        if len(self.activations) != 2 or self.activations[0].kind in ("dice", "rrelu", "sigmoid"):
            return None
        if self.activations[0].kind == "prelu":
            return [a.slope for a in self.activations]
        slope = LEAK if self.activations[0].kind == "leaky_relu" else 0.0
        return [paddle.full([a.channels], slope) for a in self.activations]

    def rank(self, history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Scores of N targets against one history: history [T, D], target [N, D] → [N, T].

        For a fixed e_j the first layer is linear in v, so all positions and targets are one
        product: v·(W₂ − W₃ + diag(e_j)·W₄) + e_j·(W₁+W₃) + b. Products stand in for broadcasts,
        which Paddle does slowly.
        """
        w1, w2, w3, w4 = paddle.split(self.linears[0].weight, 4)  # each [D, H]
        e = history.t()  # [D, T]
        terms = paddle.stack([e, paddle.ones_like(e)], -1)  # [D, T, 2]
        slope = paddle.matmul(terms, paddle.stack([w4, w2 - w3], 1))  # [D, T, H]
        shift = paddle.matmul(history, w1 + w3) + self.linears[0].bias  # [T, H]
        weight = paddle.concat([slope.flatten(1), shift.flatten().unsqueeze(0)])  # [D + 1, T·H]
        one = paddle.ones_like(target[:, :1])  # [N, 1]
        x = paddle.matmul(paddle.concat([target, one], 1), weight)  # [N, T·H]
        x = self.activations[0](x.reshape([-1, self.linears[0].weight.shape[1]]))  # [N·T, H]
        one = paddle.ones_like(x[:, :1])
        for linear, activation in zip(self.linears[1:], self.activations[1:]):
            bias = paddle.matmul(one, linear.bias.unsqueeze(0))
            x = activation(paddle.matmul(x, linear.weight) + bias)
        return self.out(x).reshape([-1, paddle.shape(history)[0]])  # [N, T]


class InterestAttention(FastLayer):
    """v_U = Σ_j a_j · e_j with a_j from the local activation unit, or another score.

    It is the user's interest in this one target.

    Args:
        width, hidden, activation: of `LocalActivationUnit`. softmax (bool): false is the paper: a_j
        = m_j · s_j, so their sum shows how strong the interest is. true: a = softmax(s / √D) over
        the real positions. score (str): din, the unit; or another of models/din/score.py, without
        the division by √D if
            it is a dot product, bilinear or a cosine (divided by TEMPERATURE).
    """

    fast_forms = ("native",)

    def __init__(
        self,
        width: int,
        hidden: Sequence[int],
        activation: str,
        softmax: bool = False,
        score: str = "din",
    ) -> None:
        super().__init__()
        check_choice("score", score, SCORES)
        if score == "din":
            self.unit = LocalActivationUnit(width, hidden, activation, bias=not softmax)
        elif score == "none":
            self.unit = NoScore()
        elif score in SIMILARITIES:
            self.unit = Similarity(score, width)
        else:
            self.unit = MixedScore(score, width, hidden, activation, bias=not softmax)
        self.softmax = softmax
        own = {"dot": 1.0, "bilinear": 1.0, "cosine": 1.0 / TEMPERATURE}
        self.scale = own.get(score, 1.0 / math.sqrt(width))

    def forward(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Interest and weights; padding weighs exactly 0, an empty history gives zeros.

        Args:
            history (Tensor): e, [B, T, D].
            target (Tensor): v, [B, D].
            mask (Tensor): [B, T].

        Returns:
            tuple[Tensor, Tensor]: v_U [B, D] and a [B, T].
        """
        score = self.unit(history, target, mask)  # [B, T]
        weight = self.weigh(score, mask)  # [B, T]
        return paddle.matmul(weight.unsqueeze(1), history).squeeze(1), weight

    def weigh(self, score: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """a from s, [B, T] → [B, T]."""
        return masked_softmax(score * self.scale, mask) if self.softmax else score * mask

    def rank(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """One history [1, T, D] and mask [1, T] against targets [N, D] → [N, D] and [N, T]."""
        weight = self.weigh(self.unit.rank(history[0], target), mask)  # [N, T]
        return paddle.matmul(weight, history[0]), weight

    def native(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor] | None:
        """`forward` by the C++ operator; None if it does not run here."""
        unit = self.unit
        if not isinstance(unit, LocalActivationUnit):
            return None
        slopes = unit.slopes()
        if slopes is None or not native.available("attention", history):
            return None
        w1, w2, w3, w4 = paddle.split(unit.linears[0].weight, 4)  # each [D, H]
        once = paddle.matmul(target, w2 - w3) + unit.linears[0].bias  # [B, H]
        return interest(
            e=history,
            v=target,
            once=once,
            length=history_length(mask),
            w=paddle.concat([w1 + w3, w4]),
            slope1=slopes[0],
            w2=unit.linears[1].weight,
            b2=unit.linears[1].bias,
            slope2=slopes[1],
            w3=unit.out.weight,
            b3=paddle.zeros([1]) if unit.out.bias is None else unit.out.bias,
            scale=self.scale if self.softmax else 0.0,
        )


class DIN(nn.Layer):
    """Embeddings → interest by attention → [interest; target; side features] → tower → logit.

    The defaults here are the paper's form; config.yaml departs from it where that did better.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        attention_units (Sequence[int]): hidden widths of the local activation unit.
        attention_softmax (bool): of `InterestAttention`.
        score (str): din, or another of models/din/score.py.
        history_sum (bool): the tower also reads Σ_j e_j and v∘Σ_j e_j, as in the authors' own
            comparison with DIEN.
        tower (Sequence[int]), dropout (float): of the tower.
        activation (str): of the tower and the activation unit.
        item_bias (bool): the tower adds a learned bias of the target item.
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
        attention_units: Sequence[int] = (80, 40),
        attention_softmax: bool = False,
        score: str = "din",
        history_sum: bool = False,
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        width = self.embeddings.item_width
        events = self.embeddings.event_width
        self.attention = InterestAttention(
            width + events, attention_units, activation, attention_softmax, score
        )
        self.pooling = SumPooling() if history_sum else None
        inputs = width * (4 if history_sum else 2) + events + self.embeddings.side_width + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B] of a batch; with `return_attention` also the weights a [B, T]."""
        history = self.embeddings.history(batch)  # [B, T, D]
        target = self.embeddings.target(batch)  # [B, D]
        mask = history_mask(batch)  # [B, T]
        e = self.embeddings.with_events(history, batch)  # [B, T, D + V]
        v = self.embeddings.without_event(target)  # [B, D + V]
        interest, weight = self.attention(e, v, mask)  # [B, D + V], [B, T]
        parts = [interest, target, self.embeddings.side(batch), *self.sums(history, target, mask)]
        logit = self.tower(parts, batch["target_item"])  # [B]
        return (logit, weight) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user; with `return_attention` also a [N, T].

        Equal to `forward` with the user's row repeated N times, but the user's side is computed
        once.

        Args:
            batch (Batch): history_* [1, T], user_* and context_* [1], target_* [N], dense [N, …].
            return_attention (bool): also return the weights.
        """
        history = self.embeddings.history(batch)  # [1, T, D]
        target = self.embeddings.target(batch)  # [N, D]
        mask = history_mask(batch)  # [1, T]
        e = self.embeddings.with_events(history, batch)  # [1, T, D + V]
        v = self.embeddings.without_event(target)  # [N, D + V]
        interest, weight = self.attention.rank(e, v, mask)  # [N, D + V], [N, T]
        side = self.embeddings.side(batch, expand_to=target)  # [N, S]
        parts = [interest, target, side, *self.sums(history, target, mask)]
        logit = self.tower(parts, batch["target_item"])  # [N]
        return (logit, weight) if return_attention else logit

    def sums(
        self, history: paddle.Tensor, target: paddle.Tensor, mask: paddle.Tensor
    ) -> list[paddle.Tensor]:
        """Σ_j e_j and v∘Σ_j e_j of the items, [B, D] each, with history_sum; otherwise nothing."""
        if self.pooling is None:
            return []
        total = self.pooling(history, mask).expand_as(target)  # [B, D]
        return [total, target * total]
