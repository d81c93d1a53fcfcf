"""Floating-point operations of a forward pass's matrix products, from the net's own layers and real
history lengths.

A product [m, k]·[k, n] counts 2·m·k·n. Only real positions count: what is spent on padding is lost.
Activations, softmax, look-ups and the optimizer's work are left out; all are linear in what they
read. A training step is three forward passes, as each product has two gradients of its own size.

Each function takes the net and the history lengths [B] and returns {part: operations}.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Net: TypeAlias = Any  # a net of models/<name>/net.py; its layers are read by their names
Counts: TypeAlias = dict[str, int]  # {part: operations}

TRAINING = 3  # forward, gradient of the input, gradient of the weight


def linear(layer: Any, rows: int) -> int:
    """y = x·W of `rows` rows."""
    k, n = layer.weight.shape
    return 2 * rows * k * n


def tower(net: Net, rows: int) -> int:
    """The layers from the joined vector to the logit."""
    mlp = net.tower.mlp
    return sum(linear(layer, rows) for layer in (*mlp.hidden, mlp.out))


def base(net: Net, lengths: np.ndarray) -> Counts:
    """Sum pooling and the tower."""
    return {
        "pooling": 2 * sum_of(lengths) * net.embeddings.item_width,
        "tower": tower(net, len(lengths)),
    }


def din(net: Net, lengths: np.ndarray) -> Counts:
    """The local activation unit, the weighted sum, the tower."""
    positions = sum_of(lengths)
    width = net.embeddings.item_width
    parts = {
        "activation unit": activation_unit(net.attention.unit, len(lengths), positions),
        "weighted sum": 2 * positions * width,
    }
    if net.pooling is not None:
        parts["history sum"] = 2 * positions * width
    return {**parts, "tower": tower(net, len(lengths))}


def activation_unit(unit: Any, rows: int, positions: int) -> int:
    """First layer cut in four: two products a position, e·(W₁+W₃) and (e∘v)·W₄, and one per row,
    v·(W₂−W₃)."""
    d = unit.width
    h = unit.linears[0].weight.shape[1]
    deeper = sum(linear(layer, positions) for layer in (*unit.linears[1:], unit.out))
    return 2 * d * h * (2 * positions + rows) + deeper


def dien(net: Net, lengths: np.ndarray) -> Counts:
    """Extractor, auxiliary loss, attention, evolution, tower."""
    positions = sum_of(lengths)
    rows = len(lengths)
    width = net.embeddings.item_width
    hidden = net.extractor.gru.hidden_size
    parts = {"extractor": recurrence(3, width, hidden, positions)}
    if net.auxiliary is not None:
        pairs = sum_of(np.maximum(lengths - 1, 0))
        parts["auxiliary loss"] = auxiliary(net.auxiliary, hidden, width, pairs)
    if net.attention.kind == "bilinear":
        parts["attention"] = 2 * rows * hidden * width + 2 * positions * hidden
    else:
        projection = 2 * rows * width * hidden if width != hidden else 0
        parts["attention"] = projection + activation_unit(net.attention.unit, rows, positions)
    gates = {"agru": 2}.get(net.kind, 3)
    parts["evolution"] = recurrence(gates, hidden, hidden, positions)
    if net.kind == "gru_attention":
        parts["evolution"] += 2 * positions * hidden
    if net.pooling is not None:
        parts["history sum"] = 2 * positions * width
    return {**parts, "tower": tower(net, rows)}


def recurrence(gates: int, width: int, hidden: int, positions: int) -> int:
    """A GRU of so many gates, candidate included: i·W and h·U at each position."""
    return 2 * positions * gates * hidden * (width + hidden)


def auxiliary(loss: Any, hidden: int, width: int, pairs: int) -> int:
    """Two scores for each pair of an h_t and the event after it."""
    if loss.kind == "mlp":
        item = 2 * linear(loss.of_item, pairs)
        rest = 2 * sum(linear(layer, pairs) for layer in loss.rest if hasattr(layer, "weight"))
        return linear(loss.of_state, pairs) + item + rest
    projection = linear(loss.of_state, pairs) if hidden != width else 0
    return projection + 2 * 2 * pairs * width


def bst(net: Net, lengths: np.ndarray) -> Counts:
    """The blocks over history and target, and the tower. By output: target the last one runs for
    the target alone."""
    rows = len(lengths)
    seen = lengths.astype(np.int64) + 1  # the history and the target
    positions = sum_of(seen)
    whole = list(net.blocks)
    parts: Counts = {}
    if net.output == "target":
        parts["last block"] = target_block(whole.pop(), rows, positions)
    if whole:
        parts["whole blocks"] = sum(block(b, positions, sum_of(seen**2)) for b in whole)
    if net.output == "mean":
        parts["mean"] = 2 * positions * net.blocks[0].attention.q_proj.weight.shape[0]
    return {**parts, "tower": tower(net, rows)}


def block(b: Any, positions: int, pairs: int) -> int:
    """Queries, keys, values, output and feed-forward of every position; scores and mixing of every
    pair."""
    a = b.attention
    d = a.q_proj.weight.shape[0]
    every = (a.q_proj, a.k_proj, a.v_proj, a.out_proj, b.linear1, b.linear2)
    return sum(linear(layer, positions) for layer in every) + 2 * 2 * pairs * d


def target_block(b: Any, rows: int, positions: int) -> int:
    """The same for one query a row: keys and values are never built, each head reads the sequence
    itself."""
    a = b.attention
    d = a.q_proj.weight.shape[0]
    every = (a.q_proj, a.k_proj, a.v_proj, a.out_proj, b.linear1, b.linear2)
    return sum(linear(layer, rows) for layer in every) + 2 * 2 * positions * a.heads * d


def sum_of(x: np.ndarray) -> int:
    return int(np.asarray(x, np.int64).sum())


COUNTS: dict[str, Callable[[Net, np.ndarray], Counts]] = {
    "base": base,
    "din": din,
    "dien": dien,
    "bst": bst,
}
