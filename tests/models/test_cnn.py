"""models/cnn; test_textbook.py has its formulas."""

import numpy as np
import paddle.nn.functional as F
import pytest
from helpers import TINY, check_export, check_invariants, close, random_batch, scramble
from reference import check_gradients
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.cnn.net import AXES, CNN, ColumnConvolution, PositionConvolution

SMALL = dict(embedding_size=6, tower=(8, 4), activation="prelu", filters=5)


def made(axis, seed=3, **kw):
    net = scramble(CNN(FIELDS, 1, axis=axis, **{**SMALL, **kw}), seed, 0.5)
    net.eval()
    return net


@pytest.mark.parametrize("axis", AXES)
def test_every_parameter_gets_a_gradient(axis):
    net = made(axis, 1, sparse=False)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


def test_gradients_along_positions(rng, double):
    layer, e = random_weights(PositionConvolution(4, 3, 2), rng), leaf(rng.normal(size=(5, 6, 4)))
    mask = (np.arange(6) < np.array([0, 1, 3, 5, 6])[:, None]).astype(np.float64)
    weight = tensor(rng.normal(size=(5, 3)))
    read = {"e": e, **dict(layer.named_parameters())}
    check_gradients(lambda: (layer(e, tensor(mask)) * weight).sum(), read, rng)
    assert not e.grad.numpy()[mask == 0].any()


def test_gradients_along_columns(rng, double):
    layer, m = random_weights(ColumnConvolution(4), rng), leaf(rng.normal(size=(5, 4, 7)))
    weight = tensor(rng.normal(size=(5, 5)))
    check_gradients(
        lambda: (layer(m) * weight).sum(), {"m": m, **dict(layer.named_parameters())}, rng
    )


def test_order_counts_within_a_window_alone(rng):
    """A window of one event is a set; a longer one tells the order of its events."""
    batch = random_batch(SCHEMA, 20, 6, seed=2)
    turned = {k: v[:, ::-1].copy() if k.startswith("history_") else v for k, v in batch.items()}
    one, three = made("positions", window=1), made("positions", window=3)
    close(one(tensors(turned)), one(tensors(batch)).numpy(), 1e-6)
    assert np.abs(three(tensors(turned)).numpy() - three(tensors(batch)).numpy()).max() > 0.01


def test_columns_have_no_order(rng):
    """The same permutation of every table's columns is the same data; along columns it gives
    another function, as neighbouring columns mean nothing."""
    net, batch = made("columns"), tensors(random_batch(SCHEMA, 20, 6, seed=2))
    before = net(batch).numpy()
    for name, p in net.embeddings.tables.named_parameters():
        p.set_value(p.numpy()[:, [3, 0, 4, 1, 5, 2]])
        assert name.endswith("weight")
    assert np.abs(net(batch).numpy() - before).max() > 0.01


def test_two_columns_are_refused():
    with pytest.raises(ValueError, match="embedding_size is 2, must be at least 3"):
        CNN(FIELDS, axis="columns", embedding_size=2)


@pytest.mark.parametrize("axis", AXES)
def test_invariants(axis):
    check_invariants(made(axis), SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("axis", AXES)
def test_export(tmp_path, data, axis):
    own = [f"hyper_parameters.axis={axis}", "hyper_parameters.embedding_size=16"]
    check_export("cnn", data, tmp_path, *TINY, *own, lengths=(0, 1, 2, 20))
