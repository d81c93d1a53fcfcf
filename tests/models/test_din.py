"""models/din against NumPy float64, finite differences, the mistakes that others made, and the
invariants of every net."""

import itertools
import math

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import (
    TINY_DIN,
    check_export,
    check_invariants,
    check_saving,
    close,
    random_batch,
    scramble,
    settings_of,
)
from toy import FIELDS, OF_ACTIVATION, SCHEMA, tensor, tensors

from models.din.dygraph_model import DygraphModel
from models.din.net import DIN, InterestAttention, LocalActivationUnit

SWITCHES = list(itertools.product(["relu", "prelu", "dice"], [False, True]))
SMALL = dict(embedding_size=3, attention_units=(6, 5), tower=(8, 4))


def made(activation="dice", softmax=False, seed=0, **kw):
    """A net of which every weight matters: random values in place of the start values."""
    net = scramble(
        DIN(FIELDS, 1, activation=activation, attention_softmax=softmax, **{**SMALL, **kw}), seed
    )
    net.eval()
    return net


def double_unit(kind, rng, layer=LocalActivationUnit, width=4, **kw):
    """The unit (or the attention around it) in float64 with random weights."""
    unit = layer(width, [6, 5], kind, **kw)
    for name, t in unit.state_dict().items():
        t.set_value(
            rng.random(t.shape) + 0.5 if name.endswith("variance") else rng.normal(0, 0.7, t.shape)
        )
    unit.eval()
    return unit


def some_history(rng, rows=5, length=7, width=4):
    """history, target, mask: lengths 0, 1, full and others; what stands at padded positions is
    large and must not matter."""
    mask = (
        np.arange(length) < np.r_[0, 1, length, rng.integers(2, length, rows - 3)][:, None]
    ).astype(np.float64)
    history = rng.normal(size=(rows, length, width))
    history[mask == 0] = 7.0
    return history, rng.normal(size=(rows, width)), mask


# the local activation unit


@pytest.mark.parametrize("kind", ["relu", "prelu", "dice"])
def test_activation_unit(rng, double, kind):
    unit, (history, target, mask) = double_unit(kind, rng), some_history(rng)
    w = {f"u.{k}": v for k, v in reference.weights_of(unit).items()}
    got = unit(tensor(history), tensor(target), tensor(mask)).numpy()
    close(got, reference.activation_unit(kind, w, "u", history, target), 1e-12)


def test_factored_first_layer_is_the_literal_concatenation(rng, double):
    unit, (e, target, _) = double_unit("relu", rng), some_history(rng)
    v = np.repeat(target[:, None], e.shape[1], 1)
    literal = (
        np.concatenate([e, v, e - v, e * v], -1) @ unit.linears[0].weight.numpy()
        + unit.linears[0].bias.numpy()
    )
    close(unit.first_layer(tensor(e), tensor(target)), literal, 1e-12)


@pytest.mark.parametrize("kind", ["relu", "prelu", "dice"])
def test_activation_unit_gradients(rng, double, kind):
    """Of every parameter, the history and the target; Dice in training, where the statistics hang
    on the scores too."""
    unit, (history, target, mask) = double_unit(kind, rng), some_history(rng)
    unit.train()
    h, t = tensor(history, stop_gradient=False), tensor(target, stop_gradient=False)
    weight = tensor(rng.normal(size=mask.shape) * mask)
    reference.check_gradients(
        lambda: (unit(h, t, tensor(mask)) * weight).sum(),
        {"history": h, "target": t, **dict(unit.named_parameters())},
        rng,
    )
    assert not h.grad.numpy()[mask == 0].any()  # the sparse tables rely on this


@pytest.mark.parametrize("kind", ["relu", "dice"])
def test_many_targets_of_one_history(rng, double, kind):
    """`rank` is `forward` with the history repeated."""
    unit, (history, _, _) = double_unit(kind, rng), some_history(rng)
    targets = rng.normal(size=(9, 4))
    repeated = np.repeat(history[2:3], 9, 0)
    close(
        unit.rank(tensor(history[2]), tensor(targets)),
        unit(tensor(repeated), tensor(targets), paddle.ones([9, 7], "float64")),
        1e-12,
    )


# attention


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_attention(rng, double, kind, softmax):
    layer, (history, target, mask) = (
        double_unit(kind, rng, InterestAttention, softmax=softmax),
        some_history(rng),
    )
    w = reference.weights_of(layer)
    weight = reference.attention_weights(
        reference.activation_unit(kind, w, "unit", history, target), mask, softmax, 4
    )
    interest, got = layer(tensor(history), tensor(target), tensor(mask))
    close(got, weight, 1e-12)
    close(interest, np.einsum("bt,btd->bd", weight, history), 1e-11)
    assert (got.numpy()[mask == 0] == 0).all() and (got.numpy()[mask == 1] != 0).all()
    assert (interest.numpy()[0] == 0).all()  # an empty history is the zero vector
    sums = got.numpy().sum(1)[1:]
    assert np.allclose(sums, 1) if softmax else np.abs(sums - 1).max() > 0.05


def test_softmax_divides_by_the_root_of_the_width_then_masks(rng, double):
    """Equal scores but one: a width of 16 divides it by 4. What stands at padding takes no
    share."""
    layer = InterestAttention(16, [2], "relu", softmax=True)
    layer.unit.forward = lambda history, target, mask: tensor(np.array([[4.0, 0.0, 1e6]]))
    _, weight = layer(
        paddle.ones([1, 3, 16]), paddle.ones([1, 16]), tensor(np.array([[1.0, 1.0, 0.0]]))
    )
    close(weight, [[math.e / (math.e + 1), 1 / (math.e + 1), 0]], 1e-12)


@pytest.mark.parametrize("softmax", [False, True])
def test_empty_histories_have_finite_gradients(rng, softmax):
    net = made("dice", softmax, sparse=False)
    net.train()
    batch = tensors(random_batch(SCHEMA, 4, [0, 0, 3, 0]))
    loss = net(batch).sum()
    loss.backward()
    assert np.isfinite(loss.item())
    for name, p in net.named_parameters():
        assert np.isfinite(p.grad.numpy()).all(), name
    net.clear_gradients()
    loss = net(tensors(random_batch(SCHEMA, 3, 0))).sum()  # none has a history
    loss.backward()
    assert np.isfinite(loss.item())
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("softmax", [False, True])
def test_attention_of_many_targets(rng, double, softmax):
    layer, (history, _, mask) = (
        double_unit("prelu", rng, InterestAttention, softmax=softmax),
        some_history(rng),
    )
    targets = rng.normal(size=(6, 4))
    for row in (0, 1, 2):  # empty, one event, full
        h, m = history[row : row + 1], mask[row : row + 1]
        for a, b in zip(
            layer.rank(tensor(h), tensor(targets), tensor(m)),
            layer(tensor(np.repeat(h, 6, 0)), tensor(targets), tensor(np.repeat(m, 6, 0))),
            strict=True,
        ):
            close(a, b, 1e-11)


# the whole net


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_din(kind, softmax):
    net = made(kind, softmax, item_bias=True)
    batch = random_batch(SCHEMA, 30, np.arange(30) % 13, seed=2)
    logit, weight = net(tensors(batch), return_attention=True)
    expected, attention = reference.logits(
        net, SCHEMA, batch, kind, "softmax" if softmax else "sum"
    )
    assert np.std(expected) > 0.2
    close(logit, expected, 1e-5)
    close(weight, attention, 1e-5)
    close(logit, net(tensors(batch)), 0)


EXPECTED_PARAMETERS = {
    "attention.unit.linears.0.weight": [24, 6],
    "attention.unit.linears.0.bias": [6],
    "attention.unit.linears.1.weight": [6, 5],
    "attention.unit.linears.1.bias": [5],
    "attention.unit.out.weight": [5, 1],
    "attention.unit.out.bias": [1],
    "tower.mlp.hidden.0.weight": [6 + 6 + 6 + 1, 8],
    "tower.mlp.hidden.0.bias": [8],
    "tower.mlp.hidden.1.weight": [8, 4],
    "tower.mlp.hidden.1.bias": [4],
    "tower.mlp.out.weight": [4, 1],
    "tower.mlp.out.bias": [1],
    "tower.item_bias.weight": [40, 1],
    **{f"embeddings.tables.{f.name}.weight": [f.size, 3] for f in FIELDS},
}


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_every_parameter_is_registered_trained_and_moved(kind, softmax):
    """The names are written out, because a list of layers that is no LayerList is missing from
    parameters()."""
    net = made(kind, softmax, sparse=False, item_bias=True, dropout=0.1)
    shapes = {**EXPECTED_PARAMETERS}
    if softmax:  # which a bias of the score would not change
        del shapes["attention.unit.out.bias"]
    for place, widths in (("attention.unit", (6, 5)), ("tower.mlp", (8, 4))):
        shapes.update(
            {
                f"{place}.activations.{k}.{own}": [width]
                for k, width in enumerate(widths)
                for own in OF_ACTIVATION[kind]
            }
        )
    assert {k: list(p.shape) for k, p in net.named_parameters()} == shapes
    net.train()
    paddle.seed(1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    before = {k: p.numpy().copy() for k, p in net.named_parameters()}
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, f"{name} gets no gradient"
    config = settings_of(
        "din", "hyper_parameters.sparse=false", "hyper_parameters.optimizer.learning_rate=0.01"
    )
    DygraphModel().create_optimizer(net, config).step()
    for name, p in net.named_parameters():
        assert np.abs(p.numpy() - before[name]).max() > 1e-4, f"{name} does not move"


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_sparse_tables_get_the_same_gradients(kind, softmax):
    batch, moved = tensors(random_batch(SCHEMA, 40, np.arange(40) % 9)), []
    for sparse in (False, True):
        net = made(kind, softmax, sparse=sparse, item_bias=True)
        net.train()
        F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
        before = {k: p.numpy().copy() for k, p in net.named_parameters()}
        paddle.optimizer.SGD(1.0, parameters=net.parameters()).step()
        moved.append({k: p.numpy() - before[k] for k, p in net.named_parameters()})
    for name in moved[0]:
        close(moved[1][name], moved[0][name], 1e-6)
    for name in ("item", "category"):
        assert not moved[1][f"embeddings.tables.{name}.weight"][0].any()  # padding


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_padding_changes_nothing_in_training_either(kind, softmax):
    """Neither the logits, nor the gradients, nor the statistics that Dice keeps."""
    batch, seen = random_batch(SCHEMA, 12, np.arange(12) % 6), []
    for extra in (0, 9):
        net = made(kind, softmax, sparse=False)
        net.train()
        logit = net(
            tensors(
                {
                    k: np.pad(v, ((0, 0), (0, extra))) if k.startswith("history_") else v
                    for k, v in batch.items()
                }
            )
        )
        logit.sum().backward()
        seen.append(
            {
                "logit": logit.numpy(),
                **{k: v.numpy() for k, v in net.state_dict().items()},
                **{f"{k}'": p.grad.numpy() for k, p in net.named_parameters()},
            }
        )
    for name in seen[0]:
        close(seen[1][name], seen[0][name], 2e-5)


def test_history_and_target_share_one_table():
    net = made(sparse=False)
    batch = random_batch(SCHEMA, 1, 1)
    batch["history_item"][:], batch["target_item"][:] = 7, 9
    net(tensors(batch)).sum().backward()
    touched = np.flatnonzero(net.embeddings.tables["item"].weight.grad.numpy().any(1))
    assert list(touched) == [7, 9]


def test_attention_depends_on_the_target():
    """The same history against two targets has two interests; the base model's is one."""
    net, batch = made(), random_batch(SCHEMA, 2, 4)
    for k in batch:
        if k.startswith("history_"):
            batch[k][1] = batch[k][0]
    _, weight = net(tensors(batch), return_attention=True)
    assert np.abs(weight.numpy()[0] - weight.numpy()[1]).max() > 1e-2


# invariants


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_padding_batch_mates_and_batch_size(kind, softmax):
    check_invariants(made(kind, softmax, seed=4), SCHEMA)


@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_saving_and_loading(tmp_path, data, kind, softmax):
    check_saving("din", data, tmp_path, *switch(kind, softmax))


@pytest.mark.slow
@pytest.mark.parametrize("kind, softmax", SWITCHES)
def test_export(tmp_path, data, kind, softmax):
    full = (kind, softmax) == ("dice", True)
    check_export(
        "din",
        data,
        tmp_path,
        *switch(kind, softmax),
        lengths=range(51) if full else (0, 1, 2, 20, 50),
    )


def switch(kind, softmax):
    return (
        *TINY_DIN,
        f"hyper_parameters.activation={kind}",
        f"hyper_parameters.attention_softmax={softmax}",
        "hyper_parameters.item_bias=true",
        "hyper_parameters.dropout=0.3",
    )
