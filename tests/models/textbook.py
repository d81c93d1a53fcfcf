"""Rungs of the ladder in plain NumPy, number by number, from the formulas of papers and textbook.

Written before the nets and without looking at their code: one row at a time, every sum a loop. A
name is the formula's own letter. tests/models/test_textbook.py compares.
"""

import math


def dense_tanh(x, W, b):
    """tanh(W·x + b), where W[i][o] leads from input i to output o."""
    out = []
    for o in range(len(b)):
        s = b[o]
        for i in range(len(x)):
            s += W[i][o] * x[i]
        out.append(math.tanh(s))
    return out


def dot(a, b):
    s = 0.0
    for k in range(len(a)):
        s += a[k] * b[k]
    return s


def matrix_factorisation(u, q, b_u, b_q, mu):
    """Rendle et al. 2020: mu + b_u + b_q + <u, q>."""
    return mu + b_u + b_q + dot(u, q)


def two_towers(u, q, user_layers, item_layers, c, b_q):
    """c·<t_u, t_q> + b_q, where t = tanh(W2·tanh(W1·x + b1) + b2) on each side."""
    for W, b in user_layers:
        u = dense_tanh(u, W, b)
    for W, b in item_layers:
        q = dense_tanh(q, W, b)
    return c * dot(u, q) + b_q


def concatenated(u, q, hidden_layers, w, b):
    """w·tanh(W2·tanh(W1·[u; q] + b1) + b2) + b."""
    x = list(u) + list(q)
    for W, c in hidden_layers:
        x = dense_tanh(x, W, c)
    return dot(w, x) + b


def convolved_along_width(M, w, b):
    """z_k = b + Σ_i Σ_{d=0..2} w[i][d]·M[i][k+d], k = 0 … E−3, from the F × E matrix of a row."""
    z = []
    for k in range(len(M[0]) - 2):
        s = b
        for i in range(len(M)):
            for d in range(3):
                s += w[i][d] * M[i][k + d]
        z.append(s)
    return z


def convolved_over_time(events, W, b, window):
    """max over t of relu(b_f + Σ_{d<window} Σ_c W[f][d][c]·e_{t−window+1+d}[c]), one per filter f.

    The windows end at each event of the history; before its first event there are zeros. No event,
    no maximum: 0.
    """
    out = []
    for f in range(len(b)):
        best = 0.0
        for t in range(len(events)):
            s = b[f]
            for d in range(window):
                at = t - window + 1 + d
                if at < 0:
                    continue
                for c in range(len(events[at])):
                    s += W[f][d][c] * events[at][c]
            best = max(best, max(s, 0.0))
        out.append(best)
    return out


def fnn_input(w_0, pairs):
    """z = [w_0; w_1, v_1; …; w_F, v_F] of the fields' weights and vectors."""
    z = [w_0]
    for w, v in pairs:
        z.append(w)
        z.extend(v)
    return z


def relu_network(x, hidden_layers, w, b):
    """w·relu(W2·relu(W1·x + b1) + b2) + b."""
    for W, c in hidden_layers:
        s = [c[o] + sum(W[i][o] * x[i] for i in range(len(x))) for o in range(len(c))]
        x = [max(value, 0.0) for value in s]
    return dot(w, x) + b


def mean(vectors, width):
    """The mean of some vectors; zeros of none."""
    out = [0.0] * width
    for v in vectors:
        for k in range(width):
            out[k] += v[k] / len(vectors)
    return out
