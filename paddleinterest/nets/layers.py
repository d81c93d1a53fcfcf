"""What more than one net uses: embeddings of the fields, Dice, the MLP, masked pooling, and DIN's
regularisation.

Shapes: B rows, T history positions, D width of an item's embedding (all its fields side by side).
"""

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from paddleinterest.core import distributed
from paddleinterest.data.schema import of_one_user
from paddleinterest.nets import native
from paddleinterest.nets.native import positions
from paddleinterest.nets.sharded import ShardedEmbedding

PADDING = 0


def table(rows, width, **kw):
    """An `nn.Embedding`; spread over the processes where `runner.shard_tables` asks for it."""
    return (ShardedEmbedding if distributed.sharded(rows) else nn.Embedding)(rows, width, **kw)


class FieldEmbeddings(nn.Layer):
    """One table a category field. An item's vector is the concatenation over its fields, the same
    for history and target.

    Args:
        fields: list of objects with ``name``, ``of`` (item, user or context) and ``size`` (rows of
            the table, padding and unknown included).
        width: columns of every table.
        std: standard deviation of the start values; row 0, the padding, is 0 and stays 0.
        sparse: gradients hold only the rows that occur. Holds in dynamic graph alone: inside
            `to_static` the same lookup gives a dense gradient. Unlike the dense one it does not
            leave the padding row out by itself: a net must mask what it reads of a history.

    Example:
        >>> from types import SimpleNamespace as Field
        >>> e = FieldEmbeddings([Field(name="item", of="item", size=10)], width=4)
        >>> e.history({"history_item": paddle.to_tensor([[3, 2, 0]])}).shape
        [1, 3, 4]
    """

    def __init__(self, fields, width, std=0.01, sparse=True):
        super().__init__()
        self.names = {
            of: [f.name for f in fields if f.of == of] for of in ("item", "user", "context")
        }
        self.tables = nn.LayerDict(
            {
                f.name: table(
                    f.size,
                    width,
                    padding_idx=PADDING,
                    sparse=sparse,
                    weight_attr=nn.initializer.Normal(0.0, std),
                )
                for f in fields
            }
        )
        self.item_width = width * len(self.names["item"])
        self.side_width = width * (len(self.names["user"]) + len(self.names["context"]))

    def history(self, batch):
        """Embeddings e_1 … e_T of the history, [B, T, D]; zero where padded."""
        return self._join(
            [self.tables[n](batch[f"history_{n}"]) for n in self.names["item"]]
        )  # [B, T, D]

    def target(self, batch):
        """Embedding v of the target (candidate) item, [B, D]."""
        return self._join(
            [self.tables[n](batch[f"target_{n}"]) for n in self.names["item"]]
        )  # [B, D]

    def side(self, batch, like=None):
        """User and context fields and the dense columns, [B, S]; None where the dataset has none.

        With `like` [N, ...] the fields have one row, the request's, that all N candidates share.
        """
        parts = [
            self.tables[n](batch[f"{of}_{n}"]) for of in ("user", "context") for n in self.names[of]
        ]
        if like is not None:
            parts = [p.expand([paddle.shape(like)[0], p.shape[-1]]) for p in parts]
        if "dense" in batch:
            parts.append(batch["dense"])
        return self._join(parts) if parts else None  # [B, S]

    @staticmethod
    def _join(parts):
        return parts[0] if len(parts) == 1 else paddle.concat(parts, -1)


def history_mask(batch):
    """m_j: 1.0 where position j is real, 0.0 where padded, [B, T]."""
    return (batch["history_item"] != PADDING).astype("float32")


def history_length(mask):
    """How many positions of each row are real, [B, T] → int64 [B]."""
    return mask.sum(-1).astype("int64")


def repeat_user(batch):
    """A request's batch, history_* [1, T], user_* and context_* [1], target_time [1], as one for
    `forward`: these rows N times.

    What a net's `rank` is equal to, and may be, where nothing of the user's can be computed once
    for all N candidates.
    """
    n = paddle.shape(batch["target_item"])[0]
    return {
        k: x.expand([n] + [-1] * (x.ndim - 1)) if of_one_user(k) else x for k, x in batch.items()
    }


def spread(rows, positions):
    """The same vector at every position, [B, H] → [B, T, H]. A gather: Paddle's broadcast and its
    gradient are slower."""
    b, h = paddle.shape(rows)[0], rows.shape[-1]
    index = paddle.arange(b).unsqueeze(1).expand([b, positions]).flatten()
    return paddle.gather(rows, index).reshape([b, positions, h])


def sum_pooling(history, mask):
    """Σ_j m_j · e_j, [B, T, D] and [B, T] → [B, D]; the base model's pooling."""
    if native.available("positions", history):
        return positions.pool(mask, history, history_length(mask))
    return paddle.matmul(mask.unsqueeze(1), history).squeeze(1)


def masked_softmax(score, mask):
    """Softmax over the real positions, [B, T] → [B, T]; padding gets exactly 0, and so does a row
    without any."""
    score = (
        score * mask - (1.0 - mask) * 1e9
    )  # the first factor keeps gradients off padding, exactly
    return F.softmax(score, -1) * mask


class Dice(nn.Layer):
    """f(s) = p·s + (1 − p)·α·s with p = σ((s − E[s]) / √(Var[s] + ε)), one channel at a time (DIN,
    section 5.2).

    In training E and Var are those of the batch, of all processes together, over the real positions
    only; evaluation uses their running means.

    Args:
        channels: size of the last axis.  momentum: weight of the old running value.  epsilon: ε.
    """

    def __init__(self, channels, momentum=0.9, epsilon=1e-8):
        super().__init__()
        self.alpha = self.create_parameter(
            [channels], default_initializer=nn.initializer.Constant(0.0)
        )
        self.momentum, self.epsilon = momentum, epsilon
        self.register_buffer("mean", paddle.zeros([channels]))
        self.register_buffer("variance", paddle.ones([channels]))

    def forward(self, s, mask=None):
        """s: [..., C]; mask: 1 where real, [...] without the channel axis, or None. Returns [...,
        C]."""
        if self.training:
            mean, variance = self.statistics(s, mask)
        else:
            mean, variance = self.mean, self.variance
        scale = paddle.rsqrt(variance + self.epsilon)
        p = F.sigmoid(s * scale - mean * scale)
        return s * (self.alpha + (1.0 - self.alpha) * p)

    def statistics(self, s, mask):
        """Mean and variance of each channel over the real rows, [C] and [C]; moves the running
        ones."""
        flat = s.reshape([-1, s.shape[-1]])  # [N, C]
        mask = paddle.ones([flat.shape[0]], flat.dtype) if mask is None else mask
        real = distributed.total(mask.sum())
        weight = mask.reshape([1, -1]) / paddle.clip(real, min=1.0)  # [1, N]
        step = (1 - self.momentum) * paddle.clip(real, max=1.0)  # 0 where no position is real
        mean = distributed.total(paddle.matmul(weight, flat))  # [1, C]
        variance = distributed.total(paddle.matmul(weight, paddle.square(flat - mean)))  # [1, C]
        mean, variance = mean.squeeze(0), variance.squeeze(0)
        with paddle.no_grad():
            self.mean.set_value(self.mean + step * (mean - self.mean))
            self.variance.set_value(self.variance + step * (variance - self.variance))
        return mean, variance


class Activation(nn.Layer):
    """relu, prelu (one slope a channel, from 0.25) or dice, on the last axis; only Dice looks at
    the mask."""

    def __init__(self, kind, channels):
        super().__init__()
        if kind not in ("relu", "prelu", "dice"):
            raise ValueError(f"activation is {kind!r}, must be relu, prelu or dice")
        self.kind, self.channels = kind, channels
        if kind == "dice":
            self.dice = Dice(channels)
        elif kind == "prelu":
            self.slope = self.create_parameter(
                [channels], default_initializer=nn.initializer.Constant(0.25)
            )

    def forward(self, s, mask=None):
        if self.kind == "dice":
            return self.dice(s, mask)
        positive = F.relu(s)
        return positive if self.kind == "relu" else positive + self.slope * (s - positive)


class MLP(nn.Layer):
    """Hidden layers with activation and dropout, then one linear output: [..., in_features] → [...,
    1].

    Example:
        >>> MLP(8, [200, 80], "prelu")(paddle.rand([5, 8])).shape
        [5, 1]
    """

    def __init__(self, in_features, hidden, activation, dropout=0.0):
        super().__init__()
        widths = [in_features, *hidden]
        self.hidden = nn.LayerList([nn.Linear(a, b) for a, b in zip(widths, widths[1:])])
        self.activations = nn.LayerList([Activation(activation, b) for b in hidden])
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.out = nn.Linear(widths[-1], 1)

    def forward(self, x, mask=None):
        for linear, activation in zip(self.hidden, self.activations):
            x = activation(linear(x), mask)
            if self.dropout is not None:
                x = self.dropout(x)
        return self.out(x)


def bias_rows(fields, wanted):
    """Rows of the tower's bias of the target item, 0 where none is wanted."""
    return next(f.size for f in fields if f.name == "item") if wanted else 0


class Tower(nn.Layer):
    """The MLP from the concatenated interest, target and side features to the logit, and the target
    item's bias.

    Args:
        in_features: width of all inputs together.  items: rows of the bias, 0 for none.
    """

    def __init__(self, in_features, hidden, activation, dropout=0.0, items=0, sparse=True):
        super().__init__()
        self.mlp = MLP(in_features, hidden, activation, dropout)
        self.item_bias = (
            table(items, 1, sparse=sparse, weight_attr=nn.initializer.Constant(0.0))
            if items
            else None
        )

    def forward(self, parts, target_item):
        """parts: list of [B, *] or None; target_item: [B]. Returns logits [B]."""
        logit = self.mlp(paddle.concat([p for p in parts if p is not None], -1)).squeeze(-1)
        if self.item_bias is not None:
            logit = logit + self.item_bias(target_item).squeeze(-1)
        return logit


class MiniBatchAwareRegularization(nn.Layer):
    """λ/2 · Σ_j ‖w_j‖² / n_j over the table rows j that occur in the batch (DIN, section 5.1); the
    negatives of an auxiliary loss do not count as occurring.

    Its gradient decays each such row by λ·w_j/n_j; rows that do not occur, and the padding row,
    stay untouched. A row that several processes meet counts at the first of them.

    Args:
        counts: {field: [rows] occurrences in train}; 0 counts as 1.  strength: λ.
    """

    def __init__(self, counts, strength):
        super().__init__()
        self.strength = strength
        self.inverse = {
            name: 1.0 / paddle.clip(paddle.to_tensor(c).astype("float32"), min=1.0)
            for name, c in counts.items()
        }

    def forward(self, embeddings, batch):
        total = 0.0
        for name, inverse in self.inverse.items():
            ids = paddle.concat(
                [
                    ids.flatten()
                    for key, ids in batch.items()
                    if key
                    in (
                        f"history_{name}",
                        f"target_{name}",
                        f"user_{name}",
                        f"context_{name}",
                    )
                ]
            )
            rows = paddle.unique(ids)
            rows = rows[rows != PADDING]
            w = embeddings.tables[name](rows)  # [R, width]
            decay = paddle.gather(inverse, rows)  # [R]
            if distributed.process_count() > 1:
                decay = decay * distributed.first(rows)
            total = total + (paddle.square(w).sum(-1) * decay).sum()
        return 0.5 * self.strength * total
