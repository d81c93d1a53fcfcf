"""BST: Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, Chen et al. 2019,
https://arxiv.org/abs/1905.06874.

Shapes: B rows, T history positions, L = T + 1 with the target, D width of an element of the sequence (item embedding and
position), H heads; U sequences and M targets that read each: U = B, M = 1, or for one request U = 1, M = its candidates.
Not covered: multi-valued item fields (one value a field); dense columns of history items (they enter the tower for the
target); causal masks. Keys have no bias: it adds the same to all scores of a query, so the softmax removes it.
"""
import math

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from models.layers import FieldEmbeddings, Tower, history_mask

POSITIONS, MERGES, OUTPUTS = ("time", "index", "sinusoidal", "none"), ("concat", "add"), ("target", "concat", "mean")
LONGEST_GAP = 10 * 365 * 24 * 3600  # seconds; the last time bucket starts here


def index_from_end(mask):
    """1 for the most recent event, 2 for the one before …; [B, T] → int64 [B, T], meaningless where padded."""
    return (mask.sum(-1, keepdim=True) - mask.cumsum(-1) + mask).astype("int64")


def time_edges(buckets):
    """First gap of each bucket in seconds: 1 … LONGEST_GAP, evenly spaced in the logarithm, at least a second apart.

    Example:
        >>> time_edges(8)
        [1, 16, 269, 4405, 72201, 1183357, 19395172, 315360000]
    """
    edges = []
    for k in range(buckets):
        edge = round(LONGEST_GAP ** (k / max(1, buckets - 1)))
        edges.append(max(edge, edges[-1] + 1) if edges else edge)
    return edges


class Position(nn.Layer):
    """pos(v_i) = t(v_t) − t(v_i) in log-spaced buckets (BST, section 2.1), or the event's index from the end.

    Row 0 of the table is the target's. By index, row k is the k-th most recent event, the last row all before. By time,
    row 1 is a gap of 0 (or less, by a wrong clock), row 1 + k the k-th bucket of `time_edges`.

    Args:
        kind: time, index (learned tables) or sinusoidal (fixed; Vaswani et al. 2017, section 3.5; on the index).
        width: columns, P.  buckets: rows but those of the target and gap 0.  std: of the learned rows' normal start.
    """

    def __init__(self, kind, width, buckets, std=0.01):
        super().__init__()
        self.kind, self.last = kind, buckets
        if kind == "sinusoidal":
            angle = paddle.arange(buckets + 1, dtype="float32").unsqueeze(1) * paddle.exp(
                paddle.arange(0, width, 2, dtype="float32") * (-math.log(1e4) / width))
            self.register_buffer("table", paddle.stack([paddle.sin(angle), paddle.cos(angle)], -1).flatten(1)[:, :width])
        else:
            self.table = self.create_parameter([buckets + 1 + (kind == "time"), width],
                                               default_initializer=nn.initializer.Normal(0.0, std))
        if kind == "time":
            self.register_buffer("edges", paddle.to_tensor(time_edges(buckets), dtype="int64"))

    def rows(self, batch, mask):
        """The table's row of each history position, int64 [U, T]."""
        if self.kind == "time":
            gap = batch["target_time"].unsqueeze(1) - batch["history_time"]
            return 1 + paddle.searchsorted(self.edges, gap, right=True)
        return paddle.clip(index_from_end(mask), 1, self.last)

    def forward(self, rows):
        """[...] → [..., P]."""
        return F.embedding(rows, self.table)


class MultiHeadAttention(nn.Layer):
    """MH(S) = Concat(head_1 … head_H)·W^H, head_i = softmax(S·W_i^Q (S·W_i^K)ᵀ / √d_k)·S·W_i^V (BST, equations 1 and 2).

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
        """s [B, L, D], mask [B, L] → MH(S) [B, L, D] and the weights [B, H, L, L], exactly 0 on padding."""
        q, k, v = (linear(s).reshape([0, 0, self.heads, -1]).transpose([0, 2, 1, 3])
                   for linear in (self.q_proj, self.k_proj, self.v_proj))                        # [B, H, L, d_k]
        score = paddle.matmul(q * self.scale, k, transpose_y=True)                               # [B, H, L, L]
        hide = ((mask - 1.0) * 1e9).unsqueeze([1, 2])                                            # [B, 1, 1, L]
        weight = F.softmax(score + hide.expand_as(score), -1)
        return self.out_proj(paddle.matmul(weight, v).transpose([0, 2, 1, 3]).flatten(2)), weight

    def of_target(self, s, mask, target, itself=False):
        """The rows of MH at the targets alone: equal to `forward`, at a fraction of the cost.

        As q·(S·W_i^K)ᵀ = (q·W_i^Kᵀ)·Sᵀ and a·(S·W_i^V) = (a·S)·W_i^V, no key or value of a position is ever built, and
        one product with S serves all heads and targets.

        Args:
            s, mask: [U, L, D] and [U, L].  target: [U·M, D], the elements that ask.
            itself: s holds the history alone, and each target also attends to itself, to no other target.
        Returns:
            [U·M, D] and the weights on s, [U, M·H, L].
        """
        h, d = self.heads, target.shape[-1]
        wk, wv = (p.weight.reshape([d, h, -1]).transpose([1, 0, 2]) for p in (self.k_proj, self.v_proj))  # [H, D, d_k]
        query = paddle.matmul(self._by_head(self.q_proj(target)), wk * self.scale, transpose_y=True)
        query = query.transpose([1, 0, 2])                                                       # [U·M, H, D]
        score = paddle.matmul(query.reshape([s.shape[0], -1, d]), s, transpose_y=True)           # [U, M·H, L]
        score = score + ((mask - 1.0) * 1e9).unsqueeze(1).expand_as(score)
        if itself:
            own = paddle.matmul(query, target.unsqueeze(-1))                                     # [U·M, H, 1]
            weight = F.softmax(paddle.concat([score, own.reshape([s.shape[0], -1, 1])], -1), -1)  # [U, M·H, L + 1]
            weight, own = weight[:, :, :-1], weight[:, :, -1:].reshape([-1, h, 1])
            mixed = paddle.matmul(weight, s).reshape([-1, h, d]) + paddle.matmul(own, target.unsqueeze(1))
        else:
            weight = F.softmax(score, -1)
            mixed = paddle.matmul(weight, s).reshape([-1, h, d])                                 # [U·M, H, D]
        heads = paddle.matmul(mixed.transpose([1, 0, 2]), wv).transpose([1, 0, 2])               # [U·M, H, d_k]
        return self.out_proj(heads.flatten(1) + self.v_proj.bias), weight

    def _by_head(self, x):
        """[..., D] → [H, all rows, d_k]."""
        return x.reshape([-1, self.heads, x.shape[-1] // self.heads]).transpose([1, 0, 2])


class TransformerBlock(nn.Layer):
    """S' = LN(S + Dropout(MH(S))), F = LN(S' + Dropout(LeakyReLU(S'·W⁽¹⁾ + b⁽¹⁾)·W⁽²⁾ + b⁽²⁾)) (BST, equations 3 to 5).

    Args:
        width: D.  heads: H, divides D.  feed_forward: hidden width.  dropout: share that is dropped, in training.
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
        """The rows of F at the targets alone, and the weights; see `MultiHeadAttention.of_target`."""
        mh, weight = self.attention.of_target(s, mask, target, itself)
        return self.residuals(target, mh), weight

    def residuals(self, s, mh):
        s = self.norm1(s + self.dropout(mh))
        return self.norm2(s + self.dropout(self.linear2(F.leaky_relu(self.linear1(s)))))


class BehaviorTransformer(nn.Layer):
    """Encoder blocks over [e_1 … e_T, v], then one vector a row: of the target's position, of all, or their mean.

    Args:
        blocks: how many.  output: target; concat (the `length` most recent events in order, zeros where there are fewer,
            then the target); mean (over the real events and the target).
    """

    def __init__(self, width, blocks, heads, feed_forward, dropout, output, length):
        super().__init__()
        self.blocks = nn.LayerList([TransformerBlock(width, heads, feed_forward, dropout) for _ in range(blocks)])
        self.output, self.length = output, length
        self.width = width * (length + 1 if output == "concat" else 1)

    def forward(self, s, mask, target):
        """s [B, L, D] with the target last, mask [B, L], target [B, D] → [B, width] and the target's weights [B, H, L]."""
        for block in self.blocks[:-1]:
            s, _ = block(s, mask)
        last = self.blocks[-1]
        if self.output == "target":  # nothing reads the other rows of the last block
            return last.of_target(s, mask, target if len(self.blocks) == 1 else s[:, -1])
        s, weight = last(s, mask)
        pooled = self.mean(s, mask) if self.output == "mean" else self.concat(s, mask)
        return pooled, weight[:, :, -1]

    @staticmethod
    def mean(s, mask):
        return paddle.matmul((mask / mask.sum(-1, keepdim=True)).unsqueeze(1), s).squeeze(1)  # [B, D]

    def concat(self, s, mask):
        place = index_from_end(mask).unsqueeze(1)                                             # [B, 1, L], the target is 1
        wanted = paddle.arange(self.length + 1, 0, -1).unsqueeze(-1)                          # [C, 1]
        pick = (place == wanted).astype("float32") * mask.unsqueeze(1)                        # [B, C, L], 0 where too few
        return paddle.matmul(pick, s).flatten(1)                                              # [B, C·D]


class BST(nn.Layer):
    """Embeddings, positions → encoder blocks over [history, target] → [output; target; side features] → tower → logit.

    Args:
        fields: category fields (`FieldEmbeddings`).  dense: number of dense columns.
        embedding_size, embedding_std, sparse: of the tables.
        position: time, index, sinusoidal or none.  position_merge: concat (the paper: an input feature) or add.
        position_size: P with concat.  position_buckets: see `Position`.
        blocks, heads, feed_forward (0 = as wide as the sequence), block_dropout, output, concat_length: of the blocks.
        target_in_tower: false is the paper: the target reaches the tower through the blocks alone.
        tower, activation, dropout, item_bias: of the tower.
    """

    def __init__(self, fields, dense=0, *, embedding_size=32, embedding_std=0.01, sparse=True,
                 position="index", position_merge="concat", position_size=32, position_buckets=64,
                 blocks=1, heads=4, feed_forward=0, block_dropout=0.0, output="target", concat_length=50,
                 target_in_tower=True, tower=(200, 80), activation="dice", dropout=0.0, item_bias=False):
        super().__init__()
        for name, value, allowed in (("position", position, POSITIONS), ("position_merge", position_merge, MERGES),
                                     ("output", output, OUTPUTS)):
            _check(value in allowed, f"{name} is {value!r}, must be one of {', '.join(allowed)}")
        for name, value in (("position_size", position_size), ("position_buckets", position_buckets), ("blocks", blocks),
                            ("heads", heads), ("feed_forward", feed_forward + 1), ("concat_length", concat_length)):
            _check(value >= 1, f"{name} is too small")
        _check(0 <= block_dropout < 1, f"block_dropout is {block_dropout}, must be at least 0 and below 1")
        self.embeddings = FieldEmbeddings(fields, embedding_size, embedding_std, sparse)
        items, self.add = self.embeddings.item_width, position_merge == "add"
        width = items + (0 if self.add or position == "none" else position_size)
        _check(width % heads == 0, f"heads is {heads}, must divide the width of the sequence, {width} = {items} of the item "
                                   f"fields + {width - items} of the position")
        self.position = (Position(position, items if self.add else position_size, position_buckets, embedding_std)
                         if position != "none" else None)
        self.transformer = BehaviorTransformer(width, blocks, heads, feed_forward or width, block_dropout, output,
                                               concat_length)
        self.target_in_tower, self.shares_history = target_in_tower, blocks == 1 and output == "target"
        self.tower = Tower(self.transformer.width + target_in_tower * width + self.embeddings.side_width + dense, tower,
                           activation, dropout, next(f.size for f in fields if f.name == "item") * item_bias, sparse)

    def forward(self, batch, return_attention=False):
        """Logits [B] of a batch (datasets/reader.py); with `return_attention` also [B, T]: how much the target attends
        to each past event in the last block, mean over the heads. What is missing to 1 is its attention to itself."""
        mask, now = history_mask(batch), paddle.zeros_like(batch["target_item"])           # [B, T], [B]
        ids = {f"history_{n}": _with_target(batch[f"history_{n}"], batch[f"target_{n}"])
               for n in self.embeddings.names["item"]}
        rows = _with_target(self.position.rows(batch, mask), now) if self.position else None
        flat, n = self._place(self.embeddings.history(ids), rows), mask.shape[0]           # [B·L + B, D]
        s, v = paddle.split(flat, [-1, n])
        whole = paddle.concat([mask, paddle.ones_like(mask[:, :1])], 1)                    # [B, L]
        out, weight = self.transformer(s.reshape([n, -1, s.shape[-1]]), whole, v)          # [B, width], [B, H, L]
        logit = self._logit(out, v, self.embeddings.side(batch), batch)
        return (logit, weight[:, :, :-1].mean(1)) if return_attention else logit

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user: history_* [1, T], user_* and context_* [1], target_* [N],
        dense [N, …], target_time [1]. Equal to `forward` with the user's row repeated N times. That is what is done
        where blocks mix the target into the history; with one block and output: target the history is read once."""
        target = self.embeddings.target(batch)                                             # [N, E]
        if not self.shares_history:
            n, own = paddle.shape(target)[0], ("history_", "user_", "context_", "target_time")
            return self.forward({k: x.expand([n] + [-1] * (x.ndim - 1)) if k.startswith(own) else x
                                 for k, x in batch.items()}, return_attention)
        mask, now = history_mask(batch), paddle.zeros_like(batch["target_item"])           # [1, T], [N]
        s = self._place(self.embeddings.history(batch), self.position.rows(batch, mask) if self.position else None)
        v, block = self._place(target, now), self.transformer.blocks[0]                    # [N, D]
        out, weight = block.of_target(s, mask, v, itself=True)                             # [N, D], [1, N·H, T]
        logit = self._logit(out, v, self.embeddings.side(batch, like=target), batch)
        return (logit, weight.reshape([-1, block.attention.heads, s.shape[1]]).mean(1)) if return_attention else logit

    def _place(self, e, rows):
        """Embeddings [..., E] with the positions of these table rows [...] beside or added: [..., D]."""
        if self.position is None:
            return e
        return e + self.position(rows) if self.add else paddle.concat([e, self.position(rows)], -1)

    def _logit(self, out, v, side, batch):
        return self.tower([out, v if self.target_in_tower else None, side], batch["target_item"])


def _with_target(history, target):
    """[B, T], [B] → [B·L + B]: each row's history and target, then all targets again, to be looked up at once.

    A second lookup of a sparse table makes Paddle merge two gradients, and a target cut out of the looked-up sequence
    costs a pass over all of it in backward: either takes longer than the attention's products.
    """
    return paddle.concat([paddle.concat([history, target.unsqueeze(1)], 1).flatten(), target])


def _check(fine, message):
    if not fine:
        raise ValueError(message)
