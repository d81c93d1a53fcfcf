"""Sums over the real positions of padded histories as operators (positions.cc), with gradients.

All are float32 on the CPU. Run backward once, as with any PyLayer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def dot(x: paddle.Tensor, q: paddle.Tensor, length: paddle.Tensor) -> paddle.Tensor:
    """x_t·q at each position.

    Args:
        x (Tensor): [B, T, D].
        q (Tensor): [B, D].
        length (Tensor): real positions of each row, int64 [B].

    Returns:
        Tensor: [B, T], 0 behind a row's length.
    """
    return _Dot.apply(x, q, length)


def pool(w: paddle.Tensor, x: paddle.Tensor, length: paddle.Tensor) -> paddle.Tensor:
    """Σ_t w_t·x_t.

    Args:
        w (Tensor): [B, T].
        x (Tensor): [B, T, D].
        length (Tensor): real positions of each row, int64 [B].

    Returns:
        Tensor: [B, D].
    """
    return _Pool.apply(w, x, length)


def auxiliary_loss(
    h: paddle.Tensor, e: paddle.Tensor, negative: paddle.Tensor, mask: paddle.Tensor
) -> paddle.Tensor:
    """Σ of softplus(−h_{t−1}·e_t) + softplus(h_{t−1}·ê_t) over t ≥ 1 with mask_t = 1.

    Args:
        h, e, negative (Tensor): [B, T, D] each.
        mask (Tensor): [B, T].

    Returns:
        Tensor: [].
    """
    return _Auxiliary.apply(h, e, negative, mask)


def _filled(function: str, shape: Sequence[int], *tensors: paddle.Tensor) -> paddle.Tensor:
    """Call an operator on x of `shape` that writes its last tensor; returns that tensor."""
    call("positions", function, *shape, *tensors)
    return tensors[-1]


class _Dot(PyLayer):
    @staticmethod
    def forward(ctx: Any, x: Any, q: Any, length: Any) -> paddle.Tensor:
        ctx.frozen = [x.stop_gradient, q.stop_gradient]
        x = contiguous(x)
        q = contiguous(q)
        length = contiguous(length)
        ctx.saved = x, q, length
        return _filled("positions_dot", x.shape, x, q, length, paddle.empty(x.shape[:2]))

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, q, length = ctx.saved
        dy = contiguous(dy)
        dx = dq = None
        if not ctx.frozen[0]:
            dx = _filled("positions_outer", x.shape, dy, q, length, paddle.empty(x.shape))
        if not ctx.frozen[1]:
            dq = _filled("positions_pool", x.shape, dy, x, length, paddle.empty(q.shape))
        return dx, dq, None


class _Pool(PyLayer):
    @staticmethod
    def forward(ctx: Any, w: Any, x: Any, length: Any) -> paddle.Tensor:
        ctx.frozen = [w.stop_gradient, x.stop_gradient]
        w = contiguous(w)
        x = contiguous(x)
        length = contiguous(length)
        ctx.saved = w, x, length
        out = paddle.empty([x.shape[0], x.shape[2]])
        return _filled("positions_pool", x.shape, w, x, length, out)

    @staticmethod
    def backward(ctx: Any, dz: Any) -> Any:
        w, x, length = ctx.saved
        dz = contiguous(dz)
        dw = dx = None
        if not ctx.frozen[0]:
            dw = _filled("positions_dot", x.shape, x, dz, length, paddle.empty(w.shape))
        if not ctx.frozen[1]:
            dx = _filled("positions_outer", x.shape, w, dz, length, paddle.empty(x.shape))
        return dw, dx, None


class _Auxiliary(PyLayer):
    @staticmethod
    def forward(ctx: Any, h: Any, e: Any, negative: Any, mask: Any) -> paddle.Tensor:
        ctx.frozen = [x.stop_gradient for x in (h, e, negative)]
        h, e, negative, mask = (contiguous(x) for x in (h, e, negative, mask))
        loss = paddle.empty(h.shape[:1])
        slope = paddle.empty([*h.shape[:2], 2])
        call("positions", "auxiliary_forward", *h.shape, h, e, negative, mask, loss, slope)
        ctx.saved = h, e, negative, slope
        return loss.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        shape = ctx.saved[0].shape
        gradients = [paddle.empty(shape) for _ in range(3)]
        call("positions", "auxiliary_backward", *shape, *ctx.saved, float(upstream), *gradients)
        return *unless_frozen(gradients, ctx.frozen), None
