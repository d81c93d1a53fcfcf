"""models/rnn against NumPy float64 and finite differences; and the base model without history."""

import itertools

import numpy as np
import paddle.nn.functional as F
import pytest
import reference
from helpers import TINY, check_export, check_invariants, close, random_batch, scramble
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.base.net import Base
from models.rnn.net import CELLS, READ_OUTS, RNN, HistoryRNN, with_target

SMALL = dict(embedding_size=3, tower=(8, 4), activation="prelu")
SWITCHES = list(itertools.product(CELLS, READ_OUTS))


def numpy_step(cell, w, x, h, c):
    """One step of one row; Paddle's gates are r, z, c of a GRU and i, f, g, o of an LSTM."""
    a = w["weight_ih_l0"] @ x + w["bias_ih_l0"]
    b = w["weight_hh_l0"] @ h + w["bias_hh_l0"]
    if cell == "rnn":
        return np.tanh(a + b), c
    if cell == "gru":
        (ar, az, ac), (br, bz, bc) = np.split(a, 3), np.split(b, 3)
        r, z = reference.sigmoid(ar + br), reference.sigmoid(az + bz)
        return z * h + (1 - z) * np.tanh(ac + r * bc), c
    i, f, g, o = np.split(a + b, 4)
    c = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(g)
    return reference.sigmoid(o) * np.tanh(c), c


def numpy_run(cell, w, rows, lengths):
    last = []
    for row, length in zip(rows, lengths, strict=True):
        h = c = np.zeros(w["weight_hh_l0"].shape[1])
        for x in row[:length]:
            h, c = numpy_step(cell, w, x, h, c)
        last.append((h, c))
    return last


def part(w, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in w.items() if k.startswith(f"{prefix}.")}


def numpy_logits(net, cell, read_out, batch):
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    history = reference.embed(w, names, batch, "history")
    target = reference.embed(w, names, batch, "target")
    own = part(w, "rnn.cell")
    last = numpy_run(cell, own, history, (batch["history_item"] > 0).sum(1))
    h = np.array([state for state, _ in last])
    if read_out == "product":
        return (h * target).sum(1) + w["item_bias.weight"][batch["target_item"], 0]
    side = [w["embeddings.tables.age.weight"][batch["user_age"]]]
    side += [w["embeddings.tables.hour.weight"][batch["context_hour"]], batch["dense"]]
    if read_out == "target_step":
        pairs = zip(target, last, strict=True)
        read = [np.array([numpy_step(cell, own, v, *state)[0] for v, state in pairs])]
    else:
        read = [h, target]
    return reference.mlp("prelu", w, "tower.mlp", np.concatenate([*read, *side], 1))[:, 0]


def made(cell, read_out, seed=0, scale=0.5):
    net = scramble(RNN(FIELDS, 1, cell=cell, read_out=read_out, **SMALL), seed, scale)
    net.eval()
    return net


@pytest.mark.parametrize("cell, read_out", SWITCHES)
def test_logits(cell, read_out):
    net, batch = made(cell, read_out), random_batch(SCHEMA, 20, np.arange(20) % 9, seed=2)
    expected = numpy_logits(net, cell, read_out, batch)
    assert np.std(expected) > 0.1
    close(net(tensors(batch)), expected, 1e-5)
    close(net(tensors(batch)), net(tensors(batch)), 0)  # h_0 is 0, not drawn


@pytest.mark.parametrize("cell", CELLS)
def test_gradients(rng, double, cell):
    layer = random_weights(HistoryRNN(cell, 4), rng)
    mask = (np.arange(6) < np.array([1, 3, 6])[:, None]).astype(np.float64)
    x, v = leaf(rng.normal(size=(3, 6, 4))), leaf(rng.normal(size=(3, 4)))
    weight, real = tensor(rng.normal(size=(3, 4))), tensor(mask[..., None])
    reference.check_gradients(
        lambda: (layer(*with_target(x * real, tensor(mask), v)) * weight).sum(),
        {"x": x, "v": v, **dict(layer.named_parameters())},
        rng,
    )
    assert not x.grad.numpy()[mask == 0].any()


@pytest.mark.parametrize("cell, read_out", SWITCHES)
def test_every_parameter_gets_a_gradient(cell, read_out):
    net = scramble(RNN(FIELDS, 1, cell=cell, read_out=read_out, sparse=False, **SMALL), 1)
    net.train()
    batch = tensors(random_batch(SCHEMA, 100, np.arange(100) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        aside = read_out == "product" and name.split(".")[2:3] in (["age"], ["hour"])
        assert aside or np.abs(p.grad.numpy()).max() > 0, name


@pytest.mark.parametrize("cell, read_out", SWITCHES)
def test_invariants(cell, read_out):
    check_invariants(made(cell, read_out, seed=4, scale=0.5), SCHEMA)


@pytest.mark.parametrize("cell, read_out", SWITCHES)
def test_export(tmp_path, data, cell, read_out):
    own = [f"hyper_parameters.cell={cell}", f"hyper_parameters.read_out={read_out}"]
    own += ["hyper_parameters.embedding_size=8", "hyper_parameters.tower=[16,8]"]
    check_export("rnn", data, tmp_path, *TINY, *own, lengths=(0, 1, 20))


def test_base_without_history():
    net = scramble(Base(FIELDS, 1, history="none", **SMALL), 2)
    check_invariants(net, SCHEMA)
    batch = random_batch(SCHEMA, 8, 5)
    before, weight = net(tensors(batch), return_attention=True)
    batch["history_item"][:, :2] = 3
    close(net(tensors(batch)), before.numpy(), 0)
    assert not weight.numpy().any()


def test_base_without_history_exports(tmp_path, data):
    check_export("base", data, tmp_path, *TINY, "hyper_parameters.history=none", lengths=(0, 1, 9))
