"""GRU, AUGRU and AGRU over whole sequences as one operator (recurrence.cc), with its gradient."""

import ctypes

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def recurrence(p, a, U, b, d, length):
    """h_t = h_{t−1} + w_t∘(ĥ_t − h_{t−1}) from h_0 = 0, where r = σ(p_r + b_r + h·U_r), ĥ =
    tanh(p_h + b_h + r∘(h·U_h + d)), and w = a·σ(p_u + b_u + h·U_u), or w = a where there is no
    update gate.

    Args, float32 on the CPU:
        p: inputs times W, [B, T, G·H], gates in the order r, h, u; G = 2 leaves u out.
        a: attention [B, T], or None for 1.  U: [H, G·H].  b: [G·H].  d: [H].
        length: real steps of each row, int64 [B]; later steps are skipped, whatever they hold.

    Returns states [B, T, H], zero behind a row's length, and the last real one, [B, H]. Run
    backward once: a second pass through the same graph (retain_graph) ends Paddle 2.6 and 3.3 with
    a segmentation fault, as with any PyLayer.
    """
    return _Recurrence.apply(p, a, U, b, d, length, paddle.is_grad_enabled())


class _Recurrence(PyLayer):
    @staticmethod
    def forward(ctx, p, a, U, b, d, length, differentiate):
        rows, steps, _ = p.shape
        hidden = U.shape[0]
        sizes = rows, steps, hidden, p.shape[2] // hidden
        inputs = [contiguous(x) for x in (p, a, length, U, b, d)]
        states, last = paddle.empty([rows, steps, hidden]), paddle.empty([rows, hidden])
        kept = (
            paddle.empty(
                [call("recurrence", "recurrence_kept", rows, steps, hidden, returns=ctypes.c_int64)]
            )
            if differentiate
            else None
        )
        call("recurrence", "recurrence_forward", *sizes, *inputs, states, last, kept)
        ctx.set_materialize_grads(False)
        ctx.saved = sizes, inputs[1:4], states, kept
        ctx.frozen = [x.stop_gradient for x in (p, a, U, b, d) if x is not None]
        return states, last

    @staticmethod
    def backward(ctx, dstates, dlast):
        sizes, (a, length, U), states, kept = ctx.saved
        rows, steps, hidden, gates = sizes
        dp, da = (
            paddle.empty([rows, steps, gates * hidden]),
            None if a is None else paddle.empty(a.shape),
        )
        dU, db, dd = paddle.empty(U.shape), paddle.empty([gates * hidden]), paddle.empty([hidden])
        call(
            "recurrence",
            "recurrence_backward",
            *sizes,
            a,
            length,
            U,
            states,
            kept,
            contiguous(dstates),
            contiguous(dlast),
            dp,
            da,
            dU,
            db,
            dd,
        )
        gradients = (dp, dU, db, dd) if a is None else (dp, da, dU, db, dd)
        return *unless_frozen(gradients, ctx.frozen), None
