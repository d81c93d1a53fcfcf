"""BST: Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, Chen et al. 2019,
https://arxiv.org/abs/1905.06874.

Shapes: B rows, T history positions, L = T + 1 with the target, D width of a sequence's element
(item embedding and position), H heads; U sequences and M targets that read each: U = B, M = 1, or
for one request U = 1, M = candidates. Not covered: multi-valued item fields (one value a field);
dense columns of history items (they enter the tower for the target); causal masks. Keys have no
bias: it adds the same to all scores of a query, so the softmax removes it.
"""

import math

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.nets.layers import (
    FieldEmbeddings,
    Tower,
    bias_rows,
    history_mask,
    masked_softmax,
    repeat_user,
)

POSITIONS, MERGES, OUTPUTS = (
    ("time", "index", "sinusoidal", "none"),
    ("concat", "add"),
    ("target", "concat", "mean"),
)
LONGEST_GAP = 10 * 365 * 24 * 3600  # seconds; the last time bucket starts here


def index_from_end(mask):
    """1 for the most recent event, 2 for the one before …; [B, T] → int64 [B, T], meaningless where
    padded."""
    return (mask.sum(-1, keepdim=True) - mask.cumsum(-1) + mask).astype("int64")


def time_edges(buckets):
    """First gap of each bucket in seconds: 1 … LONGEST_GAP, evenly spaced in the logarithm, at
    least 1 apart."""
    edges = []
    for k in range(buckets):
        edge = round(LONGEST_GAP ** (k / max(1, buckets - 1)))
        edges.append(max(edge, edges[-1] + 1) if edges else edge)
    return edges


class Position(nn.Layer):
    """pos(v_i) = t(v_t) − t(v_i) in log-spaced buckets (BST, section 2.1), or the event's index
    from the end.

    Row 0 of the table is the target's. By index, row k is the k-th most recent event, the last row
    all before it. By time, row 1 is a gap of 0 (or less, by a wrong clock), row 1 + k the k-th
    bucket of `time_edges`.

    Args:
        kind: time, index (learned tables) or sinusoidal (fixed; Vaswani et al. 2017, section 3.5;
            of the index).
        width: columns, P.  buckets: rows beside those of the target and gap 0.
        std: of the learned rows' start, and the root mean square of the waves: beside embeddings
            that start so small, waves of height 1 would be all that the block sees.
    """

    def __init__(self, kind, width, buckets, std=0.01):
        super().__init__()
        self.kind, self.last = kind, buckets
        if kind == "sinusoidal":
            angle = paddle.arange(buckets + 1, dtype="float32").unsqueeze(1) * paddle.exp(
                paddle.arange(0, width, 2, dtype="float32") * (-math.log(1e4) / width)
            )
            wave = paddle.stack([paddle.sin(angle), paddle.cos(angle)], -1).flatten(1)[:, :width]
            self.register_buffer("table", math.sqrt(2) * std * wave, persistable=False)
        else:
            self.table = self.create_parameter(
                [buckets + 1 + (kind == "time"), width],
                default_initializer=nn.initializer.Normal(0.0, std),
            )
        if kind == "time":
            self.register_buffer(
                "edges", paddle.to_tensor(time_edges(buckets), dtype="int64"), persistable=False
            )

    def rows(self, batch, mask):
        """The table's row of each history position, int64 [U, T]."""
        if self.kind == "time":
            gap = (
                batch["target_time"][: mask.shape[0]].unsqueeze(1) - batch["history_time"]
            )  # one moment a user
            return 1 + paddle.searchsorted(self.edges, gap, right=True)
        return paddle.clip(index_from_end(mask), 1, self.last)

    def forward(self, rows):
        """[...] → [..., P]."""
        return F.embedding(rows, self.table)


class MultiHeadAttention(nn.Layer):
    """MH(S) = Concat(head_1 … head_H)·W^H, head_i = softmax(S·W_i^Q (S·W_i^K)ᵀ / √d_k)·S·W_i^V
    (BST, equations 1, 2).

    Example:
        >>> MultiHeadAttention(8, 4)(paddle.rand([2, 5, 8]), paddle.ones([2, 5]))[0].shape
        [2, 5, 8]
    """

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, 1.0 / math.sqrt(width // heads)
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
        self.k_proj = nn.Linear(width, width, bias_attr=False)

    def forward(self, s, mask):
        """s [B, L, D], mask [B, L] → MH(S) [B, L, D] and the weights [B, H, L, L], exactly 0 on
        padding."""
        q, k, v = (
            linear(s).reshape([0, 0, self.heads, -1]).transpose([0, 2, 1, 3])
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )  # [B, H, L, d_k]
        score = paddle.matmul(q * self.scale, k, transpose_y=True)  # [B, H, L, L]
        weight = masked_softmax(score, mask.unsqueeze([1, 2]).expand_as(score))
        return self.out_proj(paddle.matmul(weight, v).transpose([0, 2, 1, 3]).flatten(2)), weight

    def of_target(self, s, mask, target, itself=False):
        """The rows of MH at the targets alone: equal to `forward`, at a fraction of the cost.

        As q·(S·W_i^K)ᵀ = (q·W_i^Kᵀ)·Sᵀ and a·(S·W_i^V) = (a·S)·W_i^V, no key or value of a position
        is ever built, and one product with S serves all heads and targets.

        Args:
            s, mask: [U, L, D] and [U, L].  target: [U·M, D], the elements that ask.
            itself: s holds the history alone, and each target also attends to itself, to no other
                target.
        Returns:
            [U·M, D] and the weights on s, [U, M·H, L].
        """
        u, h, d = s.shape[0], self.heads, target.shape[-1]
        wk, wv = (
            p.weight.reshape([d, h, -1]).transpose([1, 0, 2]) for p in (self.k_proj, self.v_proj)
        )
        q = self.q_proj(target).reshape([-1, h, d // h]).transpose([1, 0, 2])  # [H, U·M, d_k]
        query = paddle.matmul(q, wk * self.scale, transpose_y=True).transpose(
            [1, 0, 2]
        )  # [U·M, H, D]
        score = paddle.matmul(query.reshape([u, -1, d]), s, transpose_y=True)  # [U, M·H, L]
        if itself:
            own = paddle.matmul(query, target.unsqueeze(-1)).reshape([u, -1, 1])  # [U, M·H, 1]
            score, mask = (
                paddle.concat([score, own], -1),
                paddle.concat([mask, paddle.ones_like(mask[:, :1])], 1),
            )
        weight = masked_softmax(score, mask.unsqueeze(1).expand_as(score))
        if itself:
            weight, own = weight[:, :, :-1], weight[:, :, -1:]
        mixed = paddle.matmul(weight, s).reshape([-1, h, d])  # [U·M, H, D]
        if itself:
            mixed = mixed + paddle.matmul(own.reshape([-1, h, 1]), target.unsqueeze(1))
        head = paddle.matmul(mixed.transpose([1, 0, 2]), wv).transpose([1, 0, 2])  # [U·M, H, d_k]
        return self.out_proj(head.flatten(1) + self.v_proj.bias), weight


class TransformerBlock(nn.Layer):
    """S' = LN(S + Dropout(MH(S))), F = LN(S' + Dropout(LeakyReLU(S'·W⁽¹⁾ + b⁽¹⁾)·W⁽²⁾ + b⁽²⁾))
    (BST, section 2.2).

    Args:
        width: D.  heads: H, divides D.  feed_forward: hidden width.  dropout: share dropped in
            training.
    """

    def __init__(self, width, heads, feed_forward, dropout=0.0):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear1, self.linear2 = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, s, mask):
        """s [B, L, D], mask [B, L] → F [B, L, D] and the attention's weights [B, H, L, L]."""
        mh, weight = self.attention(s, mask)
        return self.residuals(s, mh), weight

    def of_target(self, s, mask, target, itself=False):
        """The rows of F at the targets alone, and the weights; see
        `MultiHeadAttention.of_target`."""
        mh, weight = self.attention.of_target(s, mask, target, itself)
        return self.residuals(target, mh), weight

    def residuals(self, s, mh):
        s = self.norm1(s + self.dropout(mh))
        return self.norm2(s + self.dropout(self.linear2(F.leaky_relu(self.linear1(s)))))


class BST(nn.Layer):
    """Embeddings, positions → encoder blocks over [e_1 … e_T, v] → [output; target; side] → tower →
    logit.

    Args:
        fields: category fields (`FieldEmbeddings`).  dense: number of dense columns.
        embedding_size, embedding_std, sparse: of the tables.
        position: time, index, sinusoidal or none.  position_merge: concat (the paper: an input
            feature) or add.
        position_size: P with concat.  position_buckets: see `Position`.
        blocks: how many.  heads, feed_forward (0 = D), block_dropout: of each.
        output: what leaves the last block: target (its position); concat (the `concat_length` most
            recent events in order, zeros where there are fewer, then the target); mean (over the
            real events and the target).
        target_in_tower: the target's element enters the tower too, not through the blocks alone.
        tower, activation, dropout, item_bias: of the tower.
    """

    def __init__(
        self,
        fields,
        dense=0,
        *,
        embedding_size=32,
        embedding_std=0.01,
        sparse=True,
        position="index",
        position_merge="concat",
        position_size=16,
        position_buckets=64,
        blocks=1,
        heads=4,
        feed_forward=0,
        block_dropout=0.0,
        output="target",
        concat_length=50,
        target_in_tower=False,
        tower=(200, 80),
        activation="dice",
        dropout=0.0,
        item_bias=False,
    ):
        super().__init__()
        for name, value, allowed in (
            ("position", position, POSITIONS),
            ("position_merge", position_merge, MERGES),
            ("output", output, OUTPUTS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, must be one of {', '.join(allowed)}")
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        items, self.add = self.embeddings.item_width, position_merge == "add"
        extra = 0 if self.add or position == "none" else position_size
        width = items + extra
        if width % heads:
            raise ValueError(
                f"heads is {heads}, must divide the width of the sequence, {width}: "
                f"{items} of the item fields and {extra} of the position"
            )
        self.position = (
            Position(position, extra or items, position_buckets, embedding_std)
            if position != "none"
            else None
        )
        self.blocks = nn.LayerList(
            [
                TransformerBlock(width, heads, feed_forward or width, block_dropout)
                for _ in range(blocks)
            ]
        )
        self.output, self.length, self.target_in_tower = output, concat_length, target_in_tower
        inputs = width * ((concat_length + 1 if output == "concat" else 1) + target_in_tower)
        rows = bias_rows(fields, item_bias)
        self.tower = Tower(
            inputs + self.embeddings.side_width + dense, tower, activation, dropout, rows, sparse
        )

    def forward(self, batch, return_attention=False):
        """Logits [B] of a batch (paddleinterest/data/reader.py); with `return_attention` also [B,
        T]: how much the target attends to each past event in the last block, mean over the heads.
        What is missing to 1 is its attention to itself.
        """
        mask, n, now = (
            history_mask(batch),
            batch["target_item"].shape[0],
            paddle.zeros_like(batch["target_item"]),
        )
        rows = None if self.position is None else _with_target(self.position.rows(batch, mask), now)
        s = self._elements(
            {
                f: _with_target(batch[f"history_{f}"], batch[f"target_{f}"])
                for f in self.embeddings.names["item"]
            },
            rows,
        )  # [B·L + B, D]
        s, v = paddle.split(s, [s.shape[0] - n, n])  # [B·L, D], [B, D]
        s, mask = (
            s.reshape([n, -1, s.shape[-1]]),
            paddle.concat([mask, paddle.ones_like(mask[:, :1])], 1),
        )
        for block in self.blocks[:-1]:
            s, _ = block(s, mask)  # [B, L, D]
        if self.output == "target":  # nothing reads the other rows of the last block
            out, weight = self.blocks[-1].of_target(
                s, mask, v if len(self.blocks) == 1 else s[:, -1]
            )
        else:
            s, weight = self.blocks[-1](s, mask)
            out, weight = self._pool(s, mask), weight[:, :, -1]
        logit = self._logit(out, v, self.embeddings.side(batch), batch)
        return (logit, weight[:, :, :-1].mean(1)) if return_attention else logit

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user: history_* [1, T], user_* and context_* [1],
        target_* [N], dense [N, …], target_time [1]. Equal to `forward` with the user's row repeated
        N times. That is what is done where blocks mix the target into the history; with one block
        and output: target the history is read once.
        """
        if len(self.blocks) > 1 or self.output != "target":
            return self(repeat_user(batch), return_attention)
        mask, block, names = (
            history_mask(batch),
            self.blocks[0],
            self.embeddings.names["item"],
        )  # [1, T]
        rows = None if self.position is None else self.position.rows(batch, mask)
        s = self._elements({f: batch[f"history_{f}"] for f in names}, rows)  # [1, T, D]
        now = paddle.zeros_like(batch["target_item"])
        v = self._elements({f: batch[f"target_{f}"] for f in names}, now)  # [N, D]
        out, weight = block.of_target(s, mask, v, itself=True)  # [N, D], [1, N·H, T]
        logit = self._logit(out, v, self.embeddings.side(batch, like=v), batch)
        return (
            (logit, weight.reshape([-1, block.attention.heads, s.shape[1]]).mean(1))
            if return_attention
            else logit
        )

    def _elements(self, ids, rows):
        """Ids {field: [...]} and rows of the position table [...] → elements of a sequence [...,
        D], in one concat."""
        parts = [self.embeddings.tables[f](x) for f, x in ids.items()]
        if self.position is not None and not self.add:
            parts.append(self.position(rows))
        s = paddle.concat(parts, -1) if len(parts) > 1 else parts[0]
        return s + self.position(rows) if self.position is not None and self.add else s

    def _pool(self, s, mask):
        """output: mean or concat of [B, L, D]."""
        if self.output == "mean":
            return paddle.matmul((mask / mask.sum(-1, keepdim=True)).unsqueeze(1), s).squeeze(1)
        place = index_from_end(mask).unsqueeze(1)  # [B, 1, L], target 1
        wanted = paddle.arange(self.length + 1, 0, -1).unsqueeze(-1)  # [C, 1]
        pick = (place == wanted).astype(mask.dtype) * mask.unsqueeze(1)  # [B, C, L], one-hot or 0
        return paddle.matmul(pick, s).flatten(1)  # [B, C·D]

    def _logit(self, out, v, side, batch):
        return self.tower([out, v if self.target_in_tower else None, side], batch["target_item"])


def _with_target(history, target):
    """[B, T], [B] → [B·L + B]: each row's history and target, then all targets again, to be looked
    up at once.

    A second lookup in a sparse table makes Paddle merge two gradients, and a target cut out of the
    looked-up sequence costs a pass over all of it in backward; either takes longer than the
    attention's products.
    """
    return paddle.concat([paddle.concat([history, target.unsqueeze(1)], 1).flatten(), target])
