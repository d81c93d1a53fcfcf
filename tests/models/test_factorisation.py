"""fm, nfm and afm against NumPy float64: every pair of fields by itself."""

import itertools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import TINY, check_export, check_invariants, close, random_batch, scramble
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.afm.net import AFM, PairAttention
from models.fm.net import FM
from models.nfm.net import NFM

SMALL = dict(tower=(8, 4), activation="prelu", item_bias=True)
NETS = {
    "fm": (FM, {}),
    "nfm": (NFM, SMALL),
    "nfm without linear terms": (NFM, {**SMALL, "linear": False}),
    "afm": (AFM, {"attention_size": 5}),
}


def made(name, seed=0, scale=0.4):
    kind, own = NETS[name]
    net = scramble(kind(FIELDS, 1, embedding_size=3, **own), seed, scale)
    net.eval()
    return net


def fields_of(w, batch):
    """The vectors of all fields, [B, F, E]: target, history's mean, user, context."""
    names = [f.name for f in SCHEMA.item_fields]
    real = batch["history_item"] > 0
    share = real / np.maximum(real.sum(1, keepdims=True), 1)
    tables = {f.name: w[f"embeddings.tables.{f.name}.weight"] for f in FIELDS}
    found = [tables[n][batch[f"target_{n}"]] for n in names]
    found += [np.einsum("bt,bte->be", share, tables[n][batch[f"history_{n}"]]) for n in names]
    found += [tables["age"][batch["user_age"]], tables["hour"][batch["context_hour"]]]
    return np.stack(found, 1), share


def linear_of(w, batch, share):
    total = batch["dense"].astype(np.float64) @ w["linear.dense.weight"][:, 0]
    for f in FIELDS:
        for of in ("target", "history") if f.of == "item" else (f.of,):
            x = w[f"linear.tables.{of}_{f.name}.weight"][batch[f"{of}_{f.name}"], 0]
            total = total + ((x * share).sum(1) if of == "history" else x)
    return total


def numpy_logits(name, net, batch):
    w = reference.weights_of(net)
    v, share = fields_of(w, batch)
    products = [v[:, i] * v[:, j] for i, j in itertools.combinations(range(v.shape[1]), 2)]
    p = np.stack(products, 1)  # [B, P, E]
    linear = 0.0 if name.endswith("without linear terms") else linear_of(w, batch, share)
    if name == "fm":
        return w["bias"][0] + linear + p.sum((1, 2))
    if name == "afm":
        hidden = np.maximum(p @ w["attention.hidden.weight"] + w["attention.hidden.bias"], 0)
        s = (hidden @ w["attention.out.weight"])[..., 0]
        a = np.exp(s) / np.exp(s).sum(1, keepdims=True)
        return w["bias"][0] + linear + np.einsum("bp,bpe,e->b", a, p, w["p"])
    x = np.concatenate([p.sum(1), batch["dense"].astype(np.float64)], 1)
    bias = w["tower.item_bias.weight"][batch["target_item"], 0]
    return linear + reference.mlp("prelu", w, "tower.mlp", x)[:, 0] + bias


@pytest.mark.parametrize("name", NETS)
def test_logits(name):
    net, batch = made(name), random_batch(SCHEMA, 30, np.arange(30) % 13, seed=2)
    expected = numpy_logits(name, net, batch)
    assert np.std(expected) > 0.2
    logit, weight = net(tensors(batch), return_attention=True)
    close(logit, expected, 1e-5)
    close(weight.sum(1), (np.arange(30) % 13 > 0).astype(float), 1e-6)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_gets_a_gradient(name):
    kind, own = NETS[name]
    net = scramble(kind(FIELDS, 1, embedding_size=3, sparse=False, **own), 1)
    net.train()
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for parameter, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, parameter


def test_gradients_of_the_pairs_attention(rng, double):
    layer, v = random_weights(PairAttention(4, 3), rng), leaf(rng.normal(size=(5, 6, 4)))
    weight = tensor(rng.normal(size=(5, 4)))
    read = {"v": v, **dict(layer.named_parameters())}
    reference.check_gradients(lambda: (layer(v)[0] * weight).sum(), read, rng)


def test_the_softmax_runs_over_the_pairs(rng):
    """Over one score it would be 1 for every row, and its weights would not learn."""
    layer = random_weights(PairAttention(4, 3), rng)
    _, a = layer(tensor(rng.normal(size=(5, 6, 4)).astype(np.float32)))
    assert list(a.shape) == [5, 15]
    close(a.sum(1), np.ones(5), 1e-6)
    assert a.numpy().std(0).max() > 0.01


@pytest.mark.parametrize("name", NETS)
def test_training_starts_near_zero(name):
    kind, own = NETS[name]
    paddle.seed(1)
    net = kind(FIELDS, 1, embedding_size=8, **own)
    batch = random_batch(SCHEMA, 200, np.arange(200) % 9)
    assert np.abs(net(tensors(batch)).numpy()).max() < 1


@pytest.mark.parametrize("name", NETS)
def test_invariants(name):
    check_invariants(made(name, seed=3), SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fm", "nfm", "afm"])
def test_export(tmp_path, data, model):
    check_export(model, data, tmp_path, *TINY, lengths=(0, 1, 2, 20))
