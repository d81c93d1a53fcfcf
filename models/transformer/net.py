"""The transformer over the history alone: the user's state, which the target then meets.

Attention Is All You Need, Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; with a loss on
the next item as in SASRec, Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781.

Shapes: B rows, T history positions, D width of an item's embedding, V of an event's fields, S =
D + V of the states, H heads, N candidates of one user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.layers import Tower, check_choice
from paddleinterest.nets.loss import LossTerm
from paddleinterest.nets.next_item import NextItemLoss, next_events
from paddleinterest.nets.transformer import (
    MultiHeadAttention,
    Position,
    TransformerBlock,
    causal,
    index_from_end,
)

FORMS = ("causal", "bidirectional", "decoder")
POSITIONS = ("index", "sinusoidal", "none")
OUTPUTS = ("last", "mean")


@dataclass
class Encoded:
    """The transformer's view of a batch's histories.

    Attributes:
        states: s_1 … s_T, [B, T, S], of use where `own` is 1.
        interest: the user's state, [B, S]; zeros for an empty history.
        attention: how much it attends to each event in the last block, [B, T].
        history: e_1 … e_T, [B, T, D].
        own: positions that have a state, [B, T]: all real ones, or with a decoder those of its
            part.
        mask: real positions, [B, T].
    """

    states: paddle.Tensor
    interest: paddle.Tensor
    attention: paddle.Tensor
    history: paddle.Tensor
    own: paddle.Tensor
    mask: paddle.Tensor


class DecoderBlock(TransformerBlock):
    """A block whose elements first read those before them, then what the encoder made.

        S'  = LN(S + Dropout(MH(S))), causal
        S'' = LN(S' + Dropout(MH(queries S', keys and values of the encoder)))
        F   = LN(S'' + Dropout(LeakyReLU(S''·W⁽¹⁾ + b⁽¹⁾)·W⁽²⁾ + b⁽²⁾))

    Arguments as in `TransformerBlock`.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads, feed_forward, dropout)
        self.own_attention = MultiHeadAttention(width, heads)
        self.own_norm = nn.LayerNorm(width)

    def forward(  # type: ignore[override]
        self,
        s: paddle.Tensor,
        mask: paddle.Tensor,
        encoded: paddle.Tensor,
        encoded_mask: paddle.Tensor,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """F and the mean of the two attentions' weights.

        Args:
            s (Tensor): S, [B, T, D].
            mask (Tensor): which elements of S each of them may read, [B, T, T].
            encoded (Tensor): the encoder's output, [B, T, D].
            encoded_mask (Tensor): what of it there is, [B, T].

        Returns:
            tuple[Tensor, Tensor]: [B, T, D] and [B, H, T, T].
        """
        own, own_weight = self.own_attention(s, mask)  # [B, T, D], [B, H, T, T]
        s = self.own_norm(s + self.dropout(own))
        mh, weight = self.attention(encoded, encoded_mask, query=s)  # [B, T, D], [B, H, T, T]
        return self.residuals(s, mh), 0.5 * (own_weight + weight)


class Transformer(nn.Layer):
    """Embeddings, positions → blocks over [e_1 … e_T] → [state; target; side features] → tower.

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        form (str): causal (an event reads those before it), bidirectional (all of them), or
            decoder: an encoder reads the first half of the history both ways, a causal decoder the
            rest, from the last event of the first half on; its queries ask the encoder's keys.
        position (str): index, sinusoidal or none, counted from the end and added to the embedding.
        position_buckets (int): see `Position`.
        blocks (int): how many, of encoder and decoder each.
        heads (int), feed_forward (int, 0 = D), block_dropout (float): of each block.
        output (str): the user's state is the last one, or the mean.
        next_item (str): none, or the kind of the `NextItemLoss` of the states; not with
            bidirectional, whose state t has read item t + 1.
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
        form: str = "causal",
        position: str = "index",
        position_buckets: int = 64,
        blocks: int = 1,
        heads: int = 4,
        feed_forward: int = 0,
        block_dropout: float = 0.0,
        output: str = "last",
        next_item: str = "none",
        tower: Sequence[int] = (200, 80),
        activation: str = "relu",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        check_choice("position", position, POSITIONS)
        check_choice("output", output, OUTPUTS)
        if next_item != "none" and form == "bidirectional":
            raise ValueError(
                "next_item needs form: causal or decoder; a bidirectional state has read the item"
                " that it must name, and would only copy it"
            )
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        items_width = self.embeddings.item_width
        width = items_width + self.embeddings.event_width
        if width % heads:
            raise ValueError(f"heads is {heads}, must divide the width of an event, {width}")
        self.form = form
        self.output = output
        self.position = None
        if position != "none":
            self.position = Position(position, width, position_buckets, embedding_std)
        of_block = (width, heads, feed_forward or width, block_dropout)
        self.encoder = nn.LayerList([TransformerBlock(*of_block) for _ in range(blocks)])
        self.decoder = None
        if form == "decoder":
            self.decoder = nn.LayerList([DecoderBlock(*of_block) for _ in range(blocks)])
        self.next_item = None
        if next_item != "none":
            self.next_item = NextItemLoss(next_item, width, items_width, bias_rows(fields, True))
        inputs = width + items_width + self.embeddings.side_width + dense
        items = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, items, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B]; with `return_attention` also weights [B, T].

        They show how much the user's state attends to each event in the last block, mean over the
        heads, and over encoder and decoder if there are both.
        """
        found = self.encode(batch)
        target = self.embeddings.target(batch)  # [B, D]
        parts = [found.interest, target, self.embeddings.side(batch)]
        logit = self.tower(parts, batch["target_item"])  # [B]
        return (logit, found.attention) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user, as in DIN; the history is read once."""
        found = self.encode(batch)
        target = self.embeddings.target(batch)  # [N, D]
        side = self.embeddings.side(batch, expand_to=target)  # [N, S]
        interest = found.interest.expand([paddle.shape(target)[0], -1])  # [N, S]
        parts = [interest, target, side]
        logit = self.tower(parts, batch["target_item"])  # [N]
        if not return_attention:
            return logit
        return logit, found.attention.expand([paddle.shape(target)[0], -1])

    def forward_train(self, batch: Batch) -> tuple[paddle.Tensor, LossTerm]:
        """Logits [B], and the loss of state s_t on item_{t+1}; the net must have a `next_item`.

        Args:
            batch (Batch): with ``negative_<item field>`` [B, T] for next_item: binary.
        """
        found = self.encode(batch)
        parts = [found.interest, self.embeddings.target(batch), self.embeddings.side(batch)]
        logit = self.tower(parts, batch["target_item"])  # [B]
        valid = next_events(found.mask) * found.own[:, :-1]  # [B, T − 1]
        term = self.next_item(found.states, found.history, valid, batch, self.embeddings)
        return logit, term

    def encode(self, batch: Batch) -> Encoded:
        """The histories of a batch, or the one of a request."""
        mask = history_mask(batch)  # [B, T]
        history = self.embeddings.history(batch)  # [B, T, D]
        s = self.embeddings.with_events(history, batch)  # [B, T, S]
        if self.position is not None:
            s = s + self.position(self.position.rows(batch, mask))
        if self.decoder is None:
            own = mask
            readable = causal(mask) if self.form == "causal" else mask
            for block in self.encoder:
                s, weight = block(s, readable)  # [B, T, S], [B, H, T, T]
        else:
            first, own = halves(mask)  # [B, T] each
            encoded = s
            for block in self.encoder:
                encoded, _ = block(encoded, first)  # [B, T, S]
            for block in self.decoder:
                s, weight = block(s, causal(own), encoded, first)  # [B, T, S], [B, H, T, T]
        share = self.share(own).unsqueeze(1)  # [B, 1, T]
        interest = paddle.matmul(share, s).squeeze(1)  # [B, S]
        attention = paddle.matmul(share, weight.mean(1)).squeeze(1)  # [B, T]
        return Encoded(s, interest, attention, history, own, mask)

    def share(self, own: paddle.Tensor) -> paddle.Tensor:
        """The share of each state in the user's, [B, T] → [B, T]."""
        if self.output == "mean":
            return own / paddle.clip(own.sum(-1, keepdim=True), min=1.0)
        return own * (index_from_end(own) == 1).astype(own.dtype)


def halves(mask: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The encoder's events 1 … k and the decoder's k … n of n, with k = ⌈n/2⌉.

    The decoder is shifted right: at event t it must name event t + 1, first at k, which the encoder
    has read too.

    Args:
        mask (Tensor): [B, T].

    Returns:
        tuple[Tensor, Tensor]: [B, T] each.

    Example:
        >>> first, later = halves(paddle.to_tensor([[1.0, 1.0, 1.0, 0.0]]))
        >>> first.tolist(), later.tolist()
        ([[1.0, 1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0, 0.0]])
    """
    place = mask.cumsum(-1)  # [B, T], 1 … n at real positions
    half = paddle.ceil(0.5 * mask.sum(-1, keepdim=True)).expand_as(place)  # [B, T], k
    first = (place <= half).astype(mask.dtype) * mask  # [B, T]
    later = (place >= half).astype(mask.dtype) * mask  # [B, T]
    return first, later
