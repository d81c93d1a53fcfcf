"""GRU, AUGRU and AGRU over whole sequences as one operator (recurrence.cc), with its gradient."""

from __future__ import annotations

import ctypes
from typing import Any

import paddle
from paddle.autograd import PyLayer

from paddleinterest.nets.native import call, contiguous, unless_frozen


def recurrence(
    p: paddle.Tensor,
    a: paddle.Tensor | None,
    U: paddle.Tensor,
    b: paddle.Tensor,
    d: paddle.Tensor,
    length: paddle.Tensor,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """h_t = h_{t−1} + w_t∘(ĥ_t − h_{t−1}) from h_0 = 0.

    r = σ(p_r + b_r + h·U_r), ĥ = tanh(p_h + b_h + r∘(h·U_h + d)), and w = a·σ(p_u + b_u + h·U_u),
    or w = a without an update gate.

    Run backward once: a second pass through the same graph (retain_graph) ends Paddle 2.6 and 3.3
    with a segmentation fault, as with any PyLayer.

    Args:
        p (Tensor): inputs times W, float32 on the CPU (as all but length), [B, T, G·H]; gates in
            the order r, h, u; G = 2 leaves u out.
        a (Tensor): attention [B, T]; None = 1 everywhere.
        U (Tensor): [H, G·H].
        b (Tensor): [G·H].
        d (Tensor): [H].
        length (Tensor): real steps of each row, int64 [B]; later steps are skipped, whatever they
            hold.

    Returns:
        tuple[Tensor, Tensor]: states [B, T, H], zero behind a row's length, and the last real state
        [B, H].
    """
    return _Recurrence.apply(p, a, U, b, d, length, paddle.is_grad_enabled())


class _Recurrence(PyLayer):
    @staticmethod
    def forward(
        ctx: Any, p: Any, a: Any, U: Any, b: Any, d: Any, length: Any, differentiate: bool
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        rows, steps, _ = p.shape
        hidden = U.shape[0]
        sizes = (rows, steps, hidden, p.shape[2] // hidden)
        inputs = [contiguous(x) for x in (p, a, length, U, b, d)]
        states = paddle.empty([rows, steps, hidden])
        last = paddle.empty([rows, hidden])
        kept = paddle.empty([_kept(rows, steps, hidden)]) if differentiate else None
        call("recurrence", "recurrence_forward", *sizes, *inputs, states, last, kept)
        ctx.set_materialize_grads(False)
        ctx.saved = sizes, inputs[1:4], states, kept
        ctx.frozen = [x.stop_gradient for x in (p, a, U, b, d) if x is not None]
        return states, last

    @staticmethod
    def backward(ctx: Any, dstates: Any, dlast: Any) -> Any:
        sizes, (a, length, U), states, kept = ctx.saved
        rows, steps, hidden, gates = sizes
        upstream = [contiguous(dstates), contiguous(dlast)]
        dp = paddle.empty([rows, steps, gates * hidden])
        da = None if a is None else paddle.empty(a.shape)
        dU = paddle.empty(U.shape)
        db = paddle.empty([gates * hidden])
        dd = paddle.empty([hidden])
        given = [a, length, U, states, kept, *upstream]
        call("recurrence", "recurrence_backward", *sizes, *given, dp, da, dU, db, dd)
        gradients = (dp, dU, db, dd) if a is None else (dp, da, dU, db, dd)
        return *unless_frozen(gradients, ctx.frozen), None


def _kept(rows: int, steps: int, hidden: int) -> int:
    """How many floats forward keeps for backward."""
    sizes = (rows, steps, hidden)
    return call("recurrence", "recurrence_kept", *sizes, returns=ctypes.c_int64)
