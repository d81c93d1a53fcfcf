"""DIEN: Deep Interest Evolution Network for Click-Through Rate Prediction, Zhou et al., AAAI 2019.

https://arxiv.org/abs/1809.03672

Shapes: B rows, T history positions, D width of an item's embedding, V of an event's fields, H width
of the interest states, N candidates of one user.

Where the paper and the authors' code differ, the paper is the default and the code a switch. Not
covered: dense columns of history items (they enter for the target); the batch normalisation in the
authors' auxiliary net and tower.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from models.din.net import LocalActivationUnit
from paddleinterest.data.schema import Field
from paddleinterest.nets import native
from paddleinterest.nets.batch import Batch, Scores, history_length, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.layers import (
    Activation,
    SumPooling,
    Tower,
    check_choice,
    masked_softmax,
)
from paddleinterest.nets.loss import LossTerm
from paddleinterest.nets.native import positions
from paddleinterest.nets.native.recurrence import recurrence
from paddleinterest.nets.next_item import MEANS, AuxiliaryLoss

from .recurrence import Recurrence, sigmoid

EVOLUTIONS = ("augru", "augru_code", "agru", "aigru", "gru_attention")
ATTENTIONS = ("bilinear", "mlp", "mlp_code")
AUXILIARIES = ("none", "inner", "mlp")


class InterestGRU(FastLayer):
    """GRU over the real positions of a sequence; padding leaves the state as it was.

    It is the interest extractor and, with i'_t = a_t·h_t as input, AIGRU. Paddle's kernel keeps
    z·h_{t−1} where the paper has (1 − u)·h_{t−1}: z = 1 − u.

    Args:
        width (int): I, of the input.
        hidden (int): H.

    Example:
        >>> states, last = InterestGRU(8, 4)(paddle.rand([2, 5, 8]), paddle.ones([2, 5]))
        >>> list(states.shape), list(last.shape)
        ([2, 5, 4], [2, 4])
    """

    fast_forms = ("native",)

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden)

    def forward(self, i: paddle.Tensor, mask: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """All states and the last.

        Args:
            i (Tensor): [B, T, I].
            mask (Tensor): [B, T].

        Returns:
            tuple[Tensor, Tensor]: h_1 … h_T [B, T, H], zero at padding, and h at the last real
            position [B, H].
        """
        states, last = self.gru(i, sequence_length=history_length(mask))
        return states, last[0]

    def native(
        self, i: paddle.Tensor, mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor] | None:
        """`forward` by the C++ operator; None if it does not run here."""
        if not native.available("recurrence", i):
            return None
        w_i = _update_last(self.gru.weight_ih_l0)  # [3·H, I]
        w_h = _update_last(self.gru.weight_hh_l0)  # [3·H, H]
        b_i = _update_last(self.gru.bias_ih_l0)  # [3·H]
        b_r, d, b_u = _update_last(self.gru.bias_hh_l0).split(3)  # each [H]
        b = b_i + paddle.concat([b_r, paddle.zeros_like(d), b_u])
        p = paddle.matmul(i, w_i, transpose_y=True)  # [B, T, 3·H]
        return recurrence(p, None, w_h.t(), b, d, history_length(mask))


def _update_last(x: paddle.Tensor) -> paddle.Tensor:
    """Paddle's gates r, z, h as the operator's r, h, u: u = 1 − z = σ(−…)."""
    r, z, c = x.split(3)
    return paddle.concat([r, c, -z])


class EvolutionAttention(FastLayer):
    """a_t = softmax over the real t of h_t·W·v (DIEN, "Interest Evolving Layer").

    Or of DIN's activation unit on h_t and v: by mlp, v is first projected to H if D ≠ H; by
    mlp_code, it always passes W·v + b and PReLU, and the unit's hidden layers are sigmoids (the
    authors' code).

    Args:
        kind (str): bilinear, mlp or mlp_code.
        hidden (int): H.
        width (int): D.
        units (Sequence[int]): hidden widths of the activation unit.
        activation (str): of the activation unit by mlp.

    Example:
        >>> attention = EvolutionAttention("bilinear", 4, 8)
        >>> states, target, mask = paddle.rand([2, 5, 4]), paddle.rand([2, 8]), paddle.ones([2, 5])
        >>> list(attention(states, target, mask).shape)
        [2, 5]
    """

    fast_forms = ("native",)

    def __init__(
        self,
        kind: str,
        hidden: int,
        width: int,
        units: Sequence[int] = (80, 40),
        activation: str = "dice",
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind == "bilinear":
            self.W = self.create_parameter([hidden, width])
        elif kind == "mlp_code":
            self.of_target = nn.Sequential(nn.Linear(width, hidden), Activation("prelu", hidden))
            self.unit = LocalActivationUnit(hidden, units, "sigmoid", bias=False)
        else:
            self.of_target = nn.Linear(width, hidden) if width != hidden else nn.Identity()
            self.unit = LocalActivationUnit(hidden, units, activation, bias=False)

    def forward(
        self,
        states: paddle.Tensor,
        target: paddle.Tensor,
        mask: paddle.Tensor,
        shared: bool = False,
    ) -> paddle.Tensor:
        """a [B, T], exactly 0 at padding.

        Args:
            states (Tensor): h, [B, T, H].
            target (Tensor): v, [B, D].
            mask (Tensor): [B, T].
            shared (bool): states [1, T, H] and mask [1, T] are those of one user, whose N
                candidates are the targets.
        """
        if self.kind != "bilinear":
            v = self.of_target(target)  # [B, H]
            score = self.unit.rank(states[0], v) if shared else self.unit(states, v, mask)
        elif shared:
            key = paddle.matmul(states[0], self.W)  # [T, D]
            score = paddle.matmul(target, key, transpose_y=True)  # [N, T]
        else:
            query = paddle.matmul(target, self.W, transpose_y=True)  # [B, H]
            score = paddle.matmul(states, query.unsqueeze(-1)).squeeze(-1)  # [B, T]
        return masked_softmax(score, mask)

    def native(
        self,
        states: paddle.Tensor,
        target: paddle.Tensor,
        mask: paddle.Tensor,
        shared: bool = False,
    ) -> paddle.Tensor | None:
        """`forward` by the C++ operator; None if it does not run here."""
        if self.kind != "bilinear" or shared or not native.available("positions", states):
            return None
        query = paddle.matmul(target, self.W, transpose_y=True)  # [B, H]
        return masked_softmax(positions.dot(states, query, history_length(mask)), mask)


class AUGRUCell(nn.Layer):
    """GRU with attentional update gate (DIEN, "Interest Evolving Layer").

    For input i_t, state h' and attention a_t:

        u = σ(i_t·W_u + h'·U_u + b_u)        r = σ(i_t·W_r + h'·U_r + b_r)
        ĥ = tanh(i_t·W_h + b_h + r∘(h'·U_h + d_h))
        ũ = a_t·u                            h'_t = (1 − ũ)∘h' + ũ∘ĥ, computed as h' + ũ∘(ĥ − h')

    a_t = 0 leaves the state as it was, bit for bit. a_t = 1 makes it a GRU: Paddle's, with
    z = 1 − u, and with d_h, which the paper lacks, for that kernel's second bias of the candidate.

    Args:
        width (int): I.
        hidden (int): H.

    Example:
        >>> cell = AUGRUCell(8, 4)
        >>> projected = cell.project(paddle.rand([2, 8]))
        >>> list(cell.step(projected, paddle.zeros([2, 4]), paddle.ones([2, 4])).shape)
        [2, 4]
    """

    GATES: tuple[str, ...] = ("r", "h", "u")
    HOLDS = True  # a_t = 0 leaves the state as it was

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        start = nn.initializer.Uniform(-(hidden**-0.5), hidden**-0.5)
        for name in self.names():
            shape = {"W": [width, hidden], "U": [hidden, hidden]}.get(name[0], [hidden])
            setattr(self, name, self.create_parameter(shape, default_initializer=start))

    def names(self) -> list[str]:
        """Names of the parameters, in the order of `Recurrence`."""
        return [f"{p}_{gate}" for gate in self.GATES for p in ("WUbd" if gate == "h" else "WUb")]

    def project(self, i: paddle.Tensor) -> list[paddle.Tensor]:
        """i·W + b of each gate: what steps need of their inputs, computed for all steps at once.

        Args:
            i (Tensor): [..., I].

        Returns:
            list[Tensor]: one [..., H] per gate, in the order of GATES.
        """
        weights = [(getattr(self, f"W_{gate}"), getattr(self, f"b_{gate}")) for gate in self.GATES]
        return [paddle.matmul(i, W) + b for W, b in weights]

    def step(
        self, projected: Sequence[paddle.Tensor], h: paddle.Tensor, a: paddle.Tensor
    ) -> paddle.Tensor:
        """h'_t [B, H] from what `project` returned for i_t, h' [B, H] and a_t [B, H]."""
        r = sigmoid(paddle.addmm(projected[0], h, self.U_r))  # [B, H]
        past = paddle.addmm(self.d_h.unsqueeze(0), h, self.U_h)  # [B, H]
        candidate = paddle.tanh(projected[1] + r * past)  # ĥ, [B, H]
        return h + self.gate(projected, h, a) * (candidate - h)

    def gate(
        self, projected: Sequence[paddle.Tensor], h: paddle.Tensor, a: paddle.Tensor
    ) -> paddle.Tensor:
        """ũ = a_t·u, [B, H]; arguments as in `step`."""
        u = sigmoid(paddle.addmm(projected[2], h, self.U_u))  # [B, H]
        return a * u


class CodeAUGRUCell(AUGRUCell):
    """The update gate of the authors' code: ũ = 1 − (1 − a_t)·(1 − u) = u + a_t − a_t·u.

    Their cell scales TensorFlow's gate, which keeps the state, by 1 − a_t. So a_t = 0 is a plain
    GRU step and not a hold, and a_t = 1 overwrites the state with ĥ.
    """

    HOLDS = False

    def gate(
        self, projected: Sequence[paddle.Tensor], h: paddle.Tensor, a: paddle.Tensor
    ) -> paddle.Tensor:
        """ũ, [B, H]; arguments as in `step`."""
        u = sigmoid(paddle.addmm(projected[2], h, self.U_u))  # [B, H]
        return u + a - a * u


class AGRUCell(AUGRUCell):
    """GRU whose update gate is the attention itself: h'_t = (1 − a_t)∘h' + a_t∘ĥ."""

    GATES = ("r", "h")

    def gate(
        self, projected: Sequence[paddle.Tensor], h: paddle.Tensor, a: paddle.Tensor
    ) -> paddle.Tensor:
        """ũ = a_t, [B, H]."""
        return a


CELLS = {"augru": AUGRUCell, "augru_code": CodeAUGRUCell, "agru": AGRUCell}


class InterestEvolution(FastLayer):
    """h'_T, the interest that is relevant to the target: a cell run over h_1 … h_T.

    Padding leaves the state as it was: a_t is 0 there, or, of a cell that moves without attention,
    the mask stops it.

    Args:
        cell (AUGRUCell): or `AGRUCell`.

    Example:
        >>> evolution = InterestEvolution(AUGRUCell(4, 4))
        >>> list(evolution(paddle.rand([2, 5, 4]), paddle.rand([2, 5])).shape)
        [2, 4]
    """

    fast_forms = ("native", "by_hand")

    def __init__(self, cell: AUGRUCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(
        self,
        states: paddle.Tensor,
        a: paddle.Tensor,
        mask: paddle.Tensor | None = None,
        shared: bool = False,
    ) -> paddle.Tensor:
        """h'_T [B, H].

        In an exported program, where T is unknown, the loop becomes a `while`; so what the steps
        share is computed before it, and it contains no slow broadcast.

        Args:
            states (Tensor): h, [B, T, H].
            a (Tensor): [B, T].
            mask (Tensor): [B, T] or [1, T]; None = all positions are real.
            shared (bool): states [1, T, H] are those of one user, a [N, T] of N candidates.
        """
        mask = paddle.ones_like(a) if mask is None else mask.expand_as(a)  # [B, T]
        a = a * mask
        gates = len(self.cell.GATES)
        rows = paddle.shape(a)[0]
        projected = paddle.concat(self.cell.project(states), -1)  # [B or 1, T, G·H]
        projected = projected.transpose([1, 0, 2])  # [T, B or 1, G·H]
        attention = a.t().unsqueeze(-1)  # [T, B, 1]
        real = mask.t().unsqueeze(-1)  # [T, B, 1]
        ones = paddle.ones([rows, 1], a.dtype)
        wide = paddle.ones([1, self.cell.hidden], a.dtype)
        h = paddle.zeros([rows, self.cell.hidden], a.dtype)
        for t in range(paddle.shape(a)[1]):
            p = _at(projected, t).split(gates, -1)
            if shared:
                p[1] = paddle.matmul(ones, p[1])  # faster than a broadcast
            a_t = paddle.matmul(_at(attention, t), wide)  # [B, H]
            moved = self.cell.step(p, h, a_t)  # [B, H]
            if self.cell.HOLDS:
                h = moved
            else:
                h = h + paddle.matmul(_at(real, t), wide) * (moved - h)
        return h

    def native(
        self,
        states: paddle.Tensor,
        a: paddle.Tensor,
        mask: paddle.Tensor | None = None,
        shared: bool = False,
    ) -> paddle.Tensor | None:
        """`forward` by the C++ operator, which skips padding; None if it does not run here."""
        if shared or not self.cell.HOLDS or not native.available("recurrence", states):
            return None
        W = self._of_all_gates("W")  # [H, G·H]
        U = self._of_all_gates("U")  # [H, G·H]
        b = self._of_all_gates("b")  # [G·H]
        if mask is None:
            mask = paddle.ones_like(a)
        p = paddle.matmul(states, W)  # [B, T, G·H]
        return recurrence(p, a, U, b, self.cell.d_h, history_length(mask))[1]

    def _of_all_gates(self, kind: str) -> paddle.Tensor:
        return paddle.concat([getattr(self.cell, f"{kind}_{g}") for g in self.cell.GATES], -1)

    def by_hand(
        self,
        states: paddle.Tensor,
        a: paddle.Tensor,
        mask: paddle.Tensor | None = None,
        shared: bool = False,
    ) -> paddle.Tensor | None:
        """`forward` with a hand-written gradient; None outside of training."""
        if shared or not self.cell.HOLDS:
            return None
        if not self.training or not paddle.in_dynamic_mode():
            return None
        if mask is not None:
            a = a * mask
        return Recurrence.apply(states, a, *(getattr(self.cell, n) for n in self.cell.names()))


def _at(x: paddle.Tensor, t: int | paddle.Tensor) -> paddle.Tensor:
    """x[t]; in a program t is a tensor, by which Paddle gathers faster than it slices."""
    return x[t] if paddle.in_dynamic_mode() else paddle.gather(x, t)


class DIEN(nn.Layer):
    """Embeddings → interest states (GRU) → attention on the target → evolution → tower → logit.

    The tower reads [h'_T; target; side features]. The defaults here are the paper's form;
    config.yaml departs from it where that did better.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        hidden_size (int): H; 0 = D.
        evolution (str): augru, augru_code (the gate of the authors' code), agru, aigru (i'_t =
            a_t·h_t into a GRU), or gru_attention (a second GRU on the first, then Σ_t a_t·h'_t with
            the attention on its states), as in the paper's ablation.
        attention (str): bilinear, mlp or mlp_code, of `EvolutionAttention`.
        attention_units (Sequence[int]): hidden widths of attention: mlp and mlp_code.
        auxiliary (str): none, inner or mlp, of `AuxiliaryLoss`.
        auxiliary_mean (str): valid or all, of `AuxiliaryLoss`.
        history_sum (bool): the tower also reads Σ_t e_t and v∘Σ_t e_t, as in the authors' code.
        tower (Sequence[int]), dropout (float): of the tower.
        activation (str): of the tower and the activation unit.
        item_bias (bool): the tower adds a learned bias of the target item.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dense: int = 0,
        *,
        embedding_size: int = 32,
        embedding_std: float = 0.01,
        sparse: bool = True,
        list_pooling: str = "mean",
        hidden_size: int = 0,
        evolution: str = "augru",
        attention: str = "bilinear",
        attention_units: Sequence[int] = (80, 40),
        auxiliary: str = "inner",
        auxiliary_mean: str = "valid",
        history_sum: bool = False,
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        check_choice("evolution", evolution, EVOLUTIONS)
        check_choice("attention", attention, ATTENTIONS)
        check_choice("auxiliary", auxiliary, AUXILIARIES)
        if hidden_size < 0:
            raise ValueError(f"hidden_size is {hidden_size}, must be at least 0")
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        width = self.embeddings.item_width
        hidden = hidden_size or width
        self.kind = evolution
        self.extractor = InterestGRU(width + self.embeddings.event_width, hidden)
        self.attention = EvolutionAttention(attention, hidden, width, attention_units, activation)
        cell = CELLS.get(evolution)
        if cell is None:
            self.evolution = InterestGRU(hidden, hidden)
        else:
            self.evolution = InterestEvolution(cell(hidden, hidden))
        check_choice("auxiliary_mean", auxiliary_mean, MEANS)
        self.auxiliary = None
        if auxiliary != "none":
            self.auxiliary = AuxiliaryLoss(auxiliary, hidden, width, auxiliary_mean)
        self.pooling = SumPooling() if history_sum else None
        inputs = hidden + width * (3 if history_sum else 1) + self.embeddings.side_width + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B] of a batch; with `return_attention` also the weights a [B, T]."""
        logit, a, _ = self.encode(batch)
        return (logit, a) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user; with `return_attention` also a [N, T].

        Equal to `forward` with the user's row repeated N times, but the extractor, and all else of
        the user's, runs once.

        Args:
            batch (Batch): history_* [1, T], user_* and context_* [1], target_* [N], dense [N, …].
            return_attention (bool): also return the weights.
        """
        logit, a, _ = self.encode(batch, shared=True)
        return (logit, a) if return_attention else logit

    def forward_train(self, batch: Batch) -> tuple[paddle.Tensor, LossTerm | None]:
        """Logits [B] and L_aux, None without an auxiliary loss.

        Args:
            batch (Batch): with ``negative_<item field>`` [B, T], 0 if it is missing.
        """
        logit, _, (states, history, mask) = self.encode(batch)
        if self.auxiliary is None:
            return logit, None
        drawn = self.embeddings.negatives(batch)
        negative = self.embeddings.history(drawn)  # [B, T, D]
        valid = mask * history_mask(drawn)  # [B, T]
        auxiliary = self.auxiliary(states, history, negative, valid)  # []
        return logit, LossTerm(auxiliary, count=self.auxiliary.count(valid))

    def encode(
        self, batch: Batch, shared: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor, tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]]:
        """Logits, attention, and what the auxiliary loss reads.

        Args:
            batch (Batch): of rows, or of one request.
            shared (bool): the batch is a request's, as in `rank`.

        Returns:
            tuple: logits [B], a [B, T], and (states [B, T, H], history [B, T, D], mask [B, T]).
        """
        history = self.embeddings.history(batch)  # [B, T, D]
        mask = history_mask(batch)  # [B, T]
        target = self.embeddings.target(batch)  # [B, D]
        side = self.embeddings.side(batch, expand_to=target if shared else None)  # [B, S]
        events = self.embeddings.with_events(history, batch)  # [B, T, D + V]
        states, _ = self.extractor(events, mask)  # [B, T, H]
        second = self.evolution(states, mask)[0] if self.kind == "gru_attention" else states
        a = self.attention(second, target, mask, shared)  # [B, T]
        interest = self.evolve(second, a, mask, shared)  # [B, H]
        parts = [interest, target, side]
        if self.pooling is not None:
            total = self.pooling(history, mask).expand_as(target)  # [B, D]
            parts += [total, target * total]
        return self.tower(parts, batch["target_item"]), a, (states, history, mask)

    def evolve(
        self, states: paddle.Tensor, a: paddle.Tensor, mask: paddle.Tensor, shared: bool
    ) -> paddle.Tensor:
        """h'_T [B, H] from states [B, T, H], a [B, T] and mask [B, T]; `shared` as in `encode`."""
        if self.kind == "aigru":
            return self.evolution(states * a.unsqueeze(-1), mask.expand_as(a))[1]
        if self.kind != "gru_attention":
            return self.evolution(states, a, mask, shared)
        if shared:
            return paddle.matmul(a, states[0])
        return paddle.matmul(a.unsqueeze(1), states).squeeze(1)
