"""The two programs of a bundle, traced from a net."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.data.schema import of_one_user
from paddleinterest.serving import agreement

Batch = dict[str, paddle.Tensor]
Arrays = dict[str, np.ndarray]
Spec = dict[str, Any]  # of paddle.static.InputSpec


class Programs:
    """The layer that scores rows and the one that ranks one user's candidates, with their inputs.

    Args:
        net: in evaluation.
        spec: inputs of the net.
        examples: two batches with other values, to find inputs that the net does not read.

    Attributes:
        net: the net.
        layers: {program: layer}.
        specs: {program: inputs}.
    """

    def __init__(self, net: nn.Layer, spec: Spec, examples: list[Arrays]) -> None:
        self.net = net
        requests = [agreement.one_request(rows) for rows in examples]
        self.layers = {
            "model": _Scorer(net, _idle(_Scorer(net), *examples)),
            "rank": _Ranker(net, _idle(_Ranker(net), *requests)),
        }
        self.specs = {"model": spec, "rank": one_user(spec)}

    def write(self, directory: str) -> None:
        """Trace both: NAME.json or NAME.pdmodel, and NAME.pdiparams."""
        for name, layer in self.layers.items():
            program = paddle.jit.to_static(layer, input_spec=[self.specs[name]], full_graph=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Paddle's own, about its graph builder
                paddle.jit.save(program, os.path.join(directory, name))


class _Scorer(nn.Layer):
    """Click probabilities [B] of a batch of rows, each with its own history.

    Args:
        net: in evaluation.
        idle: inputs that the net does not read. Paddle exports no input that nothing reads.
    """

    def __init__(self, net: nn.Layer, idle: Sequence[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.idle = list(idle)

    def forward(self, batch: Batch) -> paddle.Tensor:
        return _read(F.sigmoid(self.net(batch)), batch, self.idle)


class _Ranker(nn.Layer):
    """Click probabilities [N] and attention [N, T] of N candidates of one user; the user's side is
    computed once. Arguments as in `_Scorer`."""

    def __init__(self, net: nn.Layer, idle: Sequence[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.idle = list(idle)

    def forward(self, batch: Batch) -> tuple[paddle.Tensor, paddle.Tensor]:
        logit, weight = self.net.rank(batch, return_attention=True)
        return _read(F.sigmoid(logit), batch, self.idle), weight


def _read(x: paddle.Tensor, batch: Batch, names: Sequence[str]) -> paddle.Tensor:
    """x unchanged, but reading the sizes of some inputs."""
    for name in names:
        x = x + 0.0 * paddle.shape(batch[name])[0].astype("float32")
    return x


def _idle(layer: nn.Layer, first: Arrays, second: Arrays) -> list[str]:
    """The inputs that may have two values and make no difference to what `layer` returns."""

    def outputs(arrays: Arrays) -> list[np.ndarray]:
        out = layer({name: paddle.to_tensor(x) for name, x in arrays.items()})
        return [x.numpy() for x in (out if isinstance(out, tuple) else (out,))]

    with paddle.no_grad():
        before = outputs(first)
        idle = []
        for name in first:
            after = outputs({**first, name: second[name]})
            if all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
                idle.append(name)
    return idle


def one_user(spec: Spec) -> Spec:
    """The inputs of ``rank``: one row of everything but the candidates' own."""
    made = {}
    for name, s in spec.items():
        shape = [1, *s.shape[1:]] if of_one_user(name) else s.shape
        made[name] = paddle.static.InputSpec(shape, s.dtype, name)
    return made
