"""Losses on the next item of a history, beside the loss of the clicks.

Shapes: B rows, T history positions, D width of an item's embedding, H width of the states.
"""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.nets import native
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.native import positions


class AuxiliaryLoss(FastLayer):
    """L_aux = −mean over valid t of [log σ(h_t·e_{t+1}) + log(1 − σ(h_t·ê_{t+1}))].

    DIEN, "Interest Extractor Layer". Computed from the logits: −log σ(s) = softplus(−s) and
    −log(1 − σ(s)) = softplus(s), so that no logarithm meets a zero.

    Args:
        kind (str): inner (the paper: h·e; a learned projection of h to D if H ≠ D) or mlp (the
            authors' code: [h; e] → 100 → 50 → 1, sigmoids between).
        hidden (int): H.
        width (int): D.

    Example:
        >>> aux = AuxiliaryLoss("inner", 4, 4)
        >>> e, ones = paddle.rand([2, 5, 4]), paddle.ones([2, 5])
        >>> bool(aux(e, e, -e, ones) > 0)
        True
    """

    fast_forms = ("native",)

    def __init__(self, kind: str, hidden: int, width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "mlp":
            self.of_state = nn.Linear(hidden, 100)
            self.of_item = nn.Linear(width, 100, bias_attr=False)
            self.rest = nn.Sequential(
                nn.Sigmoid(), nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 1)
            )
        elif hidden != width:
            self.of_state = nn.Linear(hidden, width, bias_attr=False)
        else:
            self.of_state = nn.Identity()

    def forward(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        negative: paddle.Tensor,
        mask: paddle.Tensor,
    ) -> paddle.Tensor:
        """L_aux, [].

        Args:
            states (Tensor): h, [B, T, H].
            history (Tensor): e, [B, T, D].
            negative (Tensor): ê, [B, T, D].
            mask (Tensor): [B, T], 0 where e_t or ê_t is missing.
        """
        if history.shape[1] < 2:
            return paddle.zeros([], history.dtype)
        h = self.of_state(states[:, :-1])  # [B, T − 1, D]
        valid = mask[:, 1:]  # [B, T − 1]
        positive = F.softplus(-self.score(h, history[:, 1:]))  # [B, T − 1]
        loss = positive + F.softplus(self.score(h, negative[:, 1:]))  # [B, T − 1]
        return (loss * valid).sum() / paddle.clip(valid.sum(), min=1.0)

    def score(self, h: paddle.Tensor, e: paddle.Tensor) -> paddle.Tensor:
        """Logits, [B, T, D] and [B, T, D] → [B, T].

        By mlp, h is W_h·h already, and W·[h; e] = W_h·h + W_e·e.
        """
        if self.kind == "mlp":
            return self.rest(h + self.of_item(e)).squeeze(-1)
        return (h * e).sum(-1)

    def native(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        negative: paddle.Tensor,
        mask: paddle.Tensor,
    ) -> paddle.Tensor | None:
        """`forward` by the C++ operator; None if it does not run here."""
        if self.kind != "inner" or history.shape[1] < 2:
            return None
        if not native.available("positions", states):
            return None
        total = positions.auxiliary_loss(self.of_state(states), history, negative, mask)
        return total / paddle.clip(mask[:, 1:].sum(), min=1.0)
