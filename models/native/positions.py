"""Sums over the real positions of padded histories as operators (positions.cc), with their gradients.

Float32 on the CPU. x [B, T, D]: one vector a position; length, int64 [B]: how many of a row are real. Run backward once, as
with any PyLayer.
"""
import ctypes

import paddle
from paddle.autograd import PyLayer

from models.native import library, pointer


def dot(x, q, length):
    """x_t·q at each position: x [B, T, D], q [B, D] → [B, T], 0 behind a row's length."""
    return _Dot.apply(x, q, length)


def pool(w, x, length):
    """Σ_t w_t·x_t: w [B, T], x [B, T, D] → [B, D]."""
    return _Pool.apply(w, x, length)


def auxiliary_loss(h, e, negative, mask):
    """Σ of softplus(−h_{t−1}·e_t) + softplus(h_{t−1}·ê_t) over t ≥ 1 with mask_t = 1; h, e, ê [B, T, D], mask [B, T] → []."""
    return _Auxiliary.apply(h, e, negative, mask)


def _call(name, shape, *tensors):
    sizes = [ctypes.c_int64(n) for n in shape]
    getattr(library("positions"), name)(*sizes, *map(pointer, tensors))
    return tensors[-1]


class _Dot(PyLayer):
    @staticmethod
    def forward(ctx, x, q, length):
        ctx.frozen = x.stop_gradient, q.stop_gradient
        ctx.saved = x, q, length = [a.detach().contiguous() for a in (x, q, length)]
        return _call("positions_dot", x.shape, x, q, length, paddle.empty(x.shape[:2]))

    @staticmethod
    def backward(ctx, dy):
        (x, q, length), dy = ctx.saved, dy.contiguous()
        dx = None if ctx.frozen[0] else _call("positions_outer", x.shape, dy, q, length, paddle.empty(x.shape))
        dq = None if ctx.frozen[1] else _call("positions_pool", x.shape, dy, x, length, paddle.empty(q.shape))
        return dx, dq, None


class _Pool(PyLayer):
    @staticmethod
    def forward(ctx, w, x, length):
        ctx.frozen = w.stop_gradient, x.stop_gradient
        ctx.saved = w, x, length = [a.detach().contiguous() for a in (w, x, length)]
        return _call("positions_pool", x.shape, w, x, length, paddle.empty([x.shape[0], x.shape[2]]))

    @staticmethod
    def backward(ctx, dz):
        (w, x, length), dz = ctx.saved, dz.contiguous()
        dw = None if ctx.frozen[0] else _call("positions_dot", x.shape, x, dz, length, paddle.empty(w.shape))
        dx = None if ctx.frozen[1] else _call("positions_outer", x.shape, w, dz, length, paddle.empty(x.shape))
        return dw, dx, None


class _Auxiliary(PyLayer):
    @staticmethod
    def forward(ctx, h, e, negative, mask):
        ctx.frozen = [x.stop_gradient for x in (h, e, negative)]
        h, e, negative, mask = (x.detach().contiguous() for x in (h, e, negative, mask))
        loss, slope = paddle.empty(h.shape[:1]), paddle.empty([*h.shape[:2], 2])
        _call("auxiliary_forward", h.shape, h, e, negative, mask, loss, slope)
        ctx.saved = h, e, negative, slope
        return loss.sum()

    @staticmethod
    def backward(ctx, upstream):
        gradients = [paddle.empty(ctx.saved[0].shape) for _ in range(3)]
        sizes = [ctypes.c_int64(n) for n in ctx.saved[0].shape]
        library("positions").auxiliary_backward(*sizes, *map(pointer, ctx.saved), ctypes.c_float(float(upstream)),
                                                *map(pointer, gradients))
        return (*(None if frozen else g for g, frozen in zip(gradients, ctx.frozen)), None)
