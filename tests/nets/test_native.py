"""models/native: the C++ operators against NumPy float64 and Paddle's forms; how they are built,
and done without."""

import os
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import ROOT

from models.dien.net import AGRUCell, AUGRUCell, InterestEvolution, InterestGRU
from models.din.net import InterestAttention
from paddleinterest.nets import native
from paddleinterest.nets.native import positions

needs_compiler = pytest.mark.skipif(
    native.library("recurrence") is None, reason="no C++ compiler on this machine"
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(autouse=True)
def on():
    yield
    native.use(True)


def leaf(x):
    return paddle.to_tensor(np.asarray(x, np.float32), stop_gradient=False)


def both(layer, inputs, outputs):
    """Values and gradients by Paddle's form and by the operator: two dicts. `outputs` gives the
    tensors of one call."""
    seen = []
    for wanted in (False, True):
        native.use(wanted)
        leaves = {k: leaf(x) for k, x in inputs.items()}
        made = outputs(leaves)
        sum(
            (
                y * paddle.to_tensor(np.sin(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
            ).sum()
            for y in made
        ).backward()
        seen.append(
            {
                **{f"output {n}": y.numpy() for n, y in enumerate(made)},
                **{k: x.grad.numpy() for k, x in leaves.items()},
                **{k: p.grad.numpy() for k, p in layer.named_parameters() if p.grad is not None},
            }
        )
        layer.clear_gradients()
    assert seen[0].keys() == seen[1].keys()
    return seen


def check_same(seen, tolerance=1e-5):
    for name, paddles in seen[0].items():
        assert np.abs(seen[1][name] - paddles).max() <= tolerance * max(
            np.abs(paddles).max(), 1e-3
        ), name


def lengths(rng, rows, steps):
    real = np.r_[0, 1, steps, rng.integers(0, steps + 1, rows)][:rows]
    return (np.arange(steps) < real[:, None]).astype(np.float32)


SIZES = [
    (1, 1, 1, 1),
    (3, 4, 5, 7),
    (25, 50, 32, 24),
    (300, 9, 64, 64),
    (13, 130, 8, 33),
]  # rows, steps, width, hidden


@needs_compiler
@pytest.mark.parametrize("rows, steps, width, hidden", SIZES)
@pytest.mark.parametrize("cell", [AUGRUCell, AGRUCell])
def test_evolution(rng, cell, rows, steps, width, hidden):
    layer, mask = InterestEvolution(cell(width, hidden)), lengths(rng, rows, steps)
    inputs = {
        "states": rng.normal(size=(rows, steps, width)),
        "a": rng.random((rows, steps)) * mask,
    }
    for given in (None, paddle.to_tensor(mask)):
        check_same(
            both(
                layer,
                inputs,
                lambda x: [layer(x["states"], x["a"] * paddle.to_tensor(mask), given)],
            )
        )


@needs_compiler
@pytest.mark.parametrize("rows, steps, width, hidden", SIZES)
def test_gru(rng, rows, steps, width, hidden):
    layer, mask = InterestGRU(width, hidden), paddle.to_tensor(lengths(rng, rows, steps))
    check_same(
        both(
            layer, {"i": rng.normal(size=(rows, steps, width))}, lambda x: list(layer(x["i"], mask))
        )
    )
    for one in (0, 1):  # a caller may use one output alone
        check_same(
            both(
                layer,
                {"i": rng.normal(size=(rows, steps, width))},
                lambda x: [layer(x["i"], mask)[one]],
            )
        )


@needs_compiler
@pytest.mark.parametrize("hidden", [(80, 40), (5, 3), (16, 8)])
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_interest(rng, activation, softmax, hidden):
    """Of quarters, so that sums are exact in any order and both forms stand on the same side of
    every kink."""

    def quarters(*shape):
        return rng.integers(-2, 3, shape).astype(np.float32) / 4

    for rows, steps, width in ((1, 1, 1), (40, 50, 32), (19, 7, 6), (200, 3, 64)):
        layer, mask = (
            InterestAttention(width, hidden, activation, softmax),
            paddle.to_tensor(lengths(rng, rows, steps)),
        )
        for p in layer.parameters():
            p.set_value(quarters(*p.shape))
        inputs = {"history": quarters(rows, steps, width), "target": quarters(rows, width)}

        def outputs(x):
            interest, weight = layer(x["history"] * mask.unsqueeze(-1), x["target"], mask)
            return [interest, weight * mask]

        check_same(both(layer, inputs, outputs))


@needs_compiler
def test_gates_in_float64(rng):
    """Against the equations in NumPy, with gates that saturate; each step's error is that of
    float32."""
    cell = AUGRUCell(6, 8)
    for p in cell.parameters():
        p.set_value(rng.normal(0, 3, p.shape).astype(np.float32))
    w = {k: p.numpy().astype(np.float64) for k, p in cell.named_parameters()}
    x, a = rng.normal(size=(30, 12, 6)).astype(np.float32), rng.random((30, 12)).astype(np.float32)
    h = np.zeros((30, 8))
    for t in range(12):
        i = x[:, t].astype(np.float64)
        r, u = (reference.sigmoid(i @ w[f"W_{g}"] + h @ w[f"U_{g}"] + w[f"b_{g}"]) for g in "ru")
        candidate = np.tanh(i @ w["W_h"] + w["b_h"] + r * (h @ w["U_h"] + w["d_h"]))
        h = h + a[:, t : t + 1] * u * (candidate - h)
    got = InterestEvolution(cell)(paddle.to_tensor(x), paddle.to_tensor(a)).numpy()
    assert np.abs(got - h).max() < 2e-5 and np.abs(h).max() > 0.5


@needs_compiler
def test_attention_of_zero_and_padding_leave_the_state_bit_for_bit(rng):
    layer = InterestEvolution(AUGRUCell(4, 5))
    states, a = (
        rng.normal(size=(20, 6, 4)).astype(np.float32),
        rng.random((20, 6)).astype(np.float32),
    )
    a[:, 4:] = 0.0
    short = layer(paddle.to_tensor(states[:, :4]), paddle.to_tensor(a[:, :4])).numpy()
    states[:, 4:] = 1e30
    assert layer(paddle.to_tensor(states), paddle.to_tensor(a)).numpy().tobytes() == short.tobytes()
    mask = paddle.to_tensor((np.arange(6) < 4).astype(np.float32)).expand([20, 6])
    states[:, 4:], a[:, 4:] = np.nan, np.nan
    assert (
        layer(paddle.to_tensor(states), paddle.to_tensor(a), mask).numpy().tobytes()
        == short.tobytes()
    )


@needs_compiler
def test_no_number_stays_no_number():
    """NaN in an input must reach the loss, where the training stops for it."""
    layer = InterestEvolution(AUGRUCell(4, 5))
    states = np.zeros((2, 3, 4), np.float32)
    states[1, 1, 2] = np.nan
    got = layer(paddle.to_tensor(states), paddle.ones([2, 3])).numpy()
    assert np.isfinite(got[0]).all() and np.isnan(got[1]).all()
    layer = InterestAttention(4, (6, 5), "relu", True)
    got = layer(paddle.to_tensor(states), paddle.ones([2, 4]), paddle.ones([2, 3]))[0].numpy()
    assert np.isfinite(got[0]).all() and np.isnan(got[1]).any()


@needs_compiler
def test_the_same_numbers_every_time(rng):
    layer, x = InterestGRU(16, 16), rng.normal(size=(100, 20, 16))
    mask = paddle.ones([100, 20])
    first, second = (
        both(layer, {"i": x}, lambda x: list(layer(x["i"], mask)))[1] for _ in range(2)
    )
    assert all(first[k].tobytes() == second[k].tobytes() for k in first)


@needs_compiler
def test_only_where_it_belongs():
    x = paddle.ones([2])
    assert native.available("recurrence", x)
    assert not native.available("recurrence", x.astype("float64"))
    native.use(False)
    assert not native.available("recurrence", x)


def build(tmp_path, **environment):
    """A fresh process that wants the operators; returns (whether it has them, files in the cache,
    what it printed)."""
    code = (
        "from paddleinterest.nets import native;"
        " print('got', native.library('recurrence') is not None)"
    )
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **environment},
    )
    assert done.returncode == 0, done.stderr
    files = sorted(os.listdir(cache / "paddleinterest")) if cache.is_dir() else []
    return "got True" in done.stdout, files, done.stdout + done.stderr


@pytest.mark.slow
@needs_compiler
def test_built_once(tmp_path):
    has, files, said = build(tmp_path)
    assert has and len(files) == 1 and "built the operators of recurrence.cc" in said
    assert build(tmp_path)[:2] == (True, files)
    assert "built the operators" not in build(tmp_path)[2]


@pytest.mark.slow
@needs_compiler
def test_a_spoilt_library_is_built_again(tmp_path):
    _, files, _ = build(tmp_path)
    (tmp_path / "cache" / "paddleinterest" / files[0]).write_bytes(b"garbage")
    has, again, said = build(tmp_path)
    assert has and again == files and f"{files[0]} cannot be loaded" in said
    assert "cannot be loaded" not in build(tmp_path)[2]


@pytest.mark.slow
def test_done_without(tmp_path):
    """No compiler, one that fails, or no room for the result: Paddle's forms run, nothing is left
    behind."""
    failing = tmp_path / "fails"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    assert build(tmp_path, CXX=str(failing))[:2] == (False, [])
    assert build(tmp_path, CXX="/no/such/compiler")[:2] == (False, [])
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert build(tmp_path, XDG_CACHE_HOME=str(blocked))[0] is False


class Sums:
    """The functions of paddleinterest/nets/native/positions.py, and what they say in Paddle's own
    words, as a layer without weights."""

    @staticmethod
    def of(x, mask, length):
        if native.available("positions", x["x"]):
            return [
                positions.dot(x["x"], x["q"], length),
                positions.pool(x["w"], x["x"], length),
                positions.auxiliary_loss(x["x"], x["e"], x["negative"], mask),
            ]
        score = [(x["x"].roll(1, 1) * x[k]).sum(-1) for k in ("e", "negative")]
        first = paddle.to_tensor((np.arange(mask.shape[1]) > 0).astype(np.float32))
        loss = F.softplus(-score[0]) + F.softplus(score[1])
        return [
            (x["x"] * x["q"].unsqueeze(1)).sum(-1) * mask,
            (x["x"] * (x["w"] * mask).unsqueeze(-1)).sum(1),
            (loss * mask * first).sum(),
        ]

    named_parameters, clear_gradients = staticmethod(list), staticmethod(lambda: None)


@needs_compiler
@pytest.mark.parametrize("rows, steps, width, hidden", SIZES)
def test_sums_over_positions(rng, rows, steps, width, hidden):
    real = lengths(rng, rows, steps)
    mask, length = paddle.to_tensor(real), paddle.to_tensor(real.sum(-1).astype(np.int64))
    inputs = {k: rng.normal(size=(rows, steps, width)) for k in ("x", "e", "negative")}
    inputs.update(q=rng.normal(size=(rows, width)), w=rng.normal(size=(rows, steps)))
    check_same(both(Sums, inputs, lambda x: Sums.of(x, mask, length)), 2e-5)


@needs_compiler
def test_the_auxiliary_loss_neither_overflows_nor_vanishes():
    """Scores of ±200: the loss is linear there, never infinite; a quarter of the positions has no
    negative."""
    h = paddle.to_tensor(np.array([[[200.0], [-200.0], [1.0], [1.0]]], np.float32))
    ones, mask = paddle.ones([1, 4, 1]), paddle.to_tensor([[1.0, 1.0, 1.0, 0.0]])
    got = float(positions.auxiliary_loss(h, ones, ones, mask))
    assert abs(got - (0 + 200 + 200 + 0)) < 1e-3
