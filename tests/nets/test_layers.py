"""paddleinterest/nets/layers.py against NumPy float64, finite differences and the mistakes that
known implementations make."""

from types import SimpleNamespace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import settings_of
from toy import tensor

from paddleinterest.nets.batch import history_mask
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.layers import (
    ACTIVATIONS,
    MLP,
    Activation,
    Dice,
    SumPooling,
    Tower,
    masked_softmax,
    spread,
)
from paddleinterest.nets.regularization import MiniBatchAwareRegularization

FIELDS = [
    SimpleNamespace(name="item", of="item", size=9),
    SimpleNamespace(name="category", of="item", size=5),
    SimpleNamespace(name="age", of="user", size=4),
    SimpleNamespace(name="hour", of="context", size=3),
]
BATCH = {
    "history_item": [[3, 2, 3], [8, 0, 0], [0, 0, 0]],
    "history_category": [[2, 4, 2], [3, 0, 0], [0, 0, 0]],
    "target_item": [2, 5, 3],
    "target_category": [4, 4, 2],
    "user_age": [2, 3, 1],
    "context_hour": [1, 1, 1],
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def tensors(batch):
    return {k: tensor(np.asarray(v)) for k, v in batch.items()}


def close(a, b, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=tolerance)


def ragged_mask(rng, rows=5, width=6):
    """Lengths 0, 1, full and others."""
    lengths = np.r_[0, 1, width, rng.integers(0, width + 1, rows - 3)]
    return (np.arange(width) < lengths[:, None]).astype(np.float64)


# Dice


def made_dice(channels, rng, **kw):
    layer = Dice(channels, **kw)
    layer.alpha.set_value(rng.normal(size=channels))
    return layer


def test_dice_in_training_uses_the_real_positions_of_the_batch(rng, double):
    layer, mask = made_dice(4, rng), ragged_mask(rng)
    s = rng.normal(2, 3, (5, 6, 4))
    s[mask == 0] = 1e3  # what padding holds must not matter
    got = layer(tensor(s), tensor(mask)).numpy()
    mean, variance = reference.statistics(s, mask)
    close(got, reference.dice(s, layer.alpha.numpy(), mean, variance), 1e-9)
    # the running ones move by a tenth of the way, from 0 and 1
    close(layer.mean, 0.1 * mean)
    close(layer.variance, 0.9 + 0.1 * variance)
    layer(tensor(s), tensor(mask))
    close(layer.mean, 0.19 * mean)


def test_dice_without_a_mask_uses_all_rows(rng, double):
    layer, s = made_dice(3, rng, momentum=0.5), rng.normal(-1, 2, (10, 3))
    mean, variance = reference.statistics(s)
    close(layer(tensor(s)), reference.dice(s, layer.alpha.numpy(), mean, variance))
    close(layer.mean, 0.5 * mean)
    close(layer.variance, 0.5 + 0.5 * variance)


def test_dice_in_evaluation_uses_the_running_statistics_and_leaves_them(rng, double):
    layer, s = made_dice(3, rng), rng.normal(size=(4, 3))
    layer.mean.set_value(rng.normal(size=3))
    layer.variance.set_value(rng.random(3) + 0.5)
    before = layer.mean.numpy().copy(), layer.variance.numpy().copy()
    layer.eval()
    close(layer(tensor(s)), reference.dice(s, layer.alpha.numpy(), *before))
    close(layer.mean, before[0], 0)
    close(layer.variance, before[1], 0)


def test_dice_starts_with_alpha_zero_and_saves_its_statistics():
    layer = Dice(3)
    assert set(layer.state_dict()) == {"alpha", "mean", "variance"}
    assert not layer.alpha.numpy().any()
    assert [p.name for p in layer.parameters()] == [layer.alpha.name]


def test_dice_keeps_its_statistics_when_a_batch_has_no_real_position(rng, double):
    """Batches bucketed by length can hold empty histories alone."""
    layer, s = made_dice(3, rng), rng.normal(size=(4, 2, 3))
    layer.mean.set_value(rng.normal(size=3))
    before = layer.mean.numpy().copy(), layer.variance.numpy().copy()
    assert np.isfinite(layer(tensor(s), paddle.zeros([4, 2])).numpy()).all()
    close(layer.mean, before[0], 0)
    close(layer.variance, before[1], 0)


def test_dice_is_finite_where_a_channel_is_constant(double):
    layer, s = Dice(2), tensor(np.full((6, 2), 3.0), stop_gradient=False)
    out = layer(s)
    close(out, np.full((6, 2), 1.5))  # p = σ(0) = ½
    out.sum().backward()
    assert np.isfinite(s.grad.numpy()).all()


@pytest.mark.parametrize("masked", [False, True])
def test_dice_gradients(rng, double, masked):
    """Through the batch's mean and variance as well."""
    layer, mask = made_dice(3, rng), ragged_mask(rng)
    s, weight = (
        tensor(rng.normal(size=(5, 6, 3)), stop_gradient=False),
        tensor(rng.normal(size=(5, 6, 3)) * mask[..., None]),
    )
    reference.check_gradients(
        lambda: (layer(s, tensor(mask) if masked else None) * weight).sum(),
        {"s": s, "alpha": layer.alpha},
        rng,
    )


# activations, MLP, Tower


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(rng, double, kind):
    layer, s = Activation(kind, 4), rng.normal(size=(7, 4))
    for p in layer.parameters():
        p.set_value(rng.normal(size=4))
    layer.eval()
    close(
        layer(tensor(s)),
        reference.activate(
            kind, {f"a.{k}": v for k, v in reference.weights_of(layer).items()}, "a", s
        ),
    )


def test_prelu_starts_at_a_quarter():
    close(Activation("prelu", 2)(tensor(np.float32([[-4, 4]]))), [[-1, 4]])


def test_rrelu_draws_its_slopes_in_training_alone():
    layer, s = Activation("rrelu", 4), tensor(np.full((500, 4), -24.0, np.float32))
    drawn = layer(s).numpy()
    assert drawn.min() >= -8 and drawn.max() <= -3 and len(np.unique(drawn)) > 1000
    assert np.abs(drawn.mean() + 5.5) < 0.2
    close(layer(-s), (-s).numpy(), 0)
    layer.eval()
    close(layer(s), np.full((500, 4), -5.5), 1e-5)


def test_activation_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="relu, prelu, dice"):
        Activation("gelu", 3)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_mlp(rng, double, kind):
    net, x = MLP(5, [6, 4], kind, dropout=0.5), rng.normal(size=(8, 5))
    for t in net.state_dict().values():
        t.set_value(rng.random(t.shape) + 0.2 if len(t.shape) == 1 else rng.normal(size=t.shape))
    net.eval()  # dropout changes nothing here
    close(
        net(tensor(x)),
        reference.mlp(kind, {f"m.{k}": v for k, v in reference.weights_of(net).items()}, "m", x),
    )


def test_dropout_acts_in_training_alone_and_keeps_the_mean(rng):
    net, x = (
        MLP(4, [2000], "relu", dropout=0.4),
        paddle.to_tensor(np.float32(rng.normal(size=(1, 4)))),
    )
    net.out.weight.set_value(np.ones((2000, 1), np.float32))
    net.eval()
    whole = net(x).item()
    net.train()
    draws = [net(x).item() for _ in range(30)]
    assert len(set(draws)) == 30
    assert abs(np.mean(draws) - whole) < 0.05 * whole


def test_dropout_zero_has_no_layer():
    assert MLP(4, [3], "relu").dropout is None


def test_tower_joins_its_parts_and_adds_the_item_bias(rng, double):
    net = Tower(6, [3], "relu", items=9)
    assert not net.item_bias.weight.numpy().any()  # starts at 0
    a, b, item = rng.normal(size=(4, 2)), rng.normal(size=(4, 4)), np.array([2, 8, 2, 5])
    plain = net([tensor(a), None, tensor(b)], tensor(item)).numpy()
    w = {f"m.{k[4:]}": v for k, v in reference.weights_of(net).items() if k.startswith("mlp.")}
    close(plain, reference.mlp("relu", w, "m", np.concatenate([a, b], 1))[:, 0])
    bias = rng.normal(size=(9, 1))
    net.item_bias.weight.set_value(bias)
    close(net([tensor(a), None, tensor(b)], tensor(item)), plain + bias[item, 0])
    assert Tower(6, [3], "relu").item_bias is None


# masks and pooling


def test_masked_softmax(rng, double):
    mask, score = ragged_mask(rng), rng.normal(0, 5, (5, 6))
    score[mask == 0] = 40  # the largest scores are padding's
    got = masked_softmax(tensor(score), tensor(mask)).numpy()
    close(got, reference.attention_weights(score, mask, True, 1))
    assert (got[mask == 0] == 0).all()
    close(got.sum(1), mask.any(1))


def test_masked_softmax_of_an_empty_row_is_zero_and_its_gradient_finite():
    score = paddle.to_tensor(np.float32([[1, 2], [3, 4]]), stop_gradient=False)
    weight = masked_softmax(score, paddle.to_tensor(np.float32([[0, 0], [1, 1]])))
    assert (weight.numpy()[0] == 0).all()
    (weight * paddle.to_tensor(np.float32([[1, 2], [3, 4]]))).sum().backward()
    assert np.isfinite(score.grad.numpy()).all()


def test_sum_pooling_leaves_padding_out(rng, double):
    mask, history = ragged_mask(rng), rng.normal(size=(5, 6, 3))
    got = SumPooling()(tensor(history), tensor(mask)).numpy()
    close(
        got,
        [
            sum((e for e, m in zip(row, real, strict=True) if m), np.zeros(3))
            for row, real in zip(history, mask, strict=True)
        ],
    )
    assert not got[0].any()


def test_spread_repeats_a_row_and_sums_its_gradient(rng, double):
    rows = tensor(rng.normal(size=(3, 4)), stop_gradient=False)
    out = spread(rows, 5)
    close(out, np.repeat(rows.numpy()[:, None], 5, 1), 0)
    weight = rng.normal(size=(3, 5, 4))
    (out * tensor(weight)).sum().backward()
    close(rows.grad, weight.sum(1))


def test_history_mask_reads_the_item_alone():
    close(
        history_mask(
            tensors(
                {"history_item": [[5, 1, 0], [0, 0, 0]], "history_category": [[0, 0, 0], [1, 1, 1]]}
            )
        ),
        [[1, 1, 0], [0, 0, 0]],
        0,
    )


# embeddings


def test_embeddings_join_the_fields_and_share_a_table_between_history_and_target(rng):
    e, batch = FieldEmbeddings(FIELDS, 2), tensors(BATCH)
    assert (e.item_width, e.side_width) == (4, 4)
    w = {f.name: e.tables[f.name].weight.numpy() for f in FIELDS}
    for of, names in (("history", ("item", "category")), ("target", ("item", "category"))):
        got = getattr(e, of)(batch).numpy()
        close(got, np.concatenate([w[n][np.array(BATCH[f"{of}_{n}"])] for n in names], -1), 0)
    close(
        e.history(batch).numpy()[0, 1], e.target(batch).numpy()[0], 0
    )  # item 2, category 4 in both
    dense = np.float32(rng.normal(size=(3, 2)))
    close(
        e.side({**batch, "dense": tensor(dense)}),
        np.concatenate([w["age"][BATCH["user_age"]], w["hour"][BATCH["context_hour"]], dense], 1),
        0,
    )
    assert FieldEmbeddings(FIELDS[:2], 2).side(batch) is None


@pytest.mark.parametrize("sparse", [False, True])
def test_padding_row_is_zero_and_stays_zero(sparse):
    """And every other row moves if and only if it occurs. The history is masked, as all nets must:
    Paddle's sparse gradient, unlike its dense one, does not leave the padding row out by itself."""
    e, batch = FieldEmbeddings(FIELDS, 3, std=1.0, sparse=sparse), tensors(BATCH)
    optimizer = paddle.optimizer.Adam(0.1, parameters=e.parameters(), lazy_mode=sparse)
    before = {f.name: e.tables[f.name].weight.numpy().copy() for f in FIELDS}
    for _ in range(3):
        pooled = SumPooling()(e.history(batch), history_mask(batch))
        (pooled.sum() + e.target(batch).sum() + e.side(batch).sum()).backward()
        optimizer.step()
        optimizer.clear_grad()
    for f in FIELDS:
        after = e.tables[f.name].weight.numpy()
        assert not before[f.name][0].any() and not after[0].any()
        assert list(np.flatnonzero((after != before[f.name]).any(1))) == occurring(f.name)


@pytest.mark.parametrize("sparse", [False, True])
def test_padding_reads_zero_whatever_its_row_holds(sparse):
    e = FieldEmbeddings(FIELDS, 3, sparse=sparse)
    for f in FIELDS:
        e.tables[f.name].weight.set_value(np.ones((f.size, 3), np.float32))
    close(
        e.history(tensors(BATCH)).numpy(),
        np.repeat((np.array(BATCH["history_item"]) != 0)[..., None], 6, -1),
        0,
    )


@pytest.mark.parametrize("std", [0.0, 0.01, 0.3])
def test_embedding_std(std):
    paddle.seed(1)
    w = (
        FieldEmbeddings([SimpleNamespace(name="item", of="item", size=3000)], 8, std=std)
        .tables["item"]
        .weight.numpy()
    )
    assert abs(w[1:].std() - std) <= 0.03 * std


# mini-batch aware regularisation (MBA)

COUNTS = {
    "item": [0, 3, 1, 6, 2, 5, 9, 9, 0],
    "category": [0, 1, 7, 4, 2],
    "age": [0, 2, 5, 8],
    "hour": [0, 10, 4],
}


def occurring(name):
    return sorted(
        {i for k, v in BATCH.items() if k.endswith(f"_{name}") for i in np.ravel(v)} - {0}
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_regularisation_value_and_decay(rng, sparse):
    strength = 0.3
    e, regularize = (
        FieldEmbeddings(FIELDS, 3, sparse=sparse),
        MiniBatchAwareRegularization({k: np.array(v) for k, v in COUNTS.items()}, strength),
    )
    for f in FIELDS:
        e.tables[f.name].weight.set_value(
            np.float32(rng.normal(size=(f.size, 3)))
        )  # padding too: it must not count
    penalty = regularize(e, tensors(BATCH))
    w = {f.name: e.tables[f.name].weight.numpy().astype(np.float64) for f in FIELDS}
    expected = sum(
        strength / 2 * (w[n][j] ** 2).sum() / max(COUNTS[n][j], 1) for n in w for j in occurring(n)
    )
    close(float(penalty), expected, 1e-5)
    # plain SGD of rate 1 subtracts the gradient: λ·w_j/n_j on rows that occur, exactly nothing
    # elsewhere
    penalty.backward()
    paddle.optimizer.SGD(1.0, parameters=e.parameters()).step()
    for n in w:
        decay = w[n] - e.tables[n].weight.numpy()
        rest = [j for j in range(len(w[n])) if j not in occurring(n)]
        assert rest and (decay[rest] == 0).all()
        for j in occurring(n):
            close(decay[j], strength * w[n][j] / max(COUNTS[n][j], 1), 1e-6)


def test_regularisation_gradient_by_differences(rng):
    """The penalty is a square form, so that central differences have no error of their own and the
    step may be large."""
    e = FieldEmbeddings(FIELDS, 2, sparse=False)
    for f in FIELDS:
        e.tables[f.name].weight.set_value(np.float32(rng.normal(size=(f.size, 2))))
    regularize = MiniBatchAwareRegularization({k: np.array(v) for k, v in COUNTS.items()}, 0.7)
    reference.check_gradients(
        lambda: regularize(e, tensors(BATCH)),
        {f.name: e.tables[f.name].weight for f in FIELDS},
        rng,
        step=0.5,
        tolerance=1e-4,
    )


def test_regularisation_has_nothing_to_train_or_save():
    regularize = MiniBatchAwareRegularization({"item": np.ones(4)}, 0.1)
    assert not regularize.parameters() and not regularize.state_dict()


def test_sparse_and_dense_lookups_give_the_same_gradient(rng):
    """Of a loss through history and target, of the same ids many times over."""
    w, weight = np.float32(rng.normal(size=(9, 3))), np.float32(rng.normal(size=(3, 3, 3)))
    w[0] = 0
    moved = []
    for sparse in (False, True):
        e = FieldEmbeddings(FIELDS[:1], 3, sparse=sparse)
        e.tables["item"].weight.set_value(w)
        batch = tensors({k: BATCH[k] for k in ("history_item", "target_item")})
        pooled = SumPooling()(e.history(batch) * tensor(weight), history_mask(batch))
        loss = pooled.sum() + F.softplus(e.target(batch)).sum()
        loss.backward()
        paddle.optimizer.SGD(1.0, parameters=e.parameters()).step()
        moved.append(e.tables["item"].weight.numpy() - w)
    close(moved[0], moved[1], 1e-6)
    assert np.abs(moved[0]).max() > 0.1


@pytest.mark.parametrize("kind, decay", [("mba", [1 / 5, 1 / 2]), ("l2", [1.0, 1.0])])
def test_kinds_of_regularization(kind, decay):
    """Rows 2 (5 times in train) and 3 (twice) in the batch, row 1 not: their gradients are λ·w/n
    and λ·w."""
    config = settings_of(
        "base",
        "hyper_parameters.regularization=0.3",
        f"hyper_parameters.regularization_kind={kind}",
    )
    regularize = ClickModel().create_regularization(
        config, lambda: {"item": np.array([0, 7, 5, 2])}
    )
    e = FieldEmbeddings([SimpleNamespace(name="item", of="item", size=4)], 3, sparse=False)
    regularize(e, {"target_item": paddle.to_tensor([2, 3, 2])}).backward()
    weight = e.tables["item"].weight
    want = 0.3 * weight.numpy() * np.array([0, 0, *decay])[:, None]
    assert np.allclose(weight.grad.numpy(), want, atol=1e-8) and want[2:].all()
