"""A recurrence over the history: the user's state, which the target then meets.

Shapes: B rows, T history positions, D width of an item's embedding and of the state, V of an
event's fields, N candidates of one user.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_length, history_mask, repeat_user
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows, table
from paddleinterest.nets.layers import Tower, check_choice
from paddleinterest.nets.loss import LossTerm
from paddleinterest.nets.next_item import NextItemLoss, next_events

CELLS = {"rnn": nn.SimpleRNN, "gru": nn.GRU, "lstm": nn.LSTM}
READ_OUTS = ("tower", "target_step", "product")


class HistoryRNN(nn.Layer):
    """h_t = cell(x_t, h_{t−1}) from h_0 = 0 over the real positions.

    rnn is h_t = tanh(W_ih·x_t + b_ih + W_hh·h_{t−1} + b_hh); gru and lstm are Paddle's.

    Args:
        cell (str): rnn, gru or lstm.
        width (int): of x, D + V.
        hidden (int): D.

    Example:
        >>> states, last = HistoryRNN("gru", 4, 4)(paddle.rand([2, 5, 4]), paddle.ones([2, 5]))
        >>> list(states.shape), list(last.shape)
        ([2, 5, 4], [2, 4])
    """

    def __init__(self, cell: str, width: int, hidden: int) -> None:
        super().__init__()
        check_choice("cell", cell, tuple(CELLS))
        self.lstm = cell == "lstm"
        self.cell = CELLS[cell](width, hidden)

    def forward(
        self, history: paddle.Tensor, mask: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """All states, and the last one.

        Args:
            history (Tensor): x, [B, T, D + V].
            mask (Tensor): [B, T].

        Returns:
            tuple[Tensor, Tensor]: h_1 … h_T [B, T, D], of use at real positions, and the last real
            one [B, D]; zeros for an empty history.
        """
        states, last = self.cell(history, sequence_length=history_length(mask))
        h = (last[0] if self.lstm else last).squeeze(0)  # [B, D]
        some = mask.max(-1, keepdim=True)  # [B, 1], 0 for an empty history
        return states, h * some.expand_as(h)


def with_target(
    history: paddle.Tensor, mask: paddle.Tensor, target: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """[e_1 … e_n, v] and its mask: the target as the event after the last.

    Args:
        history (Tensor): e, [B, T, D], zeros at padding.
        mask (Tensor): [B, T].
        target (Tensor): v, [B, D].

    Returns:
        tuple[Tensor, Tensor]: [B, T + 1, D] and [B, T + 1].
    """
    none = paddle.zeros_like(mask[:, :1])  # [B, 1]
    after = paddle.concat([mask, none], 1)  # [B, T + 1]
    until = paddle.concat([none + 1.0, mask], 1)  # [B, T + 1], 1 up to the target
    place = until - after  # [B, T + 1], 1 at the target
    longer = paddle.concat([history, paddle.zeros_like(history[:, :1])], 1)  # [B, T + 1, D]
    return longer + paddle.matmul(place.unsqueeze(-1), target.unsqueeze(1)), until


class RNN(nn.Layer):
    """Embeddings → recurrence → read-out → logit.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        cell (str): rnn, gru or lstm.
        read_out (str): tower ([h_n; v; side] → tower), target_step (v as one more step, [h_{n+1};
            side] → tower) or product (h_n·v and a bias of the item: no tower, no side features, and
            so the candidates can be retrieved by nearest neighbours).
        next_item (str): none, or the kind of the `NextItemLoss` of the states.
        tower (Sequence[int]), activation (str), dropout (float), item_bias (bool): of the tower.
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
        cell: str = "gru",
        read_out: str = "tower",
        next_item: str = "none",
        tower: Sequence[int] = (200, 80),
        activation: str = "relu",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        check_choice("read_out", read_out, READ_OUTS)
        self.read_out = read_out
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        width = self.embeddings.item_width
        self.rnn = HistoryRNN(cell, width + self.embeddings.event_width, width)
        self.next_item = None
        if next_item != "none":
            self.next_item = NextItemLoss(next_item, width, width, bias_rows(fields, True))
        if read_out == "product":
            zero = nn.initializer.Constant(0.0)
            self.item_bias = table(bias_rows(fields, True), 1, sparse=sparse, weight_attr=zero)
        else:
            inputs = width * (2 if read_out == "tower" else 1) + self.embeddings.side_width + dense
            items = bias_rows(fields, item_bias)
            self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T], 1 for every real event."""
        logit, _, _, mask = self.score(batch)
        return (logit, mask) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN.

        The history is read once, but for each candidate with read_out: target_step.
        """
        if self.read_out == "target_step":
            return self(repeat_user(batch), return_attention)
        logit, _, _, mask = self.score(batch, one_user=True)
        if not return_attention:
            return logit
        return logit, mask.expand([paddle.shape(logit)[0], -1])

    def forward_train(self, batch: Batch) -> tuple[paddle.Tensor, LossTerm]:
        """Logits [B], and the loss of state h_t on item_{t+1}; the net must have a `next_item`.

        Args:
            batch (Batch): with ``negative_<item field>`` [B, T] for next_item: binary.
        """
        logit, states, history, mask = self.score(batch)
        states = states[:, : mask.shape[1]]  # [B, T, D], without the target's step
        valid = next_events(mask)  # [B, T − 1]
        return logit, self.next_item(states, history, valid, batch, self.embeddings)

    def score(
        self, batch: Batch, one_user: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Logits, and what the loss on the next item reads.

        Args:
            batch (Batch): of rows, or of one request.
            one_user (bool): the batch is a request's, as in `rank`.

        Returns:
            tuple: logits [B], states [B, T or T + 1, D], history [B, T, D] and mask [B, T].
        """
        mask = history_mask(batch)  # [B or 1, T]
        history = self.embeddings.history(batch)  # [B or 1, T, D]
        target = self.embeddings.target(batch)  # [B, D]
        x = self.embeddings.with_events(history, batch)  # [B or 1, T, D + V]
        if self.read_out == "target_step":
            step = self.embeddings.without_event(target)  # [B, D + V]
            states, state = self.rnn(*with_target(x, mask, step))
        else:
            states, state = self.rnn(x, mask)
            state = state.expand_as(target)  # [B, D]
        side = self.embeddings.side(batch, expand_to=target if one_user else None)  # [B, S]
        return self.logit(state, target, side, batch["target_item"]), states, history, mask

    def logit(
        self,
        state: paddle.Tensor,
        target: paddle.Tensor,
        side: paddle.Tensor | None,
        item: paddle.Tensor,
    ) -> paddle.Tensor:
        """Logits [B] from the last state [B, D], v [B, D], side features and item ids [B]."""
        if self.read_out == "product":
            return (state * target).sum(-1) + self.item_bias(item).squeeze(-1)
        return self.tower([state, None if self.read_out == "target_step" else target, side], item)
