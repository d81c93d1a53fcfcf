"""The loss on the next item against NumPy float64; what it may read; and what the printed form of
some listings learns: nothing."""

import math
from types import SimpleNamespace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import close, settings_of
from toy import leaf, random_weights, tensor

from paddleinterest.core import memory
from paddleinterest.core.errors import InputError
from paddleinterest.nets.batch import history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.next_item import KINDS, NextItemLoss, next_events
from paddleinterest.training import loading

FIELDS = [
    SimpleNamespace(name="item", of="item", size=12),
    SimpleNamespace(name="category", of="item", size=5),
]
WIDTH = 6  # of an item: two fields of three columns
HIDDEN = 4


def some(rng, steps=7):
    """Histories of 0 to `steps` events, their negatives (some missing) and a target each."""
    lengths = np.array([0, 1, 2, 5, steps, steps])
    real = np.arange(steps) < lengths[:, None]
    batch = {}
    for f in FIELDS:
        ids = rng.integers(1, f.size, (3, *real.shape))
        batch[f"history_{f.name}"] = np.where(real, ids[0], 0)
        batch[f"negative_{f.name}"] = np.where(real, ids[1], 0)
        batch[f"target_{f.name}"] = ids[2][:, 0]
    for f in FIELDS:
        batch[f"negative_{f.name}"][3, 2] = 0
    return batch


def made(kind, rng, hidden=HIDDEN):
    embeddings = random_weights(FieldEmbeddings(FIELDS, 3, sparse=False), rng)
    for name in embeddings.tables:
        weight = embeddings.tables[name].weight
        weight.set_value(np.where(np.arange(len(weight))[:, None], weight.numpy(), 0))
    return random_weights(NextItemLoss(kind, hidden, WIDTH, 12), rng), embeddings


def loss_of(loss, embeddings, states, batch):
    """The term of a batch of arrays."""
    batch = {name: tensor(x) for name, x in batch.items()}
    history = embeddings.history(batch)
    valid = next_events(history_mask(batch).astype(states.dtype))
    return loss(states, history, valid, batch, embeddings)


def log_softmax(scores):
    scores = np.asarray(scores)
    return scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())


def numpy_terms(kind, w, tables, states, batch):
    """{(row, t): loss} of each state that counts, one at a time."""

    def vector(of, *place):
        return np.concatenate([tables[f.name][batch[f"{of}_{f.name}"][place]] for f in FIELDS])

    terms = {}
    for row, items in enumerate(batch["history_item"]):
        for t in range(np.count_nonzero(items) - 1):
            h = states[row, t]
            if kind == "full":
                p = log_softmax(h @ w["out.weight"] + w["out.bias"])
                terms[row, t] = -p[items[t + 1] - 1]
                continue
            h = h @ w["of_state.weight" if kind == "batch" else "binary.of_state.weight"]
            true = h @ vector("history", row, t + 1)
            if kind == "binary":
                if batch["negative_item"][row, t + 1]:
                    p, q = true, h @ vector("negative", row, t + 1)
                    terms[row, t] = -math.log(reference.sigmoid(p)) - math.log(
                        1 - reference.sigmoid(q)
                    )
                continue
            rows = {item: k for k, item in enumerate(batch["target_item"])}
            scores = [h @ vector("target", k) for i, k in rows.items() if i != items[t + 1]]
            scores.insert(0, true)
            terms[row, t] = -log_softmax(scores)[0]
    return terms


@pytest.mark.parametrize("kind", KINDS)
def test_loss(rng, double, kind):
    (loss, embeddings), batch = made(kind, rng), some(rng)
    batch["target_item"][:2] = batch["history_item"][4, 1:3]  # two that must be left out
    for f in FIELDS:  # and one that counts once
        batch[f"target_{f.name}"][5] = batch[f"target_{f.name}"][3]
    states = rng.normal(size=(6, 7, HIDDEN))
    tables = {f.name: embeddings.tables[f.name].weight.numpy() for f in FIELDS}
    terms = numpy_terms(kind, reference.weights_of(loss), tables, states, batch)
    found = loss_of(loss, embeddings, tensor(states), batch)
    close(found.mean.item(), np.mean(list(terms.values())), 1e-12)
    assert found.count.item() == len(terms) == (16 if kind == "binary" else 17)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(rng, double, kind):
    (loss, embeddings), batch = made(kind, rng), some(rng)
    states = leaf(rng.normal(size=(6, 7, HIDDEN)))
    read = {"states": states, **dict(loss.named_parameters())}
    if kind != "full":
        read |= dict(embeddings.named_parameters())
    reference.check_gradients(lambda: loss_of(loss, embeddings, states, batch).mean, read, rng)
    counted = (np.arange(7) + 1 < (batch["history_item"] > 0).sum(1)[:, None])[..., None]
    assert not (states.grad.numpy() * ~counted).any()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(rng, double, kind):
    (loss, embeddings), batch = made(kind, rng), some(rng)
    states = rng.normal(size=(6, 7, HIDDEN))
    expected = loss_of(loss, embeddings, tensor(states), batch)
    wider = {k: np.pad(v, ((0, 0), (0, 3))) if v.ndim == 2 else v for k, v in batch.items()}
    states = np.concatenate([states, rng.normal(size=(6, 3, HIDDEN))], 1)
    found = loss_of(loss, embeddings, tensor(states), wider)
    close(found.mean.item(), expected.mean.item(), 1e-12)
    assert found.count.item() == expected.count.item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2])
def test_no_event_has_a_next_one(rng, kind, steps):
    (loss, embeddings), batch = made(kind, rng), some(rng)
    batch = {k: v[:2, :steps] if v.ndim == 2 else v[:2] for k, v in batch.items()}
    found = loss_of(loss, embeddings, paddle.rand([2, steps, HIDDEN]), batch)
    assert found.mean.item() == 0 and found.count.item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_states_as_wide_as_items_are_not_projected(rng, kind):
    loss, _ = made(kind, rng, WIDTH)
    assert len(loss.parameters()) == (2 if kind == "full" else 0)


def test_the_softmax_must_fit_into_memory(rng, monkeypatch):
    (loss, embeddings), batch = made("full", rng), some(rng)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(InputError, match="the softmax of next_item: full of one batch would take"):
        loss_of(loss, embeddings, paddle.rand([6, 7, HIDDEN]), batch)


# what goes wrong if

ITEMS = 12_070  # of the textbook's dataset


def printed(scores, label):
    """Tanh, Softmax, then a cross entropy, which takes a log-softmax of what it reads."""
    return F.cross_entropy(F.softmax(paddle.tanh(scores)), label)


def test_tanh_softmax_and_cross_entropy_learn_nothing():
    """The printed loss moves by 0.0006 nats between the worst and the best scores there can be."""
    best = paddle.full([1, ITEMS], -1e3)
    best[0, 7] = 1e3
    label = paddle.to_tensor([7])
    worst = printed(-best, label).item()
    least = printed(best, label).item()
    assert 9.3978 < least < worst < 9.3986
    assert F.cross_entropy(best, label).item() == 0


def test_its_gradient_is_all_but_zero(rng):
    norms = []
    for loss in (printed, F.cross_entropy):
        scores = leaf(rng.normal(size=(20, ITEMS)).astype(np.float32))
        loss(scores, tensor(rng.integers(0, ITEMS, 20))).backward()
        norms.append(float(scores.grad.norm()))
    assert norms[0] < 1e-3 * norms[1]


@pytest.mark.parametrize("kind", KINDS)
def test_ours_learns_that_successors_follow(kind):
    """Item k is followed by item k + 1: after a hundred steps the loss is far below its start."""
    paddle.seed(3)
    rng = np.random.default_rng(3)
    field = [SimpleNamespace(name="item", of="item", size=41)]
    embeddings = FieldEmbeddings(field, 16, 0.1, sparse=False)
    step = paddle.nn.Linear(16, 16)
    loss = NextItemLoss(kind, 16, 16, 41)
    parameters = [*embeddings.parameters(), *step.parameters(), *loss.parameters()]
    adam = paddle.optimizer.Adam(0.02, parameters=parameters)
    history = []
    for _ in range(100):
        first = rng.integers(0, 40, (64, 1))
        batch = {"history_item": 1 + (first + np.arange(6)) % 40}
        batch["target_item"] = rng.integers(1, 41, 64)
        batch["negative_item"] = rng.integers(1, 41, (64, 6))
        states = step(embeddings.history({"history_item": tensor(batch["history_item"])}))
        found = loss_of(loss, embeddings, states, batch).mean
        found.backward()
        adam.step()
        adam.clear_grad()
        history.append(found.item())
    chance = {"full": math.log(40), "batch": math.log(30), "binary": 2 * math.log(2)}[kind]
    assert history[0] > 0.9 * chance
    assert history[-1] < 0.4 * chance


# what the tools read


@pytest.mark.parametrize("kind", ["none", *KINDS])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_negatives_are_drawn_for_binary_alone(kind, weight):
    own = [f"hyper_parameters.next_item={kind}", f"hyper_parameters.next_item_weight={weight}"]
    own.append("hyper_parameters.next_item_negatives=popularity")
    config = settings_of("rnn", *own)
    wanted = "popularity" if kind == "binary" and weight else ""
    assert loading.bind(config).needs_negatives(config) == wanted
