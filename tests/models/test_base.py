"""models/base: sum pooling against NumPy float64, gradients, and the invariants of every net."""

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
)
from toy import FIELDS, OF_ACTIVATION, SCHEMA, tensors

from models.base.net import Base

KINDS = ["relu", "prelu", "dice"]


def made(activation="dice", seed=0, scale=0.4, **kw):
    net = scramble(
        Base(FIELDS, 1, activation=activation, embedding_size=3, tower=(8, 4), **kw), seed, scale
    )
    net.eval()
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_base(kind):
    net, batch = made(kind, item_bias=True), random_batch(SCHEMA, 30, np.arange(30) % 13, seed=2)
    logit, weight = net(tensors(batch), return_attention=True)
    expected, ones = reference.logits(net, SCHEMA, batch, kind)
    assert np.std(expected) > 0.2
    close(logit, expected, 1e-5)
    close(weight, ones, 0)


def test_without_side_features():
    """A dataset of items alone: no user, context or dense column."""
    fields = [f for f in FIELDS if f.of == "item"]
    net = Base(fields, embedding_size=3, tower=(4,))
    batch = {
        k: v for k, v in random_batch(SCHEMA, 5, 3).items() if k.startswith(("history_", "target_"))
    }
    assert net(tensors(batch)).shape == [5]


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_registered_and_gets_a_gradient(kind):
    net = made(kind, sparse=False, item_bias=True, dropout=0.1)
    names = {f"embeddings.tables.{f.name}.weight" for f in FIELDS} | {"tower.item_bias.weight"}
    names |= {
        f"tower.mlp.{layer}.{own}"
        for layer in ("hidden.0", "hidden.1", "out")
        for own in ("weight", "bias")
    }
    names |= {f"tower.mlp.activations.{k}.{own}" for k in (0, 1) for own in OF_ACTIVATION[kind]}
    assert {k for k, _ in net.named_parameters()} == names
    net.train()
    paddle.seed(1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, f"{name} gets no gradient"


def test_interest_is_the_same_whatever_the_target():
    net, batch = made(), random_batch(SCHEMA, 2, 4)
    _, weight = net(tensors(batch), return_attention=True)
    close(weight, np.ones((2, 4)), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_batch_mates_and_batch_size(kind):
    check_invariants(made(kind, seed=3), SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading(tmp_path, data, kind):
    check_saving("base", data, tmp_path, *TINY, f"hyper_parameters.activation={kind}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_export(tmp_path, data, kind):
    check_export(
        "base",
        data,
        tmp_path,
        *TINY,
        f"hyper_parameters.activation={kind}",
        "hyper_parameters.item_bias=true",
        lengths=(0, 1, 2, 20, 50),
    )
