"""What Wide & Deep, DeepFM and PNN have in common: the history as one more field, and the linear
terms.

Shapes: B rows, T history positions, F fields of the interaction, E columns of a table, D = E · item
fields.
"""

import paddle
import paddle.nn as nn

from paddleinterest.nets.layers import PADDING, FieldEmbeddings, history_mask, sum_pooling, table


class PooledFields(FieldEmbeddings):
    """One vector a field: the target's item fields, the history's (mean over its real positions),
    user, context.

    An empty history is zeros. `count`: F = 2 · item fields + user fields + context fields; `width`:
    F·E.
    """

    def __init__(self, fields, width, std=0.01, sparse=True):
        super().__init__(fields, width, std, sparse)
        self.width = 2 * self.item_width + self.side_width
        self.count = self.width // width

    def forward(self, batch, one_user=False):
        """All vectors side by side, then the dense columns, [B, F·E + dense], and the weights of
        the mean, [B, T].

        With `one_user` the batch is that of `rank`: the history is pooled once, and the weights are
        [1, T].
        """
        mask, target = history_mask(batch), self.target(batch)  # [B, T], [B, D]
        events = paddle.clip(mask.sum(-1, keepdim=True), min=1.0)  # [B, 1]
        pooled = sum_pooling(self.history(batch), mask) / events  # [B, D]
        if one_user:
            pooled = pooled.expand_as(target)
        side = self.side(batch, like=target if one_user else None)
        return paddle.concat([target, pooled] + ([] if side is None else [side]), -1), mask / events

    def split(self, x):
        """The fields' vectors out of what `forward` gives: [B, F·E + dense] → [B, F, E]."""
        return x[:, : self.width].reshape([-1, self.count, self.width // self.count])


class PooledNet(nn.Layer):
    """The ways into a net with `embeddings` of `PooledFields`; a subclass gives `logit(batch, x,
    weight)`, [B], from what these return."""

    def forward(self, batch, return_attention=False):
        """Logits [B]; the weights of `return_attention` are the mean's, 1/n at each of n real
        events, [B, T]."""
        return self.score(batch, False, return_attention)

    def rank(self, batch, return_attention=False):
        """Logits [N] of N candidates of one user, as in DIN; the mean and the user's terms are the
        same for all."""
        return self.score(batch, True, return_attention)

    def score(self, batch, one_user, return_attention):
        x, weight = self.embeddings(batch, one_user)
        logit = self.logit(batch, x, weight)
        return (logit, weight.expand([paddle.shape(x)[0], -1])) if return_attention else logit


class LinearTerms(nn.Layer):
    """Σ w_i·x_i: a weight for each id of each field, apart for target and history, whose ids share
    1; dense columns.

    What the request's one user has in common comes out as one row, and spreads over the candidates
    by itself.
    """

    def __init__(self, fields, dense=0, sparse=True):
        super().__init__()
        keys = [
            (f"{of}_{f.name}", f.size)
            for f in fields
            for of in (("target", "history") if f.of == "item" else (f.of,))
        ]
        self.tables = nn.LayerDict({key: scalars(size, sparse) for key, size in keys})
        self.keys = [key for key, _ in keys]
        self.dense = nn.Linear(dense, 1, bias_attr=False) if dense else None

    def forward(self, batch, weight):
        """weight: of the history's mean, [B, T]. Returns [B]."""
        total = 0.0
        for key in self.keys:
            w = self.tables[key](batch[key]).squeeze(-1)  # [B] or [B, T]
            total = total + ((w * weight).sum(-1) if key.startswith("history_") else w)
        return (
            total if self.dense is None else total + self.dense(batch["dense"]).squeeze(-1)
        )  # [B]


def scalars(rows, sparse):
    """A table of one weight a row, all 0 at the start."""
    return table(
        rows, 1, padding_idx=PADDING, sparse=sparse, weight_attr=nn.initializer.Constant(0.0)
    )
