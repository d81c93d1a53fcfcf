"""models/rnn against NumPy float64 and finite differences; and the base model without history."""

import itertools

import numpy as np
import paddle.nn.functional as F
import pytest
import reference
from helpers import (
    TINY,
    check_export,
    check_invariants,
    check_no_leak,
    close,
    random_batch,
    scramble,
    settings_of,
)
from runs import lines, ran
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.base.net import Base
from models.rnn.net import CELLS, READ_OUTS, RNN, HistoryRNN, with_target
from paddleinterest.data.schema import Schema
from paddleinterest.nets.next_item import KINDS
from paddleinterest.training import loading

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
    layer = random_weights(HistoryRNN(cell, 4, 4), rng)
    mask = (np.arange(6) < np.array([1, 3, 6])[:, None]).astype(np.float64)
    x, v = leaf(rng.normal(size=(3, 6, 4))), leaf(rng.normal(size=(3, 4)))
    weight, real = tensor(rng.normal(size=(3, 4))), tensor(mask[..., None])
    reference.check_gradients(
        lambda: (layer(*with_target(x * real, tensor(mask), v))[1] * weight).sum(),
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_base_without_history_exports(tmp_path, data):
    check_export("base", data, tmp_path, *TINY, "hyper_parameters.history=none", lengths=(0, 1, 9))


# the loss on the next item


def learning(next_item, read_out="tower", cell="gru", **kw):
    net = RNN(FIELDS, 1, cell=cell, read_out=read_out, next_item=next_item, **SMALL, **kw)
    return scramble(net, 6, 0.5)


def with_negatives(batch, seed=9):
    rng = np.random.default_rng(seed)
    for f in SCHEMA.item_fields:
        drawn = rng.integers(1, f.size, batch["history_item"].shape)
        batch[f"negative_{f.name}"] = np.where(batch["history_item"] > 0, drawn, 0)
    return batch


@pytest.mark.parametrize("read_out", READ_OUTS)
@pytest.mark.parametrize("next_item", KINDS)
def test_the_next_item_changes_no_logit(next_item, read_out):
    net = learning(next_item, read_out)
    batch = tensors(with_negatives(random_batch(SCHEMA, 20, np.arange(20) % 9)))
    logit, term = net.forward_train(batch)
    close(logit, net(batch).numpy(), 0)
    assert term.count.item() == (np.maximum(np.arange(20) % 9, 1) - 1).sum()
    assert term.mean.item() > 0.5


@pytest.mark.parametrize("next_item", KINDS)
def test_every_parameter_gets_a_gradient_of_the_next_item(next_item):
    net = learning(next_item, sparse=False)
    batch = tensors(with_negatives(random_batch(SCHEMA, 100, np.arange(100) % 9)))
    logit, term = net.forward_train(batch)
    (F.binary_cross_entropy_with_logits(logit, batch["label"]) + term.mean).backward()
    for name, p in net.named_parameters():
        assert np.abs(p.grad.numpy()).max() > 0, name


@pytest.mark.parametrize("read_out", READ_OUTS)
@pytest.mark.parametrize("next_item", KINDS)
def test_a_later_item_changes_no_earlier_term(next_item, read_out):
    check_no_leak(learning(next_item, read_out), with_negatives(random_batch(SCHEMA, 6, 7)))


def test_the_loss_is_the_click_and_the_next_item(data):
    """λ times the term of the next item is added, and it is logged by itself."""
    settings = ["hyper_parameters.next_item=full", "hyper_parameters.next_item_weight=0.25"]
    config = settings_of("rnn", *TINY, *settings, f"runner.data_dir={data}")
    binding, schema = loading.bind(config), Schema.load(data)
    net = scramble(loading.create_net(binding, config, schema), 3)
    feeds = tensors(random_batch(schema, 20, np.arange(20) % 9))
    total, _, parts = binding.train_forward(net, feeds)
    assert parts.keys() == {"loss", "next_item"}
    close(total.item(), parts["loss"].item() + 0.25 * parts["next_item"].item(), 1e-6)
    config = settings_of("rnn", *TINY, settings[0], "hyper_parameters.next_item_weight=0")
    binding = loading.bind(config)
    net = loading.create_net(binding, config, schema)
    assert binding.train_forward(net, feeds)[2].keys() == {"loss"}


@pytest.mark.slow
@pytest.mark.parametrize("next_item", KINDS)
def test_training_with_the_next_item(tmp_path, data, next_item):
    """The readers give what each kind needs; the term falls."""
    own = [f"hyper_parameters.next_item={next_item}", "runner.epochs=2", "runner.early_stop=0"]
    _, folder, _ = ran(data, tmp_path, *own, model="rnn")
    terms = [line["train"]["next_item"] for line in lines(folder) if "train" in line]
    assert len(terms) == 2 and terms[1] < terms[0]


@pytest.mark.slow
def test_export_of_a_net_that_names_the_next_item(tmp_path, data):
    own = [*TINY, "hyper_parameters.next_item=full"]
    check_export("rnn", data, tmp_path, *own, lengths=(0, 1, 20))
