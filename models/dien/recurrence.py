"""The attentional recurrence over all steps, in Paddle's operators: what runs where the C++
operator (models/native) does not.
`InterestEvolution.plain` is the readable form.

In training, autograd over a Python loop of T steps costs more than the arithmetic: it keeps every
small tensor, sums the gradient of each weight T times, and reduces biases and broadcasts slowly.
`Recurrence` has a hand-written gradient of a few products a step, whose operands stay in the cache.
In evaluation, and in an exported program, where T is unknown and the loop becomes a `while`,
`unroll` does what the steps share before the loop, and no slow broadcast inside.
"""

import paddle
from paddle.autograd import PyLayer

addmm, matmul, concat = paddle.addmm, paddle.matmul, paddle.concat


def sigmoid(x):
    """σ(x) = (1 + tanh(x/2)) / 2; Paddle's tanh is vectorised on the CPU, its sigmoid is not."""
    return paddle.stanh(x, 0.5, 0.5) + 0.5


def unroll(cell, states, a, shared=False):
    """h'_T of `AUGRUCell` or `AGRUCell` run over states [B, T, I] with attention a [B, T] → [B, H].

    shared: all rows have the same states [1, T, I]; what the cell needs of them is computed once.
    """
    gates, rows = len(cell.GATES), paddle.shape(a)[0]
    projected = concat(cell.project(states), -1).transpose([1, 0, 2])  # [T, B or 1, gates·H]
    attention = a.t().unsqueeze(-1)  # [T, B, 1]
    ones, wide = paddle.ones([rows, 1], a.dtype), paddle.ones([1, cell.hidden], a.dtype)
    h = paddle.zeros([rows, cell.hidden], a.dtype)
    for t in range(paddle.shape(a)[1]):
        p = _at(projected, t).split(gates, -1)
        if shared:
            p[1] = matmul(ones, p[1])  # faster than a broadcast
        h = cell.step(p, h, matmul(_at(attention, t), wide))  # [B, H]
    return h


def _at(x, t):
    """x[t]; in a program t is a tensor, by which Paddle gathers faster than it slices."""
    return x[t] if paddle.in_dynamic_mode() else paddle.gather(x, t)


class Recurrence(PyLayer):
    """h'_T of h'_t = h'_{t−1} + ũ_t∘(ĥ'_t − h'_{t−1}) from h'_0 = 0, and its gradient.

    Args of `apply`:
        i: inputs [B, T, I].  a: attention [B, T].
        W_r, U_r, b_r: reset gate, [I, H], [H, H], [H].  W_h, U_h, b_h, d_h: candidate state.
        W_u, U_u, b_u: update gate, ũ = a·u (AUGRU); left out, ũ = a (AGRU).
    """

    @staticmethod
    def forward(ctx, i, a, W_r, U_r, b_r, W_h, U_h, b_h, d_h, W_u=None, U_u=None, b_u=None):
        frozen = [
            x.stop_gradient
            for x in (i, a, W_r, U_r, b_r, W_h, U_h, b_h, d_h, W_u, U_u, b_u)
            if x is not None
        ]
        rows, steps, width = i.shape
        hidden = U_h.shape[0]
        b_r, b_h, d_h, b_u = (
            b if b is None else b.unsqueeze(0).tile([rows, 1]) for b in (b_r, b_h, d_h, b_u)
        )
        inputs = [x.reshape([rows, width]) for x in i.split(steps, 1)]
        attention = a.t().unsqueeze(-1).tile([1, 1, hidden]).unbind(0)  # T times [B, H]
        h, kept = paddle.zeros([rows, hidden], i.dtype), []
        for x, a_t in zip(inputs, attention):
            r = sigmoid(addmm(addmm(b_r, x, W_r), h, U_r))  # [B, H], like all below
            u = None if W_u is None else sigmoid(addmm(addmm(b_u, x, W_u), h, U_u))
            q = addmm(d_h, h, U_h)
            c = paddle.tanh(addmm(b_h, x, W_h) + r * q)  # ĥ'_t
            w = a_t if u is None else a_t * u  # ũ_t
            move = c - h
            kept.append((x, h, r, u, q, c, w, move))
            h = h + w * move
        ctx.kept, ctx.weights = kept, (W_r, U_r, W_h, U_h, W_u, U_u)
        ctx.frozen = frozen
        return h

    @staticmethod
    def backward(ctx, dh):
        W_r, U_r, W_h, U_h, W_u, U_u = ctx.weights
        hidden, augru = U_h.shape[0], W_u is not None
        W = concat([W_r, W_h, W_u] if augru else [W_r, W_h], 1).t().clone()  # [gates·H, I]
        U = concat([U_r, U_h, U_u] if augru else [U_r, U_h], 1).t().clone()
        dW, dU, db, dd, di, da = 0, 0, 0, 0, [], []
        ones = paddle.ones([hidden, 1], dh.dtype)
        for x, h, r, u, q, c, w, move in reversed(ctx.kept):
            dc, dw = w * dh, move * dh
            dz = dc * (1 - c * c)  # before tanh
            dq = dz * r
            dr = dq * q * (1 - r)  # before sigmoid
            du = [dw * w * (1 - u)] if augru else []
            g, k = concat([dr, dz, *du], 1), concat([dr, dq, *du], 1)  # [B, gates·H] of x and of h
            dW, dU, db, dd = (
                dW + matmul(x, g, transpose_x=True),
                dU + matmul(h, k, transpose_x=True),
                db + g,
                dd + dq,
            )
            di.append(matmul(g, W))
            da.append(matmul(dw * u if augru else dw, ones))  # [B, 1]
            dh = addmm(dh - dc, k, U)
        gates, ones = dW.shape[1] // hidden, paddle.ones([1, dh.shape[0]], dh.dtype)
        dW, dU, db = (
            dW.split(gates, 1),
            dU.split(gates, 1),
            matmul(ones, db).squeeze(0).split(gates),
        )
        update = (dW[2], dU[2], db[2]) if augru else ()
        gradients = (
            paddle.stack(di[::-1], 1),
            concat(da[::-1], 1),
            dW[0],
            dU[0],
            db[0],
            dW[1],
            dU[1],
            db[1],
            matmul(ones, dd).squeeze(0),
            *update,
        )
        return tuple(None if frozen else x for x, frozen in zip(gradients, ctx.frozen))
