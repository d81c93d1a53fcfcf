"""A term of the loss beside that of the clicks."""

from __future__ import annotations

from dataclasses import dataclass

import paddle


@dataclass
class LossTerm:
    """A mean over some elements of a batch: its rows, the positions of its histories, ….

    `ClickModel.train_forward` adds it to the loss, of several processes too.

    Attributes:
        mean (Tensor): over the elements of these rows, [].
        weight (float): its factor in the loss; the log shows the mean itself.
        count (Tensor): how many elements these rows have, []; None = one per row.
    """

    mean: paddle.Tensor
    weight: float = 1.0
    count: paddle.Tensor | None = None
