"""Losses on the next item of a history, beside the loss of the clicks.

Shapes: B rows, T history positions, D width of an item's embedding, H width of the states, N items,
C items that are targets of the whole batch.

What goes wrong if: some listings put the scores through tanh, then Softmax, then a cross entropy
that takes a log-softmax of its own. The cross entropy then reads N probabilities of at most
e²/(e² + N − 1) in place of scores, so that all its softmaxes are nearly flat: with N = 12,070 the
loss moves between 9.3985 and 9.3979 nats whatever the net does, and its gradient is all but 0.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed, memory
from paddleinterest.nets import native
from paddleinterest.nets.batch import Batch, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings
from paddleinterest.nets.fast import FastLayer
from paddleinterest.nets.layers import check_choice
from paddleinterest.nets.loss import LossTerm
from paddleinterest.nets.native import positions

KINDS = ("full", "batch", "binary")
MEANS = ("valid", "all")
COPIES = 3  # of the scores: themselves, their exponentials, their gradient


class AuxiliaryLoss(FastLayer):
    """L_aux = −mean over valid t of [log σ(h_t·e_{t+1}) + log(1 − σ(h_t·ê_{t+1}))].

    DIEN, "Interest Extractor Layer". Computed from the logits: −log σ(s) = softplus(−s) and
    −log(1 − σ(s)) = softplus(s), so that no logarithm meets a zero.

    Args:
        kind (str): inner (the paper: h·e; a learned projection of h to D if H ≠ D) or mlp (the
            authors' code: [h; e] → 100 → 50 → 1, sigmoids between).
        hidden (int): H.
        width (int): D.
        mean (str): over the valid t, or over all B·(T − 1), padding too (the authors' code): the
            longer a batch's longest history, the smaller the loss.

    Example:
        >>> aux = AuxiliaryLoss("inner", 4, 4)
        >>> e, ones = paddle.rand([2, 5, 4]), paddle.ones([2, 5])
        >>> bool(aux(e, e, -e, ones) > 0)
        True
    """

    fast_forms = ("native",)

    def __init__(self, kind: str, hidden: int, width: int, mean: str = "valid") -> None:
        super().__init__()
        self.kind = kind
        self.mean = mean
        self.of_state: nn.Layer
        if kind == "mlp":
            self.of_state = nn.Linear(hidden, 100)
            self.of_item = nn.Linear(width, 100, bias_attr=False)
            self.rest = nn.Sequential(
                nn.Sigmoid(), nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 1)
            )
        else:
            self.of_state = _projection(hidden, width)

    def forward(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        negative: paddle.Tensor,
        mask: paddle.Tensor,
    ) -> paddle.Tensor:
        """L_aux, [].

        Args:
            states (Tensor): h, [B, T, H].
            history (Tensor): e, [B, T, D].
            negative (Tensor): ê, [B, T, D].
            mask (Tensor): [B, T], 0 where e_t or ê_t is missing.
        """
        if history.shape[1] < 2:
            return paddle.zeros([], history.dtype)
        loss = self.losses(states, history, negative)  # [B, T − 1]
        valid = mask[:, 1:]  # [B, T − 1]
        return (loss * valid).sum() / paddle.clip(self.count(mask), min=1.0)

    def count(self, mask: paddle.Tensor) -> paddle.Tensor:
        """Number of losses that the mean is over, [], from the mask [B, T] of `forward`."""
        valid = mask[:, 1:]  # [B, T − 1]
        return valid.sum() if self.mean == "valid" else paddle.ones_like(valid).sum()

    def losses(
        self, states: paddle.Tensor, history: paddle.Tensor, negative: paddle.Tensor
    ) -> paddle.Tensor:
        """The loss of each state but the last, [B, T − 1]; arguments as in `forward`."""
        h = self.of_state(states[:, :-1])  # [B, T − 1, D]
        positive = F.softplus(-self.score(h, history[:, 1:]))  # [B, T − 1]
        return positive + F.softplus(self.score(h, negative[:, 1:]))

    def score(self, h: paddle.Tensor, e: paddle.Tensor) -> paddle.Tensor:
        """Logits, [B, T, D] and [B, T, D] → [B, T].

        By mlp, h is W_h·h already, and W·[h; e] = W_h·h + W_e·e.
        """
        if self.kind == "mlp":
            return self.rest(h + self.of_item(e)).squeeze(-1)
        return (h * e).sum(-1)

    def native(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        negative: paddle.Tensor,
        mask: paddle.Tensor,
    ) -> paddle.Tensor | None:
        """`forward` by the C++ operator; None if it does not run here."""
        if self.kind != "inner" or history.shape[1] < 2:
            return None
        if not native.available("positions", states):
            return None
        total = positions.auxiliary_loss(self.of_state(states), history, negative, mask)
        return total / paddle.clip(self.count(mask), min=1.0)


def _projection(hidden: int, width: int) -> nn.Layer:
    """From H to D, without a bias; nothing if they are the same."""
    return nn.Identity() if hidden == width else nn.Linear(hidden, width, bias_attr=False)


class NextItemLoss(nn.Layer):
    """L = mean over the t that have a next event of the loss of state h_t on item_{t+1}.

        full     −log softmax(h_t·W + b)[item_{t+1}], over all N items
        batch    −log softmax(s)[item_{t+1}] with s_i = h_t·e_i, over item_{t+1} and the items that
                 are targets of the batch, each once
        binary   −log σ(h_t·e_{t+1}) − log(1 − σ(h_t·ê_{t+1})), one drawn negative ê (DIEN's L_aux)

    The scores are linear, and the softmax is taken once. If H ≠ D, batch and binary project h_t to
    D.

    Args:
        kind (str): full, batch or binary.
        hidden (int): H.
        width (int): D.
        items (int): rows of the items' table, of which row 0, the padding, is not an item.
    """

    def __init__(self, kind: str, hidden: int, width: int, items: int) -> None:
        super().__init__()
        check_choice("next_item", kind, KINDS)
        self.kind = kind
        if kind == "full":
            self.out = nn.Linear(hidden, items - 1)
        elif kind == "binary":
            self.binary = AuxiliaryLoss("inner", hidden, width)
        else:
            self.of_state = _projection(hidden, width)

    def forward(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        valid: paddle.Tensor,
        batch: Batch,
        embeddings: FieldEmbeddings,
    ) -> LossTerm:
        """L and how many terms it is the mean of.

        Args:
            states (Tensor): h, [B, T, H]; h_t has read no event after t.
            history (Tensor): e, [B, T, D].
            valid (Tensor): [B, T − 1], 1 if h_t has a next event and is to be counted.
            batch (Batch): with ``negative_<item field>`` [B, T] for binary, 0 if it is missing.
            embeddings (FieldEmbeddings): of the net.
        """
        if states.shape[1] < 2:
            zero = paddle.zeros([], states.dtype)
            return LossTerm(zero, count=zero)
        if self.kind == "binary":
            return self.with_negatives(states, history, valid, batch, embeddings)
        loss = self.losses(states, history, batch, embeddings)  # [B, T − 1]
        count = valid.sum()  # []
        return LossTerm((loss * valid).sum() / paddle.clip(count, min=1.0), count=count)

    def with_negatives(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        valid: paddle.Tensor,
        batch: Batch,
        embeddings: FieldEmbeddings,
    ) -> LossTerm:
        """`forward` of binary; a state without a negative does not count."""
        drawn = embeddings.negatives(batch)
        counted = valid * history_mask(drawn)[:, 1:]  # [B, T − 1]
        mask = paddle.concat([paddle.zeros_like(counted[:, :1]), counted], 1)  # [B, T]
        loss = self.binary(states, history, embeddings.history(drawn), mask)  # []
        return LossTerm(loss, count=counted.sum())

    def losses(
        self,
        states: paddle.Tensor,
        history: paddle.Tensor,
        batch: Batch,
        embeddings: FieldEmbeddings,
    ) -> paddle.Tensor:
        """The loss of each state but the last, [B, T − 1]; arguments as in `forward`."""
        if self.kind == "binary":
            drawn = embeddings.negatives(batch)
            return self.binary.losses(states, history, embeddings.history(drawn))
        if self.kind == "full":
            return self.of_all_items(states[:, :-1], batch["history_item"][:, 1:])
        h = self.of_state(states[:, :-1])  # [B, T − 1, D]
        return self.of_the_batch(h, history[:, 1:], batch, embeddings)

    def of_all_items(self, h: paddle.Tensor, item: paddle.Tensor) -> paddle.Tensor:
        """full: h [B, T − 1, H] and the next items [B, T − 1] → [B, T − 1]."""
        _check_memory(item.shape[0] * item.shape[1] * self.out.weight.shape[1], "full")
        score = self.out(h)  # [B, T − 1, N]
        label = paddle.clip(item - 1, min=0).unsqueeze(-1)  # [B, T − 1, 1], padding is masked
        return F.cross_entropy(score, label, reduction="none").squeeze(-1)

    def of_the_batch(
        self, h: paddle.Tensor, e: paddle.Tensor, batch: Batch, embeddings: FieldEmbeddings
    ) -> paddle.Tensor:
        """batch: h and the next items' embeddings e, both [B, T − 1, D] → [B, T − 1]."""
        targets = distinct_targets(batch)
        candidates = targets["target_item"]  # [C]
        _check_memory(h.shape[0] * h.shape[1] * candidates.shape[0], "batch")
        true = (h * e).sum(-1, keepdim=True)  # [B, T − 1, 1]
        others = paddle.matmul(h, embeddings.target(targets), transpose_y=True)  # [B, T − 1, C]
        next_item = batch["history_item"][:, 1:].unsqueeze(-1)  # [B, T − 1, 1]
        itself = (next_item == candidates).astype(h.dtype)  # [B, T − 1, C]
        scores = paddle.concat([true, others - 1e9 * itself], -1)  # [B, T − 1, 1 + C]
        return paddle.logsumexp(scores, -1) - true.squeeze(-1)


def next_events(mask: paddle.Tensor) -> paddle.Tensor:
    """1 if position t is real and has a next event, [B, T] → [B, T − 1]."""
    return mask[:, 1:]  # histories are right padded


def distinct_targets(batch: Batch) -> dict[str, paddle.Tensor]:
    """target_* of the whole batch, one row for each item.

    Of several processes each has its own rows, or, of a batch with fewer rows than processes, all
    have the same: so the softmax, and with it the loss, is that of one process.
    """
    rows = {name: x for name, x in batch.items() if name.startswith("target_")}
    if distributed.process_count() > 1:
        rows = {name: _of_all_processes(x) for name, x in rows.items()}
    _, first = np.unique(rows["target_item"].numpy(), return_index=True)
    return {name: paddle.index_select(x, paddle.to_tensor(first)) for name, x in rows.items()}


def _of_all_processes(x: paddle.Tensor) -> paddle.Tensor:
    """The rows of all processes, [B, ...] → [C, ...]."""
    of_row = x.shape[1:]
    parts = distributed.gather(x.flatten())
    return paddle.concat(parts).reshape([-1, *of_row])


def _check_memory(scores: int, kind: str) -> None:
    memory.check(4 * COPIES * scores, f"the softmax of next_item: {kind} of one batch")
