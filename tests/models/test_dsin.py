"""models/dsin against NumPy float64, one row cut into its sessions at a time."""

import math
from types import SimpleNamespace

import numpy as np
import paddle.nn.functional as F
import pytest
import reference
from helpers import TINY, check_export, check_invariants, close, random_batch, scramble
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.dsin.dygraph_model import DygraphModel
from models.dsin.net import DSIN, BiasEncoding, cut
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Field

SMALL = dict(embedding_size=4, heads=2, feed_forward=5, session_places=3, tower=(8, 4), sessions=3)
SCORES = ["bilinear", "din"]


OF_EVENTS = [Field("action", "event", size=5), Field("dwell", "event", "dense")]


def made(score="bilinear", seed=3, scale=0.5, fields=FIELDS, **kw):
    net = DSIN(fields, 1, activation="prelu", attention_units=(6, 5), score=score, **SMALL, **kw)
    scramble(net, seed, scale).eval()
    return net


def with_times(rows=24, seed=2, lengths=None):
    """A batch whose gaps are often long, and sometimes just 30 minutes."""
    batch = random_batch(SCHEMA, rows, np.arange(rows) % 13 if lengths is None else lengths, seed)
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0, 5, 600, 1800, 1801, 90_000], batch["history_item"].shape)
    times = 1_600_000_000 + gaps.cumsum(1)
    batch["history_time"] = np.where(batch["history_item"] > 0, times, 0)
    return batch


def with_events(batch):
    """The batch with an action and a dwell time per event."""
    rng = np.random.default_rng(8)
    real = batch["history_item"] > 0
    action = rng.integers(1, 5, real.shape) * real
    dwell = rng.normal(size=(*real.shape, 1)).astype(np.float32) * real[..., None]
    return {**batch, "event_action": action, "event_dense": dwell.astype(np.float32)}


def part(w, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in w.items() if k.startswith(f"{prefix}.")}


def linear(w, name, x):
    return x @ w[f"{name}.weight"] + w.get(f"{name}.bias", 0)


def norm(w, name, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def block(w, x):
    """Self-attention of two heads and the feed-forward part, on one session's events alone."""
    q, k, v = (linear(w, f"attention.{name}_proj", x) for name in "qkv")
    heads = []
    for columns in np.split(np.arange(x.shape[1]), 2):
        s = q[:, columns] @ k[:, columns].T / math.sqrt(len(columns))
        a = np.exp(s) / np.exp(s).sum(1, keepdims=True)
        heads.append(a @ v[:, columns])
    s = norm(w, "norm1", x + linear(w, "attention.out_proj", np.concatenate(heads, 1)))
    hidden = linear(w, "linear1", s)
    return norm(w, "norm2", s + linear(w, "linear2", np.where(hidden > 0, hidden, 0.01 * hidden)))


def lstm(w, rows):
    h = c = np.zeros(w["weight_hh"].shape[1])
    out = []
    for x in rows:
        gates = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
        i, f, g, o = np.split(gates, 4)
        c = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(g)
        h = reference.sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def attend(w, score, x, v):
    """Interest and weights over a row's sessions."""
    if score == "bilinear":
        s = x @ w["unit.W"] @ v
    else:
        s = reference.activation_unit("prelu", w, "unit", x[None], v[None])[0] / math.sqrt(len(v))
    a = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
    return a @ x, a


def numpy_sessions(times):
    """Indices of the events of each session, by the definition."""
    found = []
    for t, now in enumerate(times):
        if t == 0 or now - times[t - 1] > 1800:
            found.append([])
        found[-1].append(t)
    return found


def numpy_net(net, score, batch):
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    history = reference.embed(w, names, batch, "history")
    target = reference.embed(w, names, batch, "target")
    if "event_action" in batch:
        action = w["embeddings.tables.action.weight"][batch["event_action"]]
        numbers = batch["event_dense"] @ w["embeddings.of_numbers.weight"]
        history = np.concatenate([history, action, numbers], -1)
    padded = np.pad(target, ((0, 0), (0, history.shape[-1] - target.shape[-1])))
    interests, weights = np.zeros((2, *padded.shape)), np.zeros(history.shape[:2])
    ahead = {k.removesuffix("_l0"): v for k, v in part(w, "lstm").items() if k.endswith("_l0")}
    back = {k.removesuffix("_l0_reverse"): v for k, v in w.items() if k.endswith("_l0_reverse")}
    back = part(back, "lstm")
    for row, n in enumerate((batch["history_item"] > 0).sum(1)):
        if not n:
            continue
        kept = numpy_sessions(batch["history_time"][row, :n])[-3:]
        means = []
        for number, events in enumerate(kept):
            order, place = len(kept) - 1 - number, np.minimum(np.arange(len(events)), 2)
            bias = w["encoding.of_session"][order] + w["encoding.of_place"][place]
            x = history[row, events] + bias + w["encoding.of_column"]
            means.append(block(part(w, "block"), x).mean(0))
        means = np.array(means)
        states = 0.5 * (lstm(ahead, means) + lstm(back, means[::-1])[::-1])
        interests[0, row], a = attend(part(w, "of_means"), score, means, padded[row])
        interests[1, row], _ = attend(part(w, "of_states"), score, states, padded[row])
        for events, share in zip(kept, a, strict=True):
            weights[row, events] = share / len(events)
    side = [w["embeddings.tables.age.weight"][batch["user_age"]]]
    side += [w["embeddings.tables.hour.weight"][batch["context_hour"]], batch["dense"]]
    x = np.concatenate([*interests, target, *side], 1)
    return reference.mlp("prelu", w, "tower.mlp", x)[:, 0], weights


@pytest.mark.parametrize("score", SCORES)
def test_logits_and_weights(score):
    net, batch = made(score), with_times()
    logit, weight = net(tensors(batch), return_attention=True)
    expected, weights = numpy_net(net, score, batch)
    assert np.std(expected) > 0.1
    close(logit, expected, 1e-5)
    close(weight, weights, 1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_event_fields_are_next_to_the_items(score):
    net = made(score, fields=[*FIELDS, *OF_EVENTS])
    batch = with_events(with_times())
    logit, weight = net(tensors(batch), return_attention=True)
    expected, weights = numpy_net(net, score, batch)
    assert np.std(expected) > 0.1
    close(logit, expected, 1e-5)
    close(weight, weights, 1e-6)


def test_a_pause_of_30_minutes_is_not_yet_one():
    time = tensor(np.array([[0, 1800, 3601, 3602, 9000, 0]]))
    mask = tensor(np.array([[1, 1, 1, 1, 1, 0]], np.float32))
    found = cut(time, mask, 1800, 2)
    assert found.share.tolist() == [[[0, 0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1, 0]]]
    assert found.place[0, 2:5].tolist() == [1, 2, 1] and found.mask.tolist() == [[1, 1]]
    assert cut(time, mask, 1801, 3).share[0, 0].tolist() == pytest.approx([0.25] * 4 + [0, 0])


@pytest.mark.parametrize("score", SCORES)
def test_every_parameter_gets_a_gradient(score):
    net = made(score, sparse=False)
    batch = tensors(with_times(200))
    net.train()
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


def test_gradients_of_the_bias_encoding(rng, double):
    layer = random_weights(BiasEncoding(2, 3, 4), rng)
    found = SimpleNamespace(
        order=tensor([[3.0, 2.0, 2.0, 1.0, 1.0]]), place=tensor([[1.0, 1.0, 2.0, 1.0, 4.0]])
    )
    weight = tensor(rng.normal(size=(1, 5, 4)))
    reference.check_gradients(
        lambda: (layer(found) * weight).sum(), dict(layer.named_parameters()), rng
    )


def test_gradients_of_a_session_stay_in_it(rng):
    """An event is moved by no event of another session before the recurrence."""
    net, batch = made(), tensors(with_times(lengths=12))
    found = cut(batch["history_time"], tensor(np.ones((24, 12), np.float32)), 1800, 3)
    e = leaf(rng.normal(size=(24, 12, 8)).astype(np.float32))
    s, _ = net.block(e, found.same)
    s[:, -1].square().sum().backward()
    moved = np.abs(e.grad.numpy()).max(-1) > 0
    assert (moved == (found.same[:, -1].numpy() > 0)).all() and not moved.all()


def test_rank_is_forward_of_the_user_repeated():
    for score in SCORES:
        net, batch = made(score), with_times(lengths=9)
        of_user = ("history_", "user_", "context_", "target_time")
        one = {k: v[:1] if k.startswith(of_user) else v for k, v in batch.items()}
        repeated = {k: np.repeat(v, 24, 0) if len(v) == 1 else v for k, v in one.items()}
        ranked, weight = net.rank(tensors(one), return_attention=True)
        logit, expected = net(tensors(repeated), return_attention=True)
        close(ranked, logit.numpy(), 1e-5)
        close(weight, expected.numpy(), 1e-6)


def test_it_needs_a_clock():
    schema = SimpleNamespace(time="order", name="beauty")
    with pytest.raises(InputError, match="dsin cuts a history where it pauses, but beauty has no"):
        DygraphModel().create_model(None, schema)


@pytest.mark.parametrize("score", SCORES)
def test_invariants(score):
    check_invariants(made(score), SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_export(tmp_path, data, score):
    own = [f"hyper_parameters.score={score}", "hyper_parameters.heads=2"]
    check_export("dsin", data, tmp_path, *TINY, *own, lengths=(0, 1, 2, 20))
