"""models/mf; test_textbook.py has its formulas."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import TINY, check_export, check_invariants, close, random_batch, scramble
from reference import check_gradients
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.mf.net import FORMS, MF, TanhMLP
from paddleinterest.data.schema import Field

WITH_ID = [*FIELDS, Field("user_id", "user", "category", 30)]


def made(form, seed=3, **kw):
    net = scramble(MF(FIELDS, 1, embedding_size=8, form=form, **kw), seed, 0.5)
    net.eval()
    return net


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_gets_a_gradient(form):
    net = scramble(MF(FIELDS, 1, embedding_size=4, sparse=False, form=form), 1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


def test_gradients_of_a_tower(rng, double):
    layer, x = random_weights(TanhMLP([6, 4, 2]), rng), leaf(rng.normal(size=(5, 6)))
    weight = tensor(rng.normal(size=(5, 2)))
    read = {"x": x, **dict(layer.named_parameters())}
    check_gradients(lambda: (layer(x) * weight).sum(), read, rng)


@pytest.mark.parametrize("form", FORMS)
def test_the_history_is_not_read(form):
    net, batch = made(form), random_batch(SCHEMA, 20, 5, seed=2)
    before, weight = net(tensors(batch), return_attention=True)
    other = {k: v[::-1].copy() if k.startswith("history_") else v for k, v in batch.items()}
    close(net(tensors(other)), before.numpy(), 0)
    assert list(weight.shape) == [20, 5] and not weight.numpy().any()


@pytest.mark.parametrize("form", FORMS)
def test_it_reads_the_ids_alone(form):
    net = scramble(MF(WITH_ID, embedding_size=4, form=form, ids_only=True), 2, 0.7)
    batch = random_batch(SCHEMA, 20, 5, seed=2)
    batch["user_id"] = np.arange(20) + 2
    before = net(tensors({**batch, "user_user_id": batch["user_id"]})).numpy()
    others = {"user_age": batch["user_age"] % 4 + 1, "target_category": np.ones(20, np.int64)}
    close(net(tensors({**batch, **others, "user_user_id": batch["user_id"]})), before, 0)
    moved = net(tensors({**batch, "user_user_id": batch["user_id"] + 3})).numpy()
    assert (np.abs(moved - before) > 1e-4).all()


def test_it_needs_a_field_of_the_user():
    with pytest.raises(ValueError, match="mf needs the user's id, .* --user-id"):
        MF(FIELDS, ids_only=True)
    with pytest.raises(ValueError, match="mf needs a field of the user"):
        MF([f for f in FIELDS if f.of != "user"])


def test_the_dot_is_found_by_nearest_neighbours():
    """b_q + u·q = [u; 1]·[q; b_q]: an index of inner products over the items ranks alike."""
    net, batch = made("dot"), random_batch(SCHEMA, 40, 3, seed=4)
    one = {
        k: v[:1] if k.startswith(("history_", "user_", "context_")) else v for k, v in batch.items()
    }
    scores = net.rank(tensors(one)).numpy()
    batch = tensors(one)
    q = net.sum_of(net.embeddings, "item", "target", batch)
    bias = net.sum_of(net.biases, "item", "target", batch)
    u = net.sum_of(net.embeddings, "user", "user", batch)
    index = paddle.concat([q, bias], 1).numpy()
    query = paddle.concat([u, paddle.ones([1, 1])], 1).numpy()
    assert (np.argsort(index @ query[0]) == np.argsort(scores)).all()


@pytest.mark.parametrize("form", FORMS)
def test_training_starts_near_zero(form):
    paddle.seed(1)
    net = MF(FIELDS, 1, embedding_size=8, form=form)
    batch = random_batch(SCHEMA, 200, np.arange(200) % 9)
    assert np.abs(net(tensors(batch)).numpy()).max() < 1


@pytest.mark.parametrize("form", FORMS)
def test_invariants(form):
    check_invariants(made(form), SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_export(tmp_path, data, form):
    own = f"hyper_parameters.form={form}"
    check_export("mf", data, tmp_path, *TINY, own, lengths=(0, 1, 20))
