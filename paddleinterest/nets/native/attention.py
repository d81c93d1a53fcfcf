"""DIN's interest, from the embeddings to the weighted sum, as one operator (attention.cc), with its
gradient."""

import math

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def interest(e, v, once, length, w, slope1, w2, b2, slope2, w3, b3, scale):
    """Σ_j a_j·e_j and a, where s_j = f(f([e_j; e_j∘v]·w + once)·w2 + b2)·w3 + b3 with f(z) = max(0,
    z) + slope·min(0, z).

    Args, float32 on the CPU:
        e: history [B, T, D].  v: target [B, D].  once: what a row adds to all its positions [B,
            H1].
        length: real positions of each row, int64 [B].
        w [2D, H1], slope1 [H1], w2 [H1, H2], b2 and slope2 [H2], w3 [H2, 1], b3 [1].
        scale: a = softmax(scale·s) over the real positions; 0: a = s.

    Returns interest [B, D] and a [B, T], zero behind a row's length. Run backward once, as with any
    PyLayer.
    """
    return _Interest.apply(
        e, v, once, length, w, slope1, w2, b2, slope2, w3, b3, scale, paddle.is_grad_enabled()
    )


class _Interest(PyLayer):
    @staticmethod
    def forward(ctx, *arguments):
        *tensors, scale, differentiate = arguments
        e, v, once, length, w, slope1, w2, b2, slope2, w3, b3 = given = [
            contiguous(x) for x in tensors
        ]
        rows, steps, width, one, two = sizes = (*e.shape, w.shape[1], w2.shape[1])
        out, weight = paddle.empty([rows, width]), paddle.empty([rows, steps])
        kept = paddle.empty([rows, steps, one + two]) if differentiate else None
        call("attention", "attention_forward", *sizes, *given, float(scale), out, weight, kept)
        ctx.set_materialize_grads(False)
        ctx.saved = sizes, [e, v, length, w, slope1, w2, slope2, w3, float(scale), weight, kept]
        ctx.frozen = [x.stop_gradient for x in tensors]
        return out, weight

    @staticmethod
    def backward(ctx, dinterest, dweight):
        sizes, given = ctx.saved
        rows, steps, width, one, two = sizes
        de, dv, donce = (
            paddle.empty([rows, steps, width]),
            paddle.empty([rows, width]),
            paddle.empty([rows, one]),
        )
        shapes = [[2 * width, one], [one], [one, two], [two], [two], [two, 1], [1]]
        counts = [math.prod(shape) for shape in shapes]
        parameters = paddle.empty([sum(counts)])
        call(
            "attention",
            "attention_backward",
            *sizes,
            *given,
            contiguous(dinterest),
            contiguous(dweight),
            de,
            dv,
            donce,
            parameters,
        )
        return unless_frozen(
            [
                de,
                dv,
                donce,
                None,
                *(g.reshape(s) for g, s in zip(parameters.split(counts), shapes)),
            ],
            ctx.frozen,
        )
