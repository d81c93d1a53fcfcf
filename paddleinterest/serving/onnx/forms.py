"""Forms that paddle2onnx converts rightly, in place of those that it does not, while a net is
traced.

paddle2onnx 2.1 aborts the process on `addmm`, `stanh` and `searchsorted`. It leaves a simple
recurrence out, ignores `sequence_length` of any other, writes `leaky_relu` with slope 0 and
`expand_as` so that it fails when it runs, computes an integer and a constant in float32, and
multiplies each table that has a padding row with a mask as large as the table. The forms here
compute the same. Some are slower in Paddle, so they are used for ONNX alone.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from paddle.nn.layer.rnn import RNNBase

from paddleinterest.core.errors import InputError

Value = Any  # a tensor, or a value of a program that is traced
WITH_CONSTANT = ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__")
CERTAIN = 200.0  # before a sigmoid: 1 in float32, and its negative 0


def _addmm(c: Value, x: Value, y: Value, beta: float = 1.0, alpha: float = 1.0, **_: Any) -> Value:
    product = paddle.matmul(x, y)
    if alpha != 1.0:
        product = alpha * product
    return product + (c if beta == 1.0 else beta * c)


def _stanh(x: Value, scale_a: float = 0.67, scale_b: float = 1.7159, **_: Any) -> Value:
    return scale_b * paddle.tanh(scale_a * x)


def _searchsorted(
    edges: Value, values: Value, out_int32: bool = False, right: bool = False, **_: Any
) -> Value:
    each = values.unsqueeze(-1)
    below = each >= edges if right else each > edges
    return below.astype("int32" if out_int32 else "int64").sum(-1)


def _leaky_relu(x: Value, negative_slope: float = 0.01, **_: Any) -> Value:
    return F.relu(x) - negative_slope * F.relu(-x)


def _expand_as(x: Value, target: Value, **_: Any) -> Value:
    return paddle.expand(x, paddle.shape(target))


def _embedding(original: Callable[..., Value]) -> Callable[..., Value]:
    """A look-up without a mask; `_clear_padding` has made the padding's row zeros."""

    def embedding(x: Value, weight: Value, padding_idx: int | None = None, **named: Any) -> Value:
        named["sparse"] = False
        return original(x, weight, padding_idx=None, **named)

    return embedding


def _exact(original: Callable[..., Value]) -> Callable[..., Value]:
    """An operation of integers and a constant, which becomes a tensor of integers."""

    def operation(x: Value, y: Any) -> Value:
        if type(y) is int and "int" in str(x.dtype).lower():
            y = paddle.full([1], y, x.dtype)
        return original(x, y)

    return operation


def _recurrent(original: Callable[..., Any]) -> Callable[..., Any]:
    """A recurrent layer over right-padded rows.

    Padding comes last, so it changes no state before it. States at padding become zero, and the
    last state is that of the last real position.
    """

    def forward(
        self: Any, inputs: Value, initial_states: Any = None, sequence_length: Value = None
    ) -> Any:
        if sequence_length is None:
            return original(self, inputs, initial_states, None)
        if self.num_layers > 1 or self.num_directions > 1:
            raise InputError(
                f"--onnx: paddle2onnx ignores the lengths of a {type(self).__name__} of several"
                " layers or directions, so this net cannot be converted; export it without --onnx"
            )
        states, last = original(self, inputs, initial_states, None)
        steps = paddle.arange(paddle.shape(inputs)[1], dtype="int64").unsqueeze(0)  # [1, T]
        length = sequence_length.astype("int64").unsqueeze(-1)  # [B, 1]
        real = (steps < length).astype("float32").unsqueeze(-1)  # [B, T, 1]
        at_end = (steps == length - 1).astype("float32").unsqueeze(-1)  # [B, T, 1]
        h = (states * at_end).sum(1).unsqueeze(0)  # [1, B, H]
        return states * real, ((h, last[1]) if isinstance(last, tuple) else h)

    return forward


def _clear_padding(net: nn.Layer) -> None:
    """Zeros in the padding's row of each table, as which Paddle reads it whatever it holds."""
    for layer in net.sublayers(include_self=True):
        if isinstance(layer, nn.Embedding) and layer._padding_idx not in (None, -1):
            with paddle.no_grad():
                layer.weight[int(layer._padding_idx)] = 0.0


def _as_gru(rnn: nn.SimpleRNN) -> nn.GRU:
    """A GRU that computes what a simple recurrence does, which the converter lacks.

    With the reset gate open and the update gate shut, h = tanh(W_ih·x + b_ih + W_hh·h' + b_hh).
    """
    gru = nn.GRU(rnn.input_size, rnn.hidden_size, time_major=rnn.time_major)
    for side, gates in (("ih", (CERTAIN, -CERTAIN)), ("hh", (0.0, 0.0))):
        weight = getattr(rnn, f"weight_{side}_l0")  # [H, I] or [H, H]
        bias = getattr(rnn, f"bias_{side}_l0")  # [H]
        none = paddle.zeros_like(weight)
        reset, update = (paddle.full_like(bias, gate) for gate in gates)
        getattr(gru, f"weight_{side}_l0").set_value(paddle.concat([none, none, weight]))
        getattr(gru, f"bias_{side}_l0").set_value(paddle.concat([reset, update, bias]))
    gru.eval()
    return gru


def _is_plain(rnn: nn.SimpleRNN) -> bool:
    """Check that a recurrence has one layer, one direction and tanh."""
    one = rnn.num_layers == 1 and rnn.num_directions == 1
    return one and rnn.activation == "tanh"


@contextlib.contextmanager
def _without_simple_recurrences(net: nn.Layer) -> Iterator[None]:
    """Within, each `SimpleRNN` of the net is a GRU that computes the same."""
    with contextlib.ExitStack() as stack:
        for owner in net.sublayers(include_self=True):
            for name, layer in owner.named_children():
                if isinstance(layer, nn.SimpleRNN) and _is_plain(layer):
                    stack.enter_context(_replaced(owner, name, _as_gru(layer)))
        yield


@contextlib.contextmanager
def suited_to_onnx(net: nn.Layer) -> Iterator[None]:
    """Within, a net is traced in forms that convert."""
    _clear_padding(net)
    functions = [
        (paddle.addmm, _addmm),
        (paddle.stanh, _stanh),
        (paddle.searchsorted, _searchsorted),
        (F.leaky_relu, _leaky_relu),
        (F.embedding, _embedding(F.embedding)),
    ]
    with contextlib.ExitStack() as stack:
        for original, suited in functions:
            for owner, name in _holders(original):
                stack.enter_context(_replaced(owner, name, suited))
        for owner in _value_classes():
            stack.enter_context(_replaced(owner, "expand_as", _expand_as))
            for name in WITH_CONSTANT:
                stack.enter_context(_replaced(owner, name, _exact(getattr(owner, name))))
        stack.enter_context(_replaced(RNNBase, "forward", _recurrent(RNNBase.forward)))
        stack.enter_context(_without_simple_recurrences(net))
        yield


def _holders(function: Any) -> list[tuple[Any, str]]:
    """The modules, and their names, that hold a function: nets may import it by name."""
    found = []
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is function:
                found.append((module, name))
    return found


def _value_classes() -> list[Any]:
    """The classes of values in programs."""
    found: list[Any] = [paddle.static.Variable]
    with contextlib.suppress(AttributeError):
        found.append(paddle.base.libpaddle.pir.Value)  # Paddle 3
    return [kind for kind in found if hasattr(kind, "expand_as")]


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
