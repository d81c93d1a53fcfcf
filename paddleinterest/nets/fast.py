"""Layers with a faster form of what `forward` says, and the check that both compute the same.

A fast form is a C++ operator, a hand-written gradient, or an algebraic shortcut. What one reads in
`forward` is what trains: `refuse_what_differs` compares each fast form with it before training, and
a form that computes something else, because `forward` was edited, is not used.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn

from paddleinterest.core import distributed

TOLERANCE = 2e-5  # of the largest value; rounding alone stays below 2e-6
LARGE = 1 << 22  # parameters of more elements keep their values in the comparison


class FastLayer(nn.Layer):
    """A layer whose `forward` holds the equations, and which names faster ways to compute them.

    Attributes:
        fast_forms (tuple[str, ...]): methods with the arguments of `forward`, the fastest first.
            Each returns what `forward` returns, or None if it does not run on these inputs: no
            compiler, float64, a static program.
        refused (set[str]): those that do not compute what `forward` computes.
    """

    fast_forms: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if _recorded is not None:
            _recorded.append(_Call(self, inputs, named))
        for form in () if _forward_only else self.fast_forms:
            if form not in self.refused:
                out = getattr(self, form)(*inputs, **named)
                if out is not None:
                    return out
        return super().__call__(*inputs, **named)


@dataclass
class _Call:
    """One call of a layer."""

    layer: FastLayer
    inputs: tuple
    named: dict

    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        bound = inspect.signature(self.layer.forward).bind(*self.inputs, **self.named)
        return dict(bound.arguments)


_recorded: list[_Call] | None = None
_forward_only = False


@contextlib.contextmanager
def forward_only() -> Iterator[None]:
    """Within, no fast form runs."""
    global _forward_only
    before = _forward_only
    _forward_only = True
    try:
        yield
    finally:
        _forward_only = before


def refuse_what_differs(net: nn.Layer, run: Callable[[], Any]) -> list[str]:
    """Compare each fast form in `net` with its layer's `forward`, and refuse those that differ.

    Output and gradients are compared at the inputs of `run`, with random values for the layer's
    parameters: near 0, where training begins, most functions look alike. Weights and buffers are
    restored. Of several processes all must call this.

    Args:
        net (nn.Layer): the net.
        run (Callable[[], Any]): runs the net on a small batch.

    Returns:
        list[str]: one sentence per refused form.
    """
    if not any(isinstance(layer, FastLayer) for layer in net.sublayers(include_self=True)):
        return []
    found = []
    for call in _first_calls(net, run):
        for form in call.layer.fast_forms:
            difference = _difference(call, form)
            if distributed.sums({"differ": float(difference is not None)})["differ"]:
                call.layer.refused.add(form)
                found.append(_sentence(call.layer, form, difference or "in another process"))
    return found


def _first_calls(net: nn.Layer, run: Callable[[], Any]) -> list[_Call]:
    """The first call of each `FastLayer` in `run`."""
    global _recorded
    _recorded = []
    # Dice moves its means
    buffers = [(x, x.clone()) for x in net.state_dict().values() if x.stop_gradient]
    try:
        with forward_only(), paddle.no_grad():
            run()
        calls = {id(call.layer): call for call in reversed(_recorded)}
        return list(reversed(calls.values()))
    finally:
        _recorded = None
        for buffer, before in buffers:
            buffer.set_value(before)


def _sentence(layer: FastLayer, form: str, difference: str) -> str:
    source = os.path.relpath(inspect.getsourcefile(type(layer)) or "")
    name = type(layer).__name__
    return (
        f"{name}.forward ({source}) is not what its fast form {form} computes: {difference};"
        " forward is used, which is slower"
    )


def _difference(call: _Call, form: str) -> str | None:
    """How `form` differs from `forward`, in words; None if they agree, or if it does not run.

    Both draws must differ: by chance a value may stand on the kink of a ReLU, where rounding
    decides.
    """
    arguments = {name: _lively(x) for name, x in call.arguments().items()}
    for seed in (0, 1):
        with _random_weights(call.layer, seed):
            found = _of_one_draw(call.layer, form, arguments)
        if found is None:
            return None
    return found


def _of_one_draw(layer: FastLayer, form: str, arguments: dict[str, Any]) -> str | None:
    """`_difference` with the layer's present weights."""
    for training in (True, False):
        layer.train() if training else layer.eval()
        with forward_only():
            own = _values(layer, layer, arguments)
        try:
            fast = _values(layer, getattr(layer, form), arguments)
        except Exception as e:  # whatever an edited layer makes it do
            return f"it fails: {' '.join(str(e).split())[:100]}"
        if fast is not None and (worst := _worst(own or {}, fast)):
            return worst
    return None


def _lively(x: Any) -> Any:
    """A tensor without its graph; of floats scaled so that the largest is at least 1."""
    if not isinstance(x, paddle.Tensor):
        return x
    copy = x.detach().clone()
    if not paddle.is_floating_point(x):
        return copy
    largest = float(copy.abs().max())
    if 0 < largest < 1:
        copy = copy / largest
    copy.stop_gradient = x.dtype != paddle.float32 or _is_mask(copy)
    return copy


def _is_mask(x: paddle.Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


@contextlib.contextmanager
def _random_weights(layer: nn.Layer, seed: int) -> Iterator[None]:
    """Within, the layer's parameters are random, as large as a trained layer's may be."""
    rng = np.random.default_rng(seed)
    modes = [(part, part.training) for part in layer.sublayers(include_self=True)]
    kept = {name: x.clone() for name, x in layer.state_dict().items() if x.size <= LARGE}
    try:
        for p in layer.parameters():
            if p.size <= LARGE:
                scale = p.shape[0] ** -0.5 if p.ndim > 1 else 0.3
                p.set_value(rng.normal(0, scale, p.shape).astype(p.numpy().dtype))
        yield
    finally:
        for name, x in layer.state_dict().items():
            if name in kept:
                x.set_value(kept[name])
        layer.clear_gradients()
        for part, training in modes:
            part.training = training


def _values(
    layer: nn.Layer, function: Callable[..., Any], arguments: dict[str, Any]
) -> dict[str, np.ndarray] | None:
    """Outputs and, in training, gradients of a form by name; None if it does not run here."""
    paddle.seed(0)  # the same dropout for both
    layer.clear_gradients()
    leaves = {k: x for k, x in arguments.items() if _wants_gradient(x)}
    for x in leaves.values():
        x.clear_gradient()
    out = function(**arguments)
    if out is None:
        return None
    outputs = [x for x in (out if isinstance(out, tuple) else (out,)) if x is not None]
    values = {f"output {k}": x.numpy() for k, x in enumerate(outputs)}
    if not layer.training:
        return values
    rng = np.random.default_rng(1)
    directions = [paddle.to_tensor(rng.normal(size=x.shape), x.dtype) for x in outputs]
    paddle.autograd.backward(outputs, directions)
    leaves.update(layer.named_parameters())
    for name, x in leaves.items():
        gradient = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        values[f"gradient of {name}"] = gradient
    return values


def _wants_gradient(x: Any) -> bool:
    return isinstance(x, paddle.Tensor) and not x.stop_gradient


def _worst(own: dict[str, np.ndarray], fast: dict[str, np.ndarray]) -> str | None:
    """The largest difference in words, None within TOLERANCE."""
    sizes = {name: float(np.abs(x).max(initial=0)) for name, x in own.items()}
    largest = max(sizes.values(), default=0.0)
    for name, x in own.items():
        if name not in fast or fast[name].shape != x.shape:
            return f"{name} has another shape"
        difference = float(np.abs(x - fast[name]).max(initial=0))
        # a gradient that is zero but for rounding has no size of its own
        share = difference / max(sizes[name], 1e-3 * largest, 1e-12)
        if not share <= TOLERANCE:
            return f"{name} by {share:.1%} of its largest value"
    return None
