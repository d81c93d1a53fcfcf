"""The attentional recurrence in training, where the C++ operator (paddleinterest/nets/native) does
not run: a hand-written gradient.

`InterestEvolution.forward` is the readable form. Autograd over its loop of T steps costs more than
the arithmetic: it keeps every small tensor, sums the gradient of each weight T times, and reduces
biases and broadcasts slowly. `Recurrence` has a gradient of a few products per step, whose operands
stay in the cache.

Shapes: B rows, T steps, I width of an input, H width of the state, G gates (3, or 2 for AGRU).
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, addmm, concat, matmul
from paddle.autograd import PyLayer


def sigmoid(x: Tensor) -> Tensor:
    """σ(x) = (1 + tanh(x/2)) / 2; Paddle's tanh is vectorised on the CPU, its sigmoid is not."""
    return paddle.stanh(x, 0.5, 0.5) + 0.5


class Recurrence(PyLayer):
    """h'_T of h'_t = h'_{t−1} + ũ_t∘(ĥ'_t − h'_{t−1}) from h'_0 = 0, and its gradient.

    Args of `apply`:
        i (Tensor): inputs, [B, T, I].
        a (Tensor): attention, [B, T].
        W_r, U_r, b_r (Tensor): reset gate, [I, H], [H, H] and [H].
        W_h, U_h, b_h, d_h (Tensor): candidate state, [I, H], [H, H], [H] and [H].
        W_u, U_u, b_u (Tensor): update gate, ũ = a·u (AUGRU); without it, ũ = a (AGRU).
    """

    @staticmethod
    def forward(
        ctx: Any,
        i: Tensor,
        a: Tensor,
        W_r: Tensor,
        U_r: Tensor,
        b_r: Tensor,
        W_h: Tensor,
        U_h: Tensor,
        b_h: Tensor,
        d_h: Tensor,
        W_u: Tensor | None = None,
        U_u: Tensor | None = None,
        b_u: Tensor | None = None,
    ) -> Tensor:
        given = (i, a, W_r, U_r, b_r, W_h, U_h, b_h, d_h, W_u, U_u, b_u)
        ctx.frozen = [x.stop_gradient for x in given if x is not None]
        ctx.weights = (W_r, U_r, W_h, U_h, W_u, U_u)
        rows, steps, width = i.shape
        hidden = U_h.shape[0]
        b_r, b_h, d_h, b_u = (_rows_of(b, rows) for b in (b_r, b_h, d_h, b_u))  # [B, H]
        inputs = [x.reshape([rows, width]) for x in i.split(steps, 1)]  # T times [B, I]
        attention = a.t().unsqueeze(-1).tile([1, 1, hidden]).unbind(0)  # T times [B, H]
        h = paddle.zeros([rows, hidden], i.dtype)
        ctx.kept = []
        for x, a_t in zip(inputs, attention):
            r = sigmoid(addmm(addmm(b_r, x, W_r), h, U_r))  # [B, H], like all below
            u = None if W_u is None else sigmoid(addmm(addmm(b_u, x, W_u), h, U_u))
            q = addmm(d_h, h, U_h)
            c = paddle.tanh(addmm(b_h, x, W_h) + r * q)  # ĥ'_t
            w = a_t if u is None else a_t * u  # ũ_t
            move = c - h
            ctx.kept.append((x, h, r, u, q, c, w, move))
            h = h + w * move
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        W_r, U_r, W_h, U_h, W_u, U_u = ctx.weights
        hidden = U_h.shape[0]
        augru = W_u is not None
        gates = 3 if augru else 2
        W = concat([W_r, W_h, W_u] if augru else [W_r, W_h], 1).t().clone()  # [G·H, I]
        U = concat([U_r, U_h, U_u] if augru else [U_r, U_h], 1).t().clone()  # [G·H, H]
        dW = dU = db = dd = 0
        di = []
        da = []
        ones = paddle.ones([hidden, 1], dh.dtype)
        for x, h, r, u, q, c, w, move in reversed(ctx.kept):
            dc = w * dh  # [B, H], like all up to g
            dw = move * dh
            dz = dc * (1 - c * c)  # before tanh
            dq = dz * r
            dr = dq * q * (1 - r)  # before sigmoid
            du = [dw * w * (1 - u)] if augru else []  # before sigmoid
            g = concat([dr, dz, *du], 1)  # [B, G·H], of what x makes
            k = concat([dr, dq, *du], 1)  # [B, G·H], of what h makes
            dW = dW + matmul(x, g, transpose_x=True)  # [I, G·H]
            dU = dU + matmul(h, k, transpose_x=True)  # [H, G·H]
            db = db + g  # [B, G·H]
            dd = dd + dq  # [B, H]
            di.append(matmul(g, W))  # [B, I]
            da.append(matmul(dw * u if augru else dw, ones))  # [B, 1]
            dh = addmm(dh - dc, k, U)  # [B, H]
        one = paddle.ones([1, dh.shape[0]], dh.dtype)
        dW = dW.split(gates, 1)  # each [I, H]
        dU = dU.split(gates, 1)  # each [H, H]
        db = matmul(one, db).squeeze(0).split(gates)  # each [H]
        dd = matmul(one, dd).squeeze(0)  # [H]
        reset = [dW[0], dU[0], db[0]]
        candidate = [dW[1], dU[1], db[1], dd]
        update = [dW[2], dU[2], db[2]] if augru else []
        inputs = [paddle.stack(di[::-1], 1), concat(da[::-1], 1)]
        gradients = [*inputs, *reset, *candidate, *update]
        return tuple(None if frozen else x for x, frozen in zip(gradients, ctx.frozen))


def _rows_of(bias: Tensor | None, rows: int) -> Tensor | None:
    """A bias once per row, [H] → [B, H]."""
    return None if bias is None else bias.unsqueeze(0).tile([rows, 1])
