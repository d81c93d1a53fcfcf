"""What stands in a net's `forward` is what trains: fast forms that compute something else are not
used."""

import time

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import random_batch, settings_of
from toy import FIELDS, SCHEMA, tensors

from models.bst.net import BST
from models.dien.net import DIEN, AUGRUCell, EvolutionAttention, InterestGRU
from models.din.net import DIN, InterestAttention, LocalActivationUnit
from paddleinterest.core import settings
from paddleinterest.nets import fast, native
from paddleinterest.nets.layers import SumPooling, masked_softmax
from paddleinterest.nets.next_item import AuxiliaryLoss
from paddleinterest.nets.transformer import MultiHeadAttention
from paddleinterest.training import loading

needs_compiler = pytest.mark.skipif(
    native.library("recurrence") is None, reason="no C++ compiler on this machine"
)


@pytest.fixture(autouse=True)
def on():
    yield
    native.use(True)


def batch():
    feeds = random_batch(SCHEMA, 8, [0, 1, 2, 3, 4, 5, 6, 7])
    for f in SCHEMA.item_fields:
        feeds[f"negative_{f.name}"] = feeds[f"history_{f.name}"][:, ::-1].copy()
    return tensors(feeds)


def refused(net):
    """The sentences about a net, and its layers that lost a form, {class: forms}."""
    feeds = batch()
    run = (lambda: net.forward_train(feeds)) if isinstance(net, DIEN) else lambda: net(feeds)
    sentences = fast.refuse_what_differs(net, run)
    layers = [x for x in net.sublayers() if isinstance(x, fast.FastLayer) and x.refused]
    return sentences, {type(x).__name__: x.refused for x in layers}


# each edit is a line of net.py that a reader might change


def sigmoid_weigh(self, score, mask):
    return F.sigmoid(score) * mask


def squared_gate(self, projected, h, a):
    u = F.sigmoid(paddle.addmm(projected[2], h, self.U_u))
    return a * a * u


def other_candidate(self, projected, h, a):
    candidate = F.relu(projected[1] + paddle.addmm(self.d_h.unsqueeze(0), h, self.U_h))
    return h + self.gate(projected, h, a) * (candidate - h)


def without_difference(self, history, target):
    w1, w2, w3, w4 = paddle.split(self.linears[0].weight, 4)
    v = target.unsqueeze(1).expand_as(history)
    return history @ w1 + v @ w2 + (history * v) @ w4 + self.linears[0].bias


def one_sided(self, h, e):
    return (h * e).sum(-1) / h.shape[-1]


def mean(self, history, mask):
    return (history * mask.unsqueeze(-1)).mean(1)


def unscaled(self, s, mask, query=None):
    q, k, v = (
        self._heads(f(x))
        for f, x in (
            (self.q_proj, s if query is None else query),
            (self.k_proj, s),
            (self.v_proj, s),
        )
    )
    weight = masked_softmax(
        q @ k.transpose([0, 1, 3, 2]),
        mask.unsqueeze([1, 2]).expand_as(q @ k.transpose([0, 1, 3, 2])),
    )
    return self.out_proj((weight @ v).transpose([0, 2, 1, 3]).flatten(2)), weight


def scaled_bilinear(self, states, target, mask, shared=False):
    query = paddle.matmul(target, self.W, transpose_y=True)
    score = paddle.matmul(states, query.unsqueeze(-1)).squeeze(-1)
    return masked_softmax(score / 4, mask)


def slower(self, i, mask):
    states, last = self.gru(0.5 * i, sequence_length=mask.sum(-1).astype("int64"))
    return states, last[0]


def din(**kw):
    return DIN(FIELDS, 1, attention_softmax=True, activation="relu", **kw)


EDITS = [
    (din, InterestAttention, "weigh", sigmoid_weigh, {"InterestAttention": {"native"}}),
    (
        din,
        LocalActivationUnit,
        "first_layer",
        without_difference,
        {"InterestAttention": {"native"}},
    ),
    (DIEN, AUGRUCell, "gate", squared_gate, {"InterestEvolution": {"native", "by_hand"}}),
    (DIEN, AUGRUCell, "step", other_candidate, {"InterestEvolution": {"native", "by_hand"}}),
    (DIEN, AuxiliaryLoss, "score", one_sided, {"AuxiliaryLoss": {"native"}}),
    (DIEN, EvolutionAttention, "forward", scaled_bilinear, {"EvolutionAttention": {"native"}}),
    (DIEN, InterestGRU, "forward", slower, {"InterestGRU": {"native"}}),
    (DIEN, SumPooling, "forward", mean, {"SumPooling": {"native"}}),
    (BST, MultiHeadAttention, "forward", unscaled, {"TargetBlock": {"of_target"}}),
]


def made(kind):
    kw = {"history_sum": True} if kind is DIEN else {}
    return kind(FIELDS, dense=1, **kw) if kind is not din else din()


@needs_compiler
@pytest.mark.parametrize("kind, cls, name, edit, expected", EDITS)
def test_an_edited_equation_refuses_its_fast_forms(monkeypatch, kind, cls, name, edit, expected):
    monkeypatch.setattr(cls, name, edit)
    sentences, layers = refused(made(kind))
    assert layers == expected
    assert len(sentences) == sum(map(len, expected.values()))
    assert all("forward is used" in s and "\n" not in s for s in sentences)


@pytest.mark.parametrize("kind", [din, DIEN, BST])
@pytest.mark.parametrize("wanted", [True, False])
def test_what_agrees_stays(kind, wanted):
    native.use(wanted)
    assert refused(made(kind)) == ([], {})


def test_without_operators_the_hand_written_gradient_is_compared(monkeypatch):
    native.use(False)
    monkeypatch.setattr(AUGRUCell, "gate", squared_gate)
    assert refused(made(DIEN))[1] == {"InterestEvolution": {"by_hand"}}


def gradients(net, feeds):
    net.train()
    net(feeds).sum().backward()
    found = {k: p.grad.numpy() for k, p in net.named_parameters() if p.grad is not None}
    net.clear_gradients()
    return found


@needs_compiler
@pytest.mark.parametrize(
    "kind, cls, name, edit",
    [(din, InterestAttention, "weigh", sigmoid_weigh), (DIEN, AUGRUCell, "gate", squared_gate)],
)
def test_the_edit_is_what_trains(monkeypatch, kind, cls, name, edit):
    monkeypatch.setattr(cls, name, edit)
    paddle.seed(3)
    net, feeds = made(kind), batch()
    with fast.forward_only():
        own = gradients(net, feeds)
    before = gradients(net, feeds)
    refused(net)
    after = gradients(net, feeds)
    name = next(k for k in own if "attention" in k and k.endswith(("weight", "W")))
    assert np.abs(before[name] - own[name]).max() > 0.1 * np.abs(own[name]).max()
    for name, gradient in own.items():
        assert np.abs(after[name] - gradient).max() <= 1e-5 * np.abs(gradient).max(), name


@needs_compiler
def test_nothing_of_the_net_changes():
    """Neither weights, nor buffers, nor gradients, nor the mode."""
    net = DIN(FIELDS, 1, activation="dice")
    net.train()
    net.tower.eval()
    before = {k: v.numpy() for k, v in net.state_dict().items()}
    refused(net)
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k])
    assert all(p.grad is None or not p.grad.numpy().any() for p in net.parameters())
    assert net.training and not net.tower.training


class Doubled(fast.FastLayer):
    """A form that fails, one that does not run, one that is right."""

    fast_forms = ("fails", "elsewhere", "right")

    def forward(self, x):
        return 2 * x

    def fails(self, x):
        raise RuntimeError("no such\noperator")

    def elsewhere(self, x):
        return None

    def right(self, x):
        return x + x


def test_a_form_that_fails_is_refused_in_one_line():
    layer = Doubled()
    with fast.forward_only():
        found = fast.refuse_what_differs(layer, lambda: layer(paddle.ones([2])))
    assert layer.refused == {"fails"}
    assert len(found) == 1 and "it fails: no such operator" in found[0]
    assert layer(paddle.ones([2])).tolist() == [2, 2]


@pytest.mark.parametrize("model", settings.models())
def test_no_form_of_any_model_is_refused_with_its_own_settings(model, capsys):
    config = settings_of(model)
    binding = loading.bind(config)
    started = time.perf_counter()
    net = loading.create_net(binding, config, SCHEMA)
    assert time.perf_counter() - started < 10  # seconds; a fraction of one on an idle machine
    layers = [x for x in net.sublayers() if isinstance(x, fast.FastLayer)]
    assert not any(x.refused for x in layers)
    assert "forward is used" not in capsys.readouterr().err
