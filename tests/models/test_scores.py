"""The kinds of attention that DIN's `score` offers, against NumPy float64."""

import numpy as np
import paddle
import pytest
import reference
from helpers import TINY_DIN, check_export, check_invariants, close, scramble
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor

from models.din.net import DIN, InterestAttention
from models.din.score import MIXED, SCORES, SIMILARITIES

OTHERS = [score for score in SCORES if score != "din"]


def some(rng, rows=5, length=7, width=4):
    mask = (np.arange(length) < np.array([0, 1, 3, 6, 7])[:, None]).astype(np.float64)
    history = rng.normal(size=(rows, length, width))
    history[mask == 0] = 7.0
    return history, rng.normal(size=(rows, width)), mask


def numpy_score(kind, w, e, v):
    """One event and one target."""
    if kind == "none":
        return 1.0
    if kind in ("dot", "scaled_dot"):
        return e @ v
    if kind == "bilinear":
        return e @ w["unit.W"] @ v
    if kind == "cosine":
        return e @ v / np.linalg.norm(e) / np.linalg.norm(v)
    x = {
        "own": e,
        "product": e * v,
        "plus": e + v,
        "minus": e - v,
        "concat": np.concatenate([e, v]),
        "outer": np.concatenate([e, v, np.outer(e, v).ravel()]),
    }[kind]
    for k in (0, 1):
        s = x @ w[f"unit.linears.{k}.weight"] + w[f"unit.linears.{k}.bias"]
        x = np.where(s > 0, s, w[f"unit.activations.{k}.slope"] * s)
    return (x @ w["unit.out.weight"])[0] + w.get("unit.out.bias", np.zeros(1))[0]


def made(kind, softmax, rng):
    return random_weights(InterestAttention(4, [6, 5], "prelu", softmax, kind), rng)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("kind", OTHERS)
def test_weights(rng, double, kind, softmax):
    layer, (history, target, mask) = made(kind, softmax, rng), some(rng)
    w = reference.weights_of(layer)
    scale = {"dot": 1, "bilinear": 1, "cosine": 10}.get(kind, 0.5)  # 0.5 = 1/√4
    expected = np.zeros_like(mask)
    for row, real in enumerate(mask.sum(1).astype(int)):
        s = np.array([numpy_score(kind, w, e, target[row]) for e in history[row, :real]])
        if softmax and real:
            s = np.exp(scale * s) / np.exp(scale * s).sum()
        expected[row, :real] = s
    interest, got = layer(tensor(history), tensor(target), tensor(mask))
    close(got, expected, 1e-9)
    close(interest, np.einsum("bt,btd->bd", expected, history), 1e-8)
    for row in range(5):  # many targets of one history
        one = [tensor(history[[row]]), tensor(target), tensor(mask[[row]])]
        many = [tensor(np.repeat(x[[row]], 5, 0)) for x in (history, mask)]
        close(layer.rank(*one)[1], layer(many[0], tensor(target), many[1])[1], 1e-9)


@pytest.mark.parametrize("kind", [*SIMILARITIES, *MIXED])
def test_gradients(rng, double, kind):
    layer, (history, target, mask) = made(kind, True, rng), some(rng)
    h, v, weight = leaf(history), leaf(target), tensor(rng.normal(size=(5, 4)))
    read = {"history": h, **({} if kind == "own" else {"target": v})}
    reference.check_gradients(
        lambda: (layer(h, v, tensor(mask))[0] * weight).sum(),
        {**read, **dict(layer.named_parameters())},
        rng,
    )
    assert not h.grad.numpy()[mask == 0].any()


def test_one_event_has_all_the_weight_of_a_softmax():
    """A softmax over a single score is 1 whatever the score: it must run over the positions."""
    layer = InterestAttention(4, [6, 5], "relu", True, "concat")
    weight = layer(paddle.rand([3, 5, 4]), paddle.rand([3, 4]), paddle.ones([3, 5]))[1].numpy()
    close(weight.sum(1), np.ones(3), 1e-6)
    assert weight.max() < 1


@pytest.mark.parametrize("kind", OTHERS)
def test_invariants(kind):
    small = dict(embedding_size=3, attention_units=(6, 5), tower=(8, 4), activation="prelu")
    check_invariants(
        scramble(DIN(FIELDS, 1, attention_softmax=True, score=kind, **small), 5, 0.5), SCHEMA
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "cosine", "bilinear", "own", "outer"])
def test_export(tmp_path, data, kind):
    check_export(
        "din", data, tmp_path, *TINY_DIN, f"hyper_parameters.score={kind}", lengths=(0, 1, 20)
    )
