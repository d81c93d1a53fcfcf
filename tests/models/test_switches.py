"""Switches that follow the authors' code: AUGRU's gate in DIEN, the history's sum in DIN."""

import numpy as np
import paddle
import pytest
import reference
from helpers import TINY, TINY_DIN, check_export, check_invariants, close, random_batch, scramble
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.dien.net import DIEN, CodeAUGRUCell, InterestEvolution
from models.din.net import DIN


def numpy_run(w, states, a, mask):
    """The authors' cell, from TensorFlow's gate: z keeps the state, and (1 − a)·z of it is kept."""
    h = np.zeros((len(states), len(w["U_h"])))
    for t in range(states.shape[1]):
        i = states[:, t]
        r = reference.sigmoid(i @ w["W_r"] + h @ w["U_r"] + w["b_r"])
        z = 1 - reference.sigmoid(i @ w["W_u"] + h @ w["U_u"] + w["b_u"])
        candidate = np.tanh(i @ w["W_h"] + w["b_h"] + r * (h @ w["U_h"] + w["d_h"]))
        keep = (1 - a[:, [t]]) * z
        moved = keep * h + (1 - keep) * candidate
        h = np.where(mask[:, [t]] > 0, moved, h)
    return h


def some(rng):
    mask = (np.arange(7) < np.array([0, 1, 3, 5, 7, 7])[:, None]).astype(np.float64)
    states = rng.normal(size=(6, 7, 5))
    states[mask == 0] = 9.0
    return states, rng.random((6, 7)) * mask, mask


def test_the_gate_of_the_authors_code(rng, double):
    evolution, (states, a, mask) = (
        InterestEvolution(random_weights(CodeAUGRUCell(5, 4), rng)),
        some(rng),
    )
    w = {k.removeprefix("cell."): v for k, v in reference.weights_of(evolution).items()}
    close(evolution(tensor(states), tensor(a), tensor(mask)), numpy_run(w, states, a, mask), 1e-12)


def test_its_gradients(rng, double):
    evolution, (states, a, mask) = (
        InterestEvolution(random_weights(CodeAUGRUCell(5, 4), rng)),
        some(rng),
    )
    states, a, weight = leaf(states), leaf(a), tensor(rng.normal(size=(6, 4)))
    reference.check_gradients(
        lambda: (evolution(states, a, tensor(mask)) * weight).sum(),
        {"states": states, "a": a, **dict(evolution.named_parameters())},
        rng,
    )
    assert not states.grad.numpy()[mask == 0].any()


def test_without_attention_it_is_a_gru_and_with_all_of_it_it_overwrites(rng):
    cell = random_weights(CodeAUGRUCell(5, 4), rng)
    i, h = (tensor(rng.normal(size=(3, n)).astype(np.float32)) for n in (5, 4))
    projected = cell.project(i)
    u = paddle.nn.functional.sigmoid(paddle.addmm(projected[2], h, cell.U_u))
    close(cell.gate(projected, h, paddle.zeros([3, 4])), u.numpy(), 1e-6)
    close(cell.gate(projected, h, paddle.ones([3, 4])), np.ones((3, 4)), 1e-6)


def dien():
    small = dict(embedding_size=3, tower=(8, 4), activation="prelu")
    return scramble(DIEN(FIELDS, 1, evolution="augru_code", **small), 3, 0.5)


def din(**kw):
    small = dict(embedding_size=3, attention_units=(6, 5), tower=(8, 4), activation="prelu")
    return scramble(DIN(FIELDS, 1, history_sum=True, **small, **kw), 3)


@pytest.mark.parametrize("made", [dien, din])
def test_invariants(made):
    check_invariants(made(), SCHEMA)


def test_the_sum_and_its_product_with_the_target():
    """The tower's first layer reads them last, after interest, target and side features."""
    net, batch = din(), random_batch(SCHEMA, 20, np.arange(20) % 9)
    net.eval()
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    seen = []
    net.tower.register_forward_pre_hook(lambda layer, inputs: seen.extend(inputs[0]))
    net(tensors(batch))
    history = reference.embed(w, names, batch, "history")
    target = reference.embed(w, names, batch, "target")
    total = ((batch["history_item"] > 0)[..., None] * history).sum(1)
    close(seen[-2], total, 1e-5)
    close(seen[-1], target * total, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, settings",
    [
        ("din", [*TINY_DIN, "hyper_parameters.history_sum=true"]),
        ("dien", [*TINY, "hyper_parameters.evolution=augru_code"]),
    ],
)
def test_export(tmp_path, data, model, settings):
    check_export(model, data, tmp_path, *settings, lengths=(0, 1, 2, 20))
