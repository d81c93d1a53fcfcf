"""BST: Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, Chen et al. 2019.

https://arxiv.org/abs/1905.06874

Shapes: B rows, T history positions, L = T + 1 with the target, D width of a sequence's element
(item embedding, event fields and position), E columns of a table, V width of an event's fields,
H heads, d_k = D/H; U sequences and M targets that read each: U = B,
M = 1, or for one request U = 1, M = candidates.

Not covered: dense columns of history items (they enter the tower for the target); causal masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn as nn

from paddleinterest.data.schema import Field
from paddleinterest.nets.batch import Batch, Scores, history_mask, repeat_user
from paddleinterest.nets.embeddings import FieldEmbeddings, bias_rows
from paddleinterest.nets.layers import Tower, check_choice, size
from paddleinterest.nets.transformer import Position, TransformerBlock, index_from_end

POSITIONS = ("time", "index", "sinusoidal", "none")
MERGES = ("concat", "add")
OUTPUTS = ("target", "concat", "mean")


class TargetBlock(TransformerBlock):
    """A block of which only the target's row is read: the last one with output: target."""

    fast_forms = ("of_target",)

    def forward(  # type: ignore[override]
        self, s: paddle.Tensor, mask: paddle.Tensor, target: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The row of F at the target, and the target's weights.

        Args:
            s (Tensor): S, the target's element among them, [B, L, D].
            mask (Tensor): of S, [B, L].
            target (Tensor): the target's element, [B, D].

        Returns:
            tuple[Tensor, Tensor]: [B, D] and [B, H, L].
        """
        mh, weight = self.attention(s, mask, target.unsqueeze(1))  # [B, 1, D], [B, H, 1, L]
        return self.residuals(target, mh.squeeze(1)), weight.squeeze(2)

    def of_target(
        self, s: paddle.Tensor, mask: paddle.Tensor, target: paddle.Tensor, itself: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """`forward`, faster, and for many targets; see `MultiHeadAttention.of_target`."""
        mh, weight = self.attention.of_target(s, mask, target, itself)
        return self.residuals(target, mh), weight


class BST(nn.Layer):
    """Embeddings, positions → encoder blocks over [e_1 … e_T, v] → tower → logit.

    The tower reads [output; target; side features].

    Args:
        fields (Sequence[Field]): as in `FieldEmbeddings`.
        dense (int): number of dense columns.
        embedding_size (int), embedding_std (float), sparse (bool), list_pooling (str): of the
            tables.
        position (str): time, index, sinusoidal or none.
        position_merge (str): concat (the paper: an input feature) or add.
        position_size (int): P with concat.
        position_buckets (int): see `Position`.
        blocks (int): how many.
        heads (int), feed_forward (int, 0 = D), block_dropout (float): of each block.
        output (str): what leaves the last block: target (its position); concat (the `concat_length`
            most recent events in order, zeros if there are fewer, then the target); mean (over the
            real events and the target).
        concat_length (int): events of output: concat.
        target_in_tower (bool): the target's element enters the tower too, not through the blocks
            alone.
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
        position: str = "index",
        position_merge: str = "concat",
        position_size: int = 16,
        position_buckets: int = 64,
        blocks: int = 1,
        heads: int = 4,
        feed_forward: int = 0,
        block_dropout: float = 0.0,
        output: str = "target",
        concat_length: int = 50,
        target_in_tower: bool = False,
        tower: Sequence[int] = (200, 80),
        activation: str = "dice",
        dropout: float = 0.0,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        check_choice("position", position, POSITIONS)
        check_choice("position_merge", position_merge, MERGES)
        check_choice("output", output, OUTPUTS)
        self.embeddings = FieldEmbeddings(
            fields, embedding_size, embedding_std, sparse, list_pooling
        )
        items = self.embeddings.item_width + self.embeddings.event_width
        self.add = position_merge == "add"
        extra = 0 if self.add or position == "none" else position_size
        width = items + extra
        self.width = width
        if width % heads:
            raise ValueError(
                f"heads is {heads}, must divide the width of the sequence, {width}: "
                f"{items} of the item and event fields and {extra} of the position"
            )
        self.position = None
        if position != "none":
            self.position = Position(position, extra or items, position_buckets, embedding_std)
        last = TargetBlock if output == "target" else TransformerBlock
        kinds = [TransformerBlock] * (blocks - 1) + [last]
        self.blocks = nn.LayerList(
            [kind(width, heads, feed_forward or width, block_dropout) for kind in kinds]
        )
        self.output = output
        self.length = concat_length
        self.target_in_tower = target_in_tower
        elements = (concat_length + 1 if output == "concat" else 1) + target_in_tower
        inputs = width * elements + self.embeddings.side_width + dense
        rows = bias_rows(fields, item_bias)
        self.tower = Tower(inputs, tower, activation, dropout, rows, sparse)

    def forward(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [B] of a batch; with `return_attention` also weights [B, T].

        They show how much the target attends to each past event in the last block, mean over the
        heads. What is missing to 1 is its attention to itself.
        """
        mask = history_mask(batch)  # [B, T]
        s, v = self._sequence(batch, mask)  # [B, L, D], [B, D]
        mask = paddle.concat([mask, paddle.ones_like(mask[:, :1])], 1)  # [B, L]
        for block in self.blocks[:-1]:
            s, _ = block(s, mask)  # [B, L, D]
        if self.output == "target":  # nothing reads the other rows of the last block
            target = v if len(self.blocks) == 1 else s[:, -1]  # [B, D]
            out, weight = self.blocks[-1](s, mask, target)  # [B, D], [B, H, L]
        else:
            s, weight = self.blocks[-1](s, mask)  # [B, L, D], [B, H, L, L]
            out = self._pool(s, mask)
            weight = weight[:, :, -1]  # [B, H, L]
        logit = self._logit(out, v, self.embeddings.side(batch), batch)  # [B]
        return (logit, weight[:, :, :-1].mean(1)) if return_attention else logit

    def rank(self, batch: Batch, return_attention: bool = False) -> Scores:
        """Logits [N] of N candidates of one user; with `return_attention` also weights [N, T].

        Equal to `forward` with the user's row repeated N times. That is what is done if blocks mix
        the target into the history; with one block and output: target the history is read once.

        Args:
            batch (Batch): history_* [1, T], user_* and context_* [1], target_* [N], dense [N, …],
                target_time [1].
            return_attention (bool): also return the weights.
        """
        if len(self.blocks) > 1 or self.output != "target":
            return self(repeat_user(batch), return_attention)
        block = self.blocks[0]
        mask = history_mask(batch)  # [1, T]
        rows = None if self.position is None else self.position.rows(batch, mask)  # [1, T]
        past = self.embeddings.with_events(self.embeddings.history(batch), batch)
        s = self._elements([past], rows)  # [1, T, D]
        now = paddle.zeros_like(batch["target_item"])  # [N]
        target = self.embeddings.without_event(self.embeddings.target(batch))
        v = self._elements([target], now)  # [N, D]
        out, weight = block.of_target(s, mask, v, itself=True)  # [N, D], [1, N·H, T]
        logit = self._logit(out, v, self.embeddings.side(batch, expand_to=v), batch)  # [N]
        if not return_attention:
            return logit
        return logit, weight.reshape([-1, block.attention.heads, s.shape[1]]).mean(1)

    def _sequence(self, batch: Batch, mask: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The elements of history and target, [B, L, D], and the target's again, [B, D].

        All are looked up at once. A second lookup in a sparse table makes Paddle merge two
        gradients, and a target cut out of the looked-up sequence costs a pass over all of it in
        backward. Either takes longer than the attention's products.
        """
        n = size(mask, 0)
        rows = None
        if self.position is not None:
            now = paddle.zeros_like(batch["target_item"])  # [B]
            rows = _with_target(self.position.rows(batch, mask), now)  # [B·L + B]
        all_elements = self._elements(self._fields(batch), rows)  # [B·L + B, D]
        s, v = paddle.split(all_elements, [size(all_elements, 0) - n, n])  # [B·L, D], [B, D]
        return s.reshape([n, -1, self.width]), v

    def _fields(self, batch: Batch) -> list[paddle.Tensor]:
        """Item fields, vectors and event fields in the order of `_with_target`, [B·L + B, E]."""
        embeddings = self.embeddings
        fields = [self._of_field(name, batch) for name in embeddings.names["item"]]
        for name in embeddings.vectors:
            past = batch[f"history_vector_{name}"]  # [B, T, W]
            both = _with_target(past, batch[f"target_vector_{name}"])  # [B·L + B, W]
            fields.append(embeddings.projections[name](both))
        events = embeddings.events(batch)  # [B, T, V]
        if events is not None:
            none = paddle.zeros_like(events[:, 0])  # [B, V], the target's
            fields.append(_with_target(events, none))
        return fields

    def _of_field(self, name: str, batch: Batch) -> paddle.Tensor:
        """Embeddings of an item field in the order of `_with_target`, [B·L + B, E]."""
        history = batch[f"history_{name}"]
        target = batch[f"target_{name}"]
        if name not in self.embeddings.multiple:
            return self.embeddings.look_up(name, _with_target(history, target))
        # the longest list of the history and that of the targets differ
        look_up = self.embeddings.look_up
        return _with_target(look_up(name, history), look_up(name, target))

    def _elements(
        self, fields: Sequence[paddle.Tensor], rows: paddle.Tensor | None
    ) -> paddle.Tensor:
        """Elements of a sequence, [..., D], in one concat.

        Args:
            fields (Sequence[Tensor]): embeddings of item and event fields, [..., E].
            rows (Tensor): of the position table, int64 [...]; None without a position.
        """
        parts = list(fields)
        if self.position is not None and not self.add:
            parts.append(self.position(rows))
        s = paddle.concat(parts, -1) if len(parts) > 1 else parts[0]
        return s + self.position(rows) if self.position is not None and self.add else s

    def _pool(self, s: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """output: mean, [B, D], or concat, [B, (concat_length + 1)·D], of s [B, L, D]."""
        if self.output == "mean":
            share = mask / mask.sum(-1, keepdim=True)  # [B, L]
            return paddle.matmul(share.unsqueeze(1), s).squeeze(1)
        place = index_from_end(mask).unsqueeze(1)  # [B, 1, L], target 1
        places = paddle.arange(self.length + 1, 0, -1).unsqueeze(-1)  # [C, 1]
        pick = (place == places).astype(mask.dtype) * mask.unsqueeze(1)  # [B, C, L], one-hot or 0
        return paddle.matmul(pick, s).flatten(1)  # [B, C·D]

    def _logit(
        self, out: paddle.Tensor, v: paddle.Tensor, side: paddle.Tensor | None, batch: Batch
    ) -> paddle.Tensor:
        target = v if self.target_in_tower else None
        return self.tower([out, target, side], batch["target_item"])


def _with_target(history: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
    """Each row's history and target, then all targets again.

    [B, T] and [B] → [B·L + B], or [B, T, E] and [B, E] → [B·L + B, E].
    """
    rows = paddle.concat([history, target.unsqueeze(1)], 1)  # [B, L] or [B, L, E]
    return paddle.concat([rows.flatten(0, 1), target])
