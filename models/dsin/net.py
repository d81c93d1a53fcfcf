"""DSIN: Deep Session Interest Network for Click-Through Rate Prediction, Feng et al., IJCAI 2019.

https://arxiv.org/abs/1905.06482

Shapes: B rows, T history positions, K sessions, D width of an item's embedding, S of an event: D
and the width of its fields, N candidates of one user. In the attention the target has zeros in
place of an event's fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from models.din.net import InterestAttention
from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_length, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.layers import Tower
from paddleinterest.nets.transformer import TransformerBlock, causal


@dataclass
class Sessions:
    """A history cut into its last K sessions, the oldest of them first.

    Attributes:
        order: of an event's session, 1 the most recent, float32 [B, T]; means nothing if not kept.
        place: of an event within its session, from 1, float32 [B, T].
        same: 1 if both events are kept and of one session, [B, T, T].
        share: what an event adds to its session's mean, [B, K, T].
        mask: 1 if there is such a session, [B, K]; the missing ones come last.
    """

    order: paddle.Tensor
    place: paddle.Tensor
    same: paddle.Tensor
    share: paddle.Tensor
    mask: paddle.Tensor


def cut(time: paddle.Tensor, mask: paddle.Tensor, gap: int, most: int) -> Sessions:
    """A session ends if the next event comes more than `gap` later.

    Args:
        time (Tensor): of the events, int64 seconds [B, T].
        mask (Tensor): [B, T].
        gap (int): seconds.
        most (int): K; events of older sessions are left out.

    Example:
        >>> time, mask = paddle.to_tensor([[10, 20, 5000]]), paddle.ones([1, 3])
        >>> cut(time, mask, 1800, 2).share.tolist()
        [[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]]
    """
    before = paddle.concat([time[:, :1], time], 1)[:, :-1]  # [B, T]
    first = (time - before > gap).astype(mask.dtype)  # [B, T], 1 at a session's first event
    number = ((first * mask).cumsum(-1) + 1.0) * mask  # [B, T], 1, 2, …; 0 at padding
    count = number.max(-1, keepdim=True)  # [B, 1]
    order = count - number + 1.0  # [B, T]
    kept = mask * (order <= most).astype(mask.dtype)  # [B, T]
    dropped = paddle.clip(count - most, min=0.0)  # [B, 1], sessions that are left out
    of_session = (number - dropped).unsqueeze(1)  # [B, 1, T]
    sessions = paddle.arange(1, most + 1, dtype=mask.dtype).unsqueeze(-1)  # [K, 1]
    holds = (of_session == sessions).astype(mask.dtype) * kept.unsqueeze(1)  # [B, K, T]
    events = holds.sum(-1, keepdim=True)  # [B, K, 1]
    same = paddle.matmul(holds, holds, transpose_x=True)  # [B, T, T]
    return Sessions(
        order=order,
        place=(same * causal(kept)).sum(-1),
        same=same,
        share=holds / paddle.clip(events, min=1.0),
        mask=(events > 0).astype(mask.dtype).squeeze(-1),
    )


class BiasEncoding(nn.Layer):
    """BE_(k,t,c) = w^K_k + w^T_t + w^C_c of session k, place t and column c (DSIN, equation 2).

    Args:
        sessions (int): K.
        places (int): that differ; later ones share the last.
        width (int): S.
        std (float): of the start values.
    """

    def __init__(self, sessions: int, places: int, width: int, std: float = 0.01) -> None:
        super().__init__()
        start = nn.initializer.Normal(0.0, std)
        self.of_session = self.create_parameter([sessions, 1], default_initializer=start)
        self.of_place = self.create_parameter([places, 1], default_initializer=start)
        self.of_column = self.create_parameter([width], default_initializer=start)

    def forward(self, sessions: Sessions) -> paddle.Tensor:
        """[B, T, S]."""
        order = self._row(sessions.order, self.of_session)  # [B, T]
        place = self._row(sessions.place, self.of_place)  # [B, T]
        both = F.embedding(order, self.of_session) + F.embedding(place, self.of_place)  # [B, T, 1]
        return both + self.of_column

    @staticmethod
    def _row(number: paddle.Tensor, table: paddle.Tensor) -> paddle.Tensor:
        return (paddle.clip(number, 1.0, float(table.shape[0])) - 1.0).astype("int64")


class DSIN(nn.Layer):
    """Sessions → self-attention in each → their means I → Bi-LSTM → H; attention on I and on H.

    The tower reads [interest in I; interest in H; target; side features].

    Args:
        fields (Sequence[Field]): category fields, as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        session_gap (int): minutes without an event that end a session.
        sessions (int): K, the most recent ones.
        session_places (int): of `BiasEncoding`.
        heads (int), feed_forward (int, 0 = D), block_dropout (float): of the block.
        score (str): what weighs a session: bilinear (the paper), din (the authors' code: DIN's
            activation unit), or another of models/din/score.py; a softmax follows.
        attention_units (Sequence[int]): hidden widths of score: din.
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
        session_gap: int = 30,
        sessions: int = 5,
        session_places: int = 10,
        heads: int = 4,
        feed_forward: int = 0,
        block_dropout: float = 0.0,
        score: str = "bilinear",
        attention_units: Sequence[int] = (80, 40),
        tower: Sequence[int] = (200, 80),
        activation: str = "relu",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        items = self.embeddings.item_width
        width = items + self.embeddings.event_width
        if width % heads:
            raise ValueError(f"heads is {heads}, must divide the width of an event, {width}")
        self.gap = 60 * session_gap
        self.sessions = sessions
        self.encoding = BiasEncoding(sessions, session_places, width, embedding_std)
        self.block = TransformerBlock(width, heads, feed_forward or width, block_dropout)
        self.lstm = nn.LSTM(width, width, direction="bidirect")
        of_attention = (width, attention_units, activation, True, score)
        self.of_means = InterestAttention(*of_attention)
        self.of_states = InterestAttention(*of_attention)
        inputs = 2 * width + items + self.embeddings.side_width + dense
        bias = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, bias, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T].

        They are those of the sessions' means, each shared out over its session's events.
        """
        means, states, found = self.encode(batch)
        target = self.embeddings.target(batch)  # [B, D]
        v = self.embeddings.without_event(target)  # [B, S]
        of_means, a = self.of_means(means, v, found.mask)  # [B, S], [B, K]
        of_states, _ = self.of_states(states, v, found.mask)  # [B, S]
        parts = [of_means, of_states, target, self.embeddings.side(batch)]
        logit = self.tower(parts, batch["target_item"])  # [B]
        if not return_attention:
            return logit
        return logit, paddle.matmul(a.unsqueeze(1), found.share).squeeze(1)

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the sessions are read once."""
        means, states, found = self.encode(batch)
        target = self.embeddings.target(batch)  # [N, D]
        v = self.embeddings.without_event(target)  # [N, S]
        of_means, a = self.of_means.rank(means, v, found.mask)  # [N, S], [N, K]
        of_states, _ = self.of_states.rank(states, v, found.mask)  # [N, S]
        side = self.embeddings.side(batch, expand_to=target)
        logit = self.tower([of_means, of_states, target, side], batch["target_item"])  # [N]
        return (logit, paddle.matmul(a, found.share[0])) if return_attention else logit

    def encode(self, batch: Batch) -> tuple[paddle.Tensor, paddle.Tensor, Sessions]:
        """The sessions' means I [B, K, S], states H [B, K, S], and how the history was cut."""
        mask = history_mask(batch)  # [B, T]
        found = cut(batch["history_time"], mask, self.gap, self.sessions)
        s = self.embeddings.with_events(self.embeddings.history(batch), batch)  # [B, T, S]
        s, _ = self.block(s + self.encoding(found), found.same)  # [B, T, S]
        means = paddle.matmul(found.share, s)  # [B, K, S]
        both, _ = self.lstm(means, sequence_length=history_length(found.mask))  # [B, K, 2·S]
        ahead, back = paddle.split(both, 2, -1)  # [B, K, S] each
        return means, 0.5 * (ahead + back), found
