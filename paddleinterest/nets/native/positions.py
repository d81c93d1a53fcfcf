"""Sums over the real positions of padded histories as operators (positions.cc), with their
gradients.

Float32 on the CPU. x [B, T, D]: one vector a position; length, int64 [B]: how many of a row are
real. Run backward once, as with any PyLayer.
"""

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def dot(x, q, length):
    """x_t·q at each position: x [B, T, D], q [B, D] → [B, T], 0 behind a row's length."""
    return _Dot.apply(x, q, length)


def pool(w, x, length):
    """Σ_t w_t·x_t: w [B, T], x [B, T, D] → [B, D]."""
    return _Pool.apply(w, x, length)


def auxiliary_loss(h, e, negative, mask):
    """Σ of softplus(−h_{t−1}·e_t) + softplus(h_{t−1}·ê_t) over t ≥ 1 with mask_t = 1; h, e, ê [B,
    T, D], mask [B, T] → []."""
    return _Auxiliary.apply(h, e, negative, mask)


def _filled(function, shape, *tensors):
    """Call an operator on x of `shape` that writes its last tensor; returns that."""
    call("positions", function, *shape, *tensors)
    return tensors[-1]


class _Dot(PyLayer):
    @staticmethod
    def forward(ctx, x, q, length):
        ctx.frozen = x.stop_gradient, q.stop_gradient
        ctx.saved = x, q, length = [contiguous(a) for a in (x, q, length)]
        return _filled("positions_dot", x.shape, x, q, length, paddle.empty(x.shape[:2]))

    @staticmethod
    def backward(ctx, dy):
        (x, q, length), dy = ctx.saved, contiguous(dy)
        dx = (
            None
            if ctx.frozen[0]
            else _filled("positions_outer", x.shape, dy, q, length, paddle.empty(x.shape))
        )
        dq = (
            None
            if ctx.frozen[1]
            else _filled("positions_pool", x.shape, dy, x, length, paddle.empty(q.shape))
        )
        return dx, dq, None


class _Pool(PyLayer):
    @staticmethod
    def forward(ctx, w, x, length):
        ctx.frozen = w.stop_gradient, x.stop_gradient
        ctx.saved = w, x, length = [contiguous(a) for a in (w, x, length)]
        return _filled(
            "positions_pool", x.shape, w, x, length, paddle.empty([x.shape[0], x.shape[2]])
        )

    @staticmethod
    def backward(ctx, dz):
        (w, x, length), dz = ctx.saved, contiguous(dz)
        dw = (
            None
            if ctx.frozen[0]
            else _filled("positions_dot", x.shape, x, dz, length, paddle.empty(w.shape))
        )
        dx = (
            None
            if ctx.frozen[1]
            else _filled("positions_outer", x.shape, w, dz, length, paddle.empty(x.shape))
        )
        return dw, dx, None


class _Auxiliary(PyLayer):
    @staticmethod
    def forward(ctx, h, e, negative, mask):
        ctx.frozen = [x.stop_gradient for x in (h, e, negative)]
        h, e, negative, mask = (contiguous(x) for x in (h, e, negative, mask))
        loss, slope = paddle.empty(h.shape[:1]), paddle.empty([*h.shape[:2], 2])
        call("positions", "auxiliary_forward", *h.shape, h, e, negative, mask, loss, slope)
        ctx.saved = h, e, negative, slope
        return loss.sum()

    @staticmethod
    def backward(ctx, upstream):
        shape, gradients = ctx.saved[0].shape, [paddle.empty(ctx.saved[0].shape) for _ in range(3)]
        call("positions", "auxiliary_backward", *shape, *ctx.saved, float(upstream), *gradients)
        return *unless_frozen(gradients, ctx.frozen), None
