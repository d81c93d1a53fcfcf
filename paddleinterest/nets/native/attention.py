"""DIN's interest as one operator (attention.cc), from embeddings to weighted sum, with gradient."""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def interest(
    e: paddle.Tensor,
    v: paddle.Tensor,
    once: paddle.Tensor,
    length: paddle.Tensor,
    w: paddle.Tensor,
    slope1: paddle.Tensor,
    w2: paddle.Tensor,
    b2: paddle.Tensor,
    slope2: paddle.Tensor,
    w3: paddle.Tensor,
    b3: paddle.Tensor,
    scale: float,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Σ_j a_j·e_j and a, with s_j = f(f([e_j; e_j∘v]·w + once)·w2 + b2)·w3 + b3.

    f(z) = max(0, z) + slope·min(0, z). Run backward once, as with any PyLayer.

    Args:
        e (Tensor): history, float32 on the CPU (as all but length), [B, T, D].
        v (Tensor): target, [B, D].
        once (Tensor): what a row adds to all its positions, [B, H1].
        length (Tensor): real positions of each row, int64 [B].
        w, slope1 (Tensor): [2D, H1] and [H1].
        w2, b2, slope2 (Tensor): [H1, H2], [H2] and [H2].
        w3, b3 (Tensor): [H2, 1] and [1].
        scale (float): a = softmax(scale·s) over the real positions; 0: a = s.

    Returns:
        tuple[Tensor, Tensor]: interest [B, D] and a [B, T], zero behind a row's length.

    Raises:
        ValueError: sizes do not fit; the operator would read beyond them.
    """
    _check_sizes(e, v, once, length, w, slope1, w2, b2, slope2, w3, b3)
    differentiate = paddle.is_grad_enabled()
    return _Interest.apply(
        e, v, once, length, w, slope1, w2, b2, slope2, w3, b3, scale, differentiate
    )


def _check_sizes(e, v, once, length, w, slope1, w2, b2, slope2, w3, b3):
    rows, _, width = e.shape
    one, two = w2.shape
    expected = {
        "v": (v, [rows, width]),
        "once": (once, [rows, one]),
        "length": (length, [rows]),
        "w": (w, [2 * width, one]),
        "slope1": (slope1, [one]),
        "b2": (b2, [two]),
        "slope2": (slope2, [two]),
        "w3": (w3, [two, 1]),
        "b3": (b3, [1]),
    }
    for name, (tensor, shape) in expected.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, must be {shape}")


class _Interest(PyLayer):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[paddle.Tensor, paddle.Tensor]:
        *tensors, scale, differentiate = arguments
        given: list[Any] = [contiguous(x) for x in tensors]
        e, v, once, length, w, slope1, w2, b2, slope2, w3, b3 = given
        rows, steps, width = e.shape
        one, two = w2.shape
        sizes = (rows, steps, width, one, two)
        out = paddle.empty([rows, width])
        weight = paddle.empty([rows, steps])
        kept = paddle.empty([rows, steps, one + two]) if differentiate else None
        call("attention", "attention_forward", *sizes, *given, float(scale), out, weight, kept)
        ctx.set_materialize_grads(False)
        ctx.sizes = sizes
        ctx.saved = [e, v, length, w, slope1, w2, slope2, w3, float(scale), weight, kept]
        ctx.frozen = [x.stop_gradient for x in tensors]
        return out, weight

    @staticmethod
    def backward(ctx: Any, dinterest: Any, dweight: Any) -> Any:
        rows, steps, width, one, two = ctx.sizes
        de = paddle.empty([rows, steps, width])
        dv = paddle.empty([rows, width])
        donce = paddle.empty([rows, one])
        shapes = [[2 * width, one], [one], [one, two], [two], [two], [two, 1], [1]]
        counts = [math.prod(shape) for shape in shapes]
        parameters = paddle.empty([sum(counts)])
        upstream = [contiguous(dinterest), contiguous(dweight)]
        call(
            "attention",
            "attention_backward",
            *ctx.sizes,
            *ctx.saved,
            *upstream,
            de,
            dv,
            donce,
            parameters,
        )
        parts = [g.reshape(s) for g, s in zip(parameters.split(counts), shapes, strict=True)]
        return unless_frozen([de, dv, donce, None, *parts], ctx.frozen)
