"""Lists, vectors and event fields in all nets: the formulas in NumPy float64, padding, order of
values, batch mates, one user's candidates, and the fast forms."""

import numpy as np
import paddle
import pytest
import reference
from helpers import TINY, close, probabilities, random_batch, scramble, settings_of
from test_bst import np_block
from test_dien import numpy_attention, numpy_gru, numpy_run, part
from toy import SCHEMA, tensors

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import Field, Schema, of_one_user
from paddleinterest.nets import fast
from paddleinterest.nets.batch import repeat_user
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.pooled import PooledNet
from paddleinterest.training import loading

TAGS = Field("tags", "item", size=9, multiple=True)
HOBBY = Field("hobby", "user", size=7, multiple=True)
WIDTH = 3
OF_EVENTS = [Field("action", "event", size=5), Field("dwell", "event", "dense")]
OF_EVENTS.append(Field("price_paid", "event", "dense"))
RICH = Schema(
    "rich",
    "",
    "",
    0,
    "seconds",
    [*SCHEMA.fields, TAGS, HOBBY, Field("text", "item", "vector", width=WIDTH), *OF_EVENTS],
    {},
)
MODELS = [m for m in settings.models() if loading.bind(settings_of(m)).reads_events]
LENGTHS = np.array([0, 0, 1, 1, 2, 5, 9, 17, 30])
ROWS = len(LENGTHS)
LISTS = ("tags", "hobby")
OF_HISTORY = ("history_", "event_", "negative_")
OWN = [
    "hyper_parameters.embedding_size=8",
    "hyper_parameters.activation=prelu",
    "hyper_parameters.item_bias=false",
]
SWITCHES = {  # of each model, what its formula below says
    "bst": ["hyper_parameters.position=none", "hyper_parameters.heads=2"],
    "din": ["hyper_parameters.history_sum=true"],
    "dien": ["hyper_parameters.hidden_size=5", "hyper_parameters.history_sum=false"],
}


def lists(rng, shape, size, longest=3):
    """Different values, right padded, of 0 to `longest` a list."""
    values = rng.permuted(np.broadcast_to(np.arange(1, size), (*shape, size - 1)), axis=-1)
    length = rng.integers(0, longest + 1, shape)
    return np.where(np.arange(longest) < length[..., None], values[..., :longest], 0)


def rich_batch(seed=5):
    batch = random_batch(SCHEMA, ROWS, LENGTHS, seed)
    rng = np.random.default_rng(seed + 1)
    real = batch["history_item"] > 0
    batch["history_tags"] = lists(rng, real.shape, TAGS.size) * real[..., None]
    batch["target_tags"] = lists(rng, (ROWS,), TAGS.size)
    batch["user_hobby"] = lists(rng, (ROWS,), HOBBY.size)
    numbers = rng.normal(size=(*real.shape, WIDTH)).astype(np.float32)
    batch["history_vector_text"] = numbers * real[..., None].astype(np.float32)
    batch["target_vector_text"] = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    batch["event_action"] = rng.integers(1, 5, real.shape) * real
    numbers = rng.normal(size=(*real.shape, 2)).astype(np.float32)
    batch["event_dense"] = numbers * real[..., None].astype(np.float32)
    return batch


def net_of(model, *overrides):
    own = [*TINY, *OWN, *SWITCHES.get(model, []), *overrides]
    config = settings_of(model, *own)
    net = scramble(loading.create_net(loading.bind(config), config, RICH), 1)
    net.eval()
    return net


# the formulas -------------------------------------------------------------------------------------


def pooled_list(table, ids, pooling):
    """One list after the other: mean or sum of its values' embeddings, zeros if it is empty."""
    out = np.zeros((*ids.shape[:-1], table.shape[1]))
    for at in np.ndindex(*ids.shape[:-1]):
        values = [table[k] for k in ids[at] if k]
        if values:
            out[at] = np.sum(values, 0) / (len(values) if pooling == "mean" else 1)
    return out


def looked_up(w, name, ids, pooling):
    table = w[f"embeddings.tables.{name}.weight"]
    return pooled_list(table, ids, pooling) if name in LISTS else table[ids]


def item_of(w, batch, what, pooling):
    """Item, category, tags and the projected text, side by side."""
    parts = [looked_up(w, n, batch[f"{what}_{n}"], pooling) for n in ("item", "category", "tags")]
    parts.append(batch[f"{what}_vector_text"] @ w["embeddings.projections.text.weight"])
    return np.concatenate(parts, -1)


def events_of(w, batch):
    action = w["embeddings.tables.action.weight"][batch["event_action"]]
    numbers = batch["event_dense"] @ w["embeddings.of_numbers.weight"]
    return np.concatenate([action, numbers], -1)


def side_of(w, batch, pooling):
    of = {"age": "user", "hobby": "user", "hour": "context"}
    parts = [looked_up(w, n, batch[f"{o}_{n}"], pooling) for n, o in of.items()]
    return np.concatenate([*parts, batch["dense"]], -1)


def np_base(w, x, v, mask):
    return [(mask[..., None] * x).sum(1), v]


def np_din(w, x, v, mask):
    padded = np.pad(v, ((0, 0), (0, x.shape[-1] - v.shape[-1])))
    score = reference.activation_unit("prelu", w, "attention.unit", x, padded)
    a = reference.attention_weights(score, mask, True, x.shape[-1])
    total = (mask[..., None] * x)[..., : v.shape[1]].sum(1)
    return [(a[..., None] * x).sum(1), v], [total, v * total]


def np_dien(w, x, v, mask):
    states, _ = numpy_gru(part(w, "extractor.gru"), x, mask)
    a = numpy_attention(w, "bilinear", "prelu", states, v, mask)
    return [numpy_run(part(w, "evolution.cell"), states, a), v]


def np_bst(w, x, v, mask):
    padded = np.pad(v, ((0, 0), (0, x.shape[-1] - v.shape[-1])))
    s = np.concatenate([x, padded[:, None]], 1)
    s, _ = np_block(w, "blocks.0.", s, np.concatenate([mask, np.ones((len(v), 1))], 1), 2)
    return [s[:, -1]]


def np_rnn(w, x, v, mask):
    return [numpy_gru(part(w, "rnn.cell"), x, mask)[1], v]


FORMULAS = {"base": np_base, "din": np_din, "dien": np_dien, "bst": np_bst, "rnn": np_rnn}


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("model", FORMULAS)
def test_logits_by_the_formulas(model, pooling):
    net, batch = net_of(model, f"hyper_parameters.list_pooling={pooling}"), rich_batch()
    w = reference.weights_of(net)
    mask = (batch["history_item"] != 0).astype(np.float64)
    history = item_of(w, batch, "history", pooling)
    x = np.concatenate([history, events_of(w, batch)], -1)
    v = item_of(w, batch, "target", pooling)
    read = FORMULAS[model](w, x, v, mask)
    after = []
    if isinstance(read, tuple):
        read, after = read
    read = np.concatenate([*read, side_of(w, batch, pooling), *after], -1)
    expected = reference.mlp("prelu", w, "tower.mlp", read)[:, 0]
    assert np.std(expected) > 0.04
    close(net(tensors(batch)), expected, 1e-5)


POOLED = ("fm", "afm", "nfm", "deepfm", "fnn", "pnn", "wide_deep")


def np_fields(w, batch, pooling):
    """The vectors of all fields side by side, and the weights of the history's mean."""
    real = batch["history_item"] != 0
    share = real / np.maximum(real.sum(1, keepdims=True), 1)
    past = np.concatenate([item_of(w, batch, "history", pooling), events_of(w, batch)], -1)
    target = item_of(w, batch, "target", pooling)
    mean = (share[..., None] * past).sum(1)
    return np.concatenate([target, mean, side_of(w, batch, pooling)], -1), share


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("model", POOLED)
def test_fields_of_the_factorisation_family(model, pooling):
    net, batch = net_of(model, f"hyper_parameters.list_pooling={pooling}"), rich_batch()
    assert isinstance(net, PooledNet)
    expected, share = np_fields(reference.weights_of(net), batch, pooling)
    x, weight = net.embeddings(tensors(batch))
    close(x, expected, 1e-5)
    close(weight, share, 1e-6)
    assert net.embeddings.count == 2 * 4 + 2 + 3  # item fields and text twice, event, side


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_fm_by_the_formula(pooling):
    net, batch = net_of("fm", f"hyper_parameters.list_pooling={pooling}"), rich_batch()
    w = reference.weights_of(net)
    x, share = np_fields(w, batch, pooling)
    v = x[:, :-1].reshape(ROWS, -1, 8)
    expected = w["bias"][0] + batch["dense"].astype(np.float64) @ w["linear.dense.weight"][:, 0]
    for i in range(v.shape[1]):
        for j in range(i):
            expected += (v[:, i] * v[:, j]).sum(1)
    for key in net.linear.keys:
        table = w[f"linear.tables.{key}.weight"]
        ids = batch[key]
        found = pooled_list(table, ids, pooling) if key in net.linear.multiple else table[ids]
        found = found[..., 0]
        per_event = key.startswith(("history_", "event_"))
        expected += (found * share).sum(1) if per_event else found
    assert "event_action" in net.linear.keys
    close(net(tensors(batch)), expected, 3e-5)


# what must hold for every net ---------------------------------------------------------------------


def of_rows(batch, rows, width=None):
    return {
        k: v[rows][:, :width] if k.startswith(OF_HISTORY) else v[rows] for k, v in batch.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_padding_order_and_batch_mates(model):
    net, batch = net_of(model), rich_batch()
    whole = probabilities(net, batch)
    assert np.std(whole) > 0.01
    turned = {k: v[..., ::-1].copy() if k.endswith(LISTS) else v for k, v in batch.items()}
    close(probabilities(net, turned), whole, 1e-6)
    wider = dict(batch)
    for key, values in batch.items():
        if key.endswith(LISTS):
            wider[key] = np.concatenate([values, np.zeros_like(values)], -1)
    close(probabilities(net, wider), whole, 1e-6)
    longer = dict(batch)
    for key, values in batch.items():
        if key.startswith(OF_HISTORY):
            longer[key] = np.concatenate([values, np.zeros_like(values)], 1)
    close(probabilities(net, longer), whole, 1e-6)
    for row in range(ROWS):
        alone = of_rows(batch, [row], max(1, LENGTHS[row]))
        close(probabilities(net, alone), whole[[row]], 1e-6)


KEYS = (
    "history_tags",
    "target_tags",
    "user_hobby",
    "history_vector_text",
    "target_vector_text",
    "event_action",
    "event_dense",
)


@pytest.mark.parametrize("model", MODELS)
def test_every_kind_is_read(model):
    net, batch = net_of(model), rich_batch()
    whole = probabilities(net, batch)
    for key in KEYS:
        other = batch[key] % 4 + (batch[key] > 0) if batch[key].dtype == np.int64 else -batch[key]
        moved = np.abs(probabilities(net, {**batch, key: other}) - whole)
        assert moved.max() > 1e-4, key
        if key.startswith(OF_HISTORY):
            assert moved[LENGTHS == 0].max() == 0, key


@pytest.mark.parametrize("model", MODELS)
def test_one_users_candidates(model):
    net = net_of(model)
    batch = rich_batch()
    for row in (0, 8):
        request = {k: v[[row]] if of_one_user(k) else v for k, v in batch.items() if k != "label"}
        with paddle.no_grad():
            score, weight = net.rank(tensors(request), return_attention=True)
            logit, a = net(repeat_user(tensors(request)), return_attention=True)
        close(score, logit, 2e-5)
        close(weight, a, 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_fast_forms_agree(model):
    """No fast form is refused, and with them the net gives what `forward` gives."""
    net, batch = net_of(model), tensors(rich_batch())
    assert not fast.refuse_what_differs(net, lambda: net(batch))
    net.eval()
    with paddle.no_grad():
        quick = net(batch)
        with fast.forward_only():
            slow = net(batch)
    close(quick, slow, 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_gets_a_gradient(model):
    net, batch = net_of(model, "hyper_parameters.sparse=false"), rich_batch()
    rng = np.random.default_rng(0)
    for key in [k for k in batch if k.startswith(("history_", "event_"))]:
        if key != "history_time":
            negative = key.replace("history_", "negative_")
            batch[negative] = rng.permuted(batch[key], axis=0) if negative != key else batch[key]
    config = settings_of(model, *TINY, *OWN, *SWITCHES.get(model, []))
    binding = loading.bind(config)
    binding.create_model(config, RICH)
    net.train()
    loss, _, _ = binding.train_forward(net, tensors(batch))
    loss.backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.abs(p.grad.numpy()).max() > 0, name


def without_events():
    kept = [f for f in RICH.fields if f.of != "event"]
    return Schema("plain", "", "", 0, "seconds", kept, {})


def test_mf_reads_lists_and_vectors_and_refuses_event_fields():
    with pytest.raises(InputError, match="mf does not read event fields, but rich has action, dw"):
        net_of("mf")
    config = settings_of("mf", *TINY, "hyper_parameters.embedding_size=8")
    net = scramble(loading.create_net(loading.bind(config), config, without_events()), 1)
    batch = rich_batch()
    w = reference.weights_of(net)
    expected = w["mean"][0]
    vectors = {}
    for table in ("embeddings", "biases"):
        own = {k.replace(table, "embeddings", 1): v for k, v in w.items() if k.startswith(table)}
        item = [
            looked_up(own, n, batch[f"target_{n}"], "mean") for n in ("item", "category", "tags")
        ]
        item.append(batch["target_vector_text"] @ own["embeddings.projections.text.weight"])
        user = [looked_up(own, n, batch[f"user_{n}"], "mean") for n in ("age", "hobby")]
        vectors[table] = sum(user), sum(item)
    u, q = vectors["embeddings"]
    b_u, b_q = vectors["biases"]
    expected = expected + b_u[:, 0] + b_q[:, 0] + (u * q).sum(1)
    net.eval()
    close(net(tensors(batch)), expected, 1e-5)


def test_a_net_that_does_not_read_events_is_refused():
    class Own(ClickModel):
        def create_model(self, config, schema):
            return self.net_arguments(config, schema)

    config = settings_of("base", *TINY)
    with pytest.raises(InputError, match="base does not read event fields, but rich has action, d"):
        Own().create_model(config, RICH)
    found = Own().create_model(config, without_events())
    assert [f.name for f in found["fields"]] == [
        "item",
        "category",
        "age",
        "hour",
        "tags",
        "hobby",
        "text",
    ]


def test_wrong_pooling_is_named():
    with pytest.raises(InputError, match="list_pooling is 'max', must be one of mean, sum"):
        net_of("base", "hyper_parameters.list_pooling=max")
