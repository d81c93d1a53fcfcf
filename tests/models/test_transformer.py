"""models/transformer against NumPy float64, one row cut to its events at a time; what a state may
read; and what the printed form of a decoder learns: to copy."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import reference
from helpers import (
    TINY,
    check_export,
    check_invariants,
    check_no_leak,
    close,
    next_item_terms,
    random_batch,
    scramble,
)
from runs import lines, ran
from toy import FIELDS, SCHEMA, leaf, random_weights, tensor, tensors

from models.transformer.net import FORMS, OUTPUTS, DecoderBlock, Transformer, halves
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.next_item import KINDS, NextItemLoss
from paddleinterest.nets.transformer import MultiHeadAttention, TransformerBlock, causal

SMALL = dict(embedding_size=4, heads=2, feed_forward=5, position_buckets=6, tower=(8, 4))
LEARNING = [form for form in FORMS if form != "bidirectional"]
SWITCHES = list(itertools.product(FORMS, OUTPUTS, (1, 2)))


def made(form="causal", seed=0, scale=0.5, **kw):
    net = scramble(
        Transformer(FIELDS, 1, form=form, activation="prelu", **SMALL, **kw), seed, scale
    )
    net.eval()
    return net


# NumPy: one row, its events alone


def part(w, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in w.items() if k.startswith(f"{prefix}.")}


def linear(w, name, x):
    return x @ w[f"{name}.weight"] + w.get(f"{name}.bias", 0)


def norm(w, name, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attend(w, heads, asking, read, may):
    """MH of each element of `asking` over those of `read` that `may(i, j)` allows, and weights."""
    q, k, v = linear(w, "q_proj", asking), linear(w, "k_proj", read), linear(w, "v_proj", read)
    d = q.shape[1] // heads
    mixed = np.zeros_like(q)
    weight = np.zeros((heads, len(asking), len(read)))
    for h, i in itertools.product(range(heads), range(len(asking))):
        columns = slice(h * d, h * d + d)
        there = [j for j in range(len(read)) if may(i, j)]
        s = np.array([q[i, columns] @ k[j, columns] / math.sqrt(d) for j in there])
        a = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        weight[h, i, there] = a
        mixed[i, columns] = a @ v[there][:, columns]
    return linear(w, "out_proj", mixed), weight


def residuals(w, s, mh):
    s = norm(w, "norm1", s + mh)
    hidden = linear(w, "linear1", s)
    return norm(w, "norm2", s + linear(w, "linear2", np.where(hidden > 0, hidden, 0.01 * hidden)))


def any_event(i, j):
    return True


def no_later_one(i, j):
    return j <= i


def numpy_states(w, form, blocks, x):
    """States of the events that have one, and the last block's weights, for the events x [n, D]."""
    if form != "decoder":
        may = no_later_one if form == "causal" else any_event
        for k in range(blocks):
            own = part(w, f"encoder.{k}")
            mh, weight = attend(part(own, "attention"), 2, x, x, may)
            x = residuals(own, x, mh)
        return x, weight.mean(0)
    half = (len(x) + 1) // 2
    first, later = x[:half], x[half - 1 :]
    for k in range(blocks):
        own = part(w, f"encoder.{k}")
        mh, _ = attend(part(own, "attention"), 2, first, first, any_event)
        first = residuals(own, first, mh)
    for k in range(blocks):
        own = part(w, f"decoder.{k}")
        mh, a = attend(part(own, "own_attention"), 2, later, later, no_later_one)
        later = norm(own, "own_norm", later + mh)
        mh, b = attend(part(own, "attention"), 2, later, first, any_event)
        later = residuals(own, later, mh)
    weight = np.zeros((len(later), len(x)))
    weight[:, half - 1 :] += 0.5 * a.mean(0)
    weight[:, :half] += 0.5 * b.mean(0)
    return later, weight


def numpy_net(net, form, output, blocks, batch):
    """Logits [B] and attention [B, T]."""
    w, names = reference.weights_of(net), [f.name for f in SCHEMA.item_fields]
    history = reference.embed(w, names, batch, "history")
    target = reference.embed(w, names, batch, "target")
    interest, attention = np.zeros_like(target), np.zeros(history.shape[:2])
    for row, n in enumerate((batch["history_item"] > 0).sum(1)):
        if not n:
            continue
        place = np.minimum(np.arange(n, 0, -1), 6)  # from the end; the last row is for all older
        states, weight = numpy_states(
            w, form, blocks, history[row, :n] + w["position.table"][place]
        )
        share = (
            np.eye(len(states))[-1] if output == "last" else np.full(len(states), 1 / len(states))
        )
        interest[row] = share @ states
        attention[row, :n] = share @ weight
    side = [w["embeddings.tables.age.weight"][batch["user_age"]]]
    side += [w["embeddings.tables.hour.weight"][batch["context_hour"]], batch["dense"]]
    x = np.concatenate([interest, target, *side], 1)
    return reference.mlp("prelu", w, "tower.mlp", x)[:, 0], attention


@pytest.mark.parametrize("form, output, blocks", SWITCHES)
def test_logits_and_attention(form, output, blocks):
    net = made(form, output=output, blocks=blocks)
    batch = random_batch(SCHEMA, 20, np.arange(20) % 10, seed=2)
    expected, attention = numpy_net(net, form, output, blocks, batch)
    assert np.std(expected) > 0.1
    logit, weight = net(tensors(batch), return_attention=True)
    close(logit, expected, 2e-5)
    close(weight, attention, 1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_gets_a_gradient(form):
    net = made(form, 1, blocks=2, sparse=False)
    net.train()
    batch = tensors(random_batch(SCHEMA, 100, np.arange(100) % 9))
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert np.abs(p.grad.numpy()).max() > 0, name


def test_gradients_of_the_decoder_block(rng, double):
    block = random_weights(DecoderBlock(4, 2, 5), rng)
    mask = (np.arange(6) < np.array([1, 3, 6])[:, None]).astype(np.float64)
    first, later = halves(tensor(mask))
    s, encoded = leaf(rng.normal(size=(3, 6, 4))), leaf(rng.normal(size=(3, 6, 4)))
    weight = tensor(rng.normal(size=(3, 6, 4)) * later.numpy()[..., None])
    reference.check_gradients(
        lambda: (block(s, causal(later), encoded, first)[0] * weight).sum(),
        {"s": s, "encoded": encoded, **dict(block.named_parameters())},
        rng,
    )
    assert not s.grad.numpy()[later.numpy() == 0].any()
    assert not encoded.grad.numpy()[first.numpy() == 0].any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("position", ["sinusoidal", "none"])
def test_invariants(form, position):
    check_invariants(made(form, 4, position=position, output="mean"), SCHEMA, 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, output, blocks",
    [("causal", "last", 1), ("bidirectional", "mean", 2), ("decoder", "last", 2)],
)
def test_export(tmp_path, data, form, output, blocks):
    own = [f"hyper_parameters.{k}={v}" for k, v in (("form", form), ("output", output))]
    own += [f"hyper_parameters.blocks={blocks}", "hyper_parameters.embedding_size=8"]
    check_export("transformer", data, tmp_path, *TINY, *own, lengths=(0, 1, 2, 20), tolerance=2e-6)


def test_order_counts():
    net, batch = made(), random_batch(SCHEMA, 10, 5)
    turned = {k: v[:, ::-1].copy() if k.startswith("history") else v for k, v in batch.items()}
    assert np.abs(net(tensors(batch)).numpy() - net(tensors(turned)).numpy()).max() > 0.01


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads is 3, must divide the width of an event, 8"):
        Transformer(FIELDS, 1, **{**SMALL, "heads": 3})


# the loss on the next item


def with_negatives(batch, seed=9):
    rng = np.random.default_rng(seed)
    for f in SCHEMA.item_fields:
        drawn = rng.integers(1, f.size, batch["history_item"].shape)
        batch[f"negative_{f.name}"] = np.where(batch["history_item"] > 0, drawn, 0)
    return batch


@pytest.mark.parametrize("next_item", KINDS)
@pytest.mark.parametrize("form", LEARNING)
def test_a_later_item_changes_no_earlier_term(form, next_item):
    net = made(form, 6, blocks=2, next_item=next_item)
    check_no_leak(net, with_negatives(random_batch(SCHEMA, 6, 7)))


@pytest.mark.parametrize("form, counted", [("causal", [0, 1, 2, 3, 4]), ("decoder", [2, 3, 4])])
def test_which_states_have_a_term(form, counted):
    """All but the last; with a decoder those of its part: of six events the third to the fifth."""
    net = made(form, 6, next_item="full")
    terms = next_item_terms(net, random_batch(SCHEMA, 4, 6))
    assert [np.flatnonzero(row).tolist() for row in terms] == [counted] * 4
    assert net.forward_train(tensors(random_batch(SCHEMA, 4, 6)))[1].count.item() == 4 * len(
        counted
    )


def test_a_state_that_has_read_the_item_may_not_name_it():
    with pytest.raises(ValueError, match="next_item needs form: causal or decoder"):
        made("bidirectional", next_item="full")


@pytest.mark.parametrize("form", LEARNING)
def test_the_next_item_changes_no_logit(form):
    net = made(form, 3, next_item="full")
    batch = tensors(random_batch(SCHEMA, 20, np.arange(20) % 9))
    close(net.forward_train(batch)[0], net(batch).numpy(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("next_item", KINDS)
def test_training_with_the_next_item(tmp_path, data, next_item):
    own = [f"hyper_parameters.next_item={next_item}", "hyper_parameters.form=decoder"]
    own += ["runner.epochs=2", "runner.early_stop=0"]
    _, folder, _ = ran(data, tmp_path, *own, model="transformer")
    terms = [line["train"]["next_item"] for line in lines(folder) if "train" in line]
    assert len(terms) == 2 and terms[1] < terms[0]


# what goes wrong if


class Printed(paddle.nn.Layer):
    """The decoder of a textbook's listing: an encoder that reads all items, a decoder that is given
    the very items it must name, unshifted; queries from the encoder, keys and values from the
    decoder. (Its strict mask stands in for the shift: row i reads decoder rows j < i, row 0 all.)
    """

    def __init__(self, items, width):
        super().__init__()
        field = [SimpleNamespace(name="item", of="item", size=items)]
        self.embeddings = FieldEmbeddings(field, width, 0.1, sparse=False)
        self.place = self.create_parameter([1, 7, width])
        self.encoder = TransformerBlock(width, 2, width)
        self.own, self.cross = MultiHeadAttention(width, 2), MultiHeadAttention(width, 2)
        self.out = paddle.nn.Linear(width, items - 1)

    def forward(self, items):
        """items [B, T + 1] → scores of items 2 … T + 1, [B, T, N]."""
        e = self.embeddings.history({"history_item": items})
        ones = paddle.ones([items.shape[0], items.shape[1] - 1])
        x, _ = self.encoder(e[:, :-1] + self.place, ones)
        strict = causal(ones) - paddle.eye(ones.shape[1])
        strict = paddle.concat([paddle.ones_like(strict[:, :1]), strict[:, 1:]], 1)
        y, _ = self.own(e[:, 1:] + self.place, strict)
        z, _ = self.cross(y, ones, query=x)
        return self.out(x + z)


class Right(paddle.nn.Layer):
    """`Transformer` in the causal form with the same loss."""

    def __init__(self, items, width):
        super().__init__()
        field = [SimpleNamespace(name="item", of="item", size=items)]
        self.net = Transformer(
            field, embedding_size=width, embedding_std=0.1, sparse=False, heads=2, next_item="full"
        )

    def forward(self, items):
        found = self.net.encode({"history_item": items})
        return self.net.next_item.out(found.states[:, :-1])


def loss_on_fresh_sequences(layer, items=21, steps=8):
    """Nats an item after training on random sequences, where no past says anything of the next."""
    rng = np.random.default_rng(5)
    adam = paddle.optimizer.Adam(0.01, parameters=layer.parameters())

    def loss():
        drawn = tensor(rng.integers(1, items, (64, steps)))
        return F.cross_entropy(layer(drawn), drawn[:, 1:] - 1)

    for _ in range(300):
        loss().backward()
        adam.step()
        adam.clear_grad()
    return np.mean([loss().item() for _ in range(5)])


@pytest.mark.slow
def test_the_printed_decoder_copies():
    """Nobody can name the next of random items at less than log N nats, but for who reads it."""
    paddle.seed(2)
    assert loss_on_fresh_sequences(Printed(21, 16)) < 0.5 * math.log(20)
    assert loss_on_fresh_sequences(Right(21, 16)) > 0.98 * math.log(20)


def test_the_printed_decoder_leaks(rng):
    """The same in one look: another item t + 1 changes scores of items before it."""
    paddle.seed(2)
    layer = Printed(21, 16)
    items = rng.integers(2, 21, (4, 8))
    other = items.copy()
    other[:, 6] = 1
    before, after = layer(tensor(items)).numpy(), layer(tensor(other)).numpy()
    assert np.abs(after - before)[:, :4].max() > 1e-4
    right = Right(21, 16)
    before, after = right(tensor(items)).numpy(), right(tensor(other)).numpy()
    close(after[:, :5], before[:, :5], 1e-6)


def test_kinds_are_those_of_the_loss():
    with pytest.raises(ValueError, match="next_item is 'all', must be one of full, batch, binary"):
        NextItemLoss("all", 4, 4, 9)
