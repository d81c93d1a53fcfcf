"""DIEN: Deep Interest Evolution Network for Click-Through Rate Prediction, Zhou et al., AAAI 2019,
https://arxiv.org/abs/1809.03672.

Shapes: B rows, T history positions, D width of an item's embedding, H width of the interest states;
N candidates of one user. Where the paper and the authors' code differ, the paper is the default and
the code a switch. Not covered: multi-valued item fields (one value a field); dense columns of
history items (they enter for the target); the batch normalisation in the authors' auxiliary net and
tower.
"""

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from models.dien.recurrence import Recurrence, sigmoid, unroll
from models.din.net import LocalActivationUnit
from paddleinterest.core import distributed
from paddleinterest.nets import native
from paddleinterest.nets.layers import (
    FieldEmbeddings,
    Tower,
    bias_rows,
    history_length,
    history_mask,
    masked_softmax,
    sum_pooling,
)
from paddleinterest.nets.native import positions
from paddleinterest.nets.native.recurrence import recurrence

EVOLUTIONS = ("augru", "agru", "aigru", "gru_attention")
ATTENTIONS, AUXILIARIES = ("bilinear", "mlp"), ("none", "inner", "mlp")


class InterestGRU(nn.Layer):
    """GRU over the real positions of a sequence: the interest extractor and, with i'_t = a_t·h_t as
    input, AIGRU. Padding leaves the state as it was. Paddle's kernel; it keeps z·h_{t−1} where the
    paper has (1 − u)·h_{t−1}: z = 1 − u.

    Args: width of the input; hidden: H.

    Example:
        >>> InterestGRU(8, 4)(paddle.rand([2, 5, 8]), paddle.ones([2, 5]))[0].shape
        [2, 5, 4]
    """

    def __init__(self, width, hidden):
        super().__init__()
        self.gru = nn.GRU(width, hidden)

    def forward(self, i, mask):
        """i [B, T, I], mask [B, T] → h_1 … h_T [B, T, H], zero where padded, and h at the last real
        position [B, H]."""
        length = history_length(mask)
        if native.available("recurrence", i):
            return self.native(i, length)
        states, last = self.gru(i, sequence_length=length)
        return states, last[0]

    def native(self, i, length):
        """The same by the C++ operator, whose gates are r, h, u: u = 1 − z = σ(−…)."""

        def reorder(x):
            r, z, c = x.split(3)
            return paddle.concat([r, c, -z])

        w_i, w_h, b_i, b_h = (
            reorder(getattr(self.gru, f"{kind}_{of}_l0"))
            for kind in ("weight", "bias")
            for of in ("ih", "hh")
        )
        b_r, d, b_u = b_h.split(3)
        b = b_i + paddle.concat([b_r, paddle.zeros_like(d), b_u])
        return recurrence(paddle.matmul(i, w_i, transpose_y=True), None, w_h.t(), b, d, length)


class AuxiliaryLoss(nn.Layer):
    """L_aux = −mean over valid t of [log σ(h_t·e_{t+1}) + log(1 − σ(h_t·ê_{t+1}))] (DIEN, "Interest
    Extractor Layer").

    Computed from the logits: −log σ(s) = softplus(−s) and −log(1 − σ(s)) = softplus(s), so that no
    logarithm meets a zero.

    Args:
        kind: inner (the paper: h·e; a learned projection of h to D where H ≠ D) or mlp (the
            authors' code: [h; e] → 100 → 50 → 1, sigmoids between).

    Example:
        >>> aux = AuxiliaryLoss("inner", 4, 4)
        >>> e, ones = paddle.rand([2, 5, 4]), paddle.ones([2, 5])
        >>> bool(aux(e, e, -e, ones) > 0)
        True
    """

    def __init__(self, kind, hidden, width):
        super().__init__()
        self.kind = kind
        if kind == "mlp":
            self.of_state, self.of_item = (
                nn.Linear(hidden, 100),
                nn.Linear(width, 100, bias_attr=False),
            )
            self.rest = nn.Sequential(
                nn.Sigmoid(), nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 1)
            )
        else:
            self.of_state = (
                nn.Linear(hidden, width, bias_attr=False) if hidden != width else nn.Identity()
            )

    def forward(self, states, history, negative, mask):
        """states [B, T, H], history and negative [B, T, D], mask [B, T]: 0 where e_t or ê_t is
        missing. Returns a scalar; of several processes each its part of the mean over all their
        positions."""
        if history.shape[1] < 2:
            return paddle.zeros([], history.dtype)
        if self.kind == "inner" and native.available("positions", states):
            total = positions.auxiliary_loss(self.of_state(states), history, negative, mask)
            return total / paddle.clip(distributed.total(mask[:, 1:].sum()), min=1.0)
        h, valid = self.of_state(states[:, :-1]), mask[:, 1:]
        loss = F.softplus(-self.score(h, history[:, 1:])) + F.softplus(
            self.score(h, negative[:, 1:])
        )  # [B, T − 1]
        return (loss * valid).sum() / paddle.clip(distributed.total(valid.sum()), min=1.0)

    def score(self, h, e):
        """[B, T, D] and [B, T, D] → logits [B, T]. By mlp, h is W_h·h already, and W·[h; e] = W_h·h
        + W_e·e."""
        return self.rest(h + self.of_item(e)).squeeze(-1) if self.kind == "mlp" else (h * e).sum(-1)


class EvolutionAttention(nn.Layer):
    """a_t = softmax over the real t of h_t·W·v (DIEN, "Interest Evolving Layer"), or of DIN's
    activation unit on h_t and v (the authors' code), where v is first projected to H if D ≠ H.

    Example:
        >>> EvolutionAttention("bilinear", 4, 8)(paddle.rand([2, 5, 4]), paddle.rand([2, 8]), paddle.ones([2, 5])).shape
        [2, 5]
    """

    def __init__(self, kind, hidden, width, units=(80, 40), activation="dice"):
        super().__init__()
        self.kind = kind
        if kind == "bilinear":
            self.W = self.create_parameter([hidden, width])
        else:
            self.of_target = nn.Linear(width, hidden) if width != hidden else nn.Identity()
            self.unit = LocalActivationUnit(hidden, units, activation, bias=False)

    def forward(self, states, target, mask, shared=False):
        """states [B, T, H], target [B, D], mask [B, T] → a [B, T], exactly 0 on padding. shared: N
        targets read one row of states [1, T, H] and mask."""
        if self.kind == "mlp":
            v = self.of_target(target)
            score = self.unit.rank(states[0], v) if shared else self.unit(states, v, mask)
        elif shared:
            score = paddle.matmul(
                target, paddle.matmul(states[0], self.W), transpose_y=True
            )  # [N, T]
        else:
            query = paddle.matmul(target, self.W, transpose_y=True)  # [B, H]
            score = (
                positions.dot(states, query, history_length(mask))
                if native.available("positions", states)
                else paddle.matmul(states, query.unsqueeze(-1)).squeeze(-1)
            )  # [B, T]
        return masked_softmax(score, mask)


class AUGRUCell(nn.Layer):
    """GRU with attentional update gate (DIEN, "Interest Evolving Layer"), for input i_t, state h'
    and attention a_t:

        u = σ(i_t·W_u + h'·U_u + b_u)        r = σ(i_t·W_r + h'·U_r + b_r)
        ĥ = tanh(i_t·W_h + b_h + r∘(h'·U_h + d_h))
        ũ = a_t·u                            h'_t = (1 − ũ)∘h' + ũ∘ĥ, computed as h' + ũ∘(ĥ − h')

    a_t = 0 leaves the state as it was, bit for bit, and a_t = 1 makes it a GRU: Paddle's, with z =
    1 − u, and with d_h, which the paper lacks, for that kernel's second bias of the candidate.

    Args: width: I; hidden: H.

    Example:
        >>> AUGRUCell(8, 4)(paddle.rand([2, 8]), paddle.zeros([2, 4]), paddle.ones([2, 1])).shape
        [2, 4]
    """

    GATES = ("r", "h", "u")

    def __init__(self, width, hidden):
        super().__init__()
        self.hidden = hidden
        start = nn.initializer.Uniform(-(hidden**-0.5), hidden**-0.5)
        for name in self.names():
            shape = {"W": [width, hidden], "U": [hidden, hidden]}.get(name[0], [hidden])
            setattr(self, name, self.create_parameter(shape, default_initializer=start))

    def names(self):
        """Of the parameters, in the order of `Recurrence`."""
        return [f"{p}_{gate}" for gate in self.GATES for p in ("WUbd" if gate == "h" else "WUb")]

    def forward(self, i, h, a):
        """One step: i [B, I], h [B, H], a [B, 1] → h' [B, H]."""
        return self.step(self.project(i), h, a)

    def project(self, i):
        """What a step needs of its input, to be had for all steps at once: [..., I] → one [..., H]
        a gate."""
        return [
            paddle.matmul(i, getattr(self, f"W_{gate}")) + getattr(self, f"b_{gate}")
            for gate in self.GATES
        ]

    def step(self, projected, h, a):
        """A step from what `project` gave for it, [B, H] a gate."""
        r = sigmoid(paddle.addmm(projected[0], h, self.U_r))
        candidate = paddle.tanh(projected[1] + r * paddle.addmm(self.d_h.unsqueeze(0), h, self.U_h))
        return h + self.gate(projected, h, a) * (candidate - h)

    def gate(self, projected, h, a):
        return a * sigmoid(paddle.addmm(projected[2], h, self.U_u))


class AGRUCell(AUGRUCell):
    """GRU whose update gate is the attention itself: h'_t = (1 − a_t)∘h' + a_t∘ĥ."""

    GATES = ("r", "h")

    def gate(self, projected, h, a):
        return a


class InterestEvolution(nn.Layer):
    """h'_T, the interest that is relevant to the target: an attentional cell run over h_1 … h_T.

    Args: cell: `AUGRUCell` or `AGRUCell`. As a_t is 0 on padding, padding leaves the state as it
    was.

    Example:
        >>> InterestEvolution(AUGRUCell(4, 4))(paddle.rand([2, 5, 4]), paddle.rand([2, 5])).shape
        [2, 4]
    """

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, states, a, mask=None, shared=False):
        """states [B, T, H], or [1, T, H] where all rows share them, a [B, T], and mask [B, T] or
        None → h'_T [B, H]."""
        if not shared and native.available("recurrence", states):
            return self.native(states, a, mask)
        if self.training and paddle.in_dynamic_mode() and not shared:
            return Recurrence.apply(
                states, a, *(getattr(self.cell, name) for name in self.cell.names())
            )
        return unroll(self.cell, states, a, shared)

    def native(self, states, a, mask):
        """The same by the C++ operator, which skips the padding that the mask tells of."""
        W, U, b = (
            paddle.concat([getattr(self.cell, f"{p}_{gate}") for gate in self.cell.GATES], -1)
            for p in "WUb"
        )
        length = (
            paddle.full(a.shape[:1], a.shape[1], "int64") if mask is None else history_length(mask)
        )
        return recurrence(paddle.matmul(states, W), a, U, b, self.cell.d_h, length)[1]

    def plain(self, states, a):
        """The same, as it reads in the paper; what tests and benchmarks compare `forward` with."""
        h = paddle.zeros([states.shape[0], self.cell.hidden], states.dtype)
        for t in range(states.shape[1]):
            h = self.cell(states[:, t], h, a[:, t : t + 1])
        return h


class DIEN(nn.Layer):
    """Embeddings → interest states (GRU) → attention on the target → evolution → [h'_T; target;
    side] → tower → logit. The defaults here are the paper's form; config.yaml departs from it where
    that did better.

    Args:
        fields: category fields (`FieldEmbeddings`).  dense: number of dense columns.
        embedding_size, embedding_std, sparse: of the tables.
        hidden_size: H; 0 = D.
        evolution: augru, agru, aigru (i'_t = a_t·h_t into a GRU), or gru_attention (a second GRU on
            the first, then Σ_t a_t·h'_t with the attention on its states), as in the paper's
            ablation.
        attention: bilinear or mlp, of `EvolutionAttention`.  attention_units: hidden widths of mlp.
        auxiliary: none, inner or mlp, of `AuxiliaryLoss`.
        history_sum: the tower also reads Σ_t e_t and v∘Σ_t e_t, as in the authors' code.
        tower, activation, dropout, item_bias: of the tower; `activation` is the activation unit's
            too.
    """

    def __init__(
        self,
        fields,
        dense=0,
        *,
        embedding_size=32,
        embedding_std=0.01,
        sparse=True,
        hidden_size=0,
        evolution="augru",
        attention="bilinear",
        attention_units=(80, 40),
        auxiliary="inner",
        history_sum=False,
        tower=(200, 80),
        activation="dice",
        dropout=0.0,
        item_bias=False,
    ):
        super().__init__()
        for name, value, allowed in (
            ("evolution", evolution, EVOLUTIONS),
            ("attention", attention, ATTENTIONS),
            ("auxiliary", auxiliary, AUXILIARIES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, must be one of {', '.join(allowed)}")
        if hidden_size < 0:
            raise ValueError(f"hidden_size is {hidden_size}, must be at least 0")
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        width = self.embeddings.item_width
        hidden, self.kind = hidden_size or width, evolution
        self.extractor = InterestGRU(width, hidden)
        self.attention = EvolutionAttention(attention, hidden, width, attention_units, activation)
        cell = {"augru": AUGRUCell, "agru": AGRUCell}.get(evolution)
        self.evolution = (
            InterestEvolution(cell(hidden, hidden)) if cell else InterestGRU(hidden, hidden)
        )
        self.auxiliary = AuxiliaryLoss(auxiliary, hidden, width) if auxiliary != "none" else None
        items = bias_rows(fields, item_bias)
        self.history_sum, parts = history_sum, hidden + width * (3 if history_sum else 1)
        self.tower = Tower(
            parts + self.embeddings.side_width + dense, tower, activation, dropout, items, sparse
        )

    def forward(self, batch, return_attention=False):
        """Logits [B] of a batch (paddleinterest/data/reader.py); with `return_attention` also the
        weights a [B, T]."""
        return self.encode(batch)[:2] if return_attention else self.encode(batch)[0]

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user: history_* [1, T], user_* and context_* [1],
        target_* [N], dense [N, …].

        Equal to `forward` with the user's row repeated N times, but the extractor, and all else of
        the user's, runs once.
        """
        return (
            self.encode(batch, shared=True)[:2]
            if return_attention
            else self.encode(batch, shared=True)[0]
        )

    def forward_train(self, batch):
        """Logits [B] and L_aux, for which the batch holds ``negative_<item field>`` [B, T], 0 where
        there is none."""
        logit, _, (states, history, mask) = self.encode(batch)
        if self.auxiliary is None:
            return logit, None
        negative = {f"history_{n}": batch[f"negative_{n}"] for n in self.embeddings.names["item"]}
        return logit, self.auxiliary(
            states, history, self.embeddings.history(negative), mask * history_mask(negative)
        )

    def encode(self, batch, shared=False):
        """Logits, attention, and what the auxiliary loss reads. shared: one user's row, as in
        `rank`."""
        history, mask = self.embeddings.history(batch), history_mask(batch)  # [B, T, D], [B, T]
        target = self.embeddings.target(batch)  # [B, D]
        states, _ = self.extractor(history, mask)  # [B, T, H]
        second = self.evolution(states, mask)[0] if self.kind == "gru_attention" else states
        a = self.attention(second, target, mask, shared)  # [B, T]
        interest = self.evolve(second, a, mask, shared)  # [B, H]
        parts = [interest, target, self.embeddings.side(batch, like=target if shared else None)]
        if self.history_sum:
            total = sum_pooling(history, mask).expand_as(target)  # [B, D]
            parts += [total, target * total]
        return self.tower(parts, batch["target_item"]), a, (states, history, mask)

    def evolve(self, states, a, mask, shared):
        """h'_T [B, H] from states [B, T, H], a [B, T] and mask [B, T]."""
        if self.kind == "gru_attention":
            return (
                paddle.matmul(a, states[0])
                if shared
                else paddle.matmul(a.unsqueeze(1), states).squeeze(1)
            )
        if self.kind == "aigru":
            return self.evolution(states * a.unsqueeze(-1), mask.expand_as(a))[1]
        return self.evolution(states, a, mask, shared)
