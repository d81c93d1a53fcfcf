"""models/dien against NumPy float64, finite differences, Paddle's GRU, the mistakes that others
made, the invariants."""

import itertools
import os

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
from toy import FIELDS, OF_USER, SCHEMA, leaf, random_weights, tensor, tensors

from models.dien import net as dien
from models.dien.dygraph_model import DygraphModel
from models.dien.net import (
    DIEN,
    AGRUCell,
    AUGRUCell,
    EvolutionAttention,
    InterestEvolution,
    InterestGRU,
)
from models.dien.recurrence import Recurrence, sigmoid
from paddleinterest.core.errors import InputError
from paddleinterest.data.lists import Lists
from paddleinterest.data.negatives import HistoryNegatives
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.nets.next_item import AuxiliaryLoss
from paddleinterest.training import loading
from paddleinterest.training import trainer as training

SMALL = dict(embedding_size=3, attention_units=(6, 5), tower=(8, 4), activation="prelu")
EVOLUTIONS, ATTENTIONS = ("augru", "agru", "aigru", "gru_attention"), ("bilinear", "mlp")
SWITCHES = list(itertools.product(EVOLUTIONS, ATTENTIONS))
CELLS = (AUGRUCell, AGRUCell)


@pytest.fixture
def double(monkeypatch):
    """Layers made in float64, and a mask that fits them."""
    history_mask = dien.history_mask
    monkeypatch.setattr(dien, "history_mask", lambda batch: history_mask(batch).astype("float64"))
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


def made(evolution="augru", attention="bilinear", seed=0, scale=0.5, **kw):
    """A net of which every weight matters: random values in place of the start values."""
    net = scramble(
        DIEN(FIELDS, 1, evolution=evolution, attention=attention, **{**SMALL, **kw}), seed, scale
    )
    net.eval()
    return net


def lengths_mask(lengths, width):
    return (np.arange(width) < np.asarray(lengths)[:, None]).astype(np.float64)


def with_negatives(batch, seed=3):
    """`random_batch` and random negatives where its history is real."""
    rng, real = np.random.default_rng(seed), batch["history_item"] > 0
    for f in SCHEMA.item_fields:
        batch[f"negative_{f.name}"] = np.where(real, rng.integers(2, f.size, real.shape), 0)
    return batch


# the formulas, in NumPy float64


def numpy_cell(w, i, h, a):
    """AUGRU, or AGRU where `w` has no update gate, as the paper writes it; a [B, 1]."""
    r = reference.sigmoid(i @ w["W_r"] + h @ w["U_r"] + w["b_r"])
    candidate = np.tanh(i @ w["W_h"] + w["b_h"] + r * (h @ w["U_h"] + w["d_h"]))
    u = a * reference.sigmoid(i @ w["W_u"] + h @ w["U_u"] + w["b_u"]) if "W_u" in w else a
    return (1 - u) * h + u * candidate


def numpy_run(w, states, a):
    h = np.zeros((len(states), len(w["U_h"])))
    for t in range(states.shape[1]):
        h = numpy_cell(w, states[:, t], h, a[:, t : t + 1])
    return h


def numpy_gru(w, x, mask):
    """Paddle's GRU from its weights: all states, zero where padded, and the last real one."""
    size = w["weight_hh_l0"].shape[1]
    h, states = np.zeros((len(x), size)), np.zeros((*x.shape[:2], size))
    for t in range(x.shape[1]):
        i, g = (
            x[:, t] @ w["weight_ih_l0"].T + w["bias_ih_l0"],
            h @ w["weight_hh_l0"].T + w["bias_hh_l0"],
        )
        r, z = (reference.sigmoid(i[:, k : k + size] + g[:, k : k + size]) for k in (0, size))
        candidate = np.tanh(i[:, 2 * size :] + r * g[:, 2 * size :])
        real = mask[:, t : t + 1]
        h = np.where(real, z * h + (1 - z) * candidate, h)
        states[:, t] = h * real
    return states, h


def part(w, prefix):
    """The weights below `prefix`, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in w.items() if k.startswith(f"{prefix}.")}


def numpy_attention(w, kind, activation, states, target, mask):
    if kind == "bilinear":
        score = np.einsum("bth,hd,bd->bt", states, w["attention.W"], target)
    else:
        if "attention.of_target.weight" in w:
            target = target @ w["attention.of_target.weight"] + w["attention.of_target.bias"]
        score = reference.activation_unit(activation, w, "attention.unit", states, target)
    return reference.attention_weights(score, mask, True, 1)


def numpy_logits(net, evolution, attention, batch, activation="prelu"):
    """Logits [B] and attention [B, T] in evaluation."""
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    history, target = (reference.embed(w, names, batch, of) for of in ("history", "target"))
    mask = (batch["history_item"] != 0).astype(np.float64)
    states, _ = numpy_gru(part(w, "extractor.gru"), history, mask)
    if evolution == "gru_attention":
        states, _ = numpy_gru(part(w, "evolution.gru"), states, mask)
    a = numpy_attention(w, attention, activation, states, target, mask)
    if evolution == "gru_attention":
        interest = np.einsum("bt,bth->bh", a, states)
    elif evolution == "aigru":
        interest = numpy_gru(part(w, "evolution.gru"), a[..., None] * states, mask)[1]
    else:
        interest = numpy_run(part(w, "evolution.cell"), states, a)
    side = [
        w[f"embeddings.tables.{f.name}.weight"][batch[f"{of}_{f.name}"]]
        for of in ("user", "context")
        for f in SCHEMA.categories(of)
    ]
    total = (mask[..., None] * history).sum(1)
    x = np.concatenate(
        [
            interest,
            target,
            *side,
            batch["dense"].astype(np.float64),
            *([total, target * total] if net.pooling is not None else []),
        ],
        -1,
    )
    return (
        reference.mlp(activation, w, "tower.mlp", x)[:, 0]
        + w["tower.item_bias.weight"][batch["target_item"], 0],
        a,
    )


def numpy_auxiliary(w, states, history, negative, mask):
    """The two sums over the valid steps, one after the other; from logarithms, as the paper writes
    it."""
    total, count = 0.0, 0
    for b, t in itertools.product(range(len(mask)), range(mask.shape[1] - 1)):
        if mask[b, t + 1]:
            for e, sign in ((history[b, t + 1], 1), (negative[b, t + 1], -1)):
                if "of_item.weight" in w:
                    x = reference.sigmoid(
                        states[b, t] @ w["of_state.weight"]
                        + w["of_state.bias"]
                        + e @ w["of_item.weight"]
                    )
                    x = reference.sigmoid(x @ w["rest.1.weight"] + w["rest.1.bias"])
                    s = (x @ w["rest.3.weight"] + w["rest.3.bias"])[0]
                else:
                    s = (states[b, t] @ w["of_state.weight"] if w else states[b, t]) @ e
                total -= np.log(reference.sigmoid(sign * s))
            count += 1
    return total / max(1, count)


# the cells


@pytest.mark.parametrize("cell", CELLS)
def test_cell(rng, double, cell):
    layer = random_weights(cell(5, 4), rng)
    i, h, a = rng.normal(size=(6, 5)), rng.normal(size=(6, 4)), rng.random((6, 1))
    close(
        layer.step(layer.project(tensor(i)), tensor(h), tensor(a)),
        numpy_cell(reference.weights_of(layer), i, h, a),
        1e-12,
    )


@pytest.mark.parametrize("cell", CELLS)
def test_cell_gradients(rng, double, cell):
    layer, weight = random_weights(cell(5, 4), rng), tensor(rng.normal(size=(6, 4)))
    i, h, a = leaf(rng.normal(size=(6, 5))), leaf(rng.normal(size=(6, 4))), leaf(rng.random((6, 1)))
    reference.check_gradients(
        lambda: (layer.step(layer.project(i), h, a) * weight).sum(),
        {"i": i, "h": h, "a": a, **dict(layer.named_parameters())},
        rng,
    )


@pytest.mark.parametrize("cell", CELLS)
def test_attention_of_zero_leaves_the_state_bit_for_bit(rng, cell):
    layer = random_weights(cell(5, 4), rng, 3.0)
    h = (rng.normal(size=(200, 4)) * 10.0 ** rng.integers(-30, 3, (200, 1))).astype(np.float32)
    projected = layer.project(tensor(rng.normal(size=(200, 5)).astype(np.float32)))
    got = layer.step(projected, tensor(h), paddle.zeros([200, 1])).numpy()
    assert got.tobytes() == h.tobytes()


def carried_over(gru, width, hidden):
    """An AUGRU cell with the weights of a `paddle.nn.GRU`: z = 1 − u turns the sign of the update
    gate's."""
    cell = AUGRUCell(width, hidden)
    w_i, w_h, b_i, b_h = (p.numpy() for p in gru.parameters())
    for k, (gate, sign) in enumerate((("r", 1), ("u", -1), ("h", 1))):
        rows = slice(k * hidden, (k + 1) * hidden)
        getattr(cell, f"W_{gate}").set_value(sign * w_i[rows].T)
        getattr(cell, f"U_{gate}").set_value(sign * w_h[rows].T)
        getattr(cell, f"b_{gate}").set_value(sign * (b_i[rows] + (0 if gate == "h" else b_h[rows])))
    cell.d_h.set_value(b_h[2 * hidden :])
    return cell


def test_attention_of_one_is_paddles_gru(rng, double):
    gru = random_weights(paddle.nn.GRU(5, 4), rng)
    evolution, x, ones = (
        InterestEvolution(carried_over(gru, 5, 4)),
        tensor(rng.normal(size=(6, 9, 5))),
        paddle.ones([6, 9]),
    )
    states, last = gru(x)
    close(evolution.forward(x, ones), last[0], 1e-14)
    for mode in (True, False):
        evolution.training = mode
        close(evolution(x, ones), last[0], 1e-14)
    assert np.abs(last.numpy()).std() > 0.1
    projected = evolution.cell.project(x[:, 3])
    close(evolution.cell.step(projected, states[:, 2], paddle.ones([6, 1])), states[:, 3], 1e-14)


def test_an_event_with_all_attention_is_remembered_wherever_it_stands(rng, double):
    """So h'_T tells which event mattered, not when: on data where recency decides, AIGRU and BST
    know more (README)."""
    states = tensor(rng.normal(size=(1, 6, 5)))
    for cell in CELLS:
        evolution, seen = InterestEvolution(random_weights(cell(5, 4), rng)), []
        for place in range(6):
            moved = paddle.roll(states, place, 1)
            seen.append(evolution(moved, F.one_hot(tensor([place]), 6).astype("float64")).numpy())
        assert np.abs(np.diff(seen, axis=0)).max() < 1e-12 and np.abs(seen[0]).max() > 0.05


def test_attention_says_how_far_to_the_candidate(rng):
    """The state lies between the old and the candidate, the nearer to the candidate the larger a;
    the other gate of Paddle would move it the other way."""
    cell = random_weights(AUGRUCell(5, 4), rng)
    i, h = (
        tensor(rng.normal(size=(1, 5)).astype(np.float32)),
        tensor(rng.normal(size=(1, 4)).astype(np.float32)),
    )
    moved = []
    for a in (0.0, 0.3, 0.6, 1.0):
        stepped = cell.step(cell.project(i), h, paddle.full([1, 1], a))
        moved.append(np.abs((stepped - h).numpy()))
    assert all((near < far).all() for near, far in itertools.pairwise(moved))


def test_sigmoid(double):
    x = np.r_[-800.0, np.linspace(-40, 40, 999), 800]
    close(sigmoid(tensor(x)), [0.0, *reference.sigmoid(x[1:])], 1e-15)


# the loop over time


def some_states(rng, rows=6, length=7, width=5):
    """States and attention that is 0 on padding; what stands at padded positions is large and must
    not matter."""
    mask = lengths_mask([0, 1, length, *rng.integers(1, length + 1, rows - 3)], length)
    states = rng.normal(size=(rows, length, width))
    states[mask == 0] = 7.0
    return states, rng.random((rows, length)) * mask, mask


@pytest.mark.parametrize("cell", CELLS)
def test_recurrence(rng, double, cell):
    """The equations and the hand-written gradient's loop are the NumPy loop."""
    evolution, (states, a, _) = InterestEvolution(random_weights(cell(5, 4), rng)), some_states(rng)
    expected = numpy_run(part(reference.weights_of(evolution), "cell"), states, a)
    close(evolution.forward(tensor(states), tensor(a)), expected, 1e-12)
    for mode in (True, False):
        evolution.training = mode
        close(evolution(tensor(states), tensor(a)), expected, 1e-12)
    one = evolution(tensor(states[2:3]), tensor(a), shared=True)
    close(
        one,
        numpy_run(part(reference.weights_of(evolution), "cell"), np.repeat(states[2:3], 6, 0), a),
        1e-12,
    )


def test_training_takes_the_fast_loop(rng, monkeypatch):
    """Where the C++ operator does not run."""
    calls = []
    monkeypatch.setattr(dien.native, "available", lambda *_: False)
    monkeypatch.setattr(
        dien,
        "Recurrence",
        type("Spy", (), {"apply": lambda *x: calls.append(1) or Recurrence.apply(*x)}),
    )
    net, batch = made(), tensors(random_batch(SCHEMA, 4, 3))
    net(batch)
    assert not calls
    net.train()
    net(batch)
    assert calls == [1]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [2, 7])
def test_recurrence_gradients(rng, double, cell, length):
    """Of every weight, the states and the attention, by finite differences."""
    evolution, (states, a, mask) = (
        InterestEvolution(random_weights(cell(5, 4), rng)),
        some_states(rng, length=length),
    )
    states, a, weight = leaf(states), leaf(a), tensor(rng.normal(size=(6, 4)))
    reference.check_gradients(
        lambda: (evolution(states, a) * weight).sum(),
        {"states": states, "a": a, **dict(evolution.named_parameters())},
        rng,
    )
    assert not states.grad.numpy()[mask == 0].any()  # the sparse tables rely on this


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [1, 50])
def test_fast_loop_has_the_values_and_gradients_of_the_plain_one(rng, cell, steps):
    """In float32, at the sizes of practice."""
    evolution = InterestEvolution(cell(32, 24))
    states, score = (
        rng.normal(size=(40, steps, 32)).astype(np.float32),
        rng.normal(size=(40, steps)),
    )
    mask = lengths_mask(np.r_[0, 1, steps, rng.integers(0, steps + 1, 37)], steps)
    a = reference.attention_weights(score, mask, True, 1).astype(np.float32)
    weight = tensor(rng.normal(size=(40, 24)).astype(np.float32))
    seen = []
    for loop in (evolution.forward, evolution, evolution.by_hand):
        s, at = leaf(states), leaf(a)
        h = loop(s, at)
        (h * weight).sum().backward()
        seen.append(
            {
                "h": h.numpy(),
                "states": s.grad.numpy(),
                "a": at.grad.numpy(),
                **{k: p.grad.numpy() for k, p in evolution.named_parameters()},
            }
        )
        evolution.clear_gradients()
    for name, plain in seen[0].items():
        assert np.abs(plain).max() > 0 or steps == 1 and ".U_" in name, name  # the first state is 0
        for other in seen[1:]:
            assert np.abs(other[name] - plain).max() <= 1e-5 * np.abs(plain).max(), name


def test_gradients_where_only_some_inputs_need_them(rng):
    """Frozen embeddings, or a frozen gate."""
    evolution, (states, a, _) = InterestEvolution(AUGRUCell(5, 4)), some_states(rng)
    states, a = states.astype(np.float32), a.astype(np.float32)
    evolution(tensor(states), tensor(a)).sum().backward()
    weights_only = evolution.cell.W_u.grad.numpy()
    evolution.clear_gradients()
    s = leaf(states)
    evolution(s, tensor(a)).sum().backward()
    close(evolution.cell.W_u.grad, weights_only, 0)
    assert s.grad.numpy().any()
    evolution.clear_gradients()
    evolution.cell.U_h.stop_gradient = True
    evolution(s, tensor(a)).sum().backward()
    assert not evolution.cell.U_h.grad.numpy().any()
    close(evolution.cell.W_u.grad, weights_only, 0)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_without_attention_change_nothing(rng, cell):
    """Not by a bit: neither padding at the end, nor an event in the middle that weighs 0."""
    evolution = InterestEvolution(cell(5, 4))
    states, a = rng.normal(size=(6, 7, 5)).astype(np.float32), rng.random((6, 7)).astype(np.float32)
    longer, weights = (np.insert(x, [2, 2, 7, 7, 7], 0, axis=1) for x in (states, a))
    longer[weights == 0] = 9
    for loop in (evolution.forward, evolution, evolution.by_hand):
        assert (
            loop(tensor(longer), tensor(weights)).numpy().tobytes()
            == loop(tensor(states), tensor(a)).numpy().tobytes()
        )


# the extractor


def test_extractor(rng, double):
    """Against NumPy: padded states are zero, the last state is that of the last real position, an
    empty history's is 0."""
    layer = random_weights(InterestGRU(5, 4), rng)
    x, _, mask = some_states(rng)
    states, last = layer(tensor(x), tensor(mask))
    expected, final = numpy_gru(part(reference.weights_of(layer), "gru"), x, mask)
    close(states, expected, 1e-13)
    close(last, final, 1e-13)
    for row, length in enumerate(mask.sum(1).astype(int)):
        assert (states.numpy()[row, length:] == 0).all()
        assert (last.numpy()[row] == (states.numpy()[row, length - 1] if length else 0)).all()


def test_extractor_gradients(rng, double):
    layer, (x, _, mask) = random_weights(InterestGRU(5, 4), rng), some_states(rng)
    x, weight, last_weight = (
        leaf(x),
        tensor(rng.normal(size=(6, 7, 4))),
        tensor(rng.normal(size=(6, 4))),
    )

    def function():
        states, last = layer(x, tensor(mask))
        return (states * weight).sum() + (last * last_weight).sum()

    reference.check_gradients(function, {"x": x, **dict(layer.named_parameters())}, rng)
    assert not x.grad.numpy()[mask == 0].any()


# the attention


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("width", [4, 6])
def test_attention(rng, double, kind, width):
    layer = random_weights(EvolutionAttention(kind, 4, width, (6, 5), "prelu"), rng)
    states, _, mask = some_states(rng, width=4)
    target = rng.normal(size=(6, width))
    got = layer(tensor(states), tensor(target), tensor(mask)).numpy()
    w = {f"attention.{k}": v for k, v in reference.weights_of(layer).items()}
    close(got, numpy_attention(w, kind, "prelu", states, target, mask), 1e-12)
    assert (got[mask == 0] == 0).all() and (got[mask == 1] > 0).all()
    close(got.sum(1), mask.max(1), 1e-12)  # 0 for an empty history, else 1
    for row in (0, 1, 2):  # many targets of one history
        one = layer(
            tensor(states[row : row + 1]), tensor(target), tensor(mask[row : row + 1]), shared=True
        )
        close(
            one,
            layer(
                tensor(np.repeat(states[row : row + 1], 6, 0)),
                tensor(target),
                tensor(np.repeat(mask[row : row + 1], 6, 0)),
            ),
            1e-12,
        )


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_gradients(rng, double, kind):
    layer = random_weights(EvolutionAttention(kind, 4, 6, (6, 5), "prelu"), rng)
    states, _, mask = some_states(rng, width=4)
    states, target, weight = (
        leaf(states),
        leaf(rng.normal(size=(6, 6))),
        tensor(rng.normal(size=(6, 7))),
    )
    reference.check_gradients(
        lambda: (layer(states, target, tensor(mask)) * weight).sum(),
        {"states": states, "target": target, **dict(layer.named_parameters())},
        rng,
    )
    assert not states.grad.numpy()[mask == 0].any()


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_attention_is_of_this_batch(evolution, attention):
    """Nothing of a batch stays behind in the net: scoring another one first changes no bit of the
    answer."""
    net, first, second = (
        made(evolution, attention),
        *(tensors(random_batch(SCHEMA, 4, 5, seed=s)) for s in (1, 2)),
    )
    logit, a = net(first, return_attention=True)
    net(second)
    again, b = net(first, return_attention=True)
    assert (
        logit.numpy().tobytes() == again.numpy().tobytes()
        and a.numpy().tobytes() == b.numpy().tobytes()
    )
    assert np.abs(a.numpy() - net(second, return_attention=True)[1].numpy()).max() > 1e-2
    batch = random_batch(SCHEMA, 2, 4)
    for k in batch:
        if k.startswith("history_"):
            batch[k][1] = batch[k][0]
    weight = net(tensors(batch), return_attention=True)[1].numpy()
    assert np.abs(weight[0] - weight[1]).max() > 1e-3  # two targets, two attentions


def test_the_attention_of_the_authors_code(rng, double):
    """query = PReLU(Dense(target)), then [q; h; q − h; q∘h] → σ(80) → σ(40) → 1, softmax."""
    layer = random_weights(EvolutionAttention("mlp_code", 4, 6, (5, 3), "relu"), rng)
    states, _, mask = some_states(rng, width=4)
    target = rng.normal(size=(6, 6))
    w = reference.weights_of(layer)
    q = target @ w["of_target.0.weight"] + w["of_target.0.bias"]  # [B, H]
    q = np.where(q > 0, q, w["of_target.1.slope"] * q)
    q = np.repeat(q[:, None], states.shape[1], 1)
    x = np.concatenate([states, q, states - q, states * q], -1)
    for k in (0, 1):
        x = reference.sigmoid(x @ w[f"unit.linears.{k}.weight"] + w[f"unit.linears.{k}.bias"])
    score = (x @ w["unit.out.weight"])[..., 0]
    wanted = reference.attention_weights(score, mask, True, 1)
    got = layer(tensor(states), tensor(target), tensor(mask))
    close(got, wanted, 1e-12)
    shared = layer(tensor(states[:1]), tensor(target), tensor(mask[:1]), shared=True)
    one = [np.repeat(x[:1], len(target), 0) for x in (states, mask)]
    close(shared, layer(tensor(one[0]), tensor(target), tensor(one[1])).numpy(), 1e-12)


# the auxiliary loss


@pytest.mark.parametrize("kind", ["inner", "mlp"])
def test_the_mean_over_padding_of_the_authors_code(rng, kind):
    """The same sum over another count, by either form; and one more padded step shrinks it."""
    of_valid = random_weights(AuxiliaryLoss(kind, 4, 4), rng)
    of_all = AuxiliaryLoss(kind, 4, 4, "all")
    of_all.set_state_dict(of_valid.state_dict())
    inputs = [np.float32(x) for x in auxiliary_inputs(rng, 4)]
    mask = inputs[3]
    total = of_valid(*map(tensor, inputs)).item() * mask[:, 1:].sum()
    close(of_all(*map(tensor, inputs)), total / mask[:, 1:].size, 1e-5)
    close(of_all.count(tensor(mask)), mask[:, 1:].size, 0)
    padded = [np.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2)) for x in inputs]
    close(of_all(*map(tensor, padded)), total / (mask[:, 1:].size + len(mask)), 1e-5)


AUXILIARY = [("inner", 4), ("inner", 6), ("mlp", 4), ("mlp", 6)]  # kind, D; H is 4


def auxiliary_inputs(rng, width):
    states, _, mask = some_states(rng, width=4)
    history, negative = (rng.normal(size=(6, 7, width)) for _ in range(2))
    history[mask == 0] = negative[mask == 0] = 5.0
    return states, history, negative, mask


@pytest.mark.parametrize("kind, width", AUXILIARY)
def test_auxiliary_loss(rng, double, kind, width):
    layer, inputs = random_weights(AuxiliaryLoss(kind, 4, width), rng), auxiliary_inputs(rng, width)
    close(layer(*map(tensor, inputs)), numpy_auxiliary(reference.weights_of(layer), *inputs), 1e-12)


@pytest.mark.parametrize("kind, width", AUXILIARY)
def test_auxiliary_gradients(rng, double, kind, width):
    layer = random_weights(AuxiliaryLoss(kind, 4, width), rng, 0.4)
    states, history, negative, mask = auxiliary_inputs(rng, width)
    states, history, negative = map(leaf, (states, history, negative))
    reference.check_gradients(
        lambda: layer(states, history, negative, tensor(mask)),
        {
            "states": states,
            "history": history,
            "negative": negative,
            **dict(layer.named_parameters()),
        },
        rng,
    )
    for x in (states, history, negative):
        assert not x.grad.numpy()[mask == 0].any()


@pytest.mark.parametrize("kind, width", AUXILIARY)
def test_auxiliary_loss_of_padding_short_histories_and_missing_negatives(rng, double, kind, width):
    layer, inputs = random_weights(AuxiliaryLoss(kind, 4, width), rng), auxiliary_inputs(rng, width)
    value = layer(*map(tensor, inputs)).item()
    assert value > 0
    padded = [np.pad(x, [(0, 0), (0, 5)] + [(0, 0)] * (x.ndim - 2)) for x in inputs]
    close(layer(*map(tensor, padded)), value, 1e-13)
    more = [np.concatenate([x, x[:2]]) for x in inputs]  # rows of length 0 and 1 add nothing
    close(layer(*map(tensor, more)), value, 1e-13)
    for short in ([x[:2] for x in inputs], [x[:, :1] for x in inputs]):
        assert layer(*map(tensor, short)).item() == 0
    fewer = [x.copy() for x in inputs]
    fewer[3][2, 3] = (
        0  # no negative could be drawn for that event: the step is left out, not counted as 0
    )
    fewer[1][2, 3] = fewer[2][2, 3] = 99
    close(layer(*map(tensor, fewer)), numpy_auxiliary(reference.weights_of(layer), *fewer), 1e-12)


def test_auxiliary_loss_prefers_the_event_that_came(rng):
    """Small where the state points at the next event and away from the negative; large the other
    way round."""
    layer, states, mask = (
        AuxiliaryLoss("inner", 4, 4),
        rng.normal(size=(3, 5, 4)).astype(np.float32),
        paddle.ones([3, 5]),
    )
    following = np.roll(states, 1, axis=1)  # e_{t+1} = h_t
    good, bad = (
        layer(tensor(states), tensor(scale * following), tensor(-scale * following), mask).item()
        for scale in (9, -9)
    )
    assert 0 <= good < 0.2 < 10 < bad


@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_auxiliary_loss_is_finite_for_huge_logits(size):
    """Its value and its gradients, on either side, and exactly linear there: no logarithm of a
    zero."""
    layer = AuxiliaryLoss("inner", 1, 1)
    for sign in (1, -1):
        states, e = (
            leaf(np.full((1, 2, 1), sign, np.float32)),
            leaf(np.full((1, 2, 1), size, np.float32)),
        )
        loss = layer(states, e, -e, paddle.ones([1, 2]))
        loss.backward()
        close(loss, 0 if sign == 1 else 2 * size, 1e-30)
        close(states.grad.numpy()[0, 0, 0], 0 if sign == 1 else -2 * size, 1e-30)
        assert np.isfinite(e.grad.numpy()).all()


def test_auxiliary_loss_is_never_negative(rng):
    for _ in range(50):
        scale = np.float32(10) ** rng.integers(-3, 4)
        x = [rng.normal(0, scale, (2, 3, 4)).astype(np.float32) for _ in range(3)]
        assert AuxiliaryLoss("inner", 4, 4)(*map(tensor, x), paddle.ones([2, 3])).item() >= 0


# its negatives


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_negatives_are_untouched_items_with_their_own_attributes(data, kind):
    reader = Reader(
        data, "train", 64, history_cap=12, shuffle=True, bucket_batches=4, negatives=kind
    )
    for rows, batch in zip(reader.order(0), reader.epoch(0), strict=True):
        item, real = batch["negative_item"], batch["history_item"] > 0
        assert item.dtype == np.int64 and item.shape == real.shape
        assert (item[~real] == 0).all() and (
            item[real] >= 2
        ).mean() > 0.95  # a user may have touched nearly all
        assert (reader.items.count[item[item > 0]] > 0).all()
        for f in reader.schema.item_fields:
            assert (
                batch[f"negative_{f.name}"]
                == np.where(item > 0, reader.items.fields[f.name][item], 0)
            ).all()
        for row, drawn in zip(rows, item, strict=True):
            own = reader.sequences.one(reader.sequence[row])["item"]
            assert not set(drawn[drawn > 0]) & set(own.tolist())
    assert np.abs(batch["negative_category"][real] - batch["history_category"][real]).any()


def test_negatives_hang_on_seed_epoch_and_batch_alone(data):
    def drawn(epoch, start=0, shuffle=False, seed=5):
        reader = Reader(data, "train", 64, shuffle=shuffle, seed=seed, negatives="uniform")
        return [b["negative_item"] for b in reader.epoch(epoch, start)]

    for shuffle in (
        False,
        True,
    ):  # going on from the third batch draws what the whole epoch drew there
        for a, b in zip(drawn(2, shuffle=shuffle)[3:], drawn(2, 3, shuffle), strict=True):
            np.testing.assert_array_equal(a, b)
    whole = drawn(2)
    for other in (drawn(1), drawn(2, seed=6)):  # the same rows against others
        assert (whole[0] != other[0])[whole[0] > 0].mean() > 0.8
    width = min(whole[0].shape[1], whole[1].shape[1])
    both = (whole[0][:, :width] > 0) & (whole[1][:, :width] > 0)
    assert (whole[0][:, :width] != whole[1][:, :width])[both].mean() > 0.8


class Stored:
    """Sequences in memory."""

    def __init__(self, *sequences):
        offsets = np.cumsum([0, *map(len, sequences)])
        self.lists = Lists(offsets, np.concatenate(sequences))

    def items(self, sequence):
        return self.lists.take(sequence)


def test_negatives_are_uniform_or_by_popularity():
    count = np.array([0, 0, 1, 2, 3, 4, 0, 90])  # items 2 to 5 and 7 in train; the user touched 7
    for kind, expected in (("uniform", [1, 1, 1, 1]), ("popularity", [1, 2, 3, 4])):
        draw = HistoryNegatives(Stored([7]), count, kind)
        item = draw(np.zeros(400, np.int64), np.ones((400, 50), bool), np.random.default_rng(0))
        share = np.bincount(item[item > 0], minlength=8)[2:6] / (item > 0).sum()
        close(share, np.array(expected) / np.sum(expected), 0.015)
        assert set(np.unique(item)) <= {0, 2, 3, 4, 5}


def test_a_user_who_touched_everything_has_no_negatives():
    draw = HistoryNegatives(Stored([2, 3, 4], [2]), np.array([0, 0, 1, 1, 1]), "uniform")
    item = draw(np.array([0, 1]), np.ones((2, 30), bool), np.random.default_rng(0))
    assert not item[0].any() and set(item[1]) == {3, 4}


def test_negatives_come_only_where_training_reads_them(data):
    for auxiliary, expected in (("none", False), ("inner", True)):
        config = settings_of("dien", *TINY, f"hyper_parameters.auxiliary={auxiliary}")
        readers = training.make_readers(config, data, DygraphModel())
        assert ("negative_item" in next(readers["train"].epoch(0))) == expected
        assert not any(
            k.startswith("negative_")
            for split in ("valid", "test")
            for k in next(readers[split].epoch(0))
        )


# the whole net


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_dien(evolution, attention, hidden):
    net = made(evolution, attention, hidden_size=hidden, item_bias=True, history_sum=hidden > 0)
    batch = random_batch(SCHEMA, 30, np.arange(30) % 13, seed=2)
    logit, a = net(tensors(batch), return_attention=True)
    expected, weight = numpy_logits(net, evolution, attention, batch)
    assert np.std(expected) > 0.2
    close(logit, expected, 1e-5)
    close(a, weight, 1e-5)
    close(logit, net(tensors(batch)), 0)
    net.train()  # prelu and no dropout: the fast loop gives the same
    batch = with_negatives(batch)
    for f in SCHEMA.item_fields:
        batch[f"negative_{f.name}"][7:9] = (
            0  # as the reader does where the user touched nearly all items
        )
    trained_logit, auxiliary = net.forward_train(tensors(batch))
    close(trained_logit, expected, 1e-5)
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    history, negative = (reference.embed(w, names, batch, of) for of in ("history", "negative"))
    mask = (batch["history_item"] != 0).astype(np.float64)
    states, _ = numpy_gru(part(w, "extractor.gru"), history, mask)
    mask = mask * (batch["negative_item"] != 0)
    close(
        auxiliary.mean, numpy_auxiliary(part(w, "auxiliary"), states, history, negative, mask), 1e-5
    )


def expected_parameters(evolution, attention, auxiliary, h, d=6):
    """The names are written out, because a list of layers that is no LayerList is missing from
    parameters()."""
    gru = {
        "weight_ih_l0": [3 * h, h],
        "weight_hh_l0": [3 * h, h],
        "bias_ih_l0": [3 * h],
        "bias_hh_l0": [3 * h],
    }
    shapes = {f"extractor.gru.{k}": v for k, v in gru.items()}
    shapes["extractor.gru.weight_ih_l0"] = [3 * h, d]
    if attention == "bilinear":
        shapes["attention.W"] = [h, d]
    else:
        shapes.update(
            {
                "attention.unit.linears.0.weight": [4 * h, 6],
                "attention.unit.linears.0.bias": [6],
                "attention.unit.linears.1.weight": [6, 5],
                "attention.unit.linears.1.bias": [5],
                "attention.unit.activations.0.slope": [6],
                "attention.unit.activations.1.slope": [5],
                "attention.unit.out.weight": [5, 1],
            }
        )
        if h != d:
            shapes.update({"attention.of_target.weight": [d, h], "attention.of_target.bias": [h]})
    for gate in {"augru": "rhu", "agru": "rh"}.get(evolution, ""):
        shapes.update({f"evolution.cell.{p}_{gate}": [h, h] for p in "WU"})
        shapes.update({f"evolution.cell.{p}_{gate}": [h] for p in ("bd" if gate == "h" else "b")})
    if evolution in ("aigru", "gru_attention"):
        shapes.update({f"evolution.gru.{k}": v for k, v in gru.items()})
    if auxiliary == "mlp":
        shapes.update(
            {
                "auxiliary.of_state.weight": [h, 100],
                "auxiliary.of_state.bias": [100],
                "auxiliary.of_item.weight": [d, 100],
                "auxiliary.rest.1.weight": [100, 50],
                "auxiliary.rest.1.bias": [50],
                "auxiliary.rest.3.weight": [50, 1],
                "auxiliary.rest.3.bias": [1],
            }
        )
    elif auxiliary == "inner" and h != d:
        shapes["auxiliary.of_state.weight"] = [h, d]
    shapes.update(
        {
            "tower.mlp.hidden.0.weight": [h + d + 6 + 1, 8],
            "tower.mlp.hidden.0.bias": [8],
            "tower.mlp.hidden.1.weight": [8, 4],
            "tower.mlp.hidden.1.bias": [4],
            "tower.mlp.activations.0.slope": [8],
            "tower.mlp.activations.1.slope": [4],
            "tower.mlp.out.weight": [4, 1],
            "tower.mlp.out.bias": [1],
            "tower.item_bias.weight": [40, 1],
            **{f"embeddings.tables.{f.name}.weight": [f.size, 3] for f in FIELDS},
        }
    )
    return shapes


@pytest.mark.parametrize("auxiliary", ["none", "inner", "mlp"])
@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_every_parameter_is_registered_trained_and_moved(evolution, attention, hidden, auxiliary):
    net = made(
        evolution,
        attention,
        hidden_size=hidden,
        auxiliary=auxiliary,
        sparse=False,
        item_bias=True,
        dropout=0.1,
    )
    assert {k: list(p.shape) for k, p in net.named_parameters()} == expected_parameters(
        evolution, attention, auxiliary, hidden or 6
    )
    net.train()
    paddle.seed(1)
    model, config = DygraphModel(), settings_of("dien", "hyper_parameters.sparse=false")
    model.alpha = 1.0
    batch = tensors(with_negatives(random_batch(SCHEMA, 200, np.arange(200) % 9)))
    before = {k: p.numpy().copy() for k, p in net.named_parameters()}
    model.train_forward(net, batch)[0].backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, f"{name} gets no gradient"
    model.create_optimizer(net, config).step()
    for name, p in net.named_parameters():
        assert np.abs(p.numpy() - before[name]).max() > 1e-5, f"{name} does not move"


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_gradient_of_the_whole_net(rng, double, evolution, attention):
    """Target loss and auxiliary loss, through both recurrences, the attention and the
    embeddings."""
    net = DIEN(
        FIELDS, 1, evolution=evolution, attention=attention, hidden_size=4, sparse=False, **SMALL
    )
    random_weights(net, rng, 0.6)
    batch = with_negatives(random_batch(SCHEMA, 12, np.arange(12) % 6))
    batch = tensors(
        {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in batch.items()}
    )

    def function():
        logit, auxiliary = net.forward_train(batch)
        return F.binary_cross_entropy_with_logits(logit, batch["label"]) + 0.7 * auxiliary.mean

    tables = {k for k, _ in net.named_parameters() if k.startswith("embeddings")}
    reference.check_gradients(
        function, {k: p for k, p in net.named_parameters() if k not in tables}, rng, directions=1
    )


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_the_target_loss_reaches_the_extractor(evolution, attention):
    """And the auxiliary loss reaches nothing that comes after it."""
    net = made(evolution, attention, sparse=False)
    batch = tensors(with_negatives(random_batch(SCHEMA, 20, np.arange(20) % 9)))
    net.train()
    logit, _ = net.forward_train(batch)
    F.binary_cross_entropy_with_logits(logit, batch["label"]).backward()
    for name, p in net.extractor.named_parameters():
        assert np.abs(p.grad.numpy()).max() > 1e-6, name
    net.clear_gradients()
    _, auxiliary = net.forward_train(batch)  # once more: a PyLayer can be run backward only once
    auxiliary.mean.backward()
    for name, p in net.named_parameters():
        reached = p.grad is not None and np.abs(p.grad.numpy()).max() > 0
        before = ("extractor", "auxiliary", "embeddings.tables.item", "embeddings.tables.category")
        assert reached == name.startswith(before), name


def test_loss_and_its_parts(data):
    """L_target + α·L_aux + the regularisation; the parts are logged apart."""
    batch = tensors(with_negatives(random_batch(SCHEMA, 20, np.arange(20) % 9)))
    for alpha, auxiliary in ((0.0, "inner"), (0.3, "inner"), (1.0, "none")):
        config = settings_of(
            "dien",
            "hyper_parameters.embedding_size=3",
            f"hyper_parameters.auxiliary_weight={alpha}",
            f"hyper_parameters.auxiliary={auxiliary}",
            "hyper_parameters.regularization=0.5",
        )
        model = DygraphModel()
        net = loading.create_net(model, config, SCHEMA)
        penalty = model.create_regularization(
            config, lambda: {f.name: np.ones(f.size) for f in FIELDS}
        )
        net.train()
        total, logit, parts = model.train_forward(net, batch, penalty)
        target = F.binary_cross_entropy_with_logits(logit, batch["label"]).item()
        assert list(parts) == [
            "loss",
            *(["auxiliary"] if auxiliary != "none" else []),
            "regularization",
        ]
        close(parts["loss"], target, 1e-6)
        close(
            total,
            target + alpha * float(parts.get("auxiliary", 0)) + float(parts["regularization"]),
            1e-6,
        )
        assert float(parts["regularization"]) > 0 and float(parts.get("auxiliary", 1)) > 0.1


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_sparse_tables_get_the_same_gradients(evolution):
    batch, moved = tensors(with_negatives(random_batch(SCHEMA, 40, np.arange(40) % 9))), []
    for sparse in (False, True):
        net = made(evolution, sparse=sparse, item_bias=True)
        net.train()
        logit, auxiliary = net.forward_train(batch)
        (F.binary_cross_entropy_with_logits(logit, batch["label"]) + auxiliary.mean).backward()
        before = {k: p.numpy().copy() for k, p in net.named_parameters()}
        paddle.optimizer.SGD(1.0, parameters=net.parameters()).step()
        moved.append({k: p.numpy() - before[k] for k, p in net.named_parameters()})
    for name in moved[0]:
        close(moved[1][name], moved[0][name], 2e-6)
    for name in ("item", "category"):
        assert not moved[1][f"embeddings.tables.{name}.weight"][0].any()  # padding


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_padding_changes_nothing_in_training_either(evolution, attention):
    """Neither the logits, nor the auxiliary loss, nor the gradients, nor the statistics that Dice
    keeps."""
    batch, seen = with_negatives(random_batch(SCHEMA, 12, np.arange(12) % 6)), []
    for extra in (0, 9):
        net = made(evolution, attention, sparse=False, activation="dice")
        net.train()
        logit, auxiliary = net.forward_train(
            tensors(
                {
                    k: (
                        np.pad(v, ((0, 0), (0, extra)))
                        if k.startswith(("history_", "negative_"))
                        else v
                    )
                    for k, v in batch.items()
                }
            )
        )
        (logit.sum() + auxiliary.mean).backward()
        seen.append(
            {
                "logit": logit.numpy(),
                "auxiliary": auxiliary.mean.numpy(),
                **{k: v.numpy() for k, v in net.state_dict().items()},
                **{f"{k}'": p.grad.numpy() for k, p in net.named_parameters()},
            }
        )
    for name in seen[0]:
        close(seen[1][name], seen[0][name], 2e-5 * max(1, np.abs(seen[0][name]).max()))


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_empty_histories_have_finite_gradients(evolution, attention):
    net = made(evolution, attention, sparse=False, activation="dice")
    net.train()
    for lengths in ([0, 0, 3, 0], 0, [1, 0, 1, 1]):
        batch = tensors(with_negatives(random_batch(SCHEMA, 4, lengths)))
        logit, auxiliary = net.forward_train(batch)
        (logit.sum() + auxiliary.mean).backward()
        assert np.isfinite(logit.numpy()).all() and np.isfinite(auxiliary.mean.item())
        assert (auxiliary.mean.item() == 0) == (np.max(lengths) < 2)
        assert all(
            np.isfinite(p.grad.numpy()).all() for p in net.parameters() if p.grad is not None
        )
        net.clear_gradients()


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_rank_is_forward_on_the_repeated_user(evolution, attention):
    for hidden, length in ((0, 7), (5, 1), (5, 0)):
        net = made(evolution, attention, hidden_size=hidden, scale=0.4, history_sum=hidden > 0)
        batch = random_batch(SCHEMA, 23, length)
        one = {k: v[:1] if k.startswith(OF_USER) else v for k, v in batch.items()}
        repeated = {k: np.repeat(v, 23, 0) if k.startswith(OF_USER) else v for k, v in one.items()}
        for a, b in zip(
            net.rank(tensors(one), return_attention=True),
            net(tensors(repeated), return_attention=True),
            strict=True,
        ):
            close(a, b, 1e-6)
        assert np.std(net.rank(tensors(one)).numpy()) > 1e-2


def test_rank_reads_the_history_once(monkeypatch):
    """The extractor, and the second GRU where there is no attention in it, see one row for all
    candidates."""
    rows, call = [], InterestGRU.__call__
    monkeypatch.setattr(
        InterestGRU,
        "__call__",
        lambda self, i, mask: rows.append(i.shape[0]) or call(self, i, mask),
    )
    for evolution, expected in (
        ("augru", [1]),
        ("agru", [1]),
        ("aigru", [1, 50]),
        ("gru_attention", [1, 1]),
    ):
        batch = random_batch(SCHEMA, 50, 6)
        made(evolution).rank(
            tensors({k: v[:1] if k.startswith(OF_USER) else v for k, v in batch.items()})
        )
        assert rows == expected, evolution
        rows.clear()


@pytest.mark.parametrize(
    "key, value, allowed",
    [
        ("evolution", "lstm", dien.EVOLUTIONS),
        ("attention", "dot", dien.ATTENTIONS),
        ("auxiliary", "yes", dien.AUXILIARIES),
    ],
)
def test_wrong_choices_name_key_value_and_choices(key, value, allowed):
    with pytest.raises(InputError) as e:
        loading.create_net(
            DygraphModel(), settings_of("dien", f"hyper_parameters.{key}={value}"), SCHEMA
        )
    assert "\n" not in str(e.value)
    for word in (key, value, *allowed):
        assert word in str(e.value)


def test_wrong_sizes_and_negatives(data):
    with pytest.raises(InputError, match="hidden_size is -1"):
        loading.create_net(
            DygraphModel(), settings_of("dien", "hyper_parameters.hidden_size=-1"), SCHEMA
        )
    with pytest.raises(
        InputError, match="auxiliary_negatives is 'rare', must be one of uniform, popularity"
    ):
        Reader(data, "train", 64, negatives="rare")


# invariants


@pytest.mark.parametrize("evolution, attention", SWITCHES)
def test_padding_batch_mates_and_batch_size(evolution, attention):
    for history_sum in (False, True):
        check_invariants(
            made(
                evolution,
                attention,
                seed=4,
                scale=0.45 - 0.1 * history_sum,
                hidden_size=4,
                activation="dice",
                history_sum=history_sum,
            ),
            SCHEMA,
        )


TINY_DIEN = [
    *TINY,
    "hyper_parameters.attention_units=[6,5]",
    "hyper_parameters.hidden_size=7",
    "hyper_parameters.item_bias=true",
    "hyper_parameters.dropout=0.3",
]


@pytest.mark.parametrize("evolution, attention", SWITCHES[::2] + SWITCHES[1:2])
def test_saving_and_loading(tmp_path, data, evolution, attention):
    check_saving(
        "dien",
        data,
        tmp_path,
        *TINY_DIEN,
        f"hyper_parameters.evolution={evolution}",
        f"hyper_parameters.attention={attention}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("evolution, attention", SWITCHES[::2] + SWITCHES[1:2])
def test_export(tmp_path, data, evolution, attention):
    """And the export holds nothing of the auxiliary loss: neither its inputs nor its weights, some
    29,000 bytes."""
    switches = [
        *TINY_DIEN,
        f"hyper_parameters.evolution={evolution}",
        f"hyper_parameters.attention={attention}",
        "hyper_parameters.auxiliary=mlp",
        f"hyper_parameters.history_sum={attention == 'mlp'}",
    ]
    full = (evolution, attention) == ("augru", "bilinear")
    check_export(
        "dien", data, tmp_path, *switches, lengths=(0, 1, 2, 3, 19, 50) if full else (0, 3, 50)
    )
    net = loading.create_net(DygraphModel(), settings_of("dien", *switches), Schema.load(data))
    held = {
        id(v): v.numpy().size for k, v in net.state_dict().items() if not k.startswith("auxiliary")
    }
    assert (
        0
        <= os.path.getsize(os.path.join(tmp_path, "bundle", "model.pdiparams"))
        - 4 * sum(held.values())
        < 8000
    )


@pytest.mark.slow
def test_training_learns_and_resumes_to_the_same_numbers(tmp_path, data):
    """Through the trainer's own loop: interrupted after an epoch or not, the weights are the same
    to the bit."""
    results = []
    for name, epochs in (("whole", [2]), ("halves", [1, 2])):
        for n in epochs:
            config = settings_of(
                "dien",
                *TINY,
                f"runner.data_dir={data}",
                f"runner.model_save_path={tmp_path}",
                f"runner.name={name}",
                f"runner.epochs={n}",
                "runner.resume=true",
                "hyper_parameters.embedding_std=0.3",
            )
            result = training.train(config, data)
        with np.load(
            os.path.join(tmp_path, "dien", name, "checkpoints", "latest.npz"), allow_pickle=False
        ) as f:
            results.append({k: f[k] for k in f.files if f[k].dtype == np.float32})
        assert result["valid"]["auc"] > 0.55
    assert results[0].keys() == results[1].keys() and results[0]
    for k in results[0]:
        np.testing.assert_array_equal(results[0][k], results[1][k], err_msg=k)
