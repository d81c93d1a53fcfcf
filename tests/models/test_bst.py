"""models/bst against NumPy float64, finite differences, Paddle's own attention, the mistakes that
others made, the invariants."""

import bisect
import itertools
import math

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
    probabilities,
    random_batch,
    scramble,
    settings_of,
)
from toy import FIELDS, OF_USER, SCHEMA, tensor, tensors

from models.bst import net as bst
from models.bst.dygraph_model import DygraphModel
from models.bst.net import BST, TargetBlock
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Schema
from paddleinterest.nets.transformer import (
    MultiHeadAttention,
    Position,
    TransformerBlock,
    time_edges,
)
from paddleinterest.training import loading

SMALL = dict(
    embedding_size=3,
    position_size=4,
    position_buckets=7,
    heads=2,
    concat_length=6,
    tower=(8, 4),
    embedding_std=0.5,
    activation="prelu",
)
POSITIONS, OUTPUTS = ("time", "index", "sinusoidal", "none"), ("target", "concat", "mean")
SWITCHES = list(itertools.product(POSITIONS, OUTPUTS, (1, 2)))


@pytest.fixture
def double(monkeypatch):
    """Layers made in float64, and a mask that fits them."""
    history_mask = bst.history_mask
    monkeypatch.setattr(bst, "history_mask", lambda batch: history_mask(batch).astype("float64"))
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


def made(position="index", output="target", blocks=1, seed=0, **kw):
    """A net of which every weight matters: random values, and a last layer that makes of them
    logits of size 1."""
    net = BST(FIELDS, 1, position=position, output=output, blocks=blocks, **{**SMALL, **kw})
    scramble(net, seed, scale=0.6)
    net.eval()
    last = net.tower.mlp.out
    with paddle.no_grad():
        logit = net(tensors(random_batch(SCHEMA, 200, np.arange(200) % 12)))
        last.weight.set_value(last.weight / logit.std())
        last.bias.set_value((last.bias - logit.mean()) / logit.std())
        if net.tower.item_bias is not None:
            net.tower.item_bias.weight.set_value(net.tower.item_bias.weight / logit.std())
    return net


def some_sequence(rng, rows=5, length=7, width=8):
    """s, mask: the last position real, of the others none, one, all or some; what stands at padding
    is large."""
    lengths = np.r_[0, 1, length - 1, rng.integers(2, length - 1, rows - 3)]
    mask = ((np.arange(length) < lengths[:, None]) | (np.arange(length) == length - 1)).astype(
        np.float64
    )
    s = rng.normal(size=(rows, length, width))
    s[mask == 0] = 7.0
    return s, mask


def double_layer(layer, rng):
    for _, t in layer.state_dict().items():
        t.set_value(rng.normal(0, 0.5, t.shape))
    return layer


# the formulas once more, row by row and head by head


def np_attention(w, prefix, s, mask, heads):
    """MH(S) and the weights [B, H, L, L]: each row over its real positions alone."""
    width = s.shape[-1]
    q, v = (s @ w[f"{prefix}.{n}_proj.weight"] + w[f"{prefix}.{n}_proj.bias"] for n in "qv")
    k = s @ w[f"{prefix}.k_proj.weight"]
    out, weights = np.zeros_like(s), np.zeros((len(s), heads, s.shape[1], s.shape[1]))
    for row, h in itertools.product(range(len(s)), range(heads)):
        part, real = slice(h * width // heads, (h + 1) * width // heads), np.flatnonzero(mask[row])
        score = np.exp(q[row][:, part] @ k[row][real][:, part].T / math.sqrt(width // heads))
        weights[row, h][:, real] = score / score.sum(-1, keepdims=True)
        out[row][:, part] = weights[row, h] @ v[row][:, part]
    return out @ w[f"{prefix}.out_proj.weight"] + w[f"{prefix}.out_proj.bias"], weights


def np_norm(w, prefix, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * w[f"{prefix}.weight"] + w[f"{prefix}.bias"]


def np_block(w, prefix, s, mask, heads):
    """S' = LN(S + MH(S)), F = LN(S' + LeakyReLU(S'·W1 + b1)·W2 + b2)."""
    mh, weights = np_attention(w, f"{prefix}attention", s, mask, heads)
    s = np_norm(w, f"{prefix}norm1", s + mh)
    hidden = s @ w[f"{prefix}linear1.weight"] + w[f"{prefix}linear1.bias"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    return (
        np_norm(
            w,
            f"{prefix}norm2",
            s + hidden @ w[f"{prefix}linear2.weight"] + w[f"{prefix}linear2.bias"],
        ),
        weights,
    )


def np_positions(net, w, batch):
    """Vectors of the history's positions [B, T, P] and of the target's [P], each looked up by
    itself."""
    ids, position = batch["history_item"], net.position
    last, table = SMALL["position_buckets"], position.table.numpy().astype(np.float64)
    if position.kind == "sinusoidal":
        width = table.shape[1]
        table = (
            np.array(
                [
                    [
                        (math.cos if c % 2 else math.sin)(k / 10000 ** (c // 2 * 2 / width))
                        for c in range(width)
                    ]
                    for k in range(last + 1)
                ]
            )
            * 2**0.5
            * SMALL["embedding_std"]
        )
    out = np.zeros((*ids.shape, table.shape[1]))
    for b, t in zip(*np.nonzero(ids), strict=True):
        if position.kind == "time":
            gap = int(batch["target_time"][b]) - int(batch["history_time"][b, t])
            row = 1 if gap <= 0 else 1 + bisect.bisect_right(time_edges(last), gap)
        else:
            row = min(int((ids[b] != 0).sum()) - t, last)
        out[b, t] = table[row]
    return out, table[0]


def np_logits(net, batch, kw):
    """Logits [B] and the target's weights [B, T] of the whole net, in evaluation."""
    w = reference.weights_of(net)
    names = [f.name for f in SCHEMA.item_fields]
    history, v = (
        reference.embed(w, names, batch, "history"),
        reference.embed(w, names, batch, "target"),
    )
    mask = (batch["history_item"] != 0).astype(np.float64)
    if net.position is not None:
        past, now = np_positions(net, w, batch)
        now = np.repeat(now[None], len(v), 0)
        add = kw.get("position_merge") == "add"
        history, v = (
            (history + past, v + now)
            if add
            else (np.concatenate([history, past], -1), np.concatenate([v, now], -1))
        )
    s, whole = (
        np.concatenate([history, v[:, None]], 1),
        np.concatenate([mask, np.ones((len(v), 1))], 1),
    )
    for k in range(kw["blocks"]):
        s, weights = np_block(w, f"blocks.{k}.", s, whole, SMALL["heads"])
    if kw["output"] == "target":
        out = s[:, -1]
    elif kw["output"] == "mean":
        out = np.stack([s[b, whole[b] == 1].mean(0) for b in range(len(s))])
    else:
        slots = np.zeros((len(s), SMALL["concat_length"] + 1, s.shape[-1]))
        for b in range(len(s)):
            recent = s[b, :-1][mask[b] == 1][-SMALL["concat_length"] :]
            slots[b, SMALL["concat_length"] - len(recent) : -1] = recent
            slots[b, -1] = s[b, -1]
        out = slots.reshape(len(s), -1)
    side = [
        w["embeddings.tables.age.weight"][batch["user_age"]],
        w["embeddings.tables.hour.weight"][batch["context_hour"]],
        batch["dense"].astype(np.float64),
    ]
    x = np.concatenate([out, *([v] if kw.get("target_in_tower") else []), *side], -1)
    logit = reference.mlp("prelu", w, "tower.mlp", x)[:, 0]
    if kw.get("item_bias"):
        logit = logit + w["tower.item_bias.weight"][batch["target_item"], 0]
    return logit, weights[:, :, -1, :-1].mean(1)


# attention


def test_attention_is_paddles(rng, double):
    """The same weights in paddle.nn.MultiHeadAttention, whose keys also have a bias: it changes
    nothing."""
    ours, theirs = MultiHeadAttention(8, 4), double_layer(paddle.nn.MultiHeadAttention(8, 4), rng)
    assert not ours.set_state_dict(
        {k: v for k, v in theirs.state_dict().items() if k != "k_proj.bias"}
    )[0]
    s = tensor(rng.normal(size=(5, 7, 8)))
    out, weight = ours(s, paddle.ones([5, 7], "float64"))
    close(out, theirs(s), 1e-12)
    close(weight.sum(-1), np.ones((5, 4, 7)), 1e-12)
    close(ours.of_target(s, paddle.ones([5, 7], "float64"), s[:, 3])[0], theirs(s)[:, 3], 1e-12)
    close(
        ours.of_target(s[:, :6], paddle.ones([5, 6], "float64"), s[:, 6], itself=True)[0],
        theirs(s)[:, 6],
        1e-12,
    )


def test_attention(rng, double):
    layer, (s, mask) = double_layer(MultiHeadAttention(8, 4), rng), some_sequence(rng)
    w = {f"a.{k}": v for k, v in reference.weights_of(layer).items()}
    expected, weights = np_attention(w, "a", s, mask, 4)
    out, got = layer(tensor(s), tensor(mask))
    close(out, expected, 1e-12)
    close(got, weights, 1e-12)
    assert (
        got.numpy().transpose(0, 3, 1, 2)[mask == 0] == 0
    ).all()  # padding weighs exactly nothing
    row, got = layer.of_target(tensor(s), tensor(mask), tensor(s[:, -1]))
    close(row, expected[:, -1], 1e-12)
    close(got, weights[:, :, -1], 1e-12)
    assert (got.numpy().transpose(0, 2, 1)[mask == 0] == 0).all()
    row, got = layer.of_target(
        tensor(s[:, :-1]), tensor(mask[:, :-1]), tensor(s[:, -1]), itself=True
    )
    close(row, expected[:, -1], 1e-12)
    close(got, weights[:, :, -1, :-1], 1e-12)


def test_many_targets_of_one_history(rng, double):
    """Each sees the history and itself, not the others."""
    layer, (s, mask) = double_layer(MultiHeadAttention(8, 2), rng), some_sequence(rng)
    targets = rng.normal(size=(6, 8))
    for row in range(3):  # empty, one event, full
        out, weight = layer.of_target(
            tensor(s[row : row + 1, :-1]),
            tensor(mask[row : row + 1, :-1]),
            tensor(targets),
            itself=True,
        )
        for n in range(6):
            alone, each = layer(
                tensor(np.r_[s[row, :-1], targets[n : n + 1]][None]), tensor(mask[row : row + 1])
            )
            close(out[n], alone[0, -1], 1e-12)
            close(weight.reshape([6, 2, 6])[n], each[0, :, -1, :-1], 1e-12)


@pytest.mark.parametrize("heads, width", [(1, 4), (2, 8)])
def test_scores_are_divided_by_the_root_of_a_heads_width(heads, width):
    """Identity weights: the score of a position is the inner product over √d_k = 2, d_k of one
    head, not of all."""
    layer = MultiHeadAttention(width, heads)
    for p in layer.parameters():
        p.set_value(
            np.eye(width, dtype=np.float32) if len(p.shape) == 2 else np.zeros(width, np.float32)
        )
    s = np.zeros((1, 2, width), np.float32)
    s[0, 0, 0], s[0, 1, 0] = 4.0, 1.0  # scores of the last row in head 1: 4 and 1, over 2
    share = math.exp(2) / (math.exp(2) + math.exp(0.5))
    for weight in (
        layer(tensor(s), paddle.ones([1, 2]))[1][:, :, -1],
        layer.of_target(tensor(s), paddle.ones([1, 2]), tensor(s[:, 1]))[1],
    ):
        close(weight[0, 0], [share, 1 - share], 1e-6)


# block


def test_block(rng, double):
    block, (s, mask) = double_layer(TransformerBlock(8, 2, 5), rng), some_sequence(rng)
    expected, weights = np_block(reference.weights_of(block), "", s, mask, 2)
    out, got = block(tensor(s), tensor(mask))
    close(out, expected, 1e-11)
    close(got, weights, 1e-12)
    last = TargetBlock(8, 2, 5)
    last.set_state_dict(block.state_dict())
    for form in (last.forward, last.of_target):
        row, got = form(tensor(s), tensor(mask), tensor(s[:, -1]))
        close(row, expected[:, -1], 1e-11)
        close(got, weights[:, :, -1], 1e-12)


FORMS = ["all rows", "target", "fast target", "itself"]


def block_of(form, dropout=0.0):
    kind = TransformerBlock if form == "all rows" else TargetBlock
    return kind(8, 2, 5, dropout)


@pytest.mark.parametrize("form", FORMS)
def test_block_gradients(rng, double, form):
    block, (s, mask) = double_layer(block_of(form), rng), some_sequence(rng)
    x, v = tensor(s, stop_gradient=False), tensor(s[:, -1], stop_gradient=False)
    direction = tensor(
        rng.normal(size=s.shape if form == "all rows" else s[:, -1].shape)
        * (mask[..., None] if form == "all rows" else 1)
    )

    def value():
        if form == "all rows":
            return (block(x, tensor(mask))[0] * direction).sum()
        if form == "target":
            return (block.forward(x, tensor(mask), v)[0] * direction).sum()
        return (block.of_target(x, tensor(mask), v, itself=form == "itself")[0] * direction).sum()

    read = {
        "s": x,
        **({} if form == "all rows" else {"target": v}),
        **dict(block.named_parameters()),
    }
    reference.check_gradients(value, read, rng)
    assert not x.grad.numpy()[mask == 0].any()  # nothing flows to padding


class Returns(paddle.nn.Layer):
    """Stands for dropout: notes what passes, and gives zeros, or what came."""

    def __init__(self, zero):
        super().__init__()
        self.zero, self.seen = zero, []

    def forward(self, x):
        self.seen.append(x.numpy())
        return x * 0 if self.zero else x


@pytest.mark.parametrize("form", FORMS[:3])
def test_dropout_is_inside_the_residual_branch(rng, double, form):
    """With all that dropout sees taken away, S itself is left; and it sees MH(S) and the
    feed-forward's output."""
    block, (s, mask) = double_layer(block_of(form, 0.5), rng), some_sequence(rng)
    assert isinstance(block.dropout, paddle.nn.Dropout) and block.dropout.p == 0.5
    w, target = reference.weights_of(block), form != "all rows"
    x = s[:, -1] if target else s

    def call():
        if not target:
            return block(tensor(s), tensor(mask))[0]
        rows = block.forward if form == "target" else block.of_target
        return rows(tensor(s), tensor(mask), tensor(x))[0]

    block.dropout = Returns(zero=True)
    close(call(), np_norm(w, "norm2", np_norm(w, "norm1", x)), 1e-11)
    block.dropout = Returns(zero=False)
    close(
        call(),
        np_block(w, "", s, mask, 2)[0][:, -1] if target else np_block(w, "", s, mask, 2)[0],
        1e-11,
    )
    mh = np_attention(w, "attention", s, mask, 2)[0]
    assert len(block.dropout.seen) == 2
    close(block.dropout.seen[0], mh[:, -1] if target else mh, 1e-11)


def test_dropout_only_in_training():
    net, batch = (
        made(block_dropout=0.5, blocks=2),
        tensors(random_batch(SCHEMA, 20, np.arange(20) % 7)),
    )
    close(net(batch), made(blocks=2)(batch), 0)
    net.train()
    first, second = net(batch).numpy(), net(batch).numpy()
    assert np.abs(first - second).max() > 1e-2
    paddle.seed(5)
    again = net(batch).numpy()
    paddle.seed(5)
    close(net(batch), again, 0)


# position


@pytest.mark.parametrize("buckets", [1, 2, 8, 64, 300])
def test_time_buckets_at_their_edges(buckets):
    edges = time_edges(buckets)
    assert (
        len(edges) == buckets and edges[0] == 1 and all(a < b for a, b in itertools.pairwise(edges))
    )
    if buckets > 1:
        assert edges[-1] == 10 * 365 * 24 * 3600
        ratio = edges[-1] ** (1 / (buckets - 1))
        assert all(
            abs(b / a / ratio - 1) < 0.02 for a, b in itertools.pairwise(edges) if a > 1000 * ratio
        )
    now = 1_700_000_000
    gaps = sorted(
        {g + d for g in [0, 1, *edges, 2**31, 2**33, 2**40, -1, -(2**33)] for d in (-1, 0, 1)}
    )
    expected = [1 if g < 1 else 1 + sum(g >= e for e in edges) for g in gaps]
    rows = Position("time", 3, buckets).rows(
        {
            "history_time": tensor([[now - g for g in gaps]], dtype="int64"),
            "target_time": tensor([now], dtype="int64"),
        },
        paddle.ones([1, len(gaps)]),
    )
    assert rows.numpy().tolist() == [expected]
    assert (
        max(expected) == buckets + 1 == Position("time", 3, buckets).table.shape[0] - 1
    )  # row 0 is the target's alone


def test_index_counts_from_the_end():
    position = Position("index", 3, 4)
    mask = tensor(
        np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
    )
    rows = position.rows({}, mask).numpy()
    assert rows[0].tolist() == [4, 4, 4, 3, 2, 1] and rows[1, :2].tolist() == [2, 1]
    assert rows.min() >= 1 and position.table.shape == [5, 3]


@pytest.mark.parametrize("position, merge", list(itertools.product(POSITIONS, ("concat", "add"))))
@pytest.mark.parametrize("output", OUTPUTS)
def test_order_matters_where_positions_are_known(position, merge, output):
    """The same items in another order. The moments stay as they are. Concatenation is an order of
    its own."""
    net, batch = made(position, output, position_merge=merge, heads=1), random_batch(SCHEMA, 8, 5)
    turned = {
        k: v[:, ::-1].copy() if k.startswith("history_") and k != "history_time" else v
        for k, v in batch.items()
    }
    change = np.abs(probabilities(net, batch) - probabilities(net, turned)).max()
    assert change < 1e-6 if position == "none" and output != "concat" else change > 1e-3


@pytest.mark.parametrize("position", ["index", "time"])
def test_events_beyond_the_last_bucket_share_a_position(position):
    net, batch = made(position), random_batch(SCHEMA, 1, 12)
    if position == "time":
        batch["history_time"] = batch["target_time"][:, None] - 10**9 - np.arange(12)[None, ::-1]
    older = {
        k: v[:, [1, 0, *range(2, 12)]] if k in ("history_item", "history_category") else v
        for k, v in batch.items()
    }
    close(probabilities(net, older), probabilities(net, batch), 1e-6)


# the whole net


@pytest.mark.parametrize("position, output, blocks", SWITCHES)
@pytest.mark.parametrize("merge", ["concat", "add"])
def test_bst(position, output, blocks, merge):
    kw = dict(
        output=output,
        blocks=blocks,
        position_merge=merge,
        item_bias=blocks == 2,
        target_in_tower=merge == "concat",
    )
    net = made(position, **kw)
    batch = random_batch(SCHEMA, 30, np.arange(30) % 13, seed=2)
    batch["history_time"][5, 0] = batch["target_time"][5] + 1000  # a clock that went wrong
    logit, weight = net(tensors(batch), return_attention=True)
    expected, attention = np_logits(net, batch, kw)
    assert np.std(expected) > 0.2
    close(logit, expected, 1e-5)
    close(weight, attention, 1e-5)
    assert (weight.numpy()[batch["history_item"] == 0] == 0).all() and (
        weight.numpy().sum(1) < 1
    ).all()
    close(logit, net(tensors(batch)), 0)


def test_three_blocks_and_a_wider_feed_forward():
    kw = dict(output="mean", blocks=3, feed_forward=7)
    net, batch = made("time", **kw), random_batch(SCHEMA, 20, np.arange(20) % 9)
    close(net(tensors(batch)), np_logits(net, batch, kw)[0], 1e-5)
    assert net.blocks[2].linear1.weight.shape == [10, 7]


@pytest.mark.parametrize("output, blocks", list(itertools.product(OUTPUTS, (1, 2))))
def test_gradients_of_the_whole_net(double, rng, output, blocks):
    net = BST(FIELDS, 1, position="time", output=output, blocks=blocks, sparse=False, **SMALL)
    double_layer(net, rng).eval()
    batch = tensors(random_batch(SCHEMA, 6, [0, 1, 2, 3, 7, 9]))
    batch["dense"] = batch["dense"].astype("float64")
    direction = tensor(rng.normal(size=6))
    names = [
        "embeddings.tables.item.weight",
        "position.table",
        "blocks.0.attention.q_proj.weight",
        "blocks.0.attention.k_proj.weight",
        "blocks.0.attention.v_proj.bias",
        "blocks.0.norm1.weight",
        "blocks.0.linear1.weight",
        "tower.mlp.hidden.0.weight",
    ]
    own = dict(net.named_parameters())
    own["embeddings.tables.item.weight"].set_value(
        own["embeddings.tables.item.weight"]
        * tensor((np.arange(40) > 0)[:, None].astype(np.float64))
    )
    reference.check_gradients(
        lambda: (net(batch) * direction).sum(), {k: own[k] for k in names}, rng, directions=2
    )
    assert not own["embeddings.tables.item.weight"].grad.numpy()[0].any()


def expected_parameters(blocks, width, output):
    shapes = {
        "position.table": [9, 4],
        "tower.item_bias.weight": [40, 1],
        "tower.mlp.hidden.0.weight": [output + 6 + 1, 8],
        "tower.mlp.hidden.0.bias": [8],
        "tower.mlp.hidden.1.weight": [8, 4],
        "tower.mlp.hidden.1.bias": [4],
        "tower.mlp.out.weight": [4, 1],
        "tower.mlp.out.bias": [1],
        "tower.mlp.activations.0.slope": [8],
        "tower.mlp.activations.1.slope": [4],
        **{f"embeddings.tables.{f.name}.weight": [f.size, 3] for f in FIELDS},
    }
    for k in range(blocks):
        shapes.update(
            {
                f"blocks.{k}.attention.{n}_proj.weight": [width, width]
                for n in ("q", "k", "v", "out")
            }
        )
        shapes.update({f"blocks.{k}.attention.{n}_proj.bias": [width] for n in ("q", "v", "out")})
        shapes.update(
            {f"blocks.{k}.norm{n}.{own}": [width] for n in (1, 2) for own in ("weight", "bias")}
        )
        shapes.update({f"blocks.{k}.linear{n}.weight": [width, width] for n in (1, 2)})
        shapes.update({f"blocks.{k}.linear{n}.bias": [width] for n in (1, 2)})
    return shapes


@pytest.mark.parametrize("output, blocks", list(itertools.product(OUTPUTS, (1, 3))))
def test_every_parameter_is_registered_trained_and_moved(output, blocks):
    """The names are written out, because a list of blocks that is no LayerList is missing from
    parameters()."""
    net = made("time", output, blocks, sparse=False, item_bias=True, block_dropout=0.1, dropout=0.1)
    expected = expected_parameters(blocks, 10, 70 if output == "concat" else 10)
    assert {k: list(p.shape) for k, p in net.named_parameters()} == expected
    net.train()
    paddle.seed(1)
    batch = tensors(random_batch(SCHEMA, 200, np.arange(200) % 9))
    before = {k: p.numpy().copy() for k, p in net.named_parameters()}
    F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 1e-7, (
            f"{name} gets no gradient"
        )
    config = settings_of(
        "bst", "hyper_parameters.sparse=false", "hyper_parameters.optimizer.learning_rate=0.01"
    )
    DygraphModel().create_optimizer(net, config).step()
    for name, p in net.named_parameters():
        assert np.abs(p.numpy() - before[name]).max() > 1e-4, f"{name} does not move"


def test_sparse_tables_get_the_same_gradients():
    batch, moved = tensors(random_batch(SCHEMA, 40, np.arange(40) % 9)), []
    for sparse in (False, True):
        net = made("time", sparse=sparse, item_bias=True)
        net.train()
        F.binary_cross_entropy_with_logits(net(batch), batch["label"]).backward()
        before = {k: p.numpy().copy() for k, p in net.named_parameters()}
        paddle.optimizer.SGD(1.0, parameters=net.parameters()).step()
        moved.append({k: p.numpy() - before[k] for k, p in net.named_parameters()})
    for name in moved[0]:
        close(moved[1][name], moved[0][name], 1e-6)
    assert not moved[1]["embeddings.tables.item.weight"][0].any()  # padding


@pytest.mark.parametrize("position, output, blocks", SWITCHES)
def test_empty_histories(position, output, blocks):
    """The target attends to itself alone; values and gradients are finite, also where no row of a
    batch has a history."""
    net = made(position, output, blocks, sparse=False)
    net.train()
    for lengths in ([0, 0, 3, 0], 0):
        net.clear_gradients()
        batch = random_batch(SCHEMA, 4, lengths, seed=3)
        logit, weight = net(tensors(batch), return_attention=True)
        logit.sum().backward()
        close(logit, np_logits(net, batch, dict(output=output, blocks=blocks))[0], 1e-5)
        assert not weight.numpy()[0].any()
        assert all(
            np.isfinite(p.grad.numpy()).all() for p in net.parameters() if p.grad is not None
        )


@pytest.mark.parametrize("position, output, blocks", SWITCHES)
@pytest.mark.parametrize("merge", ["concat", "add"])
def test_rank_is_forward_with_the_user_repeated(position, output, blocks, merge):
    net = made(position, output, blocks, position_merge=merge, item_bias=True)
    for n, length, seed in ((7, 5, 0), (1, 9, 1), (6, 0, 2)):
        batch = random_batch(SCHEMA, n, length, seed=seed)
        one = {k: v[:1] if k.startswith(OF_USER) else v for k, v in batch.items()}
        repeated = tensors({k: np.repeat(v, n, 0) if len(v) == 1 else v for k, v in one.items()})
        with paddle.no_grad():
            logit, weight = net(repeated, return_attention=True)
            got, attention = net.rank(tensors(one), return_attention=True)
            close(got, logit, 1e-6)
            close(attention, weight, 1e-6)
            close(
                net.rank(tensors({**one, "target_time": np.repeat(one["target_time"], n)})),
                logit,
                1e-6,
            )


def test_one_block_reads_the_history_once(monkeypatch):
    """500 candidates never become 500 histories, unless the blocks mix them."""
    net, seen, elements = made("time"), [], BST._elements
    monkeypatch.setattr(
        BST,
        "_elements",
        lambda self, fields, rows: (
            seen.append(fields[0].shape[:-1]) or elements(self, fields, rows)
        ),
    )
    batch = {
        k: v[:1] if k.startswith(OF_USER) else v for k, v in random_batch(SCHEMA, 500, 50).items()
    }
    net.rank(tensors(batch))
    assert seen == [[1, 50], [500]]


# invariants


@pytest.mark.parametrize("position, output, blocks", SWITCHES)
def test_padding_batch_mates_and_batch_size(position, output, blocks):
    check_invariants(made(position, output, blocks, seed=4), SCHEMA)


@pytest.mark.parametrize("output, blocks", list(itertools.product(OUTPUTS, (1, 2))))
def test_padding_changes_no_gradient(output, blocks):
    batch, seen = random_batch(SCHEMA, 12, np.arange(12) % 6), []
    for extra in (0, 9):
        net = made("time", output, blocks, sparse=False)
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
            {"logit": logit.numpy(), **{k: p.grad.numpy() for k, p in net.named_parameters()}}
        )
    for name in seen[0]:
        close(seen[1][name], seen[0][name], 2e-5)


TINY_BST = [
    *TINY,
    "hyper_parameters.position_size=4",
    "hyper_parameters.position_buckets=9",
    "hyper_parameters.heads=2",
    "hyper_parameters.block_dropout=0.2",
]
EXPORTED = [
    ("auto", "target", 1, "concat"),
    ("index", "concat", 2, "add"),
    ("sinusoidal", "mean", 1, "concat"),
    ("none", "target", 2, "concat"),
]


def switch(position, output, blocks, merge):
    return (
        *TINY_BST,
        f"hyper_parameters.position={position}",
        f"hyper_parameters.output={output}",
        f"hyper_parameters.blocks={blocks}",
        f"hyper_parameters.position_merge={merge}",
    )


@pytest.mark.parametrize("which", EXPORTED)
def test_saving_and_loading(tmp_path, data, which):
    check_saving("bst", data, tmp_path, *switch(*which))


@pytest.mark.slow
@pytest.mark.parametrize("which", EXPORTED)
def test_export(tmp_path, data, which):
    check_export(
        "bst",
        data,
        tmp_path,
        *switch(*which),
        lengths=(0, 1, 2, 7, 25, 50) if which[0] == "auto" else (0, 1, 50),
    )


# settings


def of_schema(time, *overrides):
    config = settings_of("bst", *overrides)
    return DygraphModel(), config, Schema("toy", "", "", 0, time, SCHEMA.fields, {})


def test_position_follows_the_clock():
    for time, kind in (("seconds", "time"), ("order", "index")):
        model, config, schema = of_schema(time)
        assert model.create_model(config, schema).position.kind == kind
        assert model.needs_times(config, schema) == (kind == "time")
        spec = model.input_spec(config, schema)
        assert ({"history_time", "target_time"} <= set(spec)) == (kind == "time")
        assert "label" not in spec
    model, config, schema = of_schema("order", "hyper_parameters.position=time")
    with pytest.raises(InputError, match="position.*toy.*order"):
        loading.create_net(model, config, schema)


@pytest.mark.parametrize(
    "change, message",
    [
        ("heads=5", "heads is 5.*144"),
        ("position=clock", "position is 'clock'"),
        ("output=last", "output is 'last'"),
        ("position_merge=sum", "position_merge is 'sum'"),
        ("blocks=0", "blocks is 0"),
        ("heads=0", "heads is 0"),
        ("block_dropout=1.0", "block_dropout"),
        ("position_size=0", "position_size is 0"),
        ("position_buckets=0", "position_buckets"),
        ("concat_length=-1", "concat_length"),
        ("feed_forward=-1", "feed_forward"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(InputError, match=message):
        model, config, schema = of_schema("seconds", f"hyper_parameters.{change}")
        loading.create_net(model, config, schema)


def test_concat_length_is_the_history_cap_where_none_is_given():
    model, config, schema = of_schema(
        "seconds", "hyper_parameters.output=concat", "runner.history_cap=9"
    )
    assert model.create_model(config, schema).length == 9
    model, config, schema = of_schema(
        "seconds", "hyper_parameters.output=concat", "hyper_parameters.concat_length=4"
    )
    assert model.create_model(config, schema).length == 4


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_dropout(data, tmp_path):
    from paddleinterest.training.trainer import train

    results = []
    for name, epochs in (("whole", [2]), ("halves", [1, 2])):
        for e in epochs:
            config = settings_of(
                "bst",
                *TINY_BST,
                f"runner.data_dir={data}",
                f"runner.model_save_path={tmp_path}",
                f"runner.name={name}",
                f"runner.epochs={e}",
                "runner.early_stop=0",
                f"runner.resume={e == 2}",
            )
            result = train(config, data)
        results.append({k: result[k] for k in ("valid", "test")})
    assert results[0] == results[1]
