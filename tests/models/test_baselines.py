"""models/wide_deep, deepfm and pnn against NumPy float64 written out pair by pair, gradients, and
the invariants."""

import itertools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import (
    TINY,
    check_export,
    check_invariants,
    check_saving,
    close,
    random_batch,
    scramble,
    settings_of,
)
from toy import FIELDS, SCHEMA, tensors

from models.deepfm.net import DeepFM
from models.pnn.net import PNN
from models.wide_deep.net import PRIME, STEP, WideDeep
from paddleinterest.core.errors import InputError
from paddleinterest.nets import pooled as shared
from paddleinterest.nets.regularization import MiniBatchAwareRegularization
from paddleinterest.training import loading

NETS = {
    "wide_deep": (WideDeep, {"cross": 0}),
    "wide_deep cross": (WideDeep, {"cross": 50}),
    "wide_deep pairs": (WideDeep, {"cross": 0, "cross_pairs": 60}),
    "deepfm": (DeepFM, {}),
    "deepfm vector": (DeepFM, {"fm": "vector"}),
    "pnn inner": (PNN, {"product": "inner"}),
    "pnn outer": (PNN, {"product": "outer"}),
    "pnn both": (PNN, {"product": "both"}),
}
ITEM = [f.name for f in SCHEMA.item_fields]
SIDE = [(of, f.name) for of in ("user", "context") for f in SCHEMA.categories(of)]


@pytest.fixture(params=NETS)
def name(request):
    return request.param


def made(name, seed=0, scale=0.4, fields=FIELDS, dense=1, **kw):
    """A net of which every weight matters, the linear tables' padding rows too: they must never be
    read."""
    layer, own = NETS[name]
    kw = {"activation": "dice", "embedding_size": 3, "tower": (8, 4), **own, **kw}
    net = scramble(layer(fields, dense, **kw), seed, scale)
    net.eval()
    return net


def crossed_pairs(table, batch, r, real):
    """Σ over all pairs of fields of their weight, or of its mean over the events of the history."""
    keys = [f"{of}_{n}" for n in ITEM for of in ("target", "history")]
    keys += [f"{of}_{n}" for of, n in SIDE]
    total = 0.0
    for number, pair in enumerate(itertools.combinations(keys, 2)):
        past = any(k.startswith("history_") for k in pair)
        for j in real if past else [0]:
            a, b = (int(batch[k][r, j] if k.startswith("history_") else batch[k][r]) for k in pair)
            weight = table[1 + (a * PRIME + b + number * STEP % PRIME) % 60]
            total += weight / len(real) if past else weight
    return total


def expected(net, name, batch, kind="dice"):
    """Logits [B], one row and one pair at a time."""
    w, out = reference.weights_of(net), []
    for r in range(len(batch["target_item"])):
        real = np.flatnonzero(batch["history_item"][r])
        vectors = [w[f"embeddings.tables.{n}.weight"][batch[f"target_{n}"][r]] for n in ITEM]
        for n in ITEM:
            events = [w[f"embeddings.tables.{n}.weight"][batch[f"history_{n}"][r, j]] for j in real]
            vectors.append(sum(events) / len(events) if events else np.zeros_like(vectors[0]))
        vectors += [w[f"embeddings.tables.{n}.weight"][batch[f"{of}_{n}"][r]] for of, n in SIDE]
        dense, pairs = (
            batch["dense"][r].astype(np.float64),
            list(itertools.combinations(vectors, 2)),
        )
        products, logit = [], 0.0
        if name.startswith("pnn") and "outer" not in name:
            products += [a @ b for a, b in pairs]
        if name.startswith("pnn") and "inner" not in name:
            products += list(
                sum(np.outer(a, b) for a in vectors for b in vectors).ravel()
            )  # each pair, superposed
        if name.startswith("deepfm"):
            logit += sum(((a * b) @ w.get("p", np.ones((len(a), 1)))).item() for a, b in pairs)
        if not name.startswith("pnn"):
            logit += sum(
                w[f"linear.tables.target_{n}.weight"][batch[f"target_{n}"][r], 0] for n in ITEM
            )
            logit += sum(
                w[f"linear.tables.{of}_{n}.weight"][batch[f"{of}_{n}"][r], 0] for of, n in SIDE
            )
            for n in ITEM:
                logit += sum(
                    w[f"linear.tables.history_{n}.weight"][batch[f"history_{n}"][r, j], 0]
                    for j in real
                ) / max(1, len(real))
        if name.startswith("wide_deep"):
            logit += dense @ w["linear.dense.weight"][:, 0]
        if name == "wide_deep cross":
            for n in ITEM:
                logit += sum(
                    w[f"crosses.tables.{n}.weight"][
                        1
                        + (int(batch[f"history_{n}"][r, j]) * PRIME + int(batch[f"target_{n}"][r]))
                        % 50,
                        0,
                    ]
                    for j in real
                ) / max(1, len(real))
        if name == "wide_deep pairs":
            logit += crossed_pairs(w["pairs.table.weight"][:, 0], batch, r, real)
        x = np.concatenate([*vectors, dense, products])
        logit += reference.mlp(kind, w, "tower.mlp", x[None])[0, 0]
        if "tower.item_bias.weight" in w:
            logit += w["tower.item_bias.weight"][batch["target_item"][r], 0]
        out.append(logit)
    return np.array(out)


@pytest.mark.parametrize("kind", ["relu", "prelu", "dice"])
def test_against_the_formulas(name, kind):
    """Histories of all lengths, empty ones among them; the weights are 1/n at real positions."""
    net, batch = (
        made(name, activation=kind, item_bias=True),
        random_batch(SCHEMA, 40, np.arange(40) % 13, seed=2),
    )
    logit, weight = net(tensors(batch), return_attention=True)
    right = expected(net, name, batch, kind)
    assert np.std(right) > 0.2
    close(logit, right, 1e-5)
    real = batch["history_item"] != 0
    close(weight, real / np.maximum(real.sum(1, keepdims=True), 1), 1e-7)


def test_gradients(name, monkeypatch):
    """Of every parameter, by finite differences in float64."""
    monkeypatch.setattr(
        shared, "history_mask", lambda batch: (batch["history_item"] != 0).astype("float64")
    )
    net = made(name, sparse=False, item_bias=True)
    net.to(dtype="float64")
    batch = random_batch(SCHEMA, 12, np.arange(12) % 7, seed=4)
    batch["dense"] = batch["dense"].astype(np.float64)
    batch, rng = tensors(batch), np.random.default_rng(3)
    weight = paddle.to_tensor(rng.normal(size=12))
    reference.check_gradients(
        lambda: (net(batch) * weight).sum(), dict(net.named_parameters()), rng
    )


def test_every_parameter_is_registered_and_gets_a_gradient(name):
    net = made(name, sparse=False, dropout=0.1)
    names = {f"embeddings.tables.{f.name}.weight" for f in FIELDS}
    names |= {
        f"tower.mlp.{layer}.{own}"
        for layer in ("hidden.0", "hidden.1", "out")
        for own in ("weight", "bias")
    }
    names |= {f"tower.mlp.activations.{k}.dice.alpha" for k in (0, 1)}
    if not name.startswith("pnn"):
        names |= {f"linear.tables.{of}_{n}.weight" for of, n in SIDE}
        names |= {f"linear.tables.{of}_{n}.weight" for of in ("target", "history") for n in ITEM}
    names |= {"linear.dense.weight"} if name.startswith("wide_deep") else set()
    names |= {f"crosses.tables.{n}.weight" for n in ITEM} if name == "wide_deep cross" else set()
    names |= {"wide_deep pairs": {"pairs.table.weight"}, "deepfm vector": {"p"}}.get(name, set())
    assert {k for k, _ in net.named_parameters()} == names
    net.train()
    paddle.seed(1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for key, p in net.named_parameters():
        gradient = p.grad.numpy()
        assert np.abs(gradient).max() > 0, f"{key} gets no gradient"
        if ".tables." in key:
            assert not gradient[0].any(), f"{key}: padding gets a gradient"


def trained(net, batches):
    """Weights after a few steps of lazy Adam on sparse tables, with DIN's regularisation."""
    net.train()
    adam = paddle.optimizer.Adam(0.01, parameters=net.parameters(), lazy_mode=True)
    penalty = MiniBatchAwareRegularization({f.name: np.ones(f.size) for f in FIELDS}, 0.1)
    for batch in batches:
        batch = tensors(batch)
        (
            F.binary_cross_entropy_with_logits(net(batch), batch["label"])
            + penalty(net.embeddings, batch)
        ).backward()
        adam.step()
        adam.clear_grad()
    return {k: v.numpy() for k, v in net.state_dict().items()}


def test_padding_leaves_no_trace_in_training(name):
    batches = [random_batch(SCHEMA, 6, [0, 1, 2, 3, 4, 5], seed=k) for k in range(4)]
    wider = [
        {k: np.pad(v, ((0, 0), (0, 9))) if k.startswith("history_") else v for k, v in b.items()}
        for b in batches
    ]
    start = {k: v.numpy() for k, v in made(name).state_dict().items()}
    one, other = trained(made(name), batches), trained(made(name), wider)
    for key in one:
        close(one[key], other[key], 2e-5)
        if ".tables." in key:
            close(one[key][0], start[key][0], 0)
    assert any(np.abs(one[k] - start[k]).max() > 0.01 for k in one)


@pytest.mark.parametrize(
    "fields, dense", [(["item"], 0), (["item", "category"], 0), (["item", "hour"], 1)]
)
def test_other_columns(name, fields, dense):
    """A dataset of one item field is the least; no user, context or dense column."""
    net = made(name, fields=[f for f in FIELDS if f.name in fields], dense=dense)
    batch = random_batch(SCHEMA, 5, [0, 1, 2, 3, 3])
    batch = {
        k: v for k, v in batch.items() if k.partition("_")[2] in fields or dense and k == "dense"
    }
    assert net(tensors(batch)).shape == [5]


def test_empty_histories(name):
    """Alone in a batch they give finite logits and gradients."""
    net, batch = made(name, sparse=False), random_batch(SCHEMA, 6, 0, seed=1)
    logit, weight = net(tensors(batch), return_attention=True)
    close(logit, expected(net, name, batch), 1e-5)
    assert not weight.numpy().any()
    logit.sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())


def test_padding_batch_mates_and_batch_size(name):
    check_invariants(made(name, seed=3, scale=0.6), SCHEMA)


@pytest.mark.parametrize("length", [0, 1, 8])
def test_rank_is_forward_repeated(name, length):
    net, batch = made(name, item_bias=True), random_batch(SCHEMA, 7, length, seed=6)
    shared_by_all = {
        k: v[:1] if k.startswith(("history_", "user_", "context_")) else v for k, v in batch.items()
    }
    repeated = {k: np.repeat(v, 7, 0) if len(v) == 1 else v for k, v in shared_by_all.items()}
    logit, weight = net.rank(tensors(shared_by_all), return_attention=True)
    right, weights = net(tensors(repeated), return_attention=True)
    close(logit, right.numpy(), 1e-6)
    close(weight, weights.numpy(), 0)
    close(net.rank(tensors(shared_by_all)), logit.numpy(), 0)


def test_crosses_tell_pairs_apart():
    """With room for them no two pairs share a bucket, padding has its own, and large ids do not
    overflow."""
    crosses, lookups = made("wide_deep cross", cross=10_007).crosses, []
    crosses.names = ["item"]
    crosses.tables["item"].register_forward_pre_hook(
        lambda _, inputs: lookups.append(inputs[0].numpy())
    )
    ids = np.arange(40)
    batch = {"history_item": np.tile(ids, (40, 1)), "target_item": ids}
    crosses(tensors(batch), paddle.ones([40, 40]))
    assert (lookups[0][:, 0] == 0).all() and len(np.unique(lookups[0][:, 1:])) == 40 * 39
    batch = {"history_item": np.array([[300_000_019]]), "target_item": np.array([299_999_999])}
    crosses(tensors(batch), paddle.ones([1, 1]))
    assert lookups[1] == (300_000_019 * PRIME + 299_999_999) % 10_007 + 1


@pytest.mark.parametrize(
    "model, key, value, words",
    [
        ("pnn", "product", "middle", "inner.*outer.*both"),
        ("wide_deep", "cross", -1, "must be at least 0"),
    ],
)
def test_wrong_settings(model, key, value, words):
    with pytest.raises(InputError, match=words):
        settings_of(model, f"hyper_parameters.{key}={value}")
    config = settings_of(model)
    config.hyper_parameters.__dict__[key] = value  # unchecked: the net has its own check
    with pytest.raises(InputError, match=words):
        loading.create_net(loading.bind(config), config, SCHEMA)


def overrides(name):
    return [
        name.split()[0],
        [*TINY, *(f"hyper_parameters.{k}={v}" for k, v in NETS[name][1].items())],
    ]


def test_saving_and_loading(tmp_path, data, name):
    model, settings = overrides(name)
    check_saving(model, data, tmp_path, *settings)


@pytest.mark.slow
def test_export(tmp_path, data, name):
    model, settings = overrides(name)
    check_export(
        model,
        data,
        tmp_path,
        *settings,
        "hyper_parameters.item_bias=true",
        lengths=(0, 1, 2, 20, 50),
    )


@pytest.mark.parametrize("name", NETS)
def test_training_starts_with_logits_near_zero(name):
    """Every linear term starts at 0: no dense column makes noise of its own at the first step."""
    kind, own = NETS[name]
    paddle.seed(1)
    net = kind(FIELDS, 1, embedding_size=8, tower=(16, 8), activation="relu", **own)
    batch = random_batch(SCHEMA, 200, np.arange(200) % 9)
    batch["dense"][:] = 0
    quiet = net(tensors(batch)).numpy()
    batch["dense"][:] = 30
    linear = getattr(net, "linear", None)
    if linear is not None:
        x, weight = net.embeddings(tensors(batch))
        assert not linear(tensors(batch), weight).numpy().any()
    assert np.abs(quiet).max() < 0.1
