"""DIN: Deep Interest Network for Click-Through Rate Prediction, Zhou et al., KDD 2018,
https://arxiv.org/abs/1706.06978.

Shapes: B rows, T history positions, D width of an item's embedding.
Not covered: multi-valued item fields (one value a field); dense columns of history items (they
enter for the target).
"""

import math

import paddle
import paddle.nn as nn

from paddleinterest.nets import native
from paddleinterest.nets.layers import (
    Activation,
    FieldEmbeddings,
    Tower,
    bias_rows,
    history_length,
    history_mask,
    masked_softmax,
    spread,
)
from paddleinterest.nets.native.attention import interest


class LocalActivationUnit(nn.Layer):
    """s_j = MLP([e_j; v; e_j − v; e_j∘v]), one score a history position (DIN, section 4.3, figure
    2).

    The paper feeds e_j, v and their outer product; the authors' code, and everyone since, feeds the
    four terms above.

    The first layer never builds the concatenation: with its weight cut in four, W = [W₁; W₂; W₃;
    W₄], W·[e; v; e−v; e∘v] = e·(W₁+W₃) + v·(W₂−W₃) + (e∘v)·W₄, and the middle term is computed once
    a row.

    Args:
        width: D.  hidden: widths of the MLP's hidden layers.  activation: relu, prelu or dice.
        bias: of the score; a softmax would not see it, so that it could not learn.

    Example:
        >>> LocalActivationUnit(8, [80, 40], "prelu")(paddle.rand([2, 5, 8]), paddle.rand([2, 8]), paddle.ones([2, 5])).shape
        [2, 5]
    """

    def __init__(self, width, hidden, activation, bias=True):
        super().__init__()
        widths = [4 * width, *hidden]
        self.width = width
        self.linears = nn.LayerList([nn.Linear(a, b) for a, b in zip(widths, widths[1:])])
        self.activations = nn.LayerList([Activation(activation, b) for b in hidden])
        self.out = nn.Linear(widths[-1], 1, bias_attr=None if bias else False)

    def forward(self, history, target, mask):
        """history [B, T, D], target [B, D], mask [B, T] → scores [B, T], meaningless where
        padded."""
        x = self.first_layer(history, target)  # [B, T, H]
        for k, activation in enumerate(self.activations):
            x = activation(x if k == 0 else self.linears[k](x), mask)
        return self.out(x).squeeze(-1)  # [B, T]

    def first_layer(self, history, target):
        w1, w2, w3, w4 = paddle.split(self.linears[0].weight, 4)  # each [D, H]
        once = paddle.matmul(target, w2 - w3) + self.linears[0].bias  # [B, H]
        positions = paddle.shape(history)[1]
        product = history * spread(target, positions)  # [B, T, D]
        return (
            paddle.matmul(history, w1 + w3) + paddle.matmul(product, w4) + spread(once, positions)
        )  # [B, T, H]

    def slopes(self):
        """Of both hidden layers below 0, for the C++ operator; None where it has no such unit:
        Dice, or not two layers."""
        if len(self.activations) != 2 or self.activations[0].kind == "dice":
            return None
        return [
            paddle.zeros([a.channels]) if a.kind == "relu" else a.slope for a in self.activations
        ]

    def rank(self, history, target):
        """Scores of N targets against one history: history [T, D], target [N, D] → [N, T].

        For a fixed e_j the first layer is linear in v, so all positions and targets are one
        product: v·(W₂ − W₃ + diag(e_j)·W₄) + e_j·(W₁+W₃) + b. Products stand in for broadcasts,
        which Paddle does slowly.
        """
        w1, w2, w3, w4 = paddle.split(self.linears[0].weight, 4)  # each [D, H]
        e = history.t()  # [D, T]
        slope = paddle.matmul(
            paddle.stack([e, paddle.ones_like(e)], -1), paddle.stack([w4, w2 - w3], 1)
        )  # [D, T, H]
        shift = paddle.matmul(history, w1 + w3) + self.linears[0].bias  # [T, H]
        weight = paddle.concat([slope.flatten(1), shift.flatten().unsqueeze(0)])  # [D + 1, T·H]
        one = paddle.ones_like(target[:, :1])
        x = paddle.matmul(paddle.concat([target, one], 1), weight)  # [N, T·H]
        x = self.activations[0](x.reshape([-1, self.linears[0].weight.shape[1]]))  # [N·T, H]
        one = paddle.ones_like(x[:, :1])
        for linear, activation in zip(self.linears[1:], self.activations[1:]):
            x = activation(
                paddle.matmul(x, linear.weight) + paddle.matmul(one, linear.bias.unsqueeze(0))
            )
        return self.out(x).reshape([-1, paddle.shape(history)[0]])  # [N, T]


class InterestAttention(nn.Layer):
    """v_U = Σ_j a_j · e_j with a_j from the local activation unit: the user's interest in this one
    target.

    Args:
        softmax: false is the paper: a_j = m_j · s_j, so that their sum tells how strong the
            interest is. true: a = softmax(s / √D) over the real positions.
    """

    def __init__(self, width, hidden, activation, softmax=False):
        super().__init__()
        self.unit = LocalActivationUnit(width, hidden, activation, bias=not softmax)
        self.softmax, self.scale = softmax, 1.0 / math.sqrt(width)

    def forward(self, history, target, mask):
        """Returns interest [B, D] and weights a [B, T]; padding weighs exactly 0, an empty history
        gives zeros."""
        if native.available("attention", history) and self.unit.slopes() is not None:
            return self.native(history, target, mask)
        weight = self.weigh(self.unit(history, target, mask), mask)
        return paddle.matmul(weight.unsqueeze(1), history).squeeze(1), weight

    def native(self, history, target, mask):
        """The same by the C++ operator."""
        unit, (slope1, slope2) = self.unit, self.unit.slopes()
        w1, w2, w3, w4 = paddle.split(unit.linears[0].weight, 4)  # each [D, H]
        once = paddle.matmul(target, w2 - w3) + unit.linears[0].bias  # [B, H]
        bias = paddle.zeros([1]) if unit.out.bias is None else unit.out.bias
        return interest(
            history,
            target,
            once,
            history_length(mask),
            paddle.concat([w1 + w3, w4]),
            slope1,
            unit.linears[1].weight,
            unit.linears[1].bias,
            slope2,
            unit.out.weight,
            bias,
            self.scale if self.softmax else 0.0,
        )

    def rank(self, history, target, mask):
        """The same for one history [1, T, D], mask [1, T] and N targets [N, D]: [N, D] and [N,
        T]."""
        weight = self.weigh(self.unit.rank(history[0], target), mask)
        return paddle.matmul(weight, history[0]), weight

    def weigh(self, score, mask):
        """a from s, [B, T] → [B, T]."""
        return masked_softmax(score * self.scale, mask) if self.softmax else score * mask


class DIN(nn.Layer):
    """Embeddings → interest by attention → [interest; target; side features] → tower → logit. The
    defaults here are the paper's form; config.yaml departs from it where that did better.

    Args:
        fields: category fields (`FieldEmbeddings`).  dense: number of dense columns.
        embedding_size, embedding_std, sparse: of the tables.
        attention_units, attention_softmax: of `InterestAttention`.
        tower, activation, dropout, item_bias: of the tower; `activation` is the activation unit's
            too.
    """

    def __init__(
        self,
        fields,
        dense=0,
        *,
        embedding_size=32,
        embedding_std=0.01,
        sparse=True,
        attention_units=(80, 40),
        attention_softmax=False,
        tower=(200, 80),
        activation="dice",
        dropout=0.0,
        item_bias=False,
    ):
        super().__init__()
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        width = self.embeddings.item_width
        self.attention = InterestAttention(width, attention_units, activation, attention_softmax)
        items = bias_rows(fields, item_bias)
        self.tower = Tower(
            2 * width + self.embeddings.side_width + dense,
            tower,
            activation,
            dropout,
            items,
            sparse,
        )

    def forward(self, batch, return_attention=False):
        """Logits [B] of a batch (paddleinterest/data/reader.py); with `return_attention` also the
        weights a [B, T]."""
        history, mask = self.embeddings.history(batch), history_mask(batch)  # [B, T, D], [B, T]
        target = self.embeddings.target(batch)  # [B, D]
        interest, weight = self.attention(history, target, mask)  # [B, D], [B, T]
        logit = self.tower([interest, target, self.embeddings.side(batch)], batch["target_item"])
        return (logit, weight) if return_attention else logit

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user: history_* [1, T], user_* and context_* [1],
        target_* [N], dense [N, …].

        Equal to `forward` with the user's row repeated N times, but the user's side is computed
        once.
        """
        history, mask = self.embeddings.history(batch), history_mask(batch)  # [1, T, D], [1, T]
        target = self.embeddings.target(batch)  # [N, D]
        interest, weight = self.attention.rank(history, target, mask)  # [N, D], [N, T]
        logit = self.tower(
            [interest, target, self.embeddings.side(batch, like=target)], batch["target_item"]
        )
        return (logit, weight) if return_attention else logit
